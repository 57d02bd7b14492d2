//! The older relay's mail: the table `blobs`, with a mailbox's name in hexadecimal digits and the ciphertext as it is.

use crate::auth::ack_tombstones;
use crate::config::Bounds;
use crate::db::{Position, StoreError, Write, blob_rows};
use crate::offline::import::report::Fate;
use crate::offline::import::source::{self, OldRow, OldTable};
use crate::offline::import::{ImportPart, Target};
use crate::transfer::remote_blobs;
use bytes::Bytes;
use relay_daemon::Failure;
use relay_proto::limits::MAX_BLOB_BYTES;
use relay_proto::transfer::TransferBlob;
use relay_proto::{BlobId, Ciphertext, MailboxToken, UnixSeconds};
use rusqlite::{Connection, params};
use std::path::Path;

const MAIL: OldTable = OldTable {
    name: "blobs",
    columns: &["recipient_id", "data", "created_at_secs"],
    of: "blob",
    without: "it has no table of mail that is understood",
};

/// Takes the mail over, in the order in which it came. Quotas do not hold: it was accepted once.
pub(crate) fn take(
    target: &mut Target,
    file: &Path,
    heard: &mut dyn FnMut(u64, u64),
) -> Result<ImportPart, Failure> {
    let (bounds, now) = (target.bounds, target.now);
    source::take(target, file, &MAIL, heard, |write, row| store(write, row, &bounds, now))
}

fn store(write: &mut Write<'_>, row: OldRow, bounds: &Bounds, now: UnixSeconds) -> Result<Fate, StoreError> {
    let token = std::str::from_utf8(&row.name).ok().and_then(|text| MailboxToken::from_hex(text).ok());
    let is_too_large = row.content.len() > MAX_BLOB_BYTES;
    let ciphertext = Ciphertext::try_from(Bytes::from(row.content)).ok().filter(|_| !is_too_large);
    let (Some(token), Some(ciphertext), Some(created)) = (token, ciphertext, row.created) else {
        return Ok(Fate::Malformed);
    };
    let created = UnixSeconds::new(created).min(now);
    let expires_at = bounds.ttl.expiry(created);
    if expires_at <= now {
        return Ok(Fate::Expired);
    }
    let mailbox = token.hash();
    let blob = TransferBlob {
        mailbox,
        blob_id: BlobId::derive(&mailbox, ciphertext.as_bytes()),
        ciphertext,
        origin_hint: None,
        created_at: created.hour_floor(),
        expires_at,
        owner: None,
    };
    let name = blob.name();
    if ack_tombstones::contains(write.sql, &name.blob_id, now)?
        || remote_blobs::is_alive(write, &name, now)?
        || blob_rows::locate(write.sql, &name)?.is_some()
    {
        return Ok(Fate::Known);
    }
    write.expect_room()?;
    let position = Position::new(blob.expires_at, write.arrive());
    blob_rows::insert(write, position, &blob, blob.created_at)?;
    Ok(Fate::Taken)
}

/// How many mailboxes hold more than they could be sent now.
pub(crate) fn over_quota(sql: &Connection, bounds: &Bounds, now: UnixSeconds) -> Result<u64, StoreError> {
    Ok(sql.query_row(
        "SELECT count(*) FROM (SELECT 1 FROM blobs WHERE seq >= ?1 GROUP BY mailbox
                               HAVING count(*) > ?2 OR sum(size) > ?3)",
        params![
            Position::first_alive(now).sql(),
            crate::db::sql::count(bounds.mailbox_blobs),
            crate::db::sql::count(bounds.mailbox_bytes)
        ],
        |row| row.get(0),
    )?)
}
