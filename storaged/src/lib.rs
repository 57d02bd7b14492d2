//! The storage daemon: the only owner of the relay's state. It has a database and Unix sockets, and no
//! network. It sees hashes, ciphertext and keyed hashes of addresses; it verifies signatures, replays,
//! limits and quotas itself and believes no caller.

mod auth;
mod clock;
pub mod config;
mod db;
mod limits;
mod mail;
mod maintenance;
mod metrics;
pub mod offline;
mod ohttp_keys;
mod records;
mod rpc;
mod transfer;

#[cfg(test)]
mod tests;

use clock::memory;
use clock::trusted::TrustedClock;
use clock::trusted_time::Memory;
use config::Config;
use db::Store;
use db::totals::{Total, Totals};
use limits::Limits;
use maintenance::sweep::Sweep;
use metrics::Metrics;
use metrics::aggregator::MetricsAggregator;
use ohttp_keys::keyring::Keyring;
use relay_daemon::{
    Clock, Exit, Failure, Running, Shutdown, SocketLocks, Vars, inherited, listen_unix, notify, patiently,
    socket_secret,
};
use relay_proto::UnixSeconds;
use relay_proto::messages::Family;
use relay_proto::server::Services;
use relay_proto::socket::{SecretCheck, SocketRole};
use rpc::{Parts, admission};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixListener;
use transfer::peers::operator;
use transfer::peers::peering::Peering;

/// Schema version of the databases that this version of the relay writes. It opens older ones, and no newer ones.
pub const SCHEMA_VERSION: u32 = db::schema::VERSION;

/// Where it listens.
const SOCKETS: [SocketRole; 3] = [SocketRole::Gateway, SocketRole::Federation, SocketRole::Admin];

/// How often a start tries to store what it must.
const START_ATTEMPTS: u32 = 3;

/// The store as it was opened.
struct Opened {
    store: Arc<Store>,
    /// What was remembered of the clock.
    memory: Memory,
}

/// Everything the daemon serves, wired together.
struct Daemon {
    store: Arc<Store>,
    time: Arc<TrustedClock>,
    sweep: Sweep,
    keyring: Arc<Keyring>,
    gateway: Services,
    federation: Services,
    admin: Services,
}

impl Daemon {
    /// Has callers show the secrets of their sockets. The operator's command is as new as this process; gateways and
    /// federated may be older for a while, and need not where they have users of their own.
    fn with_secrets(
        self,
        config: &Config,
        [gateway, federation, admin]: &[PathBuf; 3],
    ) -> Result<Self, Failure> {
        let required = config.require_secrets;
        Ok(Self {
            gateway: self.gateway.checked(socket_secret(gateway, required)?),
            federation: self.federation.checked(socket_secret(federation, required)?),
            admin: self.admin.checked(SecretCheck { required: true, ..socket_secret(admin, required)? }),
            ..self
        })
    }
}

/// Runs the storage daemon until it is asked to stop.
///
/// # Errors
/// [`Failure`] with the exit code and what mends it: variables, data directory, disk, sockets.
pub fn run(vars: Vars, clock: Clock, shutdown: Shutdown) -> Running {
    Box::pin(live(vars, clock, shutdown))
}

async fn live(vars: Vars, clock: Clock, shutdown: Shutdown) -> Result<(), Failure> {
    let config = Config::from_vars(&vars)?;
    let metrics = Metrics::new(records::gauges()).map_err(|error| Failure::new(Exit::Internal, error))?;
    // Locks come first: whoever holds them owns the data and may replace the sockets.
    let home = patiently(|| Store::take(&config)).await?;
    let sockets = SOCKETS.map(|role| role.storage_socket(&config.sockets));
    let _locks = patiently(|| SocketLocks::take(&sockets)).await?;
    let (store, memory, ended) = Store::open_in(home, &config, metrics.commits(), memory::recall)?;
    let opened = Opened { store: Arc::new(store), memory };
    let outcome = open_to_all(&config, &opened, ended, metrics, &clock, &shutdown, &sockets).await;
    match outcome {
        Err(failure) if failure.exit == Exit::Corrupt => {
            // Nobody is served any more. A panic in there is reported by the hook.
            let reported = tokio::task::spawn_blocking(move || opened.store.report_damage()).await;
            Err(reported.ok().flatten().unwrap_or(failure))
        }
        outcome => outcome,
    }
}

