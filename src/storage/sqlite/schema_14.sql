-- What witnesses cosigned of the audit log: a signature line for each signed head and key of a witness (its name and id).
CREATE TABLE cosignatures (
    size        INTEGER NOT NULL REFERENCES checkpoints (size),
    witness     TEXT NOT NULL,
    line        TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (size, witness)
) STRICT, WITHOUT ROWID;

-- How many there are, so that one that is gone is missed.
CREATE TABLE cosigned (
    cosignatures INTEGER NOT NULL CHECK (cosignatures >= 0)
) STRICT;
INSERT INTO cosigned VALUES (0);
