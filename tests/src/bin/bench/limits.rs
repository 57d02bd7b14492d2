//! What the machine can do without a relay: the measure that the relay's numbers are held against.
//!
//! The table is the plainest that could hold mail: a rowid, a random 16-byte id with a unique index, a blob. It
//! holds as many rows as the relay under load does, since every index gets slower as it grows.

use crate::Fallible;
use crate::random::Random;
use crate::stats::Rounds;
use rusqlite::Connection;
use rusqlite::hooks::Wal;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// Rows a transaction when rows are deleted; the measure of acks.
pub(crate) const DELETE_GROUP: usize = 32;
const BLOB: usize = 1024;
const PAGES_BETWEEN_CHECKPOINTS: i32 = 2000;

/// The machine's limits, each a second.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Limits {
    /// 4 KiB appended and made durable.
    pub(crate) fdatasyncs: Rounds,
    /// Rows inserted, by rows a transaction.
    pub(crate) inserts: BTreeMap<usize, Rounds>,
    /// Rows deleted by id, 32 a transaction.
    pub(crate) deletes: Rounds,
}

/// How often a second 4 KiB can be made durable.
pub(crate) fn fdatasyncs(directory: &Path, window: Duration) -> Fallible<f64> {
    let path = directory.join("appended");
    let mut file = File::create(&path)?;
    let page = [7_u8; 4096];
    let started = Instant::now();
    let mut count = 0_u32;
    while started.elapsed() < window {
        file.write_all(&page)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / started.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// The plain table, in a directory that goes with it.
#[derive(Debug)]
pub(crate) struct Table {
    database: Connection,
    /// Rows that were inserted after the first ones and are there yet.
    ids: Vec<[u8; 16]>,
    random: Random,
    body: Vec<u8>,
    wal_pages: Arc<AtomicI32>,
    _directory: tempfile::TempDir,
}

impl Table {
    /// Makes it, with so many rows.
    pub(crate) fn create(directory: &Path, rows: u64) -> Fallible<Self> {
        let directory = tempfile::tempdir_in(directory)?;
        let mut database = Connection::open(directory.path().join("plain.db"))?;
        database.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
             PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE blob (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, body BLOB NOT NULL);",
        )?;
        let wal_pages = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&wal_pages);
        database.wal_hook(Some(move |_: &mut Wal, pages| {
            seen.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let mut random = Random::new();
        let mut body = vec![0; BLOB];
        random.bytes(&mut body);
        let mut table = Self { database, ids: Vec::new(), random, body, wal_pages, _directory: directory };
        while (table.ids.len() as u64) < rows {
            table.insert(512)?;
            table.checkpoint_if_due()?;
        }
        table.ids.clear();
        Ok(table)
    }

    /// Rows a second, when so many are inserted at a time.
    pub(crate) fn inserts(&mut self, group: usize, window: Duration) -> Fallible<f64> {
        self.run(window, |table| table.insert(group))
    }

    /// Rows a second, when what was inserted is deleted in groups. Clients ack in an order of their own, not in
    /// that of arrival, so the order is random here too.
    pub(crate) fn deletes(&mut self, window: Duration) -> Fallible<f64> {
        self.random.shuffle(&mut self.ids);
        self.run(window, Self::delete)
    }

    /// Repeats a transaction for a while; how many rows a second it wrote.
    fn run(&mut self, window: Duration, mut step: impl FnMut(&mut Self) -> Fallible<usize>) -> Fallible<f64> {
        let started = Instant::now();
        let mut rows = 0;
        while started.elapsed() < window {
            let written = step(self)?;
            if written == 0 {
                break;
            }
            rows += written;
            self.checkpoint_if_due()?;
        }
        Ok(rows as f64 / started.elapsed().as_secs_f64())
    }

    fn insert(&mut self, group: usize) -> Fallible<usize> {
        let transaction = self.database.transaction()?;
        let mut insert = transaction.prepare_cached("INSERT INTO blob (id, body) VALUES (?1, ?2)")?;
        for _ in 0..group {
            let mut id = [0; 16];
            self.random.bytes(&mut id);
            insert.execute((&id, &self.body))?;
            self.ids.push(id);
        }
        drop(insert);
        transaction.commit()?;
        Ok(group)
    }

    fn delete(&mut self) -> Fallible<usize> {
        let doomed = self.ids.split_off(self.ids.len().saturating_sub(DELETE_GROUP));
        let transaction = self.database.transaction()?;
        let mut delete = transaction.prepare_cached("DELETE FROM blob WHERE id = ?1")?;
        for id in &doomed {
            delete.execute((id,))?;
        }
        drop(delete);
        transaction.commit()?;
        Ok(doomed.len())
    }

    fn checkpoint_if_due(&self) -> Fallible<()> {
        if self.wal_pages.load(Ordering::Relaxed) >= PAGES_BETWEEN_CHECKPOINTS {
            self.database.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?;
            self.wal_pages.store(0, Ordering::Relaxed);
        }
        Ok(())
    }
}
