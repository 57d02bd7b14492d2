//! Ends a process whose work stands still, so that whoever started it starts it again.
//!
//! A thread looks once a second at counters which the event loop, and other threads with work of their own, move forward.
//! It counts its looks and not the time: while a process is stopped, or its machine sleeps, the thread does not look
//! either, so the process is not ended when it goes on.
//!
//! The thread begins before the process serves. Until work is registered here it only shows the supervisor that the
//! process runs: opening a large store takes its time.

use crate::{Exit, Failure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use relay_proto::telemetry::Role;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// Between two looks, and between two signs of life to the supervisor.
pub const LOOK: Duration = Duration::from_secs(1);

/// How long the message about the end may take. It can block on the same thing as the process, for example on a log that
/// nobody reads.
const LAST_WORDS: Duration = Duration::from_secs(2);

static THIS_PROCESS: Watchdog = Watchdog(Mutex::new(Vec::new()));

/// Work that has to go on. Once dropped, it is not watched any more.
#[derive(Debug)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Some of the work was done.
    pub fn made(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Registers work of this process. Without progress for `limits` times `RELAY_HANG_TIMEOUT`, the process is ended.
pub fn watch(what: &'static str, limits: u32) -> Progress {
    THIS_PROCESS.watch(what, limits)
}

/// Starts the thread. `supervisor` is a pipe into which it writes a byte a second.
///
/// # Errors
/// When the system has no thread to give.
pub(crate) fn start(role: Role, limit: u32, supervisor: Option<OwnedFd>) -> Result<(), Failure> {
    let mut supervisor = supervisor.map(pipe).transpose()?;
    let watch = move || {
        loop {
            if let Some(pipe) = &mut supervisor {
                // A supervisor that does not read is stopped or gone. Neither is a reason to wait for it.
                drop(pipe.write(b"."));
            }
            pause(LOOK);
            if let Some(what) = THIS_PROCESS.look(limit) {
                end(role, what);
            }
        }
    };
    let started = thread::Builder::new().name("watchdog".to_owned()).spawn(watch);
    started.map(drop).map_err(|error| {
        Failure::new(Exit::Internal, format_args!("cannot start the watchdog thread: {error}"))
    })
}

/// Writes to it fail instead of waiting.
fn pipe(supervisor: OwnedFd) -> Result<File, Failure> {
    fcntl(&supervisor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| {
        Failure::new(Exit::Internal, format_args!("cannot use the pipe to the supervisor: {error}"))
    })?;
    Ok(File::from(supervisor))
}

/// Ends the process with a message, or without one where that takes too long.
fn end(role: Role, what: &'static str) -> ! {
    let last_words = move || {
        let name = role.name();
        drop(writeln!(
            std::io::stderr(),
            "{name}: {what} has stood still for too long (RELAY_HANG_TIMEOUT); the process ends, to be started again"
        ));
        std::process::exit(Exit::Hung.code().into());
    };
    drop(thread::Builder::new().spawn(last_words));
    pause(LAST_WORDS);
    std::process::abort();
}

#[expect(clippy::disallowed_methods, reason = "the thread waits for nothing but time")]
fn pause(time: Duration) {
    thread::sleep(time);
}

#[derive(Debug)]
struct Watchdog(Mutex<Vec<Watched>>);

#[derive(Debug)]
struct Watched {
    what: &'static str,
    limits: u32,
    counter: Weak<AtomicU64>,
    seen: u64,
    /// Looks since the counter moved.
    looks: u32,
}

impl Watchdog {
    fn watch(&self, what: &'static str, limits: u32) -> Progress {
        let counter = Arc::new(AtomicU64::new(0));
        let mut watched = self.lock();
        watched.retain(|work| work.counter.strong_count() > 0);
        watched.push(Watched { what, limits, counter: Arc::downgrade(&counter), seen: 0, looks: 0 });
        Progress(counter)
    }

    /// Returns work that made no progress for as many looks as it may.
    fn look(&self, limit: u32) -> Option<&'static str> {
        let mut watched = self.lock();
        watched.retain(|work| work.counter.strong_count() > 0);
        watched.iter_mut().find_map(|work| {
            let counted = work.counter.upgrade()?.load(Ordering::Relaxed);
            work.looks = if counted == work.seen { work.looks.saturating_add(1) } else { 0 };
            work.seen = counted;
            (work.looks >= limit.saturating_mul(work.limits)).then_some(work.what)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog() -> Watchdog {
        Watchdog(Mutex::new(Vec::new()))
    }

    /// How many looks it takes until work is found to stand still, up to a hundred.
    fn looks(watchdog: &Watchdog, limit: u32) -> usize {
        (1..=100).find(|_| watchdog.look(limit).is_some()).unwrap_or(usize::MAX)
    }

    #[test]
    fn work_that_stands_still_is_found_after_as_many_looks_as_it_may_take() {
        let watchdog = watchdog();
        let progress = watchdog.watch("the loop", 1);
        assert_eq!(looks(&watchdog, 5), 5);
        progress.made();
        assert_eq!(looks(&watchdog, 5), 6, "the first look sees the progress");
        assert_eq!(watchdog.look(5), Some("the loop"));
    }

    #[test]
    fn work_that_goes_on_is_left_alone() {
        let watchdog = watchdog();
        let progress = watchdog.watch("the loop", 1);
        for _ in 0..100 {
            progress.made();
            assert_eq!(watchdog.look(1), None);
        }
    }

    #[test]
    fn some_work_may_take_longer_than_other_work() {
        let watchdog = watchdog();
        let _slow = watchdog.watch("the disk", 10);
        let quick = watchdog.watch("the loop", 1);
        for _ in 1..30 {
            quick.made();
            assert_eq!(watchdog.look(3), None);
        }
        quick.made();
        assert_eq!(watchdog.look(3), Some("the disk"));
    }

    #[test]
    fn work_that_is_over_is_not_watched_any_more() {
        let watchdog = watchdog();
        drop(watchdog.watch("the disk", 1));
        assert_eq!(looks(&watchdog, 3), usize::MAX);
    }

    #[test]
    fn a_supervisor_that_does_not_read_holds_nobody_up() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut pipe = pipe(writer.into()).unwrap();
        let full = (0..1 << 21).map(|_| pipe.write(b".")).find_map(Result::err);
        assert_eq!(full.unwrap().kind(), std::io::ErrorKind::WouldBlock);
        drop(reader);
        assert_eq!(pipe.write(b".").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    }
}
