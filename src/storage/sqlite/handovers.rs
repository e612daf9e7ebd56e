//! Handovers: the statements, and the types they carry.

use std::time::Duration;

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::super::{
    Damage, Error, Handover, HandoverCount, HandoverEntry, HandoverRecord, HandoverState, HandoverStep, Place, State,
};
use super::reviews;
use super::rows::{self, all, append, beyond, bound, first, index, instant, millis, parsed, sound};
use crate::fhir::Instant;
use crate::identity::MessageId;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, sender, messages.interface, recipient, agreement, priority, handovers.state, since, opened_at, near_at, \
             due_at, contact_within, contact_due_at, contacted_at, handovers.alert_at, tell, position \
             FROM handovers JOIN messages ON position = message ",
            $rest
        )
    };
}

/// Their table.
const HANDOVERS: &str = "handovers";

/// Writes one step. Whether it was written: not one that opens what is open already. One that does not start from what there
/// is, is [`Error::Stale`].
pub(super) fn apply(connection: &Connection, step: &HandoverStep) -> Result<bool, Error> {
    let sql = "SELECT position FROM messages WHERE id = ?";
    let position: Option<i64> = first(connection, sql, [step.message.uuid().as_bytes()], |row| Ok(row.get(0)?))?;
    let position = position.ok_or(Error::UnknownMessage(step.message))?;
    match &step.before {
        None if !open(connection, position, &step.after)? => return Ok(false),
        None => {}
        Some(before) => replace(connection, (step.message, position), before, &step.after)?,
    }
    let event = append(connection, &step.event)?;
    if step.is_step {
        let sql = "INSERT INTO handover_steps (message, event, state, at, answer) VALUES (?, ?, ?, ?, ?)";
        let answer = step.answer.map(|slot| *slot.uuid().as_bytes());
        let row = params![position, bound(event), step.after.state.code(), millis(step.at), answer];
        connection.prepare_cached(sql)?.execute(row)?;
    }
    step.notices.iter().try_for_each(|notice| reviews::insert_notice(connection, step.message, notice))?;
    Ok(true)
}

/// See [`open`].
pub(super) const OPEN: &str = "INSERT OR IGNORE INTO handovers (message, interface, state, since, opened_at, near_at, due_at, \
    contact_within, contact_due_at, contacted_at, alert_at, tell) \
    SELECT ?1, interface, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 FROM messages WHERE position = ?1";

fn open(connection: &Connection, position: i64, new: &Handover) -> Result<bool, Error> {
    let row = params![
        position,
        new.state.code(),
        millis(new.since),
        millis(new.opened_at),
        millis(new.near_at),
        millis(new.due_at),
        within(new),
        new.contact_due_at.map(millis),
        new.contacted_at.map(millis),
        new.alert_at.map(millis),
        new.tell.map(|tell| tell.code()),
    ];
    Ok(connection.prepare_cached(OPEN)?.execute(row)? == 1)
}

fn replace(
    connection: &Connection,
    (message, position): (MessageId, i64),
    before: &Handover,
    after: &Handover,
) -> Result<(), Error> {
    let sql = "UPDATE handovers SET state = ?1, since = ?2, contact_due_at = ?3, contacted_at = ?4, alert_at = ?5, \
               tell = ?6, opened_at = ?7, near_at = ?8, due_at = ?9 WHERE message = ?10 AND state = ?11 AND since = ?12 \
               AND contact_due_at IS ?13 AND contacted_at IS ?14 AND alert_at IS ?15 AND tell IS ?16";
    let row = params![
        after.state.code(),
        millis(after.since),
        after.contact_due_at.map(millis),
        after.contacted_at.map(millis),
        after.alert_at.map(millis),
        after.tell.map(|tell| tell.code()),
        millis(after.opened_at),
        millis(after.near_at),
        millis(after.due_at),
        position,
        before.state.code(),
        millis(before.since),
        before.contact_due_at.map(millis),
        before.contacted_at.map(millis),
        before.alert_at.map(millis),
        before.tell.map(|tell| tell.code()),
    ];
    if connection.prepare_cached(sql)?.execute(row)? == 1 {
        return Ok(());
    }
    let found = rows::find(connection, message)?.map_or(State::Delivered, |record| record.state);
    Err(Error::Stale { message, expected: found, found })
}

fn within(handover: &Handover) -> i64 {
    i64::try_from(handover.contact_within.as_millis()).unwrap_or(i64::MAX)
}

/// The handover of one message.
pub(super) fn find(connection: &Connection, id: MessageId) -> Result<Option<HandoverRecord>, Error> {
    first(connection, select!("WHERE id = ?"), [id.uuid().as_bytes()], record)
}

