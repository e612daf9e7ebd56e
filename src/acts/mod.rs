//! What people do at a site, signed: an approval, a completed review, a look at a lineage.
//!
//! Enters: an act as a JWS by a person's key, over HTTP or from the spool folder (`spool.rs`), since only the running
//! gateway writes to its store. Leaves: the change with its audit event, in one transaction, once, however often the
//! act is handed in; or an audit event that says that it was refused. Invariant: nothing is changed that the signer's
//! roles do not permit, and an act counts at one site only.

pub mod erasure;
pub mod own_decision;
pub mod message;
pub mod notice;
pub mod review;
pub mod spool;
pub mod token;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::Duration;
use uuid::Uuid;

use self::erasure::{About, Kept};
use self::message::Reason;
use self::own_decision::{Tie, tie};
use crate::audit::{Access, Object, Recorder, Terms, Who, patient_of};
use crate::disclosure::Agreements;
use crate::fhir::{Instant, instant_text, time_ordered_id};
use crate::identity::digest::from_hex;
use crate::identity::keyed_hash::KeyedHash;
use crate::identity::principal::{Action, Principals, Role};
use crate::identity::signature::{self, PersonalKey, SignatureError};
use crate::identity::{AgreementId, MessageId, PartyId, PrincipalId};
use crate::storage::{
    self, Approval, Change, Completed, Content, Erasure, Finding, Performed, State, Store, Transition,
};

/// The `typ` of a signed act.
const KIND: &str = "weir-act+jwt";
/// How far a signer's clock may be ahead of the gateway's.
const AHEAD: Duration = Duration::minutes(5);

/// What someone does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "deed", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Deed {
    /// Looks at something; the looking itself happened where the act was signed.
    Access {
        /// At what.
        action: Action,
        /// At which message, if at one.
        message: Option<MessageId>,
    },
    /// Approves a version of a sharing agreement. Whether it counts is for who uses the agreement to say: it must be of
    /// the file that is used, by the person that the agreement names in the role.
    ApproveAgreement {
        /// Its id.
        agreement: AgreementId,
        /// Its version.
        version: String,
        /// SHA-256 of its file, in hexadecimal.
        file: String,
        /// In which role.
        role: Role,
    },
    /// Completes the review of a sharing without consent.
    CompleteReview {
        /// Of which message.
        message: MessageId,
        /// What was found.
        finding: Finding,
        /// The reviewer's words; sealed where they are kept.
        words: String,
    },
    /// Sends a message again that waits, was refused or was given up, or whose handover was rejected.
    RetryMessage {
        /// Which.
        message: MessageId,
        /// Why.
        why: Reason,
    },
    /// Decides that a message is not to be sent.
    CancelMessage {
        /// Which.
        message: MessageId,
        /// Why.
        why: Reason,
    },
    /// Has what is kept about a person erased.
    EraseSubject {
        /// Who, by keyed hash: the act waits in a file.
        subject: String,
    },
}

impl Deed {
    /// The role in which it is done, where it matters.
    fn role(&self) -> Option<Role> {
        match self {
            Deed::ApproveAgreement { role, .. } => Some(*role),
            _ => None,
        }
    }

    /// What a role must permit for it.
    fn action(&self) -> Action {
        match self {
            Deed::Access { action, .. } => *action,
            Deed::ApproveAgreement { .. } => Action::ApproveAgreement,
            Deed::CompleteReview { .. } => Action::CompleteReview,
            Deed::RetryMessage { .. } => Action::RetryMessage,
            Deed::CancelMessage { .. } => Action::CancelMessage,
            Deed::EraseSubject { .. } => Action::EraseSubject,
        }
    }
}

/// An act: what is done, when, at which site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Its own id, a UUIDv7.
    id: Uuid,
    /// The site, by the origin of its audit log.
    site: String,
    /// When it was signed.
    #[serde(with = "time::serde::rfc3339")]
    at: Instant,
    /// What is done.
    #[serde(flatten)]
    deed: Deed,
}

