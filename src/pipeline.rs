//! The way of one message: [`accept`] takes it from its sender to the outbox, [`forward`] from the outbox to its
//! recipient. Start reading here.
//!
//! Invariants: what [`accept`] returns is on disk with its audit events; nothing is sent that is not in the outbox;
//! every change of a message's state has its audit event in the same transaction; a refusal leaves nothing behind
//! but an audit event.
//!
//! Skipping a step does not compile. The whole way does:
//!
//! ```
//! # use weir::{disclosure, fhir::Instant, intake::Received, mapping, pipeline::Stages, provenance, refusal::Refusal};
//! # use weir::validation;
//! fn whole(stages: &Stages, received: Received, now: Instant) -> Result<provenance::Attested, Refusal> {
//!     let mapped = mapping::apply(&stages.mappings, received)?;
//!     let validated = validation::check(&stages.validator, "profile", mapped)?;
//!     let projected = disclosure::minimise(&stages.agreements, validated)?;
//!     let disclosable = projected.revalidated(|_| Vec::new())?;
//!     Ok(provenance::attest(disclosable, now, &stages.provider))
//! }
//! ```
//!
//! Without validation, disclosure is handed the wrong proof:
//!
//! ```compile_fail,E0308
//! # use weir::{disclosure, fhir::Instant, intake::Received, mapping, pipeline::Stages, provenance, refusal::Refusal};
//! # use weir::validation;
//! fn unvalidated(stages: &Stages, received: Received, now: Instant) -> Result<provenance::Attested, Refusal> {
//!     let mapped = mapping::apply(&stages.mappings, received)?;
//!     let projected = disclosure::minimise(&stages.agreements, mapped)?;
//!     let disclosable = projected.revalidated(|_| Vec::new())?;
//!     Ok(provenance::attest(disclosable, now, &stages.provider))
//! }
//! ```
//!
//! Without disclosure, provenance is:
//!
//! ```compile_fail,E0308
//! # use weir::{disclosure, fhir::Instant, intake::Received, mapping, pipeline::Stages, provenance, refusal::Refusal};
//! # use weir::validation;
//! fn undisclosed(stages: &Stages, received: Received, now: Instant) -> Result<provenance::Attested, Refusal> {
//!     let mapped = mapping::apply(&stages.mappings, received)?;
//!     let validated = validation::check(&stages.validator, "profile", mapped)?;
//!     Ok(provenance::attest(validated, now, &stages.provider))
//! }
//! ```
//!
//! Without validation after disclosure, provenance is too:
//!
//! ```compile_fail,E0308
//! # use weir::{disclosure, fhir::Instant, intake::Received, mapping, pipeline::Stages, provenance, refusal::Refusal};
//! # use weir::validation;
//! fn not_revalidated(stages: &Stages, received: Received, now: Instant) -> Result<provenance::Attested, Refusal> {
//!     let mapped = mapping::apply(&stages.mappings, received)?;
//!     let validated = validation::check(&stages.validator, "profile", mapped)?;
//!     let projected = disclosure::minimise(&stages.agreements, validated)?;
//!     Ok(provenance::attest(projected, now, &stages.provider))
//! }
//! ```
//!
//! And without provenance nothing is queued:
//!
//! ```compile_fail,E0308
//! # use weir::{delivery::outbox, disclosure::Disclosable, fhir::Instant, storage::{Handling, Store}};
//! async fn unattested(store: &dyn Store, disclosable: Disclosable, now: Instant) {
//!     let _queued = outbox::enqueue(store, disclosable, (now, Handling::default()), |_| Vec::new()).await;
//! }
//! ```

pub mod answers;
mod essential;
mod handovers;
pub mod inbound;
pub mod unread;

pub use essential::{EMERGENCY, IfMissing};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{Instrument as _, Span, debug, debug_span, error, field, info, info_span, warn};

use crate::acknowledgement::{self, Verdict};
use crate::audit::{self, Decision, HashKey, KeyedHash, Recorder, Refused, Step, Terms};
use crate::delivery::outbox::{self, Queued, enqueue};
use crate::delivery::{AttemptError, Dispatch, Health, Lane, Place, deadline};
use crate::disclosure::{self, AgreementChange, Agreements};
use crate::fhir::error_code;
use crate::fhir::message::{nhs_number, priority, subject};
use crate::fhir::outcome::Issue;
use crate::fhir::{Instant, Limits};
use crate::handover::ROUTINE;
use crate::identity::principal::Principals;
use crate::identity::{InterfaceName, MessageId, PartyId, PrincipalId};
use crate::intake::{self, Model, Reads, Received, Submission};
use crate::mapping::{self, Mapped, Mappings};
use crate::provenance::{self, Attested};
use crate::refusal::Refusal;
use crate::storage::{self, Content, Handling, MessageRecord, NewMessage, State, Store, Transition};
use crate::validation::{self, Question, Validated, Validator};

