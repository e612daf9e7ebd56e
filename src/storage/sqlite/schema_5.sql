-- A message begins as accepted, and can be cancelled. It goes over one of its recipient's routes, in order with others of
-- its order_key (a keyed hash of whom it is about) where its interface asks for that, and may have a deadline.
-- Instants as before; alert_at is when somebody or something has to look at the message again.
CREATE TABLE messages_5 (
    position        INTEGER PRIMARY KEY,
    id              BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    sender          TEXT NOT NULL,
    interface       TEXT NOT NULL,
    recipient       TEXT NOT NULL,
    agreement       TEXT NOT NULL,
    digest          BLOB NOT NULL CHECK (length(digest) = 32),
    state           TEXT NOT NULL
                    CHECK (state IN ('accepted', 'queued', 'in-flight', 'delivered', 'acknowledged', 'refused', 'dead',
                                     'cancelled')),
    accepted_at     INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    attempts        INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 4294967295),
    next_attempt_at INTEGER,
    note            TEXT NOT NULL,
    route           INTEGER NOT NULL CHECK (route BETWEEN 0 AND 65535),
    order_key       TEXT,
    priority        TEXT,
    deadline_at     INTEGER,
    alert_at        INTEGER
) STRICT;

INSERT INTO messages_5 (position, id, sender, interface, recipient, agreement, digest, state, accepted_at, updated_at,
                        attempts, next_attempt_at, note, route)
    SELECT position, id, sender, interface, recipient, agreement, digest, state, accepted_at, updated_at, attempts,
           next_attempt_at, note, 0 FROM messages;
DROP TABLE messages;
ALTER TABLE messages_5 RENAME TO messages;

-- What one lane asks: only rows of its own recipient and route are read.
CREATE INDEX messages_due ON messages (recipient, route, next_attempt_at, position)
    WHERE state IN ('accepted', 'queued') AND next_attempt_at IS NOT NULL;
CREATE INDEX messages_order ON messages (recipient, order_key, position)
    WHERE order_key IS NOT NULL AND state IN ('accepted', 'queued', 'in-flight');
CREATE INDEX messages_state ON messages (state, recipient);
CREATE INDEX messages_alert ON messages (alert_at) WHERE alert_at IS NOT NULL;

-- A notice may also be a line of the log.
CREATE TABLE notices_5 (
    position        INTEGER PRIMARY KEY,
    id              BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    message         BLOB NOT NULL CHECK (length(message) = 16),
    channel         TEXT NOT NULL CHECK (channel IN ('webhook', 'spool', 'console')),
    target          TEXT NOT NULL,
    body            TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    attempts        INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 4294967295),
    next_attempt_at INTEGER,
    delivered_at    INTEGER,
    note            TEXT NOT NULL
) STRICT;
INSERT INTO notices_5 SELECT * FROM notices;
DROP TABLE notices;
ALTER TABLE notices_5 RENAME TO notices;
CREATE INDEX notices_due ON notices (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
