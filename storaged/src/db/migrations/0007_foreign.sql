-- How much of the store is mail that is held for peers and for nobody else, so that it can be kept to a part of it.
ALTER TABLE held ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
UPDATE held SET size = coalesce((SELECT size FROM blobs WHERE blobs.seq = held.seq), 0);
ALTER TABLE totals ADD COLUMN held_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE totals SET held_bytes = (SELECT coalesce(sum(size), 0) FROM held WHERE shared != 1);

-- Back:
ALTER TABLE totals DROP COLUMN held_bytes;
ALTER TABLE held DROP COLUMN size;