/// How the records of one interface are read and checked.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Canonical URL of the record's logical model, or of the profile or type of the FHIR resource that is read.
    pub record: String,
    /// The logical model, as what is not JSON is read by it; none for FHIR resources.
    pub model: Option<Arc<Model>>,
    /// Canonical URL of the Bundle's profile.
    pub profile: String,
    /// Whether messages about one person reach a recipient in the order in which they were accepted.
    pub ordered: bool,
    /// The members of the record that identify it: its id and version. What is submitted without an idempotency key is
    /// told from other records by them.
    pub identified_by: Vec<String>,
    /// How long a message may take to be acknowledged, by its clinical priority, a code of request-priority. There is one for
    /// [`ROUTINE`], which stands for those that are not here.
    pub deadlines: BTreeMap<String, std::time::Duration>,
    /// What becomes of a record that lacks something essential.
    pub if_missing: IfMissing,
    /// The clocks of its handovers; `None`: nobody is asked to take responsibility.
    pub handover: Option<crate::handover::Terms>,
}

/// What stages 1 to 5 need, compiled once. They read nothing else.
pub struct Stages {
    /// The provider, and the gateway as a Provenance names it.
    pub provider: provenance::Gateway,
    /// What a record may cost.
    pub limits: Limits,
    /// The interfaces.
    pub interfaces: BTreeMap<InterfaceName, Interface>,
    /// How referrals of partners are taken; `None` where none are.
    pub inbound: Option<inbound::Inbound>,
    /// Stage 2.
    pub mappings: Arc<Mappings>,
    /// Stage 3.
    pub validator: Arc<Validator>,
    /// Stage 4.
    pub agreements: Arc<Agreements>,
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}

impl Stages {
    /// The use cases of the messages that an agreement lets leave to a party: the names of their interfaces.
    pub fn use_cases(&self, party: &PartyId) -> Vec<String> {
        let own = self.agreements.iter().filter(|agreement| agreement.recipient().ods == *party);
        let names: BTreeSet<String> =
            own.flat_map(|agreement| agreement.interfaces().map(|(name, _)| name.to_string())).collect();
        names.into_iter().collect()
    }

    /// The same, with other agreements.
    fn with(&self, agreements: Arc<Agreements>) -> Stages {
        Stages {
            provider: self.provider.clone(),
            limits: self.limits,
            interfaces: self.interfaces.clone(),
            inbound: self.inbound.clone(),
            mappings: self.mappings.clone(),
            validator: self.validator.clone(),
            agreements,
        }
    }

    fn interface(&self, name: &InterfaceName) -> Result<&Interface, Refusal> {
        self.interfaces.get(name).ok_or_else(|| Refusal::UnknownInterface { interface: name.clone() })
    }
}

/// The stages that are used now. A message takes them once and keeps to them, whatever is put in their place meanwhile.
#[derive(Debug)]
pub struct Current {
    stages: RwLock<Arc<Stages>>,
    /// As many as there are processors: what more would only make those wait whose attempt is under way.
    turns: Semaphore,
}

impl Current {
    /// Begins with these.
    pub fn new(stages: Arc<Stages>) -> Current {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Current { stages: RwLock::new(stages), turns: Semaphore::new(processors) }
    }

    fn stages(&self) -> Arc<Stages> {
        self.stages.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a turn at taking a record of `length` bytes through the stages; a long one, which gets a thread of its own, needs none.
    async fn turn(&self, length: usize) -> Option<SemaphorePermit<'_>> {
        if length > SHORT {
            return None;
        }
        let turn = self.turns.acquire().await.expect("the semaphore is never closed");
        // Whoever is given a turn would be run at once, before the steps of attempts that are ready.
        tokio::task::yield_now().await;
        Some(turn)
    }

    fn put(&self, agreements: Arc<Agreements>) {
        let mut stages = self.stages.write().unwrap_or_else(PoisonError::into_inner);
        *stages = Arc::new(stages.with(agreements));
    }
}

/// Everything the way of a message needs.
pub struct Gateway {
    /// Stages 1 to 5.
    pub current: Current,
    /// Stage 6: the lanes of each partner, one a route; messages begin on the first.
    pub lanes: HashMap<PartyId, Vec<Arc<Lane>>>,
    /// The outbox and the audit events.
    pub store: Arc<dyn Store>,
    /// Makes audit events.
    pub recorder: Recorder,
    /// Who the site knows, and what each may do.
    pub principals: Principals,
    /// Makes the keyed hashes that stand for people and records in audit events.
    pub hash_key: HashKey,
    /// Name and SHA-256 of every file that decides what leaves: what the audit log says was in force.
    pub configuration: Vec<(String, [u8; 32])>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Stages 1 to 5 as they are now.
    pub fn stages(&self) -> Arc<Stages> {
        self.current.stages()
    }

