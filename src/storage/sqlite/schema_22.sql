-- A state is compared with one after the other. For a list of more than two SQLite builds an index anew in each statement that writes
-- a row, which cost more than the rest of the statement.
CREATE TABLE messages_22 (
    position        INTEGER PRIMARY KEY,
    id              BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    sender          TEXT NOT NULL,
    interface       TEXT NOT NULL,
    recipient       TEXT NOT NULL,
    agreement       TEXT NOT NULL,
    digest          BLOB NOT NULL CHECK (length(digest) = 32),
    state           TEXT NOT NULL
                    CHECK (state = 'accepted' OR state = 'queued' OR state = 'in-flight' OR state = 'delivered' OR
                           state = 'acknowledged' OR state = 'refused' OR state = 'dead' OR state = 'cancelled'),
    accepted_at     INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    attempts        INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 4294967295),
    next_attempt_at INTEGER,
    note            TEXT NOT NULL,
    route           INTEGER NOT NULL CHECK (route BETWEEN 0 AND 65535),
    order_key       TEXT,
    priority        TEXT,
    deadline_at     INTEGER,
    alert_at        INTEGER,
    timed_from      INTEGER
) STRICT;

INSERT INTO messages_22 SELECT position, id, sender, interface, recipient, agreement, digest, state, accepted_at, updated_at,
                               attempts, next_attempt_at, note, route, order_key, priority, deadline_at, alert_at,
                               timed_from FROM messages;
DROP TABLE messages;
ALTER TABLE messages_22 RENAME TO messages;

CREATE INDEX messages_due ON messages (
    recipient, route, (CASE priority WHEN 'stat' THEN 0 WHEN 'asap' THEN 1 WHEN 'urgent' THEN 2 ELSE 3 END),
    next_attempt_at, position
) WHERE state IN ('accepted', 'queued') AND next_attempt_at IS NOT NULL;
CREATE INDEX messages_order ON messages (recipient, order_key, position)
    WHERE order_key IS NOT NULL AND (state = 'accepted' OR state = 'queued' OR state = 'in-flight');
CREATE INDEX messages_state ON messages (state, recipient);
CREATE INDEX messages_alert ON messages (alert_at) WHERE alert_at IS NOT NULL;

CREATE TABLE handovers_22 (
    message        INTEGER PRIMARY KEY REFERENCES messages (position),
    interface      TEXT NOT NULL,
    state          TEXT NOT NULL
                   CHECK (state = 'waiting' OR state = 'near-due' OR state = 'overdue' OR state = 'accepted' OR
                          state = 'contact-missed' OR state = 'contacted' OR state = 'rejected' OR state = 'withdrawn'),
    since          INTEGER NOT NULL,
    opened_at      INTEGER NOT NULL,
    near_at        INTEGER NOT NULL,
    due_at         INTEGER NOT NULL,
    contact_within INTEGER NOT NULL CHECK (contact_within >= 0),
    contact_due_at INTEGER,
    contacted_at   INTEGER,
    alert_at       INTEGER,
    tell           TEXT
                   CHECK (tell = 'rejected' OR tell = 'conflict' OR tell = 'rejected-and-conflict' OR
                          tell = 'accepted' OR tell = 'accepted-and-conflict')
) STRICT;

INSERT INTO handovers_22 SELECT message, interface, state, since, opened_at, near_at, due_at, contact_within,
                                contact_due_at, contacted_at, alert_at, tell FROM handovers;
DROP TABLE handovers;
ALTER TABLE handovers_22 RENAME TO handovers;

CREATE INDEX handovers_state ON handovers (state, interface);
CREATE INDEX handovers_alert ON handovers (alert_at) WHERE alert_at IS NOT NULL;
CREATE INDEX handovers_tell ON handovers (message) WHERE tell IS NOT NULL;
