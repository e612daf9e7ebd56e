//! Every sample of every interface, end to end through the built program: what arrived, what did not, and what was refused.
//!
//! An interface is a row of [`INTERFACES`]; its samples are the files in its folder below `demo/records`, those in
//! `rejected/` to be refused.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{DemoSite, Process, json_of, weir};

/// What is expected of the samples of an interface.
struct Interface {
    name: &'static str,
    /// The folder of its samples, below the site's records.
    folder: &'static str,
    /// Samples that an interface must have, by the end of their names.
    samples: &'static [&'static str],
    /// Record fields of which every word that a sample has arrives, as JSON pointers. `*` stands for every item.
    arrives: &'static [&'static str],
    /// Record fields of which no word arrives.
    stays: &'static [&'static str],
    /// Record fields that arrive, but not on a decision against the person's wish.
    stays_without_consent: &'static [&'static str],
    /// Sections that say what the record does not hold: title and record field.
    not_recorded: &'static [(&'static str, &'static str)],
    /// The samples that are refused, and a part of what the refusal says.
    refused: &'static [(&'static str, &'static str)],
}

const USUAL: &[&str] = &["complete", "minimal", "missing-essential", "override", "awkward"];

/// What leaves of every person, and what of none.
const ARRIVES: &[&str] = &[
    "/recordId",
    "/team/name",
    "/team/phone",
    "/practitioner/family",
    "/practitioner/role",
    "/person/nhsNumber",
    "/person/family",
    "/person/given/*",
    "/person/birthDate",
    "/person/addressLines/*",
    "/person/postcode",
    "/consent/scope",
    "/currentRisks/*/summary",
    "/safeguardingConcerns/*/summary",
    "/earlyWarningSigns/*/text",
    "/planSaysWorks/*/text",
    "/medications/*/name",
    "/medications/*/dose",
    "/allergies/*/substance",
    "/allergies/*/reaction",
    "/engagementPreferences/*/text",
    "/reasonableAdjustments/*/text",
    "/followUp/*/what",
    "/followUp/*/by",
    "/followUp/*/owner/name",
    "/followUp/*/owner/role",
    "/followUp/*/owner/organisation",
    "/followUp/*/owner/phone",
    "/requested/text",
    "/timeSensitivity/respondBy",
    "/discharge/startedAt",
    "/discharge/endsAt",
    "/discharge/reason",
    "/discharge/destination",
    "/clinicalSummary/text",
    "/gpPractice/odsCode",
    "/gpPractice/name",
    "/transfer/reason/text",
    "/transfer/toTeam/name",
    "/transfer/toTeam/phone",
    "/transfer/responsibleUntil",
    "/whatChanged/text",
    "/accessToMeans/*/text",
    "/protectiveFactors/*/text",
    "/reason/text",
    "/problems/*/name",
    "/problems/*/note",
    "/currentCare/*/text",
    "/concerns/*/summary",
    "/concerns/*/place",
    "/othersAtRisk/*/family",
    "/othersAtRisk/*/given/*",
    "/othersAtRisk/*/birthDate",
    "/othersAtRisk/*/relationship",
    "/othersAtRisk/*/where",
    "/immediateSafety/text",
    "/immediateSafety/safeContact",
    "/immediateSafety/plan/*",
    "/capacity/decision",
    "/capacity/assessedBy",
    "/wishes",
    "/advocate",
    "/partnerContacts/*/name",
    "/partnerContacts/*/at",
    "/partnerContacts/*/reference",
    "/partnerContacts/*/outcome",
];
const STAYS: &[&str] = &[
    "/clinicalNotes",
    "/practitioner/sdsUserId",
    "/practitioner/localId",
    "/team/id",
    "/transfer/toTeam/id",
    "/consent/recordedBy",
    "/consent/recordedWhere",
    "/consent/capacity/assessedBy",
    "/safeguardingConcerns/*/allegedSource",
    "/sharingDecision/riskIndicators/*",
    "/sharingDecision/alternatives/*",
    "/sharingDecision/proportionality",
    "/sharingDecision/decidedBy",
    "/sharingDecision/whyNotTold",
];
const CONTACTS: &[&str] = &["/namedContacts/*/name", "/namedContacts/*/relationship", "/namedContacts/*/phone"];
/// The minimum dataset of a handover: what is not recorded is said in its section.
const HANDED_OVER: &[(&str, &str)] = &[
    ("Current risks", "currentRisks"),
    ("Safeguarding", "safeguardingConcerns"),
    ("Early warning signs", "earlyWarningSigns"),
    ("Crisis plan", "planSaysWorks"),
    ("Medication", "medications"),
    ("Allergies", "allergies"),
    ("Engagement preferences", "engagementPreferences"),
    ("Reasonable adjustments", "reasonableAdjustments"),
    ("Named contacts", "namedContacts"),
    ("Follow-up", "followUp"),
];

