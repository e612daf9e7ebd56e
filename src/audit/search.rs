//! Finding events in the log: by patient, time, who took part, what it was about, how it went and which kind it is.
//!
//! Enters: a [`Query`]. Leaves: one page of the events that match, the newest first, and where the next begins. Invariant: an
//! event is shown only for what its own bytes say; what the store files is a way to it and nothing more. A page looks at
//! `LOOKED_AT` events at most, so that a question that little matches costs no more than others; it may then be short.

use time::Duration;
use uuid::Uuid;

use super::event::kind;
use crate::fhir::Instant;
use crate::fhir::audit_event::{Outcome, RecordedEvent, What, Who};
use crate::identity::MessageId;
use crate::storage::{Error, Hour, Store, StoredEvent};

/// Events that one page looks at, at most.
const LOOKED_AT: usize = 50_000;
/// Events read at a time.
const READ: usize = 512;

/// What to look for. All of it must match.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The patient, by keyed hash in lower-case hexadecimal.
    pub patient: Option<String>,
    /// Recorded then or later.
    pub from: Option<Instant>,
    /// Recorded before.
    pub until: Option<Instant>,
    /// Who took part: an ODS code, or the id of a principal.
    pub agent: Option<String>,
    /// The message, or the agreement, that it was about.
    pub entity: Option<String>,
    /// How it went, one of these. Empty: however.
    pub outcomes: Vec<Outcome>,
    /// One of these kinds of Weir's, or codes of another subtype. Empty: whichever.
    pub kinds: Vec<String>,
    /// The one with this id.
    pub id: Option<Uuid>,
    /// With an index below this one: where the page before ended.
    pub before: Option<u64>,
    /// At most so many.
    pub count: usize,
}

/// One page.
#[derive(Clone, Debug)]
pub struct Page {
    /// The events with their indexes, the newest first.
    pub events: Vec<(u64, RecordedEvent<'static>)>,
    /// What to put into [`Query::before`] for the next page; `None` at the end.
    pub next: Option<u64>,
}

impl Query {
    /// Whether an event is one of those that are looked for.
    fn matches(&self, said: &RecordedEvent<'_>) -> bool {
        let (event, at) = (said.event(), said.at());
        let is_agent = |id: &String| event.agents.iter().any(|agent| name(&agent.who) == id);
        let is_entity = |id: &String| event.entities.iter().any(|entity| is_called(&entity.what, id));
        self.id.is_none_or(|id| event.id == id)
            && self.patient.as_deref().is_none_or(|patient| said.subject() == Some(patient))
            && self.from.is_none_or(|from| at >= from)
            && self.until.is_none_or(|until| at < until)
            && self.agent.as_ref().is_none_or(is_agent)
            && self.entity.as_ref().is_none_or(is_entity)
            && (self.outcomes.is_empty() || self.outcomes.contains(&event.outcome))
            && (self.kinds.is_empty()
                || event.subtypes.iter().any(|each| self.kinds.iter().any(|kind| *kind == each.code)))
    }

    /// The message that [`Query::entity`] names, if it names one.
    fn message(&self) -> Option<MessageId> {
        self.entity.as_ref()?.parse().ok()
    }
}

fn name<'a>(who: &'a Who<'_>) -> &'a str {
    match who {
        Who::Party(name) | Who::Operator(name) => name,
    }
}

fn is_called(what: &What<'_>, id: &str) -> bool {
    match what {
        What::Message(message) => id.parse() == Ok(*message),
        What::Agreement(agreement) => agreement == id,
        What::Patient(hash) => hash.as_deref() == Some(id),
        What::Resource(_, resource) => id.parse() == Ok(*resource),
        What::Configuration => id == "configuration",
        What::Query(_) => false,
    }
}

/// The event with an id.
///
/// # Errors
/// As [`search`].
pub async fn event(store: &dyn Store, id: Uuid) -> Result<Option<RecordedEvent<'static>>, Error> {
    let Some((from, until)) = instant_of(id) else { return Ok(None) };
    let mut query = Query { id: Some(id), from: Some(from), until: Some(until), count: 1, ..Query::default() };
    loop {
        let page = search(store, &query).await?;
        match (page.events.into_iter().next(), page.next) {
            (Some((_, found)), _) => return Ok(Some(found)),
            (None, None) => return Ok(None),
            (None, next) => query.before = next,
        }
    }
}

