-- Of what is due on one lane, the most urgent is read first: each priority has its own part of the index.
DROP INDEX messages_due;
CREATE INDEX messages_due ON messages (
    recipient, route, (CASE priority WHEN 'stat' THEN 0 WHEN 'asap' THEN 1 WHEN 'urgent' THEN 2 ELSE 3 END),
    next_attempt_at, position
) WHERE state IN ('accepted', 'queued') AND next_attempt_at IS NOT NULL;
