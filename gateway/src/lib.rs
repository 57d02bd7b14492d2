//! The edge of the relay: HTTP in, gRPC out.
//!
//! A gateway owns the main port and what happens on it until storage is asked: connections, parsing, cheap
//! refusals, retries. It has no disk and keeps no secret; mailbox tokens live in it for the time of one
//! request and leave it as hashes only.
//!
//! The path of a request: `edge` takes the connection, `layers` admit the request, `api` has its endpoint,
//! `storage` carries it on.

mod api;
mod app;
mod bodies;
mod config;
mod edge;
#[cfg(test)]
mod fixture;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../tests/fuzz/bodies/gateway.rs"]
pub mod fuzz;
mod layers;
mod limits;
pub mod oblivious;
mod ohttp;
mod ops;
mod peers;
mod storage;

pub use api::{Endpoint, ErrorRow, endpoints, errors};

use app::{App, Clients};
use bodies::budget::BodyBudget;
use bodies::error::ErrorCode;
use config::Config;
use edge::{Limits, PerAddress, Server, SharedPeers};
use limits::LocalLimits;
use ohttp::Oblivious;
use ohttp::keyring::Keyring;
use ops::metrics::Metrics;
use ops::{Operators, Ops};
use peers::recall::Recall;
use peers::tunnel::{self, Tunnels};
use relay_daemon::lifecycle::this_process;
use relay_daemon::{
    Clock, ConfigError, Exit, Failure, Running, Sharing, Shutdown, Vars, inherited, listen_tcp, notify,
    variables,
};
use relay_proto::client::{PeeringClient, StorageClient};
use relay_proto::messages::Family;
use relay_proto::telemetry::Role;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use storage::{Storage, policy};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Connections to the operator's port.
const MAX_OPERATORS: usize = 32;

/// How long an operator's connection may be idle.
const OPERATOR_IDLE: Duration = Duration::from_secs(60);

/// File descriptors that a gateway needs besides its clients' connections; a tunnel has two ends.
pub const SPARE_FILES: usize = 128 + tunnel::MOST;

/// Runs a gateway until `shutdown` begins and the requests in progress have their replies.
///
/// # Errors
/// When the variables do not make sense, or a port cannot be had.
pub fn run(vars: Vars, clock: Clock, shutdown: Shutdown) -> Running {
    Box::pin(live(vars, clock, shutdown))
}

