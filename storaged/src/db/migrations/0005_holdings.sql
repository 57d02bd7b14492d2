-- How much lies with which peer is asked by operators and by their alarms.
CREATE INDEX hints_by_peer ON hints (peer);

-- Back:
DROP INDEX hints_by_peer;
