//! Nothing leaves, and nothing is stored in clear, that the agreement does not permit: records with a canary in every
//! leaf go through the built gateway, and every byte that came out of it is searched.
//!
//! What may leave is not asked of the code: `tests/golden/disclosure-fields*.tsv`, one table an interface, say it, field by field
//! and recipient by recipient, and are reviewed by eye. `WEIR_LEAK_CASES` asks for another number of cases than 1,000 (`./check` for
//! 10,000), and `WEIR_LEAK_SEED` for other records; a failure prints both. `WEIR_LEAK_FROM` goes on with a run that was
//! cut off, at that case.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

#[path = "support/canaries.rs"]
mod canaries;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use canaries::{Case, Generator, Model, leaks, planted, respelled};
use hyper::body::Bytes;
use serde_json::Value;
use support::{DemoSite, http_get, weir};
use weir::cli::client::Client;

/// Cases to a site: then the next begins with a fresh one, so that the disk does not fill.
const ROUND: usize = 5_000;
/// Record systems that submit at a time.
const SENDERS: usize = 12;

/// An interface whose records are made, and what may leave of them.
struct Interface {
    name: &'static str,
    /// Its logical model, by its file in `profiles/`.
    record: &'static str,
    /// The reviewed table of what may leave.
    golden: &'static str,
    /// The columns of the table: a recipient, or a recipient by a decision against the person's wish.
    columns: &'static [&'static str],
    /// Whom records are for; the first is that of most.
    recipients: &'static [Recipient],
    /// Of a hundred cases, how many are of this interface.
    share: usize,
}

/// Whom records are for.
#[derive(Clone, Copy)]
struct Recipient {
    ods: &'static str,
    service: &'static str,
    /// Its folder in the demo site, and the column of what may reach it.
    name: &'static str,
    /// The column of what may reach it although the person refuses; none where an objection holds everything back.
    refused: Option<&'static str>,
}

const TRUST: Recipient =
    Recipient { ods: "DEMOT", service: "2000099991", name: "trust", refused: Some("trust-override") };
const COUNCIL: Recipient =
    Recipient { ods: "DEMOL", service: "2000099993", name: "council", refused: Some("council-override") };
/// Its agreements do not rest on consent; an objection holds everything back all the same.
const ICB: Recipient = Recipient { ods: "DEMOI", service: "2000099992", name: "icb", refused: None };
const INTERFACES: [Interface; 6] = [
    Interface {
        name: "crisis-escalation",
        record: "CrisisEscalationRecord",
        golden: "tests/golden/disclosure-fields.tsv",
        columns: &["trust", "trust-override", "icb"],
        recipients: &[TRUST, ICB],
        share: 100,
    },
    Interface {
        name: "discharge-handover",
        record: "DischargeHandoverRecord",
        golden: "tests/golden/disclosure-fields-discharge-handover.tsv",
        columns: &["trust", "trust-override"],
        recipients: &[TRUST],
        share: 40,
    },
    Interface {
        name: "team-transfer",
        record: "TeamTransferRecord",
        golden: "tests/golden/disclosure-fields-team-transfer.tsv",
        columns: &["trust", "trust-override"],
        recipients: &[TRUST],
        share: 40,
    },
    Interface {
        name: "safeguarding-referral",
        record: "SafeguardingReferralRecord",
        golden: "tests/golden/disclosure-fields-safeguarding-referral.tsv",
        columns: &["council", "council-override", "trust", "trust-override"],
        recipients: &[COUNCIL, TRUST],
        share: 40,
    },
    Interface {
        name: "referral",
        record: "ReferralRecord",
        golden: "tests/golden/disclosure-fields-referral.tsv",
        columns: &["trust"],
        recipients: &[Recipient { refused: None, ..TRUST }],
        share: 40,
    },
    Interface {
        name: "reporting-extract",
        record: "ReportingExtractRecord",
        golden: "tests/golden/disclosure-fields-reporting-extract.tsv",
        columns: &["icb"],
        recipients: &[ICB],
        share: 40,
    },
];
/// The partners of the site, by their folders.
const PARTNERS: [&str; 3] = ["trust", "icb", "council"];

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).expect("the file is there")).expect("it is JSON")
}

