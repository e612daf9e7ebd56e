-- What an answer may call a message, in lower case: Bundle.id and MessageHeader.id.
CREATE TABLE names (
    name    TEXT NOT NULL,
    message INTEGER NOT NULL REFERENCES messages (position),
    PRIMARY KEY (name, message)
) STRICT, WITHOUT ROWID;

-- Messages of before, whose names are still to be read from their payloads.
CREATE TABLE nameless (
    message INTEGER PRIMARY KEY REFERENCES messages (position)
) STRICT;
INSERT INTO nameless SELECT position FROM messages;

-- What partners answered by themselves. `says` is JSON of codes and element paths; the answer itself is sealed under
-- `slot`: see seal.rs. Instants are milliseconds since 1970 in UTC; written_at is what the answer says of itself.
CREATE TABLE answers (
    position    INTEGER PRIMARY KEY,
    sender      TEXT NOT NULL,
    id          TEXT NOT NULL,
    slot        BLOB NOT NULL UNIQUE CHECK (length(slot) = 16),
    message     INTEGER NOT NULL REFERENCES messages (position),
    digest      BLOB NOT NULL CHECK (length(digest) = 32),
    received_at INTEGER NOT NULL,
    written_at  INTEGER,
    says        TEXT NOT NULL,
    body        BLOB,
    UNIQUE (sender, id)
) STRICT;

CREATE INDEX answers_message ON answers (message, position);
