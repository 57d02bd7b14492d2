//! Offers of blobs to peers, the two phases of a move: what may be offered is found and leased, and what a peer says of it
//! is carried out.

use crate::db::{Position, STEP_ROWS, Sql as _, StoreError, Total, Write, blob_rows, moment};
use crate::transfer::outbox::{self, TakenBack};
use crate::transfer::{claims, foreign_blobs, leases, remote_blobs, rows};
use relay_proto::mail::BlobName;
use relay_proto::transfer::{Direction, OfferResult, TransferBlob};
use relay_proto::{PeerId, UnixSeconds};
use rusqlite::{Connection, params};
use std::ops::Range;

/// Which blobs are to be offered, and to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) peer: PeerId,
    /// This relay's own mail, or what is held for that peer.
    pub(crate) direction: Direction,
    pub(crate) max_blobs: u32,
    /// At most so many bytes of ciphertext, or one blob.
    pub(crate) max_bytes: u64,
    /// For so long, in seconds, nobody else gets them.
    pub(crate) lease_secs: u32,
    /// Only those that expire by then, because the peer keeps none for longer.
    pub(crate) latest_expiry: Option<UnixSeconds>,
}

/// Rows that one search looks at.
const SEARCHED: u32 = 2048;

/// What may be offered, as a reader sees it.
#[derive(Debug)]
pub(crate) struct Search {
    /// Places: those whose offer came to nothing, and then others, in the order of the table.
    pub(crate) found: Vec<i64>,
    /// How many are of the first kind.
    pub(crate) left_over: usize,
    /// Up to where the table was looked at.
    pub(crate) passed: i64,
    /// Whether that is its end.
    pub(crate) is_over: bool,
}

/// Looks for the oldest blobs to offer, behind a place. Reads a bounded part of the table; none of it twice, if the
/// next search begins where this one ended.
pub(crate) fn search(
    sql: &Connection,
    lease: &Lease,
    after: i64,
    now: UnixSeconds,
) -> Result<Search, StoreError> {
    let alive = Position::first_alive(now).sql();
    // The table is in the order of expiry: what the peer would not keep for as long as it is to last comes behind this.
    let end =
        lease.latest_expiry.map_or(i64::MAX, |latest| Position::new(latest.hour_floor().plus(3600), 0).sql());
    let mut found = left_over(sql, lease, alive..end, now)?;
    let left_over = found.len();
    let most = usize::try_from(lease.max_blobs).unwrap_or(usize::MAX);
    let mut statement = sql.prepare_cached(if lease.direction.is_home() {
        "SELECT seq, EXISTS (SELECT 1 FROM leases WHERE leases.seq = held.seq)
         FROM held WHERE seq > ?1 AND seq < ?5 AND peer = ?3 AND shared != ?4 ORDER BY seq LIMIT ?2"
    } else {
        "SELECT seq, EXISTS (SELECT 1 FROM leases WHERE leases.seq = blobs.seq)
                  OR EXISTS (SELECT 1 FROM held
                             WHERE held.seq = blobs.seq AND NOT (shared = ?4 AND peer = ?3))
         FROM blobs WHERE seq > ?1 AND seq < ?5 ORDER BY seq LIMIT ?2"
    })?;
    let mut passed = after.max(alive - 1);
    let mut rows =
        statement.query(params![passed, SEARCHED, lease.peer.as_bytes(), foreign_blobs::BROUGHT, end])?;
    let mut seen = 0;
    while found.len() < most {
        let Some(row) = rows.next()? else {
            return Ok(Search { found, left_over, passed, is_over: seen < SEARCHED });
        };
        seen += 1;
        passed = row.get(0)?;
        if !row.get::<_, bool>(1)? {
            found.push(passed);
        }
    }
    Ok(Search { found, left_over, passed, is_over: false })
}

/// Places of blobs that were offered, and of which nothing came.
fn left_over(
    sql: &Connection,
    lease: &Lease,
    places: Range<i64>,
    now: UnixSeconds,
) -> Result<Vec<i64>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT leases.seq FROM leases LEFT JOIN held ON held.seq = leases.seq
         WHERE until <= ?1 AND leases.seq >= ?2 AND leases.seq < ?7
               AND CASE held.shared WHEN ?5 THEN ?3 IS NULL AND held.peer = ?6 ELSE held.peer IS ?3 END
         ORDER BY until LIMIT ?4",
    )?;
    let holder = lease.direction.is_home().then(|| lease.peer.as_bytes());
    let places = statement.query_map(
        params![
            moment(now),
            places.start,
            holder,
            lease.max_blobs,
            foreign_blobs::BROUGHT,
            lease.peer.as_bytes(),
            places.end
        ],
        |row| row.get(0),
    )?;
    Ok(places.collect::<Result<_, _>>()?)
}

/// Marks blobs as offered to a peer, as many as may go. Returns their places, for [`read`] to read once this is
/// committed, and how many of the found ones were decided on.
pub(crate) fn take(
    write: &mut Write<'_>,
    lease: &Lease,
    found: &[i64],
    now: UnixSeconds,
) -> Result<(Vec<i64>, usize), StoreError> {
    let (mut places, mut bytes) = (Vec::new(), 0_u64);
    for (decided, seq) in found.iter().copied().enumerate() {
        let Some((name, size)) = blob_rows::at(write.sql, seq)? else { continue };
        let fits = bytes.saturating_add(size) <= lease.max_bytes || places.is_empty();
        if !fits || places.len() as u64 >= u64::from(lease.max_blobs) {
            return Ok((places, decided));
        }
        if offer(write, seq, &name, lease, now)? {
            bytes = bytes.saturating_add(size);
            places.push(seq);
        }
    }
    Ok((places, found.len()))
}