const INTERFACES: &[Interface] = &[
    Interface {
        name: "crisis-escalation",
        folder: "",
        samples: &["complete", "minimal", "override", "awkward", "lacks-capacity"],
        arrives: ARRIVES,
        stays: STAYS,
        stays_without_consent: &["/actionsTaken/*/text", "/deEscalationTried/*/text"],
        not_recorded: &[
            ("Access to means", "accessToMeans"),
            ("Protective factors", "protectiveFactors"),
            ("Safeguarding", "safeguardingConcerns"),
            ("Crisis plan", "planSaysWorks"),
        ],
        refused: &[
            ("broken-rule", "An ODS code is 1 to 9 letters and digits"),
            ("duplicate-key", "a key stands twice"),
            ("incomplete-decision", "lacks 3 of its parts"),
            ("missing-required", "phone is missing"),
            ("not-json", "not JSON"),
            ("objection", "the person objects to this sharing"),
            ("unknown-code", "was expected, found the code"),
            ("unknown-element", "no such element"),
        ],
    },
    Interface {
        name: "discharge-handover",
        folder: "discharge-handover",
        samples: USUAL,
        arrives: ARRIVES,
        stays: STAYS,
        stays_without_consent: CONTACTS,
        not_recorded: HANDED_OVER,
        refused: &[("objection", "the person objects to this sharing"), ("without-owner", "followUp is missing")],
    },
    Interface {
        name: "team-transfer",
        folder: "team-transfer",
        samples: USUAL,
        arrives: ARRIVES,
        stays: STAYS,
        stays_without_consent: CONTACTS,
        not_recorded: HANDED_OVER,
        refused: &[("objection", "the person objects to this sharing")],
    },
    // Who is said to be the source of a risk reaches the council alone: `tests/safeguarding_referral.rs`.
    Interface {
        name: "safeguarding-referral",
        folder: "safeguarding-referral",
        samples: USUAL,
        arrives: ARRIVES,
        stays: STAYS,
        stays_without_consent: &[],
        not_recorded: &[
            ("Current risks", "currentRisks"),
            ("Alleged source of risk", "allegedSources"),
            ("Capacity to decide about own safety", "capacity"),
            ("Partners told or asked", "partnerContacts"),
        ],
        refused: &[("objection", "the person objects to this sharing")],
    },
    Interface {
        name: "referral",
        folder: "referral",
        samples: &["complete", "minimal", "missing-essential", "awkward", "urgent"],
        arrives: ARRIVES,
        stays: STAYS,
        stays_without_consent: &[],
        not_recorded: &[
            ("Problems", "problems"),
            ("Current risks", "currentRisks"),
            ("Current care", "currentCare"),
            ("Engagement preferences", "engagementPreferences"),
            ("Reasonable adjustments", "reasonableAdjustments"),
            ("Medication", "medications"),
            ("Allergies", "allergies"),
        ],
        refused: &[("objection", "the person objects to this sharing")],
    },
];