    /// Counts the approvals that the store keeps: what is approved from now on is used.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn count_approvals(&self) -> Result<(), storage::Error> {
        self.stages().agreements.count(&self.store.approvals().await?);
        Ok(())
    }

    /// Puts other agreements in the place of those that are used, with the approvals that they have, and gives what
    /// changed. What was accepted before keeps the version that it was accepted under.
    ///
    /// # Errors
    /// When the store cannot read or write: nothing changed.
    pub async fn take_over(
        &self,
        agreements: Arc<Agreements>,
        now: Instant,
    ) -> Result<Vec<AgreementChange>, storage::Error> {
        let changes = self.stages().agreements.changes_to(&agreements);
        agreements.count(&self.store.approvals().await?);
        if !changes.is_empty() {
            self.store.append(self.recorder.agreements_changed(&changes, now)).await?;
        }
        self.current.put(agreements);
        // An approval may have come between.
        self.count_approvals().await?;
        Ok(changes)
    }

    /// The outbox and the audit events.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The ways to `party`, in the order in which they are used.
    pub fn lanes(&self, party: &PartyId) -> &[Arc<Lane>] {
        self.lanes.get(party).map(Vec::as_slice).unwrap_or_default()
    }

    /// Writes that the gateway starts, by whom and with which configuration, and queues again what an earlier run left in flight:
    /// whether it arrived is not known, so it is sent again under the same ids.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn started(&self, by: &PrincipalId, now: Instant) -> Result<(), storage::Error> {
        self.store.append(self.recorder.started(env!("CARGO_PKG_VERSION"), by, now)).await?;
        self.store.append(self.recorder.configuration(&self.configuration, None, now)).await?;
        for record in audit::recover(self.store(), &self.recorder, now).await? {
            info!(message_id = %record.id, "queued again: the gateway had stopped during an attempt");
        }
        // The newest, to which most answers come; the others are read while the gateway serves.
        answers::name_earlier(self).await?;
        self.bring_back().await?;
        for storage::Count { recipient, state, messages } in self.store.counts().await? {
            if state.is_waiting() && self.lanes(&recipient).is_empty() {
                error!(%recipient, %state, messages, "messages wait for a partner that has no file: they are not sent");
            }
        }
        Ok(())
    }

    /// Puts messages that wait on a route that their partner's file no longer has on the last that it has: at the start, and when a person
    /// sent one again.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn bring_back(&self) -> Result<(), storage::Error> {
        for (recipient, lanes) in &self.lanes {
            let Some(last) = lanes.last() else { continue };
            let messages = self.store.bring_back(recipient, last.route()).await?;
            if messages > 0 {
                warn!(%recipient, messages, "messages waited on a route that the partner's file no longer has");
            }
        }
        Ok(())
    }

    /// Queues again what is in flight on `lane` although no attempt is `under_way`: what came of it could not be stored, so it is sent again under the same ids.
    ///
    /// # Errors
    /// When the store cannot write; call again later.
    pub async fn requeue(
        &self,
        lane: &Lane,
        under_way: impl Fn(MessageId) -> bool,
        now: Instant,
    ) -> Result<(), storage::Error> {
        let of = (lane.party(), lane.route());
        for record in audit::requeue(self.store(), &self.recorder, of, under_way, now).await? {
            warn!(message_id = %record.id, "queued again: what its last attempt came to could not be stored");
        }
        Ok(())
    }

    /// Writes that the gateway stops.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn stopped(&self, now: Instant) -> Result<(), storage::Error> {
        self.store.append(self.recorder.stopped(now)).await.map(drop)
    }
}

/// A submission that was taken.
#[derive(Debug)]
pub struct Taken {
    /// The message.
    pub queued: Queued,
    /// Its first attempt, if that began with it: whoever holds this makes it, by [`forward`].
    pub begun: Option<(Place, Box<Begun>)>,
}

/// Takes a submission all the way to the outbox. When this returns, the message and its audit events are on disk. Where its lane has
/// room and nothing waits, its first attempt begins in the same transaction.
///
/// # Errors
/// [`Refusal`]: nothing was accepted; the audit log says that something was refused, and at which stage.
pub async fn accept(gateway: &Gateway, submission: Submission, now: fn() -> Instant) -> Result<Taken, Refusal> {
    let span = info_span!("accept", interface = %submission.interface, message_id = field::Empty);
    accept_within(gateway, submission, now).instrument(span).await
}

async fn accept_within(gateway: &Gateway, submission: Submission, now: fn() -> Instant) -> Result<Taken, Refusal> {
    let (sender, by, interface) = (submission.sender.clone(), submission.by.clone(), submission.interface.clone());
    let mut patient = None;
    match queue(gateway, submission, &mut patient, now).await {
        Ok(taken) => {
            info!(recipient = %taken.queued.recipient(), repeat = taken.queued.is_repeat(), "message accepted");
            Ok(taken)
        }
        // Nothing was decided about the record, and the log of what was decided has no room to lose.
        Err(refusal @ Refusal::Outbox(outbox::Error::Full(_))) => {
            warn!(reason = %refusal, "submission put off");
            Err(refusal)
        }
        Err(refusal) => {
            warn!(stage = refusal.stage(), issues = refusal.issues().len(), "submission refused");
            let denied = denied(gateway, &refusal, patient, now());
            let known = gateway.stages().interfaces.contains_key(&interface);
            let refused = Refused {
                sender: &sender,
                by: by.as_ref(),
                message: None,
                interface: known.then_some(&interface),
                reason: refusal.stage(),
                missing: refusal.missing(),
                at: now(),
            };
            for event in denied.into_iter().chain([gateway.recorder.refused(refused)]) {
                if let Err(error) = gateway.store().append(event).await {
                    warn!(%error, "the refusal could not be written to the audit log");
                }
            }
            Err(refusal)
        }
    }
}

