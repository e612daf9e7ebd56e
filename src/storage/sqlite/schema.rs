//! The file's schema: its version stands in `user_version`, its owner in `application_id`.
//!
//! A step once released is never changed; a new version appends one. A file with a newer version than this list is
//! refused: an older gateway cannot know what the newer one promised.

use std::collections::BTreeMap;

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
    include_str!("schema_11.sql"),
    include_str!("schema_12.sql"),
    include_str!("schema_13.sql"),
    include_str!("schema_14.sql"),
    include_str!("schema_15.sql"),
    include_str!("schema_16.sql"),
    include_str!("schema_17.sql"),
    include_str!("schema_18.sql"),
    include_str!("schema_19.sql"),
    include_str!("schema_20.sql"),
    include_str!("schema_21.sql"),
    include_str!("schema_22.sql"),
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

/// Refuses a file whose tables, indexes and triggers are not those of the newest version: a column that has another name, or
/// a trigger that somebody put in, would make every other check worthless.
pub(super) fn compare(connection: &Connection) -> Result<(), Error> {
    let fresh = Connection::open_in_memory()?;
    STEPS.iter().try_for_each(|step| fresh.execute_batch(step))?;
    let (expected, found) = (objects(&fresh)?, objects(connection)?);
    let differs = |name: &&String| expected.get(*name) != found.get(*name);
    match expected.keys().chain(found.keys()).find(differs) {
        None => Ok(()),
        Some(name) => Err(Error::Damaged(format!("`{name}` is not as this version of weir makes it"))),
    }
}

/// What the file is made of, by name, with its SQL. SQLite's own are left out.
fn objects(connection: &Connection) -> rusqlite::Result<BTreeMap<String, (String, Option<String>)>> {
    let sql = "SELECT name, type, sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_*'";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    rows.collect()
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
