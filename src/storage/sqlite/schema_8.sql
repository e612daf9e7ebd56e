-- What a carrier calls the copies of a message that it took, in the order in which it took them: MESH's message ids.
CREATE TABLE carried (
    position INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    message  INTEGER NOT NULL REFERENCES messages (position)
) STRICT;

CREATE INDEX carried_message ON carried (message, position);
