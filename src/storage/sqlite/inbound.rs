//! Referrals that partners sent: the statements, and the types they carry.

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::super::seal::head_of_envelope;
use super::super::{
    Collection, Damage, Erasure, Error, InboundCount, InboundLook, InboundRecord, Listed, NewInbound, Place, Received,
};
use super::rows::{all, append, beyond, bound, count, first, index, instant, millis, parsed, sound};
use super::{envelopes, reviews};
use crate::fhir::Instant;
use crate::identity::{MessageId, PartyId};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, sender, bundle, interface, digest, priority, received_at, collected_at, collected_by, due_at, alert_at, \
             told, event, position FROM inbound ",
            $rest
        )
    };
}

/// Their table.
const INBOUND: &str = "inbound";

/// The one that a sender calls so.
pub(super) fn of_sender(
    connection: &Connection,
    sender: &PartyId,
    bundle: Uuid,
) -> Result<Option<InboundRecord>, Error> {
    first(connection, select!("WHERE sender = ? AND bundle = ?"), params![sender.as_str(), bundle.as_bytes()], record)
}

/// Keeps one with its event, unless it is known. Its contents are sealed by now.
pub(super) fn receive(connection: &Connection, new: &NewInbound) -> Result<Received, Error> {
    if let Some(known) = of_sender(connection, &new.sender, new.bundle)? {
        return Ok(if known.digest == new.digest { Received::Before(Box::new(known)) } else { Received::Conflict });
    }
    for sealed in [&new.message, &new.record] {
        envelopes::check_open(connection, sealed)?;
    }
    let event = append(connection, &new.event)?;
    let sql = "INSERT INTO inbound (id, sender, bundle, interface, digest, priority, received_at, due_at, alert_at, event, \
               message, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    connection.prepare_cached(sql)?.execute(params![
        new.id().uuid().as_bytes(),
        new.sender.as_str(),
        new.bundle.as_bytes(),
        new.interface.as_str(),
        new.digest,
        new.priority,
        millis(new.received_at),
        millis(new.due_at),
        millis(new.near_at),
        bound(event),
        new.message,
        new.record,
    ])?;
    let kept =
        find(connection, new.id())?.ok_or_else(|| Error::Damaged("what was inserted is not there".to_owned()))?;
    Ok(Received::Now(Box::new(kept)))
}

/// One of them.
pub(super) fn find(connection: &Connection, id: MessageId) -> Result<Option<InboundRecord>, Error> {
    first(connection, select!("WHERE id = ?"), [id.uuid().as_bytes()], record)
}

/// Those that are asked for, in their order.
pub(super) fn list(
    connection: &Connection,
    damage: &Damage,
    listed: Listed,
    limit: usize,
) -> Result<Vec<InboundRecord>, Error> {
    let (sql, before) = match listed {
        Listed::Waiting => (select!("WHERE ?1 IS NULL AND collected_at IS NULL ORDER BY position LIMIT ?2"), None),
        Listed::All => (select!("WHERE ?1 IS NULL ORDER BY position DESC LIMIT ?2"), None),
        Listed::Before(id) => (
            select!("WHERE position < (SELECT position FROM inbound WHERE id = ?1) ORDER BY position DESC LIMIT ?2"),
            Some(*id.uuid().as_bytes()),
        ),
    };
    sound(connection, (INBOUND, damage), (sql, |limit| (before, limit)), limit, record)
}

/// Those after a place in the order of arrival, each with its place.
pub(super) fn after(connection: &Connection, after: u64, limit: usize) -> Result<Vec<(u64, InboundRecord)>, Error> {
    let sql = select!("WHERE position > ? ORDER BY position LIMIT ?");
    all(connection, sql, params![bound(after), count(limit)], |row| Ok((index(row, 13)?, record(row)?)))
}

/// Notes that one was collected, with the event that says so; whether it was noted now.
pub(super) fn collect(connection: &Connection, collection: &Collection) -> Result<bool, Error> {
    let sql =
        "UPDATE inbound SET collected_at = ?, collected_by = ?, alert_at = NULL WHERE id = ? AND collected_at IS NULL";
    let id = collection.id.uuid();
    let row = params![millis(collection.at), collection.by.as_str(), id.as_bytes()];
    let changed = connection.prepare_cached(sql)?.execute(row)?;
    if changed == 1 {
        append(connection, &collection.event)?;
    } else if find(connection, collection.id)?.is_none() {
        return Err(Error::UnknownMessage(collection.id));
    }
    Ok(changed == 1)
}

/// Those whose time to be looked at has come, the longest due first.
pub(super) fn due(
    connection: &Connection,
    damage: &Damage,
    now: Instant,
    limit: usize,
) -> Result<Vec<InboundRecord>, Error> {
    let sql = select!("WHERE alert_at <= ?1 AND collected_at IS NULL ORDER BY alert_at LIMIT ?2");
    sound(connection, (INBOUND, damage), (sql, |limit| (millis(now), limit)), limit, record)
}

/// See [`later`].
pub(super) const LATER: &str = select!(
    "WHERE alert_at >= ?2 AND (alert_at > ?2 OR position > ?3) AND received_at > ?1 AND collected_at IS NULL \
     ORDER BY alert_at, position LIMIT ?4"
);

