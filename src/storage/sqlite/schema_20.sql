-- How many referrals wait, and since when, without their contents: `due_at` lies behind them in a row. SQLite reads the index alone when
-- it has every column that the question names.
CREATE INDEX inbound_counts ON inbound (interface, priority, due_at, received_at, collected_at) WHERE collected_at IS NULL;