/// The names of the samples in a folder, below the site's records.
fn samples(site: &DemoSite, folder: &str) -> Vec<String> {
    let files = fs::read_dir(site.path("records").join(folder)).expect("the folder is there");
    let files = files.map(|entry| entry.expect("it can be read").path()).filter(|path| path.is_file());
    let name = |path: &Path| path.file_name().expect("it has a name").to_string_lossy().into_owned();
    let mut names: Vec<String> = files.map(|path| Path::new(folder).join(name(&path)).display().to_string()).collect();
    names.sort();
    names
}

fn stem(sample: &str) -> String {
    Path::new(sample).file_stem().expect("it has a name").to_string_lossy().into_owned()
}

/// The texts of a record at a pointer in which `*` stands for every item.
fn texts(record: &Value, pointer: &str) -> Vec<String> {
    let mut at = vec![record];
    for step in pointer.split('/').skip(1) {
        at = match step {
            "*" => at.iter().filter_map(|value| value.as_array()).flatten().collect(),
            name => at.iter().filter_map(|value| value.get(name)).collect(),
        };
    }
    at.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// Every string in a JSON value.
fn strings<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => drop(found.insert(text)),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.values().for_each(|member| strings(member, found)),
        _ => {}
    }
}

fn resources<'a>(bundle: &'a Value, resource_type: &str) -> Vec<&'a Value> {
    let all = bundle["entry"].as_array().expect("a Bundle has entries");
    all.iter().map(|entry| &entry["resource"]).filter(|resource| resource["resourceType"] == resource_type).collect()
}

const PARTNERS: [&str; 3] = ["trust", "icb", "council"];

/// What the partners have received so far, by Bundle id.
fn received(site: &DemoSite) -> BTreeSet<(String, String)> {
    PARTNERS.iter().flat_map(|partner| site.inbox(partner)).collect()
}

struct Running {
    site: DemoSite,
    _partners: [Process; 3],
    gateway: Process,
}

fn start() -> Running {
    let site = DemoSite::new();
    let partners = PARTNERS.map(|name| site.start_partner(name, &[]));
    let gateway = site.start_gateway();
    Running { site, _partners: partners, gateway }
}

#[test]
fn every_sample_arrives_once_with_what_its_agreement_permits_and_nothing_else() {
    let Running { site, gateway, _partners } = start();
    let (mut sent, mut files) = (Vec::new(), Vec::new());
    for interface in INTERFACES {
        let names = samples(&site, interface.folder);
        assert!(names.len() >= 5, "{}: {names:?}", interface.name);
        for wanted in interface.samples {
            assert!(names.iter().any(|name| stem(name).ends_with(wanted)), "{} has no {wanted}", interface.name);
        }
        for sample in names {
            let before = received(&site);
            let (answer, done) = site.send_to(interface.name, &sample, &[]);
            assert!(done && answer["state"] == "acknowledged", "{sample}: {answer}");
            let new: Vec<_> = received(&site).difference(&before).cloned().collect();
            let [(id, text)] = &new[..] else { panic!("{sample} arrived {} times", new.len()) };
            let record: Value = serde_json::from_slice(&site.record(&sample)).expect("a sample is JSON");
            let bundle: Value = serde_json::from_str(text).expect("a Bundle is JSON");
            check_frame(interface, &sample, &record, &bundle);
            check_arrival(&site, interface, &sample, &answer, id);
            if record["recipient"]["odsCode"] != "DEMOI" {
                check_words(interface, &sample, &record, &bundle);
                check_sections(interface, &sample, &record, &bundle);
            }
            let file = site.path(&format!("arrived-{}", sample.replace('/', "-")));
            fs::write(&file, text).expect("it is written");
            files.push(file);
            sent.push((sample, record));
        }
    }
    let valid = weir().arg("validate").args(&files).output().expect("weir runs");
    assert!(valid.status.success(), "what arrived is not valid: {}", String::from_utf8_lossy(&valid.stdout));
    assert_eq!(gateway.terminate(), Some(0), "the gateway drains and stops");
    check_what_is_on_disk(&site, &sent);
}

