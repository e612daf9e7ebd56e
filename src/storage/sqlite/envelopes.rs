//! Envelopes: the statements, and what seals and opens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Row, params};

use super::super::seal::{Broken, Key, envelope_of, head_of_envelope};
use super::super::{Content, Ended, Envelope, Erasure, Error, Event, MAY_COME_BACK, Opened, Part, Secret};
use super::inbound;
use super::rows::{self, all, append, bound, count, first, index, instant, millis, parsed};
use crate::fhir::Instant;
use crate::identity::{AgreementId, MessageId};

/// What a message of an envelope still needs it for: it waits to be sent, it was delivered after the instant that the parameter
/// gives and may come back, or its review is open.
macro_rules! needed {
    ($since:literal) => {
        concat!(
            "(state IN ('accepted', 'queued', 'in-flight') OR (state = 'delivered' AND updated_at > ",
            $since,
            ") OR EXISTS (SELECT 1 FROM reviews WHERE message = position AND completed_at IS NULL))"
        )
    };
}

/// What was delivered later may come back.
fn since(now: Instant) -> i64 {
    millis(now.saturating_sub(MAY_COME_BACK))
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT number, agreement, day, retention_days, destroyed_at, key FROM envelopes ", $rest)
    };
}

/// The keys of the envelopes that are open to be sealed into.
#[derive(Debug, Default)]
pub(super) struct OpenEnvelopes(Mutex<BTreeMap<Day, (Envelope, Arc<Key>)>>);

/// An agreement and a day, counted from 1970 in UTC.
type Day = (AgreementId, i64);

impl OpenEnvelopes {
    /// The key of a day under an agreement, if it is known and kept for at least `retention_days`.
    pub(super) fn find(&self, agreement: &AgreementId, day: i64, retention_days: u32) -> Option<Arc<Key>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (envelope, key) = known.get(&(agreement.clone(), day))?;
        (envelope.retention_days >= retention_days).then(|| key.clone())
    }

    pub(super) fn keep(&self, envelope: Envelope, key: Arc<Key>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((envelope.agreement.clone(), envelope.day), (envelope, key));
    }

    /// Forgets every key.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The envelope of a day under an agreement with its key: made if there is none, and kept longer if `retention_days` says so.
pub(super) fn open(
    connection: &Connection,
    site: &Key,
    (agreement, day, retention_days): (&AgreementId, i64, u32),
) -> Result<(Envelope, Key), Error> {
    let sql = select!("WHERE agreement = ? AND day = ? AND key IS NOT NULL");
    let known = first(connection, sql, params![agreement.as_str(), day], |row| Ok((envelope(row)?, row.get(5)?)))?;
    let (envelope, secret) = match known {
        Some((known, sealed)) => {
            let secret = opened_key(site, &known, sealed)?;
            let longer = Envelope { retention_days: retention_days.max(known.retention_days), ..known.clone() };
            if longer != known {
                let sql = "UPDATE envelopes SET retention_days = ?, key = ? WHERE number = ?";
                let sealed = site.seal_key(&longer, &secret);
                connection.prepare_cached(sql)?.execute(params![
                    longer.retention_days,
                    sealed,
                    bound(longer.number)
                ])?;
            }
            (longer, secret)
        }
        None => {
            let sql = "SELECT coalesce(max(number), 0) + 1 FROM envelopes";
            let number = first(connection, sql, [], |row| index(row, 0))?.unwrap_or(1);
            let new = Envelope { number, agreement: agreement.clone(), day, retention_days, destroyed_at: None };
            let secret = Secret::generate();
            let sql = "INSERT INTO envelopes (number, agreement, day, retention_days, key) VALUES (?, ?, ?, ?, ?)";
            let sealed = site.seal_key(&new, &secret);
            let row = params![bound(number), agreement.as_str(), day, retention_days, sealed];
            connection.prepare_cached(sql)?.execute(row)?;
            (new, secret)
        }
    };
    let key = Key::of_envelope(envelope.number, &secret);
    Ok((envelope, key))
}

