//! One event of every kind, and what each must hold: no personal data, and what the profile of IHE BALP demands that it claims.
//!
//! What a profile demands is told here in our own words, after version 1.1 of its text.

use std::borrow::Cow;

use serde_json::Value;
use uuid::Uuid;

use super::event::tests::{AT, key, new_message, read, record, recorder, step, terms};
use super::event::{Access, Object, Refused, Terms, kind};
use super::{Answer, Basis, By, Decision, Referral, merkle};
use crate::delivery::deadline::{Alarm, Trouble};
use crate::disclosure::AgreementChange;
use crate::fhir::audit_event::{RecordedEvent, Who};
use crate::identity::digest::hex;
use crate::identity::{PrincipalId, principal};
use crate::storage::{
    Approval, Channel, Completed, Ended, Envelope, Event, Finding, Handover, HandoverState, InboundRecord,
    InboundTrouble, NewNotice, NewReview, NoticeRecord, ReviewRecord, Says, State,
};

type Named = (&'static str, Event);

fn principal(id: &str) -> PrincipalId {
    id.parse().expect("an id")
}

/// One of every kind, and more of a kind where they differ.
fn events() -> Vec<Named> {
    [
        submissions(),
        decisions(),
        steps(),
        answers(),
        handovers(),
        referrals(),
        reviews(),
        accesses(),
        acts(),
        erasures(),
        of_the_gateway(),
    ]
    .concat()
}

fn submissions() -> Vec<Named> {
    let (recorder, new, by) = (recorder(), new_message(), principal("demo-records"));
    let refused = Refused {
        sender: &new.sender,
        by: Some(&by),
        message: Some(new.id),
        interface: Some(&new.interface),
        reason: "no-agreement",
        missing: 1,
        at: AT,
    };
    vec![
        ("accepted", recorder.accepted(&new, Some(&by), &terms(), &key().record(&[3; 32]))),
        ("refused", recorder.refused(refused)),
        ("refused-early", recorder.refused(Refused { message: None, interface: None, ..refused })),
    ]
}

fn decisions() -> Vec<Named> {
    let (recorder, new, terms) = (recorder(), new_message(), terms());
    let permitted = Decision { recipient: &new.recipient, message: Some(new.id), terms: &terms, denied: None, at: AT };
    let of_nobody = Terms { subject: None, consent: None, ..terms.clone() };
    let denied = Decision { message: None, denied: Some("no-consent"), ..permitted };
    vec![
        ("permitted", recorder.decision(permitted)),
        ("denied", recorder.decision(denied)),
        ("denied-for-many", recorder.decision(Decision { terms: &of_nobody, ..denied })),
    ]
}

fn steps() -> Vec<Named> {
    let (recorder, queued, in_flight) = (recorder(), record(State::Queued), record(State::InFlight));
    let (terms, address) = (terms(), "https://trust.example/FHIR/R4/$process-message");
    let of_many = Terms { subject: None, ..terms.clone() };
    let begun = crate::audit::Step { patient: terms.subject.as_ref(), ..step(&queued, State::InFlight) };
    let alarm = Alarm { route: Some(1), tell: Some(Trouble::DeadlineNear), next: None };
    let delivered = step(&in_flight, State::Delivered);
    vec![
        ("in-flight", recorder.transition(begun).event),
        ("cancelled", recorder.decided(step(&queued, State::Cancelled), &principal("demo-owner")).event),
        ("dead", recorder.transition(step(&in_flight, State::Dead)).event),
        ("disclosure", recorder.disclosure(delivered, &terms, address).event),
        ("disclosure-refused", recorder.disclosure(step(&in_flight, State::Refused), &terms, address).event),
        ("extract", recorder.disclosure(delivered, &of_many, address).event),
        ("alarm", recorder.alarm((&in_flight, terms.subject.as_ref()), alarm, AT)),
    ]
}

fn answers() -> Vec<Named> {
    let (recorder, new, terms) = (recorder(), new_message(), terms());
    let says = Says {
        verdict: "information-missing".to_owned(),
        code: "fatal-error".to_owned(),
        reasons: vec!["required".to_owned()],
        asks_for: vec!["Patient.telecom".to_owned()],
        handover: None,
    };
    let answer = Answer {
        sender: &new.recipient,
        address: "10.0.0.9",
        message: new.id,
        terms: Some(&terms),
        id: None,
        digest: &[1; 32],
        says: &says,
        at: AT,
    };
    let of_many = Terms { subject: None, ..terms.clone() };
    vec![
        ("answer", recorder.answer_received(answer)),
        ("answer-about-many", recorder.answer_received(Answer { terms: Some(&of_many), ..answer })),
        ("answer-without-terms", recorder.answer_received(Answer { terms: None, ..answer })),
        ("answer-refused", recorder.answer_refused(&new.recipient, (None, "unknown"), Some("10.0.0.9"), AT)),
    ]
}

fn handovers() -> Vec<Named> {
    let (recorder, new, terms, owner) = (recorder(), new_message(), terms(), principal("demo-owner"));
    let of = (new.id, terms.subject.as_ref());
    let waiting = Handover {
        state: HandoverState::Waiting,
        since: AT,
        opened_at: AT,
        near_at: AT,
        due_at: AT,
        contact_within: std::time::Duration::from_secs(60),
        contact_due_at: None,
        contacted_at: None,
        alert_at: Some(AT),
        tell: None,
    };
    let to = |state| Handover { state, contact_due_at: Some(AT), ..waiting.clone() };
    let (accepted, rejected) = (to(HandoverState::Accepted), to(HandoverState::Rejected));
    let reasons = ["no-capacity".to_owned()];
    let basis = Basis { id: Some(Uuid::from_u128(5)), digest: &[1; 32], holder: Some("team"), reasons: &[] };
    let (partner, before) = (By::Partner(&new.recipient, Some("10.0.0.9")), Some(&waiting));
    let refusal = Some(Basis { reasons: &reasons, ..basis });
    let changed = |after: &Handover, by, basis| recorder.handover_changed(of, (before, after), (by, basis), AT);
    vec![
        ("handover-opened", recorder.handover_changed(of, (None, &waiting), (By::Gateway, None), AT)),
        ("handover-accepted", changed(&accepted, partner, Some(basis))),
        ("handover-rejected", changed(&rejected, partner, refusal)),
        ("handover-withdrawn", changed(&to(HandoverState::Withdrawn), By::Person(&owner), None)),
        ("handover-resent", recorder.handover_resent(of, (&rejected, &waiting), (&owner, "partner-asked"), AT)),
        ("handover-contradicted", recorder.handover_contradicted(of, partner, ("rejected", basis), AT)),
        ("handover-overdue", recorder.handover_alarm(of, (&waiting, &to(HandoverState::Overdue)), "overdue", AT)),
        ("handover-told", recorder.handover_alarm(of, (&rejected, &rejected), "rejected", AT)),
    ]
}

fn referrals() -> Vec<Named> {
    let (recorder, new, terms) = (recorder(), new_message(), terms());
    let bundle = Uuid::from_u128(9);
    let referral = Referral {
        sender: &new.recipient,
        address: "10.0.0.9",
        bundle,
        id: new.id,
        interface: &new.interface,
        digest: &[1; 32],
        subject: terms.subject.as_ref(),
        priority: Some("urgent"),
        due_at: AT,
        at: AT,
    };
    let waits = InboundRecord {
        id: new.id,
        sender: new.recipient.clone(),
        bundle,
        interface: new.interface.clone(),
        digest: [1; 32],
        priority: Some("urgent".to_owned()),
        received_at: AT,
        due_at: Some(AT),
        alert_at: Some(AT),
        told: Some(InboundTrouble::NearDue),
        event: Some(7),
        collected: None,
    };
    let notice = NewNotice {
        id: Uuid::from_u128(1),
        channel: Channel::Spool,
        target: "a.json".to_owned(),
        body: "{}".to_owned(),
        at: AT,
    };
    let notice = NoticeRecord {
        notice,
        message: new.id,
        attempts: 0,
        next_attempt_at: None,
        delivered_at: None,
        note: String::new(),
    };
    let (of_it, of_nobody) = ((&waits, terms.subject.as_ref()), (&waits, None));
    let (sender, by) = (&new.recipient, principal("demo-records"));
    vec![
        ("referral", recorder.referral_received(referral)),
        ("referral-of-nobody", recorder.referral_received(Referral { subject: None, ..referral })),
        ("referral-refused", recorder.referral_refused(sender, (Some(bundle), "invalid"), "10.0.0.9", AT)),
        ("referral-refused-early", recorder.referral_refused(sender, (None, "sender-is-another"), "10.0.0.9", AT)),
        ("referral-overdue", recorder.referral_alarm(of_it, (InboundTrouble::Overdue, AT), AT)),
        ("referral-overdue-of-nobody", recorder.referral_alarm(of_nobody, (InboundTrouble::Overdue, AT), AT)),
        ("referral-notice", recorder.referral_notice_delivered(&notice, of_it, AT)),
        (
            "referral-erased",
            recorder.referral_erased(&waits, terms.subject.as_ref().expect("it is about someone"), &by, AT),
        ),
        ("referral-collected", recorder.referral_collected((bundle, new.id), &by, "10.0.0.7", AT)),
    ]
}

fn reviews() -> Vec<Named> {
    let (recorder, new, terms) = (recorder(), new_message(), terms());
    let patient = terms.subject.as_ref();
    let opened = NewReview {
        reviewer: "safeguarding_lead".to_owned(),
        purpose: "BTG".to_owned(),
        basis: "safeguarding".to_owned(),
        due_at: AT,
        decision: b"Chantal".to_vec(),
    };
    let review = ReviewRecord {
        message: new.id,
        interface: new.interface,
        recipient: new.recipient,
        agreement: new.agreement,
        reviewer: opened.reviewer.clone(),
        purpose: opened.purpose.clone(),
        basis: opened.basis.clone(),
        opened_at: AT,
        due_at: AT,
        overdue_at: None,
        completed: None,
    };
    let completed = Completed { at: AT, by: "demo-safeguarding".to_owned(), finding: Finding::NotJustified };
    let notice = NewNotice {
        id: Uuid::from_u128(1),
        channel: Channel::Webhook,
        target: "https://provider.example/incidents".to_owned(),
        body: "{}".to_owned(),
        at: AT,
    };
    let notice = NoticeRecord {
        notice,
        message: new.id,
        attempts: 0,
        next_attempt_at: None,
        delivered_at: None,
        note: String::new(),
    };
    vec![
        ("review-opened", recorder.review_opened((new.id, patient), &opened, AT)),
        ("review-overdue", recorder.review_overdue(&review, patient, AT)),
        ("review-completed", recorder.review_completed(&review, patient, &completed)),
        ("notice", recorder.notice_delivered(&notice, patient, AT)),
    ]
}

fn accesses() -> Vec<Named> {
    let (recorder, terms) = (recorder(), terms());
    let access = Access {
        by: Who::operator("op-17"),
        action: principal::Action::ReadLineage,
        object: Object::Message(new_message().id),
        patient: terms.subject.as_ref().map(|hash| Cow::Borrowed(hash.as_str())),
        permitted: true,
        reason: None,
        address: Some("10.0.0.7"),
        at: AT,
    };
    let list = Access { object: Object::Site, patient: None, ..access.clone() };
    let search = Access {
        action: principal::Action::VerifyAudit,
        object: Object::Search("AuditEvent?agent%3Aidentifier=DEMOP&outcome=4"),
        ..access.clone()
    };
    let not_understood = Access { permitted: false, reason: Some("not-understood"), ..search.clone() };
    let event = Access { object: Object::Resource("AuditEvent", Uuid::from_u128(7)), ..access.clone() };
    let own = Access { permitted: false, reason: Some("own-decision"), ..access.clone() };
    [
        ("read-message", access.clone()),
        ("read-at-the-site", Access { address: None, ..access.clone() }),
        ("read-denied", Access { permitted: false, ..access }),
        ("read-list", list.clone()),
        ("read-event", event),
        ("preview", Access { action: principal::Action::Preview, ..list }),
        ("search", Access { patient: None, ..search.clone() }),
        ("search-for-a-patient", search),
        ("search-not-understood", not_understood),
        ("own-decision", own),
    ]
    .map(|(name, access)| (name, recorder.access(access)))
    .into()
}

fn acts() -> Vec<Named> {
    let (recorder, guardian) = (recorder(), principal("demo-guardian"));
    let approval = Approval {
        agreement: new_message().agreement,
        version: "2".to_owned(),
        file: [1; 32],
        role: "caldicott-guardian".to_owned(),
        by: guardian.clone(),
        at: AT,
    };
    vec![
        ("approved", recorder.agreement_approved(&approval, true)),
        ("approval-denied", recorder.agreement_approved(&approval, false)),
        ("act-refused", recorder.act_refused(Some(&guardian), "signature", AT)),
        ("act-of-nobody", recorder.act_refused(None, "form", AT)),
    ]
}

fn erasures() -> Vec<Named> {
    let (recorder, by, new) = (recorder(), principal("demo-ig-lead"), new_message());
    let subject = terms().subject.expect("they are about someone");
    let envelope =
        Envelope { number: 3, agreement: new.agreement, day: 20_454, retention_days: 30, destroyed_at: None };
    let ended = Ended { envelope, messages: 5, undelivered: 1, held: 0 };
    vec![
        ("destroyed", recorder.envelope_destroyed(&ended, AT)),
        ("message-erased", recorder.message_erased(new.id, &subject, &by, AT)),
        ("subject-erased", recorder.subject_erased(&subject, &by, (2, 0), AT)),
        ("subject-erased-in-part", recorder.subject_erased(&subject, &by, (2, 1), AT)),
    ]
}

fn of_the_gateway() -> Vec<Named> {
    let recorder = recorder();
    let change = |came, byte| AgreementChange {
        agreement: new_message().agreement,
        version: "2".to_owned(),
        file: [byte; 32],
        came,
    };
    let files = [("agreements/a.toml".to_owned(), [1; 32])];
    vec![
        ("configuration", recorder.configuration(&files, None, AT)),
        ("configuration-refused", recorder.configuration(&files, Some("invalid"), AT)),
        ("agreements", recorder.agreements_changed(&[change(false, 1), change(true, 2)], AT)),
        ("started", recorder.started("0.1.0", &principal("demo-engineer"), AT)),
        ("stopped", recorder.stopped(AT)),
    ]
}

fn json(event: &Event) -> Value {
    serde_json::from_str(&read(event).to_json()).expect("it is JSON")
}

#[test]
fn there_is_one_of_every_kind() {
    let all = events();
    for kind in kind::ALL {
        assert!(all.iter().any(|(_, event)| read(event).is(kind)), "{kind}");
    }
}

#[test]
fn no_event_holds_what_identifies_a_person() {
    for (name, event) in events() {
        let text = read(&event).to_json();
        assert!(!text.contains("9999999999") && !text.contains("Chantal"), "{name}");
        assert!(!text.contains(&hex(&[3; 32])), "{name}: a record's digest is keyed");
        assert!(!text.contains("no answer"), "{name}: notes are not audited");
        assert!(text.len() < 3400, "{name} has {} bytes", text.len());
    }
}

/// What a part of an event must have, as far as a profile says.
#[derive(Clone, Copy, PartialEq)]
enum Must {
    Have,
    Lack,
    May,
}

/// Someone who must have taken part, once.
struct Part {
    kind: &'static str,
    network: Must,
    requestor: Option<bool>,
    /// Whether it is who recorded the event.
    is_observer: bool,
}

/// What an event must be about.
struct About {
    kind: &'static str,
    roles: &'static [&'static str],
    what: Must,
    query: Must,
    detail: Must,
    /// How many there are, at least and at most.
    count: (usize, usize),
}