/// Those after a place that are still to be looked at and came later than `now`, each with its place.
pub(super) fn later(
    connection: &Connection,
    damage: &Damage,
    (now, after): (Instant, Place),
    limit: usize,
) -> Result<Vec<(Place, InboundRecord)>, Error> {
    let (at, position) = beyond(now, after);
    let params = |limit| (millis(now), at, position, limit);
    sound(connection, (INBOUND, damage), (LATER, params), limit, |row| {
        Ok(((instant(row.get(10)?)?, index(row, 13)?), record(row)?))
    })
}

/// Notes what came of looking at one that waits, unless it moved on meanwhile.
pub(super) fn look(connection: &Connection, look: &InboundLook) -> Result<bool, Error> {
    let sql = "UPDATE inbound SET due_at = ?1, alert_at = ?2, told = coalesce(?3, told) \
               WHERE id = ?4 AND collected_at IS NULL AND alert_at IS ?5";
    let told = look.told.as_ref().map(|(trouble, ..)| trouble.code());
    let id = look.id.uuid();
    let row = params![millis(look.due_at), look.next.map(millis), told, id.as_bytes(), look.before.map(millis)];
    let changed = connection.prepare_cached(sql)?.execute(row)?;
    if let (1, Some((_, notices, event))) = (changed, &look.told) {
        notices.iter().try_for_each(|notice| reviews::insert_notice(connection, look.id, notice))?;
        append(connection, event)?;
    }
    Ok(changed == 1)
}

/// See [`counts`].
pub(super) const COUNTS: &str = "SELECT interface, priority, count(*), count(*) FILTER (WHERE due_at <= ?1), min(received_at), \
                                 min(position) FROM inbound WHERE collected_at IS NULL GROUP BY interface, priority \
                                 ORDER BY interface, priority LIMIT ?2";

/// How many wait at `now`.
pub(super) fn counts(connection: &Connection, damage: &Damage, now: Instant) -> Result<Vec<InboundCount>, Error> {
    let params = |limit| (millis(now), limit);
    sound(connection, (INBOUND, damage), (COUNTS, params), usize::MAX, |row| {
        let (interface, priority, oldest) = (parsed(row, 0)?, row.get(1)?, instant(row.get(4)?)?);
        Ok(InboundCount { interface, priority, waiting: index(row, 2)?, overdue: index(row, 3)?, oldest })
    })
}

/// Erases the contents of one that was collected.
pub(super) fn erase(connection: &Connection, erasure: &Erasure) -> Result<(), Error> {
    let id = erasure.message;
    let found = find(connection, id)?.ok_or(Error::UnknownMessage(id))?;
    if erasure.event.message.is_some() {
        return Err(Error::WithoutEvent(id));
    }
    if found.collected.is_none() {
        return Err(Error::Uncollected(id));
    }
    let sql = "UPDATE inbound SET message = NULL, record = NULL WHERE id = ?";
    connection.prepare_cached(sql)?.execute([id.uuid().as_bytes()])?;
    append(connection, &erasure.event).map(drop)
}

/// Rows that an envelope's key sealed: as the index says it, so that no other row is read.
macro_rules! sealed {
    () => {
        "message IS NOT NULL AND substr(message, 1, 9) = ?1"
    };
}

/// See [`in_envelope`].
pub(super) const IN_ENVELOPE: &str =
    concat!("SELECT count(*), count(*) FILTER (WHERE collected_at IS NULL) FROM inbound WHERE ", sealed!());

/// See [`clear`].
pub(super) const CLEAR: &str = concat!("UPDATE inbound SET message = NULL, record = NULL WHERE ", sealed!());

/// How many referrals an envelope's key sealed, and how many of them wait.
pub(super) fn in_envelope(connection: &Connection, number: u64) -> Result<(u64, u64), Error> {
    let counts = |row: &Row<'_>| Ok((index(row, 0)?, index(row, 1)?));
    Ok(first(connection, IN_ENVELOPE, [head_of_envelope(number)], counts)?.unwrap_or_default())
}

/// Takes away what an envelope's key sealed. Message and record of a referral are sealed by one key.
pub(super) fn clear(connection: &Connection, number: u64) -> Result<(), Error> {
    connection.prepare_cached(CLEAR)?.execute([head_of_envelope(number)])?;
    Ok(())
}

fn record(row: &Row<'_>) -> Result<InboundRecord, Error> {
    let maybe = |column| row.get::<_, Option<i64>>(column)?.map(instant).transpose();
    let collected = match maybe(7)? {
        Some(at) => Some((at, parsed(row, 8)?)),
        None => None,
    };
    Ok(InboundRecord {
        id: MessageId::from(Uuid::from_bytes(row.get(0)?)),
        sender: parsed(row, 1)?,
        bundle: Uuid::from_bytes(row.get(2)?),
        interface: parsed(row, 3)?,
        digest: row.get(4)?,
        priority: row.get(5)?,
        received_at: instant(row.get(6)?)?,
        due_at: maybe(9)?,
        alert_at: maybe(10)?,
        told: row.get::<_, Option<String>>(11)?.map(|_| parsed(row, 11)).transpose()?,
        event: row.get::<_, Option<i64>>(12)?.map(|_| index(row, 12)).transpose()?,
        collected,
    })
}
