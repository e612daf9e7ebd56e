-- What was stored on one day under one agreement is sealed with a key of its own, which is sealed with the site's. NULL when
-- destroyed. Days are counted from 1970 in UTC; instants as before.
CREATE TABLE envelopes (
    number         INTEGER PRIMARY KEY CHECK (number > 0),
    agreement      TEXT NOT NULL,
    day            INTEGER NOT NULL,
    retention_days INTEGER NOT NULL CHECK (retention_days BETWEEN 0 AND 4294967295),
    key            BLOB,
    destroyed_at   INTEGER,
    CHECK ((key IS NULL) = (destroyed_at IS NOT NULL))
) STRICT;

CREATE UNIQUE INDEX envelopes_open ON envelopes (agreement, day) WHERE key IS NOT NULL;

-- The envelope of what a message was accepted with; NULL for messages of before, which the site's key sealed.
ALTER TABLE contents ADD COLUMN envelope INTEGER REFERENCES envelopes (number);

CREATE INDEX contents_kept ON contents (envelope) WHERE payload IS NOT NULL;
