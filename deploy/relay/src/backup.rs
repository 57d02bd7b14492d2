//! `relay backup`: a consistent copy of everything the relay keeps, made while it serves or while it does not run,
//! checked, and described in a manifest. What is half done is never taken for a backup: it gets its name last.

pub(crate) mod manifest;
mod receive;
mod retention;

use crate::ask;
use crate::moment::{day, stamp, utc};
use crate::quantity::{bytes, counted};
use crate::unwritable;
use manifest::Manifest;
use relay_daemon::{Clock, Exit, Failure, Pace, Vars};
use relay_proto::UnixSeconds;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use storaged::offline::{self, Census};

/// Name of the database inside of a backup.
pub(crate) const DATABASE: &str = "relay.db";

/// What backups are called, before their time.
const NAMED: &str = "relay-";

/// What a backup is called while it is made.
const UNFINISHED: &str = ".unfinished-";

/// Makes a backup in a directory, and keeps so many of the newest there.
pub(crate) fn backup<W: Write, E: Write>(
    vars: &Vars,
    clock: &Clock,
    directory: &Path,
    keep: Option<usize>,
    (out, errors): (&mut W, &mut E),
) -> Result<Exit, Failure> {
    let now = clock.now();
    let failed = |error: io::Error| trouble(directory, &error);
    make(directory).map_err(failed)?;
    let _lock = lock(directory)?;
    clear_unfinished(directory).map_err(failed)?;
    let unfinished = Unfinished(directory.join(format!("{UNFINISHED}{}", stamp(now))));
    make(&unfinished.0).map_err(failed)?;
    let database = unfinished.0.join(DATABASE);
    let serves = ask::is_running(vars)?;
    receive::copy(vars, serves, &database, errors)?;
    // Mail comes first, where somebody may send some.
    let pace = || if serves { Pace::gentle() } else { Pace::hurried() };
    let census = offline::inspect(&database, pace())?;
    let manifest = Manifest::of(&database, &census, now, pace()).map_err(failed)?;
    manifest.write(&unfinished.0).map_err(failed)?;
    sync(&unfinished.0).map_err(failed)?;
    let finished = free_name(directory, now);
    fs::rename(&unfinished.0, &finished).map_err(failed)?;
    sync(directory).map_err(failed)?;
    let gone = match keep {
        Some(keep) => retention::keep_newest(directory, keep).map_err(failed)?,
        None => 0,
    };
    let left = retention::backups(directory).map_err(failed)?.len();
    tell(&finished, &manifest, &census, now, out)?;
    let removed = if gone > 0 { format!(", {gone} older removed") } else { String::new() };
    writeln!(out, "{} in {}{removed}", counted(left as u64, "backup"), directory.display())
        .map_err(unwritable)?;
    for problem in &census.problems {
        writeln!(errors, "relay: the database is not well: {problem}").map_err(unwritable)?;
    }
    Ok(if census.problems.is_empty() { Exit::Success } else { Exit::Corrupt })
}

/// The name of a backup of this moment. Of two in one second the later one gets the next.
fn free_name(directory: &Path, mut moment: UnixSeconds) -> PathBuf {
    loop {
        let name = directory.join(format!("{NAMED}{}", stamp(moment)));
        if !name.exists() {
            return name;
        }
        moment = moment.plus(1);
    }
}

/// Says what a backup holds, and for how long.
fn tell(
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
    write!(
        out,
        "{}\n  {} in {}, schema {}, checked\n  {last}; delete it then at the latest\n  \
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
    let opened = File::open(directory).map_err(|error| trouble(directory, &error))?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            Exit::Locked,
            format_args!("another backup is being made in {}", directory.display()),
        )),
        // Some file systems of other machines have no locks for directories.
        Err(TryLockError::Error(_)) => Ok(opened),
    }
}

/// A directory of the owner's own.
fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes what commands that were killed left behind.
fn clear_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// A backup in the making, gone when it is dropped before it got its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0.exists() {
            // Whatever is left goes with the next backup.
            drop(fs::remove_dir_all(&self.0));
        }
    }
}

fn trouble(directory: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Exit::Permission,
        _ => Exit::Io,
    };
    Failure::new(exit, format_args!("cannot write the backup into {}: {error}", directory.display()))
}
