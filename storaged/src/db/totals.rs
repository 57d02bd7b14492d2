//! What the store holds: sums that are kept in the transactions that change them, and in memory for whoever
//! decides or reports.

use crate::db::error::StoreError;
use crate::limits::shares::Space;
use rusqlite::{Connection, Row};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Bytes that the rows of one held blob take besides its content: in three tables and their indexes.
const FOREIGN_ROW_BYTES: i64 = 512;

/// What the store holds, as of the last commit. Read by everybody, written by the writer thread.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    blobs: AtomicI64,
    registrations: AtomicI64,
    arrivals: AtomicI64,
    recovery_proofs: AtomicI64,
    exchange_offers: AtomicI64,
    guardian_sets: AtomicI64,
    escrow_gates: AtomicI64,
    leases: AtomicI64,
    hints: AtomicI64,
    claims: AtomicI64,
    held: AtomicI64,
    held_bytes: AtomicI64,
    outbox: AtomicI64,
    purges: AtomicI64,
    live_pages: AtomicU64,
    file_pages: AtomicU64,
    page_bytes: AtomicU64,
    ceiling_pages: AtomicU64,
    volume_low: AtomicBool,
}

impl Totals {
    #[cfg(test)]
    pub(crate) fn with_offers(offers: u64) -> Self {
        let gauges = Self::default();
        gauges.exchange_offers.store(super::sql::count(offers), Ordering::Relaxed);
        gauges
    }

    /// Blobs stored.
    pub(crate) fn blobs(&self) -> u64 {
        held(&self.blobs)
    }

    /// Mailboxes registered.
    pub(crate) fn registrations(&self) -> u64 {
        held(&self.registrations)
    }

    /// Recovery proofs stored.
    pub(crate) fn recovery_proofs(&self) -> u64 {
        held(&self.recovery_proofs)
    }

    /// Exchange offers stored.
    pub(crate) fn exchange_offers(&self) -> u64 {
        held(&self.exchange_offers)
    }

    /// Guardian sets stored.
    pub(crate) fn guardian_sets(&self) -> u64 {
        held(&self.guardian_sets)
    }

    /// Escrow gates stored.
    pub(crate) fn escrow_gates(&self) -> u64 {
        held(&self.escrow_gates)
    }

    /// Blobs offered to peers or put aside.
    pub(crate) fn leases(&self) -> u64 {
        held(&self.leases)
    }

    /// Blobs that peers hold.
    pub(crate) fn hints(&self) -> u64 {
        held(&self.hints)
    }

    /// Blobs that peers claim to hold, and that nothing else tells of.
    pub(crate) fn claims(&self) -> u64 {
        held(&self.claims)
    }

    /// Blobs held for peers.
    pub(crate) fn held(&self) -> u64 {
        held(&self.held)
    }

    /// Bytes of the store that mail takes which is held for peers and for nobody else, roughly: what each blob counts,
    /// and what its rows take.
    pub(crate) fn foreign_bytes(&self) -> u64 {
        let [bytes, blobs] = [&self.held_bytes, &self.held].map(|gauge| gauge.load(Ordering::Relaxed));
        foreign_bytes(bytes, blobs).max(0).unsigned_abs()
    }

    /// Deletions that wait to be told to peers.
    pub(crate) fn outbox(&self) -> u64 {
        held(&self.outbox)
    }

    /// Purges that have begun and are not over.
    pub(crate) fn purges(&self) -> u64 {
        held(&self.purges)
    }

    /// Which part of the ceiling is in use.
    pub(crate) fn fill(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        ratio(self.live_bytes(), self.ceiling_bytes())
    }

    /// Blobs that ever arrived.
    pub(crate) fn arrivals(&self) -> u64 {
        held(&self.arrivals)
    }

    /// Bytes of the pages in use.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_pages.load(Ordering::Relaxed) * self.page_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may be in use.
    pub(crate) fn ceiling_bytes(&self) -> u64 {
        self.ceiling_pages.load(Ordering::Relaxed) * self.page_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that may be in use, and how many more may be before new mail is refused.
    pub(crate) fn byte_space(&self) -> Space {
        let whole = self.ceiling_bytes();
        Space { whole, free: (whole - whole / 20).saturating_sub(self.live_bytes()) }
    }

    /// Bytes that the database file has once the log is copied into it.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_pages.load(Ordering::Relaxed) * self.page_bytes.load(Ordering::Relaxed)
    }

    /// Whether new mail is refused: 95 % of the ceiling is in use, or the volume is nearly full. The rest
    /// stays for acks, purges and expiry.
    pub(crate) fn is_full(&self) -> bool {
        let (live, ceiling) =
            (self.live_pages.load(Ordering::Relaxed), self.ceiling_pages.load(Ordering::Relaxed));
        self.volume_low.load(Ordering::Relaxed) || live >= ceiling - ceiling / 20
    }

    /// Sets the ceiling.
    pub(crate) fn set_ceiling(&self, pages: u64, page_bytes: u64) {
        self.ceiling_pages.store(pages, Ordering::Relaxed);
        self.page_bytes.store(page_bytes, Ordering::Relaxed);
    }

    /// Whether the volume under the database was found nearly full.
    pub(crate) fn is_volume_low(&self) -> bool {
        self.volume_low.load(Ordering::Relaxed)
    }

    /// Says whether the volume under the database is nearly full. Answers what was said before.
    pub(crate) fn set_volume_low(&self, low: bool) -> bool {
        self.volume_low.swap(low, Ordering::Relaxed)
    }

