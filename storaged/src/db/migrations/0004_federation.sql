-- Mail between relays.

-- Rows of the tables below, so that a relay without peers looks into none of them.
ALTER TABLE totals ADD COLUMN leases INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN hints  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN held   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN outbox INTEGER NOT NULL DEFAULT 0;

-- Blobs that a peer was offered, so that it has a copy or may have one. They are served as before. Before until
-- nobody is offered them anew; while open, the peer's answer counts. unsure says that the peer was offered the
-- blob before and nobody knows what it did, so that not even a refusal means that it has no copy.
CREATE TABLE leases (
    seq    INTEGER PRIMARY KEY,
    peer   BLOB NOT NULL,
    until  INTEGER NOT NULL,
    open   INTEGER NOT NULL,
    unsure INTEGER NOT NULL
) STRICT;
CREATE INDEX leases_by_end ON leases (until);

-- Blobs that a peer holds. seq is the place they had here, and have again if they come home.
CREATE TABLE hints (
    seq     INTEGER PRIMARY KEY,
    mailbox BLOB NOT NULL,
    id      BLOB NOT NULL,
    size    INTEGER NOT NULL,
    created INTEGER NOT NULL,
    peer    BLOB NOT NULL
) STRICT;
-- Of each name one; the rest is there so that quotas need no look into the table.
CREATE UNIQUE INDEX hints_by_mailbox ON hints (mailbox, id, size, created);

-- Which blobs are held here for a peer, and whose the mailbox is there. A shared one was left here by a client as
-- well: it is this relay's own besides.
CREATE TABLE held (
    seq    INTEGER PRIMARY KEY,
    peer   BLOB NOT NULL,
    owner  BLOB,
    shared INTEGER NOT NULL
) STRICT;
CREATE INDEX held_by_peer ON held (peer, seq);
CREATE INDEX held_by_owner ON held (owner) WHERE owner IS NOT NULL;

-- Deletions that peers must hear of. A number is never used again. told says that the peer may be hearing of it
-- just now, so that it cannot be taken back.
CREATE TABLE outbox (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    peer    BLOB NOT NULL,
    mailbox BLOB NOT NULL,
    id      BLOB NOT NULL,
    expires INTEGER NOT NULL,
    told    INTEGER NOT NULL
) STRICT;
-- An id is made of mailbox and content, so it names the blob alone.
CREATE UNIQUE INDEX outbox_by_name ON outbox (id, peer);
CREATE INDEX outbox_by_peer ON outbox (peer, number);
CREATE INDEX outbox_by_expiry ON outbox (expires);

-- Digests of what is not to come from a peer any more, because the peer told to forget it or was told to, so that a
-- late copy is refused. seq is the order of telling.
CREATE TABLE forgotten (
    seq    INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    hour   INTEGER NOT NULL
) STRICT;

-- Peers that proved themselves, and where they serve clients.
CREATE TABLE peers (
    identity   BLOB PRIMARY KEY,
    client_url TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Addresses of peers, and the keys they must have.
CREATE TABLE pins (
    url       TEXT PRIMARY KEY,
    noise_key BLOB NOT NULL,
    identity  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
