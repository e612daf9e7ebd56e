//! The verifier: does the store still hold what was recorded, and nothing else?
//!
//! Checked: the numbers of the events have no gap; each event's bytes make its leaf; the leaves make the root of every
//! signed checkpoint; each message's row says what its events say (state, attempts, parties, interface, agreement),
//! and no message lacks its acceptance or its row; each review's row says what its events say (deadline, finding), and its
//! decision opens; each handover's row and steps say what its events say; each referral that came says what its events say, none lacks
//! its event or its row, and what it said opens. Events behind the last checkpoint are only counted as not yet
//! covered. What nothing inside the site can show: a database rolled back to an old copy together with its
//! checkpoints; that takes a checkpoint that somebody else kept ([`verify_with`]). What witnesses cosigned is checked against
//! their listed keys and the checkpoint of that size.
//!
//! Reads in pages; memory does not grow with the log.

mod gone;
mod handed;
mod inbound;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt;
#[allow(clippy::disallowed_types, reason = "a hash with a random key is wanted, and nothing is ordered by it")]
use std::hash::{BuildHasher as _, Hash, RandomState};

use self::gone::{Gone, answer_faults, was_erased};
use self::handed::handover_faults;
use self::inbound::Referrals;
use super::checkpoint::{self, Note, VerifierKey};
use super::cosignature::{Cosigned, CosignerKey, KeptHead};
use super::event::{detail, kind};
use super::merkle::{self, Frontier, TILE_HEIGHT};
use crate::fhir::audit_event::{self, RecordedEvent};
use crate::fhir::{Instant, instant_text};
use crate::identity::MessageId;
use crate::identity::digest::{hex, sha_256};
use crate::identity::keyed_hash::HashKey;
use crate::provenance;
use crate::storage::{
    Approval, Content, Envelope, Error, History, Hour, Part, State, Store, StoredCheckpoint, StoredCosignature,
    StoredEvent, Subtree, filing_number,
};

/// Rows read at a time.
const PAGE: usize = 512;
/// Messages read at a time, each with its events.
const MESSAGES: usize = 256;
/// Messages whose sealed parts are opened at a time.
const OPENED: usize = 32;
/// Faults named; the rest are counted.
const NAMED: usize = 1000;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Events read.
    pub events: u64,
    /// Messages read.
    pub messages: u64,
    /// Referrals of partners read.
    pub referrals: u64,
    /// Sealed parts of messages opened; 0 when the store was opened without its key.
    pub contents: u64,
    /// Checkpoints read.
    pub checkpoints: u64,
    /// Cosignatures of witnesses read.
    pub cosignatures: u64,
    /// Events under the newest checkpoint that holds.
    pub covered: u64,
    /// Leaves in the tree: one more than the last event's number.
    pub size: u64,
    /// The root over all of them, if none is missing.
    pub root: Option<merkle::Hash>,
    /// What is wrong, in the order it was found; at most 1,000.
    pub faults: Vec<Fault>,
    /// How many further faults there are.
    pub more_faults: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Events that no checkpoint covers yet.
    pub fn not_yet_covered(&self) -> u64 {
        self.size - self.covered.min(self.size)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { events, messages, referrals, contents, checkpoints, cosignatures, .. } = self;
        write!(f, "{events} events, {messages} messages, ")?;
        if *referrals > 0 {
            write!(f, "{referrals} referrals, ")?;
        }
        write!(f, "{contents} sealed parts, {checkpoints} signed heads")?;
        if *cosignatures > 0 {
            write!(f, ", {cosignatures} cosignatures")?;
        }
        f.write_str(": ")?;
        match self.faults.len() as u64 + self.more_faults {
            0 => write!(f, "no fault found")?,
            faults => write!(f, "{faults} faults")?,
        }
        if self.not_yet_covered() > 0 {
            write!(f, " ({} events are not yet under a signed head)", self.not_yet_covered())?;
        }
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong. An event is named by its number in the log, from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Events are gone.
    #[error("events {first} to {last} are missing")]
    EventsMissing {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// Bytes or leaf of an event were changed.
    #[error("event {seq} was changed: its bytes do not make its leaf")]
    EventChanged {
        /// Which.
        seq: u64,
    },
    /// The event is none that Weir writes.
    #[error("event {seq} is not an AuditEvent")]
    EventUnreadable {
        /// Which.
        seq: u64,
    },
    /// The event stands beside another message than the one it is about.
    #[error("event {seq} is filed under another message than the one it is about")]
    EventMisfiled {
        /// Which.
        seq: u64,
    },
    /// A checkpoint is not what the log's key signed.
    #[error("the checkpoint of {size} events does not hold: {why}")]
    CheckpointInvalid {
        /// As it is filed.
        size: u64,
        /// Why.
        why: checkpoint::Error,
    },
    /// A checkpoint's row does not say what its note says.
    #[error("the checkpoint of {size} events was changed beside its signed note")]
    CheckpointChanged {
        /// As it is filed.
        size: u64,
    },
    /// Events are not those that were signed.
    #[error("an event from {since} to {} is not the one that was signed", size - 1)]
    RootDiffers {
        /// The first event that may be another.
        since: u64,
        /// The size of the checkpoint that does not match.
        size: u64,
    },
    /// There are fewer events than were signed.
    #[error(
        "a head over {size} events was kept elsewhere{}, and there are {events}: an old copy was put back{}, and what came after is gone",
        by(.cosigned), after(.cosigned)
    )]
    RolledBack {
        /// How many there are.
        events: u64,
        /// How many the head covers.
        size: u64,
        /// By which witness it was cosigned, and when.
        cosigned: Option<Cosigned>,
    },
    /// The log went on in another way than it did when somebody kept its head.
    #[error(
        "the log differs from its head over {size} events that was kept elsewhere{}: changed after event {since}, or an old copy was put back{} and went on",
        by(.cosigned), after(.cosigned)
    )]
    Forked {
        /// The size of the newest head that it agrees with.
        since: u64,
        /// The size of the head.
        size: u64,
        /// By which witness it was cosigned, and when.
        cosigned: Option<Cosigned>,
    },
    /// A cosignature is stored that no known witness made of the head over so many events.
    #[error("the cosignature of {witness} of the head over {size} events does not hold: {why}")]
    CosignatureInvalid {
        /// Name and id of the witness's key, as it is filed.
        witness: String,
        /// As it is filed.
        size: u64,
        /// Why.
        why: NotCosigned,
    },
    /// There are not as many cosignatures as were stored.
    #[error("{kept} cosignatures were kept, and there are {found}")]
    CosignaturesMissing {
        /// How many were kept.
        kept: u64,
        /// How many there are.
        found: u64,
    },
    /// There are events, and no head of the log was ever signed, or all were taken away.
    #[error("no signed head covers any of the {events} events: the heads are gone, or none was signed yet")]
    NeverSigned {
        /// How many.
        events: u64,
    },
    /// An approval is stored that no event tells of.
    #[error("no event says that {by} approved agreement {agreement} as {role}")]
    ApprovalUnsaid {
        /// The agreement.
        agreement: String,
        /// In which role.
        role: String,
        /// By whom.
        by: String,
    },
    /// An event tells of an approval that is not stored.
    #[error("the approval of agreement {agreement} as {role}, event {seq}, is gone")]
    ApprovalMissing {
        /// The agreement.
        agreement: String,
        /// In which role.
        role: String,
        /// The event.
        seq: u64,
    },
    /// A search by patient may miss events, or look at others.
    #[error("the index of events by patient is not what the events say: a search may miss some")]
    PatientsMisfiled,
    /// What happened to a message may not all be shown.
    #[error("the index of events by message is not what the events say: an account of a message may miss some")]
    MessagesMisfiled,
    /// A search by time may miss events.
    #[error("the index of events by hour is not what the events say: a search may miss some")]
    HoursMisfiled,
    /// A part of the tree that proofs are made of is gone, or is not what its leaves make.
    #[error("the root of subtree {position} of level {level} is gone or was changed")]
    SubtreeChanged {
        /// 1 for 256 leaves, 2 for 65,536, and so on.
        level: u8,
        /// How many of that level lie before it.
        position: u64,
    },
    /// A sealed part of a message is gone.
    #[error("the {what} of message {message} is gone")]
    ContentMissing {
        /// Which.
        message: MessageId,
        /// `payload`, `provenance`, `lineage`, `glossary of the lineage`, `review`, `decision`, `words` or `handover`.
        what: &'static str,
    },
    /// A sealed part of a message does not open, or is not the one that was accepted.
    #[error("the {what} of message {message} was changed")]
    ContentChanged {
        /// Which.
        message: MessageId,
        /// `payload`, `provenance`, `lineage`, `glossary of the lineage`, `review`, `decision` or `words`.
        what: &'static str,
    },
    /// A part of a message is there that an event says was erased.
    #[error("the {what} of message {message} is there, although it was erased")]
    ContentKept {
        /// Which.
        message: MessageId,
        /// `payload` or `lineage`.
        what: &'static str,
    },
    /// The key of a day was destroyed, and no event tells of it.
    #[error("no event says that the key of envelope {number} was destroyed when its retention had ended")]
    EnvelopeUnsaid {
        /// Which.
        number: u64,
    },
    /// The key of a day is there that an event says was destroyed, or the row is gone.
    #[error("event {seq} says that the key of envelope {number} was destroyed: it is back, or its row is gone")]
    EnvelopeKept {
        /// Which.
        number: u64,
        /// The event.
        seq: u64,
    },
    /// A message's row is gone.
    #[error("message {message} is gone; event {seq} is about it")]
    MessageMissing {
        /// Which.
        message: MessageId,
        /// The event.
        seq: u64,
    },
    /// No event says that the message was accepted.
    #[error("no event says that message {message} was accepted")]
    NeverAccepted {
        /// Which.
        message: MessageId,
    },
    /// An event starts from another state than the event before it left.
    #[error("event {seq} does not follow from the state of message {message} before it")]
    StateSkipped {
        /// Which.
        message: MessageId,
        /// The event.
        seq: u64,
    },
    /// The row says another thing than the events.
    #[error("the row of message {message} differs from event {seq} in {what}")]
    MessageChanged {
        /// Which.
        message: MessageId,
        /// `state`, `attempts`, `sender`, `recipient`, `interface` or `agreement`; `review`, `deadline` or `finding`.
        what: &'static str,
        /// The event.
        seq: u64,
    },
    /// A referral's row is gone.
    #[error("referral {referral} is gone; event {seq} says that it came")]
    ReferralMissing {
        /// Which.
        referral: MessageId,
        /// The event.
        seq: u64,
    },
    /// No event says that the referral came.
    #[error("no event says that referral {referral} came")]
    ReferralUnsaid {
        /// Which.
        referral: MessageId,
    },
    /// The row of a referral says another thing than the events.
    #[error("the row of referral {referral} differs from event {seq} in {what}")]
    ReferralChanged {
        /// Which.
        referral: MessageId,
        /// `sender`, `message`, `interface`, `digest`, `time of arrival`, `event`, `priority`, `time to collect`, `collection` or `alarm`.
        what: &'static str,
        /// The event.
        seq: u64,
    },
    /// The database cannot be read from there on.
    #[error("the database cannot be read from {place} on: {why}")]
    Unreadable {
        /// From where.
        place: Place,
        /// What the database says.
        why: String,
    },
}

