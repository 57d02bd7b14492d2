//! The tables of peers: `peers`, those that proved themselves, and `pins`, the keys their addresses must have.

pub(crate) mod operator;
pub(crate) mod peering;

use crate::db::{Sql as _, Store, StoreError, Write};
use crate::ohttp_keys::keys;
use relay_proto::limits::MAX_PINS;
use relay_proto::messages::{PeerHoldings, Pin};
use relay_proto::{NoiseKey, NoiseSecret, PeerId, PeerSeed, StorageError};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// Where a peer was met.
#[derive(Debug)]
pub(crate) struct DialledPeer {
    /// As the operator wrote it, without the key.
    pub(crate) url: String,
    /// The key it had.
    pub(crate) noise_key: NoiseKey,
    /// Whether the operator wrote that key down: it then takes the place of another that was seen before.
    pub(crate) configured: bool,
}

/// Returns this relay's keys as a peer, made when they are asked for the first time.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn identity(store: &Store) -> Result<(NoiseSecret, PeerSeed), StoreError> {
    let read = |write: &mut Write<'_>| {
        Ok((
            NoiseSecret::from_bytes(keys::secret(write.sql, "federation-noise")?),
            PeerSeed::from_bytes(keys::secret(write.sql, "federation-identity")?),
        ))
    };
    store.writer.run_one(read).await
}

/// Returns what addresses of peers are pinned to.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn pinned(store: &Store) -> Result<Vec<Pin>, StoreError> {
    store.readers.run(pins).await
}

/// Makes a peer known that has proved itself, and pins its address to what it showed: the first key seen stays, unless the
/// operator wrote another one down.
///
/// # Errors
/// [`StorageError::BadSignature`] when the address is pinned to another key or identity.
pub(crate) async fn introduced(
    store: &Store,
    identity: PeerId,
    met: Option<DialledPeer>,
    client_url: String,
) -> Result<(), StoreError> {
    let work =
        move |write: &mut Write<'_>| introduce(write.sql, &identity, met.as_ref(), client_url.as_str());
    store.writer.run_one(work).await
}

fn introduce(
    sql: &Connection,
    identity: &PeerId,
    met: Option<&DialledPeer>,
    client_url: &str,
) -> Result<(), StoreError> {
    if let Some(DialledPeer { url, noise_key, configured }) = met {
        let pinned = sql.find(
            "SELECT noise_key = ?2, identity = ?3 FROM pins WHERE url = ?1",
            params![url, noise_key.as_bytes(), identity.as_bytes()],
            |row| Ok((row.get::<_, bool>(0)?, row.get::<_, bool>(1)?)),
        )?;
        match pinned {
            Some((true, true)) => {}
            // Another key that the operator wrote down is the word that the peer is another one.
            Some((false, _)) if *configured => pin(sql, url, noise_key, identity)?,
            Some(_) => return Err(StorageError::BadSignature.into()),
            None if pinned_count(sql)? >= MAX_PINS => return Err(StorageError::StorageFull.into()),
            None => pin(sql, url, noise_key, identity)?,
        }
    }
    // Who says nothing this time has not moved: what it said before stands.
    sql.run("INSERT INTO peers (identity, client_url) VALUES (?1, ?2)
         ON CONFLICT (identity) DO UPDATE SET client_url = excluded.client_url WHERE excluded.client_url != ''", params![identity.as_bytes(), client_url])?;
    Ok(())
}

fn pinned_count(sql: &Connection) -> Result<u64, StoreError> {
    sql.only("SELECT count(*) FROM pins", [], |row| row.get(0))
}

fn pin(sql: &Connection, url: &str, noise_key: &NoiseKey, identity: &PeerId) -> Result<(), StoreError> {
    sql.run(
        "INSERT OR REPLACE INTO pins (url, noise_key, identity) VALUES (?1, ?2, ?3)",
        params![url, noise_key.as_bytes(), identity.as_bytes()],
    )?;
    Ok(())
}

/// What addresses are pinned to.
pub(crate) fn pins(sql: &Connection) -> Result<Vec<Pin>, StoreError> {
    let mut statement = sql.prepare_cached("SELECT url, noise_key, identity FROM pins ORDER BY url")?;
    let mut rows = statement.query([])?;
    let mut pins = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes =
            |index| row.get_ref(index).ok().and_then(|value| value.as_blob().ok()).unwrap_or_default();
        pins.push(Pin {
            url: row.get(0)?,
            noise_key: NoiseKey::try_from(bytes(1)).map_err(|_| StoreError::Corrupt(0))?.into(),
            identity: PeerId::try_from(bytes(2)).map_err(|_| StoreError::Corrupt(0))?.into(),
        });
    }
    Ok(pins)
}

/// Forgets what an address is pinned to. Answers whether it was.
pub(crate) fn unpin(sql: &Connection, url: &str) -> Result<bool, StoreError> {
    Ok(sql.run("DELETE FROM pins WHERE url = ?1", [url])? > 0)
}

/// Whether a peer has proved who it is, now or before.
pub(crate) fn is_known(sql: &Connection, peer: &PeerId) -> Result<bool, StoreError> {
    sql.has("SELECT 1 FROM peers WHERE identity = ?1", [peer.as_bytes()])
}

/// Where a peer serves clients, if it said so.
pub(crate) fn client_url(sql: &Connection, peer: &[u8]) -> Result<Option<String>, StoreError> {
    let url: Option<String> =
        sql.find("SELECT client_url FROM peers WHERE identity = ?1", [peer], |row| row.get(0))?;
    Ok(url.filter(|url| !url.is_empty()))
}

/// What lies with peers, is held for them, or waits for them.
pub(crate) fn holdings(sql: &Connection) -> Result<Vec<PeerHoldings>, StoreError> {
    let mut found: BTreeMap<PeerId, PeerHoldings> = BTreeMap::new();
    let mut count = |query: &str, set: fn(&mut PeerHoldings, u64)| -> Result<(), StoreError> {
        let mut statement = sql.prepare_cached(query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let identity = row.get_ref(0)?.as_blob().unwrap_or_default();
            let identity = PeerId::try_from(identity).map_err(|_| StoreError::Corrupt(0))?;
            let none = || PeerHoldings { identity: identity.into(), ..PeerHoldings::default() };
            set(found.entry(identity).or_insert_with(none), row.get::<_, i64>(1)?.max(0).unsigned_abs());
        }
        Ok(())
    };
    count("SELECT peer, count(*) FROM hints GROUP BY peer", |holdings, rows| holdings.moved = rows)?;
    count("SELECT peer, count(*) FROM claims GROUP BY peer", |holdings, rows| holdings.moved += rows)?;
    count("SELECT peer, count(*) FROM held GROUP BY peer", |holdings, rows| holdings.held = rows)?;
    count("SELECT peer, count(*) FROM outbox GROUP BY peer", |holdings, rows| holdings.outbox = rows)?;
    Ok(found.into_values().collect())
}
