//! Typical slips in an agreement and what is said about them: each edit of a demonstration agreement against its text in
//! `golden/agreements`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test agreements` writes the texts anew; read them as someone who wants to mend the
//! agreement before committing.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

use std::fs;
use std::path::{Path, PathBuf};

use weir::config::{Fault, definitions};
use weir::disclosure::{Agreements, Facts, Lane, PrincipalFacts, Profiles, Surroundings};
use weir::fhir::Document;
use weir::fhir::definitions::{Definition, StructureDefinition};
use weir::fhir::slices::Slice;
use weir::identity::PartyId;
use weir::identity::tls::TlsVersion;
use weir::validation::Validator;

/// A site with one way to each partner, two pseudonym keys, and some people.
struct Site;

impl Surroundings for Site {
    fn resource_types(&self, interface: &str) -> Option<Vec<&str>> {
        (interface == "small").then(|| vec!["Bundle", "Patient"])
    }

    fn says_missing(&self, interface: &str) -> bool {
        interface == "crisis-escalation"
    }

    fn lane(&self, partner: &PartyId) -> Option<Lane> {
        let known = ["DEMOT", "DEMOI"].contains(&partner.as_str());
        known.then_some(Lane { minimum_tls: TlsVersion::Tls12, is_pinned: false })
    }

    fn pseudonym_keys(&self) -> Vec<&str> {
        vec!["icb", "icb-2026"]
    }

    fn principal(&self, id: &str) -> Option<PrincipalFacts> {
        let (role, signs) = match id {
            "demo-guardian" => ("caldicott-guardian", true),
            "demo-siro" => ("siro", true),
            "demo-ig-lead" => ("ig-lead", false),
            "demo-owner" => ("operational-owner", false),
            "demo-engineer" => ("technical-administrator", false),
            "demo-safeguarding" => ("safeguarding-lead", false),
            _ => return None,
        };
        Some(PrincipalFacts { roles: vec![role.to_owned()], signs })
    }

    fn principals(&self) -> Vec<String> {
        ["demo-guardian", "demo-siro", "demo-ig-lead", "demo-owner", "demo-engineer", "demo-safeguarding"]
            .map(str::to_owned)
            .to_vec()
    }
}

/// The slices that the profiles have; what they require is not asked here.
struct Slices(Validator);

impl Facts for Slices {
    fn required(&self, _profile: &str) -> Vec<String> {
        Vec::new()
    }

