//! The command line's contract: exit codes, `--format json`, and what each verb prints.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use support::{DemoSite, json_of, weir};
use tempfile::TempDir;

fn run(arguments: &[&str]) -> Output {
    weir().args(arguments).output().expect("weir runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it is text")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// A file in a folder, with its path.
fn written(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("it can be written");
    path
}

#[test]
fn usage_errors_are_2_and_every_verb_has_help() {
    for wrong in [&["nonsense"][..], &[], &["map"], &["send", "x.json"], &["validate", "no-such-file.json"]] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    for verb in ["demo", "serve", "partner", "send", "map", "transform", "validate", "minimise", "explain", "bench"] {
        let help = run(&[verb, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{verb}");
        assert!(stdout(&help).contains("Example"), "{verb} has no example");
    }
    for verb in [["config", "check"], ["audit", "verify"]] {
        assert!(stdout(&run(&[verb[0], verb[1], "--help"])).contains("Example"), "{verb:?}");
    }
}

#[test]
fn a_key_is_for_its_owner_alone_and_written_over_no_other() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().expect("a temporary folder can be made");
    for (kind, begins) in
        [("audit", "PRIVATE+KEY+audit.demop.example+"), ("payload", ""), ("hash", ""), ("pseudonym", "")]
    {
        let file = folder.path().join(kind);
        let mut arguments = vec!["key", kind, "--file", text(&file)];
        arguments.extend((kind == "audit").then_some("audit.demop.example"));
        let made = run(&arguments);
        assert_eq!(made.status.code(), Some(0), "{kind}");
        let secret = fs::read_to_string(&file).expect("it is written");
        assert!(secret.starts_with(begins) && (kind == "audit" || secret.trim().len() == 64), "{kind}");
        assert!(!stdout(&made).contains(secret.trim()), "no secret is printed");
        assert_eq!(stdout(&made).contains("audit.demop.example+"), kind == "audit", "the public half is");
        let mode = fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{kind}");
        let again = run(&arguments);
        assert_eq!((again.status.code(), fs::read_to_string(&file).expect("it is there")), (Some(2), secret), "{kind}");
        assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"), "{kind}");
    }
    let other = folder.path().join("other");
    assert_eq!(run(&["key", "audit", "with space", "--file", text(&other)]).status.code(), Some(2));
    assert!(!other.exists(), "nothing is left of a name that does not do");
}

#[test]
fn validate_answers_yes_or_no_with_an_operation_outcome() {
    let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
    let file = folder.path().join("patient.json");
    let check = |content: &str, more: &[&str]| {
        fs::write(&file, content).expect("it is written");
        let mut arguments = vec!["validate", "--format", "json", text(&file)];
        arguments.extend(more);
        let output = run(&arguments);
        (json_of(&output), output.status.code())
    };
    let (outcome, code) = check(r#"{"resourceType":"Patient","birthDate":"1987-06-14"}"#, &[]);
    assert_eq!((&outcome["resourceType"], code), (&json!("OperationOutcome"), Some(0)), "{outcome}");
    let (outcome, code) = check("{\"resourceType\":\"Patient\",\n \"birthDate\":\"1987-02-30\"}", &[]);
    assert_eq!(code, Some(1));
    let issue = &outcome["issue"][0];
    assert_eq!((&issue["severity"], &issue["expression"][0]), (&json!("error"), &json!("Patient.birthDate")));
    assert!(issue["diagnostics"].as_str().is_some_and(|text| text.starts_with("line 2, column 14")), "{issue}");
    let (outcome, code) = check(r#"{"resourceType":"Patient""#, &[]);
    assert_eq!((&outcome["issue"][0]["code"], code), (&json!("structure"), Some(1)));
    let profile = ["--profile", "https://weir.example/fhir/StructureDefinition/weir-patient"];
    assert_eq!(check(r#"{"resourceType":"Patient"}"#, &profile).1, Some(1), "our profile asks for more");
    fs::write(&file, "{}").expect("it is written");
    assert_eq!(run(&["validate", text(&file), "--profile", "https://no.example/such"]).status.code(), Some(2));
}

#[test]
fn validate_shows_people_the_line_without_its_values() {
    let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
    let file = folder.path().join("patient.json");
    fs::write(&file, "{\"resourceType\":\"Patient\",\n \"birthDate\":\"1987-02-30\"}").expect("it is written");
    let words = run(&["validate", "--format", "text", text(&file)]);
    let shown = stdout(&words);
    assert!(shown.contains(":2:14, at Patient.birthDate\n2 |  \"birthDate\":\"··········\"}\n"), "{shown}");
    assert!(shown.contains("\n  |              ^^^^^^^^^^^^\n"), "{shown}");
    assert!(shown.trim_end().ends_with("patient.json: not valid (1 error, 1 remarks)"), "{shown}");
    assert!(!shown.contains("1987") && words.status.code() == Some(1), "{shown}");
    let outcome: Value = serde_json::from_slice(&run(&["validate", text(&file)]).stdout).expect("an OperationOutcome");
    assert_eq!(outcome["resourceType"], "OperationOutcome");
}

#[cfg(feature = "xml")]
#[test]
fn validate_reads_xml() {
    let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
    let file = folder.path().join("patient.xml");
    let check = |content: &str| {
        fs::write(&file, content).expect("it is written");
        run(&["validate", text(&file)]).status.code()
    };
    assert_eq!(check(r#"<Patient xmlns="http://hl7.org/fhir"><birthDate value="1987-06-14"/></Patient>"#), Some(0));
    assert_eq!(check(r#"<Patient xmlns="http://hl7.org/fhir"><birthDate value="1987-06-99"/></Patient>"#), Some(1));
    let bomb =
        r#"<!DOCTYPE x [<!ENTITY a "aaaa">]><Patient xmlns="http://hl7.org/fhir"><language value="&a;"/></Patient>"#;
    assert_eq!(check(bomb), Some(1));
}

#[test]
fn transform_runs_any_map_and_shows_where_a_map_is_wrong() {
    let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
    let (map, source) = (folder.path().join("copy.map"), folder.path().join("source.json"));
    fs::write(&source, r#"{"resourceType":"Patient","birthDate":"1987-06-14","active":true}"#).expect("it is written");
    let write = |element: &str| {
        let rules = format!(
            "map \"http://example.org/copy\" = \"Copy\"\n\n\
             uses \"http://hl7.org/fhir/StructureDefinition/Patient\" alias Patient as source\n\
             uses \"http://hl7.org/fhir/StructureDefinition/Patient\" as target\n\n\
             group Copy(source src : Patient, target tgt : Patient) {{\n  src.birthDate as born -> tgt.{element} = born \"born\";\n}}\n"
        );
        fs::write(&map, rules).expect("it is written");
        run(&["transform", "--map", text(&map), text(&source), "--format", "json"])
    };
    let made = write("birthDate");
    assert_eq!(json_of(&made), json!({ "resourceType": "Patient", "birthDate": "1987-06-14" }));
    let wrong = write("birthDay");
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    for part in ["copy.map", "birthDay", "\"column\":28,\"endLine\":7,\"endColumn\":40"] {
        assert!(said.contains(part), "`{part}` is missing in {said}");
    }
}

#[test]
fn map_then_minimise_shows_what_would_leave_and_why_the_rest_would_not() {
    let site = DemoSite::new();
    let (gateway, record) = (site.gateway_folder(), site.path("records/crisis-escalation-complete.json"));
    let common = ["--interface", "crisis-escalation", "--site", text(&gateway)];
    let mapped = weir().args(["map", text(&record)]).args(common).output().expect("weir runs");
    assert_eq!(mapped.status.code(), Some(0));
    let (bundle, manifest) = (site.path("bundle.json"), site.path("manifest.json"));
    fs::write(&bundle, &mapped.stdout).expect("it is written");
    let cut = |agreement: &str| {
        weir()
            .args([
                "minimise",
                text(&bundle),
                "--agreement",
                agreement,
                "--manifest",
                text(&manifest),
                "--format",
                "json",
            ])
            .args(common)
            .output()
            .expect("weir runs")
    };
    let projected = cut("demo-icb-crisis");
    assert_eq!(projected.status.code(), Some(0));
    assert!(stdout(&mapped).contains("Exemplar") && !stdout(&projected).contains("Exemplar"));
    assert_eq!(json_of(&projected)["meta"]["security"][0]["code"], "SUBSETTED");
    let manifest: Value = serde_json::from_slice(&fs::read(&manifest).expect("it is there")).expect("it is JSON");
    let withheld = manifest["withheld"].as_array().expect("it lists what is withheld");
    let name = withheld.iter().find(|row| row["path"] == "Bundle.entry[2].resource.name");
    assert_eq!(name.map(|row| &row["why"]), Some(&json!("not permitted")), "{manifest:#}");
    let becomes = |path: &str| {
        let rows = manifest["generalised"].as_array().expect("it lists what is less exact");
        let row = rows.iter().find(|row| row["path"] == format!("Bundle.entry[2].resource.{path}"));
        row.map_or(Value::Null, |row| row["to"].clone())
    };
    for (path, to) in
        [("identifier[0].value", "pseudonym"), ("birthDate", "age-band"), ("address[0].postalCode", "outward-code")]
    {
        assert_eq!(becomes(path), to, "{path}");
    }
    let sent = stdout(&projected);
    assert!(sent.contains("\"postalCode\":\"ZZ99\"") && sent.contains("https://weir.example/fhir/Id/pseudonym/DEMOI"));
    for value in ["9990001014", "1987-06-14", "ZZ99 3CZ"] {
        assert!(stdout(&mapped).contains(value) && !sent.contains(value), "{value}");
    }
    assert!(!manifest.to_string().contains("Exemplar"), "a manifest holds no value");
    assert_eq!(cut("no-such-agreement").status.code(), Some(2));
    let objection = stdout(&mapped).replacen(
        "\"status\": \"active\",\n        \"scope\"",
        "\"status\": \"rejected\",\n        \"scope\"",
        1,
    );
    assert_ne!(objection, stdout(&mapped), "the sample has a Consent that is active");
    fs::write(&bundle, objection).expect("it is written");
    let refused = cut("demo-trust-crisis");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("nothing would leave: the person objects"), "{said}");
    assert_eq!(refused.status.code(), Some(1));

    let refused = site.path("records/rejected/missing-required.json");
    let refused = weir().args(["map", text(&refused), "--format", "json"]).args(common).output().expect("weir runs");
    assert_eq!((refused.status.code(), &json_of(&refused)["resourceType"]), (Some(1), &json!("OperationOutcome")));
}

#[test]
fn config_check_finds_every_fault_before_a_start_does() {
    let site = DemoSite::new();
    let gateway = site.gateway_folder();
    let check = || run(&["config", "check", "--format", "json", "--site", text(&gateway)]);
    let good = check();
    assert_eq!((good.status.code(), &json_of(&good)["faults"]), (Some(0), &json!([])));

    let change = |file: &str, from: &str, to: &str| {
        let path = gateway.join(file);
        let text = fs::read_to_string(&path).expect("it is there");
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replacen(from, to, 1)).expect("it is written");
    };
    change("agreements/demo-trust-crisis.toml", "\"birthDate\"", "\"birthDay\"");
    change("agreements/demo-icb-crisis.toml", "ods = \"DEMOI\"", "ods = \"DEMO-I\"");
    change("partners/trust.toml", "https://", "http://");
    change("partners/icb.toml", "pki/partner-ca.pem", "pki/nowhere.pem");
    change("weir.toml", "crisis-escalation.map", "no-such.map");
    fs::remove_file(gateway.join("pki/payload.key")).expect("it is there");
    let bad = check();
    assert_eq!(bad.status.code(), Some(1));
    let faults = json_of(&bad)["faults"].as_array().expect("it lists faults").clone();
    for (file, says) in [
        ("agreements", "birthDay"),
        ("agreements", "ODS code"),
        ("partners/trust.toml", "endpoint is not https"),
        ("partners/icb.toml", "trust_anchors cannot be read"),
        ("weir.toml", "no-such.map"),
        ("weir.toml", "payload.key"),
    ] {
        let found = faults.iter().any(|fault| {
            let part = |key: &str| fault[key].as_str().unwrap_or_default().to_owned();
            part("file").starts_with(file) && part("text").contains(says)
        });
        assert!(found, "`{says}` in {file} is missing in {faults:#?}");
    }
    let start = run(&["serve", "--site", text(&gateway)]);
    assert_eq!(start.status.code(), Some(2), "what check refuses does not start");

    change("weir.toml", "[operations]", "[operations]\nunknown = 1");
    let unknown = json_of(&check());
    let said = unknown["faults"][0]["text"].as_str().expect("a fault has a text");
    assert!(said.contains("unknown field") && said.contains("line"), "{said}");
}

#[test]
fn a_proof_of_a_message_is_checked_without_the_site() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    let (answer, delivered) = site.send("crisis-escalation-minimal.json", &[]);
    assert!(delivered);
    assert_eq!(gateway.terminate(), Some(0), "the last signed head covers everything");
    let id = answer["message"].as_str().expect("the answer names the message");
    let folder = site.gateway_folder();
    let away = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| written(&away, name, bytes);
    let head = write("head.txt", &run(&["audit", "head", "--site", text(&folder)]).stdout);
    let verified = run(&["audit", "verify", "--head", text(&head), "--site", text(&folder)]);
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
    let proof = run(&["audit", "prove", id, "--site", text(&folder)]);
    assert_eq!((proof.status.code(), proof.stderr.len()), (Some(0), 0));
    let key = run(&["audit", "key", "--site", text(&folder)]);
    let (file, key) = (write("proof.json", &proof.stdout), write("audit.pub", &key.stdout));
    let check = |file: &Path| run(&["audit", "check-proof", text(file), "--key", text(&key), "--format", "json"]);
    let shown = json_of(&check(&file));
    assert_eq!((&shown["holds"], &shown["message"]), (&Value::Bool(true), &Value::from(id)));
    let events = shown["events"].as_array().expect("it lists events");
    let to = |event: &Value| event["event"]["entity"].to_string().contains("acknowledged");
    assert!(events.len() >= 3 && events.iter().any(to), "{} events", events.len());
    let words = run(&["audit", "check-proof", text(&file), "--key", text(&key)]);
    assert!(String::from_utf8_lossy(&words.stdout).contains("to acknowledged"));

    let mut forged: Value = serde_json::from_slice(&proof.stdout).expect("a proof is JSON");
    forged["events"][1]["entry"] = forged["events"][0]["entry"].clone();
    let forged = check(&write("forged.json", forged.to_string().as_bytes()));
    assert_eq!((forged.status.code(), &json_of(&forged)["holds"]), (Some(1), &Value::Bool(false)));
    assert_eq!(check(&key).status.code(), Some(1), "a key is no proof");
    let no_head = run(&["audit", "verify", "--head", text(&key), "--site", text(&folder)]);
    assert_eq!(no_head.status.code(), Some(2), "a key is no head");
    let exported = run(&["audit", "export", "--from", "1", "--site", text(&folder)]);
    let exported = String::from_utf8(exported.stdout).expect("it is text");
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let covered = shown["size"].as_u64().expect("a number");
    assert!(lines.len() as u64 + 1 >= covered && lines.iter().all(|event| event["resourceType"] == "AuditEvent"));
    assert!(events.iter().all(|event| lines.contains(&event["event"])), "the proof shows what the log has");
    let unknown = "00000000-0000-4000-8000-000000000000";
    assert_eq!(run(&["audit", "prove", unknown, "--site", text(&folder)]).status.code(), Some(1));
}

#[test]
fn a_bundle_as_it_arrived_is_verified_without_the_site() {
    let site = DemoSite::new();
    let file = site.path("gateway/partners/trust.toml");
    let partner = fs::read_to_string(&file).expect("the Trust has a file");
    fs::write(&file, format!("show_provenance = true\n{partner}")).expect("it is written");
    let _trust = site.start_partner("trust", &[]);
    let _gateway = site.start_gateway();
    let (answer, delivered) = site.send("crisis-escalation-minimal.json", &[]);
    assert!(delivered);
    let id = answer["message"].as_str().expect("the answer names the message");
    let folder = site.gateway_folder();
    let away = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| written(&away, name, bytes);
    let provenance = run(&["explain", id, "--provenance", "--site", text(&folder)]).stdout;
    let key = write("audit.pub", &run(&["audit", "key", "--site", text(&folder)]).stdout);
    let received = fs::read_dir(site.path("trust/inbox/received")).expect("the Trust has an inbox");
    let [arrived] = &received.map(|file| file.expect("it is readable").path()).collect::<Vec<_>>()[..] else {
        panic!("one message")
    };
    let arrived = fs::read(arrived).expect("it is readable");
    let (bundle, of) = (write("bundle.json", &arrived), write("provenance.json", &provenance));
    let verify = |bundle: &Path, of: &Path, key: &Path| {
        let files = ["verify", text(bundle), "--provenance", text(of), "--key", text(key), "--format", "json"];
        let output = run(&files);
        (output.status.code(), json_of(&output))
    };
    let (code, said) = verify(&bundle, &of, &key);
    assert_eq!((code, &said["verifies"]), (Some(0), &Value::Bool(true)), "{said}");
    let headers = site.arrivals("trust")[0]["headers"].clone();
    let named = |header: &&Value| header[0] == "x-provenance";
    let shown = headers.as_array().and_then(|headers| headers.iter().find(named)).expect("it came with the message");
    let shown = write("shown.json", shown[1].as_str().expect("a text").as_bytes());
    assert_eq!(verify(&bundle, &shown, &key), (code, said.clone()), "what came with it is what the site has");
    let policy = said["policy"].as_str().expect("it names the agreement");
    assert!(policy.starts_with("urn:weir:agreement:demo-trust-crisis:1:sha-256:"), "{policy}");

    let refused = |bundle: &Path, of: &Path, key: &Path, why: &str| {
        let (code, said) = verify(bundle, of, key);
        let told = said["why"].as_str().unwrap_or_default();
        assert!(code == Some(1) && said["verifies"] == false && told.contains(why), "{said}");
    };
    for at in [1, arrived.len() / 2, arrived.len() - 1] {
        let mut changed = arrived.clone();
        changed[at] ^= 1;
        refused(&write("changed.json", &changed), &of, &key, "the signature does not belong");
    }
    let other = site.path("other-key");
    let other_key = weir::audit::checkpoint::SigningKey::create("weir.example/DEMOP", &other).expect("a new key");
    let other = write("other.pub", other_key.verifier().to_string().as_bytes());
    refused(&bundle, &of, &other, "the signature does not belong");
    let other_id =
        String::from_utf8_lossy(&provenance).replace("\"reference\": \"urn:uuid:", "\"reference\": \"urn:uuid:0");
    refused(&bundle, &write("other.json", other_id.as_bytes()), &key, "another Bundle");
    refused(&bundle, &bundle, &key, "holds none");
    for (name, from, to) in [
        ("policy", "urn:weir:agreement:demo-trust-crisis:1", "urn:weir:agreement:demo-trust-crisis:2"),
        ("recorded", "\"recorded\": \"2", "\"recorded\": \"3"),
    ] {
        let forged = String::from_utf8_lossy(&provenance).replacen(from, to, 1);
        refused(&bundle, &write("forged.json", forged.as_bytes()), &key, &format!("what was signed: {name}"));
    }
}

#[test]
fn audit_verify_sees_a_change_to_the_database() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    assert!(site.send("crisis-escalation-minimal.json", &[]).1);
    assert_eq!(gateway.terminate(), Some(0));
    let verify = || run(&["audit", "verify", "--format", "json", "--site", text(&site.gateway_folder())]);
    assert_eq!(verify().status.code(), Some(0));
    let file = site.path("gateway/data/weir.sqlite3");
    let sound = fs::read(&file).expect("the gateway left one file");
    for (change, says) in [
        ("UPDATE messages SET state = 'refused'", "in state"),
        ("DELETE FROM contents", "payload of message"),
        (
            "UPDATE texts SET bytes = CAST(substr(bytes, 1, 20) || x'20' || substr(bytes, 22) AS BLOB)",
            "glossary of the lineage of message",
        ),
        ("DELETE FROM texts", "glossary of the lineage of message"),
        ("DELETE FROM checkpoints", "no signed head"),
        (
            "UPDATE events SET bytes = CAST(substr(bytes, 1, 20) || x'7f' || substr(bytes, 22) AS BLOB) WHERE seq = 6",
            "event 6 was changed",
        ),
        ("DELETE FROM events WHERE seq = 1", "events 1 to 1 are missing"),
    ] {
        let database = rusqlite::Connection::open(&file).expect("it opens");
        let changed = database.execute(change, []).unwrap_or_else(|error| panic!("{change}: {error}"));
        assert!(changed > 0, "{change}");
        drop(database);
        let report = verify();
        assert_eq!(report.status.code(), Some(1), "{change}");
        let report = json_of(&report);
        let faults = report["faults"].as_array().expect("it lists faults").iter().filter_map(Value::as_str);
        assert!(faults.clone().any(|fault| fault.contains(says)), "{change}: {faults:?}");
        for beside in ["-wal", "-shm"] {
            let _not_there = fs::remove_file(site.path(&format!("gateway/data/weir.sqlite3{beside}")));
        }
        fs::write(&file, &sound).expect("it is restored");
    }
    assert_eq!(verify().status.code(), Some(0));
}