    /// Reads the sums and the size from the database.
    pub(crate) fn load(&self, connection: &Connection) -> Result<(), StoreError> {
        let read = |row: &Row<'_>| {
            Ok(Change {
                blobs: row.get("blobs")?,
                bytes: 0,
                registrations: row.get("registrations")?,
                arrivals: row.get("arrivals")?,
                recovery_proofs: row.get("recovery_proofs")?,
                exchange_offers: row.get("exchange_offers")?,
                guardian_sets: row.get("guardian_sets")?,
                escrow_gates: row.get("escrow_gates")?,
                leases: row.get("leases")?,
                hints: row.get("hints")?,
                claims: row.get("claims")?,
                held: row.get("held")?,
                held_bytes: row.get("held_bytes")?,
                outbox: row.get("outbox")?,
                purges: row.get("purges")?,
            })
        };
        let sums = connection.query_row("SELECT * FROM totals", [], read)?;
        self.each(&sums, |gauge, sum| gauge.store(sum, Ordering::Relaxed));
        self.set_size(Size::read(connection)?);
        Ok(())
    }

    /// Takes over what was committed.
    pub(crate) fn committed(&self, change: &Change, size: Size) {
        self.each(change, |gauge, difference| {
            gauge.fetch_add(difference, Ordering::Relaxed);
        });
        self.set_size(size);
    }

    fn each(&self, change: &Change, apply: impl Fn(&AtomicI64, i64)) {
        apply(&self.blobs, change.blobs);
        apply(&self.registrations, change.registrations);
        apply(&self.arrivals, change.arrivals);
        apply(&self.recovery_proofs, change.recovery_proofs);
        apply(&self.exchange_offers, change.exchange_offers);
        apply(&self.guardian_sets, change.guardian_sets);
        apply(&self.escrow_gates, change.escrow_gates);
        apply(&self.leases, change.leases);
        apply(&self.hints, change.hints);
        apply(&self.claims, change.claims);
        apply(&self.held, change.held);
        apply(&self.held_bytes, change.held_bytes);
        apply(&self.outbox, change.outbox);
        apply(&self.purges, change.purges);
    }

    fn set_size(&self, size: Size) {
        self.live_pages.store(size.pages.saturating_sub(size.free), Ordering::Relaxed);
        self.file_pages.store(size.pages, Ordering::Relaxed);
    }
}

/// What so many held blobs take that count so many bytes.
pub(crate) const fn foreign_bytes(bytes: i64, blobs: i64) -> i64 {
    bytes.saturating_add(blobs.saturating_mul(FOREIGN_ROW_BYTES))
}

fn held(gauge: &AtomicI64) -> u64 {
    gauge.load(Ordering::Relaxed).max(0).unsigned_abs()
}

/// Pages of the database: all, and those that wait to be used again. All alone does not fall when rows go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pages: u64,
    free: u64,
}

impl Size {
    pub(crate) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let number = |pragma: &str| -> Result<u64, StoreError> {
            Ok(connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))?)
        };
        Ok(Self { pages: number("PRAGMA page_count")?, free: number("PRAGMA freelist_count")? })
    }
}

/// What writes add to or take from the sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) blobs: i64,
    pub(crate) bytes: i64,
    pub(crate) registrations: i64,
    pub(crate) arrivals: i64,
    pub(crate) recovery_proofs: i64,
    pub(crate) exchange_offers: i64,
    pub(crate) guardian_sets: i64,
    pub(crate) escrow_gates: i64,
    pub(crate) leases: i64,
    pub(crate) hints: i64,
    pub(crate) claims: i64,
    pub(crate) held: i64,
    pub(crate) held_bytes: i64,
    pub(crate) outbox: i64,
    pub(crate) purges: i64,
}

impl Change {
    /// Adds this to the sums in the database.
    pub(crate) fn write(&self, sql: &Connection) -> Result<(), StoreError> {
        if *self == Self::default() {
            return Ok(());
        }
        let Self {
            blobs,
            bytes,
            registrations,
            arrivals,
            recovery_proofs,
            exchange_offers,
            guardian_sets,
            escrow_gates,
            leases,
            hints,
            claims,
            held,
            held_bytes,
            outbox,
            purges,
        } = *self;
        sql.prepare_cached(
            "UPDATE totals SET blobs = blobs + ?1, bytes = bytes + ?2, registrations = registrations + ?3,
                                   arrivals = arrivals + ?4, recovery_proofs = recovery_proofs + ?5,
                                   exchange_offers = exchange_offers + ?6, guardian_sets = guardian_sets + ?7,
                                   escrow_gates = escrow_gates + ?8, leases = leases + ?9,
                                   hints = hints + ?10, held = held + ?11, outbox = outbox + ?12,
                                   claims = claims + ?13, held_bytes = held_bytes + ?14,
                                   purges = purges + ?15",
        )?
        .execute([
            blobs,
            bytes,
            registrations,
            arrivals,
            recovery_proofs,
            exchange_offers,
            guardian_sets,
            escrow_gates,
            leases,
            hints,
            held,
            outbox,
            claims,
            held_bytes,
            purges,
        ])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_twentieth_is_kept_for_deletions() {
        let gauges = Totals::default();
        gauges.set_ceiling(1000, 4096);
        for (live, full) in [(0, false), (949, false), (950, true), (1000, true)] {
            gauges.live_pages.store(live, Ordering::Relaxed);
            assert_eq!(gauges.is_full(), full, "{live}");
        }
        gauges.live_pages.store(0, Ordering::Relaxed);
        gauges.set_volume_low(true);
        assert!(gauges.is_full());
    }
}
