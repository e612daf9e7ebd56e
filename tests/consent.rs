//! Consent and sharing without it, through the built program on real sockets: who is refused and why, what reaches the
//! partner on a decision, what must be reviewed, and whom an unjustified sharing is told to.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;
#[path = "support/webhook.rs"]
mod webhook;

use std::fs;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;
use support::{Bench, DemoSite, http_get, wait_for, weir};
use webhook::{Calls, name_webhook, webhook};
use weir::audit::verify;
use weir::config::Site;

const PATH: &str = "/records/crisis-escalation";
const JSON: (&str, &str) = ("content-type", "application/json");
const OVERRIDE: &str = "crisis-escalation-override.json";
/// Texts of the decision and of what no clause lets out without consent.
const STAY_HERE: [&str; 6] = [
    "Alex Placeholder",
    "Forced entry",
    "an advocate on the line",
    "Only what the crisis team needs",
    "daughter",
    "Told the person",
];

fn text(site: &DemoSite, record: &str) -> String {
    String::from_utf8(site.record(record)).expect("a sample is text")
}

/// Runs a verb on the site in the name of the safeguarding lead, and gives each line of its JSON, and whether it did.
fn run(site: &DemoSite, verb: &[&str]) -> (Vec<Value>, bool, String) {
    let mut command = weir();
    command.args(verb).args(["--format", "json", "--site"]).arg(site.gateway_folder());
    if !verb.contains(&"--as") {
        command.args(["--as", "demo-safeguarding"]);
    }
    let ran = command.output().expect("weir runs");
    let printed = String::from_utf8(ran.stdout).expect("it is text");
    let values = serde_json::Deserializer::from_str(&printed).into_iter::<Value>();
    let values = values.collect::<Result<_, _>>().expect("it prints JSON");
    (values, ran.status.success(), String::from_utf8_lossy(&ran.stderr).into_owned())
}

/// How many events in the audit log say a word: their kind, or the value of a detail.
fn audited(site: &DemoSite, word: &str) -> usize {
    let word = format!("\"{word}\"");
    site.audit_events().iter().filter(|event| event.to_string().contains(&word)).count()
}

/// Of each decision in the audit log its outcome, why it was against sharing, and what the person said.
fn decisions(site: &DemoSite) -> Vec<[String; 3]> {
    let is_decision = |event: &Value| event["subtype"][0]["code"] == "AuthZ-Consent";
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = site.audit_events().into_iter().filter(is_decision);
    events
        .map(|event| {
            let profile = text(&event["meta"]["profile"][0]);
            assert!(profile.ends_with("BALP/StructureDefinition/IHE.BasicAudit.AuthZconsent"), "{event}");
            let entities = event["entity"].as_array().expect("it is about something");
            let patient = entities.iter().find(|entity| entity["what"]["type"] == "Patient").expect("a patient");
            assert_eq!(patient["what"]["identifier"]["value"].as_str().map(str::len), Some(64), "a keyed hash");
            let mut details = entities.iter().flat_map(|entity| entity["detail"].as_array().into_iter().flatten());
            let said = details.find(|detail| detail["type"] == "consent-preference");
            let said = said.map(|detail| text(&detail["valueString"])).unwrap_or_default();
            [text(&event["outcome"]), text(&event["outcomeDesc"]), said]
        })
        .collect()
}