fn by(cosigned: &Option<Cosigned>) -> String {
    cosigned.as_ref().map_or(String::new(), |it| format!(" (cosigned by {} at {})", it.by, instant_text(it.at)))
}

fn after(cosigned: &Option<Cosigned>) -> String {
    cosigned.as_ref().map_or(String::new(), |it| format!(" after {}", instant_text(it.at)))
}

/// Why a cosignature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCosigned {
    /// The site lists no such key.
    #[error("weir.toml lists no witness with this key; list a witness that is not asked any more without its url")]
    UnknownWitness,
    /// The head is not there.
    #[error("the head is gone")]
    NoHead,
    /// Line and head do not belong together.
    #[error("{0}")]
    Note(#[from] checkpoint::Error),
}

/// How far reading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An event's number.
    Event(u64),
    /// The place of a message in the order of acceptance.
    Message(u64),
    /// The referrals of partners.
    Referrals,
    /// The approvals of agreements.
    Approvals,
    /// The envelopes.
    Envelopes,
    /// What events are filed under.
    Filing,
    /// What witnesses cosigned.
    Cosignatures,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Event(seq) => write!(f, "event {seq}"),
            Place::Message(position) => write!(f, "message number {position}"),
            Place::Referrals => f.write_str("the referrals"),
            Place::Approvals => f.write_str("the approvals"),
            Place::Envelopes => f.write_str("the envelopes"),
            Place::Filing => f.write_str("the index of the events"),
            Place::Cosignatures => f.write_str("the cosignatures"),
        }
    }
}

/// Verifies everything in `store` against the public key of its log. The key of the site's hashes is needed to compare the
/// digest of each record with the hash in the log.
///
/// # Errors
/// When the store cannot be read now. What is damaged is a [`Fault`], not an error.
pub async fn verify(store: &dyn Store, key: &VerifierKey, hashes: Option<&HashKey>) -> Result<Report, Error> {
    verify_with(store, key, hashes, Elsewhere::default()).await
}

/// What others know of the log.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// The keys of its witnesses, also of those that are not asked any more.
    pub witnesses: Vec<CosignerKey>,
    /// Heads that somebody kept.
    pub heads: Vec<KeptHead>,
}

/// [`verify`], and that stored cosignatures are by known witnesses, and the log still the one that was signed when somebody else
/// kept a head: a database that was rolled back to an old copy agrees with itself, and with no head that is newer.
///
/// # Errors
/// As [`verify`].
pub async fn verify_with(
    store: &dyn Store,
    key: &VerifierKey,
    hashes: Option<&HashKey>,
    Elsewhere { witnesses, mut heads }: Elsewhere,
) -> Result<Report, Error> {
    heads.sort_by_key(|head| head.checkpoint.size);
    let mut verifier = Verifier { hashes, heads: heads.into(), ..Verifier::new(store, key) };
    // Before the log is read: what is approved meanwhile is in it, and not among these.
    let before = store.event_count().await.unwrap_or(0);
    let (approvals, envelopes) = (store.approvals().await, envelopes(store).await);
    let referrals = Referrals::of_rows(store, before).await.map(|referrals| verifier.referrals = referrals);
    let has_referrals = referrals.is_ok();
    verifier.absorb(referrals, |_| Place::Referrals)?;
    let place = verifier.check_log().await;
    verifier.absorb(place, |verifier| Place::Event(verifier.next))?;
    let place = verifier.check_cosignatures(&witnesses).await;
    verifier.absorb(place, |_| Place::Cosignatures)?;
    let place = approvals.map(|approvals| verifier.check_approvals(approvals, before));
    verifier.absorb(place, |_| Place::Approvals)?;
    let place = envelopes.map(|envelopes| {
        let faults = verifier.gone.faults(&envelopes, before);
        faults.into_iter().for_each(|fault| verifier.fault(fault));
    });
    verifier.absorb(place, |_| Place::Envelopes)?;
    verifier.caught_up = verifier.next;
    if has_referrals {
        let place = verifier.check_referrals().await;
        verifier.absorb(place, |_| Place::Referrals)?;
    }
    let place = verifier.check_messages().await;
    verifier.absorb(place, |verifier| Place::Message(verifier.position + 1))?;
    let place = verifier.check_strays().await;
    verifier.absorb(place, |_| Place::Event(0))?;
    let place = verifier.check_filing().await;
    verifier.absorb(place, |_| Place::Filing)?;
    Ok(verifier.report())
}

/// Every envelope.
async fn envelopes(store: &dyn Store) -> Result<Vec<Envelope>, Error> {
    let mut found: Vec<Envelope> = Vec::new();
    loop {
        let after = found.last().map_or(0, |last| last.number);
        let page = store.envelopes(after, PAGE).await?;
        in_order(page.iter().map(|envelope| envelope.number), after + 1)?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

/// Agreement, version, SHA-256 of its file in hexadecimal, role, person.
type ApprovalKey = [String; 5];

/// What the numbers of a lineage stand for.
const GLOSSARY: &str = "glossary of the lineage";

/// A sum over rows that is the same for the same rows in any order. The hash has a key of its own in each run, so that nobody
/// can prepare other rows with the same sum.
#[derive(Default)]
#[allow(clippy::disallowed_types, reason = "nothing is ordered by it")]
struct Sum {
    hasher: RandomState,
    rows: u64,
    sum: u64,
}

impl Sum {
    /// With the same key, over nothing yet.
    fn empty(&self) -> Sum {
        Sum { hasher: self.hasher.clone(), rows: 0, sum: 0 }
    }

    fn add(&mut self, row: impl Hash) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(self.hasher.hash_one(row));
    }

    /// Undoes one [`Sum::add`], before or after it.
    fn take_away(&mut self, row: impl Hash) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(self.hasher.hash_one(row));
    }

    fn differs(&self, other: &Sum) -> bool {
        (self.rows, self.sum) != (other.rows, other.sum)
    }
}

struct Verifier<'a> {
    store: &'a dyn Store,
    key: &'a VerifierKey,
    hashes: Option<&'a HashKey>,
    /// Heads that somebody else kept, and that were not reached yet.
    heads: VecDeque<KeptHead>,
    /// The newest of them that the log agrees with.
    agreed: u64,
    /// The number that the next event must have.
    next: u64,
    /// The tree so far; `None` from a missing event up to the next checkpoint.
    frontier: Option<Frontier>,
    /// Checkpoints read and not yet reached.
    ahead: VecDeque<StoredCheckpoint>,
    /// The size of the newest checkpoint read.
    read_to: u64,
    /// The size of the newest checkpoint when the verification began. A running gateway signs on; what it signs over
    /// events that were not there yet is left to the next verification.
    horizon: u64,
    /// The last message read.
    position: u64,
    /// What events say was approved, each with the first event that says so.
    approved: BTreeMap<ApprovalKey, u64>,
    /// What events say was destroyed and erased.
    gone: Gone,
    /// What rows and events say of the referrals of partners.
    referrals: Referrals,
    /// The number of the next event that came while the verification ran, and was not looked at for what is gone.
    caught_up: u64,
    /// Subtrees that have become complete, and were not compared yet.
    complete: Vec<Subtree>,
    /// Events whose bytes were changed, as many as are named.
    changed: BTreeSet<u64>,
    /// Which events are filed under which messages.
    about: Sum,
    /// Which events were read beside which messages, by what they say.
    heard: Sum,
    /// The glossaries of lineages that were looked at.
    glossaries: HashSet<[u8; 32]>,
    /// Whether every event was there and could be read.
    all_read: bool,
    /// What must be filed by patient.
    subjects: Sum,
    /// What must be filed by hour: the first and the last event of each.
    hours: BTreeMap<i64, (u64, u64)>,
    report: Report,
}

