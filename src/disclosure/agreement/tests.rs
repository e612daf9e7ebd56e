//! What a sound file is read as, and what is said of an unsound one.

use time::Date;
use time::macros::format_description;

use super::*;
use crate::disclosure::sample_facts::SampleFacts;
use crate::identity::tls::TlsVersion;

const GOOD: &str = r#"id = "trust-crisis"
version = "1"
status = "active"
effective = "2026-01-01"
review = "2026-12-31"
retention_days = 30
controller = { ods = "DEMOP", name = "Provider" }
recipient = { ods = "DEMOT", name = "Trust" }
purpose = { code = "ETREAT", words = "crisis care" }
lawful_basis = { article_6 = "6(1)(e)", article_9 = "9(2)(h)", common_law = "implied consent" }
categories = { identity = "who the person is" }
controls = { minimum_tls = "1.2", pinning = false, encryption_at_rest = true }
roles.caldicott_guardian = { name = "Gail Sample", contact = "ext. 1", principal = "gail" }
roles.siro = { name = "Sid Sample", contact = "ext. 2", principal = "sid" }
roles.ig_lead = { name = "Ivy Sample", contact = "ext. 3" }
roles.operational_owner = { name = "Olu Sample", contact = "ext. 4" }
roles.technical_administrator = { name = "Tom Sample", contact = "ext. 5" }
approval = { by = ["caldicott_guardian", "siro"] }
dpia = { reference = "DPIA-1", mitigation = [{ risk = "oversharing", control = "default-deny" }] }
escalation = [{ severity = "critical", contact = "the guardian", hours = 1, spool = true }]

[interfaces.crisis]
profile = "https://weir.example/bundle"
tell_withheld = true
consent = { rule = "implied", objection = "refuse" }

[[interfaces.crisis.permit]]
resource = "Patient"
elements = [
  "birthDate",
]
category = "identity"
reason = "whom to contact"
"#;

fn load(texts: &[String]) -> Result<Agreements, Vec<String>> {
    let names = ["a.toml", "b.toml"].iter().map(|&name| name.to_owned());
    let files: Vec<(String, String)> = names.zip(texts.iter().cloned()).collect();
    Agreements::load_for(&files, &SampleFacts::new()).map_err(|faults| faults.iter().map(Fault::to_string).collect())
}

