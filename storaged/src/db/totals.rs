//! What the store holds: totals that are kept in the transactions that change them, and in memory for whoever
//! decides or reports.

use crate::db::StoreError;
use crate::db::schema::TOTALS;
use rusqlite::Connection;
use std::ops::{Index, IndexMut};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Bytes that the rows of one held blob take besides its content: in three tables and their indexes.
const FOREIGN_ROW_BYTES: i64 = 512;

/// Adds a change to the totals in the database.
static ADD: LazyLock<String> = LazyLock::new(|| {
    let sums = TOTALS.iter().zip(1..).map(|((column, _), number)| format!("{column} = {column} + ?{number}"));
    format!("UPDATE totals SET {}", sums.collect::<Vec<_>>().join(", "))
});

/// One of the totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Total(usize);

impl Total {
    /// Blobs stored.
    pub(crate) const BLOBS: Self = Self::named("blobs");
    /// What they count, in bytes.
    pub(crate) const BYTES: Self = Self::named("bytes");
    /// Blobs that ever arrived.
    pub(crate) const ARRIVALS: Self = Self::named("arrivals");
    /// Mailboxes registered.
    pub(crate) const REGISTRATIONS: Self = Self::named("registrations");
    /// Blobs offered to peers or put aside.
    pub(crate) const LEASES: Self = Self::named("leases");
    /// Blobs that peers hold.
    pub(crate) const HINTS: Self = Self::named("hints");
    /// Blobs that peers claim to hold, and that nothing else tells of.
    pub(crate) const CLAIMS: Self = Self::named("claims");
    /// Blobs held for peers.
    pub(crate) const HELD: Self = Self::named("held");
    /// What those count, in bytes, that are held for peers and for nobody else.
    pub(crate) const HELD_BYTES: Self = Self::named("held_bytes");
    /// Deletions that wait to be told to peers.
    pub(crate) const OUTBOX: Self = Self::named("outbox");
    /// Purges that have begun and are not over.
    pub(crate) const PURGES: Self = Self::named("purges");

    /// The total in a column. In a constant it does not compile for a column that no migration makes.
    pub(crate) const fn named(column: &str) -> Self {
        let mut index = 0;
        loop {
            assert!(index < TOTALS.len(), "no migration makes this column");
            if is_same(TOTALS[index].0.as_bytes(), column.as_bytes()) {
                return Self(index);
            }
            index += 1;
        }
    }

    /// Its column.
    pub(crate) const fn column(self) -> &'static str {
        TOTALS[self.0].0
    }

    /// The version of the schema that brought it.
    pub(crate) const fn since(self) -> u32 {
        TOTALS[self.0].1
    }

    /// Its place among them, which is another one for each.
    #[expect(clippy::cast_possible_truncation, reason = "a handful")]
    pub(crate) const fn number(self) -> u8 {
        self.0 as u8
    }
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// How much there may be of something, and how much of that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) whole: u64,
    pub(crate) free: u64,
}

/// What the store holds, as of the last commit. Read by everybody, written by the writer thread.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    sums: [AtomicI64; TOTALS.len()],
    live_pages: AtomicU64,
    file_pages: AtomicU64,
    page_bytes: AtomicU64,
    ceiling_pages: AtomicU64,
    volume_low: AtomicBool,
}

impl Totals {
    #[cfg(test)]
    pub(crate) fn with(total: Total, sum: i64) -> Self {
        let gauges = Self::default();
        gauges.sums[total.0].store(sum, Ordering::Relaxed);
        gauges
    }

    /// Returns a total.
    pub(crate) fn of(&self, total: Total) -> u64 {
        self.sums[total.0].load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    /// Returns a total with what a transaction in progress changes.
    pub(crate) fn with_change(&self, total: Total, change: &Change) -> u64 {
        self.of(total).saturating_add_signed(change[total])
    }

    /// Returns how many rows there may be, at one for each so many bytes of the database's ceiling, and how many more.
    pub(crate) fn space(&self, total: Total, change: &Change, bytes_each: u64) -> Space {
        let whole = self.ceiling_bytes() / bytes_each;
        Space { whole, free: whole.saturating_sub(self.with_change(total, change)) }
    }

    /// Bytes of the store that mail takes which is held for peers and for nobody else, roughly: what each blob counts,
    /// and what its rows take.
    pub(crate) fn foreign_bytes(&self) -> u64 {
        let [bytes, blobs] =
            [Total::HELD_BYTES, Total::HELD].map(|total| self.sums[total.0].load(Ordering::Relaxed));
        foreign_bytes(bytes, blobs).max(0).unsigned_abs()
    }

    /// Which part of the ceiling is in use.
    pub(crate) fn fill(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        ratio(self.live_bytes(), self.ceiling_bytes())
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
        let mut statement = connection.prepare("SELECT * FROM totals")?;
        let mut rows = statement.query([])?;
        let row = rows.next()?.ok_or(StoreError::Corrupt(0))?;
        for (sum, (column, _)) in self.sums.iter().zip(TOTALS) {
            sum.store(row.get(*column)?, Ordering::Relaxed);
        }
        self.set_size(Size::read(connection)?);
        Ok(())
    }

    /// Takes over what was committed.
    pub(crate) fn committed(&self, change: &Change, size: Size) {
        for (sum, difference) in self.sums.iter().zip(change.0) {
            sum.fetch_add(difference, Ordering::Relaxed);
        }
        self.set_size(size);
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

/// Whether a total is more than nothing, at the moment that a connection sees.
pub(crate) fn any(sql: &Connection, total: Total) -> Result<bool, StoreError> {
    let column = total.column();
    let mut statement = sql.prepare_cached(&format!("SELECT {column} > 0 FROM totals"))?;
    Ok(statement.query_row([], |row| row.get(0))?)
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

/// What writes add to or take from the totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Change([i64; TOTALS.len()]);

impl Index<Total> for Change {
    type Output = i64;

    fn index(&self, total: Total) -> &i64 {
        &self.0[total.0]
    }
}

impl IndexMut<Total> for Change {
    fn index_mut(&mut self, total: Total) -> &mut i64 {
        &mut self.0[total.0]
    }
}

impl Change {
    /// Adds this to the totals in the database.
    pub(crate) fn write(&self, sql: &Connection) -> Result<(), StoreError> {
        if *self != Self::default() {
            sql.prepare_cached(&ADD)?.execute(self.0)?;
        }
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