/// The millisecond in which an event with this id was recorded, and the next: an id holds it. `None`: no event has this id.
fn instant_of(id: Uuid) -> Option<(Instant, Instant)> {
    let (seconds, nanos) = id.get_timestamp().filter(|_| id.get_version_num() == 7)?.to_unix();
    let second = Instant::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    let from = second.checked_add(Duration::nanoseconds(nanos.into()))?;
    Some((from, from.checked_add(Duration::MILLISECOND)?))
}

/// The accepted message that `is_it`, the newest first. Every event of the log may be looked at.
///
/// # Errors
/// As [`search`].
pub async fn message(store: &dyn Store, is_it: impl Fn(MessageId) -> bool) -> Result<Option<MessageId>, Error> {
    let mut query = Query { kinds: vec![kind::MESSAGE_ACCEPTED.to_owned()], count: READ, ..Query::default() };
    loop {
        let page = search(store, &query).await?;
        let found = page.events.iter().filter_map(|(_, said)| said.message()).find(|message| is_it(*message));
        if found.is_some() || page.next.is_none() {
            return Ok(found);
        }
        query.before = page.next;
    }
}

/// The next page of what `query` asks for.
///
/// # Errors
/// When the store cannot be read, and [`Error::Damaged`] for an event that is none.
pub async fn search(store: &dyn Store, query: &Query) -> Result<Page, Error> {
    let mut page = Page { events: Vec::new(), next: None };
    let Some((from, end)) = bounds(store, query).await? else { return Ok(page) };
    let mut before = query.before.unwrap_or(u64::MAX).min(end);
    let mut looked_at = 0;
    loop {
        let (found, is_last) = read(store, query, (from, before)).await?;
        for stored in found {
            if page.events.len() == query.count || looked_at == LOOKED_AT {
                page.next = Some(before);
                return Ok(page);
            }
            before = stored.seq;
            looked_at += 1;
            let damaged = || Error::Damaged(format!("event {} is no AuditEvent", stored.seq));
            let said = RecordedEvent::read(&stored.event.bytes).ok_or_else(damaged)?;
            if query.matches(&said) {
                page.events.push((stored.seq, said.into_owned()));
            }
        }
        if is_last {
            return Ok(page);
        }
    }
}

/// The indexes between which what is looked for must be: from the first to before the second. `None`: nowhere.
async fn bounds(store: &dyn Store, query: &Query) -> Result<Option<(u64, u64)>, Error> {
    if query.from.is_none() && query.until.is_none() {
        return Ok(Some((0, u64::MAX)));
    }
    let (from, to) = (query.from.map_or(i64::MIN, Hour::of), query.until.map_or(i64::MAX, Hour::of));
    let hours = store.hours(from, to).await?;
    let (first, last) = (hours.iter().map(|hour| hour.first).min(), hours.iter().map(|hour| hour.last).max());
    Ok(first.zip(last).map(|(first, last)| (first, last + 1)))
}