/// The event of a decision against sharing, when the refusal is one that an agreement and what the person said led to.
fn denied(gateway: &Gateway, refusal: &Refusal, patient: Option<KeyedHash>, at: Instant) -> Option<storage::Event> {
    let Refusal::Disclosure(error) = refusal else { return None };
    let (id, version, reason, said) = match error {
        disclosure::Error::Consent { agreement, obstacle } => (agreement, None, "no-consent", Some(obstacle)),
        disclosure::Error::Decision { agreement, obstacle, .. } => {
            (agreement, None, "decision-incomplete", Some(obstacle))
        }
        disclosure::Error::NotInForce { agreement, version, .. } => {
            (agreement, Some(version.as_str()), "agreement-not-in-force", None)
        }
        _ => return None,
    };
    let stages = gateway.stages();
    let agreement = stages.agreements.version(id, version, at)?;
    let terms = Terms {
        subject: patient,
        purpose: agreement.purpose().code.clone(),
        agreement: id.clone(),
        version: agreement.version().to_owned(),
        agreement_hash: agreement.hash(),
        sent: 0,
        withheld: 0,
        missing: 0,
        consent: said.map(|obstacle| ("none".to_owned(), obstacle.preference.code().to_owned())),
    };
    let recipient = &agreement.recipient().ods;
    let decision = Decision { recipient, message: None, terms: &terms, denied: Some(reason), at };
    Some(gateway.recorder.decision(decision))
}

/// Each step consumes the proof made by the step before it: skipping one does not compile. `patient` is whom it is about, as soon as
/// that is known.
async fn queue(
    gateway: &Gateway,
    submission: Submission,
    patient: &mut Option<KeyedHash>,
    now: fn() -> Instant,
) -> Result<Taken, Refusal> {
    let length = submission.body.len();
    let stages = gateway.stages();
    let turn = gateway.current.turn(length).await;
    let received = aside(&stages, length, |stages| receive(stages, submission)).await?;
    Span::current().record("message_id", field::display(received.message()));
    if let Some(record) = gateway.store().message(received.message()).await.map_err(outbox::Error::Store)? {
        let lacks = essential::missing(&stages, &received);
        let queued = Queued::repeat(&record, &received.sameness())?.lacking(lacks);
        return Ok(Taken { queued, begun: None });
    }
    gateway.store().room().await.map_err(outbox::Error::from)?;
    let at = now();
    let (person, attested) = aside(&stages, length, move |stages| {
        let validated = match conforming(stages, received) {
            Ok(validated) => validated,
            Err(refusal) => return (None, Err(refusal)),
        };
        (nhs_number(validated.mapped().bundle()), cut_down(stages, validated, at))
    })
    .await;
    drop(turn);
    *patient = person.map(|(system, value)| gateway.hash_key.subject(system, &value));
    let attested = attested?;
    let recipient = &attested.disclosable().agreement().recipient().ods;
    let Some(lane) = gateway.lanes(recipient).first() else {
        return Err(outbox::Error::NoRoute { recipient: recipient.clone() }.into());
    };
    let lacks =
        attested.disclosable().validated().mapped().missing().iter().map(|missing| missing.path.clone()).collect();
    let terms = terms(&attested, patient.clone());
    // As the row has it, by which a repeat is known: of an HL7 v2 message all but the stamp of its sending.
    let record_hash = gateway.hash_key.record(&attested.received().sameness());
    let by = attested.received().by().cloned();
    let mut place = lane.place_for_new(attested.received().message()).await;
    let accepted_at = now();
    let handling = handling(gateway, &stages, &attested, accepted_at)?;
    let dispatch = place.as_ref().and_then(|_| dispatch(lane, &stages, &attested));
    let mut record = None;
    let account = |message: &mut NewMessage| {
        if dispatch.is_some() {
            let begins = record.insert(message.record());
            message.beginning = Some(Box::new(attempt_begins(gateway, (begins, terms.subject.as_ref()), accepted_at)));
            begins.state = State::InFlight;
        }
        let message = &*message;
        let accepted = gateway.recorder.accepted(message, by.as_ref(), &terms, &record_hash);
        let decided = gateway.recorder.decision(Decision {
            recipient: &message.recipient,
            message: Some(message.id),
            terms: &terms,
            denied: None,
            at: message.accepted_at,
        });
        let of = (message.id, terms.subject.as_ref());
        let opened = |review| gateway.recorder.review_opened(of, review, message.accepted_at);
        [accepted, decided].into_iter().chain(message.review.as_ref().map(opened)).collect()
    };
    place.iter_mut().for_each(Place::begin);
    let stored = async {
        let queued = enqueue(gateway.store(), attested, (accepted_at, handling), account).await?;
        debug!("message and audit event on disk");
        Ok::<_, outbox::Error>(queued)
    };
    let queued = stored.instrument(debug_span!("outbox")).await;
    let has_begun = queued.as_ref().is_ok_and(Queued::has_begun);
    place.iter_mut().filter(|_| !has_begun).for_each(|place| place.settle());
    let queued = queued?.lacking(lacks);
    let begun = place.filter(|_| has_begun).zip(record.zip(dispatch));
    let begun = begun.map(|(place, (record, dispatch))| {
        let terms = Some(terms);
        (place, Box::new(Begun { record, terms, dispatch }))
    });
    Ok(Taken { queued, begun })
}

