-- Who approved which version of a sharing agreement, by the hash of its file. Instants as in messages.
CREATE TABLE approvals (
    agreement   TEXT NOT NULL,
    version     TEXT NOT NULL,
    file        BLOB NOT NULL CHECK (length(file) = 32),
    role        TEXT NOT NULL,
    principal   TEXT NOT NULL,
    approved_at INTEGER NOT NULL,
    PRIMARY KEY (agreement, version, file, role, principal)
) STRICT, WITHOUT ROWID;