/// The codes of a value set of ours, from the files in `profiles/`.
fn codes(url: &str) -> Vec<String> {
    let listed = |list: &Value| -> Vec<String> {
        let concepts = list.as_array().into_iter().flatten();
        concepts.filter_map(|concept| concept["code"].as_str().map(str::to_owned)).collect()
    };
    if url.ends_with("/administrative-gender") {
        return ["male", "female", "other", "unknown"].map(str::to_owned).to_vec();
    }
    let file = |kind: &str, url: &str| {
        let name = url.rsplit('/').next().expect("a URL has a last part");
        json(&Path::new("profiles").join(format!("{kind}-{name}.json")))
    };
    let set = file("ValueSet", url.split('|').next().expect("a URL"));
    let includes = set["compose"]["include"].as_array().cloned().unwrap_or_default();
    let of = |include: &Value| match include["concept"].is_array() {
        true => listed(&include["concept"]),
        false => listed(&file("CodeSystem", include["system"].as_str().expect("an include has a system"))["concept"]),
    };
    includes.iter().flat_map(of).collect()
}

/// What became of a case.
struct Sent {
    case: Case,
    /// The message's id, if it was accepted.
    message: Option<String>,
    /// The answer: status line, headers and body.
    answer: String,
}

/// Submits the cases of one round over mutual TLS, [`SENDERS`] at a time.
fn submit(
    site: &DemoSite,
    of: &'static Interface,
    model: &'static Model,
    (numbers, seed): (Numbers, usize),
) -> Vec<Sent> {
    let endpoint = site.endpoint();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..SENDERS {
            let (endpoint, numbers) = (endpoint.clone(), numbers.clone());
            senders.spawn(async move {
                let recipients = of.recipients.iter().map(|to| (to.ods, to.service)).collect();
                let mut generator = Generator::new(model, recipients, (seed + numbers.start + sender) as u64);
                let mut client = Client::connect(&endpoint).await.expect("the gateway answers");
                let mut sent = Vec::new();
                for number in numbers.skip(sender).step_by(SENDERS) {
                    let case = generator.case(number);
                    let body = Bytes::from(serde_json::to_vec(&case.record).expect("it is JSON"));
                    let answer = client.submit(of.name, None, body).await.expect("the gateway answers");
                    let message = answer.json()["message"].as_str().map(str::to_owned);
                    let message = message.filter(|_| answer.status == 202);
                    let text = String::from_utf8_lossy(&answer.body);
                    let answer = format!("{} {:?} {text}", answer.status, answer.headers);
                    sent.push(Sent { case, message, answer });
                }
                sent
            });
        }
        senders.join_all().await.into_iter().flatten().collect()
    })
}