/// What is sent of a message that was not stored yet; `None` when it cannot be sent, which is told when it is read back.
fn dispatch(lane: &Lane, stages: &Stages, attested: &Attested) -> Option<Dispatch> {
    let (received, bundle) = (attested.received(), attested.disclosable().bundle());
    let ids = (received.message(), received.sender().clone(), &*stages.provider.name);
    let dispatch = Dispatch::of(ids, bundle, attested.bundle_bytes().to_vec()).ok()?;
    Some(if lane.settings().show_provenance { dispatch.showing(attested.provenance()) } else { dispatch })
}

/// The longest record whose stages run where they are called: such a one takes milliseconds.
const SHORT: usize = 32 * 1024;

/// Runs stages on a record of `length` bytes. A long record may take seconds: it gets a thread that may be blocked, so
/// that the runtime's threads go on serving everyone else.
async fn aside<T: Send + 'static>(
    stages: &Arc<Stages>,
    length: usize,
    work: impl FnOnce(&Stages) -> T + Send + 'static,
) -> T {
    if length <= SHORT {
        return work(stages);
    }
    let (stages, span) = (stages.clone(), Span::current());
    let done = tokio::task::spawn_blocking(move || span.in_scope(|| work(&stages))).await;
    match done.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime is shutting down; so is whoever waits.
        Err(Err(_cancelled)) => std::future::pending().await,
    }
}

/// Under which terms a message leaves: counts and keyed hashes, no values.
fn terms(attested: &Attested, subject: Option<KeyedHash>) -> Terms {
    let disclosable = attested.disclosable();
    let (agreement, manifest, ground) = (disclosable.agreement(), disclosable.manifest(), disclosable.ground());
    let count = |rows: usize| u32::try_from(rows).unwrap_or(u32::MAX);
    Terms {
        subject,
        purpose: ground.decision().map_or(&agreement.purpose().code, |decision| &decision.purpose).clone(),
        agreement: agreement.id().clone(),
        version: agreement.version().to_owned(),
        agreement_hash: agreement.hash(),
        sent: count(manifest.kept().len()),
        withheld: count(manifest.withheld().len()),
        missing: count(disclosable.validated().mapped().missing().len()),
        consent: Some((ground.basis().code().to_owned(), ground.preference().code().to_owned())),
    }
}

/// How a message is handled on its way, as its interface says for its person and its priority.
fn handling(
    gateway: &Gateway,
    stages: &Stages,
    attested: &Attested,
    accepted_at: Instant,
) -> Result<Handling, Refusal> {
    let (name, disclosable) = (attested.received().interface(), attested.disclosable());
    let (interface, bundle) = (stages.interface(name)?, disclosable.validated().mapped().bundle());
    let hash = |(system, value): (String, String)| gateway.hash_key.order(name, &system, &value).as_str().to_owned();
    let order_key = interface.ordered.then(|| subject(bundle)).flatten().map(hash);
    let priority = priority(bundle);
    let own = priority.as_deref().and_then(|priority| interface.deadlines.get(priority));
    let time = own.or_else(|| interface.deadlines.get(ROUTINE));
    let deadline_at = time.map(|time| accepted_at + *time);
    let routes = gateway.lanes(&disclosable.agreement().recipient().ods).len();
    let alert_at = deadline_at.map(|deadline_at| deadline::first_look(accepted_at, deadline_at, routes));
    Ok(Handling { order_key, priority, deadline_at, timed_from: None, alert_at })
}

/// Runs a submission through stages 1 and 2 only: the Bundle before anything is withheld.
///
/// # Errors
/// [`Refusal`], as [`accept`] would give it.
pub fn map(stages: &Stages, submission: Submission) -> Result<Mapped, Refusal> {
    Ok(mapping::apply(&stages.mappings, receive(stages, submission)?)?)
}

/// Runs a submission through stages 1 to 5 and stores nothing.
///
/// # Errors
/// [`Refusal`], as [`accept`] would give it.
pub fn preview(stages: &Stages, submission: Submission, now: Instant) -> Result<Attested, Refusal> {
    prepare(stages, receive(stages, submission)?, now)
}

/// [`preview`], for a server: long records do not hold up its other requests.
///
/// # Errors
/// [`Refusal`], as [`accept`] would give it.
pub async fn dry_run(gateway: &Gateway, submission: Submission, now: Instant) -> Result<Attested, Refusal> {
    aside(&gateway.stages(), submission.body.len(), move |stages| preview(stages, submission, now)).await
}

/// Validates a resource that is no message (`$validate`); nothing is stored.
///
/// # Errors
/// One issue, when the question makes no sense.
pub async fn validate(gateway: &Gateway, question: Question) -> Result<Vec<Issue>, Box<Issue>> {
    aside(&gateway.stages(), question.body.len(), |stages| stages.validator.answer(question, &stages.limits)).await
}

