//! The embedded store: one SQLite file in WAL mode with `synchronous=FULL`.
//!
//! One writer with group commit (`writer.rs`), a few read-only connections beside it (`pool.rs`). A lock file beside
//! the database keeps a second gateway off the site; readers (`audit verify`, `explain`) need no lock. SQLite allows
//! 1 GB a value and 281 TB a file; Weir's limits on records lie far below.

mod answers;
mod carried;
mod envelopes;
mod cosignatures;
mod filed;
mod handovers;
mod inbound;
mod known;
mod pool;
mod reviews;
mod rows;
mod schema;
mod writer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, ffi};

use self::envelopes::{OpenEnvelopes, opened};
use self::known::Known;
use self::pool::Pool;
use self::rows::Sealed;
use self::writer::Writer;
use super::room::Disk;
use super::seal::{self, Key};
use super::{
    Accepted, Act, AnswerRecord, Approval, Change, Collection, Content, CosignatureKey, Count, Damage, Ended, Envelope,
    Error, Event, FiledSubject, Filter, HandoverCount, HandoverEntry, HandoverRecord, HandoverState, HandoverStep,
    History, Hour, InboundCount, InboundLook, InboundRecord, Kept, Listed, Load, MessageRecord, NewAnswer, NewInbound,
    NewMessage, NoticeRecord, NoticeStep, Opened, Part, Performed, Place, Raised, Received, Reply, ReviewCounts,
    ReviewRecord, Room, Secret, Store, StoredCheckpoint, StoredCosignature, StoredEvent, Subtree, Transition, Window,
    filing_number,
};
use crate::fhir::Instant;
use crate::identity::{AgreementId, MessageId, PartyId};

/// How long a statement waits for another process (a backup, a shell) before it is [`Error::Unavailable`].
const BUSY: Duration = Duration::from_secs(5);

/// Bytes that a probe writes: about what a message takes.
const PROBE: i64 = 64 << 10;

/// Statements that a connection keeps prepared: more than there are, since to parse one costs more than to run it.
const STATEMENTS: usize = 256;

/// KiB of pages that the writer keeps in memory: ids and hashes come in no order, so that each message touches many pages.
const CACHE: i64 = 8 << 10;

/// Pages in the journal from which on it is moved into the file, 8 MB: of a page that many messages changed only the last copy is.
const JOURNAL: i64 = 2000;

/// A store in one file.
#[derive(Debug)]
pub struct SqliteStore {
    /// Dropped before the writer: the last connection to close folds the WAL into the file, and only a writer can.
    pool: Arc<Pool>,
    /// `None` when open for reading only.
    writer: Option<Writer>,
    key: Option<Arc<Key>>,
    open_envelopes: Arc<OpenEnvelopes>,
    /// `None` when open for reading only: another process may accept messages.
    known: Option<Known>,
    /// Whether there may be bytes in the files of what was destroyed or erased.
    traces: AtomicBool,
    path: PathBuf,
    room: Room,
    disk: Disk,
    /// Whether there was no room the last time.
    full: Arc<AtomicBool>,
    damage: Arc<Damage>,
}

impl SqliteStore {
    /// Opens the database at `path` for reading and writing, and creates it if it is not there. Blocks briefly.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it, [`Error::WrongKey`], [`Error::NewerSchema`], [`Error::Foreign`],
    /// or what the disk says.
    pub fn open(path: &Path, secret: &Secret) -> Result<SqliteStore, Error> {
        let lock = lock(&path.with_extension("lock"))?;
        let key = Key::new(secret);
        let mut connection = Connection::open(path)?;
        harden(&connection)?;
        schema::check(&connection).map_err(foreign)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE)?;
        connection.pragma_update_and_check(None, "wal_autocheckpoint", JOURNAL, |_| Ok(()))?;
        connection.pragma_update(None, "foreign_keys", false)?;
        schema::migrate(&mut connection)?;
        schema::compare(&connection)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What is erased leaves no bytes behind in free pages.
        connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
        let sql = "INSERT OR IGNORE INTO site (name, value) VALUES ('seal key', ?)";
        connection.execute(sql, [key.id()])?;
        check_key(&connection, &key)?;
        rows::recount_waiting(&connection)?;
        filed::file_earlier(&connection)?;
        // What was destroyed just before the last run ended may still be in the journal.
        let is_busy = truncate_journal(&connection)?;
        let pool = Pool::open(path)?;
        let known = Some(Known::read(&connection)?);
        let writer = Some(Writer::start(connection, lock)?);
        Ok(SqliteStore { writer, known, traces: AtomicBool::new(is_busy), ..SqliteStore::of(path, pool, Some(key)) })
    }

    fn of(path: &Path, pool: Pool, key: Option<Key>) -> SqliteStore {
        let (room, disk, full) = (Room::default(), Disk::of(path), Arc::default());
        let (key, open_envelopes, path) = (key.map(Arc::new), Arc::default(), path.to_owned());
        SqliteStore {
            pool: Arc::new(pool),
            writer: None,
            known: None,
            key,
            open_envelopes,
            traces: AtomicBool::new(false),
            path,
            room,
            disk,
            full,
            damage: Arc::default(),
        }
    }

    /// With bounds on what may wait.
    #[must_use]
    pub fn with_room(self, room: Room) -> SqliteStore {
        SqliteStore { room, ..self }
    }

    /// Opens the database at `path` for reading only, also beside a running gateway. Without the secret everything
    /// but [`Store::content`] can be read.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], and [`Error::Missing`] when there is none.
    pub fn open_to_read(path: &Path, secret: Option<&Secret>) -> Result<SqliteStore, Error> {
        if !path.exists() {
            return Err(Error::Missing);
        }
        let key = secret.map(Key::new);
        let pool = Pool::open(path).map_err(foreign)?;
        pool.run_here(|connection| {
            if schema::check(connection).map_err(foreign)? {
                return Err(Error::Missing);
            }
            schema::compare(connection)?;
            key.as_ref().map_or(Ok(()), |key| check_key(connection, key))
        })?;
        Ok(SqliteStore::of(path, pool, key))
    }

    fn key(&self) -> Result<Arc<Key>, Error> {
        self.key.clone().ok_or(Error::NoKey)
    }

    /// The key of what is stored at `at` under an agreement, which keeps it for so many days.
    async fn envelope(&self, agreement: &AgreementId, at: Instant, retention_days: u32) -> Result<Arc<Key>, Error> {
        let day = Envelope::day_of(at);
        if let Some(key) = self.open_envelopes.find(agreement, day, retention_days) {
            return Ok(key);
        }
        let (site, agreement) = (self.key()?, agreement.clone());
        let open = move |connection: &Connection| envelopes::open(connection, &site, (&agreement, day, retention_days));
        let (envelope, key) = self.write(open).await?;
        let key = Arc::new(key);
        self.open_envelopes.keep(envelope, key.clone());
        Ok(key)
    }

    /// The key of what is stored at `at` about a message that is known: with the others of its agreement and that day.
    async fn envelope_about(&self, message: MessageId, at: Instant) -> Result<Arc<Key>, Error> {
        match self.read(move |connection| envelopes::of_message(connection, message)).await? {
            Some((agreement, retention_days)) => self.envelope(&agreement, at, retention_days).await,
            None => self.key(),
        }
    }

    fn write<T: Send + 'static>(
        &self,
        change: impl Fn(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'_, T> {
        Box::pin(async move { self.writer.as_ref().ok_or(Error::ReadOnly)?.run(change).await })
    }

    fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'_, T> {
        Box::pin(Arc::clone(&self.pool).run(query))
    }

    /// Reads many rows, and leaves out the damaged ones.
    fn read_sound<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection, &Damage) -> Result<T, Error> + Send + 'static,
    ) -> Reply<'_, T> {
        let damage = self.damage.clone();
        self.read(move |connection| query(connection, &damage))
    }
}

