-- Ways into the audit log, not evidence: these rows follow from the events.
-- The events about a patient, by the first eight bytes of the keyed hash.
CREATE TABLE event_subjects (
    subject INTEGER NOT NULL,
    seq     INTEGER NOT NULL CHECK (seq >= 0),
    PRIMARY KEY (subject, seq)
) STRICT, WITHOUT ROWID;

-- The first and the last event of each hour since 1970.
CREATE TABLE event_hours (
    hour  INTEGER PRIMARY KEY,
    first INTEGER NOT NULL CHECK (first >= 0),
    last  INTEGER NOT NULL CHECK (last >= first)
) STRICT;
