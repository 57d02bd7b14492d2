//! What clients entrust to the relay besides mail: recovery proofs, exchanges, guardian sets, escrow.
//!
//! Each kind of record says in its own file what the rest of the store must know of it, and is listed here: its rows are
//! then counted, charged for, shown in the metrics and to the operator, swept, and compared with their total.

pub(crate) mod escrow;
pub(crate) mod exchange;
pub(crate) mod guardian;
pub(crate) mod guess;
pub(crate) mod guess_limiter;
pub(crate) mod recovery;

use crate::db::{StoreError, Table, Total, Write};
use crate::limits::{FairShare, Payment};
use relay_proto::messages::RowKind;

/// All of them.
pub(crate) static KINDS: &[&RecordKind] = &[&recovery::KIND, &exchange::KIND, &guardian::KIND, &escrow::KIND];

/// Name and help of the gauge of each, and what it shows.
pub(crate) fn gauges() -> impl Iterator<Item = (Total, (&'static str, &'static str))> {
    KINDS.iter().map(|kind| (kind.total, kind.gauge))
}

/// A kind of record.
#[derive(Debug)]
pub(crate) struct RecordKind {
    pub(crate) table: Table,
    /// Counts its rows.
    pub(crate) total: Total,
    /// Name and help of the metric that shows how many there are.
    pub(crate) gauge: (&'static str, &'static str),
    /// As what an operator counts and deletes them. Several kinds may be shown as one.
    pub(crate) shown_as: RowKind,
    /// There may be one for each so many bytes of the database's ceiling.
    pub(crate) bytes_each: u64,
    /// What one payer may add.
    pub(crate) share: FairShare,
    /// How many are swept in one transaction; `None` for a kind that is not swept with the others.
    pub(crate) swept: Option<u32>,
}

impl RecordKind {
    /// Fails where there is no place for one more, and charges for it.
    fn charge(&self, write: &Write<'_>, payment: Payment<'_>, content: usize) -> Result<(), StoreError> {
        write.expect_place(self.total, self.bytes_each)?;
        let space = write.space(self.total, self.bytes_each);
        Ok(payment.row(self.share, space, write.gauges, content)?)
    }
}
