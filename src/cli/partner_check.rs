//! `weir partner check`: what is wrong with a partner's TLS, in words.

use clap::Args;
use serde_json::{Value, json};

use super::Answer;
use super::output::Output;
use super::site::SiteOption;
use crate::delivery::{Endpoint, Over, Probe, Remark, probe};
use crate::fhir::instant_text;
use crate::identity::PartyId;
use crate::identity::certificate::Described;
use crate::identity::tls::system_clock;
use crate::server::clock;

/// Connects to each endpoint of a partner as the gateway would, shows what it presents, and says all that the gateway
/// would refuse. Sends nothing. Exits with 1 when something is refused.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir partner check DEMOT --site site/gateway")]
pub(super) struct Arguments {
    /// The partner's ODS code
    #[arg(value_name = "NAME")]
    partner: PartyId,
    #[command(flatten)]
    site: SiteOption,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    let Some(partner) = site.partner(&arguments.partner) else {
        let known: Vec<&str> = site.partners().iter().map(|partner| partner.ods.as_str()).collect();
        anyhow::bail!("the site has no partner {}; it has {}", arguments.partner, known.join(", "));
    };
    let (runtime, clock) = (super::runtime()?, system_clock());
    let mut answer = Answer::Yes;
    for (route, over) in partner.routes.iter().enumerate() {
        let Over::Bars(endpoint) = over else {
            output.line(&format!("route {route}: NHS MESH, whose TLS is not looked at here"));
            continue;
        };
        let seen = runtime.block_on(probe(&partner.ods, endpoint, site.credentials(), &clock, self::clock::now()));
        if !seen.problems.is_empty() {
            answer = Answer::No;
        }
        show(output, (route, endpoint), &seen);
        output.json(&as_json(&partner.ods, (route, endpoint), &seen));
    }
    Ok(answer)
}

fn show(output: &Output, (route, endpoint): (usize, &Endpoint), seen: &Probe) {
    output.line(&format!("route {route}: {}", endpoint.base));
    if let Some(address) = seen.address {
        output.line(&format!("  connected to {address}"));
    }
    if let (Some(protocol), Some(suite)) = (&seen.protocol, &seen.suite) {
        let speaks = seen.speaks.as_deref().unwrap_or("HTTP/1.1, without saying so");
        output.line(&format!("  {protocol}, {suite}, {speaks}; we ask for TLS {} or newer", endpoint.minimum_tls));
    }
    for (place, certificate) in seen.chain.iter().enumerate() {
        show_certificate(output, place, certificate);
    }
    if let Some(pin) = seen.pin {
        let pinned = match &endpoint.pins[..] {
            [] => "no key is pinned",
            pins if pins.contains(&pin) => "it is pinned",
            _ => "it is not one of those that are pinned",
        };
        output.line(&format!("  key {pin}: {pinned}"));
    }
    for (word, remarks) in [("warning", &seen.warnings), ("refused", &seen.problems)] {
        for Remark { text, hint } in remarks {
            output.line(&format!("  {word}: {text}"));
            output.line(&format!("    hint: {hint}"));
        }
    }
    if seen.problems.is_empty() {
        output.line("  messages can be sent: nothing is refused");
    }
}

fn show_certificate(output: &Output, place: usize, certificate: &Described) {
    let (from, until) = (instant_text(certificate.validity.from), instant_text(certificate.validity.until));
    output.line(&format!("  certificate {place}: {}", named(&certificate.subject)));
    output.line(&format!("    issued by {}", certificate.issuer));
    output.line(&format!("    holds from {from} until {until}"));
    if place == 0 {
        let names = certificate.names.join(", ");
        output.line(&format!("    names: {}", if names.is_empty() { "none" } else { &names }));
    }
}

fn named(subject: &str) -> &str {
    if subject.is_empty() { "without a subject" } else { subject }
}

fn as_json(partner: &PartyId, (route, endpoint): (usize, &Endpoint), seen: &Probe) -> Value {
    let remarks = |remarks: &[Remark]| -> Vec<Value> {
        remarks.iter().map(|remark| json!({ "text": remark.text, "hint": remark.hint })).collect()
    };
    let certificate = |each: &Described| {
        json!({
            "subject": each.subject, "issuer": each.issuer, "names": each.names,
            "from": instant_text(each.validity.from), "until": instant_text(each.validity.until),
        })
    };
    json!({
        "partner": partner.as_str(),
        "route": route,
        "endpoint": endpoint.base.to_string(),
        "address": seen.address.map(|address| address.to_string()),
        "protocol": seen.protocol,
        "suite": seen.suite,
        "speaks": seen.speaks,
        "chain": seen.chain.iter().map(certificate).collect::<Vec<_>>(),
        "pin": seen.pin.map(|pin| pin.to_string()),
        "warnings": remarks(&seen.warnings),
        "problems": remarks(&seen.problems),
    })
}
