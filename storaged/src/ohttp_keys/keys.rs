//! The tables of keys for Oblivious HTTP: `key_windows`, `key_records`, `signing_keys`, `certificates`.

use crate::db::{Sql as _, StoreError, Write, count, meta, moment, time};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use relay_proto::anchor::Certificate;
use relay_proto::messages::{KeyWindow, SignedRecord};
use relay_proto::{PublicKey, Signature, UnixSeconds, WindowSeed};
use rusqlite::{Connection, params};

/// Makes sure that the current window and the next one have seeds, and that none is left, in any file, from before the
/// window that came before `ended`. Answers the windows of the current time and of the trusted one, each with its
/// neighbours, oldest first.
pub(crate) fn turn(
    write: &mut Write<'_>,
    [current, trusted]: [u64; 2],
    ended: u64,
    window_secs: u64,
) -> Result<Vec<KeyWindow>, StoreError> {
    if meta::get(write.sql, meta::KEY_WINDOW_SECS)? != Some(count(window_secs)) {
        // Numbers count windows of one length: those of another length mean other times.
        write.sql.execute_batch("DELETE FROM key_windows; DELETE FROM key_records")?;
        meta::set(write.sql, meta::KEY_WINDOW_SECS, count(window_secs))?;
        write.answer_after_erasure();
    }
    let oldest = count(ended.saturating_sub(1));
    let outdated = write.sql.run("DELETE FROM key_windows WHERE number < ?1", [oldest])?;
    if outdated > 0 {
        write.sql.run("DELETE FROM key_records WHERE number < ?1", [oldest])?;
        write.answer_after_erasure();
    }
    for number in [current, current.saturating_add(1)] {
        let seed = WindowSeed::random().map_err(|_| StoreError::Internal(0))?;
        let fresh = write.sql.run(
            "INSERT OR IGNORE INTO key_windows (number, seed) VALUES (?1, ?2)",
            params![count(number), seed.as_bytes()],
        )?;
        if fresh > 0 {
            // Of a key that was deleted before the clock came back.
            write.sql.run("DELETE FROM key_records WHERE number = ?1", [count(number)])?;
        }
    }
    windows(write.sql, current, trusted)
}

fn windows(sql: &Connection, current: u64, trusted: u64) -> Result<Vec<KeyWindow>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT number, seed FROM key_windows
         WHERE number BETWEEN ?1 - 1 AND ?1 + 1 OR number BETWEEN ?2 - 1 AND ?2 + 1 ORDER BY number",
    )?;
    let mut rows = statement.query([count(current), count(trusted)])?;
    let mut windows = Vec::new();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let seed = WindowSeed::try_from(row.get_ref(1)?.as_blob().unwrap_or_default());
        let seed = seed.map_err(|_| StoreError::Corrupt(0))?.into();
        windows.push(KeyWindow { number: number.max(0).unsigned_abs(), seed });
    }
    Ok(windows)
}

/// The record that was first shown for a day and window under this anchor, if its certificate still holds at
/// `until`.
pub(crate) fn record(
    sql: &Connection,
    day: u64,
    window: u64,
    anchor: &PublicKey,
    until: UnixSeconds,
) -> Result<Option<SignedRecord>, StoreError> {
    sql.find(
        "SELECT record, certified_until FROM key_records
             WHERE day = ?1 AND number = ?2 AND anchor = ?3 AND certified_until > ?4",
        params![count(day), count(window), anchor.as_bytes(), moment(until)],
        |row| {
            Ok(SignedRecord {
                day,
                window,
                record: Bytes::from(row.get::<_, Vec<u8>>(0)?),
                certified_until: time(row.get(1)?).get(),
            })
        },
    )
}

/// Keeps a record, in place of another anchor's.
pub(crate) fn keep_record(
    sql: &Connection,
    record: &SignedRecord,
    anchor: &PublicKey,
) -> Result<(), StoreError> {
    sql.run(
        "INSERT OR REPLACE INTO key_records (day, number, anchor, record, certified_until)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            count(record.day),
            count(record.window),
            anchor.as_bytes(),
            record.record.as_ref(),
            count(record.certified_until),
        ],
    )?;
    Ok(())
}

/// Deletes records of days that are over.
pub(crate) fn forget_records(sql: &Connection, before_day: u64) -> Result<(), StoreError> {
    sql.run("DELETE FROM key_records WHERE day < ?1", [count(before_day)])?;
    Ok(())
}

/// The relay's own signing key of a name, made when it is asked for the first time.
pub(crate) fn signing_key(sql: &Connection, name: &str) -> Result<SigningKey, StoreError> {
    Ok(SigningKey::from_bytes(&secret(sql, name)?))
}

