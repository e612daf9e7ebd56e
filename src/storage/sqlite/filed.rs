//! Where events are found again: by patient, and by the hour in which they were recorded. What is filed follows from the
//! events, is written in their transaction, and is compared with them by a verification.

use rusqlite::{Connection, params};

use super::super::{Error, FiledSubject, Hour, StoredEvent, filing_number};
use super::rows::{all, bound, count, event, index};
use crate::fhir::audit_event::RecordedEvent;

/// Events read at a time.
const PAGE: usize = 512;

/// Files one event under what its bytes say.
pub(super) fn file(connection: &Connection, seq: u64, bytes: &[u8]) -> Result<(), Error> {
    let Some(said) = RecordedEvent::read(bytes) else { return Ok(()) };
    if let Some(subject) = said.subject().and_then(filing_number) {
        let sql = "INSERT OR IGNORE INTO event_subjects (subject, seq) VALUES (?, ?)";
        connection.prepare_cached(sql)?.execute(params![subject, bound(seq)])?;
    }
    let sql = "INSERT INTO event_hours (hour, first, last) VALUES (?1, ?2, ?2) ON CONFLICT (hour) \
               DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)";
    connection.prepare_cached(sql)?.execute(params![Hour::of(said.at()), bound(seq)])?;
    Ok(())
}

/// Files the events of earlier versions, once.
pub(super) fn file_earlier(connection: &Connection) -> Result<(), Error> {
    let sql = "INSERT OR IGNORE INTO site (name, value) VALUES ('events filed', x'01')";
    let transaction = connection.unchecked_transaction()?;
    if transaction.execute(sql, [])? == 0 {
        return Ok(());
    }
    let mut from = 0;
    loop {
        let page = super::rows::events(&transaction, from, PAGE)?;
        let Some(last) = page.last() else { break };
        from = from.max(last.seq + 1);
        for stored in &page {
            file(&transaction, stored.seq, &stored.event.bytes)?;
        }
    }
    Ok(transaction.commit()?)
}

/// Events filed under a patient, the newest first.
pub(super) fn about(
    connection: &Connection,
    subject: i64,
    before: u64,
    limit: usize,
) -> Result<Vec<StoredEvent>, Error> {
    let sql = "SELECT seq, message, leaf, bytes FROM event_subjects JOIN events USING (seq) \
               WHERE subject = ? AND seq < ? ORDER BY seq DESC LIMIT ?";
    all(connection, sql, params![subject, bound(before), count(limit)], event)
}

/// Events with a number from `from` to before `before`, the newest first.
pub(super) fn back(connection: &Connection, from: u64, before: u64, limit: usize) -> Result<Vec<StoredEvent>, Error> {
    let sql = "SELECT seq, message, leaf, bytes FROM events WHERE seq >= ? AND seq < ? ORDER BY seq DESC LIMIT ?";
    all(connection, sql, params![bound(from), bound(before), count(limit)], event)
}

/// Hours from one to another.
pub(super) fn hours(connection: &Connection, from: i64, to: i64) -> Result<Vec<Hour>, Error> {
    let sql = "SELECT hour, first, last FROM event_hours WHERE hour BETWEEN ? AND ? ORDER BY hour";
    let hour = |row: &rusqlite::Row<'_>| Ok(Hour { hour: row.get(0)?, first: index(row, 1)?, last: index(row, 2)? });
    all(connection, sql, params![from, to], hour)
}

/// What is filed by patient, after a row.
pub(super) fn subjects(connection: &Connection, after: FiledSubject, limit: usize) -> Result<Vec<FiledSubject>, Error> {
    let sql = "SELECT subject, seq FROM event_subjects WHERE (subject, seq) > (?, ?) ORDER BY subject, seq LIMIT ?";
    let filed = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, index(row, 1)?));
    all(connection, sql, params![after.0, bound(after.1), count(limit)], filed)
}
