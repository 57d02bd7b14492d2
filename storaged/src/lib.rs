//! The storage daemon: the only owner of the relay's state. It has a database and Unix sockets, and no
//! network. It sees hashes, ciphertext and keyed hashes of addresses; it verifies signatures, replays,
//! limits and quotas itself and believes no caller.

mod auth;
mod backup;
mod clock;
pub mod config;
mod db;
mod import;
mod limits;
mod mail;
mod maintenance;
mod metrics;
pub mod offline;
mod ohttp_keys;
mod policy;
mod records;
mod rpc;
mod transfer;

#[cfg(test)]
mod tests;

use crate::db::totals::Total;
use clock::trusted::TrustedClock;
use config::Config;
use db::Store;
use limits::Limits;
use mail::purging::Purging;
use maintenance::sweep::Sweep;
use metrics::Metrics;
use metrics::aggregator::MetricsAggregator;
use ohttp_keys::keyring::Keyring;
use records::guess_limiter::GuessLimiter;
use relay_daemon::{
    Clock, Exit, Failure, Running, Shutdown, SocketLocks, Vars, inherited, lifecycle, listen_unix, notify,
    ops, patiently, socket_secret,
};
use relay_proto::UnixSeconds;
use relay_proto::messages::Family;
use relay_proto::server::Services;
use relay_proto::socket::{SecretCheck, SocketRole};
use relay_proto::telemetry::Role;
use rpc::{admin::Admin, admission::Admission, mailbox::Mailbox, offload::Offload, telemetry::Telemetry};
use rpc::{escrow::Escrow, exchange::Exchange, guardian::Guardian, recovery::Recovery};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixListener;
use transfer::offer_cursor::OfferCursor;
use transfer::peering::Peering;

/// Schema version of the databases that this version of the relay writes. It opens older ones, and no newer ones.
pub const SCHEMA_VERSION: u32 = db::schema::VERSION;

/// Where it listens.
const DOORS: [SocketRole; 3] = [SocketRole::Gateway, SocketRole::Federation, SocketRole::Admin];

/// How often a start tries to store what it must.
const START_ATTEMPTS: u32 = 3;

/// Everything the daemon serves, wired together.
struct Daemon {
    store: Arc<Store>,
    time: Arc<TrustedClock>,
    sweep: Arc<Sweep>,
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
    let metrics = Metrics::new().map_err(|error| Failure::new(Exit::Internal, error))?;
    // Locks come first: whoever holds them owns the data and may replace the sockets.
    let home = patiently(|| Store::take(&config)).await?;
    let sockets = DOORS.map(|door| door.storage_socket(&config.sockets));
    let _locks = patiently(|| SocketLocks::take(&sockets)).await?;
    let (store, ended) = Store::open_in(home, &config, metrics.clone())?;
    let store = Arc::new(store);
    let outcome = open_to_all(&config, &store, ended, metrics, &clock, &shutdown, &sockets).await;
    match outcome {
        Err(failure) if failure.exit == Exit::Corrupt => {
            // Nobody is served any more. A panic in there is reported by the hook.
            let reported = tokio::task::spawn_blocking(move || store.report_damage()).await;
            Err(reported.ok().flatten().unwrap_or(failure))
        }
        outcome => outcome,
    }
}