/// The message is what it says it is, and asks the right party to accept responsibility by the right time.
fn check_frame(interface: &Interface, sample: &str, record: &Value, bundle: &Value) {
    let profile = format!("https://weir.example/fhir/StructureDefinition/weir-{}-bundle", interface.name);
    assert_eq!(bundle["meta"]["profile"], json!([profile]), "{sample}");
    assert_eq!(bundle["meta"]["versionId"], record["version"], "{sample}");
    assert_eq!(bundle["entry"][0]["resource"]["resourceType"], "MessageHeader", "{sample}");
    let entries = bundle["entry"].as_array().expect("a Bundle has entries");
    for entry in entries {
        let claimed = entry["resource"]["meta"]["profile"].as_array().map(Vec::len);
        assert_eq!(claimed, Some(1), "{sample}: {} claims one profile", entry["fullUrl"]);
    }
    let [request] = resources(bundle, "ServiceRequest")[..] else { panic!("{sample}: one request") };
    let codings = request["category"][0]["coding"].as_array().expect("the request has a category");
    assert!(codings.iter().any(|coding| coding["code"] == interface.name), "{sample}: {codings:?}");
    let tasks = resources(bundle, "Task");
    let accept: Vec<_> = tasks.iter().filter(|task| task["code"]["coding"][0]["code"] == "fulfill").collect();
    let [accept] = accept[..] else { panic!("{sample}: one responsibility to accept") };
    assert_eq!(accept["restriction"]["period"]["end"], record["timeSensitivity"]["respondBy"], "{sample}");
    let owner = entries.iter().find(|entry| entry["fullUrl"] == accept["owner"]["reference"]);
    let owner = owner.expect("the owner of the responsibility is in the message");
    assert_eq!(owner["resource"]["identifier"][0]["value"], record["recipient"]["odsCode"], "{sample}");
}

/// The headers said what the message is, and the sender was told who has it.
fn check_arrival(site: &DemoSite, interface: &Interface, sample: &str, answer: &Value, id: &str) {
    let all: Vec<Value> = PARTNERS.iter().flat_map(|partner| site.arrivals(partner)).collect();
    let own: Vec<&Value> = all.iter().filter(|arrival| arrival["id"] == id).collect();
    assert_eq!(own.len(), 1, "{sample} was sent once");
    assert_eq!(own[0]["request"], answer["message"], "{sample}");
    let headers = own[0]["headers"].as_array().expect("an arrival has headers");
    let context = headers.iter().find(|header| header[0] == "use-context").map(|header| &header[1]);
    let expected = format!("{}|referral|servicerequest-request|new", interface.name);
    assert_eq!(context, Some(&json!(expected)), "{sample}");
}

/// Each word of the record arrived as it was written, or did not arrive at all.
fn check_words(interface: &Interface, sample: &str, record: &Value, bundle: &Value) {
    let mut found = BTreeSet::new();
    strings(bundle, &mut found);
    let is_decided = record["sharingDecision"].is_object();
    let all = |pointers: &[&str]| -> Vec<String> { pointers.iter().flat_map(|at| texts(record, at)).collect() };
    let (mut arrive, mut stay) = (all(interface.arrives), all(interface.stays));
    if is_decided { &mut stay } else { &mut arrive }.extend(all(interface.stays_without_consent));
    assert!(arrive.len() > 8, "{sample}: {arrive:?}");
    for words in &arrive {
        assert!(found.contains(words.as_str()), "{sample}: {words:?} did not arrive");
    }
    // Who wrote down what was said is often the practitioner, whose name arrives.
    let name = |part: &str| record["practitioner"][part].as_str().unwrap_or_default();
    let practitioner = format!("{} {}", name("given"), name("family"));
    for words in stay.iter().filter(|words| !arrive.contains(words) && **words != practitioner) {
        assert!(found.iter().all(|text| !text.contains(words.as_str())), "{sample}: {words:?} left");
    }
}