/// Refuses to store what was sealed for an envelope that was destroyed meanwhile: nobody could open it.
pub(super) fn check_open(connection: &Connection, sealed: &[u8]) -> Result<(), Error> {
    let Ok(Some(number)) = envelope_of(sealed) else { return Ok(()) };
    let sql = "SELECT 1 FROM envelopes WHERE number = ? AND key IS NOT NULL";
    let is_open = first(connection, sql, [bound(number)], |_| Ok(()))?.is_some();
    let closed = || Error::Unavailable("the key of the day was destroyed meanwhile".to_owned());
    if is_open { Ok(()) } else { Err(closed()) }
}

/// Under which agreement a message's contents lie, and for how many days they are kept; `None` for a message of before.
pub(super) fn of_message(connection: &Connection, id: MessageId) -> Result<Option<(AgreementId, u32)>, Error> {
    let sql = "SELECT envelopes.agreement, retention_days FROM messages JOIN contents ON message = position \
               JOIN envelopes ON number = envelope WHERE id = ?";
    first(connection, sql, [id.uuid().as_bytes()], |row| Ok((parsed(row, 0)?, row.get(1)?)))
}

/// A sealed part as it is stored, opened. `None` when it is not there, or the key that sealed it was destroyed.
pub(super) fn opened(connection: &Connection, site: &Key, (id, content): Part) -> Opened {
    let Some(sealed) = rows::content(connection, id, content)? else { return Ok(None) };
    let damaged = || Error::Damaged(format!("the {} of message {id} does not open", content.column()));
    let broken = |broken| match broken {
        Broken::WrongKey => Error::WrongKey,
        Broken::Damaged => damaged(),
    };
    let number = envelope_of(&sealed).map_err(broken)?;
    // What holds a key is read from the row.
    if content == Content::Payload && number != filed_under(connection, id)? {
        return Err(damaged());
    }
    let Some(number) = number else {
        return site.open(id, content, &sealed).map(Some).map_err(broken);
    };
    let sql = select!("WHERE number = ?");
    let (envelope, key) =
        first(connection, sql, [bound(number)], |row| Ok((envelope(row)?, row.get(5)?)))?.ok_or_else(damaged)?;
    let Some(key) = key else { return Ok(None) };
    let key = Key::of_envelope(number, &opened_key(site, &envelope, key)?);
    key.open(id, content, &sealed).map(Some).map_err(broken)
}

/// The envelope that a message's row names.
fn filed_under(connection: &Connection, id: MessageId) -> Result<Option<u64>, Error> {
    let sql = "SELECT envelope FROM contents JOIN messages ON position = message WHERE id = ?";
    let found = first(connection, sql, [id.uuid().as_bytes()], |row| Ok(row.get::<_, Option<i64>>(0)?))?;
    Ok(found.flatten().and_then(|number| u64::try_from(number).ok()))
}

fn opened_key(site: &Key, envelope: &Envelope, sealed: Vec<u8>) -> Result<Secret, Error> {
    site.open_key(envelope, &sealed).map_err(|broken| match broken {
        Broken::WrongKey => Error::WrongKey,
        Broken::Damaged => Error::Damaged(format!("the key of envelope {} does not open", envelope.number)),
    })
}