/// The next events that may match, the newest first, and whether there are no others.
async fn read(store: &dyn Store, query: &Query, (from, before): (u64, u64)) -> Result<(Vec<StoredEvent>, bool), Error> {
    if let Some(message) = query.message() {
        let mut all = store.events_of(message).await?;
        all.retain(|stored| (from..before).contains(&stored.seq));
        all.reverse();
        return Ok((all, true));
    }
    let found = match &query.patient {
        Some(patient) => store.events_about(patient, before, READ).await?,
        None => store.events_back(from, before, READ).await?,
    };
    let is_last = found.len() < READ || found.last().is_some_and(|oldest| oldest.seq <= from);
    Ok((found, is_last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Access, HashKey, KeyedHash, Object, Recorder, Terms};
    use crate::storage::suite::message;
    use crate::storage::{NewMessage, Secret, SqliteStore};

    const START: Instant = time::macros::datetime!(2026-01-01 00:00 UTC);

    fn terms(subject: KeyedHash) -> Terms {
        Terms {
            subject: Some(subject),
            purpose: "ETREAT".to_owned(),
            agreement: "demo-trust-crisis".parse().expect("a name"),
            version: "1".to_owned(),
            agreement_hash: [0xab; 32],
            sent: 41,
            withheld: 12,
            missing: 0,
            consent: None,
        }
    }

    /// Messages about four people in turn, one each half hour.
    async fn log(messages: u32) -> (tempfile::TempDir, SqliteStore, HashKey) {
        log_with(messages, &Secret::generate()).await
    }

    async fn log_with(messages: u32, secret: &Secret) -> (tempfile::TempDir, SqliteStore, HashKey) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("weir.db"), secret).expect("it opens");
        let recorder = Recorder::new("DEMOP".parse().expect("an ODS code"), "weir.example/DEMOP");
        let hashes = HashKey::new(&[3; 32]);
        for number in 0..messages {
            let at = START + Duration::minutes(30) * number;
            let new = NewMessage { accepted_at: at, ..message(number) };
            let terms = terms(hashes.subject("nhs", &(number % 4).to_string()));
            let event = recorder.accepted(&new, None, &terms, &hashes.record(&new.digest));
            store.accept(new, vec![event]).await.expect("it is accepted");
            let by = Who::operator("demo-guardian");
            let action = crate::identity::principal::Action::ReadMessage;
            let (object, permitted) = (Object::Message(message(number).id), number % 3 > 0);
            let access = Access { by, action, object, patient: None, permitted, reason: None, address: None, at };
            store.append(recorder.access(access)).await.expect("it is written");
        }
        (folder, store, hashes)
    }

    /// The indexes of everything that is found, page by page.
    async fn all(store: &SqliteStore, query: Query) -> Vec<u64> {
        let (mut query, mut found) = (query, Vec::new());
        loop {
            let page = search(store, &query).await.expect("it is read");
            assert!(page.events.len() <= query.count);
            found.extend(page.events.iter().map(|(seq, _)| *seq));
            match page.next {
                Some(next) => query.before = Some(next),
                None => return found,
            }
        }
    }

    /// What a look at every event finds.
    async fn looked_for(store: &SqliteStore, query: &Query) -> Vec<u64> {
        let events = store.events(0, usize::MAX >> 1).await.expect("they are read");
        let matches =
            |stored: &&StoredEvent| query.matches(&RecordedEvent::read(&stored.event.bytes).expect("an AuditEvent"));
        events.iter().rev().filter(matches).map(|stored| stored.seq).collect()
    }

    #[tokio::test]
    async fn what_matches_is_found_page_by_page_and_nothing_else() {
        let (_folder, store, hashes) = log(40).await;
        let person = |number: u32| Some(hashes.subject("nhs", &number.to_string()).as_str().to_owned());
        let at = |minutes: i64| Some(START + Duration::minutes(minutes));
        let base = Query { count: 3, ..Query::default() };
        let sixth = message(6).id.to_string();
        let mut sizes = Vec::new();
        for query in [
            base.clone(),
            Query { patient: person(1), ..base.clone() },
            Query { patient: person(1), from: at(300), until: at(901), ..base.clone() },
            Query { patient: person(9), ..base.clone() },
            Query { patient: Some("no hash".to_owned()), ..base.clone() },
            Query { from: at(300), ..base.clone() },
            Query { until: at(45), ..base.clone() },
            Query { from: at(100_000), ..base.clone() },
            Query { agent: Some("demo-guardian".to_owned()), outcomes: vec![Outcome::MinorFailure], ..base.clone() },
            Query { agent: Some("nobody".to_owned()), ..base.clone() },
            Query { entity: Some(sixth.clone()), ..base.clone() },
            Query { entity: Some(sixth), patient: person(3), ..base.clone() },
            Query { kinds: vec![kind::MESSAGE_ACCEPTED.to_owned()], count: 1000, ..base.clone() },
        ] {
            let found = all(&store, query.clone()).await;
            assert_eq!(found, looked_for(&store, &query).await, "{query:?}");
            sizes.push(found.len());
        }
        assert_eq!(sizes[..5], [80, 10, 5, 0, 0]);
        assert!(sizes[8] > 0 && sizes[12] == 40 && sizes[7] == 0, "{sizes:?}");
    }

    /// As an earlier version left it, which filed nothing.
    #[tokio::test]
    async fn events_of_earlier_versions_are_filed_when_the_store_is_opened() {
        let secret = Secret::generate();
        let (folder, store, hashes) = log_with(9, &secret).await;
        let path = folder.path().join("weir.db");
        let query =
            Query { patient: Some(hashes.subject("nhs", "1").as_str().to_owned()), count: 9, ..Query::default() };
        let of_day = Query { from: Some(START), until: Some(START + Duration::HOUR), count: 9, ..Query::default() };
        let expected = (all(&store, query.clone()).await, all(&store, of_day.clone()).await);
        assert_eq!((expected.0.len(), expected.1.len()), (2, 4));
        drop(store);
        let forget =
            "DELETE FROM event_subjects; DELETE FROM event_hours; DELETE FROM site WHERE name = 'events filed'";
        let database = rusqlite::Connection::open(&path).expect("it opens");
        database.execute_batch(forget).expect("it runs");
        drop(database);
        let store = SqliteStore::open(&path, &secret).expect("it opens");
        assert_eq!((all(&store, query).await, all(&store, of_day).await), expected);
    }

    #[tokio::test]
    async fn every_event_is_found_by_its_id_and_nothing_by_another() {
        let (_folder, store, _) = log(12).await;
        let events = store.events(0, 100).await.expect("they are read");
        for stored in &events {
            let said = RecordedEvent::read(&stored.event.bytes).expect("an AuditEvent");
            let found = event(&store, said.event().id).await.expect("it is read");
            assert_eq!(found.as_ref(), Some(&said));
        }
        let same_time = crate::fhir::time_ordered_id(START);
        for id in [Uuid::nil(), Uuid::from_u128(u128::MAX), message_id(1).uuid(), same_time] {
            assert_eq!(event(&store, id).await.expect("it is read"), None, "{id}");
        }
        for number in [0, 7, 11] {
            let found = super::message(&store, |id| id == message_id(number)).await.expect("it is read");
            assert_eq!(found, Some(message_id(number)));
        }
        assert_eq!(super::message(&store, |id| id == message_id(12)).await.expect("it is read"), None);
    }

    fn message_id(number: u32) -> MessageId {
        message(number).id
    }

    /// Two patients whose hashes begin alike are filed together, and still told apart.
    #[tokio::test]
    async fn what_only_begins_alike_is_not_found() {
        let (_folder, store, hashes) = log(4).await;
        let hash = hashes.subject("nhs", "1").as_str().to_owned();
        let alike = format!("{}{}", &hash[..16], "0".repeat(48));
        let filed = store.events_about(&alike, u64::MAX, 9).await.expect("it is read");
        assert_eq!(filed.len(), 1, "it is a way to the other's event");
        let query = Query { patient: Some(alike), count: 9, ..Query::default() };
        assert_eq!(all(&store, query).await, [] as [u64; 0]);
    }
}