/// Serves what is open until the process is asked to stop or the store fails.
async fn open_to_all(
    config: &Config,
    store: &Arc<Store>,
    ended: db::writer::Ended,
    metrics: Metrics,
    clock: &Clock,
    shutdown: &Shutdown,
    sockets: &[PathBuf; 3],
) -> Result<(), Failure> {
    let daemon = match assemble_with_room(config, store, &metrics, clock, shutdown).await {
        Ok(daemon) => daemon,
        // If the store failed, its own word says more.
        Err(failure) => {
            store.writer.stop();
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
    store: &Arc<Store>,
    metrics: &Metrics,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<Daemon, Failure> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match assemble(config, Arc::clone(store), metrics.clone(), clock, shutdown).await {
            Err(failure) if failure.exit == Exit::Io && attempts < START_ATTEMPTS => {}
            outcome => return outcome,
        }
    }
}

async fn assemble(
    config: &Config,
    store: Arc<Store>,
    metrics: Metrics,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<Daemon, Failure> {
    // Without a time of its build, no time is too early for this program.
    let built = relay_daemon::build::time().unwrap_or(UnixSeconds::new(0));
    let time = Arc::new(TrustedClock::new(store.clock, clock.clone(), built, metrics.clone()));
    time.keep(&store).await?;
    let now = clock.now();
    let policy = policy::establish(&store, config, time.times().stamp).await?;
    let limits = Arc::new(Limits::new(config.rates(), clock.clone(), metrics.clone()));
    let reporters = Arc::new(MetricsAggregator::new(clock.clone()));
    let sweep = Arc::new(Sweep::new(Arc::clone(&store), Arc::clone(&time), metrics.clone()));
    let draining =
        store.writer.run_one(|write| db::meta::get(write.sql, transfer::peering::DRAINING)).await?;
    let peering = Arc::new(Peering::new(draining == Some(1), clock.clone()));
    let mailbox = Arc::new(Mailbox {
        peering: Arc::clone(&peering),
        store: Arc::clone(&store),
        limits: Arc::clone(&limits),
        bounds: config.bounds,
        time: Arc::clone(&time),
        metrics: metrics.clone(),
        purging: Purging::new(Arc::clone(&store), Arc::clone(&time), metrics.clone()),
    });
    let vault = vault(config, &store, &limits, (&time, clock), &metrics);
    let admission = Arc::new(Admission { policy, shutdown: shutdown.clone() });
    let keyring =
        Keyring::open(Arc::clone(&store), config.keys.clone(), Arc::clone(&time), metrics.clone()).await?;
    let keyring = Arc::new(keyring);
    let keys = Arc::new(rpc::keys::Keys { keyring: Arc::clone(&keyring) });
    let offload = Arc::new(Offload {
        store: Arc::clone(&store),
        peering: Arc::clone(&peering),
        limits: Arc::clone(&limits),
        rounds: OfferCursor::new(clock.clone()),
        bounds: config.bounds,
        refuse: config.refuse,
        time: Arc::clone(&time),
        metrics: metrics.clone(),
    });
    let admin = Arc::new(Admin {
        store: Arc::clone(&store),
        reporters: Arc::clone(&reporters),
        time: Arc::clone(&time),
        keyring: Arc::clone(&keyring),
        peering,
        federates: config.federates,
        process: lifecycle::this_process(Role::Storaged, now),
        keeps: config.bounds.ttl,
        address_key_since: now,
    });
    let telemetry = Telemetry {
        role: None,
        store: Arc::clone(&store),
        time: Arc::clone(&time),
        limits,
        reporters,
        metrics,
        shutdown: shutdown.clone(),
    };
    let reported_by = |role| Arc::new(Telemetry { role: Some(role), ..telemetry.clone() });
    let operator = Arc::new(telemetry.clone());
    Ok(Daemon {
        store,
        time,
        sweep,
        keyring,
        gateway: vault
            .mailbox(&mailbox)
            .keys(&keys)
            .admission(&admission)
            .telemetry(&reported_by(Role::Gateway))
            .with_blobs_of(config.bounds.blob_bytes),
        federation: Services::default()
            .offload(&offload)
            .telemetry(&reported_by(Role::Federated))
            .with_blobs_of(config.bounds.blob_bytes),
        admin: Services::default().admin(&admin).telemetry(&operator).http(ops::router(&operator, None)),
    })
}

/// What people entrust to the relay besides mail.
fn vault(
    config: &Config,
    store: &Arc<Store>,
    limits: &Arc<Limits>,
    (time, clock): (&Arc<TrustedClock>, &Clock),
    metrics: &Metrics,
) -> Services {
    let common = || (Arc::clone(store), Arc::clone(limits), Arc::clone(time));
    let gauges = Arc::clone(&store.gauges);
    let guesses =
        Arc::new(GuessLimiter::new(config.exchange.guess_rate, gauges, clock.clone(), metrics.clone()));
    let (store, limits, time) = common();
    let exchange = Exchange { store, limits, time, guesses, bounds: config.exchange };
    let (store, limits, time) = common();
    let recovery = Recovery { store, limits, time };
    let (store, limits, time) = common();
    let guardian = Guardian { store, limits, time };
    let (store, limits, time) = common();
    let escrow = Escrow { store, limits, time };
    Services::default()
        .recovery(&Arc::new(recovery))
        .exchange(&Arc::new(exchange))
        .guardian(&Arc::new(guardian))
        .escrow(&Arc::new(escrow))
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
    let door =
        |services: Services, listener| services.serve(listener, config.users.clone(), shutdown.begun());
    let doors =
        async { tokio::try_join!(door(mail, gateway), door(peers, federation), door(operator, admin)) };
    tokio::select! {
        outcome = doors => {
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
    Ok(Metrics::new()?.gather(&db::totals::Totals::default()))
}
