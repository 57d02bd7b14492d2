//! What the operator sees of peers, and changes about them.

use crate::db::{Store, StoreError, blob_rows, meta};
use crate::transfer::peers::peering::Peering;
use crate::transfer::{foreign_blobs, peers};
use bytes::Bytes;
use relay_proto::limits::MAX_OUTLASTING;
use relay_proto::messages::{PeersReply, ReassignPeerReply};
use relay_proto::{PeerId, Ttl, UnixSeconds};

/// Name of the drain among the single numbers.
const DRAINING: &str = "draining";

/// Blobs that are given to another relay in one transaction.
const REASSIGNED_AT_ONCE: u32 = 500;

/// Reads what `relay peers` shows, apart from how long this relay keeps mail. Without `federates` no keys are made, and
/// what federation reported does not count.
pub(crate) async fn peers(
    store: &Store,
    peering: &Peering,
    federates: bool,
    now: UnixSeconds,
) -> Result<PeersReply, StoreError> {
    let reported = peering.peers().filter(|_| federates);
    let keys = if federates { Some(peers::identity(store).await?) } else { None };
    let latest = peering.longest_kept().map(|kept| Ttl::from_secs(kept).expiry(now));
    let read = move |sql: &rusqlite::Connection| {
        let outlasting = match latest {
            Some(latest) => blob_rows::count_outlasting(sql, latest, MAX_OUTLASTING)?,
            None => 0,
        };
        Ok((peers::pins(sql)?, peers::holdings(sql)?, outlasting))
    };
    let (pins, holdings, outlasting) = store.readers.run(read).await?;
    Ok(PeersReply {
        reporting: reported.is_some(),
        noise_key: keys.as_ref().map_or_else(Bytes::new, |(noise_secret, _)| noise_secret.public().into()),
        identity: keys.as_ref().map_or_else(Bytes::new, |(_, signing_seed)| signing_seed.id().into()),
        peers: reported.unwrap_or_default(),
        pins,
        holdings,
        draining: peering.is_draining(),
        keeps_secs: 0,
        outlasting,
    })
}

/// Forgets what an address is pinned to. Returns whether it was pinned.
pub(crate) async fn forget_pin(store: &Store, url: String) -> Result<bool, StoreError> {
    store.writer.run_one(move |write| peers::unpin(write.sql, &url)).await
}

/// Gives what is held for one relay to another one, which is the same with new keys.
pub(crate) async fn reassign(
    store: &Store,
    peering: &Peering,
    from: PeerId,
    to: PeerId,
) -> Result<ReassignPeerReply, StoreError> {
    // Whoever is there under the old keys has not lost them.
    if peering.reachable().contains(&from) {
        return Ok(ReassignPeerReply { from_is_connected: true, ..ReassignPeerReply::default() });
    }
    if from == to || !store.readers.run(move |sql| peers::is_known(sql, &to)).await? {
        return Ok(ReassignPeerReply { to_is_unknown: true, ..ReassignPeerReply::default() });
    }
    let mut blobs = 0;
    loop {
        let given = store
            .writer
            .run_one(move |write| foreign_blobs::reassign(write.sql, &from, &to, REASSIGNED_AT_ONCE))
            .await?;
        blobs += given;
        if given < u64::from(REASSIGNED_AT_ONCE) {
            break;
        }
    }
    tracing::info!(blobs, "the operator gives what was held for one relay to another");
    Ok(ReassignPeerReply { blobs, ..ReassignPeerReply::default() })
}

/// Whether the relay was being emptied into its peers when it stopped.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn was_draining(store: &Store) -> Result<bool, StoreError> {
    store.writer.run_one(|write| Ok(meta::get(write.sql, DRAINING)? == Some(1))).await
}

/// Begins or ends emptying the relay into its peers.
pub(crate) async fn drain(store: &Store, peering: &Peering, draining: bool) -> Result<(), StoreError> {
    if draining != peering.is_draining() {
        store.writer.run_one(move |write| meta::set(write.sql, DRAINING, i64::from(draining))).await?;
        peering.set_draining(draining);
        tracing::info!(draining, "the operator decides whether the relay is emptied into its peers");
    }
    Ok(())
}
