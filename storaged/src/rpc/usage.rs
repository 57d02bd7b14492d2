//! What takes the room, and making room, for the operator: slice by slice, with others in between.

use crate::db::Store;
use crate::db::batch::Write;
use crate::maintenance::usage::{self, Entry, Place};
use relay_proto::admin::{AgeUsage, Evict, Evicted, KindUsage, RowKind};
use relay_proto::{Refusal, Ttl, UnixSeconds};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Ends of the ages that are told apart: an hour, a day, a week, thirty days.
const AGES: [u64; 4] = [3600, 86_400, 7 * 86_400, 30 * 86_400];

/// Counts all kinds, one after another.
pub(crate) fn usage(
    store: &Arc<Store>,
    ttl: Ttl,
    now: UnixSeconds,
) -> ReceiverStream<Result<KindUsage, Refusal>> {
    let (told, kinds) = mpsc::channel(1);
    let store = Arc::clone(store);
    tokio::spawn(async move {
        for kind in RowKind::ALL {
            let counted = count(&store, kind, ttl, now).await;
            let failed = counted.is_err();
            if told.send(counted).await.is_err() || failed {
                return;
            }
        }
    });
    ReceiverStream::new(kinds)
}

async fn count(store: &Store, kind: RowKind, ttl: Ttl, now: UnixSeconds) -> Result<KindUsage, Refusal> {
    let below = AGES.into_iter().map(Some).chain([None]);
    let mut ages: Vec<_> = below.map(|below_secs| AgeUsage { below_secs, rows: 0, bytes: 0 }).collect();
    let mut next = Some(Place::Start);
    while let Some(place) = next {
        let (entries, after) = store.readers.run(move |sql| usage::look(sql, kind, &place, ttl, now)).await?;
        for entry in &entries {
            let age = ages.iter_mut().find(|age| age.below_secs.is_none_or(|below| entry.age < below));
            if let Some(age) = age {
                age.rows += 1;
                age.bytes += entry.bytes;
            }
        }
        next = after;
    }
    Ok(KindUsage { kind, ages })
}

/// Deletes what an operator wants deleted, or counts it.
pub(crate) fn evict(
    store: &Arc<Store>,
    evict: Evict,
    ttl: Ttl,
    now: UnixSeconds,
) -> Result<ReceiverStream<Result<Evicted, Refusal>>, Refusal> {
    if !usage::may_go(evict.kind) {
        return Err(Refusal::invalid("kind"));
    }
    let (told, steps) = mpsc::channel(1);
    let store = Arc::clone(store);
    tokio::spawn(async move {
        let outcome = go_through(&store, &evict, ttl, now, &told).await;
        if let Err(refusal) = outcome {
            drop(told.send(Err(refusal)).await);
        }
    });
    Ok(ReceiverStream::new(steps))
}

async fn go_through(
    store: &Store,
    evict: &Evict,
    ttl: Ttl,
    now: UnixSeconds,
    told: &mpsc::Sender<Result<Evicted, Refusal>>,
) -> Result<(), Refusal> {
    let kind = evict.kind;
    let mut all = Evicted::default();
    let mut next = Some(Place::Start);
    while let Some(place) = next {
        let (entries, after) = store.readers.run(move |sql| usage::look(sql, kind, &place, ttl, now)).await?;
        let meant: Vec<_> = entries.into_iter().filter(|entry| entry.is_meant(evict)).collect();
        if evict.dry_run {
            all.rows += meant.len() as u64;
            all.bytes += meant.iter().map(|entry| entry.bytes).sum::<u64>();
        } else {
            delete(store, kind, meant, &mut all, told).await?;
        }
        if told.send(Ok(all)).await.is_err() {
            // Who asked for it has gone: what is not deleted stays.
            return Ok(());
        }
        next = after;
    }
    if all.rows > 0 && !evict.dry_run {
        tracing::info!(kind = kind.name(), rows = all.rows, "the operator had rows deleted");
        store
            .writer
            .run_one(|write| {
                write.answer_after_erasure();
                Ok(())
            })
            .await?;
    }
    Ok(())
}

async fn delete(
    store: &Store,
    kind: RowKind,
    mut meant: Vec<Entry>,
    all: &mut Evicted,
    told: &mpsc::Sender<Result<Evicted, Refusal>>,
) -> Result<(), Refusal> {
    while !meant.is_empty() && !told.is_closed() {
        let some = meant;
        let step = move |write: &mut Write<'_>| {
            let (decided, rows, bytes) = usage::evict(write, kind, &some)?;
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