impl<'a> Verifier<'a> {
    fn new(store: &'a dyn Store, key: &'a VerifierKey) -> Verifier<'a> {
        let report = Report {
            events: 0,
            messages: 0,
            referrals: 0,
            contents: 0,
            checkpoints: 0,
            cosignatures: 0,
            covered: 0,
            size: 0,
            root: None,
            faults: vec![],
            more_faults: 0,
        };
        let frontier = Some(Frontier::new());
        let (ahead, glossaries, about) = (VecDeque::new(), HashSet::new(), Sum::default());
        Verifier {
            store,
            key,
            hashes: None,
            heads: VecDeque::new(),
            agreed: 0,
            approved: BTreeMap::new(),
            gone: Gone::default(),
            referrals: Referrals::default(),
            caught_up: 0,
            next: 0,
            frontier,
            ahead,
            read_to: 0,
            horizon: 0,
            position: 0,
            complete: vec![],
            changed: BTreeSet::new(),
            heard: about.empty(),
            about,
            glossaries,
            all_read: true,
            subjects: Sum::default(),
            hours: BTreeMap::new(),
            report,
        }
    }

    fn report(mut self) -> Report {
        self.report.size = self.next;
        self.report.root = self.frontier.map(|frontier| frontier.root());
        self.report
    }

    fn fault(&mut self, fault: Fault) {
        if self.report.faults.len() < NAMED {
            self.report.faults.push(fault);
        } else {
            self.report.more_faults += 1;
        }
    }

    /// Turns damage into a fault; any other error ends the verification.
    fn absorb(&mut self, outcome: Result<(), Error>, place: impl Fn(&Self) -> Place) -> Result<(), Error> {
        match outcome {
            Err(Error::Damaged(why)) => {
                let place = place(self);
                self.all_read = false;
                self.fault(Fault::Unreadable { place, why });
                Ok(())
            }
            other => other,
        }
    }

    async fn check_log(&mut self) -> Result<(), Error> {
        self.horizon = self.store.last_checkpoint().await?.map_or(0, |last| last.size);
        loop {
            let page = self.store.events(self.next, PAGE).await?;
            if page.is_empty() {
                break;
            }
            in_order(page.iter().map(|stored| stored.seq), self.next)?;
            for stored in &page {
                self.compare_heads(stored.seq);
                self.settle_up_to(stored.seq).await?;
                self.check_event(stored);
            }
            self.check_subtrees().await?;
        }
        self.check_no_other_subtrees().await?;
        self.compare_heads(self.next);
        self.settle_up_to(u64::MAX).await?;
        self.compare_heads(self.next);
        for KeptHead { checkpoint, cosigned } in std::mem::take(&mut self.heads) {
            self.fault(Fault::RolledBack { events: self.next, size: checkpoint.size, cosigned });
        }
        if self.report.events > 0 && self.report.checkpoints == 0 {
            self.fault(Fault::NeverSigned { events: self.report.events });
        }
        Ok(())
    }

    /// Checks the bytes of one event and appends it. What it says of a message is looked at beside that message.
    fn check_event(&mut self, stored: &StoredEvent) {
        let StoredEvent { seq, event } = stored;
        self.report.events += 1;
        if *seq != self.next {
            self.fault(Fault::EventsMissing { first: self.next, last: seq - 1 });
            self.frontier = None;
            self.all_read = false;
        }
        self.next = seq + 1;
        let leaf = merkle::leaf(&event.bytes);
        if let Some(frontier) = &mut self.frontier {
            frontier.push(leaf, |subtree| self.complete.push(subtree));
        }
        if leaf != event.leaf {
            self.fault(Fault::EventChanged { seq: *seq });
            self.all_read = false;
            if self.changed.len() < NAMED {
                self.changed.insert(*seq);
            }
        }
        match event.message {
            Some(message) => self.about.add((message, *seq)),
            None => {
                if self.hear(stored).is_some_and(|said| said.message().is_some()) {
                    self.fault(Fault::EventMisfiled { seq: *seq });
                }
            }
        }
    }

    /// Reads what an event says, and notes it once for all events together. `None` when it is none, or was changed.
    fn hear<'e>(&mut self, stored: &'e StoredEvent) -> Option<RecordedEvent<'e>> {
        let StoredEvent { seq, event } = stored;
        let Some(said) = RecordedEvent::read(&event.bytes) else {
            if !self.changed.contains(seq) {
                self.fault(Fault::EventUnreadable { seq: *seq });
                self.all_read = false;
            }
            return None;
        };
        // What was changed is said; what came after the log was read is left to the next verification.
        if self.changed.contains(seq) || *seq >= self.next {
            return Some(said);
        }
        if let Some(subject) = said.subject().and_then(filing_number) {
            self.subjects.add((subject, *seq));
        }
        self.gone.note(&said, *seq);
        self.referrals.note(&said, *seq);
        let hour = self.hours.entry(Hour::of(said.at())).or_insert((*seq, *seq));
        *hour = (hour.0.min(*seq), hour.1.max(*seq));
        if said.is(kind::AGREEMENT_APPROVED) && said.is_success() {
            let detail = |name| said.detail(name).unwrap_or_default().to_owned();
            let [agreement, by] = [said.agreement(), said.operator()].map(|text| text.unwrap_or_default().to_owned());
            let key = [agreement, detail(detail::VERSION), detail(detail::SHA256), detail(detail::ROLE), by];
            self.approved.entry(key).or_insert(*seq);
        }
        Some(said)
    }

    /// Compares what witnesses cosigned with the heads, and their number with how many were kept. A running gateway keeps on
    /// keeping; what comes meanwhile may be counted or not.
    async fn check_cosignatures(&mut self, witnesses: &[CosignerKey]) -> Result<(), Error> {
        let kept = self.store.cosignature_count().await?;
        let mut after = (0, String::new());
        loop {
            let page = self.store.cosignatures(after.clone(), PAGE).await?;
            if page.is_empty() {
                break;
            }
            for cosignature in page {
                let place = (cosignature.size, cosignature.witness.clone());
                if place <= after {
                    return Err(Error::Damaged("its rows do not rise".to_owned()));
                }
                after = place;
                self.report.cosignatures += 1;
                if let Err(why) = self.check_cosignature(&cosignature, witnesses).await? {
                    let StoredCosignature { size, witness, .. } = cosignature;
                    self.fault(Fault::CosignatureInvalid { witness, size, why });
                }
            }
        }
        let (found, now) = (self.report.cosignatures, self.store.cosignature_count().await?);
        if !(kept..=now.max(kept)).contains(&found) {
            self.fault(Fault::CosignaturesMissing { kept, found });
        }
        Ok(())
    }

    /// Whether a known witness cosigned the head of this size. Whether that head is the log's is told of the head itself.
    async fn check_cosignature(
        &self,
        cosignature: &StoredCosignature,
        witnesses: &[CosignerKey],
    ) -> Result<Result<(), NotCosigned>, Error> {
        let StoredCosignature { size, witness, line, .. } = cosignature;
        let Some(key) = witnesses.iter().find(|key| key.kid() == *witness) else {
            return Ok(Err(NotCosigned::UnknownWitness));
        };
        let head = self.store.checkpoints(size.saturating_sub(1), 1).await?.pop();
        let Some(head) = head.filter(|head| head.size == *size) else { return Ok(Err(NotCosigned::NoHead)) };
        let note = [&*head.note, line.as_bytes(), b"\n"].concat();
        let holds = Note::parse(&note).and_then(|note| key.verify(&note));
        Ok(holds.map(drop).map_err(NotCosigned::Note))
    }

    /// Compares what is filed by patient and by hour with the events, all of which were heard. A running gateway files on; what it files of events that
    /// were not looked at is left to the next verification. Where events are missing or changed nothing can be said.
    async fn check_filing(&mut self) -> Result<(), Error> {
        if !self.all_read {
            return Ok(());
        }
        let (end, mut filed, mut after) = (self.next, self.subjects.empty(), (i64::MIN, 0));
        let mut is_first = true;
        loop {
            let page = self.store.filed_subjects(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            if !is_first && *last <= after {
                return Err(Error::Damaged("its rows do not rise".to_owned()));
            }
            (after, is_first) = (*last, false);
            page.into_iter().filter(|(_, seq)| *seq < end).for_each(|row| filed.add(row));
        }
        if filed.differs(&self.subjects) {
            self.fault(Fault::PatientsMisfiled);
        }
        let hours = self.store.hours(i64::MIN, i64::MAX).await?;
        let begun = hours.iter().filter(|hour| hour.first < end);
        let alike = |hour: &Hour| {
            let own = self.hours.get(&hour.hour);
            own.is_some_and(|(first, last)| hour.first == *first && (hour.last == *last || hour.last >= end))
        };
        if begun.clone().count() != self.hours.len() || !begun.clone().all(alike) {
            self.fault(Fault::HoursMisfiled);
        }
        Ok(())
    }

    /// Compares the subtrees that have become complete with those that are kept.
    async fn check_subtrees(&mut self) -> Result<(), Error> {
        for subtree in std::mem::take(&mut self.complete) {
            let Subtree { level, position, .. } = subtree;
            let end = (position + 1) << (u32::from(level) * TILE_HEIGHT);
            if end <= self.horizon && self.store.subtrees(level, position, 1).await?.first() != Some(&subtree) {
                self.fault(Fault::SubtreeChanged { level, position });
            }
        }
        Ok(())
    }

    /// Sees that no subtree is kept whose leaves are not there. Those of leaves that a running gateway has added since may be.
    async fn check_no_other_subtrees(&mut self) -> Result<(), Error> {
        for level in 1..=8 {
            let height = u32::from(level) * TILE_HEIGHT;
            let complete = self.next.checked_shr(height).unwrap_or(0);
            let further = self.store.subtrees(level, complete, 1).await?;
            let Some(Subtree { position, .. }) = further.first() else { continue };
            let end = (u128::from(*position) + 1) << height;
            if end > u128::from(self.store.event_count().await?) {
                self.fault(Fault::SubtreeChanged { level, position: *position });
            }
        }
        Ok(())
    }

    /// Looks at every event about a message again, when not each was read beside the message that it is filed under: for those that are
    /// filed under another, and those whose message has no row.
    async fn check_strays(&mut self) -> Result<(), Error> {
        let (mut next, end, mut all) = (0, self.next, self.heard.empty());
        if !self.about.differs(&self.heard) {
            return Ok(());
        }
        while next < end {
            let page = self.store.events(next, PAGE).await?;
            let Some(last) = page.last() else { break };
            next = last.seq + 1;
            let about = page.iter().filter(|stored| stored.event.message.is_some() && stored.seq < end);
            let ids = about.clone().filter_map(|stored| stored.event.message).collect::<BTreeSet<_>>();
            let absent = self.store.absent(ids.into_iter().collect()).await?;
            for stored in about {
                let filed = stored.event.message;
                let is_stray = filed.is_some_and(|id| absent.contains(&id));
                let said = if is_stray { self.hear(stored) } else { RecordedEvent::read(&stored.event.bytes) };
                let Some(said) = said else { continue };
                if let Some(message) = said.message().filter(|_| !is_stray) {
                    all.add((message, stored.seq));
                }
                if self.changed.contains(&stored.seq) {
                    continue;
                }
                if said.message() != filed {
                    self.fault(Fault::EventMisfiled { seq: stored.seq });
                    self.all_read = false;
                }
                let kept = said.is(kind::MESSAGE_ACCEPTED) || said.is(kind::STATE_TRANSITION);
                if let Some(message) = said.message().filter(|_| kept && is_stray) {
                    self.fault(Fault::MessageMissing { message, seq: stored.seq });
                }
            }
        }
        if all.differs(&self.heard) {
            self.fault(Fault::MessagesMisfiled);
        }
        Ok(())
    }

    /// Settles every checkpoint of at most `size` events.
    async fn settle_up_to(&mut self, size: u64) -> Result<(), Error> {
        loop {
            if self.ahead.is_empty() && self.read_to < self.horizon {
                self.ahead = self.store.checkpoints(self.read_to, PAGE).await?.into();
                in_order(self.ahead.iter().map(|checkpoint| checkpoint.size), self.read_to + 1)?;
                self.read_to = self.ahead.back().map_or(u64::MAX, |last| last.size);
            }
            let within = |checkpoint: &StoredCheckpoint| checkpoint.size <= size.min(self.horizon);
            match self.ahead.pop_front() {
                Some(checkpoint) if within(&checkpoint) => self.settle(&checkpoint),
                Some(checkpoint) => {
                    self.ahead.push_front(checkpoint);
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    /// Compares the heads over at most `size` events that somebody else kept with the tree that has grown to that size.
    fn compare_heads(&mut self, size: u64) {
        while let Some(head) = self.heads.pop_front_if(|head| head.checkpoint.size <= size) {
            let KeptHead { checkpoint: head, cosigned } = head;
            // At another size events are missing, which is said.
            let Some(frontier) = self.frontier.as_ref().filter(|frontier| frontier.size() == head.size) else {
                continue;
            };
            if frontier.root() == head.root {
                self.agreed = head.size;
            } else {
                self.fault(Fault::Forked { since: self.agreed, size: head.size, cosigned });
            }
        }
    }

    /// Compares one checkpoint with the tree that has grown to its size.
    fn settle(&mut self, stored: &StoredCheckpoint) {
        self.report.checkpoints += 1;
        let size = stored.size;
        let signed = match self.key.verify(&stored.note) {
            Ok(signed) => signed,
            Err(why) => return self.fault(Fault::CheckpointInvalid { size, why }),
        };
        let kept = Frontier::restore(signed.size, &stored.frontier).filter(|kept| kept.root() == signed.root);
        if signed.size != size || kept.is_none() {
            self.fault(Fault::CheckpointChanged { size });
        }
        if signed.size != size {
            return;
        }
        if self.next < size {
            self.fault(Fault::EventsMissing { first: self.next, last: size - 1 });
            self.next = size;
            self.frontier = None;
            self.all_read = false;
        }
        match &self.frontier {
            Some(frontier) if frontier.root() == signed.root => self.report.covered = size,
            Some(_) => self.fault(Fault::RootDiffers { since: self.report.covered, size }),
            None => {}
        }
        // Later events are judged from the signed state on, so that each fault shows where it is.
        if kept.is_some() {
            self.frontier = kept;
            self.report.covered = size;
        }
    }

    /// Compares the approvals that bring agreements into effect with the events that say who approved what.
    /// What was approved after the first `before` events may not be among them.
    fn check_approvals(&mut self, approvals: Vec<Approval>, before: u64) {
        for approval in approvals {
            let Approval { agreement, version, file, role, by, .. } = approval;
            let (agreement, by) = (agreement.to_string(), by.to_string());
            let key = [agreement.clone(), version, hex(&file), role.clone(), by.clone()];
            if self.approved.remove(&key).is_none() {
                self.fault(Fault::ApprovalUnsaid { agreement, role, by });
            }
        }
        for ([agreement, .., role, _], seq) in std::mem::take(&mut self.approved) {
            if seq < before {
                self.fault(Fault::ApprovalMissing { agreement, role, seq });
            }
        }
    }

    async fn check_messages(&mut self) -> Result<(), Error> {
        loop {
            let page = self.store.histories(self.position, MESSAGES).await?;
            let Some(last) = page.last() else { return Ok(()) };
            in_order(page.iter().map(|history| history.position), self.position + 1)?;
            let end = last.position;
            self.report.messages += page.len() as u64;
            let said: Vec<Told<'_>> = page.iter().map(|history| self.told(history)).collect();
            for (history, said) in page.iter().zip(&said) {
                self.position = history.position;
                for fault in message_faults(history, said, self.hashes)
                    .into_iter()
                    .chain(review_faults(history, said))
                    .chain(answer_faults(history, said))
                    .chain(handover_faults(history, said))
                {
                    self.fault(fault);
                }
            }
            self.check_contents(&page, &said).await?;
            self.position = end;
        }
    }

    /// What the events of a message say.
    fn told<'h>(&mut self, history: &'h History) -> Told<'h> {
        let mut told = Vec::with_capacity(history.events.len());
        for stored in &history.events {
            let Some(said) = self.hear(stored) else { continue };
            if let Some(message) = said.message().filter(|_| stored.seq < self.next) {
                self.heard.add((message, stored.seq));
            }
            told.push((stored.seq, said));
        }
        told
    }

    /// Opens every sealed part of messages, and compares lineages and answers with the digests that were audited.
    async fn check_contents(&mut self, page: &[History], said: &[Told<'_>]) -> Result<(), Error> {
        for (page, said) in page.chunks(OPENED).zip(said.chunks(OPENED)) {
            let each =
                page.iter().zip(said).flat_map(|(history, said)| parts(history).map(move |part| (history, said, part)));
            let each: Vec<_> = each.collect();
            let opened = match self.store.contents(each.iter().map(|(_, _, part)| *part).collect()).await {
                Err(Error::NoKey) => return Ok(()),
                opened => opened?,
            };
            for ((history, said, (id, part)), opened) in each.into_iter().zip(opened) {
                let (message, what) = (history.record.id, part.column());
                self.position = history.position;
                let content = match opened {
                    Ok(Some(content)) => content,
                    Ok(None) => {
                        if !self.is_gone(history, said, (id, part)).await? {
                            self.fault(Fault::ContentMissing { message, what });
                        }
                        continue;
                    }
                    Err(Error::Damaged(_)) => {
                        self.fault(Fault::ContentChanged { message, what });
                        continue;
                    }
                    Err(other) => return Err(other),
                };
                if was_erased(history, said, (id, part)) {
                    self.fault(Fault::ContentKept { message, what });
                }
                if is_another(part, &content, said) {
                    self.fault(Fault::ContentChanged { message, what });
                } else {
                    self.report.contents += 1;
                }
                if part == Content::Lineage {
                    self.check_glossary(message, &content).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether events say that a part of a message is gone; those too that came while the verification ran.
    async fn is_gone(&mut self, history: &History, said: &Told<'_>, part: Part) -> Result<bool, Error> {
        if self.gone.holds(history, said, part) {
            return Ok(true);
        }
        self.caught_up = self.gone.catch_up(self.store, self.caught_up).await?;
        Ok(self.gone.holds(history, said, part))
    }

    /// Compares the glossary of a message's lineage with the digest that the lineage names it by; once for all messages.
    async fn check_glossary(&mut self, message: MessageId, lineage: &[u8]) -> Result<(), Error> {
        let Some(digest) = provenance::glossary_of(lineage).filter(|digest| self.glossaries.insert(*digest)) else {
            return Ok(());
        };
        match self.store.text(digest).await? {
            Some(text) if sha_256(&text) == digest => {}
            Some(_) => self.fault(Fault::ContentChanged { message, what: GLOSSARY }),
            None => self.fault(Fault::ContentMissing { message, what: GLOSSARY }),
        }
        Ok(())
    }
}

/// A message's events, read: each with its number.
type Told<'a> = Vec<(u64, RecordedEvent<'a>)>;

/// The sealed parts that a message must have.
fn parts(history: &History) -> impl Iterator<Item = Part> {
    let message = history.record.id;
    let of_review = history.review.as_ref().map(|_| Content::Decision);
    let words = history.review.as_ref().and_then(|review| review.completed.as_ref()).map(|_| Content::Words);
    let own = [Content::Payload, Content::Provenance, Content::Lineage].into_iter().chain(of_review).chain(words);
    let answers = history.answers.iter().map(|answer| (answer.slot, Content::Answer));
    own.map(move |part| (message, part)).chain(answers)
}

/// Whether the log tells of another content in its place: of another lineage, or of no such answer.
fn is_another(part: Content, content: &[u8], said: &Told<'_>) -> bool {
    let digest = || hex(&sha_256(content));
    match part {
        Content::Lineage => {
            let audited = said.first().and_then(|(_, accepted)| accepted.detail(detail::LINEAGE));
            audited.is_some_and(|audited| audited != digest())
        }
        Content::Answer => {
            let digest = digest();
            let mut received = said.iter().filter(|(_, said)| said.is(kind::ANSWER_RECEIVED));
            !received.any(|(_, said)| said.detail(detail::SHA256) == Some(&digest))
        }
        _ => false,
    }
}

/// Whether numbers rise, from the `least` that was asked for on: in a damaged file they may not, and reading would not end.
fn in_order(numbers: impl Iterator<Item = u64>, mut least: u64) -> Result<(), Error> {
    for number in numbers {
        if number < least {
            return Err(Error::Damaged(format!("row {number} stands behind row {}", least - 1)));
        }
        least = number + 1;
    }
    Ok(())
}

/// Compares one message's row with its events.
fn message_faults(history: &History, said: &Told<'_>, hashes: Option<&HashKey>) -> Vec<Fault> {
    let record = &history.record;
    let message = record.id;
    let mut faults = Vec::new();
    let mut accepted = false;
    let mut state = None;
    let mut last = None;
    for (seq, said) in said {
        if said.is(kind::MESSAGE_ACCEPTED) {
            accepted = true;
            faults.extend(terms_faults(history, said, *seq, hashes));
        } else if !said.is(kind::STATE_TRANSITION) {
            continue;
        }
        let states = |name| said.detail(name).and_then(|code| code.parse::<State>().ok());
        if states(detail::FROM) != state {
            faults.push(Fault::StateSkipped { message, seq: *seq });
        }
        state = states(detail::TO);
        let attempts = said.detail(detail::ATTEMPTS).map_or(Some(0), |attempts| attempts.parse().ok());
        last = Some((*seq, attempts, said.at()));
    }
    if !accepted {
        faults.push(Fault::NeverAccepted { message });
    }
    if let Some((seq, attempts, recorded)) = last {
        faults.extend(differs(message, "time of the last step", seq, !is_same(recorded, record.updated_at)));
        faults.extend(differs(message, "state", seq, state != Some(record.state)));
        faults.extend(differs(message, "attempts", seq, attempts != Some(record.attempts)));
    }
    faults
}

/// Compares the row of a message's review with its events.
fn review_faults(history: &History, said: &Told<'_>) -> Vec<Fault> {
    let message = history.record.id;
    let first = |kind| said.iter().find(|(_, said)| said.is(kind)).map(|(seq, said)| (*seq, said));
    let told = |said: &RecordedEvent<'_>, name: &str, text: &str| said.detail(name) == Some(text);
    let Some((seq, opened)) = first(kind::REVIEW_OPENED) else {
        let seq = history.events.first().map_or(0, |stored| stored.seq);
        return differs(message, "review", seq, history.review.is_some()).into_iter().collect();
    };
    let Some(review) = &history.review else { return vec![Fault::ContentMissing { message, what: "review" }] };
    let mut faults: Vec<Fault> =
        differs(message, "deadline", seq, !told(opened, detail::DUE, &instant_text(review.due_at)))
            .into_iter()
            .collect();
    let finding = review.completed.as_ref().map(|completed| completed.finding.code());
    let (seq, same) = match first(kind::REVIEW_COMPLETED) {
        Some((seq, said)) => (seq, finding.is_some_and(|finding| told(said, detail::FINDING, finding))),
        None => (seq, finding.is_none()),
    };
    faults.extend(differs(message, "finding", seq, !same));
    faults
}

/// Compares what never changes with the event of acceptance.
fn terms_faults(history: &History, said: &RecordedEvent<'_>, seq: u64, hashes: Option<&HashKey>) -> Vec<Fault> {
    let record = &history.record;
    let deadline = record.handling.deadline_at.map(instant_text);
    let digest = hashes.map(|hashes| hashes.record(&record.digest));
    let told = |name: &str, text: &str| said.detail(name) == Some(text);
    [
        ("sender", said.party(audit_event::Part::Source).as_ref() == Some(&record.sender)),
        ("recipient", told(detail::RECIPIENT, record.recipient.as_str())),
        ("interface", told(detail::INTERFACE, record.interface.as_str())),
        ("agreement", said.agreement() == Some(record.agreement.as_str())),
        ("time of acceptance", is_same(said.at(), record.accepted_at)),
        ("priority", said.detail(detail::PRIORITY) == record.handling.priority.as_deref()),
        ("deadline", said.detail(detail::DEADLINE) == deadline.as_deref()),
        ("digest", digest.is_none_or(|digest| told(detail::RECORD, digest.as_str()))),
    ]
    .into_iter()
    .filter_map(|(what, same)| differs(record.id, what, seq, !same))
    .collect()
}

/// Whether two instants are the same millisecond, which is as exact as rows are.
fn is_same(one: Instant, other: Instant) -> bool {
    let millis = |at: Instant| at.unix_timestamp_nanos().div_euclid(1_000_000);
    millis(one) == millis(other)
}

fn differs(message: MessageId, what: &'static str, seq: u64, differs: bool) -> Option<Fault> {
    differs.then_some(Fault::MessageChanged { message, what, seq })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of a test need not be durable")]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::*;
    use crate::audit::checkpoint::{Checkpoint, SigningKey};
    use crate::audit::cosignature::CosigningKey;
    use crate::audit::{By, Checkpointer, HashKey, Recorder, Step, Terms, recover};
    use crate::storage::suite::{NOON, message, party};
    use crate::storage::{
        Accepted, Act, Change, Erasure, Handover, HandoverState, HandoverStep, Performed, Secret, SqliteStore,
    };
    use uuid::Uuid;

    /// A site with a real history: two messages, eight events, checkpoints over five and seven of them.
    ///
    /// 0 started; 1 first accepted; 2 second accepted; 3 first in flight; 4 first delivered; 5 first acknowledged;
    /// 6 second in flight; 7 second queued again.
    struct Site {
        folder: tempfile::TempDir,
        secret: Secret,
        /// The text of the log's key.
        signing: String,
        key: VerifierKey,
        witness: CosigningKey,
    }

    impl Site {
        async fn new() -> Site {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("weir.db");
            let secret = Secret::generate();
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, &secret).expect("it opens"));
            let recorder = Recorder::new(party("DEMOP"), "weir.example/DEMOP");
            let key = SigningKey::generate("weir.example/DEMOP").expect("the name is good");
            let (public, signing) = (key.verifier().clone(), key.secret_text());
            let mut checkpointer = Checkpointer::resume(Arc::clone(&store), key).await.expect("it begins");
            store
                .append(recorder.started("0.1.0", &"demo-engineer".parse().expect("an id"), NOON))
                .await
                .expect("it is written");
            for number in [1, 2] {
                accept(&store, (&recorder, &HashKey::new(secret.bytes())), number).await;
            }
            step(&store, &recorder, 1, State::InFlight).await;
            step(&store, &recorder, 1, State::Delivered).await;
            checkpointer.checkpoint().await.expect("it is signed");
            step(&store, &recorder, 1, State::Acknowledged).await;
            step(&store, &recorder, 2, State::InFlight).await;
            checkpointer.checkpoint().await.expect("it is signed");
            recover(&*store, &recorder, NOON).await.expect("it recovers");
            approve(&store, &recorder).await;
            let witness = CosigningKey::generate("icb.example/witness").expect("the name is good");
            Site { folder, secret, signing, key: public, witness }
        }

        /// The same, with cosignatures of both heads by two witnesses, of which the site lists one in `witness` and the other is
        /// given.
        async fn cosigned() -> (Site, CosigningKey) {
            let site = Site::new().await;
            let other = CosigningKey::generate("lmc.example/witness").expect("the name is good");
            let store = SqliteStore::open(&site.path(), &site.secret).expect("it opens");
            for head in store.checkpoints(0, 9).await.expect("they are read") {
                for key in [&site.witness, &other] {
                    let line = key.cosign(Note::parse(&head.note).expect("it is a note").text(), NOON);
                    let (witness, line) = (key.public().kid(), line.trim_end().to_owned());
                    let cosignature = StoredCosignature { size: head.size, witness, line, received_at: NOON };
                    store.store_cosignature(cosignature).await.expect("it is kept");
                }
            }
            (site, other)
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("weir.db")
        }

        fn tamper(&self, sql: &str) {
            let database = rusqlite::Connection::open(self.path()).expect("it opens");
            database.execute_batch("PRAGMA foreign_keys = OFF").expect("it runs");
            database.execute_batch(sql).expect("it runs");
        }

        async fn verify(&self) -> Report {
            let store = SqliteStore::open_to_read(&self.path(), None).expect("it opens");
            verify(&store, &self.key, None).await.expect("it is read")
        }

        /// The site's file or a copy of it, with the keys of what is sealed and of the hashes.
        async fn verify_file(&self, path: &Path) -> Result<Report, Error> {
            self.verify_witnessed(path, &[]).await
        }

        /// The same with the keys of witnesses.
        async fn verify_witnessed(&self, path: &Path, keys: &[&CosigningKey]) -> Result<Report, Error> {
            let store = SqliteStore::open_to_read(path, Some(&self.secret))?;
            let witnesses = keys.iter().map(|key| key.public().clone()).collect();
            let hashes = HashKey::new(self.secret.bytes());
            verify_with(&store, &self.key, Some(&hashes), Elsewhere { witnesses, heads: vec![] }).await
        }

        /// What `sql` makes the verifier say.
        async fn faults_after(sql: &str) -> Vec<String> {
            let site = Site::new().await;
            site.tamper(sql);
            site.verify().await.faults.iter().map(Fault::to_string).collect()
        }
    }

    async fn approve(store: &Arc<dyn Store>, recorder: &Recorder) {
        let approval = Approval {
            agreement: "demo-trust-crisis".parse().expect("a name"),
            version: "1".to_owned(),
            file: [5; 32],
            role: "caldicott-guardian".to_owned(),
            by: "demo-guardian".parse().expect("an id"),
            at: NOON,
        };
        let event = recorder.agreement_approved(&approval, true);
        let act = Act { id: Uuid::nil(), at: NOON, change: Change::Approve(approval), event };
        assert_eq!(store.perform(act).await, Ok(Performed::Now));
    }

    async fn accept(store: &Arc<dyn Store>, (recorder, hashes): (&Recorder, &HashKey), number: u32) {
        let new = message(number);
        let event = recorder.accepted(&new, None, &terms(), &hashes.record(&new.digest));
        assert_eq!(store.accept(new, vec![event]).await, Ok(Accepted::New));
    }

    fn terms() -> Terms {
        Terms {
            subject: Some(HashKey::new(&[5; 32]).subject("https://fhir.nhs.uk/Id/nhs-number", "9999999999")),
            purpose: "TREAT".to_owned(),
            agreement: "demo-trust-crisis".parse().expect("a name"),
            version: "1".to_owned(),
            agreement_hash: [0; 32],
            sent: 1,
            withheld: 0,
            missing: 0,
            consent: None,
        }
    }

    async fn step(store: &Arc<dyn Store>, recorder: &Recorder, number: u32, to: State) {
        let record = store.message(message(number).id).await.expect("it is read").expect("it is there");
        let step = Step {
            record: &record,
            patient: None,
            to,
            at: NOON,
            attempts: 1,
            next_attempt_at: None,
            reason: "",
            note: "",
        };
        let change = match to {
            State::Delivered => recorder.disclosure(step, &terms(), "https://trust.example/FHIR/R4"),
            _ => recorder.transition(step),
        };
        store.transition(change).await.expect("it is written");
    }

    #[tokio::test]
    async fn an_untouched_site_is_clean() {
        let report = Site::new().await.verify().await;
        assert_eq!(report.faults, []);
        assert_eq!((report.events, report.size, report.messages, report.checkpoints), (9, 9, 2, 2));
        assert_eq!((report.covered, report.not_yet_covered(), report.contents), (7, 2, 0));
        let site = Site::new().await;
        let report = site.verify_file(&site.path()).await.expect("it is read");
        assert_eq!((report.faults, report.contents), (vec![], 6));
        assert!(report.root.is_some());
    }

    /// A site at which the first message was erased.
    async fn erased() -> Site {
        let site = Site::new().await;
        erase(&site).await;
        site
    }

    async fn erase(site: &Site) {
        let store = SqliteStore::open(&site.path(), &site.secret).expect("it opens");
        let (recorder, by) = (Recorder::new(party("DEMOP"), "weir.example/DEMOP"), "ivy".parse().expect("an id"));
        let one = message(1).id;
        let subject = terms().subject.expect("it has one");
        let event = recorder.subject_erased(&subject, &by, (1, 0), NOON);
        let change =
            Change::Erase(vec![Erasure { message: one, event: recorder.message_erased(one, &subject, &by, NOON) }]);
        let act = Act { id: Uuid::max(), at: NOON, change, event };
        assert_eq!(store.perform(act).await, Ok(Performed::Now));
    }

    /// A site at which the retention of everything has ended.
    async fn ended() -> Site {
        let site = Site::new().await;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&site.path(), &site.secret).expect("it opens"));
        let recorder = Recorder::new(party("DEMOP"), "weir.example/DEMOP");
        step(&store, &recorder, 2, State::InFlight).await;
        step(&store, &recorder, 2, State::Acknowledged).await;
        let later = NOON + time::Duration::days(99);
        let [ended] = &store.ended_envelopes(later, 0, 9).await.expect("they are read")[..] else { panic!("one") };
        let event = recorder.envelope_destroyed(ended, later);
        assert_eq!(store.destroy_envelope(ended.envelope.number, later, event).await, Ok(true));
        site
    }

    #[tokio::test]
    async fn what_was_erased_is_gone_and_the_log_still_verifies() {
        for (site, contents) in [(erased().await, 4), (ended().await, 2)] {
            let report = site.verify_file(&site.path()).await.expect("it is read");
            assert_eq!((report.faults, report.contents), (vec![], contents), "the Provenances stay");
        }
    }

    #[tokio::test]
    async fn what_is_gone_or_back_without_an_event_is_told() {
        let (one, two) = (message(1).id, message(2).id);
        let faults = async |site: Site, sql: &str| {
            site.tamper(sql);
            let report = site.verify_file(&site.path()).await.expect("it is read");
            report.faults.iter().map(Fault::to_string).collect::<Vec<_>>()
        };
        let gone = |what: &str, message| format!("the {what} of message {message} is gone");
        let removed = faults(Site::new().await, "UPDATE contents SET payload = NULL WHERE message = 1").await;
        assert_eq!(removed, [gone("payload", one)]);
        let removed = faults(erased().await, "UPDATE contents SET lineage = NULL WHERE message = 2").await;
        assert_eq!(removed, [gone("lineage", two)]);
        let removed = faults(ended().await, "UPDATE contents SET provenance = NULL WHERE message = 2").await;
        assert_eq!(removed, [gone("provenance", two)], "it does not end");

        let destroyed = faults(Site::new().await, "UPDATE envelopes SET key = NULL, destroyed_at = 5").await;
        let unsaid = "no event says that the key of envelope 1 was destroyed when its retention had ended";
        let mut expected = vec![unsaid.to_owned()];
        expected.extend([one, two].iter().flat_map(|id| ["payload", "lineage"].map(|what| gone(what, *id))));
        assert_eq!(destroyed, expected);
        // Whoever takes a decision away cannot put another day on it to have it pass for ended.
        let site = Site::new().await;
        let sql = "INSERT INTO reviews (message, reviewer, purpose, basis, due_at) VALUES (1, 'r', 'BTG', 'b', 5)";
        let put_in = faults(site, sql).await;
        assert!(put_in.contains(&gone("decision", one)), "{put_in:?}");
        for change in ["destroyed_at = destroyed_at + 1", "day = day - 1", "retention_days = 31"] {
            let sql = &format!("UPDATE envelopes SET {change}");
            assert_eq!(faults(ended().await, sql).await, expected[..1], "{sql}");
        }

        let site = ended().await;
        let back = "event 11 says that the key of envelope 1 was destroyed: it is back, or its row is gone";
        assert_eq!(faults(site, "UPDATE envelopes SET key = x'01', destroyed_at = NULL").await[0], back);
        let site = Site::new().await;
        let before = rusqlite::Connection::open(site.path())
            .and_then(|it| {
                it.query_row("SELECT hex(payload) FROM contents WHERE message = 1", [], |row| row.get::<_, String>(0))
            })
            .expect("it is read");
        erase(&site).await;
        let back = faults(site, &format!("UPDATE contents SET payload = x'{before}' WHERE message = 1")).await;
        assert_eq!(back, [format!("the payload of message {one} is there, although it was erased")]);
    }

    #[tokio::test]
    async fn every_flipped_byte_of_an_event_names_the_event() {
        let site = Site::new().await;
        for seq in [0_u32, 3, 7] {
            let length: u32 = rusqlite::Connection::open(site.path())
                .and_then(|it| it.query_row("SELECT length(bytes) FROM events WHERE seq = ?", [seq], |row| row.get(0)))
                .expect("it is read");
            for at in (0..length as usize).step_by(101) {
                flip(&site, "bytes", seq, at);
                let faults = site.verify().await.faults;
                assert!(
                    faults.contains(&Fault::EventChanged { seq: seq.into() }),
                    "byte {at} of event {seq}: {faults:?}"
                );
                flip(&site, "bytes", seq, at);
            }
            flip(&site, "leaf", seq, 31);
            assert!(site.verify().await.faults.contains(&Fault::EventChanged { seq: seq.into() }));
            flip(&site, "leaf", seq, 31);
        }
        assert!(site.verify().await.is_clean(), "flipped twice is untouched");
    }

    fn flip(site: &Site, column: &str, seq: u32, at: usize) {
        let database = rusqlite::Connection::open(site.path()).expect("it opens");
        let select = format!("SELECT {column} FROM events WHERE seq = ?");
        let mut bytes: Vec<u8> = database.query_row(&select, [seq], |row| row.get(0)).expect("it is read");
        bytes[at] ^= 1;
        let update = format!("UPDATE events SET {column} = ? WHERE seq = ?");
        database.execute(&update, rusqlite::params![bytes, seq]).expect("it is written");
    }

    #[tokio::test]
    async fn an_event_rewritten_with_its_leaf_breaks_the_signed_root() {
        let site = Site::new().await;
        let database = rusqlite::Connection::open(site.path()).expect("it opens");
        let mut other: Vec<u8> =
            database.query_row("SELECT bytes FROM events WHERE seq = 5", [], |row| row.get(0)).expect("it is read");
        let at = other.windows(4).position(|bytes| bytes == b"weir").expect("it names the gateway");
        other[at] = b'v';
        let update = "UPDATE events SET bytes = ?, leaf = ? WHERE seq = 5";
        database.execute(update, rusqlite::params![other, merkle::leaf(&other)]).expect("it is written");
        let report = site.verify().await;
        assert_eq!(report.faults, [Fault::RootDiffers { since: 5, size: 7 }]);
        assert_eq!(report.faults[0].to_string(), "an event from 5 to 6 is not the one that was signed");
    }

    #[tokio::test]
    async fn a_deleted_row_is_missed() {
        let (one, two) = (message(1).id, message(2).id);
        for (sql, expected) in [
            ("DELETE FROM events WHERE seq = 0", vec!["events 0 to 0 are missing".to_owned()]),
            (
                "DELETE FROM events WHERE seq = 4",
                vec![
                    "events 4 to 4 are missing".to_owned(),
                    format!("event 5 does not follow from the state of message {one} before it"),
                ],
            ),
            (
                "DELETE FROM events WHERE seq >= 6",
                vec![
                    "events 6 to 6 are missing".to_owned(),
                    "no event says that demo-guardian approved agreement demo-trust-crisis as caldicott-guardian"
                        .to_owned(),
                    format!("the row of message {two} differs from event 2 in time of the last step"),
                    format!("the row of message {two} differs from event 2 in state"),
                    format!("the row of message {two} differs from event 2 in attempts"),
                ],
            ),
            (
                "DELETE FROM events WHERE seq = 7",
                vec![
                    "events 7 to 7 are missing".to_owned(),
                    format!("the row of message {two} differs from event 6 in state"),
                ],
            ),
            (
                "DELETE FROM messages WHERE position = 2",
                [2, 6, 7].map(|seq| format!("message {two} is gone; event {seq} is about it")).to_vec(),
            ),
        ] {
            assert_eq!(Site::faults_after(sql).await, expected, "{sql}");
        }
    }

    #[tokio::test]
    async fn an_edited_message_is_told_by_its_events() {
        let two = message(2).id;
        for (edit, what, seq) in [
            ("state = 'acknowledged'", "state", 7),
            ("attempts = 0", "attempts", 7),
            ("sender = 'OTHER'", "sender", 2),
            ("recipient = 'OTHER'", "recipient", 2),
            ("interface = 'other'", "interface", 2),
            ("agreement = 'other'", "agreement", 2),
        ] {
            let faults = Site::faults_after(&format!("UPDATE messages SET {edit} WHERE position = 2")).await;
            assert_eq!(faults, [format!("the row of message {two} differs from event {seq} in {what}")], "{edit}");
        }
    }

    #[tokio::test]
    async fn a_message_or_an_event_put_in_by_hand_stands_out() {
        let id = message(3).id;
        let insert = format!(
            "INSERT INTO messages SELECT 3, x'{}', sender, interface, recipient, agreement, digest, state, accepted_at,
             updated_at, attempts, next_attempt_at, note, 0, NULL, NULL, NULL, NULL, NULL FROM messages WHERE position = 2",
            id.uuid().simple()
        );
        assert_eq!(Site::faults_after(&insert).await, [format!("no event says that message {id} was accepted")]);
        let faults = Site::faults_after("UPDATE events SET message = NULL WHERE seq = 7").await;
        assert_eq!(faults[0], "event 7 is filed under another message than the one it is about");
        let insert = "INSERT INTO events SELECT 9, NULL, leaf, bytes FROM events WHERE seq = 7";
        let faults = Site::faults_after(insert).await;
        assert_eq!(faults[0], "event 9 is filed under another message than the one it is about");
    }

    #[tokio::test]
    async fn a_changed_checkpoint_does_not_hold() {
        for (edit, expected) in [
            ("frontier = zeroblob(64)", "the checkpoint of 5 events was changed beside its signed note"),
            ("size = 6", "the checkpoint of 6 events was changed beside its signed note"),
            (
                "note = CAST(replace(CAST(note AS TEXT), char(10) || '5' || char(10), char(10) || '6' || char(10)) AS BLOB)",
                "the checkpoint of 5 events does not hold: the signature does not belong to the checkpoint's text",
            ),
        ] {
            let faults = Site::faults_after(&format!("UPDATE checkpoints SET {edit} WHERE size = 5")).await;
            assert_eq!(faults, [expected], "{edit}");
        }
        let site = Site::new().await;
        let other = SigningKey::generate("weir.example/DEMOP").expect("the name is good");
        let store = SqliteStore::open_to_read(&site.path(), None).expect("it opens");
        let report = verify(&store, other.verifier(), None).await.expect("it is read");
        assert_eq!(report.faults.len(), 2, "neither checkpoint is signed by another key");
        assert_eq!(report.covered, 0);
    }

    #[tokio::test]
    async fn a_part_of_the_tree_that_was_changed_or_removed_is_told() {
        let site = Site::new().await;
        let recorder = Recorder::new(party("DEMOP"), "weir.example/DEMOP");
        let store = SqliteStore::open(&site.path(), &site.secret).expect("it opens");
        for _ in 0..300 {
            store.append(recorder.stopped(NOON)).await.expect("it is written");
        }
        let mut checkpointer = Checkpointer::resume(Arc::new(store), site.signing.parse().expect("it is a key"))
            .await
            .expect("it goes on");
        checkpointer.checkpoint().await.expect("it is signed");
        drop(checkpointer);
        assert_eq!(site.verify().await.faults, []);
        for change in ["UPDATE subtrees SET hash = zeroblob(32)", "DELETE FROM subtrees"] {
            site.tamper(change);
            assert_eq!(site.verify().await.faults, [Fault::SubtreeChanged { level: 1, position: 0 }], "{change}");
        }
        for (level, position) in [(1, 1), (1, i64::MAX), (8, 0)] {
            let site = Site::new().await;
            site.tamper(&format!("INSERT INTO subtrees VALUES ({level}, {position}, zeroblob(32))"));
            let position = u64::try_from(position).expect("it is positive");
            assert_eq!(
                site.verify().await.faults,
                [Fault::SubtreeChanged { level, position }],
                "its leaves are not there"
            );
        }
    }

    /// An old copy agrees with itself; a head that somebody kept does not agree with it.
    #[tokio::test]
    async fn an_old_copy_of_the_database_is_told_by_heads_that_others_kept() {
        let site = Site::new().await;
        site.tamper("PRAGMA wal_checkpoint(TRUNCATE)");
        let heads = async |store: &Arc<dyn Store>| -> Vec<Checkpoint> {
            let kept = store.checkpoints(0, 9).await.expect("they are read");
            kept.iter().map(|each| site.key.verify(&each.note).expect("it is signed")).collect()
        };
        let open = || -> Arc<dyn Store> { Arc::new(SqliteStore::open(&site.path(), &site.secret).expect("it opens")) };
        let old = heads(&open()).await;
        let copy = std::fs::read(site.path()).expect("it is read");
        let [.., newest] = &old[..] else { panic!("a head") };
        let there = open().event_count().await.expect("they are counted");
        let go_on = async |events: u64| {
            let (store, key) = (open(), site.signing.parse().expect("it is a key"));
            let mut checkpointer = Checkpointer::resume(store.clone(), key).await.expect("it goes on");
            let recorder = Recorder::new("DEMOP".parse().expect("an ODS code"), "weir.example/DEMOP");
            for _ in 0..events {
                store.append(recorder.stopped(NOON)).await.expect("it is written");
            }
            checkpointer.checkpoint().await.expect("it is signed").expect("there is a new one")
        };
        let later = go_on(3).await;
        let verify = async |heads: &[Checkpoint]| -> Vec<String> {
            let store = open();
            let heads = heads.iter().map(|head| KeptHead { checkpoint: head.clone(), cosigned: None }).collect();
            let verified = verify_with(&*store, &site.key, None, Elsewhere { witnesses: vec![], heads });
            verified.await.expect("it is read").faults.iter().map(ToString::to_string).collect()
        };
        let all: Vec<Checkpoint> = old.iter().cloned().chain([later.clone()]).collect();
        assert_eq!(verify(&all).await, [""; 0], "nothing was put back");

        std::fs::write(site.path(), &copy).expect("the old copy is put back");
        assert_eq!(verify(&[]).await, [""; 0], "it agrees with itself");
        assert_eq!(verify(&old).await, [""; 0], "and with heads of its time");
        let (kept, agreed) = (later.size, newest.size);
        let gone = format!(
            "a head over {kept} events was kept elsewhere, and there are {there}: an old copy was put back, and what came after is gone"
        );
        assert_eq!(verify(&all).await, [gone]);
        go_on(7).await;
        assert_eq!(verify(&[]).await, [""; 0], "it agrees with itself");
        let forked = format!(
            "the log differs from its head over {kept} events that was kept elsewhere: changed after event {agreed}, or an old copy was put back and went on"
        );
        assert_eq!(verify(&all).await, [forked]);
    }

    #[tokio::test]
    async fn a_cosignature_that_does_not_hold_is_told_and_so_is_one_that_is_gone() {
        let (site, other) = Site::cosigned().await;
        let (ours, theirs) = (site.witness.public().kid(), other.public().kid());
        let path = site.path();
        let faults = async |keys: &[&CosigningKey]| -> Vec<String> {
            let report = site.verify_witnessed(&path, keys).await.expect("it is read");
            assert!(report.cosignatures >= 2, "{report}");
            report.faults.iter().map(ToString::to_string).collect()
        };
        let both = [&site.witness, &other];
        assert_eq!(faults(&both).await, [""; 0]);
        let fault = |of: &str, size: u64, why: &str| {
            format!("the cosignature of {of} of the head over {size} events does not hold: {why}")
        };
        let unknown =
            "weir.toml lists no witness with this key; list a witness that is not asked any more without its url";
        assert_eq!(faults(&[&site.witness]).await, [5, 7].map(|size| fault(&theirs, size, unknown)));

        let whole = std::fs::read(&path).expect("it is read");
        let signature = "the signature does not belong to the checkpoint's text";
        let unsigned = "the checkpoint has no signature by this key";
        let swapped = "UPDATE cosignatures SET line = (SELECT line FROM cosignatures AS it WHERE it.size = 7 AND \
                       it.witness = cosignatures.witness) WHERE size = 5";
        let gone = "4 cosignatures were kept, and there are 2".to_owned();
        for (change, expected) in [
            (swapped, vec![fault(&ours, 5, signature), fault(&theirs, 5, signature)]),
            (
                "UPDATE cosignatures SET size = 6 WHERE size = 5",
                [&ours, &theirs].map(|of| fault(of, 6, "the head is gone")).into(),
            ),
            (
                "UPDATE cosignatures SET line = (SELECT max(line) FROM cosignatures WHERE size = 7) WHERE size = 7",
                vec![fault(&ours, 7, unsigned)],
            ),
            ("DELETE FROM cosignatures WHERE size = 7", vec![gone]),
            ("UPDATE cosigned SET cosignatures = 5", vec!["5 cosignatures were kept, and there are 4".to_owned()]),
            (
                "DELETE FROM cosigned",
                vec![
                    "the database cannot be read from the cosignatures on: the number of cosignatures is gone"
                        .to_owned(),
                ],
            ),
        ] {
            site.tamper(change);
            let mut found = site.verify_witnessed(&path, &both).await.expect("it is read").faults;
            found.sort_by_key(|fault| !fault.to_string().contains(&ours));
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{change}");
            std::fs::write(&path, &whole).expect("it is put back");
        }
    }

    /// Every byte that says anything, of the table of cosignatures and of how many there are.
    #[tokio::test]
    async fn no_flipped_byte_of_a_cosignature_is_missed() {
        let (site, other) = Site::cosigned().await;
        site.tamper("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;");
        let (whole, sound) = (std::fs::read(site.path()).expect("it is read"), dump(&site.path()));
        let database = rusqlite::Connection::open(site.path()).expect("it opens");
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name IN ('cosignatures', 'cosigned') AND type = 'table'";
        let mut statement = database.prepare(sql).expect("it is read");
        let pages: Vec<usize> = statement
            .query_map([], |row| row.get::<_, u32>(0))
            .expect("they are read")
            .map(|page| page.expect("a page") as usize)
            .collect();
        drop(statement);
        drop(database);
        let path = site.folder.path().join("flipped.db");
        let (mut mattered, mut silent) = (0, Vec::new());
        // All bits of the pages' headers, one bit of each other byte.
        let bytes = pages.iter().flat_map(|page| (page - 1) * 4096..page * 4096);
        let bits = bytes.flat_map(|at| (0..8).map(move |bit| (at, bit)));
        let tells = |&(at, bit): &(usize, usize)| at % 4096 < 16 || (whole[at] != 0 && bit == at % 8);
        for (at, bit) in bits.filter(tells) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            std::fs::write(&path, &flipped).expect("it is written");
            if dump(&path) == sound {
                continue;
            }
            mattered += 1;
            let report = site.verify_witnessed(&path, &[&site.witness, &other]).await;
            if report.is_ok_and(|report| report.is_clean()) {
                silent.push((at, bit, whole[at]));
            }
        }
        assert!(mattered > 400, "{mattered} of them changed what matters");
        assert_eq!(silent, [], "of {mattered} that changed what matters");
    }

    /// A witness's checkpoint says by when the log held what is gone.
    #[tokio::test]
    async fn a_cosigned_head_says_after_when_an_old_copy_was_put_back() {
        let site = Site::new().await;
        let store = SqliteStore::open_to_read(&site.path(), None).expect("it opens");
        let signing: SigningKey = site.signing.parse().expect("it is a key");
        let witnesses = vec![site.witness.public().clone()];
        let cosigned = |size| {
            let note = signing.sign(size, &[7; 32]);
            let line = site.witness.cosign(Note::parse(note.as_bytes()).expect("it is a note").text(), NOON);
            KeptHead::read((note + &line).as_bytes(), &site.key, &witnesses).expect("it is signed")
        };
        let heads = vec![cosigned(20), cosigned(7)];
        let report = verify_with(&store, &site.key, None, Elsewhere { witnesses: witnesses.clone(), heads });
        let faults: Vec<String> = report.await.expect("it is read").faults.iter().map(ToString::to_string).collect();
        let at = instant_text(NOON);
        let by = format!("(cosigned by icb.example/witness at {at})");
        assert_eq!(
            faults,
            [
                format!(
                    "the log differs from its head over 7 events that was kept elsewhere {by}: changed after event 0, or an old copy was put back after {at} and went on"
                ),
                format!(
                    "a head over 20 events was kept elsewhere {by}, and there are 9: an old copy was put back after {at}, and what came after is gone"
                ),
            ]
        );
    }

    /// The gap is told, and the heads before it still hold.
    #[tokio::test]
    async fn a_gap_is_not_taken_for_an_old_copy() {
        let site = Site::new().await;
        site.tamper("DELETE FROM events WHERE seq BETWEEN 4 AND 6");
        let store = SqliteStore::open(&site.path(), &site.secret).expect("it opens");
        let kept = store.checkpoints(0, 9).await.expect("they are read");
        let heads = kept.iter().map(|each| KeptHead::read(&each.note, &site.key, &[]).expect("it is signed"));
        let heads: Vec<_> = heads.collect();
        assert_eq!(heads.iter().map(|head| head.checkpoint.size).collect::<Vec<_>>(), [5, 7]);
        let report = verify_with(&store, &site.key, None, Elsewhere { witnesses: vec![], heads });
        let report = report.await.expect("it is read");
        let is_forked = |fault: &Fault| matches!(fault, Fault::Forked { .. } | Fault::RolledBack { .. });
        assert!(!report.is_clean() && !report.faults.iter().any(is_forked), "{:?}", report.faults);
    }

    #[tokio::test]
    async fn an_index_that_would_hide_events_is_told() {
        let patients = "the index of events by patient is not what the events say: a search may miss some";
        for change in [
            "DELETE FROM event_subjects WHERE seq = (SELECT max(seq) FROM event_subjects)",
            "UPDATE event_subjects SET subject = subject + 1 WHERE seq = (SELECT max(seq) FROM event_subjects)",
            "INSERT INTO event_subjects VALUES (1, 0)",
        ] {
            assert_eq!(Site::faults_after(change).await, [patients], "{change}");
        }
        let hours = "the index of events by hour is not what the events say: a search may miss some";
        for change in [
            "DELETE FROM event_hours",
            "UPDATE event_hours SET first = first + 1",
            "UPDATE event_hours SET last = last - 1",
            "INSERT INTO event_hours VALUES (1, 0, 0)",
        ] {
            assert_eq!(Site::faults_after(change).await, [hours], "{change}");
        }
    }

    #[tokio::test]
    async fn an_approval_that_was_put_in_or_taken_away_is_told() {
        let insert = "INSERT INTO approvals SELECT agreement, '2', file, role, principal, approved_at FROM approvals";
        let unsaid = "no event says that demo-guardian approved agreement demo-trust-crisis as caldicott-guardian";
        assert_eq!(Site::faults_after(insert).await, [unsaid]);
        let gone = "the approval of agreement demo-trust-crisis as caldicott-guardian, event 8, is gone";
        assert_eq!(Site::faults_after("DELETE FROM approvals").await, [gone]);
        assert_eq!(Site::faults_after("UPDATE approvals SET file = zeroblob(32)").await, [unsaid, gone]);
    }

    /// Opens the handover of the first message, and says that it is overdue.
    async fn hand_over(site: &Site) {
        let store = SqliteStore::open(&site.path(), &site.secret).expect("it opens");
        let (recorder, id) = (Recorder::new(party("DEMOP"), "weir.example/DEMOP"), message(1).id);
        let at = NOON + time::Duration::minutes(2);
        let opened = Handover {
            state: HandoverState::Waiting,
            since: NOON,
            opened_at: NOON,
            near_at: NOON,
            due_at: at,
            contact_within: std::time::Duration::from_secs(60),
            contact_due_at: None,
            contacted_at: None,
            alert_at: Some(at),
            tell: None,
        };
        let overdue = Handover { state: HandoverState::Overdue, since: at, alert_at: None, ..opened.clone() };
        let of = (id, None);
        let event = recorder.handover_changed(of, (None, &opened), (By::Gateway, None), NOON);
        let step = |before, after: &Handover, event, at| HandoverStep {
            message: id,
            at,
            before,
            after: after.clone(),
            is_step: true,
            answer: None,
            notices: vec![],
            event,
        };
        assert_eq!(store.step_handover(step(None, &opened, event, NOON)).await, Ok(true));
        let event = recorder.handover_alarm(of, (&opened, &overdue), "overdue", at);
        assert_eq!(store.step_handover(step(Some(opened.clone()), &overdue, event, at)).await, Ok(true));
    }

    #[tokio::test]
    async fn a_handover_that_was_changed_is_told() {
        let first = message(1).id;
        let differs = |what: &str| format!("the row of message {first} differs from event 10 in {what}");
        for (change, says) in [
            ("SELECT 1", None),
            ("UPDATE handovers SET state = 'accepted'", Some(differs("handover"))),
            ("UPDATE handovers SET due_at = due_at + 1", Some(differs("time to accept"))),
            ("UPDATE handovers SET since = since + 1", Some(differs("time of the handover"))),
            ("UPDATE handovers SET opened_at = opened_at + 1", Some(differs("time of the handover"))),
            ("UPDATE handovers SET contact_due_at = 1", Some(differs("time of first contact"))),
            ("UPDATE handovers SET contacted_at = 1", Some(differs("first contact"))),
            ("UPDATE handover_steps SET at = at + 1", Some(differs("steps of the handover"))),
            ("UPDATE handover_steps SET answer = zeroblob(16)", Some(differs("steps of the handover"))),
            ("DELETE FROM handover_steps WHERE event = 9", Some(differs("steps of the handover"))),
            ("DELETE FROM handovers", Some(format!("the handover of message {first} is gone"))),
        ] {
            let site = Site::new().await;
            hand_over(&site).await;
            site.tamper(change);
            let faults: Vec<String> = site.verify().await.faults.iter().map(Fault::to_string).collect();
            assert_eq!(faults, Vec::from_iter(says), "{change}");
        }
        let site = Site::new().await;
        site.tamper(
            "INSERT INTO handovers VALUES (1, 'crisis-escalation', 'accepted', 0, 0, 0, 0, 0, 0, NULL, NULL, NULL)",
        );
        let faults = site.verify().await.faults;
        assert!(faults[0].to_string().ends_with("in handover"), "one that no event tells of: {faults:?}");
    }

    /// What stands in the database that something is evidence of or decides by. Left out: when and how a message is tried next,
    /// and words for the operator (`next_attempt_at`, `alert_at`, `note`, `route`, `order_key`); when a handover is looked at; when an approval was first seen,
    /// and when a cosignature was received, which says itself when it was made; indexes, counts and names that are made of the rest.
    const MATTERS: &[&str] = &[
        "SELECT position, id, sender, interface, recipient, agreement, digest, state, accepted_at, updated_at, attempts, \
         priority, deadline_at FROM messages NOT INDEXED ORDER BY position",
        "SELECT message, payload, provenance, lineage, envelope FROM contents ORDER BY message",
        "SELECT * FROM envelopes ORDER BY number",
        "SELECT seq, message, leaf, bytes FROM events NOT INDEXED ORDER BY seq",
        "SELECT size, note, frontier FROM checkpoints ORDER BY size",
        "SELECT size, witness, line FROM cosignatures ORDER BY size, witness",
        "SELECT cosignatures FROM cosigned",
        "SELECT level, position, hash FROM subtrees ORDER BY level, position",
        "SELECT subject, seq FROM event_subjects ORDER BY subject, seq",
        "SELECT hour, first, last FROM event_hours ORDER BY hour",
        "SELECT agreement, version, file, role, principal FROM approvals ORDER BY agreement, version, file, role, principal",
        "SELECT message, state, since, opened_at, due_at, contact_due_at, contacted_at FROM handovers NOT INDEXED ORDER BY message",
        "SELECT message, event, state, at, answer FROM handover_steps ORDER BY message, event",
    ];

    /// Everything of [`MATTERS`]; `None` when it cannot be read.
    fn dump(path: &Path) -> Option<Vec<Vec<rusqlite::types::Value>>> {
        let database = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        let mut rows = Vec::new();
        for sql in MATTERS {
            let mut statement = database.prepare(sql).ok()?;
            let columns = statement.column_count();
            let read = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect()).ok()?;
            rows.extend(read.collect::<Result<Vec<_>, _>>().ok()?);
        }
        Some(rows)
    }

    /// Random bytes of the file, one after the other; `WEIR_FLIPS` says how many, `WEIR_FLIPS_SEED` from where.
    #[tokio::test]
    async fn no_flipped_byte_that_matters_is_missed() {
        let number =
            |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
        let ((site, other), mut state) = (Site::cosigned().await, number("WEIR_FLIPS_SEED", 20_260_101));
        hand_over(&site).await;
        site.tamper("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;");
        let (whole, sound) = (std::fs::read(site.path()).expect("it is read"), dump(&site.path()));
        assert!(sound.as_ref().is_some_and(|rows| rows.len() > 2 + 2 + 9 + 2 + 4), "{sound:?}");
        let path = site.folder.path().join("flipped.db");
        let (mut mattered, mut silent) = (0, Vec::new());
        for _ in 0..number("WEIR_FLIPS", 2_500) {
            // xorshift64*
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let drawn = state.wrapping_mul(0x2545_F491_4F6C_DD1D);
            let (at, bit) = ((drawn >> 8) as usize % whole.len(), 1 << (drawn & 7));
            let mut flipped = whole.clone();
            flipped[at] ^= bit;
            std::fs::write(&path, &flipped).expect("it is written");
            if dump(&path) == sound {
                continue;
            }
            mattered += 1;
            let report = site.verify_witnessed(&path, &[&site.witness, &other]).await;
            if report.is_ok_and(|report| report.is_clean()) {
                let now = dump(&path).unwrap_or_default();
                let row = sound.iter().flatten().zip(&now).find(|(before, after)| before != after);
                silent.push((at, bit, format!("{row:?}")));
            }
        }
        assert!(mattered > 100, "{mattered} of them changed what matters");
        assert_eq!(silent, [], "of {mattered} that changed what matters");
    }

    /// Found by the test above: rows that do not rise were read again and again.
    #[tokio::test]
    async fn rows_out_of_order_end_the_reading() {
        let site = Site::new().await;
        site.tamper("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;");
        let database = rusqlite::Connection::open(site.path()).expect("it opens");
        let page: u32 = database
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'messages'", [], |row| row.get(0))
            .expect("it is read");
        drop(database);
        let whole = std::fs::read(site.path()).expect("it is read");
        let path = site.folder.path().join("flipped.db");
        let mut told = 0;
        // The first message's number is one of the bytes with the value 1.
        let page = page as usize;
        for at in ((page - 1) * 4096..page * 4096).filter(|&at| whole[at] == 1) {
            let mut flipped = whole.clone();
            flipped[at] = 33;
            std::fs::write(&path, &flipped).expect("it is written");
            let report = site.verify_file(&path).await.expect("damage is a fault, not an error");
            let is_told = |fault: &Fault| fault.to_string().contains("row 2 stands behind row 33");
            told += usize::from(report.faults.iter().any(is_told));
        }
        assert_eq!(told, 1);
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_below_its_rows_is_a_fault_and_not_a_panic() {
        let site = Site::new().await;
        let whole = std::fs::read(site.path()).expect("it is read");
        let mut unreadable = 0;
        for page in 1..whole.len() / 4096 {
            let mut damaged = whole.clone();
            damaged[page * 4096..page * 4096 + 12].fill(0xff);
            std::fs::write(site.path(), &damaged).expect("it is written");
            let store = SqliteStore::open_to_read(&site.path(), None);
            let Ok(store) = store else { continue };
            let report = verify(&store, &site.key, None).await.expect("damage is a fault, not an error");
            unreadable += usize::from(report.faults.iter().any(|fault| matches!(fault, Fault::Unreadable { .. })));
        }
        assert!(unreadable >= 3, "events, messages and checkpoints among others: {unreadable}");
    }
}
