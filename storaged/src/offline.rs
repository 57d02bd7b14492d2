//! What an operator does with the data of a relay that does not run, or with a backup.

use crate::config::Config;
use crate::store;
use relay_daemon::{Failure, Pace, Vars};
use relay_proto::UnixSeconds;
use relay_proto::admin::Slack;
use std::path::Path;

pub use crate::store::census::Census;
pub use crate::store::import::{Imported, Part, Tally};
pub use crate::store::restore::Restored;

/// Takes stock of a backup's database, at that pace.
///
/// # Errors
/// When it is not there, is not a relay's, or is of a newer version.
pub fn inspect(database: &Path, pace: Pace) -> Result<Census, Failure> {
    store::inspect(database, pace)
}

/// Takes stock of the relay's own database.
///
/// # Errors
/// When the relay runs, or there is no database, or it is not this version's.
pub fn inspect_home(vars: &Vars) -> Result<Census, Failure> {
    store::inspect_home(&Config::from_vars(vars)?)
}

/// Copies the relay's own database into a new file.
///
/// # Errors
/// When the relay runs, or there is no database, or the disk fails.
pub fn copy(vars: &Vars, target: &Path) -> Result<(), Failure> {
    store::copy_home(&Config::from_vars(vars)?, target)
}

/// Puts a backup's database into the place of the relay's own. Nothing that was signed before `now` is accepted any more:
/// it may have been used after the backup was made.
///
/// # Errors
/// When the relay runs, a database is there and is not to be replaced, or the disk fails. Until the end everything stays
/// as it was, and the same command can be given again.
pub fn restore(vars: &Vars, database: &Path, replace: bool, now: UnixSeconds) -> Result<Restored, Failure> {
    store::restore_home(&Config::from_vars(vars)?, database, replace, now)
}

/// Gives all free pages of the relay's own database back to the volume.
///
/// # Errors
/// When the relay runs, there is no database, or the disk fails.
pub fn compact(vars: &Vars) -> Result<[Slack; 2], Failure> {
    store::compact_home(&Config::from_vars(vars)?)
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
    store::import_home(&Config::from_vars(vars)?, from, now, progress)
}

/// Takes the database back to an older schema version, so that the version of the relay before this one can open it.
/// Nothing is lost that it knows of. Returns the version.
///
/// # Errors
/// Variables that make no sense, a relay that runs, a database that is not there, damaged or foreign, or a version that
/// there is no way to.
pub fn take_back(vars: &Vars, to: Option<u32>) -> Result<u32, Failure> {
    let to = to.unwrap_or(store::schema::OLDEST);
    store::take_back(&Config::from_vars(vars)?, to).map(|()| to)
}