/// Stage 1, with the checks that need more than the bytes: the sender is this provider, the record fits its model.
fn receive(stages: &Stages, submission: Submission) -> Result<Received, Refusal> {
    let _step = debug_span!("intake").entered();
    if submission.sender != stages.provider.ods {
        return Err(Refusal::UnknownSender);
    }
    let interface = stages.interface(&submission.interface)?;
    let reads = if stages.validator.is_logical(&interface.record) { Reads::Record } else { Reads::Resource };
    let conforms = |record: &_| match reads {
        Reads::Record => stages.validator.check_record(record, &interface.record),
        Reads::Resource => stages.validator.check_submitted(record, &interface.record),
    };
    let terms = intake::Terms {
        limits: &stages.limits,
        reads,
        model: interface.model.as_deref(),
        identified_by: &interface.identified_by,
    };
    let received = intake::receive(submission, terms, conforms)?;
    debug!(message_id = %received.message(), values = received.record().len(), "record received");
    Ok(received)
}

/// Stages 2 to 5.
fn prepare(stages: &Stages, received: Received, now: Instant) -> Result<Attested, Refusal> {
    cut_down(stages, conforming(stages, received)?, now)
}

/// Stages 2 and 3.
fn conforming(stages: &Stages, received: Received) -> Result<Validated, Refusal> {
    let interface = stages.interface(received.interface())?;
    let mapped = debug_span!("mapping").in_scope(|| {
        let mapped = mapping::apply(&stages.mappings, received)?;
        debug!(values = mapped.bundle().len(), "record mapped");
        Ok::<_, mapping::Error>(mapped)
    })?;
    let mapped = essential::complete(interface, mapped)?;
    let validated = debug_span!("validation").in_scope(|| {
        let validated = validation::check(&stages.validator, &interface.profile, mapped)?;
        debug!(warnings = validated.remarks(), "Bundle validated");
        Ok::<_, validation::Error>(validated)
    })?;
    Ok(validated)
}

/// Stages 4 and 5.
fn cut_down(stages: &Stages, validated: Validated, now: Instant) -> Result<Attested, Refusal> {
    let disclosable = debug_span!("disclosure").in_scope(|| {
        let projected = disclosure::minimise(&stages.agreements, validated)?;
        let disclosable = projected.revalidated(|cut| stages.validator.recheck(cut))?;
        let (agreement, manifest) = (disclosable.agreement().id(), disclosable.manifest());
        debug!(%agreement, left = manifest.kept().len(), withheld = manifest.withheld().len(), "Bundle cut down");
        Ok::<_, disclosure::Error>(disclosable)
    })?;
    Ok(debug_span!("provenance").in_scope(|| {
        let attested = provenance::attest(disclosable, now, &stages.provider);
        debug!(lineage_bytes = attested.lineage_bytes().len(), "disclosure attested");
        attested
    }))
}

/// What one attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The state that the message took.
    pub state: State,
    /// Whether the partner's own answer came before the attempt ended, and settled it.
    pub was_answered: bool,
    /// Whether the partner did not let us in: the message waits, and people are to be told.
    pub is_unauthorised: bool,
}

/// A message whose attempt is next.
#[derive(Debug)]
pub enum Due {
    /// It waits in the outbox.
    Waiting(Box<MessageRecord>),
    /// Its first attempt began as it was accepted.
    Begun(Box<Begun>),
}

/// A message whose attempt began: the store has it in flight.
#[derive(Debug)]
pub struct Begun {
    record: MessageRecord,
    /// Under which terms it was accepted; `None` when the log does not tell.
    terms: Option<Terms>,
    dispatch: Dispatch,
}

impl Due {
    fn record(&self) -> &MessageRecord {
        match self {
            Due::Waiting(record) => record,
            Due::Begun(begun) => &begun.record,
        }
    }

    /// Its id.
    pub fn message(&self) -> MessageId {
        self.record().id
    }

    /// When it was accepted.
    pub fn accepted_at(&self) -> Instant {
        self.record().accepted_at
    }

    /// Whether others may wait for it.
    pub fn is_in_order(&self) -> bool {
        self.record().handling.order_key.is_some()
    }
}

/// Makes one attempt at delivering what is due over the lane of `place`, and stores what came of it. `None`: no attempt was made, since
/// the message was cancelled or moved to another lane meanwhile.
///
/// # Errors
/// When the store cannot write; the message is then sent again later, with the same ids.
pub async fn forward(
    gateway: &Gateway,
    place: &mut Place,
    due: Due,
    now: fn() -> Instant,
) -> Result<Option<Forwarded>, storage::Error> {
    let (message_id, recipient) = (due.message(), due.record().recipient.clone());
    let span = info_span!("forward", %message_id, %recipient, route = place.lane().route());
    let forwarding = async {
        let begun = match due {
            Due::Begun(begun) => *begun,
            Due::Waiting(record) => match begin(gateway, place.lane(), *record, now).await? {
                ControlFlow::Continue(begun) => begun,
                ControlFlow::Break(ended) => return Ok(ended),
            },
        };
        complete(gateway, place, begun, now).await
    };
    forwarding.instrument(span).await
}

