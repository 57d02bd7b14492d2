-- Keys for Oblivious HTTP.

-- One random seed a window. Deleted, from the log as well, when nobody should hold its key any more.
CREATE TABLE key_windows (
    number INTEGER PRIMARY KEY,
    seed   BLOB NOT NULL
) STRICT;

-- Signed key records as they were first shown. Keeping them makes every replica show the same bytes, whatever is
-- renewed or restarted meanwhile.
CREATE TABLE key_records (
    day             INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    anchor          BLOB NOT NULL,
    record          BLOB NOT NULL,
    certified_until INTEGER NOT NULL,
    PRIMARY KEY (day, number)
) STRICT;

-- Keys of a relay that is its own anchor: Ed25519 seeds by name.
CREATE TABLE signing_keys (
    name TEXT PRIMARY KEY,
    seed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What that anchor certified.
CREATE TABLE certificates (
    not_after    INTEGER PRIMARY KEY,
    not_before   INTEGER NOT NULL,
    intermediate BLOB NOT NULL,
    signature    BLOB NOT NULL
) STRICT;