/// Each section can be read; one of which the record holds nothing says so, and no other does.
fn check_sections(interface: &Interface, sample: &str, record: &Value, bundle: &Value) {
    let [summary] = resources(bundle, "Composition")[..] else { panic!("{sample}: one summary") };
    let sections = summary["section"].as_array().expect("the summary has sections");
    let mut titles = BTreeSet::new();
    for section in sections {
        let title = section["title"].as_str().expect("a section has a title");
        assert!(titles.insert(title), "{sample}: {title} stands twice");
        let words = section["text"]["div"].as_str().unwrap_or_default();
        assert!(words.len() > 50, "{sample}: {title} cannot be read");
    }
    for (title, field) in interface.not_recorded {
        let section = sections.iter().find(|section| section["title"] == *title);
        let section = section.unwrap_or_else(|| panic!("{sample}: no section {title}"));
        let is_absent = record[*field].is_null();
        let reason = &section["emptyReason"]["text"];
        // What was asked for and is none is told from what nobody wrote down.
        let is_none = reason == "Asked for, and none";
        assert!(!is_none || record["nilKnown"].is_array(), "{sample}: {title}: {section}");
        assert_eq!(reason == "Not recorded" || is_none, is_absent, "{sample}: {title}: {section}");
    }
}

#[test]
fn what_is_to_be_refused_is_refused_and_never_arrives() {
    let Running { site, gateway, _partners } = start();
    for interface in INTERFACES {
        let rejected = Path::new(interface.folder).join("rejected").display().to_string();
        let names = samples(&site, &rejected);
        let known: Vec<&str> = interface.refused.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.iter().map(|name| stem(name)).collect::<Vec<_>>(), known, "{}", interface.name);
        for (sample, (_, words)) in names.iter().zip(interface.refused) {
            let (answer, done) = site.send_to(interface.name, sample, &[]);
            assert!(!done, "{sample} was taken");
            assert!(answer.to_string().contains(words), "{sample}: {answer}");
        }
    }
    assert_eq!(gateway.terminate(), Some(0), "the gateway drains and stops");
    assert_eq!(received(&site), BTreeSet::new());
}

/// A record of one interface is no record of another: each has its own logical model.
#[test]
fn a_record_is_refused_by_every_other_interface() {
    let Running { site, gateway, _partners } = start();
    for interface in INTERFACES {
        let names = samples(&site, interface.folder);
        let complete = names.iter().find(|name| stem(name).ends_with("complete")).expect("a complete sample");
        for other in INTERFACES.iter().filter(|other| other.name != interface.name) {
            let (answer, done) = site.send_to(other.name, complete, &[]);
            assert!(!done && answer.to_string().contains("no such element"), "{complete} to {}: {answer}", other.name);
        }
    }
    assert_eq!(gateway.terminate(), Some(0), "the gateway drains and stops");
    assert_eq!(received(&site), BTreeSet::new());
}

/// After the gateway has stopped: no word of a record in clear, and an audit log that verifies.
fn check_what_is_on_disk(site: &DemoSite, sent: &[(String, Value)]) {
    let bytes = site.stored_and_logged();
    let pointers =
        ["/person/family", "/person/nhsNumber", "/person/postcode", "/clinicalNotes", "/currentRisks/*/summary"];
    for (sample, record) in sent {
        for pointer in pointers.iter().chain(CONTACTS) {
            for words in texts(record, pointer) {
                let is_there = bytes.windows(words.len()).any(|window| window == words.as_bytes());
                assert!(!is_there, "{pointer} of {sample} stands in clear in the database or a log");
            }
        }
    }
    let verified = weir().args(["audit", "verify", "--format", "json", "--site"]).arg(site.gateway_folder()).output();
    let report = json_of(&verified.expect("weir runs"));
    assert_eq!(report["faults"], json!([]));
}
