//! `weir map` and `weir transform` as a person or a script runs them: batches, faults, `--watch`, `--trace`,
//! `--coverage`, and the exit code of each.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use support::{DemoSite, json_of, wait_for, weir};

/// A copy of the example of `docs/mapping.md`.
struct Example(TempDir);

impl Example {
    fn new() -> Example {
        let folder = TempDir::new().expect("a folder can be made");
        let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/examples/mapping");
        fs::create_dir(folder.path().join("definitions")).expect("the folder can be made");
        for below in ["", "definitions"] {
            for entry in fs::read_dir(from.join(below)).expect("the example is there") {
                let path = entry.expect("it can be read").path();
                if path.is_file() {
                    let name = path.file_name().expect("it has a name");
                    fs::copy(&path, folder.path().join(below).join(name)).expect("it is copied");
                }
            }
        }
        Example(folder)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("it is written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Changes the map.
    fn edit(&self, from: &str, to: &str) {
        let text = self.read("referral.map");
        assert!(text.contains(from), "the map has no {from}");
        self.write("referral.map", &text.replacen(from, to, 1));
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = weir();
        command.current_dir(self.0.path()).args(["transform", "--map", "referral.map", "--with", "definitions"]);
        command.args(more);
        command
    }

    fn transform(&self, more: &[&str]) -> Output {
        self.command(more).output().expect("weir runs")
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it prints text")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it prints text")
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

#[test]
fn faults_of_a_map_are_all_told_underlined_and_for_editors() {
    let example = Example::new();
    let text = example.transform(&["referral.json"]);
    assert_eq!((text.status.code(), err(&text).as_str()), (Some(0), ""), "the example has no fault");
    example.edit("\"born\";", "\"born\"");
    example.edit("patient.gender", "patient.gendr");
    let text = example.transform(&["referral.json"]);
    assert_eq!((text.status.code(), out(&text).as_str()), (Some(2), ""));
    let said = err(&text);
    for part in [
        "error[syntax]: this rule does not end with `;`",
        "error[unknown-element]: Patient has no element gendr",
        "^^^^^^^^^^^^^",
        "hint: write gender?",
        "the map has 2 errors and 0 warnings",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "no colours without a terminal:\n{said}");
    let found = json_lines(&err(&example.transform(&["referral.json", "--format", "json"])));
    assert_eq!(found.len(), 2, "{found:#?}");
    let lines = example.read("referral.map");
    let line = lines.lines().position(|line| line.contains("gendr")).expect("it is there") + 1;
    let column = lines.lines().nth(line - 1).and_then(|line| line.find("patient.gendr")).expect("it is there") + 1;
    let expected = json!({
        "file": "referral.map", "line": line, "column": column, "endLine": line,
        "endColumn": column + "patient.gendr".len(), "severity": "error", "code": "unknown-element",
        "message": "Patient has no element gendr", "hint": "write gender?",
    });
    assert_eq!(found[0], expected);
}

#[test]
fn a_warning_is_told_and_the_map_runs() {
    let example = Example::new();
    example.edit(
        "  row.dob as born",
        "  row.forename as x where (x = 'a') -> patient.active = true;\n  \
         row.forename as x where (x = 'a') -> patient.active = true;\n  row.dob as born",
    );
    let output = example.transform(&["referral.json", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let said = json_lines(&err(&output));
    assert_eq!((said.len(), &said[0]["severity"], &said[0]["code"]), (1, &json!("warning"), &json!("duplicate")));
    assert_eq!(json_of(&output)["resourceType"], "Bundle");
}

#[test]
fn config_check_and_map_tell_the_faults_of_a_sites_map() {
    let site = DemoSite::new();
    let gateway = site.gateway_folder();
    let gateway = gateway.to_str().expect("the path is text");
    let folder = site.path("gateway/mappings");
    fs::create_dir_all(&folder).expect("the folder can be made");
    let map = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/mappings/crisis-escalation.map"));
    let map = map.expect("the map is there").replacen("create('", "creat('", 1);
    fs::write(folder.join("crisis-escalation.map"), map).expect("it is written");
    let check = weir().args(["config", "check", "--format", "json", "--site", gateway]).output().expect("weir runs");
    assert_eq!(check.status.code(), Some(1));
    let faults = json_of(&check)["faults"].as_array().expect("it lists faults").clone();
    assert!(!faults.is_empty());
    for key in ["file", "line", "column", "endLine", "endColumn", "severity", "code", "message", "hint"] {
        assert!(faults.iter().all(|fault| !fault[key].is_null()), "{key} is missing in {faults:#?}");
    }
    let record = site.path("records/crisis-escalation-minimal.json");
    let common = ["--interface", "crisis-escalation", "--site", gateway];
    let mapped = weir().arg("map").arg(&record).args(common).output().expect("weir runs");
    assert_eq!(mapped.status.code(), Some(2));
    assert!(err(&mapped).contains("mappings/crisis-escalation.map:"), "{}", err(&mapped));
    assert!(err(&mapped).contains("^^^"), "{}", err(&mapped));
    let none = weir().arg("map").arg(&record).args(["--interface", "none", "--site", "/nowhere"]).output();
    assert_eq!(none.expect("weir runs").status.code(), Some(2));
}

#[test]
fn a_failure_names_place_rule_and_remedy_and_no_value() {
    let example = Example::new();
    let record = example.read("referral.json").replace("9990000018", "99900zz018");
    example.write("bad.json", &record);
    let output = example.transform(&["bad.json"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""));
    let said = err(&output);
    let line = example.read("referral.map").lines().position(|line| line.contains("row.nhs_no")).expect("it is there");
    let rule = format!("rule \"nhs number\" of group Person (referral.map:{})", line + 1);
    for part in ["bad.json:3:", "at nhs_no", rule.as_str(), "StructureMap/referral", "hint: "] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert!(!said.contains("99900zz018"), "no value of the record:\n{said}");
    let output = example.transform(&["bad.json", "--format", "json"]);
    let failure = &json_lines(&err(&output))[0];
    assert_eq!((&failure["record"], &failure["stage"]), (&json!("bad.json"), &json!("mapping")));
    let problem = &failure["problems"][0];
    assert_eq!((&problem["path"], &problem["line"]), (&json!("nhs_no"), &json!(3)));
    assert_eq!((&problem["rule"]["name"], &problem["rule"]["line"]), (&json!("nhs number"), &json!(line + 1)));
    assert!(!err(&output).contains("99900zz018"));
}

#[test]
fn one_bad_record_never_stops_a_batch() {
    let example = Example::new();
    let good = example.read("referral.json").replace('\n', "");
    let bad = good.replace("9990000018", "1");
    example.write("all.ndjson", &format!("{good}\n{bad}\n\nnot json\n{good}\n"));
    let output = example.transform(&["all.ndjson", "referral.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json_lines(&out(&output)).len(), 3);
    let said = err(&output);
    for part in ["refused: all.ndjson:2 (at mapping)", "refused: all.ndjson:4 (at intake)", "3 mapped, 2 refused"] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert!(said.contains("all.ndjson:2:") && said.contains("all.ndjson:4:"), "{said}");

    example.transform(&["all.ndjson", "referral.json", "--output", "made"]);
    assert_eq!(json_lines(&example.read("made/all.ndjson")).len(), 2);
    let one: Value = serde_json::from_str(&example.read("made/referral.json")).expect("it is JSON");
    assert_eq!(one["resourceType"], "Bundle");
    assert_eq!(fs::read_dir(example.path("made")).expect("it is there").count(), 2, "nothing half-written is left");

    let ids: Vec<Value> = json_lines(&example.read("made/all.ndjson"));
    let id = |bundle: &Value| bundle["entry"][0]["resource"]["id"].clone();
    assert_eq!(id(&ids[0]), id(&ids[1]), "the same bytes give the same ids");
    let summary = json_lines(&err(&example.transform(&["all.ndjson", "--format", "json"])));
    assert_eq!(summary.last(), Some(&json!({ "mapped": 2, "refused": 2 })));
}

#[test]
fn a_folder_is_a_batch_and_usage_faults_exit_with_2() {
    let example = Example::new();
    fs::create_dir(example.path("in")).expect("the folder can be made");
    for name in ["in/b.json", "in/a.json"] {
        example.write(name, &example.read("referral.json"));
    }
    example.write("in/notes.txt", "not a record");
    let output = example.transform(&["in", "--output", "made"]);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), "2 mapped, 0 refused\n"));
    for usage in [
        &["nowhere.json"][..],
        &["in", "--output", "in"],
        &["in/a.json", "in/a.json", "--output", "made"],
        &["referral.json", "--values"],
        &["referral.json", "--trace", "--coverage"],
        &["definitions/../in", "--with", "nowhere.json"],
    ] {
        let output = example.transform(usage);
        assert_eq!(output.status.code(), Some(2), "{usage:?}: {}{}", out(&output), err(&output));
    }
    let missing = example.transform(&["referral.json", "nowhere.json"]);
    assert_eq!(missing.status.code(), Some(1), "of a batch, a file that is not there is one refusal");
    assert!(err(&missing).contains("nowhere.json"), "{}", err(&missing));
}

#[test]
fn what_is_no_record_is_refused_with_what_to_do() {
    let example = Example::new();
    let record = example.read("referral.json");
    example.write("array.json", &format!("[{record}]"));
    example.write("mark.json", &format!("\u{feff}{record}"));
    for (file, message, hint) in [
        ("array.json", "the record is not a JSON object", "make NDJSON: one record a line"),
        ("mark.json", "the input starts with a byte order mark", "without a byte order mark"),
    ] {
        for more in ["--format=text", "--trace", "--coverage"] {
            let output = example.transform(&[file, more]);
            assert_eq!(output.status.code(), Some(1), "{file} {more}: {}", err(&output));
            assert!(err(&output).contains(message) && err(&output).contains(hint), "{file} {more}: {}", err(&output));
        }
        assert_eq!(out(&example.transform(&[file])), "");
    }
}

#[test]
fn a_map_that_is_not_utf8_is_named_with_its_line() {
    let example = Example::new();
    let mut bytes = example.read("referral.map").into_bytes();
    bytes.extend_from_slice(b"// caf\xe9\n");
    let line = bytes.iter().filter(|byte| **byte == b'\n').count();
    fs::write(example.path("referral.map"), bytes).expect("it is written");
    let output = example.transform(&["referral.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(err(&output), format!("error: referral.map:{line}: the map is not UTF-8; save it as UTF-8\n"));
}

#[test]
fn a_model_that_is_not_loaded_is_warned_of_once() {
    let example = Example::new();
    example.edit("StructureDefinition/Referral\"", "StructureDefinition/Referal\"");
    let output = example.transform(&["referral.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let told = "no StructureDefinition of Referral is loaded, so its field names are not checked";
    assert_eq!(err(&output).matches(told).count(), 1, "{}", err(&output));
}

#[test]
fn ndjson_of_any_size_needs_the_memory_of_one_record() {
    let example = Example::new();
    let good = example.read("referral.json").replace('\n', "");
    let mut file = File::create(example.path("many.ndjson")).expect("it can be written");
    let padding = "x".repeat(20_000);
    let line = good.replacen('{', &format!("{{\"allergies\":\"{padding}\","), 1).replacen(
        ",  \"allergies\": \"Penicillin\"",
        "",
        1,
    );
    for _ in 0..4_000 {
        writeln!(file, "{line}").expect("it is written");
    }
    drop(file);
    let size = fs::metadata(example.path("many.ndjson")).expect("it is there").len();
    assert!(size > 80_000_000);
    // 64 MB of address space beyond what one record needs would not hold the file.
    let one = peak(&example, "referral.json");
    let many = peak(&example, "many.ndjson");
    assert!(many < one + 40_000, "{one} kB for one record, {many} kB for 4,000");
}

/// The most memory that a run held, in kB.
fn peak(example: &Example, file: &str) -> u64 {
    let made = File::create(example.path("peak.out")).expect("it can be written");
    let mut child = example.command(&[file]).stdout(made).spawn().expect("weir runs");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().expect("it is our child").is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let held = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        most = most.max(held);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().expect("it is our child").success());
    most
}

#[test]
fn watch_shows_what_changed_and_survives_a_broken_map() {
    let example = Example::new();
    let (made, said) = (example.path("watch.out"), example.path("watch.err"));
    let mut command = example.command(&["referral.json", "--watch"]);
    command.stdout(File::create(&made).expect("it can be written"));
    let mut child = command.stderr(File::create(&said).expect("it can be written")).spawn().expect("weir runs");
    let contains = |file: &Path, text: &str| fs::read_to_string(file).unwrap_or_default().contains(text);
    wait_for("the first result", || contains(&made, "\"intent\": \"order\""));
    example.edit("'order'", "'plan'");
    wait_for("what changed", || contains(&made, "+         \"intent\": \"plan\""));
    assert!(contains(&made, "-         \"intent\": \"order\""));
    assert!(contains(&said, "referral.map changed"));
    example.edit("'plan'", "'plan");
    wait_for("the fault", || contains(&said, "this quote is not closed on its line"));
    example.edit("'plan", "'proposal'");
    wait_for("the result after the fault", || contains(&made, "+         \"intent\": \"proposal\""));
    example.write("referral.json", &example.read("referral.json").replace("\"U\"", "\"E\""));
    wait_for("the new record", || contains(&made, "+         \"priority\": \"stat\""));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    assert_eq!(child.wait().expect("it is our child").code(), Some(0), "Ctrl-C ends it");
}

#[test]
fn trace_names_field_and_rule_and_values_only_when_asked() {
    let example = Example::new();
    example.edit("row.dob as born", "row.dob as born log (born)");
    let plain = example.transform(&["referral.json", "--trace"]);
    assert_eq!(plain.status.code(), Some(0));
    let text = out(&plain);
    let row = text.lines().find(|line| line.contains("name[0].family")).expect("the name is traced");
    let words = row.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = example.read("referral.map").lines().position(|line| line.contains("\"surname\"")).expect("it is there");
    let expected = format!(
        "Bundle.entry[0].resource.name[0].family ← surname · rule \"surname\" Person (referral.map:{})",
        line + 1
    );
    assert_eq!(words, expected);
    assert!(!text.contains("Exemplar") && !text.contains("1990-05-04"), "no value by default:\n{text}");
    assert!(text.contains("log · rule \"born\""), "{text}");
    let values = out(&example.transform(&["referral.json", "--trace", "--values"]));
    assert!(values.contains("= \"Exemplar\"") && values.contains(": 1990-05-04"), "{values}");
    let rows = json_of(&example.transform(&["referral.json", "--trace", "--format", "json"]));
    let family = rows["elements"].as_array().expect("it lists elements").iter();
    let family = family.clone().find(|row| row["path"] == "Bundle.entry[0].resource.name[0].family");
    let family = family.expect("the name is traced");
    assert_eq!((&family["from"], &family["rule"]["name"]), (&json!("surname"), &json!("surname")));
    assert!(family["value"].is_null() && rows["log"][0]["text"].is_null());
    let rows = json_of(&example.transform(&["referral.json", "--trace", "--values", "--format", "json"]));
    assert_eq!(rows["log"][0]["text"], "1990-05-04");
}

#[test]
fn coverage_names_what_was_not_used() {
    let example = Example::new();
    let good = example.read("referral.json").replace('\n', "");
    let extra = good.replacen('{', "{\"ward\":{\"code\":\"7\"},", 1);
    example.write("all.ndjson", &format!("{good}\n{extra}\n"));
    let output = example.transform(&["all.ndjson", "--coverage", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let report = json_of(&output);
    assert_eq!(report["records"], 2);
    assert_eq!(
        report["unreadFields"],
        json!([{ "path": "allergies", "records": 2, "example": "all.ndjson:1" },
               { "path": "ward", "records": 1, "example": "all.ndjson:2" }])
    );
    assert_eq!(report["unnamedFields"], json!(["Referral.allergies"]), "a field that a where reads is named");
    let names = |key: &str, below: &str| -> Vec<String> {
        let rows = report[key].as_array().expect("it is a list").iter();
        rows.filter_map(|row| row[below].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(names("idleRules", "name"), ["phone"], "neither has a phone");
    assert_eq!(names("unfilledElements", "path"), ["Patient.telecom"]);
    let text = out(&example.transform(&["all.ndjson", "--coverage"]));
    for part in ["coverage of 2 records", "allergies · in 2 of 2", "rule \"phone\" Person (referral.map:"] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    assert!(!text.contains("Penicillin") && !report.to_string().contains("Penicillin"));
}

#[test]
fn a_site_maps_batches_traces_and_covers() {
    let site = DemoSite::new();
    let (gateway, records) = (site.gateway_folder(), site.path("records"));
    let map = |more: &[&str]| {
        let mut command = weir();
        command.arg("map").arg(&records).args(["--interface", "crisis-escalation", "--site"]).arg(&gateway);
        command.args(more).output().expect("weir runs")
    };
    let all = map(&[]);
    assert_eq!(all.status.code(), Some(0), "{}", err(&all));
    let bundles = json_lines(&out(&all));
    assert!(bundles.len() >= 5 && bundles.iter().all(|bundle| bundle["resourceType"] == "Bundle"));
    let report = json_of(&map(&["--coverage", "--format", "json"]));
    assert_eq!(report["records"], json!(bundles.len()));
    assert_eq!(report["missingElements"], json!([]), "the demo's Bundles have what their profile requires");
    assert_eq!(report["unreadFields"], json!([]), "the demo's map reads all that the demo's records hold");
    let text = out(&map(&["--trace"]));
    assert!(text.contains("← person.familyName") || text.contains("← person."), "{}", &text[..2000.min(text.len())]);

    let bad = site.path("records/rejected");
    let mut refused = weir();
    refused.arg("map").arg(&bad).args(["--interface", "crisis-escalation", "--site"]).arg(&gateway);
    let refused = refused.output().expect("weir runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("(at intake)") && err(&refused).contains(" refused\n"), "{}", err(&refused));
}

#[test]
fn coverage_and_trace_name_codes_without_a_translation_and_never_the_code() {
    let example = Example::new();
    let good = example.read("referral.json").replace('\n', "");
    let odd = good.replace("\"sex\": \"F\"", "\"sex\": \"Quux\"");
    assert_ne!(good, odd);
    example.write("all.ndjson", &format!("{good}\n{odd}\n{odd}\n"));
    let output = example.transform(&["all.ndjson", "--coverage", "--format", "json"]);
    let line = example.read("referral.map").lines().position(|line| line.contains("'#sex'")).expect("it is there") + 1;
    let rule = json!({
        "name": "sex", "group": "Person", "map": "https://provider.example/fhir/StructureMap/referral",
        "file": "referral.map", "line": line,
    });
    assert_eq!(
        json_of(&output)["untranslatedCodes"],
        json!([{ "path": "sex", "conceptMap": "#sex", "rule": rule, "records": 2, "example": "all.ndjson:2" }])
    );
    let text = out(&example.transform(&["all.ndjson", "--coverage"]));
    let told =
        format!("  sex by #sex · rule \"sex\" Person (referral.map:{line}) · in 2 of 3, first in all.ndjson:2\n");
    assert!(text.contains(&told), "{text}");
    example.write("odd.json", &odd);
    let trace = out(&example.transform(&["odd.json", "--trace"]));
    assert!(trace.contains("no translation ← sex by #sex · rule \"sex\" Person (referral.map:"), "{trace}");
    let traced = json_of(&example.transform(&["odd.json", "--trace", "--format", "json"]));
    assert_eq!(traced["untranslated"], json!([{ "from": "sex", "conceptMap": "#sex", "rule": rule }]));
    assert!(![text, trace, traced.to_string()].iter().any(|said| said.contains("Quux")));
}

#[test]
fn two_files_that_define_one_url_are_both_named() {
    let example = Example::new();
    for (file, url) in [
        ("ConceptMap-urgency.json", "https://provider.example/fhir/ConceptMap/urgency"),
        ("StructureDefinition-Referral.json", "https://provider.example/fhir/StructureDefinition/Referral"),
    ] {
        let again = example.path("definitions/Another.json");
        fs::copy(example.path("definitions").join(file), &again).expect("it is copied");
        let output = example.transform(&["referral.json"]);
        assert_eq!(output.status.code(), Some(2), "{}", out(&output));
        let told = [file, "definitions/Another.json", url, "keep one of the two"];
        assert!(told.iter().all(|part| err(&output).contains(part)), "{}", err(&output));
        fs::remove_file(again).expect("it can be removed");
    }
    let twice = example.transform(&["referral.json", "--with", "definitions/ConceptMap-urgency.json"]);
    assert_eq!(twice.status.code(), Some(0), "the same file may be named twice: {}", err(&twice));
    let model = example.read("definitions/StructureDefinition-Referral.json");
    let model = model.replace(
        "https://provider.example/fhir/StructureDefinition/Referral",
        "http://hl7.org/fhir/StructureDefinition/Patient",
    );
    example.write("definitions/Another.json", &model);
    let output = example.transform(&["referral.json"]);
    assert_eq!(output.status.code(), Some(2));
    let told =
        ["definitions/Another.json", "the logical model has the URL of an R4 type", "give the model a URL of its own"];
    assert!(told.iter().all(|part| err(&output).contains(part)), "{}", err(&output));
}
