//! The command line: one file a verb. Every verb takes `--format json`.
//!
//! Exit codes: 0 done; 1 the answer is no (not valid, not delivered, does not verify); 2 usage or configuration.

mod agreement;
mod audit;
mod batch;
pub mod client;
mod config;
mod conversion;
mod coverage;
mod demo;
mod erase;
mod explain;
mod failure;
mod handover;
mod interface;
mod issues;
mod key;
mod load;
pub mod loopback;
mod map;
mod messages;
mod minimise;
mod output;
mod package;
mod partner;
mod partner_check;
mod records;
mod render;
mod results;
mod review;
mod send;
mod serve;
mod site;
mod staff;
mod token;
mod trace;
mod transform;
mod validate;
mod verify;
mod watch;
mod witness;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};

use output::Output;

use crate::fhir::{Document, Limits};

/// A FHIR interoperability gateway between a mental-health provider and its NHS partners.
#[derive(Debug, Parser)]
#[command(name = "weir", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// How to print: words for people (the default of most verbs), or JSON for programs
    #[arg(long, global = true, value_enum)]
    format: Option<Format>,
}

/// How a verb prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Words for people.
    Text,
    /// JSON for programs: one value a line on standard output.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a whole system on this machine: certificates, a Trust, an ICB, a gateway and sample records
    Demo(demo::Arguments),
    /// Run the gateway of a site
    Serve(serve::Arguments),
    /// Run the reference receiver of a partner
    Partner(partner::Arguments),
    /// Submit a record and follow it to its acknowledgement
    Send(send::Arguments),
    /// Submit the rows of a CSV file, each as a record, and report on every row
    Batch(batch::Arguments),
    /// Show the Bundle that a record becomes, before disclosure
    Map(map::Arguments),
    /// Run an FML map on a source document
    Transform(transform::Arguments),
    /// Validate FHIR resources; prints an OperationOutcome
    Validate(validate::Arguments),
    /// Show what of a Bundle would leave under an agreement, and what would not and why
    Minimise(minimise::Arguments),
    /// Show a received Bundle as a page for people: what is asked, by when, risks, plan, whom to call, what was withheld
    Render(render::Arguments),
    /// Check that a Bundle is what a gateway sent: its signature, with the Provenance and the gateway's public key
    Verify(verify::Arguments),
    /// Show the lineage of one message: where each element came from, and which clause let it pass
    Explain(explain::Arguments),
    /// Work with sharing agreements: what may leave, to whom and why
    #[command(subcommand)]
    Agreement(agreement::Verb),
    /// Work with the interfaces of a site
    #[command(subcommand)]
    Interface(interface::Verb),
    /// Work with a site's configuration
    #[command(subcommand)]
    Config(config::Verb),
    /// Make the keys of a site: of its audit log, its stored payloads, its keyed hashes and pseudonyms
    #[command(subcommand)]
    Key(key::Verb),
    /// Work with FHIR packages: those of a site, and whether a package can be used
    #[command(subcommand)]
    Package(package::Verb),
    /// Work with a site's audit log
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Watch the audit log of a gateway that somebody else runs
    Witness(witness::Arguments),
    /// List who may do what at a site, and make their keys
    #[command(subcommand)]
    Staff(staff::Verb),
    /// Print a token that says who calls the gateway over HTTP
    Token(token::Arguments),
    /// See where messages stand; send again or cancel those that were given up
    #[command(subcommand)]
    Messages(messages::Verb),
    /// See who has taken responsibility for what was delivered; take it or not, as the demo's partner
    #[command(subcommand)]
    Handover(handover::Verb),
    /// Work with the reviews of what was shared without consent
    #[command(subcommand)]
    Review(review::Verb),
    /// Erase what is kept about a person, on their order: says what was erased, what is kept and why
    Erase(erase::Arguments),
    /// Drive a running gateway and print what it accepted and delivered a second
    Bench(load::Arguments),
}

