//! Requests that came sealed and were carried out. Whoever brought such a message can bring it again for as long as
//! its key is accepted, which is for three windows of a day at most. Mail, signatures and the steps of an exchange
//! take care of themselves; an offer, a proof or a deposit would come back.
//!
//! They share the `acked` table with blobs that were received: both are 16 bytes that must not come again for three
//! days.

use crate::auth::ack_tombstones;
use crate::clock::Times;
use crate::db::{StoreError, Write};
use relay_proto::caller::{Caller, RateLimitSubject};
use relay_proto::{BlobId, RequestId};
use sha2::{Digest as _, Sha256};

/// Whether this request is carried out for the first time, as far as it could be another one's replay. From now on
/// it is no more.
pub(crate) fn is_first(
    write: &Write<'_>,
    caller: Caller,
    request: &RequestId,
    now: Times,
) -> Result<bool, StoreError> {
    if !caller.as_ref().is_some_and(RateLimitSubject::is_oblivious) {
        return Ok(true);
    }
    let digest =
        Sha256::new_with_prefix("vauchi-relay/carried-out/v1\0").chain_update(request.as_bytes()).finalize();
    let mut name = [0; BlobId::LENGTH];
    name.copy_from_slice(&digest[..BlobId::LENGTH]);
    let name = BlobId::from_bytes(name);
    if ack_tombstones::contains(write.sql, &name, now.now)? {
        return Ok(false);
    }
    ack_tombstones::remember(write.sql, &name, now.stamp)?;
    Ok(true)
}
