-- One row a message that was sent without consent. The decision and the reviewer's words are sealed: see seal.rs.
CREATE TABLE reviews (
    message      INTEGER PRIMARY KEY REFERENCES messages (position),
    reviewer     TEXT NOT NULL,
    purpose      TEXT NOT NULL,
    basis        TEXT NOT NULL,
    due_at       INTEGER NOT NULL,
    overdue_at   INTEGER,
    decision     BLOB,
    completed_at INTEGER,
    completed_by TEXT,
    finding      TEXT CHECK (finding IN ('justified', 'justified-with-learning', 'not-justified')),
    words        BLOB,
    CHECK ((completed_at IS NULL) = (completed_by IS NULL) AND (completed_at IS NULL) = (finding IS NULL))
) STRICT;

CREATE INDEX reviews_open ON reviews (due_at) WHERE completed_at IS NULL;

-- Notices of incidents: written with what they tell of, before they are sent.
CREATE TABLE notices (
    position        INTEGER PRIMARY KEY,
    id              BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    message         BLOB NOT NULL CHECK (length(message) = 16),
    channel         TEXT NOT NULL CHECK (channel IN ('webhook', 'spool')),
    target          TEXT NOT NULL,
    body            TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    attempts        INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 4294967295),
    next_attempt_at INTEGER,
    delivered_at    INTEGER,
    note            TEXT NOT NULL
) STRICT;

CREATE INDEX notices_due ON notices (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
