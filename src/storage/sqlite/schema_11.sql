-- Roots over 256^level neighbouring leaves of the audit log: what tiles and proofs are made of. Below them stand the leaves, in
-- events.
CREATE TABLE subtrees (
    level    INTEGER NOT NULL CHECK (level BETWEEN 1 AND 8),
    position INTEGER NOT NULL CHECK (position >= 0),
    hash     BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;
