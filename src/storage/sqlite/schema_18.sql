-- Which referrals an envelope's key sealed: what it sealed begins with nine bytes that name it (seal.rs).
CREATE INDEX inbound_sealed ON inbound (substr(message, 1, 9)) WHERE message IS NOT NULL;