/// Begins an attempt at what waits in the outbox, unless it moved on meanwhile or cannot be sent.
async fn begin(
    gateway: &Gateway,
    lane: &Lane,
    mut record: MessageRecord,
    now: fn() -> Instant,
) -> Result<ControlFlow<Option<Forwarded>, Begun>, storage::Error> {
    let terms = Terms::of(gateway.store(), record.id).await?;
    let patient = terms.as_ref().and_then(|terms| terms.subject.as_ref());
    let payload = match gateway.store().content(record.id, Content::Payload).await {
        Ok(payload) => payload.ok_or_else(|| "a queued message has no payload".to_owned()),
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => Err(error.to_string()),
    };
    let dispatch = payload.and_then(|payload| {
        let sender_name = &gateway.stages().provider.name;
        Dispatch::new(record.id, record.sender.clone(), sender_name, payload).map_err(|error| error.to_string())
    });
    let mut dispatch = match dispatch {
        Ok(dispatch) => dispatch,
        Err(why) => {
            let note = format!("the stored Bundle cannot be sent: {why}");
            error!(message_id = %record.id, %note, "message is dead: tell the team that sent it");
            let ended = Ended::new(State::Dead, "payload-damaged", note);
            gateway
                .store()
                .transition(gateway.recorder.transition(ended.step((&record, patient), now(), None)))
                .await?;
            let forwarded = Forwarded { state: State::Dead, was_answered: false, is_unauthorised: false };
            return Ok(ControlFlow::Break(Some(forwarded)));
        }
    };
    if lane.settings().show_provenance {
        match gateway.store().content(record.id, Content::Provenance).await {
            Ok(Some(provenance)) => dispatch = dispatch.showing(&String::from_utf8_lossy(&provenance)),
            Err(error) if error.is_transient() => return Err(error),
            // The message matters more than the account of it.
            without => {
                let why = without.err().map_or_else(|| "it is gone".to_owned(), |error| error.to_string());
                error!(message_id = %record.id, why, "the message is sent without its Provenance: run `weir audit verify`");
            }
        }
    }
    let begin = attempt_begins(gateway, (&mut record, patient), now());
    match gateway.store().transition(Transition { route: Some(lane.route()), ..begin }).await {
        Err(storage::Error::Stale { found, .. }) => {
            debug!(state = %found, "the message moved on before its attempt");
            return Ok(ControlFlow::Break(None));
        }
        begun => begun?,
    }
    record.state = State::InFlight;
    dispatch.is_resend = record.attempts > 1;
    if dispatch.is_resend && lane.post().is_some() {
        dispatch.carried_as = gateway.store().carrier_ids(record.id).await?;
    }
    Ok(ControlFlow::Continue(Begun { record, terms, dispatch }))
}

/// The transition that begins the next attempt at a message, which is counted.
fn attempt_begins(
    gateway: &Gateway,
    (record, patient): (&mut MessageRecord, Option<&KeyedHash>),
    at: Instant,
) -> Transition {
    record.attempts += 1;
    let begun = Ended::new(State::InFlight, "attempt", format!("attempt {} began", record.attempts));
    gateway.recorder.transition(begun.step((record, patient), at, None))
}

/// Makes the attempt that began, and stores what came of it. Another may begin as soon as the partner has answered.
async fn complete(
    gateway: &Gateway,
    place: &mut Place,
    begun: Begun,
    now: fn() -> Instant,
) -> Result<Option<Forwarded>, storage::Error> {
    let lane = place.lane().clone();
    let Begun { record, terms, dispatch } = begun;
    let patient = terms.as_ref().and_then(|terms| terms.subject.as_ref());
    let ended = match lane.attempt(&dispatch).await {
        Ok(answer) => Ended::judged(acknowledgement::verdict(&answer, &dispatch, lane.answers_later())),
        Err(error) => Ended::failed(&error),
    };
    place.answered(ended.health);
    let ended = ended.unless_exhausted(record.attempts, lane.settings().max_attempts);
    let at = now();
    let wait = || lane.settings().schedule.wait(record.attempts, ended.retry_after, spread(&record));
    let next = (ended.to == State::Queued).then(|| at + wait());
    match ended.to {
        State::Dead => {
            error!(message_id = %record.id, note = %ended.note, "message is dead: tell the team that sent it")
        }
        State::Refused => {
            warn!(message_id = %record.id, note = %ended.note, "message refused by its partner: tell the team that sent it")
        }
        state => info!(%state, attempts = record.attempts, note = %ended.note, "attempt ended"),
    }
    let step = ended.step((&record, patient), at, next);
    let transition = outcome(gateway, &lane, step, terms.as_ref());
    let handover = handovers::opening(gateway, (&record, patient), ended.to, at).map(Box::new);
    let transition = Transition { carried_as: ended.carried_as.clone(), handover, ..transition };
    match gateway.store().transition(transition).await {
        Err(storage::Error::Stale { found: state @ (State::Acknowledged | State::Refused), .. }) => {
            info!(message_id = %record.id, %state, "the partner's answer came by itself before the attempt ended");
            Ok(Some(Forwarded { state, was_answered: true, is_unauthorised: false }))
        }
        stored => {
            let (state, is_unauthorised) = (ended.to, ended.is_unauthorised);
            stored.map(|()| Some(Forwarded { state, was_answered: false, is_unauthorised }))
        }
    }
}

/// The transition that ends an attempt: a disclosure by IHE BALP when the partner answered, for then it has read the
/// message, whether it took it or not; or when MESH holds it for the partner to read.
fn outcome(gateway: &Gateway, lane: &Lane, step: Step<'_>, accepted: Option<&Terms>) -> Transition {
    let is_read = matches!(step.to, State::Delivered | State::Acknowledged | State::Refused);
    match accepted.filter(|_| is_read) {
        Some(terms) => gateway.recorder.disclosure(step, terms, &lane.address()),
        None => gateway.recorder.transition(step),
    }
}

