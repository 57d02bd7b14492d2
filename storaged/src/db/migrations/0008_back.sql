-- The version before lets every owner purge at once: those that still wait are owners no more.
UPDATE registrations SET owner = NULL WHERE binds > 0;
DROP INDEX registrations_unsettled;
ALTER TABLE registrations DROP COLUMN binds;
ALTER TABLE totals DROP COLUMN purges;
DROP TABLE purges;
