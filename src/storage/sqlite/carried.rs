//! What a carrier calls the copies of a message that it took: the statements.

use rusqlite::{Connection, params};

use super::super::{Error, MessageRecord};
use super::rows::{all, first, record, record_columns};
use crate::identity::MessageId;

/// Keeps what a carrier calls a copy of one message.
pub(super) fn keep(connection: &Connection, message: MessageId, id: &str) -> Result<(), Error> {
    let sql = "INSERT OR IGNORE INTO carried (id, message) SELECT ?, position FROM messages WHERE id = ?";
    connection.prepare_cached(sql)?.execute(params![id, message.uuid().as_bytes()])?;
    Ok(())
}

/// What carriers call the copies of one message, the last one last.
pub(super) fn of_message(connection: &Connection, message: MessageId) -> Result<Vec<String>, Error> {
    let sql = "SELECT carried.id FROM carried JOIN messages ON messages.position = message WHERE messages.id = ? \
               ORDER BY carried.position";
    all(connection, sql, [message.uuid().as_bytes()], |row| Ok(row.get(0)?))
}

/// See [`message`].
const MESSAGE: &str = concat!(
    "SELECT ",
    record_columns!(),
    " FROM messages WHERE position IN (SELECT message FROM carried WHERE id = ?)"
);

/// The message of which a carrier calls a copy so.
pub(super) fn message(connection: &Connection, id: &str) -> Result<Option<MessageRecord>, Error> {
    first(connection, MESSAGE, [id], record)
}