impl Store for SqliteStore {
    fn accept(&self, mut message: NewMessage, events: Vec<Event>) -> Reply<'_, Accepted> {
        Box::pin(async move {
            let beginning = message.beginning.iter().map(|step| &step.event);
            if events.is_empty() || events.iter().chain(beginning).any(|event| event.message != Some(message.id)) {
                return Err(Error::WithoutEvent(message.id));
            }
            self.known.iter().for_each(|known| known.insert(message.id));
            let site = self.key()?;
            let key = self.envelope(&message.agreement, message.accepted_at, message.retention_days).await?;
            let seal = |content, plain: &mut Vec<u8>| key.seal(message.id, content, std::mem::take(plain));
            let payload = seal(Content::Payload, &mut message.payload);
            let sealed = Sealed {
                envelope: seal::envelope_of(&payload).ok().flatten(),
                payload,
                // It is part of the account of what was disclosed, which stays.
                provenance: site.seal(message.id, Content::Provenance, std::mem::take(&mut message.provenance)),
                lineage: seal(Content::Lineage, &mut message.lineage),
                decision: match &mut message.review {
                    Some(review) => seal(Content::Decision, &mut review.decision),
                    None => Vec::new(),
                },
            };
            let (room, disk, known) = (self.room.clone(), self.disk.clone(), self.full.clone());
            let full = move |load: Load| {
                let full = Load { free_bytes: disk.free_bytes(), ..load }.within(&room).full;
                known.store(full.is_some(), Ordering::Relaxed);
                full
            };
            self.write(move |connection| rows::accept(connection, &message, &sealed, &events, &full)).await
        })
    }

    fn room(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            if !self.full.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.load().await?.full.map_or(Ok(()), |full| Err(Error::Full(full)))
        })
    }

    fn damage(&self) -> &Damage {
        &self.damage
    }

    fn load(&self) -> Reply<'_, Load> {
        Box::pin(async move {
            let load = self.read(rows::load).await?;
            let failing = self.writer.as_ref().and_then(Writer::failing);
            Ok(Load { free_bytes: self.disk.free_bytes(), failing, ..load }.within(&self.room))
        })
    }

    fn probe(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            let sql = "INSERT OR REPLACE INTO site (name, value) VALUES ('probe', zeroblob(?))";
            self.write(|connection| Ok(connection.execute(sql, [PROBE]).map(drop)?)).await?;
            let sql = "DELETE FROM site WHERE name = 'probe'";
            self.write(|connection| Ok(connection.execute(sql, []).map(drop)?)).await?;
            if let Some(writer) = &self.writer {
                writer.recovered();
            }
            Ok(())
        })
    }

    fn transition(&self, transition: Transition) -> Reply<'_, ()> {
        let of_another = |step: &HandoverStep| !is_of(step, transition.message);
        if transition.event.message != Some(transition.message)
            || transition.handover.as_deref().is_some_and(of_another)
        {
            return Box::pin(std::future::ready(Err(Error::WithoutEvent(transition.message))));
        }
        self.write(move |connection| rows::transition(connection, &transition))
    }

    fn append(&self, event: Event) -> Reply<'_, u64> {
        self.write(move |connection| rows::append(connection, &event))
    }

    fn perform(&self, mut act: Act) -> Reply<'_, Performed> {
        Box::pin(async move {
            if let Change::Message(step) = &act.change
                && (act.event.message, &act.event) != (Some(step.message), &step.event)
            {
                return Err(Error::WithoutEvent(step.message));
            }
            if let Change::Review(step) = &mut act.change {
                if act.event.message != Some(step.message) {
                    return Err(Error::WithoutEvent(step.message));
                }
                let key = self.envelope_about(step.message, step.completed.at).await?;
                step.words = key.seal(step.message, Content::Words, std::mem::take(&mut step.words));
            }
            let erases = matches!(act.change, Change::Erase(_));
            let performed = self.write(move |connection| rows::perform(connection, &act)).await;
            if erases {
                self.traces.store(true, Ordering::Relaxed);
            }
            performed
        })
    }

    fn approvals(&self) -> Reply<'_, Vec<Approval>> {
        self.read(rows::approvals)
    }

    fn due(&self, recipient: &PartyId, route: u16, window: Window, limit: usize) -> Reply<'_, Vec<MessageRecord>> {
        let recipient = recipient.clone();
        self.read_sound(move |connection, damage| rows::due(connection, damage, (&recipient, route), window, limit))
    }

    fn next_due(&self, recipient: &PartyId, route: u16) -> Reply<'_, Option<Instant>> {
        let recipient = recipient.clone();
        self.read_sound(move |connection, damage| rows::next_due(connection, damage, (&recipient, route)))
    }

    fn bring_back(&self, recipient: &PartyId, last: u16) -> Reply<'_, usize> {
        let recipient = recipient.clone();
        self.write(move |connection| rows::bring_back(connection, &recipient, last))
    }

    fn message(&self, id: MessageId) -> Reply<'_, Option<MessageRecord>> {
        if self.known.as_ref().is_some_and(|known| !known.may_have(id)) {
            return Box::pin(std::future::ready(Ok(None)));
        }
        self.read(move |connection| rows::find(connection, id))
    }

    fn messages(&self, filter: Filter, limit: usize) -> Reply<'_, Vec<MessageRecord>> {
        self.read_sound(move |connection, damage| rows::list(connection, damage, &filter, limit))
    }

    fn alerts_due(&self, now: Instant, limit: usize) -> Reply<'_, Vec<MessageRecord>> {
        self.read_sound(move |connection, damage| rows::alerts_due(connection, damage, now, limit))
    }

    fn accepted_later(&self, now: Instant, limit: usize) -> Reply<'_, Vec<MessageRecord>> {
        self.read_sound(move |connection, damage| rows::accepted_later(connection, damage, now, limit))
    }

    fn raise(&self, raised: Raised) -> Reply<'_, bool> {
        if raised.event.message != Some(raised.message) {
            return Box::pin(std::future::ready(Err(Error::WithoutEvent(raised.message))));
        }
        self.write(move |connection| rows::raise(connection, &raised))
    }

    fn counts(&self) -> Reply<'_, Vec<Count>> {
        self.read_sound(rows::counts)
    }

    fn content(&self, id: MessageId, content: Content) -> Reply<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let key = self.key()?;
            self.read(move |connection| opened(connection, &key, (id, content))).await
        })
    }

    fn contents(&self, parts: Vec<Part>) -> Reply<'_, Vec<Opened>> {
        Box::pin(async move {
            let key = self.key()?;
            self.read(move |connection| {
                let snapshot = connection.unchecked_transaction()?;
                Ok(parts.into_iter().map(|part| opened(&snapshot, &key, part)).collect())
            })
            .await
        })
    }

    fn envelopes(&self, after: u64, limit: usize) -> Reply<'_, Vec<Envelope>> {
        self.read(move |connection| envelopes::list(connection, after, limit))
    }

    fn ended_envelopes(&self, now: Instant, after: u64, limit: usize) -> Reply<'_, Vec<Ended>> {
        self.read(move |connection| envelopes::ended(connection, now, after, limit))
    }

    fn destroy_envelope(&self, number: u64, at: Instant, event: Event) -> Reply<'_, bool> {
        Box::pin(async move {
            let done = self.write(move |connection| envelopes::destroy(connection, number, at, &event)).await;
            self.open_envelopes.clear();
            self.traces.store(true, Ordering::Relaxed);
            done
        })
    }

    fn clear_destroyed(&self, limit: usize) -> Reply<'_, usize> {
        Box::pin(async move {
            let cleared = self.write(move |connection| envelopes::clear(connection, limit)).await?;
            if cleared > 0 {
                self.traces.store(true, Ordering::Relaxed);
            }
            Ok(cleared)
        })
    }

    fn leave_no_trace(&self) -> Reply<'_, bool> {
        Box::pin(async move {
            if self.writer.is_none() {
                return Err(Error::ReadOnly);
            }
            // What is destroyed from here on leaves traces of its own.
            if !self.traces.swap(false, Ordering::Relaxed) {
                return Ok(true);
            }
            let path = self.path.clone();
            let truncate = move || {
                let connection = Connection::open(path)?;
                harden(&connection)?;
                truncate_journal(&connection)
            };
            let is_busy = tokio::task::spawn_blocking(truncate).await;
            let is_busy =
                is_busy.unwrap_or_else(|_| Err(Error::Unavailable("emptying the journal was abandoned".to_owned())));
            if is_busy != Ok(false) {
                self.traces.store(true, Ordering::Relaxed);
            }
            is_busy.map(|is_busy| !is_busy)
        })
    }

    fn text(&self, digest: [u8; 32]) -> Reply<'_, Option<Vec<u8>>> {
        self.read(move |connection| rows::text(connection, &digest))
    }

    fn named(&self, name: &str) -> Reply<'_, Vec<MessageRecord>> {
        let name = name.to_owned();
        self.read(move |connection| answers::named(connection, &name))
    }

    fn carried(&self, id: &str) -> Reply<'_, Option<MessageRecord>> {
        let id = id.to_owned();
        self.read(move |connection| carried::message(connection, &id))
    }

    fn carrier_ids(&self, id: MessageId) -> Reply<'_, Vec<String>> {
        self.read(move |connection| carried::of_message(connection, id))
    }

    fn nameless(&self, limit: usize) -> Reply<'_, Vec<MessageId>> {
        self.read(move |connection| answers::nameless(connection, limit))
    }

    fn name(&self, named: Vec<(MessageId, Vec<String>)>) -> Reply<'_, ()> {
        self.write(move |connection| {
            named.iter().try_for_each(|(id, names)| answers::name_earlier(connection, *id, names))
        })
    }

    fn take_answer(&self, mut answer: NewAnswer) -> Reply<'_, Kept> {
        Box::pin(async move {
            let about = |event: &Event| event.message == Some(answer.message);
            let step = answer.step.as_ref();
            let of_another = |step: &HandoverStep| !is_of(step, answer.message);
            if !about(&answer.event)
                || step.is_some_and(|step| step.message != answer.message || !about(&step.event))
                || answer.handover.iter().any(of_another)
            {
                return Err(Error::WithoutEvent(answer.message));
            }
            let key = self.envelope_about(answer.message, answer.received_at).await?;
            answer.body = key.seal(answer.slot(), Content::Answer, std::mem::take(&mut answer.body));
            self.write(move |connection| answers::take(connection, &answer)).await
        })
    }

    fn answers_of(&self, id: MessageId) -> Reply<'_, Vec<AnswerRecord>> {
        self.read(move |connection| answers::of_message(connection, id))
    }

    fn receive(&self, mut new: NewInbound) -> Reply<'_, Received> {
        Box::pin(async move {
            let (id, filed) = (new.id(), new.filed());
            let key = self.envelope(&filed, new.received_at, new.retention_days).await?;
            new.message = key.seal(id, Content::Inbound, std::mem::take(&mut new.message));
            new.record = key.seal(id, Content::InboundRecord, std::mem::take(&mut new.record));
            self.write(move |connection| inbound::receive(connection, &new)).await
        })
    }

    fn inbound(&self, id: MessageId) -> Reply<'_, Option<InboundRecord>> {
        self.read(move |connection| inbound::find(connection, id))
    }

    fn inbounds(&self, listed: Listed, limit: usize) -> Reply<'_, Vec<InboundRecord>> {
        self.read_sound(move |connection, damage| inbound::list(connection, damage, listed, limit))
    }

    fn referrals(&self, after: u64, limit: usize) -> Reply<'_, Vec<(u64, InboundRecord)>> {
        self.read(move |connection| inbound::after(connection, after, limit))
    }

    fn collect_inbound(&self, collection: Collection) -> Reply<'_, bool> {
        self.write(move |connection| inbound::collect(connection, &collection))
    }

    fn inbound_due(&self, now: Instant, limit: usize) -> Reply<'_, Vec<InboundRecord>> {
        self.read_sound(move |connection, damage| inbound::due(connection, damage, now, limit))
    }

    fn inbound_later(&self, now: Instant, after: Place, limit: usize) -> Reply<'_, Vec<(Place, InboundRecord)>> {
        self.read_sound(move |connection, damage| inbound::later(connection, damage, (now, after), limit))
    }

    fn look_at_inbound(&self, look: InboundLook) -> Reply<'_, bool> {
        self.write(move |connection| inbound::look(connection, &look))
    }

    fn inbound_counts(&self, now: Instant) -> Reply<'_, Vec<InboundCount>> {
        self.read_sound(move |connection, damage| inbound::counts(connection, damage, now))
    }

    fn events(&self, from: u64, limit: usize) -> Reply<'_, Vec<StoredEvent>> {
        self.read(move |connection| rows::events(connection, from, limit))
    }

    fn events_of(&self, id: MessageId) -> Reply<'_, Vec<StoredEvent>> {
        self.read(move |connection| rows::events_of(connection, id))
    }

    fn first_event_of(&self, id: MessageId) -> Reply<'_, Option<StoredEvent>> {
        self.read(move |connection| rows::first_event_of(connection, id))
    }

    fn events_about(&self, subject: &str, before: u64, limit: usize) -> Reply<'_, Vec<StoredEvent>> {
        let Some(subject) = filing_number(subject) else { return Box::pin(std::future::ready(Ok(Vec::new()))) };
        self.read(move |connection| filed::about(connection, subject, before, limit))
    }

    fn events_back(&self, from: u64, before: u64, limit: usize) -> Reply<'_, Vec<StoredEvent>> {
        self.read(move |connection| filed::back(connection, from, before, limit))
    }

    fn hours(&self, from: i64, to: i64) -> Reply<'_, Vec<Hour>> {
        self.read(move |connection| filed::hours(connection, from, to))
    }

    fn filed_subjects(&self, after: FiledSubject, limit: usize) -> Reply<'_, Vec<FiledSubject>> {
        self.read(move |connection| filed::subjects(connection, after, limit))
    }

    fn event_count(&self) -> Reply<'_, u64> {
        self.read(rows::event_count)
    }

    fn histories(&self, after: u64, limit: usize) -> Reply<'_, Vec<History>> {
        self.read(move |connection| rows::histories(connection, after, limit))
    }

    fn absent(&self, ids: Vec<MessageId>) -> Reply<'_, Vec<MessageId>> {
        self.read(move |connection| rows::absent(connection, ids))
    }

    fn leaves(&self, from: u64, limit: usize) -> Reply<'_, Vec<[u8; 32]>> {
        self.read(move |connection| rows::leaves(connection, from, limit))
    }

    fn store_checkpoint(&self, checkpoint: StoredCheckpoint, subtrees: Vec<Subtree>) -> Reply<'_, ()> {
        self.write(move |connection| rows::store_checkpoint(connection, &checkpoint, &subtrees))
    }

    fn subtrees(&self, level: u8, from: u64, limit: usize) -> Reply<'_, Vec<Subtree>> {
        self.read(move |connection| rows::subtrees(connection, level, from, limit))
    }

    fn checkpoints(&self, after: u64, limit: usize) -> Reply<'_, Vec<StoredCheckpoint>> {
        self.read(move |connection| rows::checkpoints(connection, after, limit))
    }

    fn last_checkpoint(&self) -> Reply<'_, Option<StoredCheckpoint>> {
        self.read(rows::last_checkpoint)
    }

    fn store_cosignature(&self, cosignature: StoredCosignature) -> Reply<'_, ()> {
        self.write(move |connection| cosignatures::keep(connection, &cosignature))
    }

    fn cosignature_count(&self) -> Reply<'_, u64> {
        self.read(cosignatures::kept)
    }

    fn cosignatures(&self, after: CosignatureKey, limit: usize) -> Reply<'_, Vec<StoredCosignature>> {
        self.read(move |connection| cosignatures::after(connection, &after, limit))
    }

    fn cosignatures_of(&self, size: u64) -> Reply<'_, Vec<StoredCosignature>> {
        self.read(move |connection| cosignatures::of_head(connection, size))
    }

    fn last_cosignature(&self, witness: &str) -> Reply<'_, Option<StoredCosignature>> {
        let witness = witness.to_owned();
        self.read(move |connection| cosignatures::last_of(connection, &witness))
    }

    fn last_cosigned(&self) -> Reply<'_, Option<StoredCheckpoint>> {
        self.read(cosignatures::last_head)
    }

    fn reviews(&self, open_only: bool, limit: usize) -> Reply<'_, Vec<ReviewRecord>> {
        self.read(move |connection| reviews::list(connection, open_only, limit))
    }

    fn review(&self, id: MessageId) -> Reply<'_, Option<ReviewRecord>> {
        self.read(move |connection| reviews::find(connection, id))
    }

    fn review_counts(&self, now: Instant) -> Reply<'_, ReviewCounts> {
        self.read(move |connection| reviews::counts(connection, now))
    }

    fn newly_overdue(&self, now: Instant, limit: usize) -> Reply<'_, Vec<ReviewRecord>> {
        self.read_sound(move |connection, damage| reviews::newly_overdue(connection, damage, now, limit))
    }

    fn next_review_due(&self) -> Reply<'_, Option<Instant>> {
        self.read(reviews::next_due)
    }

    fn mark_overdue(&self, id: MessageId, at: Instant, event: Event) -> Reply<'_, bool> {
        if event.message != Some(id) {
            return Box::pin(std::future::ready(Err(Error::WithoutEvent(id))));
        }
        self.write(move |connection| reviews::mark_overdue(connection, id, at, &event))
    }

    fn handover(&self, id: MessageId) -> Reply<'_, Option<HandoverRecord>> {
        self.read(move |connection| handovers::find(connection, id))
    }

    fn handover_steps(&self, id: MessageId) -> Reply<'_, Vec<HandoverEntry>> {
        self.read(move |connection| handovers::steps(connection, id))
    }

    fn handovers(&self, state: Option<HandoverState>, limit: usize) -> Reply<'_, Vec<HandoverRecord>> {
        self.read_sound(move |connection, damage| handovers::list(connection, damage, state, limit))
    }

    fn handovers_due(&self, now: Instant, limit: usize) -> Reply<'_, Vec<HandoverRecord>> {
        self.read_sound(move |connection, damage| handovers::due(connection, damage, now, limit))
    }

    fn handovers_later(&self, now: Instant, after: Place, limit: usize) -> Reply<'_, Vec<(Place, HandoverRecord)>> {
        self.read_sound(move |connection, damage| handovers::later(connection, damage, (now, after), limit))
    }

    fn handover_counts(&self) -> Reply<'_, Vec<HandoverCount>> {
        self.read_sound(handovers::counts)
    }

    fn step_handover(&self, step: HandoverStep) -> Reply<'_, bool> {
        if !is_of(&step, step.message) {
            return Box::pin(std::future::ready(Err(Error::WithoutEvent(step.message))));
        }
        Box::pin(async move {
            match self.write(move |connection| handovers::apply(connection, &step)).await {
                Err(Error::Stale { .. }) => Ok(false),
                done => done,
            }
        })
    }

    fn notices_due(&self, window: Window, limit: usize) -> Reply<'_, Vec<NoticeRecord>> {
        self.read_sound(move |connection, damage| reviews::notices_due(connection, damage, window, limit))
    }

    fn next_notice(&self) -> Reply<'_, Option<Instant>> {
        self.read(reviews::next_notice)
    }

    fn notices_of(&self, id: MessageId) -> Reply<'_, Vec<NoticeRecord>> {
        self.read(move |connection| reviews::notices_of(connection, id))
    }

    fn step_notice(&self, step: NoticeStep) -> Reply<'_, ()> {
        self.write(move |connection| reviews::step_notice(connection, &step))
    }
}