fn assert_audit_holds(site: &DemoSite) {
    let site = Site::load(&site.gateway_folder()).unwrap_or_else(|faults| panic!("{faults}"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let store = site.open_for_reading().expect("the store opens");
    let report = runtime.block_on(verify(&store, site.audit_verifier(), None)).expect("it is read");
    assert!(report.is_clean(), "{report}");
}

fn issues(outcome: &Value) -> Vec<(String, String)> {
    let issues = outcome["issue"].as_array().expect("an outcome has issues");
    let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    issues.iter().map(|issue| (part(&issue["expression"][0]), part(&issue["details"]["text"]))).collect()
}

#[test]
fn an_objection_is_refused_and_an_incomplete_decision_by_what_it_lacks() {
    let bench = Bench::of(DemoSite::new());
    let objection = bench.post(PATH, &[JSON], bench.site.record("rejected/objection.json"));
    assert_eq!(objection.status, StatusCode::FORBIDDEN);
    let said = objection.json();
    assert!(issues(&said)[0].1.starts_with("the person objects to this sharing"), "{said:#}");
    let hint = said["issue"][0]["diagnostics"].as_str().unwrap_or_default();
    assert!(hint.contains("speak with the person") && hint.contains("sharingDecision"), "{hint}");

    let incomplete = bench.post(PATH, &[JSON], bench.site.record("rejected/incomplete-decision.json"));
    assert_eq!(incomplete.status, StatusCode::UNPROCESSABLE_ENTITY);
    let found = issues(&incomplete.json());
    let mut lacking: Vec<&str> = found.iter().map(|(path, _)| &**path).filter(|path| !path.is_empty()).collect();
    lacking.sort_unstable();
    let expected = ["sharingDecision.alternatives", "sharingDecision.decidedByRole", "sharingDecision.whyNotTold"];
    assert_eq!(lacking, expected, "{found:#?}");
    assert!(!incomplete.json().to_string().contains("Alex Placeholder"), "a refusal holds no value of the record");

    let record = text(&bench.site, OVERRIDE);
    let other_basis = record.replace("\"safeguarding\",\n    \"purpose\"", "\"statute\",\n    \"purpose\"");
    let refused = bench.post(PATH, &[JSON], other_basis);
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(issues(&refused.json()).iter().any(|(path, _)| path == "sharingDecision.basis"), "{}", refused.json());
    let passed = record.replace("2036-03-06T17:00:00+00:00", "2026-03-06T17:00:00+00:00");
    let refused = bench.post(PATH, &[JSON], passed);
    assert!(issues(&refused.json()).iter().any(|(path, _)| path == "sharingDecision.reviewDue"), "{}", refused.json());
    assert_eq!(audited(&bench.site, "review-opened"), 0);
    assert_eq!(audited(&bench.site, "submission-refused"), 4);
    assert_eq!(
        decisions(&bench.site),
        [
            ("4", "no-consent", "refused"),
            ("4", "decision-incomplete", "refused"),
            ("4", "decision-incomplete", "refused"),
            ("4", "decision-incomplete", "refused"),
        ]
        .map(|(outcome, why, said)| [outcome, why, said].map(str::to_owned))
    );
}

#[test]
fn a_complete_decision_lets_out_what_is_listed_for_it_and_must_be_reviewed() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let bench = Bench::of(site);
    let site = &bench.site;
    let (sent, done) = site.send(OVERRIDE, &[]);
    assert!(done && sent["state"] == "acknowledged", "{sent}");
    let id = sent["message"].as_str().expect("it has an id").to_owned();

    let received = site.inbox("trust");
    let [(_, bundle)] = &received[..] else { panic!("the Trust has one Bundle") };
    for stays in STAY_HERE {
        assert!(text(site, OVERRIDE).contains(stays), "the record holds {stays}");
        assert!(!bundle.contains(stays), "{stays} left");
    }
    let bundle: Value = serde_json::from_str(bundle).expect("it is JSON");
    let of = |kind: &str| {
        let entries = bundle["entry"].as_array().expect("a Bundle has entries");
        entries.iter().map(|entry| &entry["resource"]).filter(|it| it["resourceType"] == kind).collect::<Vec<_>>()
    };
    assert!(of("Procedure").is_empty(), "what was done is not listed for sharing without consent");
    let consent = of("Consent")[0].to_string();
    for told in ["rejected", "weir-sharing-decision", "safeguarding", "BTG", "has-capacity", "short sentences"] {
        assert!(consent.contains(told), "the Trust is not told {told}: {consent}");
    }

    let mut explain = weir();
    explain.args(["explain", &id, "--provenance", "--as", "demo-safeguarding", "--site"]);
    let provenance = explain.arg(site.gateway_folder()).output().expect("weir runs").stdout;
    let provenance: Value = serde_json::from_slice(&provenance).expect("it is JSON");
    assert_eq!(provenance["reason"][0]["coding"][0]["code"], "BTG");
    assert_eq!(provenance["reason"][1]["coding"][0]["code"], "ETREAT");
    let agents = provenance["agent"].to_string();
    assert!(agents.contains(&format!("urn:weir:decision:{id}")) && agents.contains("\"verifier\""), "{agents}");
    assert!(!agents.contains("Alex Placeholder"), "the name stays in the sealed decision");

    assert_eq!(audited(site, "review-opened"), 1);
    assert_eq!(audited(site, "override"), 3, "acceptance, decision and disclosure say on which ground");
    let (rows, ..) = run(site, &["review", "list"]);
    let [row] = &rows[..] else { panic!("one review is open: {rows:?}") };
    assert_eq!((&row["message"], &row["state"]), (&id.as_str().into(), &"open".into()));
    assert_eq!((&row["purpose"], &row["basis"]), (&"BTG".into(), &"safeguarding".into()));
    let (tasks, ..) = run(site, &["review", "show", &id]);
    assert_eq!((&tasks[0]["resourceType"], &tasks[0]["status"]), (&"Task".into(), &"requested".into()));
    assert!(tasks[0]["input"].to_string().contains("Forced entry"), "the reviewer sees why");
    let stored = site.stored_and_logged();
    for clear in ["Forced entry", "Alex Placeholder"] {
        assert!(!stored.windows(clear.len()).any(|window| window == clear.as_bytes()), "{clear} is stored in clear");
    }

    let task = site.path("task.json");
    fs::write(&task, tasks[0].to_string()).expect("it can be written");
    let valid = weir().arg("validate").arg(&task).output().expect("weir runs");
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stdout));
}

