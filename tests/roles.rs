//! Every call and every command runs as a principal of the site; what its roles do not permit does not happen, and
//! both are in the audit log. The built program, real sockets, mutual TLS.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;
use std::sync::Arc;

use serde_json::Value;
use support::{Bench, DemoSite, wait_for, weir};
use weir::audit::checkpoint::VerifierKey;
use weir::config::Site;
use weir::identity::principal::{Action, Principal};

const RECORD: &str = "crisis-escalation-complete.json";
const JSON: (&str, &str) = ("content-type", "application/json");

/// The site, read as a program would.
fn open(bench: &DemoSite) -> Site {
    Site::load(&bench.gateway_folder()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Of each access in the audit log: who, what, and whether it was permitted.
fn accesses(site: &DemoSite) -> Vec<(String, String, bool)> {
    let events = site.audit_events().into_iter();
    let is_access =
        |event: &Value| event["subtype"].as_array().is_some_and(|all| all.iter().any(|it| it["code"] == "access"));
    events
        .filter(is_access)
        .map(|event| {
            let who = text(&event["agent"][0]["who"]["identifier"]["value"]);
            (who, text(&event["entity"][0]["detail"][0]["valueString"]), event["outcome"] == "0")
        })
        .collect()
}

fn run(site: &DemoSite, arguments: &[&str]) -> (i32, String, String) {
    let done = weir().args(arguments).arg("--site").arg(site.gateway_folder()).output().expect("weir runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

fn token(site: &DemoSite, id: &str) -> String {
    let (code, token, error) = run(site, &["token", "--as", id]);
    assert_eq!(code, 0, "{error}");
    format!("Bearer {}", token.trim())
}

/// A gateway with one accepted message, and the message's id.
fn bench() -> (Bench, String) {
    bench_of(DemoSite::new())
}

fn bench_of(site: DemoSite) -> (Bench, String) {
    let bench = Bench::of(site);
    let accepted = bench.post("/records/crisis-escalation", &[JSON], bench.site.record(RECORD));
    assert_eq!(accepted.status, 202, "the listed record system may submit: {:?}", accepted.json());
    let id = accepted.json()["message"].as_str().expect("it names the message").to_owned();
    (bench, id)
}

#[test]
fn each_person_may_over_http_what_a_role_of_theirs_permits_and_nothing_else() {
    let (bench, id) = bench();
    let site = open(&bench.site);
    let people: Vec<&Principal> =
        site.staff().principals().iter().filter(|principal| principal.key.is_some()).collect();
    assert!(people.len() >= 6, "the demo has people of most roles");
    let event = text(&bench.site.audit_events()[0]["id"]);
    let provenance = weir::provenance::id_of(id.parse().expect("a UUID"));
    let mut expected = Vec::new();
    for person in people {
        let token = token(&bench.site, person.id.as_str());
        let calls = [
            (Action::Preview, "/records/crisis-escalation?dry-run".to_owned(), true),
            (Action::Submit, "/records/crisis-escalation".to_owned(), true),
            (Action::ReadMessage, format!("/messages/{id}"), false),
            (Action::ReadMessage, "/handovers".to_owned(), false),
            (Action::ReadLineage, format!("/messages/{id}/lineage"), false),
            (Action::ReadWithheld, format!("/messages/{id}/withheld"), false),
            (Action::VerifyAudit, "/FHIR/R4/AuditEvent?_count=1".to_owned(), false),
            (Action::ReadLineage, format!("/FHIR/R4/Provenance?target=urn:uuid:{id}"), false),
            (Action::VerifyAudit, format!("/FHIR/R4/AuditEvent/{event}"), false),
            (Action::ReadLineage, format!("/FHIR/R4/Provenance/{provenance}"), false),
        ];
        for (action, path, is_post) in calls {
            let headers = [JSON, ("authorization", &*token)];
            let answer = match is_post {
                true => bench.post(&path, &headers, bench.site.record(RECORD)),
                false => bench.get(&path, &headers),
            };
            let may = person.may(action);
            let status = if may { 200 } else { 403 };
            assert_eq!(answer.status, status, "{} {action}: {:?}", person.id, answer.json());
            if !may {
                assert_eq!(answer.json()["issue"][0]["code"], "forbidden");
            }
            expected.push((person.id.to_string(), action.to_string(), may));
        }
    }
    let log = accesses(&bench.site);
    let people: Vec<_> = log.into_iter().filter(|(who, _, _)| who != "demo-records").collect();
    assert_eq!(people, expected, "each call, also a refused one, is one leaf");
}

#[test]
fn lineage_names_what_was_held_back_only_to_those_who_may_see_it() {
    let (bench, id) = bench();
    let engineer = token(&bench.site, "demo-engineer");
    let lineage = bench.get(&format!("/messages/{id}/lineage"), &[("authorization", &engineer)]).json();
    assert!(lineage["left"].as_array().is_some_and(|left| left.len() > 100), "{lineage}");
    let count = lineage["withheldCount"].as_u64().expect("how much was held back is told");
    assert_eq!(lineage["withheld"], Value::Null);
    let guardian = token(&bench.site, "demo-guardian");
    let withheld = bench.get(&format!("/messages/{id}/withheld"), &[("authorization", &guardian)]).json();
    assert_eq!(withheld.as_array().map(|rows| rows.len() as u64), Some(count));
    assert!(count > 0 && withheld[0]["why"].is_string(), "{withheld}");
}

#[test]
fn the_log_is_searched_over_http_and_each_search_is_in_it() {
    let (bench, id) = bench();
    let auditor = token(&bench.site, "demo-auditor");
    let headers = [("authorization", &*auditor)];
    assert_eq!(bench.get(&format!("/messages/{id}/withheld"), &headers).status, 200);
    let get = |path: &str| {
        let answer = bench.get(&format!("/FHIR/R4/{path}"), &headers);
        assert_eq!(answer.status, 200, "{path}: {}", answer.json());
        answer.json()
    };
    let resources = |set: &Value| -> Vec<Value> {
        assert_eq!((&set["resourceType"], &set["type"]), (&"Bundle".into(), &"searchset".into()));
        set["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect()
    };
    let of_message = resources(&get(&format!("AuditEvent?entity:identifier=urn:ietf:rfc:3986|urn:uuid:{id}")));
    assert!(of_message.iter().all(|event| event["resourceType"] == "AuditEvent" && event.to_string().contains(&id)));
    let accepted = of_message.last().expect("the oldest stands last");
    assert!(accepted.to_string().contains("message-accepted"), "{accepted}");
    let patient = accepted["entity"].as_array().expect("entities").iter().find(|it| it["what"]["type"] == "Patient");
    let hash = patient.expect("a patient")["what"]["identifier"]["value"].as_str().expect("a keyed hash").to_owned();

    let system = "https://weir.example/Id/keyed-hash";
    let of_patient =
        resources(&get(&format!("AuditEvent?patient:identifier={system}|{hash}&subtype=message-accepted")));
    assert_eq!(of_patient, std::slice::from_ref(accepted));
    let nobody = "0".repeat(64);
    assert_eq!(resources(&get(&format!("AuditEvent?patient={nobody}&subtype=message-accepted"))), [] as [Value; 0]);
    let refused_of_auditor = "AuditEvent?agent:identifier=demo-auditor&outcome=4,8";
    assert_eq!(resources(&get(refused_of_auditor)), [] as [Value; 0]);
    assert!(resources(&get("AuditEvent?agent:identifier=demo-auditor&outcome=0")).len() >= 3, "its own searches");
    assert_eq!(resources(&get("AuditEvent?date=lt2026-01-01")), [] as [Value; 0]);

    let (mut path, mut seen) = ("AuditEvent?date=ge2026-01-01&_count=2".to_owned(), 0);
    loop {
        let page = get(&path);
        seen += resources(&page).len();
        let next = page["link"].as_array().expect("links").iter().find(|link| link["relation"] == "next");
        let Some(next) = next else { break };
        path = next["url"].as_str().expect("a URL").to_owned();
    }
    let log = bench.site.audit_events();
    // Each page is asked for after the search for it was written down.
    assert!(seen > of_message.len() && seen <= log.len(), "{seen} of {}", log.len());

    let provenances = resources(&get(&format!("Provenance?patient:identifier={hash}")));
    let [provenance] = &provenances[..] else { panic!("one message, one Provenance") };
    assert!(provenance["entity"].to_string().contains(&id) && provenance["signature"][0]["data"].is_string());
    let target = provenance["target"][0]["reference"].as_str().expect("a reference");
    assert_eq!(resources(&get(&format!("Provenance?target={target}"))), provenances);

    let form = [("authorization", &*auditor), ("content-type", "application/x-www-form-urlencoded")];
    let record: Value = serde_json::from_slice(&bench.site.record(RECORD)).expect("a sample is JSON");
    let number = record["person"]["nhsNumber"].as_str().expect("the sample has an NHS number");
    let parameter = format!("patient:identifier=https://fhir.nhs.uk/Id/nhs-number|{number}");
    let asked = bench.post("/FHIR/R4/AuditEvent/_search", &form, format!("{parameter}&subtype=message-accepted"));
    assert_eq!((asked.status, resources(&asked.json())), (hyper::StatusCode::OK, of_patient));
    for path in ["AuditEvent?", "AuditEvent/_search?"] {
        let path = format!("/FHIR/R4/{path}{parameter}");
        let in_url = if path.contains("_search") { bench.post(&path, &form, "") } else { bench.get(&path, &headers) };
        assert_eq!(in_url.status, 400, "{path}");
        assert!(!in_url.json().to_string().contains(number), "{}", in_url.json());
    }
    let no_form = bench.post("/FHIR/R4/AuditEvent/_search", &[("authorization", &*auditor), JSON], "{}");
    assert_eq!(no_form.status, 415);
    let long = bench.post("/FHIR/R4/AuditEvent/_search", &form, "a&".repeat(9_000));
    assert_eq!(long.status, 413);
    let about_patient = |more: &str| resources(&get(&format!("AuditEvent?patient:identifier={hash}{more}")));
    for (kind, profile) in [("AuthZ-Consent", "AuthZconsent"), ("read", "PatientRead"), ("search-type", "PatientQuery")]
    {
        let events = about_patient(&format!("&subtype={kind}&outcome=0"));
        let claims = |event: &Value| event["meta"]["profile"][0].as_str().is_some_and(|it| it.ends_with(profile));
        assert!(!events.is_empty() && events.iter().all(claims), "{kind}: {events:?}");
    }
    let steps = about_patient("&subtype=state-transition");
    assert!(!steps.is_empty(), "a step of the message is about its patient");
    let asked = about_patient("&subtype=search-type");
    let query = asked[0]["entity"][1]["description"].as_str().expect("what was asked");
    assert!(query.starts_with("AuditEvent?patient%3Aidentifier=") && query.contains(&hash), "{query}");
    let searches = resources(&get(&format!("AuditEvent?patient:identifier={hash}&subtype=search-type")));
    assert!(
        searches.len() >= 3 && searches.iter().all(|event| event.to_string().contains("demo-auditor")),
        "who asked"
    );
    let written = String::from_utf8_lossy(&bench.site.stored_and_logged()).into_owned();
    assert!(!written.contains(number), "an NHS number lies in clear");
    assert_eq!(bench.get("/FHIR/R4/AuditEvent?name=x", &headers).status, 400);
}

#[test]
fn one_event_and_one_provenance_are_read_by_id_and_each_read_is_in_the_log() {
    let (bench, id) = bench();
    let auditor = token(&bench.site, "demo-auditor");
    let headers = [("authorization", &*auditor)];
    let get = |path: &str| bench.get(&format!("/FHIR/R4/{path}"), &headers);
    let events = bench.site.audit_events();
    let accepted = events.iter().find(|event| event.to_string().contains("message-accepted")).expect("it is there");
    let event = text(&accepted["id"]);
    let read = get(&format!("AuditEvent/{event}"));
    assert_eq!((read.status.as_u16(), &read.json()), (200, accepted));
    let provenances = |path: &str| -> Vec<Value> {
        let set = get(path);
        assert_eq!(set.status, 200, "{path}: {}", set.json());
        set.json()["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect()
    };
    let provenance = provenances(&format!("Provenance?entity={id}")).pop().expect("the message has one");
    let own = text(&provenance["id"]);
    assert_eq!(get(&format!("Provenance/{own}")).json(), provenance);
    let unknown = [&*id, &*own, "x"].map(|id| format!("AuditEvent/{id}"));
    for path in unknown.into_iter().chain([format!("Provenance/{event}")]) {
        let answer = get(&path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["resourceType"], "OperationOutcome");
        assert_eq!(answer.json()["issue"][0]["code"], "not-found");
    }

    let log = bench.site.audit_events();
    let reads = log.iter().filter(|event| event["subtype"][0]["code"] == "read").map(|event| {
        let profile = text(&event["meta"]["profile"][0]);
        let (what, who) = (&event["entity"][0]["what"], text(&event["agent"][0]["who"]["identifier"]["value"]));
        assert_eq!((&*who, &event["outcome"]), ("demo-auditor", &"0".into()));
        let of = [&what["type"], &what["identifier"]["value"]].map(text).join(" ");
        format!("{} {of}", profile.rsplit('.').next().unwrap_or_default()).trim().to_owned()
    });
    let expected = [
        format!("PatientRead AuditEvent urn:uuid:{event}"),
        // A Provenance is read as what the gateway has of its message.
        format!("PatientRead Bundle urn:uuid:{id}"),
        format!("Read AuditEvent urn:uuid:{id}"),
        format!("Read AuditEvent urn:uuid:{own}"),
        "Read".to_owned(),
        format!("Read Provenance urn:uuid:{event}"),
    ];
    assert_eq!(reads.collect::<Vec<_>>(), expected);
}

#[test]
fn a_provenance_is_found_by_its_agents_and_by_what_it_came_from() {
    let (bench, id) = bench();
    let auditor = token(&bench.site, "demo-auditor");
    let provenances = |search: &str| -> Vec<Value> {
        let set = bench.get(&format!("/FHIR/R4/Provenance?{search}"), &[("authorization", &auditor)]);
        assert_eq!(set.status, 200, "{search}: {}", set.json());
        set.json()["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect()
    };
    let [provenance] = &provenances("_count=9")[..] else { panic!("one message, one Provenance") };
    let entities = provenance["entity"].as_array().expect("entities");
    assert_eq!(entities.len(), 3, "record, map and profile");
    let uris = entities.iter().map(|entity| text(&entity["what"]["identifier"]["value"]));
    let by_uris = uris.map(|uri| format!("entity:identifier=urn:ietf:rfc:3986|{uri}"));
    let by_others = [
        format!("entity=urn:uuid:{id}"),
        "agent:identifier=https://fhir.nhs.uk/Id/ods-organization-code|DEMOP".to_owned(),
        format!("agent=DEMOP&entity={id}"),
    ];
    for search in by_uris.chain(by_others) {
        assert_eq!(provenances(&search), std::slice::from_ref(provenance), "{search}");
    }
    let another = "00000000-0000-4000-8000-000000000000";
    for search in ["agent=DEMOT", &format!("entity={another}"), &format!("agent=urn:weir:decision:{id}")] {
        assert_eq!(provenances(search), [] as [Value; 0], "{search}");
    }
}

#[test]
fn a_certificate_that_nobody_listed_may_do_nothing() {
    let site = DemoSite::new();
    let pki = site.path("gateway/pki");
    // Of the same authority and organisation as the record system's.
    for ending in ["pem", "key"] {
        fs::copy(pki.join(format!("gateway.{ending}")), pki.join(format!("records.{ending}"))).expect("it is copied");
    }
    let toml = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&toml).expect("there is a configuration");
    let (before, after) = text.split_once("[[principals]]\nid = \"demo-records\"").expect("it lists the record system");
    let after = after.split_once("[[principals]]").expect("others follow").1;
    fs::write(&toml, format!("{before}[[principals]]{after}")).expect("it is written");
    let bench = Bench::of(site);
    let refused = bench.post("/records/crisis-escalation", &[JSON], bench.site.record(RECORD));
    assert_eq!(refused.status, 403);
    let text = refused.json()["issue"][0].to_string();
    assert!(text.contains("not one of a principal") && text.contains("[[principals]]"), "{text}");
    assert_eq!(bench.get("/messages/0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77", &[]).status, 403);
    assert_eq!(bench.post("/FHIR/R4/$validate", &[("content-type", "application/fhir+json")], "{}").status, 403);
    let of = |action: &str| ("DEMOP".to_owned(), action.to_owned(), false);
    assert_eq!(accesses(&bench.site), [of("submit"), of("read-message"), of("preview")]);
    assert!(bench.site.inbox("trust").is_empty());
}

#[test]
fn a_token_that_does_not_count_is_401_and_audited() {
    let (bench, id) = bench();
    let good = token(&bench.site, "demo-guardian");
    let other = DemoSite::new();
    let path = format!("/messages/{id}");
    for wrong in [
        token(&other, "demo-guardian"),
        good.replace("Bearer ", "Basic "),
        format!("{good}x"),
        "Bearer a.b.c".to_owned(),
        "Bearer ".to_owned(),
    ] {
        let answer = bench.get(&path, &[("authorization", &wrong)]);
        assert_eq!(answer.status, 401, "{wrong}");
        assert_eq!(answer.json()["issue"][0]["code"], "login");
    }
    assert_eq!(bench.get(&path, &[("authorization", &good), ("authorization", &good)]).status, 401);
    assert_eq!(bench.get(&path, &[("authorization", &good)]).status, 200);
    let log = accesses(&bench.site);
    assert_eq!(log.iter().filter(|(_, _, permitted)| !permitted).count(), 6, "{log:?}");
    let logs = String::from_utf8_lossy(&bench.site.stored_and_logged()).into_owned();
    assert!(!logs.contains(good.trim_start_matches("Bearer ")), "a token is a secret");
}

#[test]
fn a_command_acts_as_someone_and_the_log_says_who_did_what() {
    let (bench, id) = bench();
    let site = &bench.site;
    let (code, _, error) = run(site, &["audit", "verify", "--as", "demo-safeguarding"]);
    assert!(code == 1 && error.contains("no role of demo-safeguarding permits verify-audit"), "{code} {error}");
    assert!(error.contains("demo-auditor"), "it says whom to ask: {error}");
    assert_eq!(run(site, &["audit", "verify", "--as", "demo-auditor"]).0, 0);
    assert_eq!(run(site, &["explain", &id, "--as", "demo-guardian"]).0, 0);
    let expected = [
        ("demo-safeguarding", "verify-audit", false),
        ("demo-auditor", "verify-audit", true),
        ("demo-guardian", "read-lineage", true),
        ("demo-guardian", "read-withheld", true),
    ];
    let expected = expected.map(|(who, what, may)| (who.to_owned(), what.to_owned(), may));
    wait_for("the acts to be performed", || expected.iter().all(|row| accesses(site).contains(row)));
    assert_eq!(accesses(site).len(), expected.len(), "each once");
}

#[test]
fn what_was_done_while_the_gateway_stood_still_is_in_the_log_when_it_runs() {
    let site = DemoSite::new();
    let gateway = site.start_gateway();
    assert_eq!(gateway.terminate(), Some(0));
    assert_eq!(run(&site, &["audit", "verify"]).0, 0);
    assert_eq!(accesses(&site), []);
    let _gateway = site.start_gateway();
    let row = ("demo-engineer".to_owned(), "verify-audit".to_owned(), true);
    wait_for("the act to be performed", || accesses(&site) == [row.clone()]);
}

#[test]
fn a_command_needs_a_key_that_is_the_listed_one() {
    let site = DemoSite::new();
    let record = site.path("records").join(RECORD);
    let record = record.to_str().expect("it is text");
    let map = ["map", record, "--interface", "crisis-escalation"];
    let stranger = site.path("stranger.key");
    let stranger = stranger.to_str().expect("it is text");
    let made = weir().args(["staff", "key", "stranger", "--file", stranger]).output().expect("weir runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for (more, says) in [
        (&["--as", "nobody"] as &[&str], "there is no principal nobody"),
        (&["--as", "demo-ig-lead", "--key", stranger], "not the one that weir.toml lists for demo-ig-lead"),
        (&["--as", "demo-records"], "demo-records.key"),
    ] {
        let (code, out, error) = run(&site, &[&map, more].concat());
        assert!(code == 2 && out.is_empty() && error.contains(says), "{more:?}: {code} {error}");
    }
    let (code, out, error) = run(&site, &[&map, &["--as", "demo-auditor"] as &[&str]].concat());
    assert!(code == 1 && out.is_empty() && error.contains("permits preview"), "{code} {error}");
    assert_eq!(run(&site, &map).0, 0, "without --as the site's own default acts");
    let listed = run(&site, &["staff", "list"]).1;
    assert!(listed.contains("demo-safeguarding") && listed.contains("complete-review"), "{listed}");
}

#[test]
fn the_audit_log_verifies_with_all_of_it() {
    let (bench, id) = bench();
    let guardian = token(&bench.site, "demo-guardian");
    assert_eq!(bench.get(&format!("/messages/{id}/withheld"), &[("authorization", &guardian)]).status, 200);
    let site = open(&bench.site);
    let verifier: &VerifierKey = site.audit_verifier();
    let store = Arc::new(site.open_for_reading().expect("there is a database"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let report = runtime.block_on(weir::audit::verify(&*store, verifier, None)).expect("it is read");
    assert!(report.faults.is_empty(), "{report}");
}

/// The commands that end in no others, from the help that they print themselves.
fn commands(above: &[&str]) -> Vec<String> {
    let help = weir().args(above).arg("--help").output().expect("weir runs").stdout;
    let help = String::from_utf8(help).expect("it is text");
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return vec![above.join(" ")] };
    let list = list.split("\n\n").next().unwrap_or_default().lines();
    let names = list.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    let names = names.filter_map(|line| line.split(' ').next()).filter(|name| *name != "help");
    names.flat_map(|name| commands(&[above, &[name]].concat())).collect()
}

#[test]
fn every_command_has_its_action_and_is_refused_without_it() {
    let site = DemoSite::new();
    // Someone who only makes maps: all others may see who has approved what.
    let key = site.gateway_folder().join("pki/staff/map-maker.key");
    let made = weir().args(["staff", "key", "map-maker", "--file"]).arg(key).output().expect("weir runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let toml = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&toml).expect("there is a configuration");
    let maker = "\n[[principals]]\nid = \"map-maker\"\nname = \"Map maker (synthetic)\"\n\
                 roles = [\"integration-engineer\"]\nkey = \"pki/staff/map-maker.pub\"\n";
    fs::write(&toml, text + maker).expect("it is written");
    let (bench, id) = bench_of(site);
    let site = &bench.site;
    let record = site.path("records").join(RECORD);
    let record = record.to_str().expect("it is text");
    let done = ["--finding", "justified", "--words", "w"];
    let minimise = ["minimise", record, "--agreement", "demo-trust-crisis", "--interface", "crisis-escalation"];
    let runs: [(Action, Vec<&str>); 22] = [
        (Action::Administer, vec!["serve"]),
        (Action::Preview, vec!["map", record, "--interface", "crisis-escalation"]),
        (Action::Preview, minimise.to_vec()),
        (Action::ReadLineage, vec!["explain", &id]),
        (Action::ApproveAgreement, vec!["agreement", "approve", "demo-trust-crisis.toml"]),
        (Action::ReadApprovals, vec!["agreement", "approvals"]),
        (Action::ReadReviews, vec!["review", "list"]),
        (Action::ReadReviews, vec!["review", "show", &id]),
        (Action::CompleteReview, [&["review", "complete", &id], &done[..]].concat()),
        (Action::Administer, vec!["package", "add", record]),
        (Action::VerifyAudit, vec!["audit", "verify"]),
        (Action::VerifyAudit, vec!["audit", "prove", &id]),
        (Action::VerifyAudit, vec!["audit", "export"]),
        (Action::VerifyAudit, vec!["audit", "head"]),
        (Action::ReadMessage, vec!["messages", "list"]),
        (Action::ReadMessage, vec!["messages", "show", &id]),
        (Action::ReadMessage, vec!["messages", "dead"]),
        (Action::ReadMessage, vec!["handover", "list"]),
        (Action::ReadMessage, vec!["handover", "show", &id]),
        (Action::RetryMessage, vec!["messages", "retry", &id, "--why", "try-again"]),
        (Action::CancelMessage, vec!["messages", "cancel", &id, "--why", "no-longer-needed"]),
        (Action::EraseSubject, vec!["erase", "--subject", "9990000018"]),
    ];
    // A review, so that there is one to complete.
    let shared = bench.post("/records/crisis-escalation", &[JSON], site.record("crisis-escalation-override.json"));
    let shared = shared.json()["message"].as_str().expect("it names the message").to_owned();
    let staff = open(site);
    let people = || staff.staff().principals().iter().filter(|principal| principal.key.is_some());
    let page = include_str!("../docs/roles.md");
    let mut expected = accesses(site);
    let mut acting = Vec::new();
    for (action, arguments) in &runs {
        let who = people().find(|person| !person.may(*action)).expect("someone may not").id.as_str();
        let arguments: Vec<&str> = arguments.iter().map(|each| if *each == id { &*shared } else { each }).collect();
        let (code, out, error) = run(site, &[&arguments[..], &["--as", who]].concat());
        let says = format!("no role of {who} permits {action}");
        let refused = match action {
            Action::ApproveAgreement => code == 2 && error.contains(&format!("{who} does not approve")),
            _ => code == 1 && error.contains(&says),
        };
        assert!(refused && out.is_empty(), "{arguments:?}: {code} {out} {error}");
        expected.push((who.to_owned(), action.to_string(), false));
        let is_name = |each: &&&str| each.bytes().all(|byte| byte.is_ascii_lowercase());
        let command: Vec<&str> = arguments.iter().take_while(is_name).copied().collect();
        acting.push(command.join(" "));
        let row = format!("| `weir {}` | {action}", command.join(" "));
        assert!(page.contains(&row), "docs/roles.md has no row {row}");
    }
    wait_for("each refused command to be a leaf", || expected.iter().all(|row| accesses(site).contains(row)));
    assert_eq!(accesses(site).len(), expected.len());
    for command in commands(&[]) {
        assert!(page.contains(&format!("| `weir {command}` |")), "docs/roles.md does not say as whom {command} runs");
        let help = weir().args(command.split(' ')).arg("--help").output().expect("weir runs").stdout;
        let acts = String::from_utf8_lossy(&help).contains("--as <ID>");
        assert_eq!(acts, acting.contains(&command) || command == "token", "{command} acts as someone, or does not");
    }
}

#[test]
fn the_log_says_who_started_the_gateway_and_who_may_not_does_not() {
    let site = DemoSite::new();
    let (code, _, error) = run(&site, &["serve", "--as", "demo-guardian"]);
    assert!(code == 1 && error.contains("no role of demo-guardian permits administer"), "{code} {error}");
    assert!(error.contains("demo-engineer"), "it says whom to ask: {error}");
    assert!(!site.path("gateway/data/weir.sqlite3").exists(), "nothing was started");
    let _gateway = site.start_gateway();
    assert_eq!(accesses(&site), [("demo-guardian".to_owned(), "administer".to_owned(), false)]);
    let first = &site.audit_events()[0];
    assert!(first["subtype"].to_string().contains("gateway-started"), "{first}");
    assert_eq!(first["agent"][0]["who"]["identifier"]["value"], "demo-engineer");
    assert_eq!(first["agent"][0]["requestor"], true);
}
