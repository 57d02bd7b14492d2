-- Purges that have begun and are not over. From their first moment on nobody is shown what they delete: everything that
-- had arrived by then (arrivals is the number of the last arrival) in the mailbox of the key itself, in those registered
-- to its owner, and of the owner's among what is held for peers. deleted counts what a client could still have fetched.
CREATE TABLE purges (
    owner      BLOB PRIMARY KEY,
    mailbox    BLOB NOT NULL,
    request_id BLOB NOT NULL UNIQUE,
    arrivals   INTEGER NOT NULL,
    deleted    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX purges_by_mailbox ON purges (mailbox);
ALTER TABLE totals ADD COLUMN purges INTEGER NOT NULL DEFAULT 0;

-- How firmly a mailbox is somebody's. With an owner: 0, its key's to purge; the negative of a moment, the same, until
-- somebody registers the mailbox without a key before that moment; a moment, its key's from then on, unless that happens
-- before. Without one: -1 if it was registered more than once.
ALTER TABLE registrations ADD COLUMN binds INTEGER NOT NULL DEFAULT 0;
CREATE INDEX registrations_unsettled ON registrations (abs(binds)) WHERE owner IS NOT NULL AND binds != 0;

-- Back:
-- The version before lets every owner purge at once: those that still wait are owners no more.
UPDATE registrations SET owner = NULL WHERE binds > 0;
DROP INDEX registrations_unsettled;
ALTER TABLE registrations DROP COLUMN binds;
ALTER TABLE totals DROP COLUMN purges;
DROP TABLE purges;
