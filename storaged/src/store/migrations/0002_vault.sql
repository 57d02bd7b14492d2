-- What people entrust to the relay besides mail. Names are hashes of hashes.

-- Recovery proofs.
CREATE TABLE recovery_proofs (
    name    BLOB PRIMARY KEY,
    proof   BLOB NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX recovery_proofs_by_expiry ON recovery_proofs (expires);

-- Six-digit exchanges. They live for minutes, so their end is kept to the second; everything about them goes
-- with them. The digests tell a retry of a step from somebody else's attempt.
CREATE TABLE exchanges (
    name         BLOB PRIMARY KEY,
    expires      INTEGER NOT NULL,
    offered_by   BLOB NOT NULL,
    claimed_by   BLOB,
    completed_by BLOB,
    payload      TEXT NOT NULL,
    response     TEXT
) STRICT;
CREATE INDEX exchanges_by_expiry ON exchanges (expires);

-- Guardian sets: up to ten entries, each behind its 2-byte length.
CREATE TABLE guardian_sets (
    name    BLOB PRIMARY KEY,
    entries BLOB NOT NULL,
    expires INTEGER NOT NULL
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