#[test]
fn every_fault_has_its_place() {
    load(&[GOOD.to_owned()]).expect("it is sound");
    let mut wrong: Vec<String> = Vec::new();
    for (from, to, fault) in [
        ("\"trust-crisis\"", "\"Trust\"", "a.toml:1:6: an agreement id must be lower-case words joined by hyphens"),
        (
            "\"trust-crisis\"",
            "\"inbound-referrals\"",
            "a.toml:1:6: \"inbound-referrals\" is reserved: the gateway keeps",
        ),
        ("version = \"1\"", "version = \"1:2\"", "a.toml:2:11: a version is"),
        ("\"active\"", "\"on\"", "a.toml:3:10: the status must be"),
        ("\"2026-01-01\"", "\"1 January\"", "a.toml:4:13: a date is written"),
        ("2026-12-31", "2025-12-31", "a.toml:5:10: the review is due before"),
        ("= 30", "= 0", "a.toml:6:18: retention_days must be from 1"),
        ("DEMOP", "RX-1", "a.toml:7:22: an ODS code must be 1 to 9"),
        ("ETREAT", "CARE", "a.toml:9:20: the purpose must be an HL7 v3 ActReason code"),
        ("\"6(1)(e)\"", "\" \"", "a.toml:10:30: the Article 6 basis must not be empty"),
        ("status =", "state =", "a.toml:3:1: unknown field `state`"),
        ("[interfaces.crisis]", "[interfaces.Crisis]", "a.toml:"),
        ("https://weir.example/bundle", "bundle", "a.toml:23:11: a profile is named by its canonical URL"),
        ("\"Patient\"", "\"Pateint\"", "a.toml:28:12: FHIR R4 has no resource type \"Pateint\""),
        ("\"birthDate\"", "\"birthdate\"", "a.toml:30:3: Patient has no element \"birthdate\""),
        ("\"birthDate\"", "\"name\"", "a.toml:30:3: this is a whole HumanName; list its leaves (use, text, family,"),
        ("\"birthDate\"", "\"deceased\"", "a.toml:30:3: write deceased with its type, as JSON does: deceasedBoolean"),
        ("\"birthDate\"", "\"birthDate.value\"", "a.toml:30:3: date has no element \"value\""),
        ("\"birthDate\"", "\"_birthDate.id\"", "a.toml:30:3: Patient has no element \"_birthDate\""),
        ("\"birthDate\"", "\"extension.valueCode\"", "a.toml:30:3: name which extension"),
        ("\"birthDate\"", "\"extension('u.valueCode\"", "a.toml:30:3: the closing ') is missing"),
        ("\"birthDate\"", "\"name('u').family\"", "a.toml:30:3: name takes no argument"),
        ("\"birthDate\"", "\"name[0].family\"", "a.toml:30:3: Patient has no element \"name[0]\""),
        ("\"birthDate\"", "\"\"", "a.toml:30:3: Patient has no element \"\""),
        ("\"birthDate\"", "\"text.div\"", "a.toml:30:3: narrative never leaves as written"),
        ("\"birthDate\"", "\"contained.id\"", "a.toml:30:3: resources inside resources never leave"),
        ("\"birthDate\",", "\"birthDate\", \"birthDate\"", "a.toml:30:16: birthDate is permitted twice"),
        (
            "\"birthDate\"",
            "\"contact.modifierExtension('m').valueReference.reference\"",
            "a.toml:30:3: a reference in a modifierExtension cannot be permitted",
        ),
        ("\"whom to contact\"", "\"\"", "a.toml:33:10: the reason must not be empty"),
        ("\"birthDate\",", "", "a.toml:29:12: a permit must list at least one element"),
        ("tell_withheld = true\n", "", "a.toml:22:1: missing field `tell_withheld`"),
        ("retention_days", "review_grace_days = 400\nretention_days", "a.toml:6:21: review_grace_days must be from 0"),
        ("= { identity =", "= { unused = 'u', identity =", "a.toml:11:16: no clause is of the category \"unused\""),
        ("\"who the person is\"", "\"\"", "a.toml:11:27: what the category means must not be empty"),
        ("\"1.2\"", "\"1.1\"", "a.toml:12:28: minimum_tls must be \"1.2\" or \"1.3\""),
        ("siro = { name", "siro = { nom", "a.toml:14:16: unknown field `nom`"),
        ("roles.siro = {", "roles.siros = {", "a.toml:14:7: unknown field `siros`"),
        ("\"ext. 1\"", "\"\"", "a.toml:13:62: how to reach the person must not be empty"),
        (", \"siro\"]", "]", "a.toml:18:19: at least two roles must approve"),
        (", \"siro\"]", ", \"caldicott_guardian\"]", "a.toml:18:42: caldicott_guardian is named twice"),
        (", \"siro\"]", ", \"chair\"]", "a.toml:18:42: the role must be caldicott_guardian, siro, ig_lead,"),
        (", \"siro\"]", ", \"safeguarding_lead\"]", "a.toml:18:42: [roles] names no safeguarding_lead"),
        ("Sid Sample", "gail sample", "a.toml:18:42: siro and caldicott_guardian are the same person"),
        ("\"sid\"", "\"gail\"", "a.toml:18:42: siro and caldicott_guardian are the same person"),
        (", control = \"default-deny\"", "", "a.toml:19:46: this mitigation is tied to no control that Weir enforces"),
        ("default-deny", "hope", "a.toml:19:80: the control must be default-deny, minimum-tls,"),
        ("default-deny", "pinning", "a.toml:19:80: the mitigation relies on pinning, but controls.pinning is false"),
        ("default-deny", "override-review", "a.toml:19:80: the mitigation relies on override-review, but no"),
        ("default-deny", "generalisation", "a.toml:19:80: the mitigation relies on generalisation, but no"),
        ("\"critical\"", "\"bad\"", "a.toml:20:28: the severity must be critical, major or minor"),
        ("hours = 1,", "hours = 0,", "a.toml:20:74: hours must be from 1 to 720"),
        ("spool = true", "spool = false", "a.toml:20:28: this route tells nobody"),
        ("spool = true", "webhook = \"http://x.example\"", "a.toml:20:87: a webhook is an address that begins with"),
        ("escalation = [{", "escalation = []#", "a.toml:20:14: an agreement must say whom to tell"),
        ("\"implied\"", "\"assumed\"", "a.toml:25:20: the consent rule must be explicit, implied or not-required"),
        ("\"implied\"", "\"not-required\"", "a.toml:25:11: consent that is not required needs its ground"),
        ("\"refuse\"", "\"ignore\"", "a.toml:25:43: objection must be refuse, override or record"),
        ("\"refuse\"", "\"record\"", "a.toml:25:43: objection = \"record\" passes an objection over: it is for"),
        ("\"refuse\"", "\"override\"", "a.toml:25:43: objection = \"override\" needs an override"),
        ("tell_withheld = true", "tell_withheld = false\nlist_withheld = true", "a.toml:25:17: the list of what was"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let faults = load(&[text]).expect_err(to);
        if faults.len() != 1 || !faults[0].starts_with(fault) {
            wrong.push(format!("{to}: {faults:?}, not {fault}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What a DPIA says of objections is so.
    let consent = "rule = \"not-required\", statute = \"the law asks for it\", objection = \"record\"";
    let record = GOOD.replacen("rule = \"implied\", objection = \"refuse\"", consent, 1);
    load(std::slice::from_ref(&record)).expect("an objection may be recorded and stop nothing");
    let faults = load(&[record.replacen("default-deny", "consent", 1)]).expect_err("the DPIA says otherwise");
    let says =
        "the mitigation relies on consent, but no interface stops at an objection: each has objection = \"record\"";
    assert!(faults.len() == 1 && faults[0].contains(says), "{faults:?}");
    let refuse = record.replacen("\"record\"", "\"refuse\"", 1).replacen("default-deny", "consent", 1);
    load(&[refuse]).expect("an objection stops it");
    let text = GOOD.replacen("Patient", "Bundle", 1).replacen("birthDate", "entry.fullUrl", 1);
    assert!(load(&[text]).expect_err("implied")[0].contains("write a permit for that resource type"));
}

/// `GOOD` with more at its end, and the faults without the part before the line.
fn faults_of_addition(addition: &str) -> Vec<String> {
    let lines = GOOD.lines().count();
    let text = format!("{GOOD}{addition}\n");
    let faults = load(&[text]).err().unwrap_or_default();
    let place = |fault: &String| {
        let (line, rest) = fault.strip_prefix("a.toml:").and_then(|rest| rest.split_once(':')).expect("a place");
        format!("+{}:{rest}", line.parse::<usize>().expect("a line") - lines)
    };
    faults.iter().map(place).collect()
}

const GENERALISE: &str = r#"[[interfaces.crisis.generalise]]
resource = "Patient"
element = "address.postalCode"
to = "outward-code"
category = "identity"
reason = "which service is near"
"#;

#[test]
fn generalisations_are_read_with_what_they_need_and_nothing_else() {
    assert_eq!(faults_of_addition(GENERALISE), Vec::<String>::new());
    for (to, fault) in [
        ("'year'", None),
        ("'month'", None),
        ("'withheld'", None),
        ("'pseudonym'\nkey = 'partner'", None),
        ("'age-band'\nbands = [18, 65]", None),
        ("'decade'", Some("+4:6: an element is generalised to outward-code, month, year, age-band, pseudonym or")),
        ("'pseudonym'", Some("+4:6: a pseudonym needs a key")),
        ("'pseudonym'\nkey = ' '", Some("+5:7: the key's name must not be empty")),
        ("'year'\nkey = 'partner'", Some("+5:7: only to = \"pseudonym\" takes a key")),
        ("'year'\nbands = [18]", Some("+5:9: only to = \"age-band\" takes bands")),
        ("'age-band'", Some("+4:6: an age-band needs the ages")),
        ("'age-band'\nbands = []", Some("+5:9: bands are the ages")),
        ("'age-band'\nbands = [65, 18]", Some("+5:9: bands are the ages")),
        ("'age-band'\nbands = [18, 18]", Some("+5:9: bands are the ages")),
        ("'age-band'\nbands = [0, 18]", Some("+5:9: bands are the ages")),
        ("'age-band'\nbands = [18, 70000]", Some("+5:9: bands are the ages")),
    ] {
        let element = match to {
            _ if to.contains("pseudonym") => "identifier.value",
            _ if ["year", "month", "age"].iter().any(|kind| to.contains(kind)) => "birthDate",
            _ => "address.postalCode",
        };
        let written = GENERALISE.replace("address.postalCode", element).replace("\"outward-code\"", to);
        let found = faults_of_addition(&written);
        assert_eq!(found.len(), usize::from(fault.is_some()), "{to}: {found:?}");
        assert!(found.first().zip(fault).is_none_or(|(found, fault)| found.starts_with(fault)), "{to}: {found:?}");
    }
    assert_eq!(
        faults_of_addition(&GENERALISE.replace("\"identity\"", "\"identiti\"")),
        ["+5:12: [categories] does not declare \"identiti\""]
    );
}

#[test]
fn withholdings_and_overrides_name_roles_that_are_filled() {
    let withhold = |role: &str| {
        format!("[[interfaces.crisis.withhold]]\nresource = 'Flag'\nreason = 'not theirs'\napproved_by = '{role}'\n")
    };
    assert_eq!(faults_of_addition(&withhold("siro")), Vec::<String>::new());
    assert_eq!(faults_of_addition(&withhold("safeguarding_lead")), ["+4:15: [roles] names no safeguarding_lead"]);
    let terms = |purposes: &str, bases: &str, reviewer: &str, hours: i64| {
        format!(
            "[interfaces.crisis.override]\npurposes = {purposes}\nbases = {bases}\nreviewer = '{reviewer}'\n\
             review_hours = {hours}\n"
        )
    };
    let sound = terms("['BTG']", "['statute', 'safeguarding']", "ig_lead", 72);
    assert_eq!(faults_of_addition(&sound), Vec::<String>::new());
    for (wrong, fault) in [
        (terms("['CARE']", "['statute']", "ig_lead", 72), "+2:13: the purpose must be an HL7 v3 ActReason code"),
        (terms("[]", "['statute']", "ig_lead", 72), "+2:12: an override must name at least one purpose"),
        (terms("['BTG']", "[]", "ig_lead", 72), "+3:9: an override must name at least one basis"),
        (terms("['BTG', 'BTG']", "['statute']", "ig_lead", 72), "+2:20: BTG is named twice"),
        (terms("['BTG']", "['urgency']", "ig_lead", 72), "+3:10: the basis of an override must be vital-interests,"),
        (terms("['BTG']", "['statute']", "safeguarding_lead", 72), "+4:12: [roles] names no safeguarding_lead"),
        (terms("['BTG']", "['statute']", "ig_lead", 721), "+5:16: review_hours must be from 1 to 720"),
    ] {
        let found = faults_of_addition(&wrong);
        assert!(found.len() == 1 && found[0].starts_with(fault), "{fault}: {found:?}");
    }
}

#[test]
fn everything_that_is_written_can_be_asked_for() {
    let text = include_str!("../../../agreements/demo-trust-crisis.toml").to_owned();
    let agreements = load(&[text]).expect("it is sound");
    let agreement = agreements.iter().next().expect("there is one");
    assert_eq!(agreement.review_grace_days(), 28);
    assert_eq!(agreement.last_day().to_string(), "2028-01-29");
    assert!(agreement.lawful_basis().statute.is_some());
    assert_eq!(agreement.categories().get("plan").map(String::as_str), Some("the person's crisis plan"));
    assert_eq!(agreement.controls().minimum_tls, TlsVersion::Tls12);
    let guardian = agreement.roles().person(NamedRole::CaldicottGuardian).expect("there is one");
    assert_eq!(guardian.principal.as_deref(), Some("demo-guardian"));
    assert_eq!(agreement.approval().by, [NamedRole::CaldicottGuardian, NamedRole::Siro]);
    assert!(agreement.dpia().mitigations.iter().any(|each| each.control == Control::OverrideReview));
    let hours: Vec<(Severity, u32)> = agreement.escalations().iter().map(|each| (each.severity, each.hours)).collect();
    assert_eq!(hours, [(Severity::Critical, 1), (Severity::Major, 24), (Severity::Minor, 72)]);
    let (_, interface) = agreement.interfaces().next().expect("there is one");
    assert!(interface.tells_withheld() && interface.list_withheld());
    assert_eq!((interface.consent().rule, interface.consent().objection), (ConsentRule::Implied, Objection::Override));
    let terms = interface.override_rule().expect("there is one");
    assert_eq!((terms.reviewer, terms.review_hours), (NamedRole::SafeguardingLead, 72));
    let outside: Vec<&str> =
        interface.clauses().iter().filter(|clause| !clause.under_override).map(|clause| &*clause.resource).collect();
    assert_eq!(outside, ["Procedure"]);
}

#[test]
fn all_faults_are_found_at_once() {
    let text = GOOD.replace("DEMOT", "D-T").replace("birthDate", "birthdate").replace("= 30", "= -1");
    assert_eq!(load(&[text.clone(), text]).expect_err("three faults in each").len(), 6);
}

#[test]
fn two_active_agreements_on_one_sharing_are_a_fault() {
    let other = |id: &str, from: &str, to: &str| GOOD.replace("trust-crisis", id).replace(from, to);
    for (text, fault) in [
        (GOOD.to_owned(), Some("b.toml:1:6: a.toml has the same id and version")),
        (other("x", "", ""), Some("b.toml:1:6: a.toml is active between the same parties and purpose for crisis")),
        (other("x", "\"active\"", "\"draft\""), None),
        (other("x", "DEMOT", "DEMOI"), None),
        (other("x", "crisis]", "handover]").replace("crisis.permit", "handover.permit"), None),
        (other("x", "2026-", "2027-"), None),
    ] {
        let found = load(&[GOOD.to_owned(), text]).err().unwrap_or_default();
        assert_eq!(found.len(), usize::from(fault.is_some()), "{found:?}");
        assert!(found.first().zip(fault).is_none_or(|(found, fault)| found.starts_with(fault)), "{found:?}");
    }
}

#[test]
fn an_agreement_is_in_force_when_active_and_between_its_dates() {
    let ask = |text: &str, recipient: &str, day: &str| {
        let agreements = load(&[text.to_owned()]).expect("it is sound");
        sample::approve_all(&agreements);
        let day = Date::parse(day, format_description!("[year]-[month]-[day]"))
            .expect("a date")
            .with_hms(23, 59, 0)
            .expect("a time")
            .assume_utc();
        let [sender, recipient] = ["DEMOP", recipient].map(|code| code.parse().expect("an ODS code"));
        let found = agreements.in_force(&sender, &recipient, &"crisis".parse().expect("a name"), day);
        found.map(|agreement| agreement.id().to_string()).map_err(|error| error.to_string())
    };
    assert_eq!(ask(GOOD, "DEMOT", "2026-01-01"), Ok("trust-crisis".to_owned()));
    assert_eq!(ask(GOOD, "DEMOT", "2026-12-31"), Ok("trust-crisis".to_owned()));
    let graced = GOOD.replace("retention_days", "review_grace_days = 10\nretention_days");
    assert_eq!(ask(&graced, "DEMOT", "2027-01-10"), Ok("trust-crisis".to_owned()));
    for (text, recipient, day, why) in [
        (GOOD, "DEMOI", "2026-06-01", "no agreement lets DEMOP send crisis to DEMOI"),
        (GOOD, "DEMOT", "2025-12-31", "it takes effect on 2026-01-01"),
        (GOOD, "DEMOT", "2027-01-01", "its review was due on 2026-12-31"),
        (&graced, "DEMOT", "2027-01-11", "its review was due on 2026-12-31, and the grace of 10 days is over"),
        (&GOOD.replace("\"active\"", "\"suspended\""), "DEMOT", "2026-06-01", "its status is suspended"),
    ] {
        let error = ask(text, recipient, day).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_agreements_of_the_demonstration_are_sound() {
    let texts = [
        include_str!("../../../agreements/demo-trust-crisis.toml").to_owned(),
        include_str!("../../../agreements/demo-icb-crisis.toml").to_owned(),
    ];
    assert_eq!(load(&texts).map(|agreements| agreements.iter().count()), Ok(2));
}