/// What a verb that ran to its end answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Exit code 0.
    Yes,
    /// Exit code 1.
    No,
    /// Exit code 2: usage or configuration, and it is said what is wrong with it.
    Broken,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }
}

/// Runs the program with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return if error.print().is_ok() { ExitCode::from(code) } else { ExitCode::from(2) };
        }
    };
    let output = Output::new(arguments.format);
    let answer = dispatch(arguments.verb, &output).and_then(|answer| match output.failed() {
        Some(error) => Err(anyhow::anyhow!("the answer could not be written: {error}")),
        None => Ok(answer),
    });
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Ok(Answer::Broken) => ExitCode::from(2),
        Err(error) => {
            output.failure(&error);
            ExitCode::from(if error.is::<site::Denied>() { 1 } else { 2 })
        }
    }
}

fn dispatch(verb: Verb, output: &Output) -> anyhow::Result<Answer> {
    match verb {
        Verb::Demo(arguments) => demo::run(&arguments, output),
        Verb::Serve(arguments) => serve::run(&arguments),
        Verb::Partner(arguments) => partner::run(&arguments, output),
        Verb::Send(arguments) => send::run(&arguments, output),
        Verb::Batch(arguments) => batch::run(&arguments, output),
        Verb::Map(arguments) => map::run(&arguments, output),
        Verb::Transform(arguments) => transform::run(&arguments, output),
        Verb::Validate(arguments) => validate::run(&arguments, output),
        Verb::Minimise(arguments) => minimise::run(&arguments, output),
        Verb::Render(arguments) => render::run(&arguments, output),
        Verb::Verify(arguments) => verify::run(&arguments, output),
        Verb::Explain(arguments) => explain::run(&arguments, output),
        Verb::Agreement(verb) => agreement::run(&verb, output),
        Verb::Interface(verb) => interface::run(&verb, output),
        Verb::Config(verb) => config::run(&verb, output),
        Verb::Key(verb) => key::run(&verb, output),
        Verb::Package(verb) => package::run(&verb, output),
        Verb::Audit(verb) => audit::run(&verb, output),
        Verb::Witness(arguments) => witness::run(&arguments, output),
        Verb::Staff(verb) => staff::run(&verb, output),
        Verb::Token(arguments) => token::run(&arguments, output),
        Verb::Messages(verb) => messages::run(&verb, output),
        Verb::Handover(verb) => handover::run(&verb, output),
        Verb::Review(verb) => review::run(&verb, output),
        Verb::Erase(arguments) => erase::run(&arguments, output),
        Verb::Bench(arguments) => load::run(&arguments, output),
    }
}

/// The JSON document in a file.
fn document(file: &Path) -> anyhow::Result<Document> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Document::parse(bytes, &Limits::default())
        .map_err(|error| anyhow::anyhow!("{}: {error}; hint: {}", file.display(), error.hint()))
}

/// Steps of tasks between two looks of a worker at what came from outside it.
const LOOK_EVERY: u32 = 3;

/// A runtime for a verb that talks to sockets.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // A worker that takes a record through its stages is busy for as long as hundreds of other steps take: what comes from sockets
    // and from the store's thread is looked for after each few steps, or what is under way would wait behind what comes in.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.enable_all().event_interval(LOOK_EVERY).global_queue_interval(LOOK_EVERY).build()?)
}

/// Logs to standard error: words when a person may read them, JSON lines with `WEIR_LOG_FORMAT=json`. The filter is
/// `WEIR_LOG`, by default `info`.
fn start_logging(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEIR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let colours = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let started = match std::env::var("WEIR_LOG_FORMAT").as_deref() {
        Ok("json") => logs.json().try_init(),
        _ => logs.try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was already started");
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// Logs where a panic happened, never its message: that may quote the text that a slice or an `expect` failed on.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, "a task panicked; please report it");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example() {
        fn check(command: &clap::Command) {
            for verb in command.get_subcommands() {
                if verb.has_subcommands() {
                    check(verb);
                    continue;
                }
                let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{} has no example", verb.get_name());
            }
        }
        check(&Arguments::command());
    }
}
