//! What witnesses cosigned of the audit log: the statements.

use rusqlite::{Connection, Row, params};

use super::super::{CosignatureKey, Error, StoredCheckpoint, StoredCosignature};
use super::rows::{all, bound, checkpoint, count, first, index, instant, millis};

/// Keeps one cosignature; a second of the same head and key changes nothing.
pub(super) fn keep(connection: &Connection, cosignature: &StoredCosignature) -> Result<(), Error> {
    let StoredCosignature { size, witness, line, received_at } = cosignature;
    let sql = "INSERT OR IGNORE INTO cosignatures (size, witness, line, received_at) VALUES (?, ?, ?, ?)";
    let kept = connection.prepare_cached(sql)?.execute(params![bound(*size), witness, line, millis(*received_at)])?;
    let sql = "UPDATE cosigned SET cosignatures = cosignatures + ?";
    connection.prepare_cached(sql)?.execute([bound(kept as u64)])?;
    Ok(())
}

/// How many were kept.
pub(super) fn kept(connection: &Connection) -> Result<u64, Error> {
    // All rows are read, though there is one: a damaged page may seem to hold more.
    match all(connection, "SELECT cosignatures FROM cosigned", [], |row| index(row, 0))?[..] {
        [kept] => Ok(kept),
        _ => Err(Error::Damaged("the number of cosignatures is gone".to_owned())),
    }
}

/// Cosignatures after one of them, in order of size and witness.
pub(super) fn after(
    connection: &Connection,
    (size, witness): &CosignatureKey,
    limit: usize,
) -> Result<Vec<StoredCosignature>, Error> {
    let sql = "SELECT size, witness, line, received_at FROM cosignatures WHERE (size, witness) > (?, ?) \
               ORDER BY size, witness LIMIT ?";
    all(connection, sql, params![bound(*size), witness, count(limit)], cosignature)
}

/// The cosignatures of the head over `size` events.
pub(super) fn of_head(connection: &Connection, size: u64) -> Result<Vec<StoredCosignature>, Error> {
    let sql = "SELECT size, witness, line, received_at FROM cosignatures WHERE size = ? ORDER BY witness";
    all(connection, sql, [bound(size)], cosignature)
}

/// The one of the largest head that a key of a witness cosigned.
pub(super) fn last_of(connection: &Connection, witness: &str) -> Result<Option<StoredCosignature>, Error> {
    let sql = "SELECT size, witness, line, received_at FROM cosignatures WHERE witness = ? ORDER BY size DESC LIMIT 1";
    first(connection, sql, [witness], cosignature)
}

/// The largest head that any witness cosigned.
pub(super) fn last_head(connection: &Connection) -> Result<Option<StoredCheckpoint>, Error> {
    let sql = "SELECT size, note, frontier FROM checkpoints WHERE size = (SELECT max(size) FROM cosignatures)";
    first(connection, sql, [], checkpoint)
}

fn cosignature(row: &Row<'_>) -> Result<StoredCosignature, Error> {
    let (size, received_at) = (index(row, 0)?, instant(row.get(3)?)?);
    Ok(StoredCosignature { size, witness: row.get(1)?, line: row.get(2)?, received_at })
}