async fn live(vars: Vars, clock: Clock, shutdown: Shutdown) -> Result<(), Failure> {
    let config = Config::read(&vars)?;
    let clients = listen_tcp(config.listen_addr, Sharing::Replicas, variables::LISTEN_ADDR.name)?;
    let operators = listen_tcp(config.metrics_addr, Sharing::Replicas, variables::METRICS_ADDR.name)?;
    tracing::info!(clients = %config.listen_addr, operators = %config.metrics_addr, "listening");
    inherited::none_is_left()?;

    let metrics = Arc::new(Metrics::new().map_err(|error| Failure::new(Exit::Internal, error))?);
    let storage = StorageClient::new(config.storage_socket.clone());
    // Ends with this function, and everything in it.
    let mut tasks = JoinSet::new();
    let (sender, policy) = policy::channel();
    tasks.spawn(policy::follow(storage.clone(), sender, Arc::clone(&metrics)));
    tasks.spawn(relay_daemon::report::report(
        storage.clone(),
        this_process(Role::Gateway, clock.now()),
        metrics.registry.clone(),
        shutdown.clone(),
    ));
    let keyring = Arc::new(Keyring::new(storage.clone(), clock.clone(), Arc::clone(&metrics)));
    tasks.spawn(Arc::clone(&keyring).follow());
    let app = Arc::new(App {
        max_message_size: config.max_message_size,
        trusted_proxies: config.trusted_proxies.clone(),
        known_relays: config.known_relays.clone(),
        authority: config.authority.clone(),
        oblivious: Oblivious::new(Arc::clone(&keyring)),
        policy: policy.clone(),
        limits: LocalLimits::new(clock.clone(), Arc::clone(&metrics)),
        intake: BodyBudget::new(config.max_message_size, metrics.limited_memory.clone()),
        storage: Storage::new(storage.clone(), Arc::clone(&metrics), &mut tasks),
        recall: Recall::new(PeeringClient::new(config.recall_socket.clone()), config.recall_timeout),
        tunnels: Tunnels::new(config.tunnel_socket.clone(), metrics.tunnels_active.clone()),
        metrics: Arc::clone(&metrics),
        clock,
    });
    let accepting = Arc::new(AtomicBool::new(true));
    let ops = Arc::new(Ops {
        storage,
        keyring,
        policy,
        metrics: Arc::clone(&metrics),
        accepting: Arc::clone(&accepting),
        stopping: shutdown.clone(),
    });
    tasks.spawn(serve_operators(operators, &ops, config.metrics_token.clone()));
    let server = Server {
        handler: Clients::new(app),
        limits: Limits::with_idle(config.idle_timeout),
        max_connections: affordable_connections(config.max_connections),
        turned_away: ErrorCode::TooManyConnections.body(),
        replaces: false,
        per_address: Some(PerAddress {
            most: config.address_connections,
            turned_away: ErrorCode::TooManyOfOneAddress.body(),
            refused: metrics.limited_connections.clone(),
        }),
        shared_peers: SharedPeers([config.trusted_proxies, config.known_relays].concat()),
        accepting,
        active: metrics.connections_active.clone(),
        refused: metrics.connections_refused.clone(),
    };
    notify::ready();
    // The operator is served until the last client is.
    edge::serve(clients, server, shutdown).await;
    Ok(())
}

/// Checks a gateway's variables without starting one.
///
/// # Errors
/// With every mistake.
pub fn check(vars: &Vars) -> Result<(), ConfigError> {
    Config::read(vars).map(drop)
}

/// Serves the operator for as long as the process lives.
fn serve_operators(
    listener: TcpListener,
    ops: &Arc<Ops>,
    metrics_token: Option<String>,
) -> impl Future<Output = ()> + use<> {
    let uncounted = "uncounted";
    let counters =
        (prometheus::IntGauge::new(uncounted, uncounted), prometheus::IntCounter::new(uncounted, uncounted));
    let handler = Operators(ops::router(ops, metrics_token));
    async move {
        let (Ok(active), Ok(refused)) = counters else { return };
        let server = Server {
            handler,
            limits: Limits::with_idle(OPERATOR_IDLE),
            max_connections: MAX_OPERATORS,
            turned_away: ErrorCode::TooManyConnections.body(),
            // Silence must not keep the operator out.
            replaces: true,
            per_address: None,
            shared_peers: SharedPeers::default(),
            accepting: Arc::default(),
            active,
            refused,
        };
        edge::serve(listener, server, Shutdown::default()).await;
    }
}

/// As many connections as were asked for, or as the open files allow.
fn affordable_connections(wanted: usize) -> usize {
    let files = usize::try_from(relay_daemon::raise_open_files()).unwrap_or(usize::MAX);
    let affordable = files.saturating_sub(SPARE_FILES).max(1);
    if wanted > affordable {
        tracing::warn!(
            wanted,
            affordable,
            "RELAY_MAX_CONNECTIONS is more than the limit on open files allows; raise the limit (ulimit -n)"
        );
    }
    wanted.min(affordable)
}

/// Every metric of a gateway, at its start, for the documentation.
///
/// # Errors
/// Never, unless two metrics have one name.
pub fn metrics() -> Result<Vec<Family>, Failure> {
    let metrics = Metrics::new().map_err(|error| Failure::new(Exit::Internal, error))?;
    Ok(relay_daemon::metrics::gather(&metrics.registry))
}
