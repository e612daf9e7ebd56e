//! The file's schema: its version stands in `user_version`, its owner in `application_id`.
//!
//! A step once released is never changed; a new version appends one. A file with a newer version than this list is
//! refused: an older gateway cannot know what the newer one promised.

use rusqlite::{Connection, TransactionBehavior};

use super::super::Error;

/// `Weir` in ASCII.
const APPLICATION: i32 = 0x5765_6972;

const STEPS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
    include_str!("schema_10.sql"),
];

/// The newest version known here.
pub(super) const KNOWN: u32 = STEPS.len() as u32;

/// Refuses a file that is not ours or too new; says whether steps are missing.
pub(super) fn check(connection: &Connection) -> Result<bool, Error> {
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version = version(connection)?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let fresh = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION && !fresh {
        return Err(Error::Foreign);
    }
    if version as usize > STEPS.len() {
        return Err(Error::NewerSchema { found: version, known: KNOWN });
    }
    Ok((version as usize) < STEPS.len())
}

/// Runs the steps that the file has not seen, all in one transaction. Foreign keys must be off, since a step may make a
/// table anew; they are checked before the commit.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    if !check(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    for step in &STEPS[version(&transaction)? as usize..] {
        transaction.execute_batch(step)?;
    }
    let broken: u32 = transaction.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
    if broken > 0 {
        return Err(Error::Damaged(format!("{broken} rows belong to messages that are not there")));
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", KNOWN)?;
    Ok(transaction.commit()?)
}

/// Makes a file as an earlier version left it.
#[cfg(test)]
pub(super) fn make_earlier(connection: &Connection, version: u32) -> rusqlite::Result<()> {
    STEPS[..version as usize].iter().try_for_each(|step| connection.execute_batch(step))?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", version)
}

fn version(connection: &Connection) -> Result<u32, Error> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}
