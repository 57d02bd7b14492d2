//! The store: all of the relay's SQL, one file a table, and the connections it runs on.
//!
//! Everybody else hands in a piece of work: a write to [`Store::writer`], a read to [`Store::readers`]. The
//! seam stays that narrow so that another engine could stand behind it.

pub(crate) mod acked;
pub(crate) mod answers;
pub(crate) mod batch;
pub(crate) mod blobs;
mod carried;
pub(crate) mod census;
mod checkpoint;
pub(crate) mod claims;
pub(crate) mod clock;
pub(crate) mod compact;
pub(crate) mod copy;
mod damage;
mod directory;
mod erasure;
pub(crate) mod error;
pub(crate) mod escrow;
pub(crate) mod exchanges;
pub(crate) mod forgotten;
pub(crate) mod gauges;
mod generation;
pub(crate) mod guardians;
pub(crate) mod held;
pub(crate) mod hints;
pub(crate) mod import;
pub(crate) mod inventory;
pub(crate) mod keys;
pub(crate) mod leases;
pub(crate) mod meta;
mod moved;
mod open;
pub(crate) mod outbox;
pub(crate) mod page;
pub(crate) mod peers;
mod position;
pub(crate) mod purges;
pub(crate) mod readers;
pub(crate) mod recovery;
pub(crate) mod registrations;
pub(crate) mod replays;
pub(crate) mod restore;
pub(crate) mod room;
pub(crate) mod schema;
mod sql;
pub(crate) mod steps;
pub(crate) mod tombstones;
pub(crate) mod usage;
pub(crate) mod used;
pub(crate) mod writer;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::trusted_time::Memory;
use error::StoreError;
use gauges::Gauges;
use open::Home;
use readers::Readers;
use relay_daemon::variables::Backend;
use relay_daemon::{Exit, Failure, Pace};
use relay_proto::Refusal;
use relay_proto::UnixSeconds;
use relay_proto::admin::{Capacity, Slack};
use relay_proto::caller::Caller;
use relay_proto::limits::MAX_WRITE_COMMANDS;
use room::Room;
use std::path::Path;
use std::sync::Arc;
use steps::Turns;
use writer::{End, Ended, Load, Writer};

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
    pub(crate) gauges: Arc<Gauges>,
    /// Keeps an eye on ceiling and volume.
    pub(crate) room: Arc<Room>,
    /// What was remembered of the clock when the store was opened.
    pub(crate) clock: Memory,
    /// Whether what is stored outlives the process.
    pub(crate) durable: bool,
    /// Owns the data directory until the store is dropped.
    home: Home,
}

impl Store {
    /// Takes the data directory, so that nobody else does.
    ///
    /// # Errors
    /// With the exit code and the mend: the directory is another's, or data is missing.
    pub(crate) fn take(config: &Config) -> Result<Home, Failure> {
        Home::take(config.backend, &config.data)
    }

    /// Takes the data directory and opens the store.
    ///
    /// # Errors
    /// Those of [`Store::take`] and [`Store::open_in`].
    #[cfg(test)]
    pub(crate) fn open(config: &Config, metrics: Metrics) -> Result<(Self, Ended), Failure> {
        Self::open_in(Self::take(config)?, config, metrics)
    }

