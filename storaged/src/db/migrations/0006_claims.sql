-- Blobs that peers say they hold for this relay and that nothing else here tells of, as after a backup was restored.
-- Nobody here saw them move: they count for no quota, and several peers may claim the same one. seq is the place that
-- they have in the order of arrival.
CREATE TABLE claims (
    seq     INTEGER PRIMARY KEY,
    mailbox BLOB NOT NULL,
    id      BLOB NOT NULL,
    size    INTEGER NOT NULL,
    created INTEGER NOT NULL,
    peer    BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX claims_by_mailbox ON claims (mailbox, id, peer);
-- A peer's claims are counted, and compared with its inventory in the order of names.
CREATE INDEX claims_by_peer ON claims (peer, mailbox, id);
ALTER TABLE totals ADD COLUMN claims INTEGER NOT NULL DEFAULT 0;

-- Back:
DROP TABLE claims;
ALTER TABLE totals DROP COLUMN claims;
