-- Handovers: whether the receiving team took responsibility for a message that was delivered, and by when. Instants as before.
CREATE TABLE handovers (
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
    tell           TEXT CHECK (tell IN ('rejected', 'conflict', 'rejected-and-conflict'))
) STRICT;

CREATE INDEX handovers_state ON handovers (state, interface);
CREATE INDEX handovers_alert ON handovers (alert_at) WHERE alert_at IS NOT NULL;
CREATE INDEX handovers_tell ON handovers (message) WHERE tell IS NOT NULL;

-- What led there: each step with its event, and the slot of the answer that it rests on.
CREATE TABLE handover_steps (
    message INTEGER NOT NULL REFERENCES handovers (message),
    event   INTEGER NOT NULL CHECK (event >= 0),
    state   TEXT NOT NULL,
    at      INTEGER NOT NULL,
    answer  BLOB CHECK (length(answer) = 16),
    PRIMARY KEY (message, event)
) STRICT, WITHOUT ROWID;
