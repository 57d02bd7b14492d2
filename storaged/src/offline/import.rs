//! Taking over what a relay of the older kind left behind: one process with an SQLite file for each kind of thing and
//! keys in files beside them. Nothing of it is changed, and what was taken before is found here already, so that the
//! same directory can be given twice.

mod keys;
mod mail;
mod records;
mod report;
mod source;

use crate::config::{Bounds, Config};
use crate::db::open::DataDirectory;
use crate::db::volume::disk_space::DiskSpace;
use crate::db::writer::checkpoint::Log;
use crate::db::{Batch, StoreError, Totals, Write};
use relay_daemon::variables::Backend;
use relay_daemon::{Exit, Failure};
use relay_proto::{StorageError, UnixSeconds};
use report::Fate;
pub use report::{ImportPart, ImportTally, Imported};
use rusqlite::Connection;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Rows that are written in one transaction.
const BATCH_ROWS: usize = 500;
/// Bytes after which a transaction takes no further row.
const BATCH_BYTES: usize = 4 << 20;

/// Files of this relay's own, which may lie in the same directory.
const OURS: [&str; 5] = ["relay.db", "lock", "initialized", "ballast", "anchor.json"];

/// Where things go to.
struct Target {
    sql: Connection,
    log: Log,
    gauges: Arc<Totals>,
    bounds: Bounds,
    now: UnixSeconds,
    _home: DataDirectory,
}

/// Takes over what is in a directory. `progress` hears of each store how many rows are behind, of how many.
pub(crate) fn import(
    config: &Config,
    from: &Path,
    now: UnixSeconds,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Imported, Failure> {
    if config.backend == Backend::Memory {
        return Err(Failure::new(Exit::Usage, "a relay in memory would keep none of it"));
    }
    let names = names(from)?;
    let mut target = Target::open(config, now)?;
    let mut imported = Imported::default();
    for name in &names {
        let file = from.join(name);
        let mut heard = |done, all| progress(name, done, all);
        let part = match name.as_str() {
            "blobs.db" => mail::take(&mut target, &file, &mut heard)?,
            "recovery_proofs.db" => records::take_proofs(&mut target, &file, &mut heard)?,
            "guardian_entries.db" => records::take_guardians(&mut target, &file, &mut heard)?,
            "federation.db" => ImportPart::left(
                "where mail lies that went to other relays: relays of that kind cannot be asked by this one",
            ),
            "device_sync.db" => ImportPart::left("no client asks for it any more"),
            "relay_id" => ImportPart::left("relays know each other by their keys"),
            _ => keys::take(&mut target, &config.keys, name, &file)?,
        };
        imported.parts.push((name.clone(), part));
    }
    imported.over_quota = mail::over_quota(&target.sql, &target.bounds, now).map_err(Failure::from)?;
    target.log.empty(&target.sql)?;
    Ok(imported)
}

/// Names of the files that may hold something, in the order of the alphabet.
fn names(from: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::DataMissing, format_args!("cannot read {}: {error}", from.display()))
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let belongs_to_another =
            name.ends_with("-wal") || name.ends_with("-shm") || name.ends_with("-journal");
        let is_ours = OURS.contains(&name.as_str()) || name.starts_with("relay.db");
        if entry.path().is_file() && !belongs_to_another && !is_ours {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(Failure::new(
            Exit::DataMissing,
            format_args!("there is nothing to take over in {}", from.display()),
        ));
    }
    names.sort();
    Ok(names)
}

impl Target {
    fn open(config: &Config, now: UnixSeconds) -> Result<Self, Failure> {
        let home = DataDirectory::take(config.backend, &config.data)?;
        let mut sql = home.open_writer()?;
        let gauges = Arc::new(Totals::default());
        let room = Arc::new(DiskSpace::new(config, Arc::clone(&gauges)));
        room.apply(&sql).map_err(Failure::from)?;
        gauges.load(&sql).map_err(Failure::from)?;
        let log = Log::watch(&mut sql, room, home.log_was_empty).map_err(Failure::from)?;
        Ok(Self { sql, log, gauges, bounds: config.bounds, now, _home: home })
    }

    /// Writes rows, some in each transaction, and counts what became of them. `rows` answers `None` at the end, and how
    /// many bytes a row has.
    fn write_all<T>(
        &mut self,
        mut rows: impl FnMut() -> Result<Option<(T, usize)>, StoreError>,
        mut write: impl FnMut(&mut Write<'_>, T) -> Result<Fate, StoreError>,
        mut heard: impl FnMut(u64),
    ) -> Result<ImportTally, Failure> {
        let mut tally = ImportTally::default();
        let mut is_over = false;
        // Whether the store is full is known between transactions, and the last twentieth is not for mail.
        let most = BATCH_BYTES.min(usize::try_from(self.gauges.ceiling_bytes() / 40).unwrap_or(BATCH_BYTES));
        while !is_over {
            let mut fates = ImportTally::default();
            let mut batch = Batch::begin(&self.sql, &self.gauges).map_err(Failure::from)?;
            let (mut written, mut bytes) = (0, 0);
            let mut refused = None;
            while written < BATCH_ROWS && bytes < most {
                let Some((row, size)) = rows().map_err(unreadable)? else {
                    is_over = true;
                    break;
                };
                match batch.with_savepoint(|write_one| write(write_one, row)) {
                    Ok(fate) => fates.count(fate),
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                }
                written += 1;
                bytes += size;
            }
            // What came before the one that did not fit stays, unless SQLite has given up all of it.
            let committed = batch.commit(self.log.begins());
            if let Ok(begins) = committed {
                tally.add(&fates);
                if begins {
                    self.log.began();
                }
            }
            if let Some(error) = refused.or(committed.err()) {
                self.log.empty(&self.sql)?;
                return Err(stopped(error, tally.seen()));
            }
            self.log.keep_short(&self.sql)?;
            heard(tally.seen());
        }
        Ok(tally)
    }
}

fn stopped(error: StoreError, behind: u64) -> Failure {
    match error {
        StoreError::Full | StoreError::Refused(StorageError::StorageFull) => Failure::new(
            Exit::Io,
            format_args!(
                "no room is left after {behind} rows, which are kept; make room on the volume, or set \
                 RELAY_MAX_STORAGE_BYTES higher, and give the same command again"
            ),
        ),
        other => other.into(),
    }
}

/// The fault is the older relay's file's, not ours.
fn unreadable(error: StoreError) -> Failure {
    let exit = if matches!(error, StoreError::Corrupt(_)) { Exit::Corrupt } else { Exit::Io };
    Failure::new(exit, format_args!("the older relay's store cannot be read to its end ({error})"))
}
