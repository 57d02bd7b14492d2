//! The `leases` table, and the two phases of moving a blob to a peer. A leased blob is served as before; the row
//! remembers that the peer may have a copy, so that a deletion reaches it in any case.

use crate::db::batch::Write;
use crate::db::error::StoreError;
use crate::db::row_key::Position;
use crate::db::sql::{count, moment};
use crate::db::steps::STEP_ROWS;
use crate::mail::blobs;
use crate::transfer::outbox::{self, TakenBack};
use crate::transfer::{claims, foreign_blobs, remote_blobs, rows};
use relay_proto::federation::{CarriedBlob, Lease, Verdict};
use relay_proto::mail::BlobName;
use relay_proto::{PeerId, UnixSeconds};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::ops::Range;

/// How long a blob is left alone that a peer refused without its being clear that it has no copy, and one that has
/// just come home, in seconds.
const ASIDE_SECS: u64 = 3600;

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
    let mut statement = sql.prepare_cached(if lease.home {
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
    let holder = lease.home.then(|| lease.peer.as_bytes());
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

/// Marks blobs as offered to a peer, as many as may go. Answers their places, for [`read`] to read once this is
/// committed, and how many of the found ones were decided on.
pub(crate) fn take(
    write: &mut Write<'_>,
    lease: &Lease,
    found: &[i64],
    now: UnixSeconds,
) -> Result<(Vec<i64>, usize), StoreError> {
    let (mut places, mut bytes) = (Vec::new(), 0_u64);
    for (decided, seq) in found.iter().copied().enumerate() {
        let Some((name, size)) = blobs::at(write.sql, seq)? else { continue };
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
    if !is_of_kind(write.sql, seq, &lease.peer, lease.home)? {
        return Ok(false);
    }
    let former = of(write.sql, seq)?;
    if former.as_ref().is_some_and(|former| former.until > moment(now)) {
        return Ok(false);
    }
    // It was offered the blob before, and it is not known what it did.
    let mut unsure = false;
    if !lease.home {
        match outbox::take_back(write, &lease.peer, name)? {
            TakenBack::TooLate => return Ok(false),
            TakenBack::Taken => unsure = true,
            TakenBack::None => {}
        }
    }
    match &former {
        None => write.change.leases += 1,
        Some(former) if former.peer == *lease.peer.as_bytes() => unsure = true,
        // It may have taken the blob, and nobody knows: it hears that it is not to keep it.
        Some(former) => {
            outbox::put(write, &PeerId::from_bytes(former.peer), name, Position::from_sql(seq).expires())?;
        }
    }
    let until = moment(now.plus(lease.lease_secs.into()));
    put(write, seq, &lease.peer, until, true, unsure)?;
    Ok(true)
}

fn put(
    write: &Write<'_>,
    seq: i64,
    peer: &PeerId,
    until: i64,
    open: bool,
    unsure: bool,
) -> Result<(), StoreError> {
    write
        .sql
        .prepare_cached(
            "INSERT OR REPLACE INTO leases (seq, peer, until, open, unsure) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![seq, peer.as_bytes(), until, open, unsure])?;
    Ok(())
}

/// Whether the blob at a place is held for a peer, or else is this relay's own.
fn is_of_kind(sql: &Connection, seq: i64, peer: &PeerId, home: bool) -> Result<bool, StoreError> {
    let holder = foreign_blobs::holder(sql, seq)?;
    if home {
        return Ok(holder == Some(*peer.as_bytes()));
    }
    // What a peer brought home and nobody vouches for goes back to that peer, and to nobody else.
    Ok(holder.is_none()
        && foreign_blobs::brought_by(sql, seq)?.is_none_or(|bringer| bringer == *peer.as_bytes()))
}

/// A blob's lease.
struct Leased {
    peer: [u8; PeerId::LENGTH],
    until: i64,
    open: bool,
    unsure: bool,
}

fn of(sql: &Connection, seq: i64) -> Result<Option<Leased>, StoreError> {
    Ok(sql
        .prepare_cached("SELECT peer, until, open, unsure FROM leases WHERE seq = ?1")?
        .query_row([seq], |row| {
            Ok(Leased { peer: row.get(0)?, until: row.get(1)?, open: row.get(2)?, unsure: row.get(3)? })
        })
        .optional()?)
}

/// Reads leased blobs. One that was acked meanwhile, or is damaged, is left out.
pub(crate) fn read(
    sql: &Connection,
    places: &[i64],
    now: UnixSeconds,
) -> Result<Vec<CarriedBlob>, StoreError> {
    let mut blobs = Vec::with_capacity(places.len());
    for seq in places {
        blobs.extend(rows::read(sql, *seq, now)?);
    }
    Ok(blobs)
}

/// Does what a peer said of a blob. Answers whether the blob has moved. An answer to an offer that has ended changes
/// nothing: the peer may have let go of the blob since.
pub(crate) fn settle(
    write: &mut Write<'_>,
    peer: &PeerId,
    home: bool,
    name: &BlobName,
    verdict: Verdict,
    now: UnixSeconds,
) -> Result<bool, StoreError> {
    // Gone or offered to somebody else meanwhile: whoever did that has seen to the peer.
    let Some((seq, size)) = blobs::locate(write.sql, name)? else { return Ok(false) };
    let lease = of(write.sql, seq)?
        .filter(|lease| lease.open && lease.peer == *peer.as_bytes() && lease.until > moment(now));
    let Some(lease) = lease else { return Ok(false) };
    if !is_of_kind(write.sql, seq, peer, home)? {
        return Ok(false);
    }
    match verdict {
        Verdict::Accepted => {
            end(write, seq)?;
            if home {
                foreign_blobs::let_go(write, seq, name)?;
            } else {
                let created = blobs::created_at(write.sql, seq)?;
                // The peer that brought it home has it now, and is not to forget it.
                foreign_blobs::gone(write, seq)?;
                claims::take(write, peer, name)?;
                blobs::remove(write, name)?;
                remote_blobs::put(write, seq, name, size, created, peer)?;
            }
            return Ok(true);
        }
        Verdict::Refused if !lease.unsure => end(write, seq)?,
        Verdict::Refused => put(write, seq, peer, moment(now.plus(ASIDE_SECS)), false, true)?,
        // It may be said before the peer knows whether its commit went through.
        Verdict::NotNow => put(write, seq, peer, moment(now), false, true)?,
    }
    Ok(false)
}

fn end(write: &mut Write<'_>, seq: i64) -> Result<(), StoreError> {
    let gone = write.sql.prepare_cached("DELETE FROM leases WHERE seq = ?1")?.execute([seq])?;
    write.change.leases -= count(gone as u64);
    Ok(())
}

/// Lets no answer to an offer of the blob at a place count any more.
pub(crate) fn close(sql: &Connection, seq: i64) -> Result<(), StoreError> {
    sql.prepare_cached("UPDATE leases SET open = 0 WHERE seq = ?1")?.execute([seq])?;
    Ok(())
}

/// Notes that a peer brings, or brought, the blob at a place home: it may not hear that it was taken, and keep its
/// copy. What it may yet say of an earlier offer counts no more.
pub(crate) fn came_home(
    write: &mut Write<'_>,
    peer: &PeerId,
    seq: i64,
    name: &BlobName,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    if foreign_blobs::holder(write.sql, seq)?.is_some()
        || foreign_blobs::brought_by(write.sql, seq)? == Some(*peer.as_bytes())
    {
        return Ok(());
    }
    match of(write.sql, seq)? {
        Some(lease) if lease.peer != *peer.as_bytes() => {
            outbox::put(write, peer, name, Position::from_sql(seq).expires())
        }
        lease => {
            write.change.leases += i64::from(lease.is_none());
            put(write, seq, peer, moment(now.plus(ASIDE_SECS)), false, true)
        }
    }
}

/// Notes that the blob at a place was deleted, so that a peer that may have a copy hears of it.
pub(crate) fn gone(write: &mut Write<'_>, seq: i64, name: &BlobName) -> Result<(), StoreError> {
    let expires = Position::from_sql(seq).expires();
    let holder = foreign_blobs::gone(write, seq)?;
    if let Some(foreign_blobs::Holder { peer, brought: true }) = holder {
        outbox::put(write, &PeerId::from_bytes(peer), name, expires)?;
    }
    if !write.has_leases() {
        return Ok(());
    }
    let Some(lease) = of(write.sql, seq)? else { return Ok(()) };
    end(write, seq)?;
    if holder.is_some_and(|holder| !holder.brought) {
        // It was offered to its origin, who knows best.
        return Ok(());
    }
    outbox::put(write, &PeerId::from_bytes(lease.peer), name, expires)
}

/// Whether it is noted of the blob at a place that a peer may have a copy, or the blob is not this relay's to speak for.
pub(crate) fn may_be_at(sql: &Connection, seq: i64, peer: &PeerId) -> Result<bool, StoreError> {
    if foreign_blobs::holder(sql, seq)?.is_some() || foreign_blobs::brought_by(sql, seq)?.is_some() {
        return Ok(true);
    }
    Ok(of(sql, seq)?.is_some_and(|lease| lease.peer == *peer.as_bytes()))
}

/// Notes that a peer has a copy of the blob at a place, which lies here as well: a deletion here reaches it, and when
/// mail moves it is offered what it has. Where another peer may have one already, this one need not keep its own, as long
/// as that here is sound.
pub(crate) fn note_copy(
    write: &mut Write<'_>,
    peer: &PeerId,
    seq: i64,
    name: &BlobName,
    now: UnixSeconds,
) -> Result<(), StoreError> {
    if may_be_at(write.sql, seq, peer)? {
        return Ok(());
    }
    if of(write.sql, seq)?.is_none() {
        write.change.leases += 1;
        return put(write, seq, peer, moment(now), false, true);
    }
    if rows::read(write.sql, seq, now)?.is_some() {
        outbox::put(write, peer, name, Position::from_sql(seq).expires())?;
    }
    Ok(())
}

/// Notes that the time of the blob at a place is over. Peers know it by themselves.
pub(crate) fn over(write: &mut Write<'_>, seq: i64) -> Result<(), StoreError> {
    foreign_blobs::gone(write, seq)?;
    if write.has_leases() {
        end(write, seq)?;
    }
    Ok(())
}

/// Ends some of the offers behind a place, and keeps in mind whom they were made to. Returns where the next ones begin, if
/// there may be more.
pub(crate) fn resume(sql: &Connection, after: i64) -> Result<Option<i64>, StoreError> {
    let last: Option<i64> = sql
        .prepare_cached("SELECT max(seq) FROM (SELECT seq FROM leases WHERE seq > ?1 ORDER BY seq LIMIT ?2)")?
        .query_row(params![after, STEP_ROWS], |row| row.get(0))?;
    if let Some(last) = last {
        sql.prepare_cached("UPDATE leases SET until = 0, open = 0 WHERE open AND seq > ?1 AND seq <= ?2")?
            .execute([after, last])?;
    }
    Ok(last)
}