impl Act {
    /// `deed`, done at `site` now.
    pub fn new(site: &str, deed: Deed, now: Instant) -> Act {
        Act { id: time_ordered_id(now), site: site.to_owned(), at: now, deed }
    }

    /// The act as its signer hands it in.
    pub fn sign(&self, by: &PrincipalId, key: &PersonalKey) -> String {
        key.sign(KIND, by, &serde_json::to_string(self).expect("ids, codes and times are always JSON"))
    }

    /// Its id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The approval that it is when `by` has signed it, if it is one and names a file.
    fn approves(&self, by: &PrincipalId) -> Option<Approval> {
        let Deed::ApproveAgreement { agreement, version, file, role } = &self.deed else { return None };
        Some(Approval {
            agreement: agreement.clone(),
            version: version.clone(),
            file: from_hex(file)?,
            role: role.code().to_owned(),
            by: by.clone(),
            at: self.at,
        })
    }
}

/// Why an act does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What was signed, or its signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The claims are not an act.
    #[error("what was signed is not an act of this version")]
    Form,
    /// It is an act at another site.
    #[error("the act was signed for another site")]
    Site,
    /// Its time has not come.
    #[error("the act was signed for a later time, {0}")]
    Early(String),
    /// No role of the signer permits it.
    #[error("no role of {by} permits {action}")]
    Denied {
        /// The signer.
        by: PrincipalId,
        /// What was to be done.
        action: Action,
    },
    /// There is no such review, or it has ended.
    #[error(transparent)]
    Review(storage::Error),
    /// There is no such message, or it moved on meanwhile.
    #[error(transparent)]
    Message(storage::Error),
    /// The message is under way, or has come to its end.
    #[error("message {message} is {state}")]
    MessageState {
        /// Which.
        message: MessageId,
        /// Where it stands.
        state: State,
    },
    /// What the message said was erased.
    #[error("the contents of message {0} were erased")]
    Erased(MessageId),
    /// What it is about cannot be read, or not be changed: handing it in again would come to the same.
    #[error(transparent)]
    Store(storage::Error),
    /// A review says in words what was found.
    #[error("the review was completed without words")]
    Wordless,
    /// Nobody reviews their own decision.
    #[error("nobody reviews their own decision, and {by} is tied to this one: {tie}")]
    OwnDecision {
        /// The signer.
        by: PrincipalId,
        /// What ties them to it.
        tie: Tie,
        /// The message that was sent on it.
        message: MessageId,
    },
}

impl Refusal {
    /// A code for the audit log.
    fn code(&self) -> &'static str {
        match self {
            Refusal::Signature(_) => "signature",
            Refusal::Form => "form",
            Refusal::Site => "site",
            Refusal::Early(_) => "time",
            Refusal::Denied { .. } => "denied",
            Refusal::Review(_) => "review",
            Refusal::Message(_) | Refusal::MessageState { .. } => "message-state",
            Refusal::Erased(_) => "erased",
            Refusal::Store(_) => "store",
            Refusal::Wordless => "words",
            Refusal::OwnDecision { .. } => "own-decision",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::Signature(_) => "sign with the key whose public half stands beside the signer in weir.toml",
            Refusal::Form => "use the version of weir that the gateway runs",
            Refusal::Site => "name the site at which the act is to count",
            Refusal::Early(_) => "set the clock of the signer's machine",
            Refusal::Denied { .. } => "ask someone whose role permits it; weir.toml lists who has which",
            Refusal::Review(error) | Refusal::Message(error) | Refusal::Store(error) => error.hint(),
            Refusal::MessageState { .. } => {
                "only what waits, was refused or is dead can be sent again or cancelled, and what its receiving team rejected can be \
                 sent again; `weir messages show` shows it"
            }
            Refusal::Erased(_) => "what it said is gone: submit a new record",
            Refusal::Wordless => "say in a sentence why it was justified, or not, and what is to be learned",
            Refusal::OwnDecision { .. } => "let someone else with the role safeguarding-lead review it",
        }
    }
}

/// What became of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Performed,
    /// It had been performed before.
    Before,
    /// It does not count; the audit log says so.
    Refused(Refusal),
}

