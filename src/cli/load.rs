//! `weir bench`: drive a running gateway over mutual TLS and count what it accepted and what was acknowledged.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hyper::body::Bytes;
use hyper::{StatusCode, header};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant as Stopwatch, sleep};
use uuid::Uuid;

use super::Answer;
use super::client::Client;
use super::output::Output;
use super::site::SiteOption;
use crate::config::Endpoint;
use crate::identity::InterfaceName;

/// Submits the same record many times, each under a key of its own, from several connections; then follows every
/// message to its acknowledgement. Prints messages a second and latencies.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir bench record.json --interface crisis-escalation --site site/gateway --messages \
    5000 --connections 16"
)]
pub(super) struct Arguments {
    /// The record
    file: PathBuf,
    /// The interface to submit it to
    #[arg(long, value_name = "NAME")]
    interface: InterfaceName,
    #[command(flatten)]
    site: SiteOption,
    /// How many messages
    #[arg(long, default_value_t = 2000)]
    messages: usize,
    /// How many connections submit at a time
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

/// One message's times from the start of its submission.
#[derive(Debug)]
struct Timed {
    location: String,
    accepted_after: Duration,
    acknowledged: bool,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    anyhow::ensure!(arguments.connections > 0 && arguments.messages > 0, "ask for at least one message and connection");
    let endpoint = arguments.site.load()?.send_endpoint()?;
    let file = &arguments.file;
    let record = Bytes::from(fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
    super::runtime()?.block_on(async {
        let started = Stopwatch::now();
        let mut sent = submit_all(arguments, &endpoint, &record).await?;
        let accepted_in = started.elapsed();
        let acknowledgements = follow_all(&endpoint, &mut sent).await?;
        let acknowledged_in = started.elapsed();
        report(&sent, accepted_in, acknowledged_in, acknowledgements, output);
        Ok(sent.iter().all(|message| message.acknowledged).into())
    })
}

async fn submit_all(arguments: &Arguments, endpoint: &Endpoint, record: &Bytes) -> anyhow::Result<Vec<Timed>> {
    let mut workers = JoinSet::new();
    for worker in 0..arguments.connections {
        let share = (arguments.messages + arguments.connections - 1 - worker) / arguments.connections;
        let (endpoint, record, interface) = (endpoint.clone(), record.clone(), arguments.interface.clone());
        workers.spawn(async move { submit_some(&endpoint, &interface, &record, share).await });
    }
    let mut sent = Vec::with_capacity(arguments.messages);
    while let Some(done) = workers.join_next().await {
        sent.extend(done.map_err(|_| anyhow::anyhow!("a worker ended abnormally"))??);
    }
    Ok(sent)
}

async fn submit_some(
    endpoint: &Endpoint,
    interface: &InterfaceName,
    record: &Bytes,
    share: usize,
) -> anyhow::Result<Vec<Timed>> {
    let mut client = Client::connect(endpoint).await?;
    let mut sent = Vec::with_capacity(share);
    for _ in 0..share {
        let key = Uuid::new_v4().to_string();
        let started = Stopwatch::now();
        let answer = client.submit(interface.as_str(), Some(&key), record.clone()).await?;
        anyhow::ensure!(answer.status == StatusCode::ACCEPTED, "a record was refused with {}", answer.status);
        let location = answer.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        let location = location.context("the 202 answer has no Location")?.to_owned();
        sent.push(Timed { location, accepted_after: started.elapsed(), acknowledged: false });
    }
    Ok(sent)
}

/// Asks for every message until it is settled; gives the times from acceptance to acknowledgement, by the gateway's
/// own clock, in milliseconds.
async fn follow_all(endpoint: &Endpoint, sent: &mut [Timed]) -> anyhow::Result<Vec<f64>> {
    let mut client = Client::connect(endpoint).await?;
    let mut times = Vec::with_capacity(sent.len());
    let give_up = Stopwatch::now() + Duration::from_secs(120);
    for message in sent {
        loop {
            let body = client.state(&message.location).await?.json();
            let state = body["state"].as_str().unwrap_or("unknown");
            message.acknowledged = state == "acknowledged";
            if message.acknowledged {
                times.extend(milliseconds_between(&body["acceptedAt"], &body["updatedAt"]));
            }
            if message.acknowledged || matches!(state, "refused" | "dead" | "cancelled") || Stopwatch::now() > give_up {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(times)
}

fn milliseconds_between(from: &serde_json::Value, to: &serde_json::Value) -> Option<f64> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let parse = |value: &serde_json::Value| OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok();
    Some((parse(to)? - parse(from)?).as_seconds_f64() * 1000.0)
}

/// The value below which `share` of the sorted values lie.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len() as f64) * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn report(sent: &[Timed], accepted_in: Duration, acknowledged_in: Duration, mut followed: Vec<f64>, output: &Output) {
    let mut accepted: Vec<f64> = sent.iter().map(|message| message.accepted_after.as_secs_f64() * 1000.0).collect();
    accepted.sort_by(f64::total_cmp);
    followed.sort_by(f64::total_cmp);
    let count = sent.len() as f64;
    let rate = |time: Duration| count / time.as_secs_f64();
    let acknowledged = sent.iter().filter(|message| message.acknowledged).count();
    let row = |label: &str, rate: f64, times: &[f64]| {
        format!(
            "{label:<13} {rate:>8.0} /s   p50 {:>8.2} ms   p99 {:>8.2} ms",
            percentile(times, 0.5),
            percentile(times, 0.99)
        )
    };
    output.line(&format!("{acknowledged} of {} messages acknowledged", sent.len()));
    output.line(&row("accepted", rate(accepted_in), &accepted));
    output.line(&row("acknowledged", rate(acknowledged_in), &followed));
    output.json(&json!({
        "messages": sent.len(),
        "acknowledged": acknowledged,
        "acceptedPerSecond": rate(accepted_in),
        "acceptP50Milliseconds": percentile(&accepted, 0.5),
        "acceptP99Milliseconds": percentile(&accepted, 0.99),
        "acknowledgedPerSecond": rate(acknowledged_in),
        "acknowledgeP50Milliseconds": percentile(&followed, 0.5),
        "acknowledgeP99Milliseconds": percentile(&followed, 0.99),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            (percentile(&values, 0.5), percentile(&values, 0.99), percentile(&values, 1.0)),
            (50.0, 99.0, 100.0)
        );
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
    }
}
