//! What the machine can do without a relay: the measure that the relay's numbers are held against.
//!
//! The table is the plainest that could hold mail: a rowid, a random 16-byte id with a unique index, a blob. It
//! holds as many rows as the relay under load does, since every index gets slower as it grows.

use crate::Fallible;
use crate::stats::Rounds;
use rand::seq::SliceRandom as _;
use rusqlite::Connection;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rows a transaction when rows are deleted; the measure of acks.
pub(crate) const DELETE_GROUP: usize = 32;
const BLOB: usize = 1024;

/// The machine's limits, each a second.
#[derive(Default, Serialize)]
pub(crate) struct Limits {
    /// 4 KiB appended and made durable.
    pub(crate) fdatasyncs: Rounds,
    /// Rows inserted, by rows a transaction.
    pub(crate) inserts: BTreeMap<usize, Rounds>,
    /// Rows deleted by id, 32 a transaction.
    pub(crate) deletes: Rounds,
}

/// Repeats a step until the time is up or it does nothing. Returns how much a second it did.
fn rate(window: Duration, mut step: impl FnMut() -> Fallible<usize>) -> Fallible<f64> {
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < window {
        match step()? {
            0 => break,
            more => done += more,
        }
    }
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

/// How often a second 4 KiB can be made durable.
pub(crate) fn fdatasyncs(directory: &Path, window: Duration) -> Fallible<f64> {
    let mut file = tempfile::tempfile_in(directory)?;
    rate(window, || {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        Ok(1)
    })
}

/// The plain table, in a directory that goes with it.
pub(crate) struct PlainTable {
    database: Connection,
    /// Rows that were inserted after the first ones and are there yet.
    ids: Vec<[u8; 16]>,
    body: Vec<u8>,
    _directory: tempfile::TempDir,
}

impl PlainTable {
    pub(crate) fn create(directory: &Path, rows: u64) -> Fallible<Self> {
        let directory = tempfile::tempdir_in(directory)?;
        let database = Connection::open(directory.path().join("plain.db"))?;
        database.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
             PRAGMA wal_autocheckpoint = 2000;
             CREATE TABLE blob (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, body BLOB NOT NULL);",
        )?;
        let body = relay_tests::fields::random_bytes(BLOB);
        let mut table = Self { database, ids: Vec::new(), body, _directory: directory };
        while (table.ids.len() as u64) < rows {
            table.insert(512)?;
        }
        table.ids.clear();
        Ok(table)
    }

    /// Rows a second, when so many are inserted at a time.
    pub(crate) fn inserts(&mut self, group: usize, window: Duration) -> Fallible<f64> {
        rate(window, || self.insert(group))
    }

    /// Rows a second, when what was inserted is deleted in groups. Clients ack in an order of their own, not in
    /// that of arrival, so the order is random here too.
    pub(crate) fn deletes(&mut self, window: Duration) -> Fallible<f64> {
        self.ids.shuffle(&mut rand::rng());
        rate(window, || self.delete())
    }

    fn insert(&mut self, group: usize) -> Fallible<usize> {
        let transaction = self.database.transaction()?;
        let mut insert = transaction.prepare_cached("INSERT INTO blob (id, body) VALUES (?1, ?2)")?;
        for _ in 0..group {
            let id: [u8; 16] = rand::random();
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
}
