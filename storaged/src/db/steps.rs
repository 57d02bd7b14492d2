//! Long work in short steps. Nothing inside one transaction is unbounded: what may take many rows or bytes goes step
//! by step, and whoever else has something to write comes in between.

use crate::db::writer::Writer;
use crate::db::{Load, Store, StoreError, Write, count};
use relay_proto::limits::MAX_WRITE_COMMANDS;
use relay_proto::{AddressHash, caller::Caller};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex as Turn;

/// Rows that one step changes at most.
pub(crate) const STEP_ROWS: u32 = 500;
/// Bytes of content that one step deletes at most. A single larger blob goes alone.
pub(crate) const STEP_BYTES: u64 = 4 << 20;
/// Longest rest between two steps. What others queue meanwhile is written before the next one or together with it, so that
/// nobody waits for more than two; a longer rest would only make long work longer.
const REST: Duration = Duration::from_millis(5);

/// Rows that a sweep changes in one transaction: more, and every touched page lands in the log at once.
pub(crate) const SWEEP_ROWS: u32 = 500;
/// The same for rows that may weigh 128 KiB.
pub(crate) const HEAVY_SWEEP_ROWS: u32 = 32;

/// What one step may still take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepRoom {
    rows: u32,
    bytes: u64,
    used: bool,
}

impl StepRoom {
    /// All that a step may take.
    pub(crate) const WHOLE: Self = Self { rows: STEP_ROWS, bytes: STEP_BYTES, used: false };
    /// What may be done at once, among other people's writes.
    pub(crate) const SMALL: Self = Self { rows: 100, bytes: 1 << 20, used: false };

    /// Takes one row with so many bytes of content, if there is room for it or nothing was taken yet.
    pub(crate) fn take(&mut self, bytes: i64) -> bool {
        let bytes = bytes.max(0).unsigned_abs();
        if self.rows == 0 || (bytes > self.bytes && self.used) {
            return false;
        }
        self.rows -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.used = true;
        true
    }

    /// How many rows are worth looking for: one more than fits, so that it is known whether there are more.
    pub(crate) fn limit(&self) -> i64 {
        count(u64::from(self.rows) + 1)
    }
}

impl Store {
    /// Repeats a step that changes up to `limit` rows until it finds fewer. Returns how many rows were changed.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(crate) async fn in_batches(
        &self,
        limit: u32,
        step: impl Fn(&mut Write<'_>, u32) -> Result<u64, StoreError> + Copy + Send + 'static,
    ) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let changed = self.step(None, move |write| step(write, limit)).await?;
            all += changed;
            if changed < u64::from(limit) {
                return Ok(all);
            }
        }
    }
}

/// Who may queue a step: one at a time over all, in turn, and each caller one in the line. A caller with a thousand long
/// calls gets one turn in two where one other caller has a single one.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    callers: Mutex<HashMap<AddressHash, Arc<Turn<()>>>>,
    /// When the next step may begin.
    all: Turn<Option<Instant>>,
}

impl Turns {
    /// Runs one step of long work when its turn comes, in a savepoint of its own: all of it or nothing.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        writer: &Writer,
        caller: Caller,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let own = caller.map(|payer| self.line_of(payer.address));
        let _own_turn = match &own {
            Some(own) => Some(own.turn.lock().await),
            None => None,
        };
        let mut next = self.all.lock().await;
        if let Some(next) = *next {
            tokio::time::sleep_until(next.into()).await;
        }
        let begun = Instant::now();
        // It ends its transaction.
        let load = Load { commands: MAX_WRITE_COMMANDS, bytes: 0 };
        let outcome = writer.run_one_of(load, work).await;
        let ended = Instant::now();
        *next = Some(ended + ended.saturating_duration_since(begun).min(REST));
        outcome
    }

    fn line_of(&self, address: AddressHash) -> Line<'_> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(callers.entry(address).or_default());
        Line { turns: self, address, turn }
    }
}

/// A caller's own line, gone when nobody stands in it.
struct Line<'a> {
    turns: &'a Turns,
    address: AddressHash,
    turn: Arc<Turn<()>>,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let mut callers = self.turns.callers.lock().unwrap_or_else(PoisonError::into_inner);
        // The table's and this one.
        if let Entry::Occupied(entry) = callers.entry(self.address)
            && Arc::strong_count(entry.get()) <= 2
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_takes_so_many_rows_and_bytes_and_one_large_row_alone() {
        let mut room = StepRoom::WHOLE;
        for _ in 0..STEP_ROWS {
            assert!(room.take(0));
        }
        assert!(!room.take(0));
        let mut room = StepRoom::WHOLE;
        assert!(room.take(3 << 20) && !room.take(2 << 20) && room.take(1 << 20));
        assert!(!room.take(1));
        let mut room = StepRoom::WHOLE;
        assert!(room.take(16 << 20) && !room.take(1));
    }
}