/// Where acts are performed.
#[derive(Clone, Debug)]
pub struct Desk<'a> {
    /// Who may do what.
    pub principals: &'a Principals,
    /// Makes the audit events.
    pub recorder: &'a Recorder,
    /// The site's name: the origin of its audit log.
    pub site: &'a str,
    /// Whom an incident is told to.
    pub agreements: Arc<Agreements>,
    /// The organisation that shares.
    pub provider: PartyId,
}

impl Desk<'_> {
    /// Performs a signed act, once. What never succeeds, since what is stored is damaged, is refused: it holds up no other act.
    ///
    /// # Errors
    /// When the store cannot write: nothing was done, and the act may be handed in again.
    pub async fn perform(&self, store: &dyn Store, jws: &str, now: Instant) -> Result<Outcome, storage::Error> {
        let (by, act) = match self.read(jws, now) {
            Ok(read) => read,
            Err((by, refusal)) => {
                store.append(self.recorder.act_refused(by.as_ref(), refusal.code(), now)).await?;
                return Ok(Outcome::Refused(refusal));
            }
        };
        match self.carry_out(store, by.clone(), &act, now).await {
            Err(error) if !error.is_transient() => self.refuse(store, &by, Refusal::Store(error), now).await,
            carried_out => carried_out,
        }
    }

    /// Performs an act whose signer is known, once.
    ///
    /// # Errors
    /// When the store cannot read or write: nothing was done.
    pub async fn carry_out(
        &self,
        store: &dyn Store,
        by: PrincipalId,
        act: &Act,
        now: Instant,
    ) -> Result<Outcome, storage::Error> {
        let action = act.deed.action();
        let permitted = is_permitted(self.principals, &by, &act.deed);
        let (event, change) = match &act.deed {
            Deed::Access { message, .. } => {
                (self.accessed(store, (&by, action), *message, permitted, act.at).await?, Change::Nothing)
            }
            Deed::CompleteReview { message, .. }
            | Deed::RetryMessage { message, .. }
            | Deed::CancelMessage { message, .. }
                if !permitted =>
            {
                (self.accessed(store, (&by, action), Some(*message), false, act.at).await?, Change::Nothing)
            }
            Deed::CompleteReview { message, finding, words } => {
                match self.completion(store, &by, (*message, *finding, words), now).await? {
                    Ok(completion) => completion,
                    Err(refusal) => return self.refuse(store, &by, refusal, now).await,
                }
            }
            Deed::RetryMessage { message, why } | Deed::CancelMessage { message, why } => {
                match self.decision(store, (*message, action), (&by, *why), now).await? {
                    Ok(step) => (step.event.clone(), Change::Message(Box::new(step))),
                    Err(refusal) => return self.refuse(store, &by, refusal, now).await,
                }
            }
            Deed::EraseSubject { .. } if !permitted => {
                (self.accessed(store, (&by, action), None, false, act.at).await?, Change::Nothing)
            }
            Deed::EraseSubject { subject } => {
                if from_hex(subject).is_none() {
                    return self.refuse(store, &by, Refusal::Form, now).await;
                }
                self.erasure(store, &by, &KeyedHash::read_back(subject), (act.at, now)).await?
            }
            Deed::ApproveAgreement { .. } => {
                let Some(approval) = act.approves(&by) else {
                    return self.refuse(store, &by, Refusal::Form, now).await;
                };
                (self.recorder.agreement_approved(&approval, permitted), Change::Approve(approval))
            }
        };
        let change = if permitted { change } else { Change::Nothing };
        let performed = match store.perform(storage::Act { id: act.id, at: now, change, event }).await {
            Err(error @ (storage::Error::UnknownReview(_) | storage::Error::ReviewClosed(_))) => {
                return self.refuse(store, &by, Refusal::Review(error), now).await;
            }
            Err(
                error @ (storage::Error::Stale { .. }
                | storage::Error::UnknownMessage(_)
                | storage::Error::Needed { .. }
                | storage::Error::Uncollected(_)),
            ) => {
                return self.refuse(store, &by, Refusal::Message(error), now).await;
            }
            performed => performed?,
        };
        if permitted && action == Action::EraseSubject && !store.leave_no_trace().await? {
            tracing::warn!("what was erased is still in the store's journal: somebody reads what was there before");
        }
        Ok(match performed {
            Performed::Before => Outcome::Before,
            Performed::Now if permitted => Outcome::Performed,
            Performed::Now => Outcome::Refused(Refusal::Denied { by, action }),
        })
    }

    async fn refuse(
        &self,
        store: &dyn Store,
        by: &PrincipalId,
        refusal: Refusal,
        now: Instant,
    ) -> Result<Outcome, storage::Error> {
        let event = match &refusal {
            Refusal::OwnDecision { message, .. } => {
                let of = (by, Action::CompleteReview);
                let access = access(store, of, Some(*message), now).await?;
                self.recorder.access(Access { permitted: false, reason: Some(refusal.code()), ..access })
            }
            _ => self.recorder.act_refused(Some(by), refusal.code(), now),
        };
        store.append(event).await?;
        Ok(Outcome::Refused(refusal))
    }

    /// What a person decided about a message.
    async fn decision(
        &self,
        store: &dyn Store,
        (message, action): (MessageId, Action),
        decided: (&PrincipalId, Reason),
        now: Instant,
    ) -> Result<Result<Transition, Refusal>, storage::Error> {
        let Some(record) = store.message(message).await? else {
            return Ok(Err(Refusal::Message(storage::Error::UnknownMessage(message))));
        };
        if action == Action::RetryMessage && store.content(message, Content::Payload).await == Ok(None) {
            return Ok(Err(Refusal::Erased(message)));
        }
        let patient = patient_of(store, message).await?;
        let handover = store.handover(message).await?.map(|it| it.handover);
        let of = (&record, patient.as_ref(), handover.as_ref());
        let step = message::step(self.recorder, of, action, decided, now);
        Ok(step.ok_or(Refusal::MessageState { message, state: record.state }))
    }

    /// What is erased about a person, with what the audit log says of it.
    async fn erasure(
        &self,
        store: &dyn Store,
        by: &PrincipalId,
        subject: &KeyedHash,
        (ordered, now): (Instant, Instant),
    ) -> Result<(storage::Event, Change), storage::Error> {
        let mut found = erasure::all_about(store, subject, now).await?;
        // The order may have waited: it is not of what came later.
        found.retain(|about| about.since() <= ordered);
        let kept = found.iter().filter(|about| about.fate.why_kept().is_some()).count();
        let erase = |about: &About| {
            let event = match &about.kept {
                Kept::Message(record) => self.recorder.message_erased(record.id, subject, by, now),
                Kept::Referral(record) => self.recorder.referral_erased(record, subject, by, now),
            };
            Erasure { message: about.id(), event }
        };
        let erasures: Vec<Erasure> = erasure::erasable(&found).map(erase).collect();
        let event = self.recorder.subject_erased(subject, by, (erasures.len(), kept), now);
        Ok((event, Change::Erase(erasures)))
    }

    /// The end of a review, with what the audit log says of it.
    async fn completion(
        &self,
        store: &dyn Store,
        by: &PrincipalId,
        (message, finding, words): (MessageId, Finding, &str),
        now: Instant,
    ) -> Result<Result<(storage::Event, Change), Refusal>, storage::Error> {
        if words.trim().is_empty() {
            return Ok(Err(Refusal::Wordless));
        }
        let Some(open) = store.review(message).await? else {
            return Ok(Err(Refusal::Review(storage::Error::UnknownReview(message))));
        };
        let (patient, terms) = (patient_of(store, message).await?, Terms::of(store, message).await?);
        let version = terms.map(|terms| terms.version);
        let agreement = self.agreements.version(&open.agreement, version.as_deref(), open.opened_at);
        let agreement = agreement.map(|agreement| &**agreement);
        if let Some(reviewer) = self.principals.named(by) {
            match tie(store, message, reviewer, agreement).await {
                Ok(None) => {}
                Ok(Some(tie)) => return Ok(Err(Refusal::OwnDecision { by: by.clone(), tie, message })),
                Err(damaged @ storage::Error::Damaged(_)) => return Ok(Err(Refusal::Review(damaged))),
                Err(error) => return Err(error),
            }
        }
        let completed = Completed { at: now, by: by.as_str().to_owned(), finding };
        let event = self.recorder.review_completed(&open, patient.as_ref(), &completed);
        let shared_under = (agreement, version.as_deref());
        let step = review::step(&open, completed, words, shared_under, &self.provider);
        Ok(Ok((event, Change::Review(Box::new(step)))))
    }

    async fn accessed(
        &self,
        store: &dyn Store,
        of: (&PrincipalId, Action),
        message: Option<MessageId>,
        permitted: bool,
        at: Instant,
    ) -> Result<storage::Event, storage::Error> {
        let access = access(store, of, message, at).await?;
        Ok(self.recorder.access(Access { permitted, ..access }))
    }

    fn read(&self, jws: &str, now: Instant) -> Result<(PrincipalId, Act), (Option<PrincipalId>, Refusal)> {
        read(jws, self.principals, self.site, now)
    }
}

