-- By when a record system has to have collected a referral, when it is to be looked at next, and what people were told of it last;
-- the index of the event that says that it came. Instants as before. NULL for referrals that an earlier version took: those of them that
-- wait are looked at at once.
ALTER TABLE inbound ADD COLUMN due_at INTEGER;
ALTER TABLE inbound ADD COLUMN alert_at INTEGER;
ALTER TABLE inbound ADD COLUMN told TEXT CHECK (told IN ('near-due', 'overdue', 'due-unknown'));
ALTER TABLE inbound ADD COLUMN event INTEGER CHECK (event >= 0);
UPDATE inbound SET alert_at = received_at WHERE collected_at IS NULL;

CREATE INDEX inbound_alert ON inbound (alert_at) WHERE alert_at IS NOT NULL;