#[test]
fn the_lead_completes_a_review_over_http_and_nobody_else_does() {
    let site = DemoSite::new();
    let bench = Bench::of(site);
    let accepted = bench.post(PATH, &[JSON], bench.site.record(OVERRIDE));
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.json());
    let id = accepted.json()["message"].as_str().expect("it has an id").to_owned();
    let bearer = |who: &str| {
        let (tokens, ..) = run(&bench.site, &["token", "--as", who]);
        format!("Bearer {}", tokens[0]["token"].as_str().expect("a token"))
    };
    let (lead, auditor) = (bearer("demo-safeguarding"), bearer("demo-auditor"));
    assert_eq!(bench.get("/reviews", &[]).status, StatusCode::FORBIDDEN, "a record system reads no reviews");
    let list = bench.get("/reviews", &[("authorization", &auditor)]);
    assert_eq!((list.status, &list.json()[0]["message"]), (StatusCode::OK, &id.as_str().into()));
    let task = bench.get(&format!("/reviews/{id}"), &[("authorization", &lead)]);
    assert_eq!((task.status, &task.json()["resourceType"]), (StatusCode::OK, &"Task".into()));

    let path = format!("/reviews/{id}/completion");
    let done = r#"{"finding":"justified-with-learning","words":"Ask for an advocate sooner."}"#;
    let post = |who: &str, body: &str| bench.post(&path, &[JSON, ("authorization", who)], body.to_owned());
    assert_eq!(post(&auditor, done).status, StatusCode::FORBIDDEN);
    assert_eq!(post(&lead, r#"{"finding":"fine","words":"x"}"#).status, StatusCode::BAD_REQUEST);
    assert_eq!(post(&lead, r#"{"finding":"justified","words":" "}"#).status, StatusCode::UNPROCESSABLE_ENTITY);
    let completed = post(&lead, done);
    assert_eq!(completed.status, StatusCode::OK, "{}", completed.json());
    assert_eq!(completed.json()["completed"]["by"], "demo-safeguarding");
    assert_eq!(post(&lead, done).status, StatusCode::CONFLICT, "a finding stands");
    assert_eq!(bench.get("/reviews", &[("authorization", &lead)]).json().as_array().map(Vec::len), Some(0));
    let all = bench.get("/reviews?all", &[("authorization", &lead)]);
    assert_eq!(all.json()[0]["completed"]["finding"], "justified-with-learning");
    assert_eq!(audited(&bench.site, "review-completed"), 1);
    assert_eq!(audited(&bench.site, "incident-reported"), 0);
    let site = bench.kill();
    let gateway = site.start_gateway();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(gateway.terminate(), Some(0), "a stop signs the last head");
    assert_audit_holds(&site);
    assert_tampering_shows(&site);
}

/// Lists another safeguarding lead in `weir.toml`, who also hands in records, with a key of their own.
fn hire_second_lead(site: &DemoSite) {
    let key = site.gateway_folder().join("pki/staff/second-lead.key");
    let made = weir().args(["staff", "key", "second-lead", "--file"]).arg(key).output().expect("weir runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let config = site.path("gateway/weir.toml");
    let written = fs::read_to_string(&config).expect("the site has a weir.toml");
    let lead = "\n[[principals]]\nid = \"second-lead\"\nname = \"Sam Second (synthetic)\"\n\
                roles = [\"safeguarding-lead\", \"record-system\"]\nkey = \"pki/staff/second-lead.pub\"\n";
    fs::write(&config, written + lead).expect("it can be written");
}

/// Of each refused access to a review that the audit log holds: who tried, at which message, and why not.
fn refused_reviews(site: &DemoSite) -> Vec<(String, String, String)> {
    let read = site.audit_events().into_iter();
    let detail = |event: &Value, name: &str| {
        let details = event["entity"][0]["detail"].as_array().cloned().unwrap_or_default();
        let found = details.into_iter().find(|detail| detail["type"] == name);
        found.map(|detail| detail["valueString"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    };
    read.filter(|event| event["outcome"] == "4" && detail(event, "action") == "complete-review")
        .map(|event| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let who = text(&event["agent"][0]["who"]["identifier"]["value"]);
            (who, text(&event["entity"][0]["what"]["identifier"]["value"]), detail(&event, "reason"))
        })
        .collect()
}

#[test]
fn nobody_reviews_their_own_decision() {
    let site = DemoSite::new();
    hire_second_lead(&site);
    let bench = Bench::of(site);
    let bearer = |who: &str| {
        let (tokens, ..) = run(&bench.site, &["token", "--as", who]);
        format!("Bearer {}", tokens[0]["token"].as_str().expect("a token"))
    };
    let (lead, second) = (bearer("demo-safeguarding"), bearer("second-lead"));
    let submit = |record: String, headers: &[(&str, &str)]| {
        let accepted = bench.post(PATH, headers, record);
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.json());
        accepted.json()["message"].as_str().expect("it has an id").to_owned()
    };
    // One decision by the lead whom the agreement names, one by someone else that the second lead hands in.
    let decided = text(&bench.site, OVERRIDE).replace("Alex Placeholder", "Dr Safeguarding, Sue");
    let by_lead = submit(decided, &[JSON, ("idempotency-key", "by-the-lead")]);
    let by_second = submit(text(&bench.site, OVERRIDE), &[JSON, ("authorization", &*second)]);
    assert_ne!(by_lead, by_second);

    let done = r#"{"finding":"justified","words":"Nothing less would have done."}"#;
    let complete = |message: &str, who: &str| {
        bench.post(&format!("/reviews/{message}/completion"), &[JSON, ("authorization", who)], done)
    };
    for (message, who, says) in [(&by_lead, &lead, "names them as who decided"), (&by_second, &second, "handed in")] {
        let refused = complete(message, who);
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.json());
        let issue = &refused.json()["issue"][0];
        assert!(issue["details"]["text"].to_string().contains(says), "{issue}");
        assert!(issue["diagnostics"].to_string().contains("someone else with the role safeguarding-lead"), "{issue}");
    }
    let words = ["--finding", "justified", "--words", "Nothing less would have done."];
    let (_, is_done, said) = run(&bench.site, &[&["review", "complete", &by_lead], &words[..]].concat());
    assert!(!is_done && said.contains("names them as who decided") && said.contains("ask second-lead"), "{said}");
    let urn = |message: &str| format!("urn:uuid:{message}");
    let row = |who: &str, message: &str| (who.to_owned(), urn(message), "own-decision".to_owned());
    let (of_lead, of_second) = (row("demo-safeguarding", &by_lead), row("second-lead", &by_second));
    wait_for("the refused act to be audited", || refused_reviews(&bench.site).len() == 3);
    assert_eq!(refused_reviews(&bench.site), [of_lead.clone(), of_second, of_lead]);
    assert_eq!(audited(&bench.site, "review-completed"), 0);

    assert_eq!(complete(&by_lead, &second).status, StatusCode::OK, "each may review the other's");
    let (_, is_done, said) = run(&bench.site, &[&["review", "complete", &by_second], &words[..]].concat());
    assert!(is_done, "{said}");
    assert_eq!(audited(&bench.site, "review-completed"), 2);
}

/// Whatever is changed beside the audit log in a review shows.
fn assert_tampering_shows(site: &DemoSite) {
    let file = site.path("gateway/data/weir.sqlite3");
    let sound = fs::read(&file).expect("the gateway left one file");
    for (change, says) in [
        ("UPDATE reviews SET due_at = due_at + 3600000", "in deadline"),
        ("UPDATE reviews SET finding = 'justified'", "in finding"),
        ("UPDATE reviews SET finding = NULL, completed_at = NULL, completed_by = NULL", "in finding"),
        ("UPDATE reviews SET decision = zeroblob(60)", "the decision of message"),
        ("DELETE FROM reviews", "the review of message"),
    ] {
        rusqlite::Connection::open(&file).expect("it opens").execute(change, []).expect("it runs");
        let mut verified = weir();
        verified.args(["audit", "verify", "--as", "demo-auditor", "--site"]).arg(site.gateway_folder());
        let said = verified.output().expect("weir runs");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(!said.status.success() && text.contains(says), "{change}: {text}");
        for beside in ["-wal", "-shm"] {
            let _not_there = fs::remove_file(site.path(&format!("gateway/data/weir.sqlite3{beside}")));
        }
        fs::write(&file, &sound).expect("it is restored");
    }
}

fn metric(site: &DemoSite, line: &str) -> bool {
    http_get(site.operations(), "/metrics").is_some_and(|(_, text)| text.lines().any(|each| each == line))
}

#[test]
fn an_overdue_review_shows_everywhere_and_is_audited_once_across_restarts() {
    let site = DemoSite::new();
    let bench = Bench::of(site);
    let soon = time::OffsetDateTime::now_utc() + time::Duration::seconds(10);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).expect("it is a time");
    let record = text(&bench.site, OVERRIDE).replace("2036-03-06T17:00:00+00:00", &soon);
    let accepted = bench.post(PATH, &[JSON], record);
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.json());
    wait_for("the review to be overdue", || metric(&bench.site, "weir_reviews{state=\"overdue\"} 1"));
    wait_for("that to be audited", || audited(&bench.site, "review-overdue") == 1);
    let (status, ready) = http_get(bench.site.operations(), "/readyz").expect("it answers");
    let ready: Value = serde_json::from_str(&ready).expect("it is JSON");
    assert_eq!((status, &ready["reviews"]["overdue"]), (200, &1.into()), "an overdue review stops no message");
    assert_eq!(run(&bench.site, &["review", "list"]).0[0]["state"], "overdue");

    let site = bench.kill();
    for _ in 0..2 {
        let gateway = site.start_gateway();
        std::thread::sleep(Duration::from_millis(1200));
        gateway.kill();
    }
    assert_eq!(audited(&site, "review-overdue"), 1);
    let gateway = site.start_gateway();
    wait_for("a signed head over all events", || {
        let site = Site::load(&site.gateway_folder()).unwrap_or_else(|faults| panic!("{faults}"));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let store = site.open_for_reading().expect("the store opens");
        runtime.block_on(verify(&store, site.audit_verifier(), None)).expect("it is read").not_yet_covered() == 0
    });
    drop(gateway);
    assert_audit_holds(&site);
}

#[test]
fn an_unjustified_sharing_reaches_the_webhook_and_the_spool_and_survives_a_crash() {
    let site = DemoSite::new();
    let (runtime, calls) = (tokio::runtime::Runtime::new().expect("a runtime starts"), Calls::default());
    let (port, ca) = webhook(&runtime, calls.clone());
    fs::write(site.path("gateway/pki/incident-ca.pem"), ca).expect("it can be written");
    let config = site.path("gateway/weir.toml");
    let written = fs::read_to_string(&config).expect("the site has a weir.toml");
    let incidents = "\n[incidents]\ntrust_anchors = \"pki/incident-ca.pem\"\nfirst_retry_seconds = 1\n";
    fs::write(&config, written.clone() + incidents).expect("it can be written");
    name_webhook(&site, port);
    for by in ["demo-guardian", "demo-siro"] {
        let mut approve = weir();
        approve
            .args(["agreement", "approve", "demo-trust-crisis.toml", "--as", by, "--site"])
            .arg(site.gateway_folder());
        let approved = approve.output().expect("weir runs");
        assert!(approved.status.success(), "{}", String::from_utf8_lossy(&approved.stderr));
    }

    let gateway = site.start_gateway();
    let (sent, _) = site.send(OVERRIDE, &["--wait-seconds", "0"]);
    let id = sent["message"].as_str().expect("it has an id").to_owned();
    gateway.kill();
    let file = site.path("gateway/agreements/demo-trust-crisis.toml");
    let agreement = fs::read_to_string(&file).expect("the agreement is there");
    fs::write(&file, agreement.replacen("version = \"1\"", "version = \"2\"", 1)).expect("it can be written");
    let words = "A visit was possible; nobody asked.";
    let complete = ["review", "complete", &id, "--finding", "not-justified", "--words", words];
    let (said, done, error) = run(&site, &complete);
    assert!(done, "{error}");
    assert_eq!(said[0]["state"], "handed in", "it counts when the gateway runs");
    let mut by_another = complete.to_vec();
    by_another.extend(["--as", "demo-owner"]);
    let (_, done, error) = run(&site, &by_another);
    assert!(!done && error.contains("no role of demo-owner permits complete-review"), "{error}");

    let gateway = site.start_gateway();
    wait_for("the first call", || !calls.lock().expect("no panic").is_empty());
    gateway.kill();
    let _gateway = site.start_gateway();
    wait_for("both notices to arrive", || audited(&site, "incident-reported") == 2);
    let calls = calls.lock().expect("no panic").clone();
    assert!(calls.len() >= 2, "the first call was refused: it is tried again");
    assert!(calls.iter().all(|call| *call == calls[0]), "each attempt is the same notice: {calls:#?}");
    let notice: Value = serde_json::from_str(&calls[0].1).expect("it is JSON");
    assert_eq!((&notice["message"], &notice["severity"]), (&id.as_str().into(), &"major".into()));
    assert_eq!((&notice["notice"], &notice["reviewedBy"]), (&calls[0].0.as_str().into(), &"demo-safeguarding".into()));
    assert_eq!(notice["agreement"]["version"], "1", "the one that it was shared under: {notice}");
    for personal in [words, "9990005249", "Specimen", "Alex", "threat"] {
        assert!(!calls[0].1.contains(personal), "{personal} is in the notice");
    }
    let spool = fs::read_dir(site.path("gateway/data/incidents")).expect("the spool is there");
    let paths = spool.map(|file| file.expect("it is readable").path());
    // A crash may leave the scratch file of a write that it cut short.
    let files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    let [file] = &files[..] else { panic!("one incident is one file: {files:?}") };
    let spooled: Value = serde_json::from_slice(&fs::read(file).expect("it is readable")).expect("it is whole");
    assert_eq!(spooled["incident"], notice["incident"]);
    wait_for("nothing to wait", || metric(&site, "weir_incident_notices_waiting 0"));
    let (tasks, ..) = run(&site, &["review", "show", &id]);
    assert_eq!(tasks[0]["status"], "completed");
    assert!(tasks[0]["output"].to_string().contains("not-justified"), "{}", tasks[0]);
    assert!(metric(&site, "weir_reviews{state=\"completed\"} 1"));
    assert_eq!(audited(&site, "review-completed"), 1);
}

#[test]
fn a_webhook_without_an_authority_is_a_fault_of_the_site() {
    let site = DemoSite::new();
    name_webhook(&site, 1);
    let checked = weir().args(["config", "check", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(!checked.status.success() && said.contains("trust_anchors"), "{said}");
}