/// Serves what is open until the process is asked to stop or the store fails.
async fn open_to_all(
    config: &Config,
    opened: &Opened,
    ended: db::writer::Ended,
    metrics: Metrics,
    clock: &Clock,
    shutdown: &Shutdown,
    sockets: &[PathBuf; 3],
) -> Result<(), Failure> {
    let daemon = match assemble_with_room(config, opened, &metrics, clock, shutdown).await {
        Ok(daemon) => daemon,
        // If the store failed, its own word says more.
        Err(failure) => {
            opened.store.writer.stop();
            return Err(ended.await.ok().and_then(Result::err).unwrap_or(failure));
        }
    };
    let daemon = daemon.with_secrets(config, sockets)?;
    let [gateway, federation, admin] = sockets;
    let listeners = [listen_unix(gateway)?, listen_unix(federation)?, listen_unix(admin)?];
    tracing::info!(
        durability = if daemon.store.durable { "disk" } else { "memory" },
        blobs = daemon.store.gauges.of(Total::BLOBS),
        "storage is open"
    );
    inherited::none_is_left()?;
    notify::ready();
    let outcome = serve(daemon, config, listeners, ended, shutdown).await;
    shutdown.begin();
    outcome
}

/// What a start stores may find no room, which makes some: then it is done again.
async fn assemble_with_room(
    config: &Config,
    opened: &Opened,
    metrics: &Metrics,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<Daemon, Failure> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match assemble(config, opened, metrics.clone(), clock, shutdown).await {
            Err(failure) if failure.exit == Exit::Io && attempts < START_ATTEMPTS => {}
            outcome => return outcome,
        }
    }
}

async fn assemble(
    config: &Config,
    Opened { store, memory }: &Opened,
    metrics: Metrics,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<Daemon, Failure> {
    let store = Arc::clone(store);
    // Without a time of its build, no time is too early for this program.
    let built = relay_daemon::build::time().unwrap_or(UnixSeconds::new(0));
    let time = Arc::new(TrustedClock::new(*memory, clock.clone(), built, metrics.clone()));
    time.keep(&store).await?;
    let policy = admission::establish(&store, config, time.times().stamp).await?;
    let peering = Peering::new(operator::was_draining(&store).await?, clock.clone());
    let keyring = Keyring::open(Arc::clone(&store), config.keys.clone(), Arc::clone(&time), metrics.clone());
    let parts = Parts {
        config,
        clock,
        shutdown,
        limits: Arc::new(Limits::new(config.rates(), clock.clone(), metrics.clone())),
        reporters: Arc::new(MetricsAggregator::new(clock.clone())),
        peering: Arc::new(peering),
        keyring: Arc::new(keyring.await?),
        policy,
        metrics: metrics.clone(),
        time: Arc::clone(&time),
        store: Arc::clone(&store),
    };
    Ok(Daemon {
        gateway: parts.for_gateways(),
        federation: parts.for_federation(),
        admin: parts.for_operator(),
        sweep: Sweep::new(Arc::clone(&store), Arc::clone(&time), metrics),
        keyring: parts.keyring,
        store,
        time,
    })
}

/// Serves the three sockets until the process is asked to stop or the store fails, then closes the store.
async fn serve(
    daemon: Daemon,
    config: &Config,
    [gateway, federation, admin]: [UnixListener; 3],
    mut ended: db::writer::Ended,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    let Daemon { store, time, sweep, keyring, gateway: mail, federation: peers, admin: operator } = daemon;
    let interval = config.sweep_interval;
    let sweeping = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { sweep.run(interval, shutdown).await }
    });
    let turning = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { keyring.run(shutdown).await }
    });
    let serve =
        |services: Services, listener| services.serve(listener, config.users.clone(), shutdown.begun());
    let sockets =
        async { tokio::try_join!(serve(mail, gateway), serve(peers, federation), serve(operator, admin)) };
    tokio::select! {
        outcome = sockets => {
            outcome.map_err(|error| Failure::new(Exit::Internal, format_args!("a socket failed: {error}")))?;
        }
        end = &mut ended => return end.unwrap_or_else(|_| Err(writer_died())),
    }
    // Calls in flight are answered; nothing new comes. What waits is committed and the log emptied.
    sweeping.abort();
    turning.abort();
    if let Err(error) = time.keep(&store).await {
        tracing::warn!(%error, "the time could not be written down; what was written a minute ago stands");
    }
    store.writer.stop();
    ended.await.unwrap_or_else(|_| Err(writer_died()))
}

fn writer_died() -> Failure {
    Failure::new(Exit::Internal, "the writer thread died; this is a fault of the relay, please report it")
}

/// Every metric of this process, for the documentation.
///
/// # Errors
/// When two metrics have one name.
pub fn metrics() -> Result<Vec<Family>, prometheus::Error> {
    Ok(Metrics::new(records::gauges())?.gather(&Totals::default()))
}