/// What someone does at the site itself, and not over the network.
async fn access<'a>(
    store: &dyn Store,
    (by, action): (&'a PrincipalId, Action),
    message: Option<MessageId>,
    at: Instant,
) -> Result<Access<'a>, storage::Error> {
    let patient = match message {
        Some(message) => patient_of(store, message).await?.map(|hash| hash.as_str().to_owned().into()),
        None => None,
    };
    let (by, object) = (Who::operator(by.as_str()), message.map_or(Object::Site, Object::Message));
    Ok(Access { by, action, object, patient, permitted: true, reason: None, address: None, at })
}

/// The signer and the act, or why it does not count; with the signer, when the signature holds.
fn read(
    jws: &str,
    principals: &Principals,
    site: &str,
    now: Instant,
) -> Result<(PrincipalId, Act), (Option<PrincipalId>, Refusal)> {
    let key_of = |by: &PrincipalId| principals.named(by)?.key;
    let (by, claims) = signature::open(jws.trim(), KIND, key_of).map_err(|error| (None, error.into()))?;
    let refuse = |refusal| Err((Some(by.clone()), refusal));
    let Ok(act) = serde_json::from_slice::<Act>(&claims) else { return refuse(Refusal::Form) };
    if act.site != site {
        return refuse(Refusal::Site);
    }
    if act.at > now + AHEAD {
        return refuse(Refusal::Early(instant_text(act.at)));
    }
    Ok((by, act))
}