/// Whether a step of a handover, and its event, are about this message.
fn is_of(step: &HandoverStep, message: MessageId) -> bool {
    step.message == message && step.event.message == Some(message)
}

/// Settings that every connection has.
fn harden(connection: &Connection) -> Result<(), Error> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Otherwise a statement is planned again whenever another value is bound to its LIMIT.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Moves what the journal holds into the file and empties it. Whether that had to be left, since somebody reads what was there before.
fn truncate_journal(connection: &Connection) -> Result<bool, Error> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?)
}

/// Held as long as the file is open; the system lets go of it when the process ends, however it ends.
fn lock(path: &Path) -> Result<File, Error> {
    let unavailable = |error: std::io::Error| Error::Unavailable(error.to_string());
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse),
        Err(TryLockError::Error(error)) => Err(unavailable(error)),
    }
}

fn check_key(connection: &Connection, key: &Key) -> Result<(), Error> {
    let sealed_by: Vec<u8> =
        connection.query_row("SELECT value FROM site WHERE name = 'seal key'", [], |row| row.get(0))?;
    if sealed_by == key.id() { Ok(()) } else { Err(Error::WrongKey) }
}

/// A file that is no database at all is not ours, rather than damaged.
fn foreign(error: Error) -> Error {
    match error {
        Error::Damaged(_) => Error::Foreign,
        other => other,
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        let transient = [
            ErrorCode::DatabaseBusy,
            ErrorCode::DatabaseLocked,
            ErrorCode::DiskFull,
            ErrorCode::SystemIoFailure,
            ErrorCode::CannotOpen,
            ErrorCode::OutOfMemory,
            ErrorCode::PermissionDenied,
            ErrorCode::ReadOnly,
            ErrorCode::NoLargeFileSupport,
        ];
        // SQLite's own words for the code: a message may hold a path.
        let rusqlite::Error::SqliteFailure(failure, _) = &error else { return Error::Damaged(error.to_string()) };
        let words = ffi::code_to_str(failure.extended_code).to_owned();
        if transient.contains(&failure.code) { Error::Unavailable(words) } else { Error::Damaged(words) }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of a test need not be durable")]
mod tests {
    use super::*;
    use crate::storage::suite::{
        NOON, accept, at, event, hand, message, party, receive, referral, run_suite, step, waiting,
    };
    use crate::storage::{Full, Handling, HandoverTell, State};
    use tempfile::TempDir;
    use uuid::Uuid;

    run_suite!({
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("weir.db"), &Secret::generate()).expect("it opens");
        let store: Arc<dyn Store> = Arc::new(store);
        (store, folder)
    });

    struct Site {
        folder: TempDir,
        secret: Secret,
    }

    impl Site {
        fn new() -> Site {
            Site { folder: tempfile::tempdir().expect("a folder"), secret: Secret::generate() }
        }

        fn path(&self) -> std::path::PathBuf {
            self.folder.path().join("weir.db")
        }

        fn open(&self) -> Result<SqliteStore, Error> {
            SqliteStore::open(&self.path(), &self.secret)
        }

        fn store(&self) -> Arc<dyn Store> {
            Arc::new(self.open().expect("it opens"))
        }

        fn sql(&self, sql: &str) {
            Connection::open(self.path()).expect("it opens").execute_batch(sql).expect("it runs");
        }
    }

    #[tokio::test]
    async fn what_was_accepted_is_there_after_reopening() {
        let site = Site::new();
        let store = site.store();
        let id = accept(&store, 1).await;
        store.transition(step(id, State::Accepted, State::InFlight)).await.expect("it is sent");
        drop(store);
        assert!(!site.folder.path().join("weir.db-wal").exists(), "closing folds the WAL into the file");
        let store = site.store();
        let record = store.message(id).await.expect("it is read").expect("it is there");
        assert_eq!(record.state, State::InFlight);
        assert_eq!(store.content(id, Content::Payload).await, Ok(Some(b"payload 1".to_vec())));
        assert_eq!(store.event_count().await, Ok(2));
    }

    #[tokio::test]
    async fn every_commit_waits_for_the_disk() {
        let store = Site::new().open().expect("it opens");
        let settings = store.write(|connection| {
            let setting =
                |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
            let durable = (setting("journal_mode")?, setting("synchronous")?, setting("foreign_keys")?);
            Ok((durable, setting("cache_size")?, setting("wal_autocheckpoint")?))
        });
        let full = 2;
        let durable = ("wal".to_owned().into(), full.into(), 1.into());
        assert_eq!(settings.await, Ok((durable, (-CACHE).into(), JOURNAL.into())));
    }

    #[test]
    fn an_error_names_no_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).expect("it is made");
        let error = SqliteStore::open(&path, &Secret::generate()).expect_err("a folder is no database");
        assert!(error.is_transient() && !error.to_string().contains("taken"), "{error}");
    }

    #[tokio::test]
    async fn no_content_stands_in_the_files_in_clear() {
        let site = Site::new();
        let store = site.store();
        accept(&store, 1).await;
        for file in std::fs::read_dir(site.folder.path()).expect("the folder is there") {
            let bytes = std::fs::read(file.expect("an entry").path()).expect("it is read");
            for text in ["payload 1", "provenance 1", "lineage 1"] {
                assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn a_destroyed_key_and_erased_contents_leave_no_bytes_in_the_files() {
        let site = Site::new();
        let store = site.store();
        let (one, two) = (accept(&store, 1).await, accept(&store, 2).await);
        let reader = Connection::open(site.path()).expect("it opens");
        let sealed = |sql: &str| reader.query_row(sql, [], |row| row.get::<_, Vec<u8>>(0)).expect("it is there");
        let key = sealed("SELECT key FROM envelopes");
        let payload = sealed("SELECT payload FROM contents WHERE message = 2");
        drop(reader);
        let copies = |bytes: &[u8]| {
            let files = std::fs::read_dir(site.folder.path()).expect("the folder is there");
            let holds = |text: Vec<u8>| text.windows(bytes.len()).any(|window| window == bytes);
            files
                .filter(|file| holds(std::fs::read(file.as_ref().expect("an entry").path()).expect("it is read")))
                .count()
        };
        assert!(copies(&key) > 0 && copies(&payload) > 0, "they are there at first");
        for id in [one, two] {
            store.transition(step(id, State::Accepted, State::Acknowledged)).await.expect("it arrived");
        }
        let event = event(None, "destroyed");
        assert_eq!(store.destroy_envelope(1, message(1).accepted_at, event).await, Ok(true));
        assert_eq!(store.clear_destroyed(9).await, Ok(2));
        assert_eq!(store.leave_no_trace().await, Ok(true));
        assert_eq!((copies(&key), copies(&payload)), (0, 0));
    }

    #[tokio::test]
    async fn the_longer_of_two_retentions_on_one_day_holds() {
        let site = Site::new();
        let store = site.store();
        for (number, retention_days, expected) in [(1, 30, 30), (2, 60, 60), (3, 10, 60)] {
            let new = NewMessage { retention_days, ..message(number) };
            let accepted = vec![event(Some(new.id), "accepted")];
            assert_eq!(store.accept(new, accepted).await, Ok(Accepted::New));
            let days: Vec<u32> =
                store.envelopes(0, 9).await.expect("they are read").iter().map(|each| each.retention_days).collect();
            assert_eq!(days, [expected]);
        }
        for number in 1..=3 {
            let payload = store.content(message(number).id, Content::Payload).await;
            assert_eq!(payload, Ok(Some(format!("payload {number}").into_bytes())));
        }
        site.sql("UPDATE envelopes SET retention_days = 5");
        let damaged = store.content(message(1).id, Content::Payload).await;
        assert!(matches!(damaged, Err(Error::Damaged(text)) if text.contains("envelope 1")), "nobody shortens it");
    }

    #[tokio::test]
    async fn what_an_earlier_version_sealed_with_the_sites_key_opens() {
        let site = Site::new();
        let connection = Connection::open(site.path()).expect("it opens");
        schema::make_earlier(&connection, 12).expect("it is made");
        let id = message(1).id;
        let sealed = Key::new(&site.secret).seal(id, Content::Payload, b"of before".to_vec());
        let sql = "INSERT INTO messages VALUES (7, ?, 'DEMOP', 'crisis-escalation', 'RXT01', 'demo', zeroblob(32), \
                   'acknowledged', 5, 6, 2, NULL, '', 0, NULL, NULL, NULL, NULL)";
        connection.execute(sql, [id.uuid().as_bytes()]).expect("it runs");
        connection.execute("INSERT INTO contents VALUES (7, ?, NULL, NULL)", [sealed]).expect("it runs");
        drop(connection);
        let store = site.store();
        assert_eq!(store.content(id, Content::Payload).await, Ok(Some(b"of before".to_vec())));
        assert_eq!(store.envelopes(0, 9).await, Ok(vec![]));
    }

    #[tokio::test]
    async fn two_gateways_cannot_share_a_site_but_a_reader_can_look() {
        let site = Site::new();
        let missing = SqliteStore::open_to_read(&site.path(), None);
        assert_eq!(missing.expect_err("there is none"), Error::Missing);
        let store = site.store();
        let id = accept(&store, 1).await;
        assert_eq!(site.open().expect_err("it is in use"), Error::InUse);
        let reader = SqliteStore::open_to_read(&site.path(), None).expect("it opens");
        assert_eq!(reader.event_count().await, Ok(1));
        assert_eq!(reader.content(id, Content::Payload).await, Err(Error::NoKey));
        assert_eq!(reader.append(event(None, "read")).await, Err(Error::ReadOnly));
        let reader = SqliteStore::open_to_read(&site.path(), Some(&site.secret)).expect("it opens");
        assert_eq!(reader.content(id, Content::Payload).await, Ok(Some(b"payload 1".to_vec())));
        drop(store);
        assert!(site.open().is_ok(), "the lock goes with its holder");
    }

    #[tokio::test]
    async fn a_wrong_key_is_refused_at_the_door() {
        let site = Site::new();
        drop(site.store());
        let other = Secret::generate();
        assert_eq!(SqliteStore::open(&site.path(), &other).expect_err("wrong"), Error::WrongKey);
        assert_eq!(SqliteStore::open_to_read(&site.path(), Some(&other)).expect_err("wrong"), Error::WrongKey);
    }

    #[test]
    fn files_of_a_newer_version_or_another_program_are_refused() {
        let site = Site::new();
        drop(site.store());
        site.sql("PRAGMA user_version = 99");
        assert_eq!(site.open().expect_err("it is newer"), Error::NewerSchema { found: 99, known: schema::KNOWN });
        let site = Site::new();
        site.sql("CREATE TABLE notes (text TEXT)");
        assert_eq!(site.open().expect_err("it is foreign"), Error::Foreign);
        std::fs::write(site.path(), "not a database, but long enough to be read as the head of one".repeat(40))
            .expect("it is written");
        assert_eq!(site.open().expect_err("it is foreign"), Error::Foreign);
    }

    #[test]
    fn a_file_with_another_table_trigger_or_column_is_refused_by_its_name() {
        for (change, name) in [
            ("CREATE TRIGGER quiet AFTER INSERT ON events BEGIN DELETE FROM reviews; END", "quiet"),
            ("DROP INDEX events_message", "events_message"),
            ("ALTER TABLE approvals RENAME COLUMN role TO part", "approvals"),
        ] {
            let site = Site::new();
            drop(site.store());
            site.sql(change);
            let why = format!("`{name}` is not as this version of weir makes it");
            assert_eq!(site.open().expect_err(change), Error::Damaged(why.clone()));
            let read = SqliteStore::open_to_read(&site.path(), None).expect_err(change);
            assert_eq!(read, Error::Damaged(why));
        }
    }

    #[tokio::test]
    async fn a_file_of_the_first_version_gets_what_it_lacks_and_keeps_what_it_has() {
        let site = Site::new();
        let connection = Connection::open(site.path()).expect("it opens");
        schema::make_earlier(&connection, 1).expect("it is made");
        connection
            .execute("INSERT INTO events (seq, leaf, bytes) VALUES (0, zeroblob(32), x'01')", [])
            .expect("it runs");
        drop(connection);
        let store = site.store();
        assert_eq!(store.event_count().await, Ok(1));
        accept(&store, 1).await;
        assert_eq!(store.reviews(false, 1).await, Ok(vec![]));
    }

    #[tokio::test]
    async fn messages_and_what_belongs_to_them_outlive_the_making_of_their_table_anew() {
        let site = Site::new();
        let connection = Connection::open(site.path()).expect("it opens");
        schema::make_earlier(&connection, 4).expect("it is made");
        let sql = "INSERT INTO messages VALUES (7, randomblob(16), 'DEMOP', 'crisis-escalation', 'RXT01', 'demo', \
                   zeroblob(32), 'queued', 5, 6, 2, 9, 'no answer');
                   INSERT INTO contents VALUES (7, x'01', x'02', x'03');
                   INSERT INTO reviews (message, reviewer, purpose, basis, due_at) VALUES (7, 'sue', 'BTG', 'statute', 9);
                   INSERT INTO notices VALUES (3, randomblob(16), randomblob(16), 'spool', 'a', '{}', 1, 0, 1, NULL, '')";
        connection.execute_batch(sql).expect("it runs");
        drop(connection);
        let store = site.store();
        let [record] = &store.messages(Filter::default(), 9).await.expect("they are listed")[..] else { panic!("one") };
        assert_eq!((record.state, record.attempts, &*record.note, record.route), (State::Queued, 2, "no answer", 0));
        assert_eq!(store.reviews(false, 9).await.expect("they are listed").len(), 1);
        assert_eq!(store.notices_due(at(record.accepted_at), 9).await.expect("they are listed").len(), 1);
        assert_eq!(store.nameless(9).await, Ok(vec![record.id]), "what answers may call it is still to be read");
        store.name(vec![(record.id, vec!["bundle".to_owned()])]).await.expect("it is kept");
        assert_eq!(store.nameless(9).await, Ok(vec![]));
        site.sql("PRAGMA foreign_keys = 1; UPDATE contents SET payload = NULL WHERE message = 7");
    }

    #[tokio::test]
    async fn a_referral_that_an_earlier_version_took_is_looked_at_at_once() {
        let site = Site::new();
        let connection = Connection::open(site.path()).expect("it opens");
        schema::make_earlier(&connection, 16).expect("it is made");
        let sql = "INSERT INTO inbound VALUES (1, zeroblob(16), 'RXT01', zeroblob(16), 'referral-in', zeroblob(32), 'urgent', \
                   5000, 6000, 'demo-records', NULL, NULL);
                   INSERT INTO inbound VALUES (2, randomblob(16), 'RXT01', randomblob(16), 'referral-in', zeroblob(32), \
                   'urgent', 7000, NULL, NULL, NULL, NULL)";
        connection.execute_batch(sql).expect("it runs");
        drop(connection);
        let store = site.store();
        let now = message(1).accepted_at;
        let [waits] = &store.inbound_due(now, 9).await.expect("they are read")[..] else { panic!("one waits") };
        assert_eq!((waits.alert_at, waits.due_at, waits.event), (Some(waits.received_at), None, None));
        let (id, due_at) = (waits.id, now);
        let look = InboundLook { id, before: waits.alert_at, due_at, next: Some(now), told: None };
        assert_eq!(store.look_at_inbound(look).await, Ok(true));
        assert_eq!(store.inbound(id).await.expect("it is read").and_then(|it| it.due_at), Some(now));
        assert_eq!(store.inbounds(Listed::All, 9).await.map(|all| all.len()), Ok(2));
    }

    /// How SQLite answers a statement.
    fn plan(connection: &Connection, sql: &str) -> Result<String, Error> {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        for parameter in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(parameter, 0)?;
        }
        let (mut rows, mut steps) = (statement.raw_query(), Vec::new());
        while let Some(row) = rows.next()? {
            steps.push(row.get::<_, String>(3)?);
        }
        Ok(steps.join("; "))
    }

    /// Whoever ends retention reads the referrals of the envelope alone, however many others are kept; also in a file that an earlier
    /// version made.
    #[tokio::test]
    async fn the_referrals_of_an_envelope_are_found_by_their_index() {
        let site = Site::new();
        let connection = Connection::open(site.path()).expect("it opens");
        schema::make_earlier(&connection, 17).expect("it is made");
        let sql = "INSERT INTO inbound (id, sender, bundle, interface, digest, received_at, message, record) VALUES \
                   (randomblob(16), 'RXT01', randomblob(16), 'referral-in', zeroblob(32), 5, ?1, ?1)";
        for number in [1, 1, 2] {
            let sealed = [seal::head_of_envelope(number), vec![7; 40]].concat();
            connection.execute(sql, [sealed]).expect("it runs");
        }
        drop(connection);
        let store = site.open().expect("it opens");
        let found = store.read(|connection| {
            let plans = [inbound::IN_ENVELOPE, inbound::CLEAR].map(|sql| plan(connection, sql));
            Ok((inbound::in_envelope(connection, 1)?, inbound::in_envelope(connection, 2)?, plans))
        });
        let (one, two, plans) = found.await.expect("they are read");
        assert_eq!((one, two), ((2, 2), (1, 1)));
        for plan in plans {
            let plan = plan.expect("it is planned");
            assert!(plan.contains("USING INDEX inbound_sealed (<expr>=?)") && !plan.contains("SCAN"), "{plan}");
        }
        store.write(|connection| inbound::clear(connection, 1)).await.expect("it is written");
        let left = store.read(|connection| {
            let sql = "SELECT count(message), count(record) FROM inbound";
            Ok(connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?)
        });
        assert_eq!(left.await, Ok((1, 1)));
    }

    #[tokio::test]
    async fn what_the_clock_was_set_back_behind_is_found_by_its_index_in_order() {
        let site = Site::new();
        let store = site.open().expect("it opens");
        let plans = store.read(|connection| {
            Ok([(inbound::LATER, "inbound_alert"), (handovers::LATER, "handovers_alert")]
                .map(|(sql, index)| (plan(connection, sql), index)))
        });
        for (plan, index) in plans.await.expect("they are planned") {
            let plan = plan.expect("it is planned");
            assert!(
                plan.contains(&format!("USING INDEX {index} (alert_at>?)")) && !plan.contains("TEMP B-TREE"),
                "{plan}"
            );
        }
    }

    /// Whoever asks how the gateway stands walks the contents of no referral.
    #[tokio::test]
    async fn referrals_that_wait_are_counted_from_an_index_alone() {
        let site = Site::new();
        let store = site.open().expect("it opens");
        let plan = store.read(|connection| plan(connection, inbound::COUNTS)).await.expect("it is planned");
        assert!(plan.contains("USING COVERING INDEX inbound_counts") && !plan.contains("TEMP B-TREE"), "{plan}");
    }

    #[tokio::test]
    async fn a_file_of_before_the_names_of_tasks_keeps_its_handovers_and_has_them_read() {
        let site = Site::new();
        let connection = Connection::open(site.path()).expect("it opens");
        schema::make_earlier(&connection, 18).expect("it is made");
        let message = |position: u8| {
            format!(
                "INSERT INTO messages VALUES ({position}, x'{position:032x}', 'DEMOP', 'crisis-escalation', 'RXT01', 'demo', \
                 zeroblob(32), 'acknowledged', 5, 6, 1, NULL, '', 0, NULL, 'stat', NULL, NULL);"
            )
        };
        let sql = "INSERT INTO names VALUES ('bundle', 1), ('bundle-2', 2), ('task/2', 2);
                   INSERT INTO handovers VALUES (1, 'crisis-escalation', 'rejected', 7, 6, 8, 9, 60000, NULL, NULL, NULL, 'rejected');
                   INSERT INTO handover_steps VALUES (1, 3, 'waiting', 6, NULL), (1, 4, 'rejected', 7, NULL);";
        connection.execute_batch(&[message(1), message(2), sql.to_owned()].concat()).expect("it runs");
        drop(connection);
        let store = site.store();
        let id = MessageId::from(Uuid::from_u128(1));
        assert_eq!(store.nameless(9).await, Ok(vec![id]), "of the other the Task's name is known");
        site.sql("INSERT INTO nameless VALUES (2)");
        assert_eq!(store.nameless(1).await, Ok(vec![MessageId::from(Uuid::from_u128(2))]), "the newest first");
        let kept = store.handover(id).await.expect("it is read").expect("it is there").handover;
        assert_eq!((kept.state, kept.tell), (HandoverState::Rejected, Some(HandoverTell::Rejected)));
        assert_eq!(store.handover_steps(id).await.expect("they are read").len(), 2);
    }

    #[tokio::test]
    async fn what_waits_in_a_file_of_before_states_were_compared_one_by_one_is_kept() {
        let site = Site::new();
        let connection = Connection::open(site.path()).expect("it opens");
        schema::make_earlier(&connection, 21).expect("it is made");
        for (position, state) in (1_u8..).zip(State::ALL) {
            let sql = "INSERT INTO messages VALUES (?1, ?2, 'DEMOP', 'crisis-escalation', 'RXT01', 'demo', zeroblob(32), ?3, 5, 6, \
                       1, NULL, 'words', 2, 'order', 'stat', 70, 60, 50)";
            let id = Uuid::from_u128(position.into());
            connection.execute(sql, (position, id.as_bytes(), state.code())).expect("it runs");
        }
        let sql = "INSERT INTO contents (message, payload) VALUES (1, x'010203');
                   INSERT INTO handovers VALUES (5, 'crisis-escalation', 'contacted', 7, 6, 8, 9, 60000, 10, 11, 12, 'accepted');
                   INSERT INTO handover_steps VALUES (5, 3, 'waiting', 6, NULL);";
        connection.execute_batch(sql).expect("it runs");
        let rows = |connection: &Connection, table: &str| -> Vec<String> {
            let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).expect("it is prepared");
            let columns = statement.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column)).collect::<Result<Vec<_>, _>>()
            };
            statement.query_map([], row).expect("it runs").map(|row| format!("{:?}", row.expect("a row"))).collect()
        };
        let tables = ["messages", "handovers", "handover_steps", "contents"];
        let before = tables.map(|table| rows(&connection, table));
        drop(connection);
        let store = site.store();
        assert_eq!(store.load().await.map(|load| (load.messages, load.bytes)), Ok((1, 3)), "the one with a payload");
        drop(store);
        let connection = Connection::open(site.path()).expect("it opens");
        assert_eq!(tables.map(|table| rows(&connection, table)), before);
        for (table, change) in [
            ("messages", "UPDATE messages SET state = 'lost' WHERE position = 1"),
            ("handovers", "UPDATE handovers SET state = 'lost'"),
            ("handovers", "UPDATE handovers SET tell = 'lost'"),
        ] {
            assert!(connection.execute(change, []).is_err(), "{table} checks what is written");
        }
    }

    /// A list of more than two constants would be made an index of its own in each statement.
    #[tokio::test]
    async fn what_every_message_writes_makes_no_table_of_its_own() {
        let site = Site::new();
        let connection = Connection::open(site.path()).expect("it opens");
        schema::make_earlier(&connection, schema::KNOWN).expect("it is made");
        connection.execute_batch("PRAGMA foreign_keys = 1").expect("it is set");
        let mut written = 0;
        for sql in [rows::MOVE_ON, rows::APPEND, handovers::OPEN] {
            let mut statement = connection.prepare(&format!("EXPLAIN {sql}")).expect("it is prepared");
            let (mut rows, mut steps) = (statement.raw_query(), Vec::new());
            while let Some(row) = rows.next().expect("a step") {
                steps.push(row.get::<_, String>(1).expect("its name"));
            }
            written += steps.iter().filter(|step| *step == "OpenWrite").count();
            assert!(!steps.contains(&"OpenEphemeral".to_owned()), "{sql}");
        }
        assert!(written > 0);
    }

    /// What a lane asks reads rows of its own recipient and route alone, however many others there are.
    #[tokio::test]
    async fn what_a_lane_asks_is_answered_from_its_own_rows() {
        let site = Site::new();
        let store = site.open().expect("it opens");
        let plans = store.read(|connection| {
            let in_flight = rows::list_sql(&Filter {
                state: Some(State::InFlight),
                recipient: Some(party("RXT01")),
                route: Some(0),
                interface: None,
            });
            let statements = [
                rows::DUE,
                rows::PUT_OFF,
                rows::NEXT_DUE,
                &in_flight,
                rows::ALERTS_DUE,
                rows::ACCEPTED_LATER,
                rows::EARLIER,
            ];
            statements.map(|sql| plan(connection, sql)).into_iter().collect::<Result<Vec<_>, _>>()
        });
        for (plan, uses) in plans.await.expect("they are planned").iter().zip([
            "USING INDEX messages_due (recipient=? AND route=? AND <expr>=? AND next_attempt_at<?)",
            "USING INDEX messages_due (recipient=? AND route=? AND <expr>=? AND next_attempt_at>?)",
            "USING INDEX messages_due (recipient=? AND route=? AND <expr>=?",
            "USING INDEX messages_state (state=? AND recipient=?)",
            "USING INDEX messages_alert (alert_at<?)",
            "USING INDEX messages_alert (alert_at>?)",
            "INDEX messages_order (recipient=? AND order_key=?)",
        ]) {
            assert!(plan.contains(uses), "{plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
            let of_order = "SEARCH earlier USING INDEX messages_order (recipient=? AND order_key=? AND position<?)";
            assert_eq!(plan.contains(of_order), uses.contains("messages_due"), "{plan}");
        }
    }

    /// A message that is not sent waits for nobody's answer, and nobody can cancel it.
    #[tokio::test]
    async fn a_damaged_row_holds_up_no_later_message_of_its_order() {
        let site = Site::new();
        let store = site.store();
        let mut ids = Vec::new();
        for (number, urgency) in [(1, None), (2, Some("stat".to_owned())), (3, None)] {
            let handling = Handling { order_key: Some("a".to_owned()), priority: urgency, ..Handling::default() };
            let new = NewMessage { handling, ..message(number) };
            let (id, accepted) = (new.id, event(Some(new.id), "accepted"));
            store.accept(new, vec![accepted]).await.expect("it is accepted");
            ids.push(id);
        }
        site.sql("UPDATE messages SET sender = lower(sender) WHERE position = 1");
        let (trust, now) = (party("RXT01"), message(9).accepted_at);
        let due = async || {
            let due = store.due(&trust, 0, at(now), 10).await.expect("they are read");
            due.into_iter().map(|due| due.id).collect::<Vec<_>>()
        };
        due().await;
        assert_eq!(store.next_due(&trust, 0).await, Ok(Some(message(2).accepted_at)), "the lane looks again");
        assert_eq!(due().await, [ids[1]], "the third waits for the second");
        assert_eq!(store.damage().count(), 1);
    }

    /// Found by flipping bits: an ODS code in small letters was read as the same, and no statement found its message.
    #[tokio::test]
    async fn a_text_in_another_spelling_is_damage() {
        for column in ["sender", "recipient"] {
            let site = Site::new();
            let store = site.store();
            let id = accept(&store, 1).await;
            site.sql(&format!("UPDATE messages SET {column} = lower({column})"));
            let read = store.message(id).await;
            assert!(matches!(read, Err(Error::Damaged(_))), "{column}: {read:?}");
        }
    }

    /// Found by flipping bits: one row that could not be read kept all others from being looked after.
    #[tokio::test]
    async fn a_damaged_row_is_told_of_and_holds_up_no_other() {
        let site = Site::new();
        let store = site.store();
        for number in [1, 2] {
            let id = accept(&store, number).await;
            receive(&store, number).await;
            assert_eq!(store.step_handover(hand(id, None, waiting(number.into()))).await, Ok(true));
        }
        site.sql(
            "PRAGMA ignore_check_constraints = 1;
             UPDATE messages SET alert_at = accepted_at;
             INSERT INTO reviews (message, reviewer, purpose, basis, due_at) VALUES (1, 'sue', 'BTG', 'law', 1), (2, 'sue', 'BTG', 'law', 2);
             DELETE FROM notices;
             INSERT INTO notices VALUES (1, randomblob(16), randomblob(16), 'fax', 'a', '{}', 1, 0, 1, NULL, ''),
                                        (2, randomblob(16), randomblob(16), 'spool', 'a', '{}', 1, 0, 2, NULL, '');
             UPDATE messages SET interface = upper(interface) WHERE position = 1;
             UPDATE inbound SET sender = lower(sender) WHERE position = 1",
        );
        let (now, two) = (NOON + time::Duration::days(1), message(2).id);
        let trust = party("RXT01");
        let alone = "the damaged one takes up no place";
        let of =
            |found: Result<Vec<MessageRecord>, Error>| found.map(|all| all.iter().map(|it| it.id).collect::<Vec<_>>());
        assert_eq!(of(store.due(&trust, 0, at(now), 1).await), Ok(vec![two]), "{alone}");
        assert_eq!(store.next_due(&trust, 0).await, Ok(Some(message(2).accepted_at)));
        assert_eq!(of(store.alerts_due(now, 1).await), Ok(vec![two]), "{alone}");
        assert_eq!(of(store.messages(Filter::default(), 9).await), Ok(vec![two]));
        let referrals = store.inbound_due(now, 1).await.expect("they are read");
        assert_eq!(referrals.iter().map(|it| it.bundle).collect::<Vec<_>>(), [referral(2).bundle], "{alone}");
        let listed = store.inbounds(Listed::Waiting, 1).await.expect("they are read");
        assert_eq!(listed, referrals, "the record system finds it");
        let handovers = store.handovers_due(now, 1).await.expect("they are read");
        assert_eq!(handovers.iter().map(|it| it.message).collect::<Vec<_>>(), [two], "{alone}");
        let overdue = store.newly_overdue(now, 1).await.expect("they are read");
        assert_eq!(overdue.iter().map(|it| it.message).collect::<Vec<_>>(), [two], "{alone}");
        assert_eq!(store.notices_due(at(now), 1).await.map(|all| all.len()), Ok(1), "{alone}");
        assert!(store.message(message(1).id).await.is_err(), "who asks for it is told");
        let counts = store.counts().await.expect("they are read");
        assert_eq!(counts.len(), 1, "what cannot be read is not counted");
        let damaged = ["messages", "inbound", "handovers", "reviews", "notices"];
        assert_eq!(store.damage().count(), damaged.len(), "each is noted once");
    }

    #[tokio::test]
    async fn a_full_disk_is_transient_and_nothing_is_half_accepted() {
        let site = Site::new();
        let sqlite = Arc::new(site.open().expect("it opens"));
        let store: Arc<dyn Store> = sqlite.clone();
        accept(&store, 1).await;
        let limit = |pages: &'static str| {
            sqlite.write(move |connection| Ok(connection.query_row(pages, [], |row| row.get::<_, i64>(0))?))
        };
        limit("PRAGMA max_page_count = 1").await.expect("the limit falls to the present size");
        let mut big = message(2);
        // What cannot be compressed.
        let mut drawn = 1_u32;
        big.payload = std::iter::repeat_with(|| {
            drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            drawn.to_be_bytes()[0]
        })
        .take(1 << 20)
        .collect();
        let id = big.id;
        let refused = store.accept(big, vec![event(Some(id), "accepted")]).await.expect_err("the disk is full");
        assert!(refused.is_transient(), "{refused}");
        assert!(store.load().await.expect("it is read").failing.is_some());
        assert!(store.probe().await.is_err());
        assert_eq!(store.message(id).await, Ok(None));
        assert_eq!(store.event_count().await, Ok(1));
        limit("PRAGMA max_page_count = 100000").await.expect("there is room again");
        store.probe().await.expect("it is written");
        assert_eq!(store.load().await.expect("it is read").failing, None);
        accept(&store, 2).await;
    }

    #[tokio::test]
    async fn what_waits_is_counted_and_bounded() {
        let site = Site::new();
        let sqlite = site.open().expect("it opens").with_room(Room { messages: 2, ..Room::default() });
        let store: Arc<dyn Store> = Arc::new(sqlite);
        let (one, _two) = (accept(&store, 1).await, accept(&store, 2).await);
        let third = || store.accept(message(3), vec![event(Some(message(3).id), "accepted")]);
        assert_eq!(store.room().await, Ok(()), "nobody was refused yet");
        assert_eq!(third().await, Err(Error::Full(Full::Messages)));
        assert_eq!(store.room().await, Err(Error::Full(Full::Messages)));
        assert_eq!(
            store.accept(message(1), vec![event(Some(one), "again")]).await.map(|it| it == Accepted::New),
            Ok(false)
        );
        let load = store.load().await.expect("it is read");
        assert_eq!((load.messages, load.full), (2, Some(Full::Messages)));
        assert!(load.bytes > 18, "the payloads and their seals");
        for (from, to, waiting) in [
            (State::Accepted, State::InFlight, 2),
            (State::InFlight, State::Queued, 2),
            (State::Queued, State::Dead, 1),
            (State::Dead, State::Queued, 2),
            (State::Queued, State::Acknowledged, 1),
        ] {
            store.transition(step(one, from, to)).await.expect("it is written");
            assert_eq!(store.load().await.expect("it is read").messages, waiting, "{from} to {to}");
        }
        assert_eq!(store.room().await, Ok(()));
        assert_eq!(third().await, Ok(Accepted::New));
        let load = store.load().await.expect("it is read");
        drop(store);
        let connection = Connection::open(site.path()).expect("it opens");
        let sql = "SELECT count(*), sum(length(payload)) FROM messages JOIN contents ON message = position \
                   WHERE state IN ('accepted', 'queued', 'in-flight')";
        let counted: (i64, i64) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("it runs");
        assert_eq!((load.messages as i64, load.bytes as i64), counted);
    }

    #[tokio::test]
    async fn a_disk_keeps_what_is_to_stay_free() {
        let site = Site::new();
        let sqlite = site.open().expect("it opens").with_room(Room { free_bytes: u64::MAX, ..Room::default() });
        let refused = sqlite.accept(message(1), vec![event(Some(message(1).id), "accepted")]).await;
        assert_eq!(refused, Err(Error::Full(Full::Disk)));
        assert_eq!(sqlite.append(event(None, "steps go on")).await, Ok(0));
    }

    #[tokio::test]
    async fn a_change_whose_transaction_was_lost_takes_its_neighbours_with_it() {
        let site = Site::new();
        let store = site.open().expect("it opens");
        let lost = store.write(|connection| {
            rows::append(connection, &event(None, "lost"))?;
            Ok(connection.execute_batch("ROLLBACK")?)
        });
        let near = store.append(event(None, "near"));
        let (lost, near) = tokio::join!(lost, near);
        assert!(lost.expect_err("it was lost").is_transient());
        let written = u64::from(near.is_ok());
        assert_eq!(store.event_count().await, Ok(written), "an event is there if and only if that was answered");
    }

    #[tokio::test]
    async fn a_wrong_count_of_what_waits_holds_up_no_message_and_is_put_right_by_the_next_start() {
        let site = Site::new();
        let store = site.store();
        let (one, _two) = (accept(&store, 1).await, accept(&store, 2).await);
        let right = store.load().await.expect("it is read");
        site.sql("UPDATE waiting SET messages = 0, bytes = 0");
        store.transition(step(one, State::Accepted, State::Dead)).await.expect("it is written");
        drop(store);
        let load = site.store().load().await.expect("it is read");
        assert_eq!((load.messages, load.bytes), (1, right.bytes / 2));
    }

    #[tokio::test]
    async fn a_damaged_payload_holds_up_no_other_message() {
        let site = Site::new();
        let store = site.store();
        let (one, two) = (accept(&store, 1).await, accept(&store, 2).await);
        site.sql("UPDATE contents SET payload = substr(payload, 1, length(payload) - 1) WHERE message = 1");
        let now = message(9).accepted_at;
        let due = store.due(&party("RXT01"), 0, at(now), 10).await.expect("they are read");
        assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [one, two]);
        let damaged = store.content(one, Content::Payload).await;
        assert!(matches!(damaged, Err(Error::Damaged(text)) if text.contains(&one.to_string())));
        assert_eq!(store.content(two, Content::Payload).await, Ok(Some(b"payload 2".to_vec())));
    }
}
