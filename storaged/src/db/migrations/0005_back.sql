DROP INDEX hints_by_peer;