/// Waits until everything accepted was acknowledged, or something was refused by its recipient.
fn settle(site: &DemoSite, accepted: usize) -> String {
    let give_up = Instant::now() + Duration::from_secs(600);
    loop {
        let metrics = http_get(site.operations(), "/metrics").expect("metrics are there").1;
        let count = |state: &str| -> usize {
            let rows = metrics.lines().filter(|line| line.starts_with("weir_messages{") && line.contains(state));
            rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as usize
        };
        if count("acknowledged") >= accepted {
            return metrics;
        }
        assert_eq!(count("refused") + count("dead"), 0, "a partner refused what the gateway sent:\n{metrics}");
        assert!(Instant::now() < give_up, "waited 600 s for {accepted} acknowledgements:\n{metrics}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

type Numbers = std::ops::Range<usize>;

/// How often a field was in a record that was accepted, and how often its canary left.
type Tally = BTreeMap<(String, &'static str), (usize, usize)>;

/// What left in one message against what the golden table permits.
fn check_body(body: &str, case: &Case, column: &'static str, golden: &Golden, tally: &mut Tally) {
    assert_eq!(respelled(body), 0, "a canary left in another spelling");
    let mut found: Vec<&str> = planted(body);
    found.sort_unstable();
    found.dedup();
    for canary in &found {
        let path = case.canaries.get(*canary).unwrap_or_else(|| panic!("{canary} is of another record"));
        let says = golden.says(path, column);
        assert!(says != "withheld", "LEAK: {path} left to {column}, and {} does not permit it", golden.file);
    }
    for (canary, path) in &case.canaries {
        let left = found.contains(&canary.as_str());
        assert!(
            left || golden.says(path, column) != "sent",
            "{path} did not leave to {column}: {canary} in {}",
            case.record
        );
        let row = tally.entry((path.clone(), column)).or_default();
        *row = (row.0 + 1, row.1 + usize::from(left));
    }
}

/// The reviewed table: field, and for each column `sent`, `withheld`, or `may` for what depends on other fields.
struct Golden {
    file: &'static str,
    columns: &'static [&'static str],
    rows: BTreeMap<String, Vec<String>>,
    /// Whether the table is to be written anew (`WEIR_BLESS`): then nothing in it counts.
    is_to_be_written: bool,
}

impl Golden {
    fn read(of: &'static Interface) -> Golden {
        let text = fs::read_to_string(of.golden).unwrap_or_default();
        let rows = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("field"));
        let row = |line: &str| {
            let mut cells = line.split('\t').map(str::to_owned);
            (cells.next().unwrap_or_default(), cells.collect())
        };
        let is_to_be_written = std::env::var_os("WEIR_BLESS").is_some();
        Golden { file: of.golden, columns: of.columns, rows: rows.map(row).collect(), is_to_be_written }
    }

    fn says(&self, path: &str, column: &str) -> &str {
        if self.is_to_be_written {
            return "may";
        }
        let at = self.columns.iter().position(|name| *name == column).expect("a column");
        self.rows.get(path).and_then(|cells| cells.get(at)).map_or("withheld", String::as_str)
    }
}

/// Everything of a site that lies in clear: data, logs, and what its commands print.
fn search_what_lies_about(site: &DemoSite, metrics: &str, messages: &[String]) {
    let clean = |what: &str, bytes: &[u8]| {
        let found = leaks(bytes);
        assert!(found.is_empty(), "LEAK in {what}: {found:#?}");
    };
    clean("metrics", metrics.as_bytes());
    for path in ["/readyz", "/healthz"] {
        clean(path, http_get(site.operations(), path).expect("it answers").1.as_bytes());
    }
    for message in messages {
        for more in [&[] as &[&str], &["--format", "json"], &["--provenance"]] {
            let mut explain = weir();
            explain.args(["explain", message, "--as", "demo-guardian", "--site"]).arg(site.gateway_folder()).args(more);
            let shown = explain.output().expect("weir runs");
            assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
            clean("weir explain", &[shown.stdout, shown.stderr].concat());
        }
    }
    let verified = weir().args(["audit", "verify", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    clean("weir audit verify", &[verified.stdout, verified.stderr].concat());
    let mut folders = vec![site.path("gateway/data")];
    let mut files = vec![site.path("gateway.log")];
    for partner in PARTNERS {
        files.extend([site.path(&format!("{partner}.log")), site.path(partner).join("inbox/arrivals.jsonl")]);
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is readable") {
            let path = entry.expect("it is readable").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for file in files {
        clean(&file.display().to_string(), &fs::read(&file).expect("it is readable"));
    }
}

/// One fresh site, its partners and its gateway, with every log at its loudest.
fn round(
    of: &'static Interface,
    model: &'static Model,
    (numbers, seed): (Numbers, usize),
    golden: &Golden,
    tally: &mut Tally,
) -> usize {
    let site = DemoSite::new();
    let partners = PARTNERS.map(|partner| site.start_partner(partner, &[]));
    let gateway = site.start_gateway();
    let sent = submit(&site, of, model, (numbers, seed));
    let accepted: Vec<&Sent> = sent.iter().filter(|sent| sent.message.is_some()).collect();
    let metrics = settle(&site, accepted.len());
    for sent in &sent {
        let found = leaks(sent.answer.as_bytes());
        assert!(found.is_empty(), "LEAK in an answer to a record system: {found:#?}");
    }
    let arrived = PARTNERS.map(|partner| (partner, arrivals(&site, partner)));
    for Sent { case, message, .. } in &accepted {
        let recipient = of.recipients.iter().find(|to| to.ods == case.recipient).expect("a recipient of the interface");
        let column = match case.refuses {
            true => recipient.refused.unwrap_or_else(|| panic!("LEAK: the person refuses: {}", case.record)),
            false => recipient.name,
        };
        let id = message.as_deref().expect("it was accepted");
        let to: Vec<_> = arrived.iter().filter_map(|(partner, ids)| Some((*partner, ids.get(id)?))).collect();
        let [(partner, bundle)] = to[..] else { panic!("{id} arrived {} times", to.len()) };
        assert_eq!(partner, recipient.name, "{id} went astray");
        let file = site.path(partner).join(format!("inbox/received/{bundle}.json"));
        let body = fs::read_to_string(file).expect("what was acknowledged had arrived");
        check_body(&body, case, column, golden, tally);
    }
    let some: Vec<String> =
        accepted.iter().step_by(1 + accepted.len() / 4).filter_map(|it| it.message.clone()).collect();
    search_what_lies_about(&site, &metrics, &some);
    assert_eq!(gateway.terminate(), Some(0));
    search_after_the_end(&site);
    drop(partners);
    accepted.len()
}

/// The Bundle of each message that a partner took; its headers are noted beside it.
fn arrivals(site: &DemoSite, partner: &str) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let arrivals = site.arrivals(partner);
    assert!(arrivals.iter().all(|arrival| arrival["headers"].as_array().is_some_and(|headers| headers.len() > 5)));
    arrivals.iter().map(|arrival| (text(&arrival["request"]), text(&arrival["id"]))).collect()
}

/// The database once more when it is closed and its journal folded in, and the last lines of the log.
fn search_after_the_end(site: &DemoSite) {
    for file in ["gateway/data/weir.sqlite3", "gateway.log"] {
        let found = leaks(&fs::read(site.path(file)).expect("it is readable"));
        assert!(found.is_empty(), "LEAK in {file}: {found:#?}");
    }
}

#[test]
fn no_canary_leaves_or_lies_in_clear_that_the_agreement_does_not_permit() {
    let (cases, seed) = (setting("WEIR_LEAK_CASES", 1_000), setting("WEIR_LEAK_SEED", 20_261_122));
    let from = setting("WEIR_LEAK_FROM", 0);
    println!("WEIR_LEAK_CASES={cases} WEIR_LEAK_SEED={seed} WEIR_LEAK_FROM={from}");
    let mut is_written = false;
    for of in &INTERFACES {
        is_written |= run(of, (from * of.share / 100, cases * of.share / 100), seed);
    }
    assert!(!is_written, "the golden tables were written anew: review them, and run the test without WEIR_BLESS");
}

/// Whether the golden table was written anew.
#[expect(clippy::print_stdout, reason = "a long run says how far it is")]
fn run(of: &'static Interface, (from, cases): (usize, usize), seed: usize) -> bool {
    let file = format!("StructureDefinition-{}.json", of.record);
    let definition = json(&Path::new("profiles").join(file));
    let model: &'static Model = Box::leak(Box::new(Model::of(&definition, &codes)));
    let golden = Golden::read(of);
    let carriers = model.carriers();
    let (mut tally, mut accepted, mut done) = (Tally::new(), 0, from);
    let started = Instant::now();
    while done < cases {
        let end = cases.min(done + ROUND);
        accepted += round(of, model, (done..end, seed), &golden, &mut tally);
        done = end;
        println!("{}: {done} cases, {accepted} delivered, {} s", of.name, started.elapsed().as_secs());
    }
    let sent = cases - from;
    assert!(accepted * 3 > sent, "{}: most records are good ones: {accepted} of {sent} were accepted", of.name);
    if golden.is_to_be_written {
        fs::write(of.golden, table(of, &carriers, &tally)).expect("it is written");
        return true;
    }
    for path in &carriers {
        assert!(
            golden.rows.contains_key(path),
            "{path} is not in {}: say for every recipient whether it may leave",
            of.golden
        );
    }
    for row in golden.rows.keys() {
        assert!(carriers.contains(row), "{row} of {} is no field of the model", of.golden);
    }
    if sent >= 10 * of.share {
        for path in &carriers {
            for column in of.columns {
                let seen = tally.get(&(path.clone(), *column)).is_some_and(|(records, _)| *records > 0);
                assert!(seen, "no record with {path} reached {column}: the run proves nothing about it");
            }
        }
    }
    false
}

/// What was seen, in the form of the golden table: to be reviewed before it is committed.
fn table(of: &Interface, carriers: &[String], tally: &Tally) -> String {
    let mut text = String::from(
        "# Which field of a record may reach whom, as it was written there. `withheld`: never; `sent`: whenever the record\n# has it; `may`: when other fields of the record let it. A generalised value counts as withheld.\n",
    );
    writeln!(text, "field\t{}", of.columns.join("\t")).expect("a String takes it");
    for path in carriers {
        let cell = |column: &&'static str| match tally.get(&(path.clone(), *column)) {
            Some((_, 0)) | None => "withheld",
            Some((records, left)) if records == left => "sent",
            Some(_) => "may",
        };
        let cells: Vec<&str> = of.columns.iter().map(cell).collect();
        writeln!(text, "{path}\t{}", cells.join("\t")).expect("a String takes it");
    }
    text
}
