-- People may also be told that a handover was accepted after it was rejected.
CREATE TABLE handovers_19 (
    message        INTEGER PRIMARY KEY REFERENCES messages (position),
    interface      TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('waiting', 'near-due', 'overdue', 'accepted', 'contact-missed',
                                                  'contacted', 'rejected', 'withdrawn')),
    since          INTEGER NOT NULL,
    opened_at      INTEGER NOT NULL,
    near_at        INTEGER NOT NULL,
    due_at         INTEGER NOT NULL,
    contact_within INTEGER NOT NULL CHECK (contact_within >= 0),
    contact_due_at INTEGER,
    contacted_at   INTEGER,
    alert_at       INTEGER,
    tell           TEXT CHECK (tell IN ('rejected', 'conflict', 'rejected-and-conflict', 'accepted',
                                        'accepted-and-conflict'))
) STRICT;

INSERT INTO handovers_19 SELECT message, interface, state, since, opened_at, near_at, due_at, contact_within,
                                contact_due_at, contacted_at, alert_at, tell FROM handovers;
DROP TABLE handovers;
ALTER TABLE handovers_19 RENAME TO handovers;

CREATE INDEX handovers_state ON handovers (state, interface);
CREATE INDEX handovers_alert ON handovers (alert_at) WHERE alert_at IS NOT NULL;
CREATE INDEX handovers_tell ON handovers (message) WHERE tell IS NOT NULL;

-- Messages of before the names of Tasks were kept: they are read from their payloads, once.
INSERT OR IGNORE INTO nameless
    SELECT position FROM messages EXCEPT SELECT message FROM names WHERE name GLOB 'task/*';
