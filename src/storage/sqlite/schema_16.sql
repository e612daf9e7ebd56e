-- What partners sent of themselves: referrals to us. What came, and what was made of it, is sealed; NULL when the key that sealed it
-- was destroyed. A sender gives each message its own id.
CREATE TABLE inbound (
    position     INTEGER PRIMARY KEY,
    id           BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    sender       TEXT NOT NULL,
    bundle       BLOB NOT NULL CHECK (length(bundle) = 16),
    interface    TEXT NOT NULL,
    digest       BLOB NOT NULL CHECK (length(digest) = 32),
    priority     TEXT,
    received_at  INTEGER NOT NULL,
    collected_at INTEGER,
    collected_by TEXT,
    message      BLOB,
    record       BLOB,
    UNIQUE (sender, bundle),
    CHECK ((collected_at IS NULL) = (collected_by IS NULL))
) STRICT;

CREATE INDEX inbound_waiting ON inbound (position) WHERE collected_at IS NULL;