    /// Opens the store. The receiver tells when and how the writer ends.
    ///
    /// # Errors
    /// With the exit code and the mend: the file is damaged, foreign or newer, the disk fails.
    pub(crate) fn open_in(home: Home, config: &Config, metrics: Metrics) -> Result<(Self, Ended), Failure> {
        let gauges = Arc::new(Gauges::default());
        let room = Arc::new(Room::new(config, Arc::clone(&gauges)));
        let (end, ended) = End::channel();
        let (connection, clock, readers) = room::giving_way(room.directory(), || {
            damage::expect_none(&home)?;
            let connection = home.open_writer()?;
            room.apply(&connection)?;
            gauges.load(&connection)?;
            let clock = clock::recall(&connection)?;
            Ok((connection, clock, Readers::start(&home, end.clone())?))
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
            metrics,
            end,
        )
        .map_err(|error| {
            Failure::new(Exit::Internal, format_args!("cannot start the writer thread: {error}"))
        })?;
        let durable = config.backend == Backend::Sqlite;
        Ok((Self { writer, turns: Turns::default(), readers, gauges, room, clock, durable, home }, ended))
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
    /// [`Refusal::Invalid`] for a store in memory, [`Refusal::StorageFull`] where there is no room.
    pub(crate) fn place_for_a_copy(&self) -> Result<&Path, Refusal> {
        let Some(directory) = self.room.directory() else {
            return Err(Refusal::Invalid { field: "backup of a store in memory".into() });
        };
        if self.room.fits(self.gauges.file_bytes()) { Ok(directory) } else { Err(Refusal::StorageFull) }
    }

    /// Runs one step of long work when its caller's turn comes: all of it or nothing.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        caller: Caller,
        work: impl FnOnce(&mut batch::Write<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.turns.step(&self.writer, caller, work).await
    }

    /// Does the same to each of some things, one after another and each whole or not at all, with as many in one
    /// transaction as belong there. Ends with the first failure.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(crate) async fn each<I: Send + Sync + 'static, T: Send + 'static>(
        &self,
        items: Vec<I>,
        work: impl Fn(&mut batch::Write<'_>, &I) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Result<Vec<T>, StoreError> {
        let items = Arc::new(items);
        let mut done: Vec<T> = Vec::with_capacity(items.len());
        while done.len() < items.len() {
            let (all, from, work) = (Arc::clone(&items), done.len(), work.clone());
            let load = Load { commands: all.len() - from, bytes: 0 };
            let some = move |batch: &mut batch::Batch<'_>| {
                let mut some = Vec::new();
                for item in all.iter().skip(from).take(MAX_WRITE_COMMANDS) {
                    some.push(batch.attempt(|write| work(write, item))?);
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

/// Takes the database of a relay that does not run back to an older schema version.
pub(crate) fn take_back(config: &Config, to: u32) -> Result<(), Failure> {
    let (_home, mut sql) = at_rest(config)?;
    schema::take_back(&mut sql, to)
}

/// Takes stock of a database that nobody has open.
pub(crate) fn inspect(database: &Path, pace: Pace) -> Result<census::Census, Failure> {
    restore::inspect(database, pace)
}

/// Takes stock of the database of a relay that does not run.
pub(crate) fn inspect_home(config: &Config) -> Result<census::Census, Failure> {
    let home = home_at_rest(config)?;
    census::take(home.open_to_look()?, Pace::hurried())
}

/// Copies the database of a relay that does not run.
pub(crate) fn copy_home(config: &Config, target: &Path) -> Result<(), Failure> {
    let home = home_at_rest(config)?;
    copy::whole(&home.open_to_look()?, target).map_err(|error| match error {
        // The relay's own database is only read.
        StoreError::Full => Failure::new(Exit::Io, "cannot write the backup: no room is left on its volume"),
        error => error.into(),
    })
}

/// Gives all free pages of the database of a relay that does not run back. Answers what was free, and what is.
pub(crate) fn compact_home(config: &Config) -> Result<[Slack; 2], Failure> {
    let (_home, sql) = at_rest(config)?;
    let run = || {
        let before = compact::slack(&sql)?;
        let mut after = compact::step(&sql)?;
        while after.free_bytes > 0 {
            let next = compact::step(&sql)?;
            if next == after {
                break;
            }
            after = next;
        }
        sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok([before, after])
    };
    run().map_err(|error: StoreError| error.into())
}

/// Puts a backup into the place of the database of a relay that does not run.
pub(crate) fn restore_home(
    config: &Config,
    backup: &Path,
    replace: bool,
    now: UnixSeconds,
) -> Result<restore::Restored, Failure> {
    if config.backend == Backend::Memory {
        return Err(Failure::new(
            Exit::Usage,
            "a relay in memory keeps nothing; set RELAY_STORAGE_BACKEND=sqlite",
        ));
    }
    restore::restore(&config.data, backup, replace, now)
}

/// Takes over what a relay of the older kind left in a directory.
pub(crate) fn import_home(
    config: &Config,
    from: &Path,
    now: UnixSeconds,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<import::Imported, Failure> {
    import::import(config, from, now, progress)
}

/// The database of a relay that does not run, which cannot start meanwhile.
fn at_rest(config: &Config) -> Result<(Home, rusqlite::Connection), Failure> {
    let home = home_at_rest(config)?;
    let sql = home.open_at_rest()?;
    Ok((home, sql))
}

fn home_at_rest(config: &Config) -> Result<Home, Failure> {
    if config.backend == Backend::Memory {
        return Err(Failure::new(
            Exit::Usage,
            "a relay in memory keeps nothing that could be looked at or copied",
        ));
    }
    Home::take_existing(&config.data)
}