/// The same, if it was asked for before.
pub(crate) fn known_signing_key(sql: &Connection, name: &str) -> Result<Option<SigningKey>, StoreError> {
    let seed =
        sql.find("SELECT seed FROM signing_keys WHERE name = ?1", [name], |row| row.get::<_, [u8; 32]>(0))?;
    Ok(seed.map(|seed| SigningKey::from_bytes(&seed)))
}

/// The relay's own 32 secret bytes of a name, drawn when they are asked for the first time.
pub(crate) fn secret(sql: &Connection, name: &str) -> Result<[u8; 32], StoreError> {
    let mut fresh = [0; 32];
    getrandom::fill(&mut fresh).map_err(|_| StoreError::Internal(0))?;
    sql.run("INSERT OR IGNORE INTO signing_keys (name, seed) VALUES (?1, ?2)", params![name, fresh])?;
    let seed =
        sql.only("SELECT seed FROM signing_keys WHERE name = ?1", [name], |row| row.get::<_, Vec<u8>>(0))?;
    seed.try_into().map_err(|_| StoreError::Corrupt(0))
}

/// What became of a secret that came from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakenOver {
    /// It is kept now.
    Now,
    /// It was kept before.
    Before,
    /// Another one is kept in its place.
    Different,
}

/// Keeps 32 secret bytes that came from elsewhere, unless others are kept under the name.
pub(crate) fn take_over_secret(
    sql: &Connection,
    name: &str,
    secret: &[u8; 32],
) -> Result<TakenOver, StoreError> {
    let fresh =
        sql.run("INSERT OR IGNORE INTO signing_keys (name, seed) VALUES (?1, ?2)", params![name, secret])?;
    let kept =
        sql.only("SELECT seed = ?2 FROM signing_keys WHERE name = ?1", params![name, secret], |row| {
            row.get(0)
        })?;
    Ok(TakenOver::of(fresh, kept))
}

/// Keeps the seed of a window that came from elsewhere, unless there is one for it, or windows are of another length.
pub(crate) fn take_over_window(
    sql: &Connection,
    number: u64,
    seed: &WindowSeed,
    window_secs: u64,
) -> Result<TakenOver, StoreError> {
    match meta::get(sql, meta::KEY_WINDOW_SECS)? {
        None => meta::set(sql, meta::KEY_WINDOW_SECS, count(window_secs))?,
        Some(length) if length == count(window_secs) => {}
        Some(_) => return Ok(TakenOver::Different),
    }
    let fresh = sql.run(
        "INSERT OR IGNORE INTO key_windows (number, seed) VALUES (?1, ?2)",
        params![count(number), seed.as_bytes()],
    )?;
    let kept = sql.only(
        "SELECT seed = ?2 FROM key_windows WHERE number = ?1",
        params![count(number), seed.as_bytes()],
        |row| row.get(0),
    )?;
    Ok(TakenOver::of(fresh, kept))
}

impl TakenOver {
    const fn of(fresh: u64, is_the_one_kept: bool) -> Self {
        match (fresh, is_the_one_kept) {
            (1.., _) => Self::Now,
            (0, true) => Self::Before,
            (0, false) => Self::Different,
        }
    }
}

/// The relay's own certificates, in the order of their end.
pub(crate) fn certificates(sql: &Connection) -> Result<Vec<Certificate>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT intermediate, not_before, not_after, signature FROM certificates ORDER BY not_after",
    )?;
    let mut rows = statement.query([])?;
    let mut certificates = Vec::new();
    while let Some(row) = rows.next()? {
        let blob = |index| row.get_ref(index).ok().and_then(|value| value.as_blob().ok()).unwrap_or_default();
        certificates.push(Certificate {
            intermediate: PublicKey::try_from(blob(0)).map_err(|_| StoreError::Corrupt(0))?,
            not_before: time(row.get(1)?),
            not_after: time(row.get(2)?),
            signature: Signature::try_from(blob(3)).map_err(|_| StoreError::Corrupt(0))?,
        });
    }
    Ok(certificates)
}

/// Keeps a certificate and deletes those that have ended.
pub(crate) fn certify(
    sql: &Connection,
    certificate: &Certificate,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    sql.run(
        "INSERT OR REPLACE INTO certificates (not_after, not_before, intermediate, signature)
         VALUES (?1, ?2, ?3, ?4)",
        params![
            moment(certificate.not_after),
            moment(certificate.not_before),
            certificate.intermediate.as_bytes(),
            certificate.signature.as_bytes(),
        ],
    )?;
    sql.run("DELETE FROM certificates WHERE not_after <= ?1", [moment(now)])?;
    Ok(())
}
