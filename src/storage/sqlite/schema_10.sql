-- Texts without personal data that many messages refer to: what their lineages name by number.
CREATE TABLE texts (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    bytes  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
