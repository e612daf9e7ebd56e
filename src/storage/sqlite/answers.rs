//! Answers, and the names by which they find their messages: the statements, and the types they carry.

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::super::{AnswerRecord, Error, Kept, MessageRecord, NewAnswer};
use super::rows::{all, append, count, first, instant, millis, parsed, record, record_columns, transition};
use super::{envelopes, handovers};
use crate::identity::MessageId;

/// Keeps what the message at `position` may be called.
pub(super) fn name(connection: &Connection, position: i64, names: &[String]) -> Result<(), Error> {
    let sql = "INSERT OR IGNORE INTO names (name, message) VALUES (?, ?)";
    for name in names {
        connection.prepare_cached(sql)?.execute(params![name.to_ascii_lowercase(), position])?;
    }
    Ok(())
}

/// Keeps what one message may be called that was accepted before names were kept.
pub(super) fn name_earlier(connection: &Connection, id: MessageId, names: &[String]) -> Result<(), Error> {
    let sql = "SELECT position FROM messages WHERE id = ?";
    let position: Option<i64> = first(connection, sql, [id.uuid().as_bytes()], |row| Ok(row.get(0)?))?;
    let position = position.ok_or(Error::UnknownMessage(id))?;
    connection.prepare_cached("DELETE FROM nameless WHERE message = ?")?.execute([position])?;
    name(connection, position, names)
}

/// Messages whose names were not kept when they were accepted, the newest first.
pub(super) fn nameless(connection: &Connection, limit: usize) -> Result<Vec<MessageId>, Error> {
    let sql = "SELECT id FROM nameless JOIN messages ON position = message ORDER BY message DESC LIMIT ?";
    all(connection, sql, [count(limit)], |row| Ok(MessageId::from(Uuid::from_bytes(row.get(0)?))))
}

/// See [`named`].
const NAMED: &str = concat!(
    "SELECT ",
    record_columns!(),
    " FROM messages WHERE position IN (SELECT message FROM names WHERE name = ?)"
);

/// Messages that may be called so.
pub(super) fn named(connection: &Connection, name: &str) -> Result<Vec<MessageRecord>, Error> {
    all(connection, NAMED, [name.to_ascii_lowercase()], record)
}

/// Keeps one answer with its events and what it changes, unless it is known. Its body is sealed by now.
pub(super) fn take(connection: &Connection, answer: &NewAnswer) -> Result<Kept, Error> {
    let sql = "SELECT digest FROM answers WHERE sender = ? AND id = ?";
    let known: Option<[u8; 32]> =
        first(connection, sql, params![answer.sender.as_str(), answer.id], |row| Ok(row.get(0)?))?;
    match known {
        Some(digest) if digest == answer.digest => return Ok(Kept::Before),
        Some(_) => return Ok(Kept::Conflict),
        None => {
            envelopes::check_open(connection, &answer.body)?;
            insert(connection, answer)?;
        }
    }
    append(connection, &answer.event)?;
    if let Some(step) = &answer.step {
        transition(connection, step)?;
    }
    for step in &answer.handover {
        handovers::apply(connection, step)?;
    }
    Ok(Kept::Now)
}

/// Of a message that was erased the answer itself is not kept.
fn insert(connection: &Connection, answer: &NewAnswer) -> Result<(), Error> {
    let sql = "INSERT INTO answers (sender, id, slot, message, digest, received_at, written_at, says, body) \
               SELECT ?1, ?2, ?3, position, ?4, ?5, ?6, ?7, CASE WHEN EXISTS \
               (SELECT 1 FROM contents JOIN envelopes ON number = envelope \
               WHERE message = position AND payload IS NULL AND key IS NOT NULL) THEN NULL ELSE ?8 END \
               FROM messages WHERE id = ?9";
    let says = serde_json::to_string(&answer.says).expect("codes and paths are JSON");
    let inserted = connection.prepare_cached(sql)?.execute(params![
        answer.sender.as_str(),
        answer.id,
        answer.slot().uuid().as_bytes(),
        answer.digest,
        millis(answer.received_at),
        answer.written_at.map(millis),
        says,
        answer.body,
        answer.message.uuid().as_bytes(),
    ])?;
    if inserted == 0 { Err(Error::UnknownMessage(answer.message)) } else { Ok(()) }
}

/// The answers to one message, in the order in which they came.
pub(super) fn of_message(connection: &Connection, id: MessageId) -> Result<Vec<AnswerRecord>, Error> {
    let sql = "SELECT answers.sender, answers.id, slot, answers.digest, received_at, written_at, says FROM answers \
               JOIN messages ON messages.position = message WHERE messages.id = ? ORDER BY answers.position";
    all(connection, sql, [id.uuid().as_bytes()], answer)
}

fn answer(row: &Row<'_>) -> Result<AnswerRecord, Error> {
    let says: String = row.get(6)?;
    Ok(AnswerRecord {
        sender: parsed(row, 0)?,
        id: row.get(1)?,
        slot: MessageId::from(Uuid::from_bytes(row.get(2)?)),
        digest: row.get(3)?,
        received_at: instant(row.get(4)?)?,
        // What the partner wrote decides the order alone: one that lies outside the calendar says nothing.
        written_at: row.get::<_, Option<i64>>(5)?.and_then(|millis| instant(millis).ok()),
        says: serde_json::from_str(&says).map_err(|_| Error::Damaged("what an answer says is not JSON".to_owned()))?,
    })
}
