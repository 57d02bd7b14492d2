-- What people entrust to the relay besides mail. Names are hashes of hashes.

-- Rows of the tables below, so that bounds and metrics cost one row to read.
ALTER TABLE totals ADD COLUMN recovery_proofs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN exchange_offers INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN guardian_sets   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN escrow_gates    INTEGER NOT NULL DEFAULT 0;

-- Recovery proofs.
CREATE TABLE recovery_proofs (
    name    BLOB PRIMARY KEY,
    expires INTEGER NOT NULL,
    created INTEGER NOT NULL,
    proof   BLOB NOT NULL
) STRICT;
CREATE INDEX recovery_proofs_by_expiry ON recovery_proofs (expires);

-- Six-digit exchanges that are not completed. They live for minutes, so their end is kept to the second;
-- everything about them goes with them. The digests tell a retry of a step from somebody else's attempt. What
-- is long stands last, so that looking at a step reads none of it.
CREATE TABLE exchanges (
    name       BLOB PRIMARY KEY,
    expires    INTEGER NOT NULL,
    offered_by BLOB NOT NULL UNIQUE,
    claimed_by BLOB,
    payload    TEXT NOT NULL,
    response   TEXT
) STRICT;
CREATE INDEX exchanges_by_expiry ON exchanges (expires);

-- Responses that were taken: a gateway that lost one asks again for some seconds. The code itself is free by
-- then.
CREATE TABLE exchange_answers (
    completed_by BLOB PRIMARY KEY,
    expires      INTEGER NOT NULL,
    response     TEXT NOT NULL
) STRICT;
CREATE INDEX exchange_answers_by_expiry ON exchange_answers (expires);

-- Guardian sets: up to ten entries, each behind its 2-byte length.
CREATE TABLE guardian_sets (
    name    BLOB PRIMARY KEY,
    expires INTEGER NOT NULL,
    entries BLOB NOT NULL
) STRICT;
CREATE INDEX guardian_sets_by_expiry ON guardian_sets (expires);

-- Escrow: gates, and up to two slots behind each.
CREATE TABLE escrow_gates (
    name    BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX escrow_gates_by_expiry ON escrow_gates (expires);
CREATE TABLE escrow_slots (
    gate BLOB NOT NULL REFERENCES escrow_gates (name) ON DELETE CASCADE,
    slot BLOB NOT NULL,
    blob BLOB NOT NULL,
    PRIMARY KEY (gate, slot)
) STRICT;
