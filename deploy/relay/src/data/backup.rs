//! `relay backup`: a consistent copy of everything the relay keeps, made while it serves or while it does not run,
//! checked, and described in a manifest. What is half done is never taken for a backup: it gets its name last.

mod directories;
pub(crate) mod manifest;
mod receive;
mod retention;

use crate::admin_client;
use crate::display::output::unwritable;
use crate::display::time::{day, stamp, utc};
use crate::display::units::{bytes, counted};
use manifest::Manifest;
use relay_daemon::{Clock, Exit, Failure, Throttle, Vars};
use relay_proto::UnixSeconds;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use storaged::offline::{self, Census};

/// Name of the database inside of a backup.
pub(crate) const DATABASE: &str = "relay.db";

/// What backups are called, before their time.
const NAMED: &str = "relay-";

/// What follows their time if the relay's database was found damaged.
const DAMAGED: &str = "-damaged";

/// What a backup is called while it is made, before its time, and while it is removed.
const UNFINISHED: &str = ".unfinished-";

/// Makes a backup in a directory, and keeps so many of the newest good ones there. When the database is damaged, the
/// copy is kept under a name that says so and removes no other.
pub(crate) fn backup<W: Write, E: Write>(
    vars: &Vars,
    clock: &Clock,
    directory: &Path,
    keep: Option<usize>,
    (out, errors): (&mut W, &mut E),
) -> Result<Exit, Failure> {
    let now = clock.now();
    let failed = |error: io::Error| unwritable_backup(directory, &error);
    let made = directories::make(directory).map_err(failed)?;
    let _lock = lock(directory)?;
    directories::clear_unfinished(directory).map_err(failed)?;
    let unfinished = Unfinished::make(directory, now).map_err(failed)?;
    let database = unfinished.0.join(DATABASE);
    let serves = admin_client::is_running(vars)?;
    receive::copy(vars, serves, &database, errors)?;
    // A relay that serves needs the disk for mail first.
    let pace = || if serves { Throttle::gentle() } else { Throttle::hurried() };
    let census = offline::inspect(&database, pace())?;
    let manifest = Manifest::of(&database, &census, now, pace()).map_err(failed)?;
    manifest.write(&unfinished.0).map_err(failed)?;
    directories::sync(&unfinished.0).map_err(failed)?;
    let finished = free_name(directory, now, census.problems.is_empty());
    fs::rename(&unfinished.0, &finished).map_err(failed)?;
    made.stay();
    directories::sync(directory).map_err(failed)?;
    report(&finished, &manifest, &census, now, out)?;
    if !census.problems.is_empty() {
        report_damage(&finished, &census, errors)?;
        return Ok(Exit::Corrupt);
    }
    let pruned = match keep {
        Some(keep) => retention::keep_newest(directory, &finished, keep, pace).map_err(failed)?,
        None => retention::Pruned::default(),
    };
    let left = retention::backups(directory).map_err(failed)?.len();
    let removed =
        if pruned.removed > 0 { format!(", {} older removed", pruned.removed) } else { String::new() };
    say!(out, "{} in {}{removed}", counted(left as u64, "backup"), directory.display())?;
    for reason in &pruned.damaged {
        say!(errors, "relay: an older backup is damaged and does not count: {reason}")?;
    }
    Ok(Exit::Success)
}

/// The name of a backup of this time. Of two in one second the later one gets the next.
fn free_name(directory: &Path, mut time: UnixSeconds, is_sound: bool) -> PathBuf {
    let suffix = if is_sound { "" } else { DAMAGED };
    loop {
        let name = directory.join(format!("{NAMED}{}{suffix}", stamp(time)));
        if !name.exists() {
            return name;
        }
        time = time.plus(1);
    }
}

/// Says what is wrong, and what became of the copy.
fn report_damage(place: &Path, census: &Census, errors: &mut impl Write) -> Result<(), Failure> {
    for problem in &census.problems {
        say!(errors, "relay: the database is damaged: {problem}")?;
    }
    say!(
        errors,
        "relay: the copy is kept in {}, cannot be restored, and does not count as a backup; no other backup was \
         removed. Do what \"Corruption\" in RUNBOOKS.md says",
        place.display()
    )
}

/// Says what a backup holds, and for how long.
fn report(
    place: &Path,
    manifest: &Manifest,
    census: &Census,
    now: UnixSeconds,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let last = census.last_expiry.map_or_else(
        || "it holds no mail".to_owned(),
        |last| {
            format!(
                "the last of its mail expires on {} (in {} days)",
                day(last),
                last.get().saturating_sub(now.get()) / 86_400
            )
        },
    );
    let sealed = census.sealed.map_or_else(String::new, |(from, to)| {
        format!("; some of them open what is sealed to the relay from {} until {}", day(from), utc(to))
    });
    let checked = if census.problems.is_empty() { "checked" } else { "DAMAGED" };
    write!(
        out,
        "{}\n  {} in {}, schema {}, {checked}\n  {last}; delete it then at the latest\n  \
         what is acknowledged, purged or expired later stays in it: whoever has it has that ciphertext\n  \
         it holds the relay's keys: keep it as safe as the relay{sealed}\n",
        place.display(),
        counted(census.blobs, "blob"),
        bytes(manifest.database_bytes),
        census.schema_version,
    )
    .map_err(unwritable)
}

/// Keeps others from making a backup in the same directory meanwhile, until it is dropped.
fn lock(directory: &Path) -> Result<File, Failure> {
    let opened = File::open(directory).map_err(|error| unwritable_backup(directory, &error))?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => {
            Err(failure!(Locked, "another backup is being made in {}", directory.display()))
        }
        // Some file systems of other machines have no locks for directories.
        Err(TryLockError::Error(_)) => Ok(opened),
    }
}

/// A backup in the making, gone when it is dropped before it got its name.
struct Unfinished(PathBuf);

impl Unfinished {
    fn make(directory: &Path, now: UnixSeconds) -> io::Result<Self> {
        let place = directory.join(format!("{UNFINISHED}{}", stamp(now)));
        directories::make_one(&place)?;
        Ok(Self(place))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0.exists() {
            // The next backup removes what is left.
            drop(directories::remove(&self.0));
        }
    }
}

fn unwritable_backup(directory: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Exit::Permission,
        _ => Exit::Io,
    };
    Failure::new(exit, format_args!("cannot write the backup into {}: {error}", directory.display()))
}
