//! The transaction that brings keys to a moment: seeds, certificates and signed records are durable together, before
//! anybody sees one of them.

use crate::clock::Times;
use crate::db::{Store, StoreError, Write};
use crate::ohttp_keys::keys;
use crate::ohttp_keys::signer::{self, Signer};
use bytes::Bytes;
use relay_proto::UnixSeconds;
use relay_proto::keys::DAY_SECS;
use relay_proto::messages::{KeyWindow, SignedRecord};
use rusqlite::Connection;

/// The keys of a moment.
#[derive(Debug)]
pub(crate) struct Turned {
    /// Of the wall clock's time and of the trusted one, each with its neighbours, oldest first.
    pub(crate) windows: Vec<Window>,
    /// What may be shown today and tomorrow.
    pub(crate) records: Vec<SignedRecord>,
    /// What signed them.
    pub(crate) signer: Signer,
}

/// A window and the key configuration that clients are shown.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) key: KeyWindow,
    pub(crate) config: Bytes,
}

/// Makes the keys and records of a moment and deletes what is over, in one transaction. Without an `offline` anchor the
/// relay is its own.
///
/// The key that is shown is the wall clock's. Nothing is deleted that was promised until the trusted time says so, and
/// what was sealed to a key of the trusted time is opened besides: if the clock is wrong, clients use those.
///
/// # Errors
/// When the disk fails.
pub(crate) async fn turn(
    store: &Store,
    times: Times,
    window_secs: u64,
    offline: Option<Signer>,
) -> Result<Turned, StoreError> {
    store.writer.run_one(move |write| turn_in(write, times, window_secs, offline)).await
}

fn turn_in(
    write: &mut Write<'_>,
    times: Times,
    window_secs: u64,
    offline: Option<Signer>,
) -> Result<Turned, StoreError> {
    let (now, deletable) = (times.wall, times.deletable);
    let [current, trusted, ended] = [now, times.now, deletable].map(|time| time.get() / window_secs);
    let with_config = |key: KeyWindow| {
        let config = key.encoded_config().map_err(|_| StoreError::Internal(0))?.into();
        Ok::<_, StoreError>(Window { key, config })
    };
    let windows = keys::turn(write, [current, trusted], ended, window_secs)?
        .into_iter()
        .map(with_config)
        .collect::<Result<Vec<_>, _>>()?;
    let signer = match offline {
        Some(signer) => signer,
        None => own_signer(write.sql, now, deletable)?,
    };
    let today = now.get() / DAY_SECS;
    keys::forget_records(write.sql, (deletable.get() / DAY_SECS).saturating_sub(1))?;
    let mut records = Vec::new();
    for window in windows.iter().filter(|window| window.key.number >= current) {
        for day in days_of(&window.key, window_secs, today) {
            records.extend(record(write.sql, &signer, day, window, window_secs, now)?);
        }
    }
    Ok(Turned { windows, records, signer })
}

/// The relay as its own anchor. Makes keys and certificate where there are none, renews the certificate in good time, and
/// deletes those that had ended at `deletable`.
fn own_signer(sql: &Connection, now: UnixSeconds, deletable: UnixSeconds) -> Result<Signer, StoreError> {
    let anchor = keys::signing_key(sql, "anchor")?;
    let intermediate = keys::signing_key(sql, "intermediate")?;
    let mut certificates = keys::certificates(sql)?;
    if let Some(fresh) = signer::due(&certificates, &anchor, &intermediate, now) {
        keys::certify(sql, &fresh, deletable)?;
        certificates = keys::certificates(sql)?;
    }
    Ok(Signer::own(&anchor, intermediate, certificates))
}

/// The days, of today and tomorrow, on which a window's key is shown.
fn days_of(window: &KeyWindow, window_secs: u64, today: u64) -> std::ops::RangeInclusive<u64> {
    let begins = window.number.saturating_mul(window_secs);
    let last = begins.saturating_add(window_secs - 1);
    (begins / DAY_SECS).max(today)..=(last / DAY_SECS).min(today + 1)
}

/// The record for a day and window: the one that was shown before, or one signed now.
fn record(
    sql: &Connection,
    signer: &Signer,
    day: u64,
    window: &Window,
    window_secs: u64,
    now: UnixSeconds,
) -> Result<Option<SignedRecord>, StoreError> {
    // When it is shown first.
    let number = window.key.number;
    let begins = now.get().max(day * DAY_SECS).max(number.saturating_mul(window_secs));
    let begins = UnixSeconds::new(begins);
    if let Some(known) = keys::record(sql, day, number, &signer.anchor, begins)? {
        return Ok(Some(known));
    }
    let Some(record) = signer.sign(day, number, window.config.clone(), begins)? else { return Ok(None) };
    keys::keep_record(sql, &record, &signer.anchor)?;
    Ok(Some(record))
}