/// What one profile demands.
struct Profile {
    name: &'static str,
    kind: &'static str,
    action: &'static str,
    /// Of these codes there is one among the subtypes.
    subtypes: &'static [&'static str],
    only_these_subtypes: bool,
    outcomes: &'static [&'static str],
    agents: &'static [Part],
    entities: &'static [About],
    least_entities: usize,
    only_these_entities: bool,
}

const ANY: &[&str] = &["0", "4", "8"];

const fn end(kind: &'static str, is_observer: bool) -> Part {
    Part { kind, network: Must::Have, requestor: None, is_observer }
}

const fn role(kind: &'static str, requestor: bool, is_observer: bool) -> Part {
    Part { kind, network: Must::Lack, requestor: Some(requestor), is_observer }
}

const fn about(kind: &'static str, roles: &'static [&'static str], count: (usize, usize)) -> About {
    About { kind, roles, what: Must::Have, query: Must::May, detail: Must::May, count }
}

const PATIENT: About = about("audit-entity-type#1", &["1"], (1, 1));
const NO_PATIENT: About = about("audit-entity-type#1", &[], (0, 0));
const READ: About = about("audit-entity-type#2", &["3", "4", "20"], (1, 1));
const QUERY: About = About {
    kind: "audit-entity-type#2",
    roles: &["24"],
    what: Must::Lack,
    query: Must::Have,
    detail: Must::Lack,
    count: (1, 1),
};

const DISCLOSURE: Profile = Profile {
    name: "PrivacyDisclosure.Source",
    kind: "DCM#110106",
    action: "R",
    subtypes: &["iso-21089-lifecycle#disclose"],
    only_these_subtypes: false,
    outcomes: ANY,
    agents: &[end("DCM#110153", true), end("DCM#110152", false)],
    entities: &[PATIENT],
    least_entities: 2,
    only_these_entities: false,
};

const READING: Profile = Profile {
    name: "Read",
    kind: "audit-event-type#rest",
    action: "R",
    subtypes: &["restful-interaction#read", "restful-interaction#vread"],
    outcomes: &["0"],
    agents: &[end("DCM#110152", false), end("DCM#110153", false)],
    entities: &[READ, NO_PATIENT],
    least_entities: 1,
    ..DISCLOSURE
};

const ASKING: Profile = Profile {
    name: "Query",
    action: "E",
    subtypes: &["restful-interaction#search", "restful-interaction#search-type", "restful-interaction#search-system"],
    agents: &[end("DCM#110153", false), end("DCM#110152", false)],
    entities: &[QUERY, NO_PATIENT],
    ..READING
};

const PROFILES: [Profile; 7] = [
    DISCLOSURE,
    Profile {
        name: "PrivacyDisclosure.Recipient",
        kind: "DCM#110107",
        action: "C",
        agents: &[end("DCM#110153", false), end("DCM#110152", true)],
        ..DISCLOSURE
    },
    Profile {
        name: "AuthZconsent",
        kind: "DCM#110113",
        action: "E",
        subtypes: &["AuthZsubType#AuthZ-Consent", "AuthZsubType#AuthZ-Role"],
        only_these_subtypes: true,
        outcomes: ANY,
        agents: &[
            end("DCM#110150", false),
            role("v3-ParticipationType#IRCP", true, false),
            role("v3-RoleClass#PROV", false, false),
            role("extra-security-role-type#authserver", false, true),
        ],
        entities: &[PATIENT, about("resource-types#Consent", &[], (1, usize::MAX))],
        least_entities: 2,
        only_these_entities: true,
    },
    READING,
    Profile { name: "PatientRead", entities: &[READ, PATIENT], least_entities: 2, ..READING },
    ASKING,
    Profile { name: "PatientQuery", entities: &[QUERY, PATIENT], ..ASKING },
];

/// `DCM#110106`: a code behind the last part of its system.
fn code(coding: &Value) -> String {
    let text = |name: &str| coding[name].as_str().unwrap_or_default().to_owned();
    format!("{}#{}", text("system").rsplit('/').next().unwrap_or_default(), text("code"))
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn is(must: Must, value: &Value) -> bool {
    must == Must::May || (must == Must::Have) != value.is_null()
}

impl Part {
    fn missed(&self, event: &Value) -> bool {
        let is_it = |agent: &&Value| list(&agent["type"], "coding").iter().any(|coding| code(coding) == self.kind);
        let mut found = list(event, "agent").iter().filter(is_it);
        let (Some(agent), None) = (found.next(), found.next()) else { return true };
        !is(Must::Have, &agent["who"])
            || !is(self.network, &agent["network"])
            || self.requestor.is_some_and(|requestor| agent["requestor"] != requestor)
            || self.is_observer && agent["who"] != event["source"]["observer"]
    }
}

impl About {
    fn is_it(&self, entity: &Value) -> bool {
        code(&entity["type"]) == self.kind
    }

    fn missed(&self, event: &Value) -> bool {
        let found: Vec<_> = list(event, "entity").iter().filter(|entity| self.is_it(entity)).collect();
        let role = |entity: &Value| entity["role"]["code"].as_str().unwrap_or_default().to_owned();
        !(self.count.0..=self.count.1).contains(&found.len())
            || found.iter().any(|entity| {
                !self.roles.is_empty() && !self.roles.contains(&&*role(entity))
                    || !is(self.what, &entity["what"])
                    || !is(self.query, &entity["query"])
                    || !is(self.detail, &entity["detail"])
            })
    }
}

/// What of a profile an event does not have.
fn faults(profile: &Profile, event: &Value) -> Vec<String> {
    let subtypes: Vec<_> = list(event, "subtype").iter().map(code).collect();
    let known = |subtype: &&String| profile.subtypes.contains(&subtype.as_str());
    let count = subtypes.iter().filter(known).count();
    let entities = list(event, "entity");
    let fault = |what: &str, is_one: bool| is_one.then(|| what.to_owned());
    let all = [
        fault("type", code(&event["type"]) != profile.kind),
        fault("action", event["action"] != profile.action),
        fault("subtype", count != 1 || profile.only_these_subtypes && subtypes.len() > 1),
        fault("outcome", !profile.outcomes.iter().any(|outcome| event["outcome"] == **outcome)),
        fault("entities", entities.len() < profile.least_entities),
        fault(
            "other entities",
            profile.only_these_entities
                && !entities.iter().all(|entity| profile.entities.iter().any(|about| about.is_it(entity))),
        ),
    ];
    let agents = profile.agents.iter().map(|part| fault(part.kind, part.missed(event)));
    let entities = profile.entities.iter().map(|about| fault(about.kind, about.missed(event)));
    all.into_iter().chain(agents).chain(entities).flatten().collect()
}

const CLAIMED: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";

/// The profile that an event claims.
fn claimed(event: &Value) -> Option<&'static Profile> {
    let [only] = list(&event["meta"], "profile") else { return None };
    let name = only.as_str().and_then(|url| url.strip_prefix(CLAIMED)).expect("a profile of BALP");
    Some(PROFILES.iter().find(|profile| profile.name == name).unwrap_or_else(|| panic!("{name} is not told of")))
}

#[test]
fn each_event_has_what_the_profile_demands_that_it_claims() {
    for (name, event) in events() {
        let event = json(&event);
        let Some(profile) = claimed(&event) else { continue };
        assert_eq!(faults(profile, &event), [] as [String; 0], "{name}: {}", profile.name);
    }
}

#[test]
fn an_event_conforms_to_a_profile_only_if_it_claims_it() {
    for (name, event) in events() {
        let event = json(&event);
        let fits = PROFILES.iter().filter(|profile| faults(profile, &event).is_empty()).map(|profile| profile.name);
        let claimed = claimed(&event).map(|profile| profile.name);
        assert_eq!(fits.collect::<Vec<_>>(), Vec::from_iter(claimed), "{name}");
    }
}

#[test]
fn which_event_claims_which_profile() {
    let of = |event: &Event| claimed(&json(event)).map(|profile| profile.name);
    let claims: Vec<_> = events().iter().filter_map(|(name, event)| Some((*name, of(event)?))).collect();
    assert_eq!(
        claims,
        [
            ("permitted", "AuthZconsent"),
            ("denied", "AuthZconsent"),
            ("denied-for-many", "AuthZconsent"),
            ("disclosure", "PrivacyDisclosure.Source"),
            ("disclosure-refused", "PrivacyDisclosure.Source"),
            ("extract", "PrivacyDisclosure.Source"),
            ("answer", "PrivacyDisclosure.Recipient"),
            ("answer-about-many", "PrivacyDisclosure.Recipient"),
            ("referral", "PrivacyDisclosure.Recipient"),
            ("referral-of-nobody", "PrivacyDisclosure.Recipient"),
            ("read-message", "PatientRead"),
            ("read-list", "Read"),
            ("read-event", "PatientRead"),
            ("search", "Query"),
            ("search-for-a-patient", "PatientQuery"),
        ]
    );
}

/// The check can fail: without any one part that is demanded, something is missed.
#[test]
fn what_is_taken_from_an_event_is_missed() {
    for (name, event) in events() {
        let event = json(&event);
        let Some(profile) = claimed(&event) else { continue };
        for part in profile.agents {
            let mut without = event.clone();
            let agents = without["agent"].as_array_mut().expect("agents");
            agents.retain(|agent| code(&agent["type"]["coding"][0]) != part.kind);
            assert!(!faults(profile, &without).is_empty(), "{name} without {}", part.kind);
        }
        for member in ["type", "subtype", "action", "outcome", "entity"] {
            let mut without = event.clone();
            without.as_object_mut().expect("an object").remove(member);
            assert!(!faults(profile, &without).is_empty(), "{name} without {member}");
        }
    }
}

#[test]
fn each_event_is_read_back_as_it_was_written() {
    for (name, event) in events() {
        let (kept, text) = (read(&event), read(&event).to_json());
        let again = RecordedEvent::read(text.as_bytes());
        assert_eq!(again.as_ref(), Some(&kept), "{name}");
    }
}

/// Two events of a demonstration site as the version before these profiles kept them, with their leaves: an access, and a
/// disclosure.
const EARLIER: [(&str, &str, &str); 2] = [
    (
        concat!(
            "011001a2060e60a27fd2bbdb3b2bab3654e703047265737402040472656164010661636365737301c482f3e0c06800000201010c64656d6f",
            "2d7265636f7264730101093132372e302e302e3100000544454d4f5000011761756469742e776569722e6578616d706c652f64656d6f0544",
            "454d4f501761756469742e776569722e6578616d706c652f64656d6f010188d4aa74fca559929653d658c50732d90106616374696f6e000c",
            "726561642d6d657373616765",
        ),
        "03e534686ef47f37894963289e97808d04f75085e9c83a476a04132c529da49e",
        "Read",
    ),
    (
        concat!(
            "011001a2060e60a8725490084d5f216b2a140006313130313036020208646973636c6f7365011073746174652d7472616e736974696f6e01",
            "d082f3e0c068000105064554524541540200000544454d4f5001011761756469742e776569722e6578616d706c652f64656d6f0100054445",
            "4d4f5400012a68747470733a2f2f626172732d64656d6f742e706172746e65722e6578616d706c652f464849522f52340544454d4f501761",
            "756469742e776569722e6578616d706c652f64656d6f03000101831929ddf2e7d266ed9c5da69c5ca75ab94f9d43acbc4680678b69fc3c9a",
            "2d2d000188d4aa74fca559929653d658c50732d9080466726f6d0009696e2d666c6967687402746f000c61636b6e6f776c65646765640861",
            "7474656d70747300013106726561736f6e000c61636b6e6f776c65646765640d656c656d656e74732d73656e74000333303611656c656d65",
            "6e74732d7769746868656c640001320e636f6e73656e742d67726f756e64000f696d706c6965642d636f6e73656e7412636f6e73656e742d",
            "707265666572656e6365000c6e6f742d706f737369626c65021164656d6f2d74727573742d637269736973020776657273696f6e00013107",
            "7368612d32353601ee0f1f8a4ffd826b4c1554ab4801cfd39e88806955f62307c0859cfdafd010b4",
        ),
        "bc48d90390c458691c34498881236b60d1e144a5c943ab9275c1f734bef65b45",
        "PrivacyDisclosure.Source",
    ),
];

#[test]
fn events_of_an_earlier_version_are_read_and_keep_their_leaves() {
    for (bytes, leaf, profile) in EARLIER {
        let bytes: Vec<u8> =
            (0..bytes.len()).step_by(2).map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).expect("hex")).collect();
        let said = RecordedEvent::read(&bytes).expect("it is an AuditEvent");
        assert_eq!(hex(&merkle::leaf(&bytes)), leaf);
        let now = said.event().to_bytes();
        assert_eq!(RecordedEvent::read(&now), Some(said.clone()), "it says the same as one of this version");
        assert!(now.len() < bytes.len() && now[0] > bytes[0], "which is shorter");
        let event = serde_json::from_str(&said.to_json()).expect("it is JSON");
        let claimed = claimed(&event).expect("it conforms to one");
        assert_eq!((claimed.name, faults(claimed, &event)), (profile, vec![]));
    }
}
