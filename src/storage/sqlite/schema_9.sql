-- What waits to be sent: messages that are accepted, queued or in flight, and the bytes of their payloads as stored.
CREATE TABLE waiting (
    messages INTEGER NOT NULL CHECK (messages >= 0),
    bytes    INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;
INSERT INTO waiting
    SELECT count(*), coalesce(sum(length(payload)), 0) FROM messages JOIN contents ON contents.message = position
    WHERE state IN ('accepted', 'queued', 'in-flight');
