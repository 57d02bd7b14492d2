//! What an operator does with the data of a relay that does not run, or with a backup.

pub(crate) mod backup;
mod import;

use crate::config::Config;
use crate::db::open::DataDirectory;
use crate::db::writer::copy;
use crate::db::{StoreError, compact, schema};
use backup::{integrity, restore};
use relay_daemon::variables::Backend;
use relay_daemon::{Exit, Failure, Throttle, Vars};
use relay_proto::UnixSeconds;
use relay_proto::messages::CompactReply;
use std::path::Path;

pub use crate::offline::backup::integrity::Census;
pub use crate::offline::backup::restore::Restored;
pub use crate::offline::import::{ImportPart, ImportTally, Imported};

/// Takes stock of a backup's database, at that pace.
///
/// # Errors
/// When it is not there, is not a relay's, or is of a newer version.
pub fn inspect(database: &Path, pace: Throttle) -> Result<Census, Failure> {
    restore::inspect(database, pace)
}

/// Takes stock of the relay's own database.
///
/// # Errors
/// When the relay runs, or there is no database, or it is not this version's.
pub fn inspect_home(vars: &Vars) -> Result<Census, Failure> {
    integrity::take(at_rest(&Config::from_vars(vars)?)?.open_to_look()?, Throttle::hurried())
}

/// Copies the relay's own database into a new file.
///
/// # Errors
/// When the relay runs, or there is no database, or the disk fails.
pub fn copy(vars: &Vars, target: &Path) -> Result<(), Failure> {
    let home = at_rest(&Config::from_vars(vars)?)?;
    copy::whole(&home.open_to_look()?, target).map_err(|error| match error {
        // The relay's own database is only read.
        StoreError::Full => Failure::new(Exit::Io, "cannot write the backup: no room is left on its volume"),
        error => error.into(),
    })
}

/// Puts a backup's database into the place of the relay's own. Nothing that was signed before `now` is accepted any more:
/// it may have been used after the backup was made.
///
/// # Errors
/// When the relay runs, a database is there and is not to be replaced, or the disk fails. Until the end everything stays
/// as it was, and the same command can be given again.
pub fn restore(vars: &Vars, database: &Path, replace: bool, now: UnixSeconds) -> Result<Restored, Failure> {
    let config = Config::from_vars(vars)?;
    if config.backend == Backend::Memory {
        return Err(Failure::new(
            Exit::Usage,
            "a relay in memory keeps nothing; set RELAY_STORAGE_BACKEND=sqlite",
        ));
    }
    restore::restore(&config.data, database, replace, now)
}

/// Gives all free pages of the relay's own database back to the volume.
///
/// # Errors
/// When the relay runs, there is no database, or the disk fails.
pub fn compact(vars: &Vars) -> Result<[CompactReply; 2], Failure> {
    let home = at_rest(&Config::from_vars(vars)?)?;
    let sql = home.open_at_rest()?;
    let run = || {
        let before = compact::free_pages(&sql)?;
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

/// Takes over what a relay of the older kind, of one process, left in a directory. Nothing there is changed, and the same
/// directory can be given again. `progress` hears of each file how many rows of it are behind, and of how many.
///
/// # Errors
/// When the relay runs, the directory has nothing, a file in it cannot be read, or no room is left.
pub fn import(
    vars: &Vars,
    from: &Path,
    now: UnixSeconds,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Imported, Failure> {
    import::import(&Config::from_vars(vars)?, from, now, progress)
}

/// Takes the database back to an older schema version, so that the version of the relay before this one can open it.
/// Nothing is lost that it knows of. Returns the version.
///
/// # Errors
/// Variables that make no sense, a relay that runs, a database that is not there, damaged or foreign, or a version that
/// there is no way to.
pub fn take_back(vars: &Vars, to: Option<u32>) -> Result<u32, Failure> {
    let to = to.unwrap_or(schema::oldest());
    let home = at_rest(&Config::from_vars(vars)?)?;
    schema::take_back(&mut home.open_at_rest()?, to)?;
    Ok(to)
}

/// The data of a relay that does not run, which cannot start while it is held.
fn at_rest(config: &Config) -> Result<DataDirectory, Failure> {
    if config.backend == Backend::Memory {
        return Err(Failure::new(
            Exit::Usage,
            "a relay in memory keeps nothing that could be looked at or copied",
        ));
    }
    DataDirectory::take_existing(&config.data)
}