/// The steps of one message's handover, in order.
pub(super) fn steps(connection: &Connection, id: MessageId) -> Result<Vec<HandoverEntry>, Error> {
    let sql = "SELECT handover_steps.state, at, event, answer FROM handover_steps \
               JOIN messages ON position = message WHERE id = ? ORDER BY event";
    all(connection, sql, [id.uuid().as_bytes()], |row| {
        let answer = row.get::<_, Option<[u8; 16]>>(3)?.map(|bytes| MessageId::from(Uuid::from_bytes(bytes)));
        Ok(HandoverEntry { state: parsed(row, 0)?, at: instant(row.get(1)?)?, event: index(row, 2)?, answer })
    })
}

/// Handovers: those that wait, the first due first; then the others, the newest first.
pub(super) fn list(
    connection: &Connection,
    damage: &Damage,
    state: Option<HandoverState>,
    limit: usize,
) -> Result<Vec<HandoverRecord>, Error> {
    let sql = select!(
        "WHERE ?1 IS NULL OR handovers.state = ?1 ORDER BY handovers.state NOT IN ('waiting', 'near-due', 'overdue'), \
         CASE WHEN handovers.state IN ('waiting', 'near-due', 'overdue') THEN due_at ELSE -since END, position LIMIT ?2"
    );
    let params = |limit| (state.map(HandoverState::code), limit);
    sound(connection, (HANDOVERS, damage), (sql, params), limit, record)
}

/// Handovers of which people are to be told at once, and those whose time has come, the longest due first.
pub(super) fn due(
    connection: &Connection,
    damage: &Damage,
    now: Instant,
    limit: usize,
) -> Result<Vec<HandoverRecord>, Error> {
    let of = (HANDOVERS, damage);
    let mut found = sound(connection, of, (select!("WHERE tell IS NOT NULL LIMIT ?"), |limit| [limit]), limit, record)?;
    let sql = select!("WHERE handovers.alert_at <= ?1 AND tell IS NULL ORDER BY handovers.alert_at LIMIT ?2");
    found.extend(sound(connection, of, (sql, |limit| (millis(now), limit)), limit, record)?);
    Ok(found)
}

/// See [`later`].
pub(super) const LATER: &str = select!(
    "WHERE handovers.alert_at >= ?2 AND (handovers.alert_at > ?2 OR message > ?3) AND since > ?1 \
     ORDER BY handovers.alert_at, message LIMIT ?4"
);

/// Handovers after a place that are still to be looked at and stand where they do since later than `now`, each with its place.
pub(super) fn later(
    connection: &Connection,
    damage: &Damage,
    (now, after): (Instant, Place),
    limit: usize,
) -> Result<Vec<(Place, HandoverRecord)>, Error> {
    let (at, position) = beyond(now, after);
    let params = |limit| (millis(now), at, position, limit);
    sound(connection, (HANDOVERS, damage), (LATER, params), limit, |row| {
        Ok(((instant(row.get(14)?)?, index(row, 16)?), record(row)?))
    })
}

/// How many stand where.
pub(super) fn counts(connection: &Connection, damage: &Damage) -> Result<Vec<HandoverCount>, Error> {
    let sql = "SELECT interface, state, count(*), min(message) FROM handovers GROUP BY state, interface \
               ORDER BY interface, state LIMIT ?";
    sound(connection, (HANDOVERS, damage), (sql, |limit| [limit]), usize::MAX, |row| {
        Ok(HandoverCount { interface: parsed(row, 0)?, state: parsed(row, 1)?, handovers: index(row, 2)? })
    })
}

fn record(row: &Row<'_>) -> Result<HandoverRecord, Error> {
    let maybe = |column| row.get::<_, Option<i64>>(column)?.map(instant).transpose();
    Ok(HandoverRecord {
        message: MessageId::from(Uuid::from_bytes(row.get(0)?)),
        sender: parsed(row, 1)?,
        interface: parsed(row, 2)?,
        recipient: parsed(row, 3)?,
        agreement: parsed(row, 4)?,
        priority: row.get(5)?,
        handover: Handover {
            state: parsed(row, 6)?,
            since: instant(row.get(7)?)?,
            opened_at: instant(row.get(8)?)?,
            near_at: instant(row.get(9)?)?,
            due_at: instant(row.get(10)?)?,
            contact_within: Duration::from_millis(index(row, 11)?),
            contact_due_at: maybe(12)?,
            contacted_at: maybe(13)?,
            alert_at: maybe(14)?,
            tell: row.get::<_, Option<String>>(15)?.map(|_| parsed(row, 15)).transpose()?,
        },
    })
}
