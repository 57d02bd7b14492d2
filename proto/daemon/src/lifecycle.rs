//! How a process starts and stops: signal, not ready, stop accepting, finish, exit.

mod exit;
pub mod notify;
pub mod program;
pub mod signals;
pub mod watchdog;

pub use exit::{Exit, Failure};

use crate::{Confined, Vars, confine, logging, raise_open_files, variables};
use relay_proto::UnixSeconds;
use relay_proto::messages::Process;
use relay_proto::telemetry::Role;
use signals::{HangUps, Request, StopSignals};
use std::future::Future;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a process may take to stop after it was asked to.
pub const STOP_DEADLINE: Duration = Duration::from_secs(35);

/// Signals this close together are one request: a terminal and a supervisor may both pass it on.
pub const SAME_REQUEST: Duration = Duration::from_secs(1);

/// Told when the process is to stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Asks everybody to stop.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether stopping has begun.
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until stopping begins.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.clone().cancelled_owned()
    }

    /// Returns what a piece of work comes to; `None` if stopping begins before it is done, which ends it.
    pub async fn unless_begun<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.0.run_until_cancelled(work).await
    }
}

/// A daemon at work until it is asked to stop. It is behind a pointer so that its machine code is made once, in its own
/// crate, and not again in every program that has the daemon in it.
pub type Running = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Runs a daemon to its end: variables, logging, signals, `body`, exit code.
///
/// The first SIGTERM, SIGINT, SIGQUIT or SIGHUP begins the shutdown; another one than SIGHUP, [`SAME_REQUEST`] later or
/// more, ends the process at once with [`Exit::Forced`], and so does [`STOP_DEADLINE`]. A process that hangs ends itself
/// with [`Exit::Hung`]; `supervisor` is a pipe by which its supervisor knows that it runs.
pub fn run(
    role: Role,
    vars: Vars,
    supervisor: Option<OwnedFd>,
    body: impl FnOnce(Vars, Shutdown) -> Running,
) -> ExitCode {
    let hang_ups = HangUps::as_started();
    let outcome = prepare(role, &vars, supervisor).and_then(|runtime| {
        let outcome = runtime.block_on(async {
            let shutdown = Shutdown::default();
            watch_signals(&shutdown, hang_ups)?;
            tracing::info!(
                version = crate::build::VERSION,
                pid = std::process::id(),
                "{} starts",
                role.name()
            );
            body(vars, shutdown).await
        });
        // Whatever still runs has had its time.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => {
            tracing::info!("{} stopped", role.name());
            ExitCode::from(Exit::Success.code())
        }
        Err(failure) => {
            // A closed stderr must not turn one failure into another.
            drop(writeln!(std::io::stderr(), "{}: {failure}", role.name()));
            ExitCode::from(failure.exit.code())
        }
    }
}

fn prepare(role: Role, vars: &Vars, supervisor: Option<OwnedFd>) -> Result<tokio::runtime::Runtime, Failure> {
    let mut reader = vars.reader();
    let filter = reader.read(&variables::RUST_LOG);
    let format = reader.read(&variables::LOG_FORMAT);
    let hang_timeout = reader.read(&variables::HANG_TIMEOUT);
    // Mistakes are reported by the daemon's own configuration, all together; until then the defaults serve.
    drop(reader);
    logging::start(&filter, format)?;
    logging::count_panics();
    raise_open_files();
    let Confined { landlock, seccomp } = confine(role, vars)?;
    tracing::info!(?landlock, ?seccomp, "confined");
    // Not before: the thread shall have no more rights than the others.
    watchdog::start(role, hang_timeout, supervisor)?;
    // One thread: handing a request from thread to thread costs more than the request. The store's
    // connections have threads of their own, and the edge grows by replicas.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format_args!("cannot start the runtime: {error}")))
}

fn watch_signals(shutdown: &Shutdown, hang_ups: HangUps) -> Result<(), Failure> {
    let mut signals = StopSignals::watch(hang_ups)?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("asked to stop");
        notify::stopping();
        shutdown.begin();
        tokio::time::sleep(SAME_REQUEST).await;
        // What came meanwhile was the same request.
        signals.forget().await;
        let asked_again = async { while signals.next().await == Request::HangUp {} };
        tokio::select! {
            () = asked_again => tracing::warn!("asked again: stopping at once"),
            () = tokio::time::sleep(STOP_DEADLINE) => tracing::warn!("the deadline has passed: stopping at once"),
        }
        std::process::exit(Exit::Forced.code().into());
    });
    Ok(())
}

/// This process, for reports.
pub fn this_process(role: Role, started_at: UnixSeconds) -> Process {
    let version = crate::build::VERSION.to_owned();
    Process {
        role: role.into(),
        pid: std::process::id(),
        version,
        started_at: started_at.get(),
        silent_secs: 0,
    }
}