/// What an attempt came to.
struct Ended {
    to: State,
    /// A code for the audit log.
    reason: &'static str,
    /// Words for the operator, without personal data.
    note: String,
    retry_after: Option<std::time::Duration>,
    /// What the carrier calls it that took it.
    carried_as: Option<String>,
    /// What it showed of the lane.
    health: Health,
    /// Whether we were not let in.
    is_unauthorised: bool,
}

impl Ended {
    fn new(to: State, reason: &'static str, note: impl Into<String>) -> Ended {
        let (note, health) = (note.into(), Health::Unknown);
        Ended { to, reason, note, retry_after: None, carried_as: None, health, is_unauthorised: false }
    }

    fn judged(verdict: Verdict) -> Ended {
        let ended = match verdict {
            Verdict::Acknowledged { duplicate: false } => {
                Ended::new(State::Acknowledged, "acknowledged", "acknowledged")
            }
            Verdict::Acknowledged { duplicate: true } => {
                let note = "the partner had it already, from an attempt whose answer was lost";
                Ended::new(State::Acknowledged, "duplicate", note)
            }
            Verdict::Delivered { id, duplicate } => {
                let before = if duplicate { " (an earlier attempt, whose answer was lost)" } else { "" };
                let note = format!("MESH has it as {id}{before}; the partner's answer is awaited");
                Ended { carried_as: Some(id), ..Ended::new(State::Delivered, "mesh-accepted", note) }
            }
            Verdict::Awaited { duplicate } => {
                let before = if duplicate { " from an attempt whose answer was lost" } else { "" };
                let note = format!("the partner has it{before}; its response is awaited");
                Ended::new(State::Delivered, "partner-accepted", note)
            }
            Verdict::NotCarried { status, code } => {
                let code = code.map(|code| format!(" (code {code})")).unwrap_or_default();
                Ended::new(State::Dead, "mesh-refused", format!("MESH refused it with {status}{code}"))
            }
            Verdict::Retry { reason, after } => {
                let health = if reason.concerns_the_message() { Health::Unknown } else { Health::Ill };
                let ended = Ended::new(State::Queued, "partner-retry", reason.to_string());
                return Ended { retry_after: after, health, is_unauthorised: reason.is_unauthorised(), ..ended };
            }
            Verdict::Refused { status, codes } => {
                let why = Some(error_code::explained(&codes)).filter(|why| !why.is_empty());
                let why = why.map_or(told(status).to_owned(), |why| format!(": {why}"));
                let note = format!("the partner refused it with {status} {codes}{why}");
                Ended::new(State::Refused, "partner-refused", note)
            }
            Verdict::PartRefused { entry, status, codes } => {
                let note = format!("the partner refused entry {entry} with {status} {codes}{}", told(status));
                Ended::new(State::Refused, "partner-refused", note)
            }
            Verdict::HadBefore { entry } => {
                let what = entry.map_or("it".to_owned(), |entry| format!("entry {entry}"));
                let note = format!(
                    "the partner says that it had {what} before the first attempt, and took nothing: its server does not look for our tag"
                );
                Ended::new(State::Refused, "partner-refused", note)
            }
        };
        Ended { health: Health::Well, ..ended }
    }

    fn failed(error: &AttemptError) -> Ended {
        if matches!(error, AttemptError::Unsuited) {
            return Ended::new(State::Dead, "not-sendable", error.to_string());
        }
        let reason = if error.is_ambiguous() { "answer-lost" } else { "not-sent" };
        let ended = Ended::new(State::Queued, reason, error.to_string());
        let is_unauthorised = error.is_unauthorised();
        Ended { health: Health::Ill, retry_after: error.retry_after(), is_unauthorised, ..ended }
    }

    /// A message that was tried as often as its partner's file allows is dead until a person decides.
    fn unless_exhausted(self, attempts: u32, most: Option<u32>) -> Ended {
        if self.to != State::Queued || most.is_none_or(|most| attempts < most) {
            return self;
        }
        let count = if attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
        let note = format!("{count}, the most that the partner's file allows; the last: {}", self.note);
        Ended { health: self.health, ..Ended::new(State::Dead, "attempts-exhausted", note) }
    }

    fn step<'a>(
        &'a self,
        (record, patient): (&'a MessageRecord, Option<&'a KeyedHash>),
        at: Instant,
        next_attempt_at: Option<Instant>,
    ) -> Step<'a> {
        Step {
            record,
            patient,
            to: self.to,
            at,
            attempts: record.attempts,
            next_attempt_at,
            reason: self.reason,
            note: &self.note,
        }
    }
}

/// What a status means that does not speak for itself.
fn told(status: u16) -> &'static str {
    if status == 412 { ": several of its resources match one of ours, which it has to put right" } else { "" }
}

/// Between 0 and 1, from the message's id and attempt: spreads out messages that failed together.
fn spread(record: &MessageRecord) -> f64 {
    let drawn = record.id.part(&format!("attempt {}", record.attempts));
    f64::from(u32::from_be_bytes(*drawn.as_bytes().first_chunk().expect("a UUID has 16 bytes"))) / f64::from(u32::MAX)
}
