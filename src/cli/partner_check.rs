//! `weir partner check`: what is wrong with a partner's TLS, and what it says that it takes, in words.

use clap::Args;
use serde_json::{Value, json};

use super::Answer;
use super::output::Output;
use super::site::SiteOption;
use crate::config::Site;
use crate::delivery::rest::{TokenRoute, try_token};
use crate::delivery::{Bars, Discovery, Endpoint, Over, Partner, Probe, Remark, Support, probe};
use crate::fhir::instant_text;
use crate::identity::PartyId;
use crate::identity::certificate::Described;
use crate::identity::tls::{Credentials, system_clock};
use crate::server::{clock, discovery};

/// Connects to each endpoint of a partner as the gateway would, shows what it presents, and says all that the gateway
/// would refuse. Sends nothing of anyone; where a route wants a token, one is asked for, and a BaRS endpoint is asked what it takes. Exits with 1 when something is
/// refused.
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
    let (runtime, mut answer) = (super::runtime()?, Answer::Yes);
    for place in places(&site, partner) {
        let seen = runtime.block_on(look(&place));
        if !seen.problems.is_empty() {
            answer = Answer::No;
        }
        let takes = if seen.problems.is_empty() { runtime.block_on(ask(&site, partner, &place))? } else { None };
        show(output, &place, &seen);
        takes.iter().for_each(|found| show_takes(output, found));
        let mut shown = as_json(&partner.ods, &place, &seen);
        shown["takes"] = takes.as_ref().map_or(Value::Null, discovery::as_json);
        output.json(&shown);
    }
    Ok(answer)
}

/// Something that a route connects to.
struct Place<'a> {
    route: usize,
    over: &'static str,
    endpoint: &'a Endpoint,
    /// Whom its certificate must name; nobody, of a service that is known by its host name.
    party: Option<&'a PartyId>,
    credentials: &'a Credentials,
    /// How a token is had there.
    token: Option<&'a TokenRoute>,
    /// Whether it can be asked what it takes.
    is_bars: bool,
}

/// Everything that the routes of a partner connect to.
fn places<'a>(site: &'a Site, partner: &'a Partner) -> Vec<Place<'a>> {
    let mut places = Vec::new();
    for (route, over) in partner.routes.iter().enumerate() {
        let (over_what, party, credentials) = match over {
            Over::Bars(_) => ("BaRS", Some(&partner.ods), site.credentials()),
            Over::Rest(_) => ("FHIR REST", Some(&partner.ods), site.credentials()),
            Over::Mesh(mailbox) => ("NHS MESH", None, &mailbox.credentials),
        };
        let (endpoint, is_bars) = (over.endpoint(), matches!(over, Over::Bars(_)));
        places.push(Place { route, over: over_what, endpoint, party, credentials, token: None, is_bars });
        places.extend(over.token().map(|token| Place {
            route,
            over: "its tokens",
            endpoint: &token.endpoint,
            party: None,
            credentials: site.credentials(),
            token: Some(token),
            is_bars: false,
        }));
    }
    places
}

async fn look(place: &Place<'_>) -> Probe {
    let (clock, now) = (system_clock(), clock::now());
    let mut seen = probe(place.party, place.endpoint, place.credentials, &clock, now).await;
    if let Some(token) = place.token.filter(|_| seen.problems.is_empty())
        && let Err(error) = try_token(token, place.credentials, clock).await
    {
        seen.problems.push(Remark { text: error.to_string(), hint: error.hint() });
    }
    seen
}

/// Asks a BaRS endpoint what it takes.
async fn ask(site: &Site, partner: &Partner, place: &Place<'_>) -> anyhow::Result<Option<Discovery>> {
    if !place.is_bars {
        return Ok(None);
    }
    let recipient = (partner.ods.clone(), partner.service_id.clone());
    let bars = Bars::new(recipient, place.endpoint.clone(), place.credentials, system_clock())?;
    let use_cases = site.stages().use_cases(&partner.ods);
    Ok(Some(bars.discover((&site.party(), &site.stages().provider.name), &use_cases).await))
}

fn show_takes(output: &Output, found: &Discovery) {
    let stated = found.stated.as_ref();
    let software = stated.and_then(|stated| stated.software.as_deref()).unwrap_or("unnamed software");
    let version = found.version.as_deref().unwrap_or("a version that it does not say");
    output.line(&format!("  it says: {software}, BaRS {version}"));
    output.line(match found.support {
        Support::Listed => "  our messages are among those that it lists",
        Support::NotListed => "  warning: our messages are NOT among those that it lists",
        Support::Unknown => "  it does not say which messages it takes",
    });
    if let Some(definition) = &found.definition {
        let url = definition.url.as_deref().unwrap_or("without a URL");
        output.line(&format!("  its definition of them: {url}, which asks for {}", definition.requires.join(", ")));
    }
    for problem in &found.problems {
        output.line(&format!("  could not be asked: {problem}"));
    }
}

fn show(output: &Output, place: &Place<'_>, seen: &Probe) {
    let Place { route, over, endpoint, .. } = place;
    output.line(&format!("route {route}, {over}: {}", endpoint.base));
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
        let well = if place.token.is_some() { "a token was had" } else { "messages can be sent" };
        output.line(&format!("  {well}: nothing is refused"));
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

fn as_json(partner: &PartyId, place: &Place<'_>, seen: &Probe) -> Value {
    let Place { route, over, endpoint, .. } = place;
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
        "over": over,
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