/// Whether `by` may do what an act says, and in the role that it says, if it says one.
fn is_permitted(principals: &Principals, by: &PrincipalId, deed: &Deed) -> bool {
    principals.named(by).is_some_and(|signer| {
        let has_role = deed.role().is_none_or(|role| signer.roles.contains(&role));
        has_role && signer.may(deed.action())
    })
}

/// The approval that a signed act is, if it counts.
pub fn approval(jws: &str, principals: &Principals, site: &str, now: Instant) -> Option<Approval> {
    let (by, act) = read(jws, principals, site, now).ok()?;
    act.approves(&by).filter(|_| is_permitted(principals, &by, &act.deed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::audit_event::RecordedEvent;
    use crate::identity::principal::Principal;
    use crate::storage::suite::{self, message};
    use crate::storage::{Secret, SqliteStore};
    use std::path::Path;
    use tempfile::TempDir;
    use time::macros::datetime;

    const NOW: Instant = datetime!(2026-01-01 12:00 UTC);
    const SITE: &str = "audit.weir.example/test";

    fn id(text: &str) -> PrincipalId {
        text.parse().expect("an id")
    }

    /// A site with one auditor.
    struct Office {
        folder: TempDir,
        store: SqliteStore,
        key: PersonalKey,
        principals: Principals,
        recorder: Recorder,
        agreements: Arc<Agreements>,
        provider: PartyId,
    }

    impl Office {
        fn new() -> Office {
            let folder = tempfile::tempdir().expect("a folder");
            let store = SqliteStore::open(&folder.path().join("weir.db"), &Secret::generate()).expect("it opens");
            let (key, _) = PersonalKey::generate().expect("there is randomness");
            let auditor = Principal {
                id: id("auditor"),
                name: "Synthetic".to_owned(),
                roles: vec![Role::Auditor],
                certificate: None,
                key: Some(key.public()),
            };
            let principals = Principals::new(vec![auditor]).expect("it is well-formed");
            let recorder = Recorder::new("DEMOP".parse().expect("an ODS code"), SITE);
            let (agreements, provider) = (Arc::default(), "DEMOP".parse().expect("an ODS code"));
            Office { folder, store, key, principals, recorder, agreements, provider }
        }

        /// The same, where the signer has another role.
        fn with(mut self, role: Role) -> Office {
            let signer = Principal { roles: vec![role], ..self.principals.named(&id("auditor")).expect("one").clone() };
            self.principals = Principals::new(vec![signer]).expect("it is well-formed");
            self
        }

        fn desk(&self) -> Desk<'_> {
            Desk {
                principals: &self.principals,
                recorder: &self.recorder,
                site: SITE,
                agreements: self.agreements.clone(),
                provider: self.provider.clone(),
            }
        }

        fn spool(&self) -> std::path::PathBuf {
            self.folder.path().join("acts")
        }

        fn sign(&self, deed: Action) -> (Act, String) {
            let act = Act::new(SITE, Deed::Access { action: deed, message: None }, NOW);
            let jws = act.sign(&id("auditor"), &self.key);
            (act, jws)
        }

        async fn perform(&self, jws: &str) -> Outcome {
            self.desk().perform(&self.store, jws, NOW).await.expect("the store writes")
        }

        /// Of each event the kind of Weir's, its outcome and what it says was done or why it was refused.
        async fn log(&self) -> Vec<(String, String)> {
            let events = self.store.events(0, 100).await.expect("they are read");
            let said = |bytes: &[u8]| {
                let event = RecordedEvent::read(bytes)?;
                let detail = event.detail("action").or(event.detail("reason")).unwrap_or_default();
                let text = event.to_json();
                let outcome = text.split(r#""outcome":""#).nth(1).map_or("", |rest| &rest[..1]);
                Some((outcome.to_owned(), detail.to_owned()))
            };
            events.iter().filter_map(|stored| said(&stored.event.bytes)).collect()
        }

        /// Accepts a message.
        async fn accept(&self) -> MessageId {
            let new = message(1);
            let (id, accepted) = (new.id, suite::event(Some(new.id), "accepted"));
            self.store.accept(new, vec![accepted]).await.expect("it is accepted");
            id
        }

        /// Damages the store behind the gateway's back.
        fn damage(&self, sql: &str) {
            let database = rusqlite::Connection::open(self.folder.path().join("weir.db")).expect("it opens");
            database.execute_batch("PRAGMA ignore_check_constraints = ON").expect("it is set");
            assert_eq!(database.execute(sql, []), Ok(1));
        }
    }

    fn event(outcome: &str, detail: &str) -> (String, String) {
        (outcome.to_owned(), detail.to_owned())
    }

    #[tokio::test]
    async fn an_act_is_performed_once_with_its_event() {
        let office = Office::new();
        let (_, jws) = office.sign(Action::VerifyAudit);
        assert_eq!(office.perform(&jws).await, Outcome::Performed);
        assert_eq!(office.perform(&jws).await, Outcome::Before);
        assert_eq!(office.log().await, [event("0", "verify-audit")]);
    }

    #[tokio::test]
    async fn what_no_role_permits_is_refused_and_audited() {
        let office = Office::new();
        let (_, jws) = office.sign(Action::Administer);
        let denied = Refusal::Denied { by: id("auditor"), action: Action::Administer };
        assert_eq!(office.perform(&jws).await, Outcome::Refused(denied));
        assert_eq!(office.log().await, [event("4", "administer")]);
    }

    #[tokio::test]
    async fn an_act_that_does_not_count_changes_nothing_and_says_why() {
        let office = Office::new();
        let (act, _) = office.sign(Action::VerifyAudit);
        let (stranger, _) = PersonalKey::generate().expect("there is randomness");
        let elsewhere = Act { site: "audit.weir.example/other".to_owned(), ..act.clone() };
        let early = Act { at: NOW + Duration::hours(1), ..act.clone() };
        let auditor = id("auditor");
        for (jws, code) in [
            (act.sign(&auditor, &stranger), "signature"),
            (act.sign(&id("nobody"), &office.key), "signature"),
            (elsewhere.sign(&auditor, &office.key), "site"),
            (early.sign(&auditor, &office.key), "time"),
            (office.key.sign(KIND, &auditor, r#"{"deed":"unheard-of"}"#), "form"),
            ("not a signature".to_owned(), "signature"),
        ] {
            let before = office.log().await.len();
            assert!(matches!(office.perform(&jws).await, Outcome::Refused(_)), "{code}");
            assert_eq!(office.log().await[before..], [event("4", code)]);
        }
    }

    #[tokio::test]
    async fn acts_in_the_folder_are_performed_in_order_and_removed() {
        let office = Office::new();
        let folder = office.spool();
        let leave = |action| {
            let (act, jws) = office.sign(action);
            spool::leave(&folder, &act, &jws).expect("it is written")
        };
        let first = leave(Action::VerifyAudit);
        let denied = leave(Action::Submit);
        std::fs::create_dir(folder.join("ignored.jws.d")).expect("it is made");
        let run = async || {
            let mut told = 0;
            let now = || NOW;
            spool::perform_waiting(&folder, office.desk(), &office.store, now, |_, _| told += 1)
                .await
                .expect("it works");
            told
        };
        assert_eq!((run().await, run().await), (2, 0));
        let refused = folder.join("refused").join(denied.file_name().expect("it has a name"));
        assert!(!Path::new(&first).exists() && !denied.exists() && refused.exists());
        let mut log = office.log().await;
        log.sort();
        assert_eq!(log, [event("0", "verify-audit"), event("4", "submit")]);
    }

    #[tokio::test]
    async fn an_act_about_a_damaged_message_is_refused_and_holds_up_no_other() {
        let office = Office::new().with(Role::OperationalOwner);
        let folder = office.spool();
        let message = office.accept().await;
        office.damage("UPDATE messages SET sender = lower(sender)");
        let leave = |deed, at| {
            let act = Act::new(SITE, deed, at);
            spool::leave(&folder, &act, &act.sign(&id("auditor"), &office.key)).expect("it is written")
        };
        let damaged = leave(Deed::RetryMessage { message, why: Reason::TryAgain }, NOW);
        let behind = leave(Deed::Access { action: Action::ReadMessage, message: None }, NOW + Duration::SECOND);
        let mut told = Vec::new();
        let each = |_: &str, outcome: &Outcome| told.push(outcome.clone());
        spool::perform_waiting(&folder, office.desk(), &office.store, || NOW, each).await.expect("it goes on");
        assert!(matches!(&told[..], [Outcome::Refused(Refusal::Store(_)), Outcome::Performed]), "{told:?}");
        assert!(!damaged.exists() && !behind.exists());
        assert!(folder.join("refused").join(damaged.file_name().expect("it has a name")).exists());
        assert_eq!(office.log().await, [event("4", "store"), event("0", "read-message")]);
    }

    #[tokio::test]
    async fn a_message_whose_event_is_damaged_can_be_looked_at() {
        let office = Office::new().with(Role::OperationalOwner);
        let message = office.accept().await;
        office.damage("UPDATE events SET leaf = x'00'");
        for deed in [
            Deed::Access { action: Action::ReadMessage, message: Some(message) },
            Deed::CancelMessage { message, why: Reason::ToldOtherwise },
        ] {
            let act = Act::new(SITE, deed, NOW);
            assert_eq!(office.perform(&act.sign(&id("auditor"), &office.key)).await, Outcome::Performed);
        }
        assert_eq!(office.store.damage().count(), 1, "people are told");
    }

    #[tokio::test]
    async fn an_approval_is_kept_if_the_signer_has_the_role() {
        let office = Office::new();
        let approve = |role, file: &str| {
            let agreement = "demo-trust-crisis".parse().expect("an id");
            let deed = Deed::ApproveAgreement { agreement, version: "1".to_owned(), file: file.to_owned(), role };
            Act::new(SITE, deed, NOW).sign(&id("auditor"), &office.key)
        };
        let siro = Principal {
            id: id("auditor"),
            name: "Synthetic".to_owned(),
            roles: vec![Role::Siro],
            certificate: None,
            key: Some(office.key.public()),
        };
        let file = "07".repeat(32);
        let denied = Refusal::Denied { by: id("auditor"), action: Action::ApproveAgreement };
        assert_eq!(office.perform(&approve(Role::Siro, &file)).await, Outcome::Refused(denied.clone()));
        let principals = Principals::new(vec![siro]).expect("it is well-formed");
        let office = Office { principals, ..office };
        let perform = async |jws: &str| office.perform(jws).await;
        let approve = |role, file: &str| {
            let agreement = "demo-trust-crisis".parse().expect("an id");
            let deed = Deed::ApproveAgreement { agreement, version: "1".to_owned(), file: file.to_owned(), role };
            Act::new(SITE, deed, NOW).sign(&id("auditor"), &office.key)
        };
        assert_eq!(perform(&approve(Role::CaldicottGuardian, &file)).await, Outcome::Refused(denied));
        assert_eq!(perform(&approve(Role::Siro, "07")).await, Outcome::Refused(Refusal::Form));
        assert_eq!(office.store.approvals().await, Ok(vec![]));
        assert_eq!(perform(&approve(Role::Siro, &file)).await, Outcome::Performed);
        let kept = office.store.approvals().await.expect("they are read");
        let [approval] = &kept[..] else { panic!("{kept:?}") };
        assert_eq!((approval.file, &*approval.role, approval.by.as_str()), ([7; 32], "siro", "auditor"));
        assert_eq!(approval.at, NOW);
    }

    /// A crash between the commit and the removal of the file leaves the file.
    #[tokio::test]
    async fn an_act_that_is_found_again_is_removed_and_not_repeated() {
        let office = Office::new();
        let (act, jws) = office.sign(Action::VerifyAudit);
        assert_eq!(office.perform(&jws).await, Outcome::Performed);
        let file = spool::leave(&office.spool(), &act, &jws).expect("it is written");
        let desk = office.desk();
        spool::perform_waiting(&office.spool(), desk, &office.store, || NOW, |_, _| {}).await.expect("it works");
        assert!(!file.exists());
        assert_eq!(office.log().await.len(), 1);
    }

    #[test]
    fn a_token_says_who_calls_for_an_hour_at_most() {
        let office = Office::new();
        let auditor = id("auditor");
        let token = token::issue(&auditor, &office.key, SITE, NOW, Duration::minutes(5));
        let open = |site, at| token::open(&token, &office.principals, site, at).map(|found| found.id.clone());
        assert_eq!(open(SITE, NOW), Ok(auditor.clone()));
        assert!(open("other", NOW).is_err());
        assert!(open(SITE, NOW + Duration::minutes(7)).is_err() && open(SITE, NOW - Duration::minutes(2)).is_err());
        let long = token::issue(&auditor, &office.key, SITE, NOW, Duration::hours(9));
        let at = |hours| token::open(&long, &office.principals, SITE, NOW + Duration::minutes(hours)).is_ok();
        assert!(at(59) && !at(62));
        let (_, act) = office.sign(Action::VerifyAudit);
        let used = token::open(&act, &office.principals, SITE, NOW);
        assert_eq!(used.expect_err("an act is no token"), Refusal::from(SignatureError::Kind).into());
    }
}