/// Marks one, unless it may not be offered to this peer now.
fn offer(
    write: &mut Write<'_>,
    seq: i64,
    name: &BlobName,
    lease: &Lease,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    if !is_of_kind(write.sql, seq, &lease.peer, lease.direction)? {
        return Ok(false);
    }
    let former = leases::of(write.sql, seq)?;
    if former.as_ref().is_some_and(|former| former.until > moment(now)) {
        return Ok(false);
    }
    // It was offered the blob before, and it is not known what it did.
    let mut unsure = false;
    if !lease.direction.is_home() {
        match outbox::take_back(write, &lease.peer, name)? {
            TakenBack::TooLate => return Ok(false),
            TakenBack::Taken => unsure = true,
            TakenBack::None => {}
        }
    }
    match &former {
        None => write.change[Total::LEASES] += 1,
        Some(former) if former.peer == *lease.peer.as_bytes() => unsure = true,
        // It may have taken the blob, and nobody knows: it hears that it is not to keep it.
        Some(former) => {
            outbox::put(write, &PeerId::from_bytes(former.peer), name, Position::from_sql(seq).expires())?;
        }
    }
    let until = moment(now.plus(lease.lease_secs.into()));
    leases::put(write, seq, &lease.peer, until, true, unsure)?;
    Ok(true)
}

/// Whether the blob at a place is held for a peer, or else is this relay's own.
fn is_of_kind(sql: &Connection, seq: i64, peer: &PeerId, direction: Direction) -> Result<bool, StoreError> {
    let holder = foreign_blobs::holder(sql, seq)?;
    if direction.is_home() {
        return Ok(holder == Some(*peer.as_bytes()));
    }
    // What a peer brought home and nobody vouches for goes back to that peer, and to nobody else.
    Ok(holder.is_none()
        && foreign_blobs::brought_by(sql, seq)?.is_none_or(|bringer| bringer == *peer.as_bytes()))
}

/// Reads leased blobs. One that was acked meanwhile, or is damaged, is left out.
pub(crate) fn read(
    sql: &Connection,
    places: &[i64],
    now: UnixSeconds,
) -> Result<Vec<TransferBlob>, StoreError> {
    let mut blobs = Vec::with_capacity(places.len());
    for seq in places {
        blobs.extend(rows::read(sql, *seq, now)?);
    }
    Ok(blobs)
}

/// Does what a peer said of a blob. Returns whether the blob has moved. An answer to an offer that has ended changes
/// nothing: the peer may have let go of the blob since.
pub(crate) fn settle(
    write: &mut Write<'_>,
    peer: &PeerId,
    direction: Direction,
    name: &BlobName,
    verdict: OfferResult,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    // Gone or offered to somebody else meanwhile: whoever did that has seen to the peer.
    let Some((seq, size)) = blob_rows::locate(write.sql, name)? else { return Ok(false) };
    let lease = leases::of(write.sql, seq)?
        .filter(|lease| lease.open && lease.peer == *peer.as_bytes() && lease.until > moment(now));
    let Some(lease) = lease else { return Ok(false) };
    if !is_of_kind(write.sql, seq, peer, direction)? {
        return Ok(false);
    }
    match verdict {
        OfferResult::Accepted => {
            leases::end(write, seq)?;
            if direction.is_home() {
                foreign_blobs::let_go(write, seq, name)?;
            } else {
                let created = blob_rows::created_at(write.sql, seq)?;
                // The peer that brought it home has it now, and is not to forget it.
                foreign_blobs::gone(write, seq)?;
                claims::take(write, peer, name)?;
                leases::remove(write, name)?;
                remote_blobs::put(write, seq, name, size, created, peer)?;
            }
            return Ok(true);
        }
        OfferResult::Refused if !lease.unsure => leases::end(write, seq)?,
        OfferResult::Refused => {
            leases::put(write, seq, peer, moment(now.plus(leases::ASIDE_SECS)), false, true)?
        }
        // It may be said before the peer knows whether its commit went through.
        OfferResult::NotNow | OfferResult::Unspecified => {
            leases::put(write, seq, peer, moment(now), false, true)?
        }
    }
    Ok(false)
}

/// Ends some of the offers behind a place, and keeps in mind whom they were made to. Returns where the next ones begin, if
/// there may be more.
pub(crate) fn resume(sql: &Connection, after: i64) -> Result<Option<i64>, StoreError> {
    let last: Option<i64> = sql.only(
        "SELECT max(seq) FROM (SELECT seq FROM leases WHERE seq > ?1 ORDER BY seq LIMIT ?2)",
        params![after, STEP_ROWS],
        |row| row.get(0),
    )?;
    if let Some(last) = last {
        sql.run(
            "UPDATE leases SET until = 0, open = 0 WHERE open AND seq > ?1 AND seq <= ?2",
            [after, last],
        )?;
    }
    Ok(last)
}
