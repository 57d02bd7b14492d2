//! What takes the room, and making room for the operator: slice by slice, with others in between.

use crate::db::{Store, StoreError, Write};
use crate::maintenance::rows::{self, Cursor, Entry};
use relay_proto::messages::{AgeUsage, EvictReply, KindUsage, RowKind};
use relay_proto::{Ttl, UnixSeconds};
use tokio::sync::mpsc;
use tonic::Status;

pub(crate) use crate::maintenance::rows::may_go;

/// Ends of the ages that are told apart: an hour, a day, a week, thirty days; 0 stands for all others.
const AGES: [u64; 5] = [3600, 86_400, 7 * 86_400, 30 * 86_400, 0];

/// Which rows an operator wants deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    pub(crate) kind: RowKind,
    /// Only rows of this age and older.
    pub(crate) older_than_secs: u64,
    /// Only rows of more content than this.
    pub(crate) larger_than_bytes: Option<u64>,
}

impl Filter {
    fn has(&self, entry: &Entry) -> bool {
        entry.age >= self.older_than_secs && self.larger_than_bytes.is_none_or(|bytes| entry.content > bytes)
    }
}

/// Counts the rows of a kind by age.
pub(crate) async fn count(
    store: &Store,
    kind: RowKind,
    ttl: Ttl,
    now: UnixSeconds,
) -> Result<KindUsage, StoreError> {
    let mut ages = AGES.map(|below_secs| AgeUsage { below_secs, rows: 0, bytes: 0 }).to_vec();
    let mut next = Some(Cursor::Start);
    while let Some(cursor) = next {
        let (entries, after) = store.readers.run(move |sql| rows::look(sql, kind, &cursor, ttl, now)).await?;
        for entry in &entries {
            let of_age = |age: &&mut AgeUsage| age.below_secs == 0 || entry.age < age.below_secs;
            if let Some(age) = ages.iter_mut().find(of_age) {
                age.rows += 1;
                age.bytes += entry.bytes;
            }
        }
        next = after;
    }
    Ok(KindUsage { kind: kind.into(), ages })
}

/// Deletes rows, or counts them, and sends what was done so far after every slice. Ends early when nobody takes that any
/// more: what is not deleted then stays.
pub(crate) async fn evict(
    store: &Store,
    filter: Filter,
    dry_run: bool,
    ttl: Ttl,
    now: UnixSeconds,
    progress: &mpsc::Sender<Result<EvictReply, Status>>,
) -> Result<(), StoreError> {
    let kind = filter.kind;
    let mut all = EvictReply::default();
    let mut next = Some(Cursor::Start);
    while let Some(cursor) = next {
        let (entries, after) = store.readers.run(move |sql| rows::look(sql, kind, &cursor, ttl, now)).await?;
        let meant: Vec<_> = entries.into_iter().filter(|entry| filter.has(entry)).collect();
        if dry_run {
            all.rows += meant.len() as u64;
            all.bytes += meant.iter().map(|entry| entry.bytes).sum::<u64>();
        } else {
            delete(store, kind, meant, &mut all, progress).await?;
        }
        if progress.send(Ok(all)).await.is_err() {
            return Ok(());
        }
        next = after;
    }
    if all.rows > 0 && !dry_run {
        tracing::info!(kind = kind.name(), rows = all.rows, "the operator had rows deleted");
        let erase = |write: &mut Write<'_>| {
            write.answer_after_erasure();
            Ok(())
        };
        store.writer.run_one(erase).await?;
    }
    Ok(())
}

async fn delete(
    store: &Store,
    kind: RowKind,
    mut meant: Vec<Entry>,
    all: &mut EvictReply,
    progress: &mpsc::Sender<Result<EvictReply, Status>>,
) -> Result<(), StoreError> {
    while !meant.is_empty() && !progress.is_closed() {
        let some = meant;
        let step = move |write: &mut Write<'_>| {
            let (decided, rows, bytes) = rows::evict(write, kind, &some)?;
            let mut rest = some;
            rest.drain(..decided);
            Ok((rest, rows, bytes))
        };
        let (rest, rows, bytes) = store.step(None, step).await?;
        all.rows += rows;
        all.bytes += bytes;
        meant = rest;
    }
    Ok(())
}