    fn slices(&self, profile: &str, element: &str) -> Vec<Slice> {
        self.0.slices(profile, element)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The profiles of this repository, and those of a strict neighbour.
fn structures() -> (Vec<StructureDefinition>, Slices) {
    let folder = root().join("tests/golden/agreements/profiles");
    let documents = definitions(&[folder]).expect("the profiles are sound");
    let slices = Slices(Validator::compile_what_can_be(&documents).0);
    let structure = |document: &Document| match Definition::read(document)? {
        Definition::Structure(structure) => Some(*structure),
        Definition::ValueSet(_) | Definition::CodeSystem(_) => None,
    };
    (documents.iter().filter_map(structure).collect(), slices)
}

/// An edit of one of the agreements: every occurrence of a text becomes another.
struct Case {
    name: &'static str,
    file: &'static str,
    edits: &'static [(&'static str, &'static str)],
}

const TRUST: &str = "demo-trust-crisis.toml";
const ICB: &str = "demo-icb-crisis.toml";

const fn case(name: &'static str, file: &'static str, edits: &'static [(&'static str, &'static str)]) -> Case {
    Case { name, file, edits }
}

const STRICT: (&str, &str) = (
    "resource = \"Patient\"\nprofile = \"https://weir.example/fhir/StructureDefinition/weir-patient\"\nelements = [\n    \"telecom",
    "resource = \"Patient\"\nprofile = \"https://strict.example/patient\"\nelements = [\n    \"deceasedBoolean\", \"multipleBirthInteger\", \"telecom",
);

const CASES: &[Case] = &[
    case("unknown-element", TRUST, &[("\"birthDate\"", "\"birthDay\"")]),
    case(
        "unknown-element-below",
        TRUST,
        &[("\"name.family\", \"name.given\", \"name.prefix\"", "\"name.familiy\", \"name.given\"")],
    ),
    case(
        "unknown-extension",
        TRUST,
        &[(
            "StructureDefinition/weir-clinical-response-priority')",
            "StructureDefinition/weir-clinical-response-prority')",
        )],
    ),
    case("choice-without-type", TRUST, &[("\"medicationCodeableConcept.text\"", "\"medication.text\"")]),
    case("whole-element", TRUST, &[("\"authoredOn\",\n    \"requester", "\"restriction\",\n    \"requester")]),
    case("unknown-resource", TRUST, &[("resource = \"Flag\"", "resource = \"Flags\"")]),
    case(
        "unknown-profile",
        TRUST,
        &[("StructureDefinition/weir-safeguarding-flag", "StructureDefinition/weir-safegarding-flag")],
    ),
    case(
        "profile-of-another-type",
        TRUST,
        &[("StructureDefinition/weir-safeguarding-flag", "StructureDefinition/weir-patient")],
    ),
    case("forbidden-by-profile", TRUST, &[STRICT]),
    case(
        "required-and-not-permitted",
        TRUST,
        &[
            ("tell_withheld = true\nlist_withheld = true", "tell_withheld = false"),
            ("\"name.use\", \"name.family\", \"name.given\", \"name.prefix\", ", ""),
        ],
    ),
    case(
        "required-value-cannot-be-masked",
        TRUST,
        &[(
            "\"id\", \"meta.profile\", \"status\", \"intent\", \"priority\", \"code.coding",
            "\"id\", \"meta.profile\", \"status\", \"priority\", \"code.coding",
        )],
    ),
    case(
        "no-message-header",
        TRUST,
        &[(
            "https://weir.example/fhir/StructureDefinition/weir-crisis-escalation-message-header",
            "http://hl7.org/fhir/StructureDefinition/MessageHeader",
        )],
    ),
    case(
        "safety-critical-withheld",
        TRUST,
        &[
            ("resource = \"AllergyIntolerance\"", "resource = \"Condition\""),
            ("profile = \"https://weir.example/fhir/StructureDefinition/weir-allergy-intolerance\"\n", ""),
            (
                "\"clinicalStatus.coding.display\", \"code.text\", \"patient.reference\"",
                "\"clinicalStatus.coding.display\", \"code.text\", \"subject.reference\"",
            ),
            ("\"reaction.manifestation.text\"", "\"note.text\""),
        ],
    ),
    case(
        "safety-critical-element-withheld",
        TRUST,
        &[(
            "    \"prediction.outcome.text\", \"prediction.qualitativeRisk.coding.system\", \"prediction.qualitativeRisk.coding.code\",\n    \"prediction.qualitativeRisk.coding.display\",",
            "    \"prediction.outcome.text\",",
        )],
    ),
    case(
        "withholding-without-a-decision",
        ICB,
        &[("\nresource = \"Flag\"\nreason", "\nresource = \"Flag\"\nelements = [\"author.reference\"]\nreason")],
    ),
    case(
        "withholding-of-nothing",
        ICB,
        &[("\nresource = \"Flag\"\nreason", "\nresource = \"Flag\"\nelements = [\"codes\", \"status\"]\nreason")],
    ),
    case("override-lets-nothing-leave", TRUST, &[("under_override = true\n", "")]),
    case(
        "override-leaves-out-what-is-required",
        TRUST,
        &[
            (
                "category = \"identity\"\nreason = \"the crisis team must know whom to help, and find their own record of that person\"\nunder_override = true",
                "category = \"identity\"\nreason = \"the crisis team must know whom to help, and find their own record of that person\"",
            ),
            ("tell_withheld = true\nlist_withheld = true", "tell_withheld = false"),
        ],
    ),
    case("mitigation-without-control", TRUST, &[("control = \"audit\"\n", "")]),
    case("mitigation-that-is-off", TRUST, &[("control = \"audit\"\n", "control = \"pinning\"\n")]),
    case("tls-not-enforced", TRUST, &[("minimum_tls = \"1.2\"", "minimum_tls = \"1.3\"")]),
    case("pinning-not-enforced", TRUST, &[("pinning = false", "pinning = true")]),
    case(
        "unknown-slice",
        ICB,
        &[(
            "[[interfaces.crisis-escalation.withhold]]\nresource = \"Flag\"",
            "[[interfaces.crisis-escalation.generalise]]\nresource = \"Patient\"\nprofile = \"https://weir.example/fhir/StructureDefinition/weir-patient\"\nelement = \"identifier:nhsNumbr.value\"\nto = \"pseudonym\"\nkey = \"icb-2026\"\ncategory = \"activity\"\nreason = \"to count people\"\n\n[[interfaces.crisis-escalation.withhold]]\nresource = \"Flag\"",
        )],
    ),
    case(
        "pseudonym-without-a-key",
        ICB,
        &[(
            "[[interfaces.crisis-escalation.withhold]]\nresource = \"Flag\"",
            "[[interfaces.crisis-escalation.generalise]]\nresource = \"Patient\"\nelement = \"identifier.value\"\nto = \"pseudonym\"\ncategory = \"activity\"\nreason = \"to count people\"\n\n[[interfaces.crisis-escalation.withhold]]\nresource = \"Flag\"",
        )],
    ),
    case(
        "pseudonym-with-an-unknown-key",
        ICB,
        &[(
            "[[interfaces.crisis-escalation.withhold]]\nresource = \"Flag\"",
            "[[interfaces.crisis-escalation.generalise]]\nresource = \"Patient\"\nelement = \"identifier.value\"\nto = \"pseudonym\"\nkey = \"icb-2025\"\ncategory = \"activity\"\nreason = \"to count people\"\n\n[[interfaces.crisis-escalation.withhold]]\nresource = \"Flag\"",
        )],
    ),
    case(
        "pseudonym-in-a-required-slice",
        ICB,
        &[("https://weir.example/fhir/StructureDefinition/weir-patient", "https://strict.example/numbered-patient")],
    ),
    case("category-undeclared", TRUST, &[("category = \"summary\"", "category = \"sumary\"")]),
    case("category-unused", ICB, &[("[categories]\n", "[categories]\nidentity = \"who the person is\"\n")]),
    case(
        "same-person-approves-twice",
        TRUST,
        &[("name = \"Sid Risk (synthetic)\"", "name = \"Ada Guardian (synthetic)\"")],
    ),
    case("principal-unknown", TRUST, &[("principal = \"demo-siro\"", "principal = \"demo-sirro\"")]),
    case("principal-in-another-role", TRUST, &[("principal = \"demo-siro\"", "principal = \"demo-owner\"")]),
    case("approver-without-principal", TRUST, &[(", principal = \"demo-siro\"", "")]),
    case(
        "not-required-without-ground",
        ICB,
        &[(", statute = \"no statute is relied on: nothing here identifies the person\"", "")],
    ),
    case("unknown-key", TRUST, &[("review_grace_days", "review_graces_days")]),
    case("not-toml", TRUST, &[("version = \"1\"", "version = 1\"")]),
    case(
        "several-at-once",
        ICB,
        &[("ods = \"DEMOI\"", "ods = \"DEMO-I\""), ("\"HOPERAT\"", "\"AUDIT\""), ("hours = 24", "hours = 2400")],
    ),
];

/// What is said of the edited agreement.
fn said(case: &Case, slices: &Slices, profiles: &mut Profiles<'_>) -> String {
    let read = |name: &str| fs::read_to_string(root().join("agreements").join(name)).expect("it is there");
    let mut text = read(case.file);
    for (from, to) in case.edits {
        assert!(text.contains(from), "{}: {} has no {from:?}", case.name, case.file);
        text = text.replace(from, to);
    }
    let files = [(case.file.to_owned(), text)];
    let faults = Agreements::check(&files, slices, profiles, &Site).err().unwrap_or_default();
    faults.into_iter().map(|fault| format!("{}\n", Fault::of_agreement(fault))).collect()
}

fn golden(name: &str, text: &str) {
    let golden = root().join("tests/golden/agreements").join(name).with_extension("txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, text).expect("it is written");
    }
    let expected = fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
    assert_eq!(text, expected, "{name}");
}

#[test]
fn the_agreements_of_the_demonstration_have_no_faults() {
    let (structures, slices) = structures();
    for file in [TRUST, ICB] {
        let unchanged = Case { name: "unchanged", file, edits: &[] };
        assert_eq!(said(&unchanged, &slices, &mut Profiles::of(&structures)), "");
    }
}

#[test]
fn each_slip_is_told_at_its_place_in_words_that_say_what_to_write() {
    let (structures, slices) = structures();
    let mut profiles = Profiles::of(&structures);
    for case in CASES {
        let text = said(case, &slices, &mut profiles);
        assert!(text.contains(&format!("--> {}:", case.file)) && text.contains('^'), "{}: {text}", case.name);
        golden(case.name, &text);
    }
}

#[test]
fn each_golden_text_is_one_of_a_case() {
    let files = fs::read_dir(root().join("tests/golden/agreements")).expect("it is there");
    for path in files.map(|entry| entry.expect("it is read").path()).filter(|path| path.is_file()) {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).expect("it has a name");
        let known = CASES.iter().any(|case| case.name == name) || name == "overlap";
        assert!(known && Path::new(&path).extension().is_some_and(|end| end == "txt"), "{}", path.display());
    }
}

#[test]
fn two_agreements_on_one_sharing_are_told() {
    let text = fs::read_to_string(root().join("agreements").join(TRUST)).expect("it is there");
    let other = text.replace("id = \"demo-trust-crisis\"", "id = \"demo-trust-crisis-2\"");
    let files = [("one.toml".to_owned(), text), ("two.toml".to_owned(), other)];
    let (structures, slices) = structures();
    let faults = Agreements::check(&files, &slices, &mut Profiles::of(&structures), &Site).expect_err("they overlap");
    let text: String = faults.into_iter().map(|fault| format!("{}\n", Fault::of_agreement(fault))).collect();
    golden("overlap", &text);
}
