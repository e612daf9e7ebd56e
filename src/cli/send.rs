//! `weir send`: submit a record and follow it to its acknowledgement.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use hyper::header;
use serde_json::Value;
use tokio::time::{Instant as Deadline, sleep};

use super::Answer;
use super::client::Client;
use super::output::Output;
use super::site::SiteOption;
use crate::config::Endpoint;
use crate::identity::InterfaceName;

/// Submits a record to a running gateway and follows the message until its partner has acknowledged it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir send record.json --interface crisis-escalation --site site/gateway\n\nExit code 0 \
    when the partner acknowledged it, 1 when it was refused or is still on its way after --wait-seconds."
)]
pub(super) struct Arguments {
    /// The record
    file: PathBuf,
    /// The interface to submit it to
    #[arg(long, value_name = "NAME")]
    interface: InterfaceName,
    #[command(flatten)]
    site: SiteOption,
    /// Idempotency-Key; without one the record's own id and version identify it, or its bytes
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// How long to follow the message
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait_seconds: u64,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    let endpoint = site.send_endpoint()?;
    let record = fs::read(&arguments.file).with_context(|| format!("cannot read {}", arguments.file.display()))?;
    super::runtime()?.block_on(async {
        let patience = Duration::from_secs(arguments.wait_seconds);
        let sent = follow(&endpoint, &arguments.interface, arguments.key.as_deref(), record, patience).await?;
        match &sent {
            Sent::Refused { status, outcome } => {
                output.line(&format!("refused with {status}"));
                output.document(&outcome.to_string());
            }
            Sent::Followed { message, state, body, is_repeat, .. } => {
                let repeat = if *is_repeat {
                    " (sent before: nothing was sent again; --key makes it a new message)"
                } else {
                    ""
                };
                let note = body["note"].as_str().filter(|_| !sent.is_acknowledged()).unwrap_or_default();
                let note = if note.is_empty() { String::new() } else { format!("; {note}") };
                output.line(&format!("message {message}: {state}{note}{repeat}"));
                output.json(body);
            }
        }
        Ok(sent.is_acknowledged().into())
    })
}

/// What became of a record that was sent.
#[derive(Debug)]
pub(super) enum Sent {
    /// Not accepted.
    Refused { status: u16, outcome: Value },
    /// Accepted, and last seen in this state.
    Followed { message: String, state: String, body: Value, is_repeat: bool, took: Duration },
}

impl Sent {
    pub(super) fn is_acknowledged(&self) -> bool {
        matches!(self, Sent::Followed { state, .. } if state == "acknowledged")
    }
}

/// Submits and asks, with growing pauses, until the message is acknowledged, refused or dead, or `patience` ends.
pub(super) async fn follow(
    endpoint: &Endpoint,
    interface: &InterfaceName,
    key: Option<&str>,
    record: Vec<u8>,
    patience: Duration,
) -> anyhow::Result<Sent> {
    let started = Deadline::now();
    let mut client = Client::connect(endpoint).await?;
    let answer = client.submit(interface.as_str(), key, record.into()).await?;
    if answer.status != hyper::StatusCode::ACCEPTED {
        return Ok(Sent::Refused { status: answer.status.as_u16(), outcome: answer.json() });
    }
    let location = answer.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let location = location.context("the 202 answer has no Location")?.to_owned();
    let is_repeat = answer.json()["repeated"] == true;
    let mut pause = Duration::from_millis(5);
    loop {
        let body = client.state(&location).await?.json();
        let state = body["state"].as_str().unwrap_or("unknown").to_owned();
        let settled = matches!(&*state, "acknowledged" | "refused" | "dead" | "cancelled");
        if settled || started.elapsed() >= patience {
            let message = body["message"].as_str().unwrap_or_default().to_owned();
            return Ok(Sent::Followed { message, state, body, is_repeat, took: started.elapsed() });
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
