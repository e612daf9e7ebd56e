-- Acts of people that were performed, so that one that is handed in again changes nothing. Instants as in messages.
CREATE TABLE acts (
    id           BLOB PRIMARY KEY CHECK (length(id) = 16),
    performed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
