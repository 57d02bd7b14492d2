//! The store: all of the relay's SQL, one file a table, and the connections it runs on.
//!
//! Everybody else hands in a piece of work: a write to [`Store::writer`], a read to [`Store::readers`]. The
//! seam stays that narrow so that another engine could stand behind it.

pub(crate) mod acked;
pub(crate) mod answers;
pub(crate) mod batch;
pub(crate) mod blobs;
mod carried;
mod checkpoint;
pub(crate) mod error;
pub(crate) mod escrow;
pub(crate) mod exchanges;
pub(crate) mod forgotten;
pub(crate) mod gauges;
pub(crate) mod guardians;
pub(crate) mod held;
pub(crate) mod hints;
pub(crate) mod keys;
pub(crate) mod leases;
pub(crate) mod meta;
mod moved;
mod open;
pub(crate) mod outbox;
pub(crate) mod peers;
mod position;
pub(crate) mod readers;
pub(crate) mod recovery;
pub(crate) mod registrations;
pub(crate) mod replays;
pub(crate) mod room;
pub(crate) mod schema;
mod sql;
pub(crate) mod used;
pub(crate) mod writer;

use crate::config::Config;
use crate::metrics::Metrics;
use error::StoreError;
use gauges::Gauges;
use open::Home;
use readers::Readers;
use relay_daemon::variables::Backend;
use relay_daemon::{Exit, Failure};
use relay_proto::admin::Capacity;
use room::Room;
use std::sync::Arc;
use writer::{Ended, Writer};

/// The open store.
#[derive(Debug)]
pub(crate) struct Store {
    /// Runs writes, in groups.
    pub(crate) writer: Writer,
    /// Runs reads.
    pub(crate) readers: Readers,
    /// What the store holds.
    pub(crate) gauges: Arc<Gauges>,
    /// Keeps an eye on ceiling and volume.
    pub(crate) room: Arc<Room>,
    /// Whether what is stored outlives the process.
    pub(crate) durable: bool,
    /// Owns the data directory until the store is dropped.
    _home: Home,
}

impl Store {
    /// Opens the store. The receiver tells when and how the writer ends.
    ///
    /// # Errors
    /// With the exit code and the mend: the directory is another's, the file is damaged, foreign or newer,
    /// data is missing, the disk fails.
    pub(crate) fn open(config: &Config, metrics: Metrics) -> Result<(Self, Ended), Failure> {
        let home = Home::take(config.backend, &config.data)?;
        let connection = home.open_writer()?;
        let gauges = Arc::new(Gauges::default());
        let room = Arc::new(Room::new(config, Arc::clone(&gauges)));
        room.apply(&connection).map_err(Failure::from)?;
        gauges.load(&connection).map_err(Failure::from)?;
        let readers = Readers::start(&home).map_err(Failure::from)?;
        let (writer, ended) = Writer::start(connection, Arc::clone(&gauges), Arc::clone(&room), metrics)
            .map_err(|error| {
                Failure::new(Exit::Internal, format_args!("cannot start the writer thread: {error}"))
            })?;
        let durable = config.backend == Backend::Sqlite;
        Ok((Self { writer, readers, gauges, room, durable, _home: home }, ended))
    }

    /// How full the store is.
    pub(crate) fn capacity(&self) -> Capacity {
        Capacity {
            live_bytes: self.gauges.live_bytes(),
            ceiling_bytes: self.gauges.ceiling_bytes(),
            durable: self.durable,
        }
    }

    /// Whether a commit goes through.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        self.writer.run_one(|_| Ok(())).await
    }
}

/// Takes the database of a relay that does not run back to an older schema version.
pub(crate) fn take_back(config: &Config, to: u32) -> Result<(), Failure> {
    Home::take(config.backend, &config.data)?.take_back(to)
}
