//! Reading a blob with everything that travels with it to another relay.

use crate::db::{Position, Sql as _, StoreError, moment, time};
use bytes::Bytes;
use relay_proto::transfer::TransferBlob;
use relay_proto::{BlobId, Ciphertext, MailboxHash, OriginHint, UnixSeconds};
use rusqlite::{Connection, Row};

/// The blob at a place, if it is there and still has the content that it is named after. An owner that is held
/// with it goes with it, or else the one its mailbox is registered to.
pub(crate) fn read(sql: &Connection, seq: i64, now: UnixSeconds) -> Result<Option<TransferBlob>, StoreError> {
    Ok(sql
        .find(
            "SELECT blobs.mailbox, blobs.id, blobs.created, blobs.origin_hint, blobs.ciphertext,
                    coalesce(held.owner, registrations.owner)
             FROM blobs LEFT JOIN held ON held.seq = blobs.seq
                  LEFT JOIN registrations
                       ON registrations.mailbox = blobs.mailbox AND registrations.expires > ?2
                          AND registrations.binds <= 0
             WHERE blobs.seq = ?1",
            [seq, moment(now)],
            |row| Ok(blob(row, seq)),
        )?
        .flatten())
}

fn blob(row: &Row<'_>, seq: i64) -> Option<TransferBlob> {
    let bytes = |index| row.get_ref(index).ok().and_then(|value| value.as_blob_or_null().ok()).flatten();
    let mailbox = MailboxHash::try_from(bytes(0)?).ok()?;
    let blob = TransferBlob {
        mailbox,
        blob_id: BlobId::try_from(bytes(1)?).ok()?,
        ciphertext: Ciphertext::try_from(Bytes::copy_from_slice(bytes(4)?)).ok()?,
        origin_hint: bytes(3).and_then(|hint| OriginHint::try_from(Bytes::copy_from_slice(hint)).ok()),
        created_at: time(row.get(2).ok()?),
        expires_at: Position::from_sql(seq).expires(),
        owner: bytes(5).and_then(|owner| owner.try_into().ok()),
    };
    blob.is_sound().then_some(blob)
}
