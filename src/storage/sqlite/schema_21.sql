-- Since when the time of a message runs that had arrived and was sent again; NULL: since it was accepted. Instants as before.
ALTER TABLE messages ADD COLUMN timed_from INTEGER;
