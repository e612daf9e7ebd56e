//! Reviews and notices: the statements, and the types they carry.

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::super::{
    Completed, Damage, Error, Event, NewNotice, NewReview, NoticeRecord, NoticeResult, NoticeStep, ReviewCounts,
    ReviewRecord, ReviewStep, Window,
};
use super::envelopes;
use super::rows::{all, append, count, first, index, instant, millis, parsed, sound};
use crate::fhir::Instant;
use crate::identity::MessageId;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, interface, recipient, agreement, reviewer, purpose, basis, accepted_at, due_at, overdue_at, \
             completed_at, completed_by, finding, position FROM reviews JOIN messages ON position = message ",
            $rest
        )
    };
}

macro_rules! select_notices {
    ($rest:literal) => {
        concat!(
            "SELECT id, message, channel, target, body, created_at, attempts, next_attempt_at, delivered_at, note, \
             position FROM notices ",
            $rest
        )
    };
}

/// Opens the review of the message at `position`.
pub(super) fn open(
    connection: &Connection,
    position: i64,
    review: &NewReview,
    sealed_decision: &[u8],
) -> Result<(), Error> {
    let sql = "INSERT INTO reviews (message, reviewer, purpose, basis, due_at, decision) VALUES (?, ?, ?, ?, ?, ?)";
    let NewReview { reviewer, purpose, basis, due_at, .. } = review;
    let row = params![position, reviewer, purpose, basis, millis(*due_at), sealed_decision];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Ends one review; the words are sealed by now.
pub(super) fn complete(connection: &Connection, step: &ReviewStep) -> Result<(), Error> {
    let sql = "UPDATE reviews SET completed_at = ?, completed_by = ?, finding = ?, words = ? \
               WHERE message = (SELECT position FROM messages WHERE id = ?) AND completed_at IS NULL";
    envelopes::check_open(connection, &step.words)?;
    let Completed { at, by, finding } = &step.completed;
    let id = step.message.uuid();
    let row = params![millis(*at), by, finding.code(), step.words, id.as_bytes()];
    if connection.prepare_cached(sql)?.execute(row)? == 0 {
        return Err(absent_or_closed(connection, step.message)?);
    }
    step.notices.iter().try_for_each(|notice| insert_notice(connection, step.message, notice))
}

/// Says of one open review that it is overdue, unless that was said before.
pub(super) fn mark_overdue(connection: &Connection, id: MessageId, at: Instant, event: &Event) -> Result<bool, Error> {
    let sql = "UPDATE reviews SET overdue_at = ? WHERE message = (SELECT position FROM messages WHERE id = ?) \
               AND completed_at IS NULL AND overdue_at IS NULL AND due_at < ?1";
    let changed = connection.prepare_cached(sql)?.execute(params![millis(at), id.uuid().as_bytes()])?;
    if changed == 1 {
        append(connection, event)?;
    }
    Ok(changed == 1)
}

fn absent_or_closed(connection: &Connection, id: MessageId) -> Result<Error, Error> {
    Ok(find(connection, id)?.map_or(Error::UnknownReview(id), |_| Error::ReviewClosed(id)))
}

/// The review of one message.
pub(super) fn find(connection: &Connection, id: MessageId) -> Result<Option<ReviewRecord>, Error> {
    first(connection, select!("WHERE id = ?"), [id.uuid().as_bytes()], record)
}

/// Reviews: those that are open, the first due first; then the others, the newest first.
pub(super) fn list(connection: &Connection, open_only: bool, limit: usize) -> Result<Vec<ReviewRecord>, Error> {
    let sql = select!(
        "WHERE ?1 = 0 OR completed_at IS NULL ORDER BY completed_at IS NOT NULL, \
         CASE WHEN completed_at IS NULL THEN due_at ELSE -completed_at END, position LIMIT ?2"
    );
    all(connection, sql, params![open_only, count(limit)], record)
}

/// Open reviews that became overdue and were not said to be.
pub(super) fn newly_overdue(
    connection: &Connection,
    damage: &Damage,
    now: Instant,
    limit: usize,
) -> Result<Vec<ReviewRecord>, Error> {
    let sql =
        select!("WHERE completed_at IS NULL AND overdue_at IS NULL AND due_at < ? ORDER BY due_at, position LIMIT ?");
    sound(connection, ("reviews", damage), (sql, |limit| (millis(now), limit)), limit, record)
}

/// When the next open review becomes overdue.
pub(super) fn next_due(connection: &Connection) -> Result<Option<Instant>, Error> {
    let sql = "SELECT min(due_at) FROM reviews WHERE completed_at IS NULL AND overdue_at IS NULL";
    Ok(first(connection, sql, [], |row| row.get::<_, Option<i64>>(0)?.map(instant).transpose())?.flatten())
}

/// How many stand where at `now`.
pub(super) fn counts(connection: &Connection, now: Instant) -> Result<ReviewCounts, Error> {
    let sql = "SELECT count(*) FILTER (WHERE completed_at IS NULL AND due_at >= ?1), \
               count(*) FILTER (WHERE completed_at IS NULL AND due_at < ?1), count(completed_at), \
               (SELECT count(*) FROM notices WHERE next_attempt_at IS NOT NULL) FROM reviews";
    let counts = first(connection, sql, [millis(now)], |row| {
        let (open, overdue, completed) = (index(row, 0)?, index(row, 1)?, index(row, 2)?);
        Ok(ReviewCounts { open, overdue, completed, notices_waiting: index(row, 3)? })
    })?;
    Ok(counts.unwrap_or_default())
}

/// Keeps a notice to be delivered, unless it is known.
pub(super) fn insert_notice(connection: &Connection, message: MessageId, notice: &NewNotice) -> Result<(), Error> {
    let sql = "INSERT OR IGNORE INTO notices (id, message, channel, target, body, created_at, attempts, next_attempt_at, note) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?6, '')";
    let NewNotice { id, channel, target, body, at } = notice;
    let message = message.uuid();
    let row = params![id.as_bytes(), message.as_bytes(), channel.code(), target, body, millis(*at)];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Notices that are due, the longest due first, `limit` at most to each place.
pub(super) fn notices_due(
    connection: &Connection,
    damage: &Damage,
    window: Window,
    limit: usize,
) -> Result<Vec<NoticeRecord>, Error> {
    let sql = select_notices!(
        "WHERE position IN (SELECT position FROM (SELECT position, row_number() OVER \
         (PARTITION BY channel, CASE channel WHEN 'webhook' THEN target END ORDER BY next_attempt_at, position) AS turn \
         FROM notices WHERE next_attempt_at <= ?1 OR next_attempt_at > ?2) WHERE turn <= ?3) \
         ORDER BY next_attempt_at, position"
    );
    // A damaged one takes up no place of another.
    let params = |_| (millis(window.now), millis(window.latest), count(limit.saturating_add(damage.count())));
    sound(connection, ("notices", damage), (sql, params), usize::MAX, notice)
}

/// When the next notice is due.
pub(super) fn next_notice(connection: &Connection) -> Result<Option<Instant>, Error> {
    let sql = "SELECT min(next_attempt_at) FROM notices";
    Ok(first(connection, sql, [], |row| row.get::<_, Option<i64>>(0)?.map(instant).transpose())?.flatten())
}

/// The notices about one message, in the order they were made.
pub(super) fn notices_of(connection: &Connection, id: MessageId) -> Result<Vec<NoticeRecord>, Error> {
    all(connection, select_notices!("WHERE message = ? ORDER BY position"), [id.uuid().as_bytes()], notice)
}

/// Notes what an attempt came to. A notice that was delivered before stays so.
pub(super) fn step_notice(connection: &Connection, step: &NoticeStep) -> Result<(), Error> {
    let sql = "UPDATE notices SET attempts = ?, next_attempt_at = ?, delivered_at = ?, note = ? \
               WHERE id = ? AND delivered_at IS NULL";
    let (next, delivered) = match &step.result {
        NoticeResult::Delivered(at, _) => (None, Some(millis(*at))),
        NoticeResult::Again(at) => (Some(millis(*at)), None),
    };
    let row = params![step.attempts, next, delivered, step.note, step.id.as_bytes()];
    let changed = connection.prepare_cached(sql)?.execute(row)?;
    match &step.result {
        NoticeResult::Delivered(_, event) if event.message.is_none() && !is_of_referral(connection, step.id)? => {
            Err(Error::Damaged("a notice without its message".to_owned()))
        }
        NoticeResult::Delivered(_, event) if changed == 1 => append(connection, event).map(drop),
        _ => Ok(()),
    }
}

/// Whether a notice is of a referral: its events are filed under no message.
fn is_of_referral(connection: &Connection, notice: Uuid) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM notices JOIN inbound ON inbound.id = notices.message WHERE notices.id = ?";
    Ok(first(connection, sql, [notice.as_bytes()], |_| Ok(()))?.is_some())
}

fn record(row: &Row<'_>) -> Result<ReviewRecord, Error> {
    let completed_at = row.get::<_, Option<i64>>(10)?.map(instant).transpose()?;
    let completed =
        completed_at.map(|at| Ok::<_, Error>(Completed { at, by: row.get(11)?, finding: parsed(row, 12)? }));
    Ok(ReviewRecord {
        message: MessageId::from(Uuid::from_bytes(row.get(0)?)),
        interface: parsed(row, 1)?,
        recipient: parsed(row, 2)?,
        agreement: parsed(row, 3)?,
        reviewer: row.get(4)?,
        purpose: row.get(5)?,
        basis: row.get(6)?,
        opened_at: instant(row.get(7)?)?,
        due_at: instant(row.get(8)?)?,
        overdue_at: row.get::<_, Option<i64>>(9)?.map(instant).transpose()?,
        completed: completed.transpose()?,
    })
}

fn notice(row: &Row<'_>) -> Result<NoticeRecord, Error> {
    Ok(NoticeRecord {
        notice: NewNotice {
            id: Uuid::from_bytes(row.get(0)?),
            channel: parsed(row, 2)?,
            target: row.get(3)?,
            body: row.get(4)?,
            at: instant(row.get(5)?)?,
        },
        message: MessageId::from(Uuid::from_bytes(row.get(1)?)),
        attempts: row.get(6)?,
        next_attempt_at: row.get::<_, Option<i64>>(7)?.map(instant).transpose()?,
        delivered_at: row.get::<_, Option<i64>>(8)?.map(instant).transpose()?,
        note: row.get(9)?,
    })
}
