//! The database: its file and schema, the thread that writes, the connections that read, and what is counted.
//!
//! The rooms beside it hold the tables. They hand in a piece of work: a write to [`Store::writer`], a read to
//! [`Store::readers`].

pub(crate) mod batch;
pub(crate) mod blob_rows;
pub(crate) mod compact;
pub(crate) mod error;
pub(crate) mod meta;
pub(crate) mod open;
pub(crate) mod readers;
pub(crate) mod row_key;
pub(crate) mod schema;
pub(crate) mod sql;
pub(crate) mod steps;
pub(crate) mod table;
pub(crate) mod totals;
pub(crate) mod volume;
pub(crate) mod writer;

pub(crate) use batch::{Batch, Write};
pub(crate) use error::StoreError;
pub(crate) use row_key::{ARRIVALS, Position};
pub(crate) use sql::{Sql, blob_name, count, moment, time};
pub(crate) use steps::{HEAVY_SWEEP_ROWS, STEP_ROWS, SWEEP_ROWS, StepRoom};
pub(crate) use table::{KeyColumn, RowLifetime, Table};
pub(crate) use totals::{Change, Space, Total, Totals};
pub(crate) use writer::Load;

use crate::config::Config;
use open::DataDirectory;
use readers::Readers;
use relay_daemon::variables::Backend;
use relay_daemon::{Exit, Failure};
use relay_proto::StorageError;
use relay_proto::admin::Capacity;
use relay_proto::caller::Caller;
use relay_proto::limits::MAX_WRITE_COMMANDS;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use steps::Turns;
use volume::disk_space::DiskSpace;
use volume::{damage, disk_space};
use writer::{End, Ended, Observe, Writer};

/// Rows that are written at once, among other people's writes.
const FEW_ROWS: usize = 100;

/// The open store.
#[derive(Debug)]
pub(crate) struct Store {
    /// Runs writes, in groups.
    pub(crate) writer: Writer,
    /// Who may queue a step of long work.
    turns: Turns,
    /// Runs reads.
    pub(crate) readers: Readers,
    /// What the store holds.
    pub(crate) gauges: Arc<Totals>,
    /// Keeps an eye on ceiling and volume.
    pub(crate) room: Arc<DiskSpace>,
    /// Whether what is stored outlives the process.
    pub(crate) durable: bool,
    /// Owns the data directory until the store is dropped.
    home: DataDirectory,
}

impl Store {
    /// Takes the data directory, so that nobody else does.
    ///
    /// # Errors
    /// With the exit code and the mend: the directory is another's, or data is missing.
    pub(crate) fn take(config: &Config) -> Result<DataDirectory, Failure> {
        DataDirectory::take(config.backend, &config.data)
    }

    /// Takes the data directory and opens the store.
    ///
    /// # Errors
    /// Those of [`Store::take`] and [`Store::open_in`].
    #[cfg(test)]
    pub(crate) fn open<T>(
        config: &Config,
        observe: Observe,
        read: impl FnMut(&Connection) -> Result<T, StoreError>,
    ) -> Result<(Self, T, Ended), Failure> {
        Self::open_in(Self::take(config)?, config, observe, read)
    }

    /// Opens the store. Returns besides what `read` reads before anything is served, and a receiver that tells when and how
    /// the writer ends. `observe` is told of each transaction.
    ///
    /// # Errors
    /// With the exit code and the mend: the file is damaged, foreign or newer, the disk fails.
    pub(crate) fn open_in<T>(
        home: DataDirectory,
        config: &Config,
        observe: Observe,
        mut read: impl FnMut(&Connection) -> Result<T, StoreError>,
    ) -> Result<(Self, T, Ended), Failure> {
        let gauges = Arc::new(Totals::default());
        let room = Arc::new(DiskSpace::new(config, Arc::clone(&gauges)));
        let (end, ended) = End::channel();
        let (connection, found, readers) = disk_space::giving_way(room.directory(), || {
            damage::expect_none(&home)?;
            let connection = home.open_writer()?;
            room.apply(&connection)?;
            gauges.load(&connection)?;
            let found = read(&connection)?;
            Ok((connection, found, Readers::start(&home, end.clone())?))
        })?;
        if room.is_low() && !room.hold_log() && room.drop_ballast() {
            tracing::error!("the volume is full: the ballast is thrown off so that deletions go on");
            room.hold_log();
        }
        let writer = Writer::start(
            connection,
            home.log_was_empty,
            Arc::clone(&gauges),
            Arc::clone(&room),
            observe,
            end,
        )
        .map_err(|error| {
            Failure::new(Exit::Internal, format_args!("cannot start the writer thread: {error}"))
        })?;
        let durable = config.backend == Backend::Sqlite;
        let store = Self { writer, turns: Turns::default(), readers, gauges, room, durable, home };
        Ok((store, found, ended))
    }

    /// After the store ended because of damage: names it, and keeps the next start from serving it. Answers a better
    /// reason for the end, if there is one.
    pub(crate) fn report_damage(&self) -> Option<Failure> {
        damage::report(&self.home)
    }

    /// How full the store is.
    pub(crate) fn capacity(&self) -> Capacity {
        Capacity {
            live_bytes: self.gauges.live_bytes(),
            ceiling_bytes: self.gauges.ceiling_bytes(),
            durable: self.durable,
            foreign_bytes: self.gauges.foreign_bytes(),
        }
    }

    /// Where a copy of the database can be laid, if there is a file to copy and room for another one.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] for a store in memory, [`StorageError::StorageFull`] where there is no room.
    pub(crate) fn place_for_a_copy(&self) -> Result<&Path, StorageError> {
        let Some(directory) = self.room.directory() else {
            return Err(StorageError::Invalid { field: "backup of a store in memory".into() });
        };
        if self.room.fits(self.gauges.file_bytes()) { Ok(directory) } else { Err(StorageError::StorageFull) }
    }

    /// Runs one step of long work when its caller's turn comes: all of it or nothing.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        caller: Caller,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.turns.step(&self.writer, caller, work).await
    }

    /// Writes some rows: a few at once among other people's writes, and many when their caller's turn comes.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(crate) async fn write_rows<T: Send + 'static>(
        &self,
        caller: Caller,
        rows: usize,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if rows <= FEW_ROWS {
            self.writer.run_one_of(Load { commands: rows, bytes: 0 }, work).await
        } else {
            self.step(caller, work).await
        }
    }

    /// Does the same to each of some things, one after another and each whole or not at all, with as many in one
    /// transaction as belong there. Ends with the first failure.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(crate) async fn each<I: Send + Sync + 'static, T: Send + 'static>(
        &self,
        items: Vec<I>,
        work: impl Fn(&mut Write<'_>, &I) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Result<Vec<T>, StoreError> {
        let items = Arc::new(items);
        let mut done: Vec<T> = Vec::with_capacity(items.len());
        while done.len() < items.len() {
            let (all, from, work) = (Arc::clone(&items), done.len(), work.clone());
            let load = Load { commands: all.len() - from, bytes: 0 };
            let some = move |batch: &mut Batch<'_>| {
                let mut some = Vec::new();
                for item in all.iter().skip(from).take(MAX_WRITE_COMMANDS) {
                    some.push(batch.with_savepoint(|write| work(write, item))?);
                    if batch.is_large() {
                        break;
                    }
                }
                Ok(some)
            };
            done.append(&mut self.writer.run(load, some).await?);
        }
        Ok(done)
    }

    /// Whether a commit goes through.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.writer.run_one(|_| Ok(())).await
    }
}
