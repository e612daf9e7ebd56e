CREATE TABLE site (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a message, in the order of acceptance. Instants are milliseconds since 1970 in UTC.
CREATE TABLE messages (
    position        INTEGER PRIMARY KEY,
    id              BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    sender          TEXT NOT NULL,
    interface       TEXT NOT NULL,
    recipient       TEXT NOT NULL,
    agreement       TEXT NOT NULL,
    digest          BLOB NOT NULL CHECK (length(digest) = 32),
    state           TEXT NOT NULL
                    CHECK (state IN ('queued', 'in-flight', 'delivered', 'acknowledged', 'refused', 'dead')),
    accepted_at     INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    attempts        INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 4294967295),
    next_attempt_at INTEGER,
    note            TEXT NOT NULL
) STRICT;

CREATE INDEX messages_due ON messages (recipient, next_attempt_at, position)
    WHERE state = 'queued' AND next_attempt_at IS NOT NULL;

CREATE INDEX messages_state ON messages (state, recipient);

-- Sealed: see seal.rs. NULL when erased.
CREATE TABLE contents (
    message    INTEGER PRIMARY KEY REFERENCES messages (position),
    payload    BLOB,
    provenance BLOB,
    lineage    BLOB
) STRICT;

-- The leaves of the audit log: seq is the leaf's index, from 0, without a gap.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY CHECK (seq >= 0),
    message BLOB CHECK (length(message) = 16),
    leaf    BLOB NOT NULL CHECK (length(leaf) = 32),
    bytes   BLOB NOT NULL
) STRICT;

CREATE INDEX events_message ON events (message, seq) WHERE message IS NOT NULL;

CREATE TABLE checkpoints (
    size     INTEGER PRIMARY KEY CHECK (size > 0),
    note     BLOB NOT NULL,
    frontier BLOB NOT NULL
) STRICT;