/// Envelopes after a number, in order.
pub(super) fn list(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Envelope>, Error> {
    all(connection, select!("WHERE number > ? ORDER BY number LIMIT ?"), params![bound(after), count(limit)], envelope)
}

/// Envelopes after a number that have a key and whose retention has ended, in order.
pub(super) fn ended(connection: &Connection, now: Instant, after: u64, limit: usize) -> Result<Vec<Ended>, Error> {
    let sql = select!("WHERE number > ? AND key IS NOT NULL AND day + retention_days + 1 <= ? ORDER BY number LIMIT ?");
    let found = all(connection, sql, params![bound(after), Envelope::day_of(now), count(limit)], envelope)?;
    let count = |envelope: Envelope| {
        let sql = concat!(
            "SELECT count(*), count(*) FILTER (WHERE state IN ('refused', 'dead')), count(*) FILTER (WHERE ",
            needed!("?2"),
            ") FROM contents JOIN messages ON position = message WHERE envelope = ?1 AND payload IS NOT NULL"
        );
        let counts = |row: &Row<'_>| Ok((index(row, 0)?, index(row, 1)?, index(row, 2)?));
        let (messages, undelivered, held) =
            first(connection, sql, params![bound(envelope.number), since(now)], counts)?.unwrap_or_default();
        let (referrals, waiting) = inbound::in_envelope(connection, envelope.number)?;
        Ok(Ended { envelope, messages: messages + referrals, undelivered, held: held + waiting })
    };
    found.into_iter().map(count).collect()
}

/// Destroys the key of an envelope, unless it is destroyed or something needs it. Whether it was done now.
pub(super) fn destroy(connection: &Connection, number: u64, at: Instant, event: &Event) -> Result<bool, Error> {
    let sql = concat!(
        "UPDATE envelopes SET key = NULL, destroyed_at = ?2 WHERE number = ?1 AND key IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM contents JOIN messages ON position = message WHERE envelope = ?1 AND payload IS NOT NULL AND ",
        needed!("?3"),
        ")"
    );
    // A referral that nobody has collected is needed still.
    if inbound::in_envelope(connection, number)?.1 > 0 {
        return Ok(false);
    }
    let changed = connection.prepare_cached(sql)?.execute(params![bound(number), millis(at), since(at)])?;
    if changed == 1 {
        clear_others(connection, number)?;
        append(connection, event)?;
    }
    Ok(changed == 1)
}

/// Takes away decisions, words of reviews, answers and referrals that an envelope's key sealed. There are few of them.
fn clear_others(connection: &Connection, number: u64) -> Result<(), Error> {
    let head = head_of_envelope(number);
    for sql in [
        "UPDATE reviews SET decision = NULL WHERE substr(decision, 1, ?2) = ?1",
        "UPDATE reviews SET words = NULL WHERE substr(words, 1, ?2) = ?1",
        "UPDATE answers SET body = NULL WHERE substr(body, 1, ?2) = ?1",
    ] {
        connection.prepare_cached(sql)?.execute(params![head, count(head.len())])?;
    }
    inbound::clear(connection, number)
}

/// Takes away Bundles and lineages that lie in destroyed envelopes and open no more; how many messages, `limit` at most.
pub(super) fn clear(connection: &Connection, limit: usize) -> Result<usize, Error> {
    let sql = "UPDATE contents SET payload = NULL, lineage = NULL WHERE message IN \
               (SELECT message FROM envelopes JOIN contents ON envelope = number \
               WHERE destroyed_at IS NOT NULL AND payload IS NOT NULL LIMIT ?)";
    Ok(connection.prepare_cached(sql)?.execute([count(limit)])?)
}

/// Erases the contents of one message or referral that nothing needs any more.
pub(super) fn erase(connection: &Connection, erasure: &Erasure, now: Instant) -> Result<(), Error> {
    let id = erasure.message;
    let Some(record) = rows::find(connection, id)? else { return inbound::erase(connection, erasure) };
    if erasure.event.message != Some(id) {
        return Err(Error::WithoutEvent(id));
    }
    let sql = concat!("SELECT position FROM messages WHERE id = ?1 AND NOT ", needed!("?2"));
    let position: Option<i64> =
        first(connection, sql, params![id.uuid().as_bytes(), since(now)], |row| Ok(row.get(0)?))?;
    let position = position.ok_or(Error::Needed { message: id, state: record.state })?;
    for sql in [
        "UPDATE contents SET payload = NULL, lineage = NULL WHERE message = ?",
        "UPDATE reviews SET decision = NULL, words = NULL WHERE message = ?",
        "UPDATE answers SET body = NULL WHERE message = ?",
    ] {
        connection.prepare_cached(sql)?.execute([position])?;
    }
    append(connection, &erasure.event).map(drop)
}

fn envelope(row: &Row<'_>) -> Result<Envelope, Error> {
    Ok(Envelope {
        number: index(row, 0)?,
        agreement: parsed(row, 1)?,
        day: row.get(2)?,
        retention_days: row.get(3)?,
        destroyed_at: row.get::<_, Option<i64>>(4)?.map(instant).transpose()?,
    })
}
