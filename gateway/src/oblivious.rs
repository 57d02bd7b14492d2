//! The outer relay of Oblivious HTTP (RFC 9458): a program of its own, which brings sealed requests to the relays that
//! its operator names, and their answers back.
//!
//! It learns from where a client calls and not what it asks; the relays learn what is asked and not from where. So its
//! operator must be another one than theirs. It keeps nothing, opens nothing, logs no request, and goes nowhere but to its
//! targets: no part of a request says where it goes, and none of its headers goes along.
//!
//! The way of a request: the edge takes it, `routes` finds the target, `forward` charges its client and brings it there
//! (`share`, `target`), `reply` is what comes back. Keys come from `key_cache`.

mod body;
mod config;
mod connect;
mod forward;
mod key_cache;
mod metrics;
mod notice;
mod reply;
mod routes;
mod share;
mod target;

use crate::bodies::error::ErrorCode;
use crate::edge::{self, Limits, PerAddress, Server, SharedPeers};
use crate::limits::memory::Memory;
use crate::ops::Operators;
use config::OuterConfig;
use connect::Connector;
use forward::{ADDRESSES, Destination, ForwardHandler, Forwarder};
use key_cache::KeyCache;
use metrics::OuterMetrics;
use notice::Notice;
use prometheus::{IntCounter, IntGauge};
use relay_daemon::bucket::{BucketTable, Rate};
use relay_daemon::{
    Clock, ConfigError, Exit, Failure, Running, Sharing, Shutdown, Vars, inherited, listen_tcp, notify, ops,
    variables,
};
use relay_proto::messages::Family;
use share::FairShare;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use target::Target;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Connections to the operator's port.
const MAX_OPERATORS: usize = 32;

/// How long an operator's connection may be idle.
const OPERATOR_IDLE: Duration = Duration::from_secs(60);

/// File descriptors that are needed besides connections, and for each target.
const SPARE_FILES: usize = 64;
const FILES_OF_A_TARGET: usize = 128;

/// Time between two log lines about one target that fails, and about one that refuses.
const FAILURE_NOTICES: Duration = Duration::from_secs(60);
const REFUSAL_NOTICES: Duration = Duration::from_secs(3600);

/// Runs an outer relay until `shutdown` begins and the requests in progress are answered.
///
/// # Errors
/// When the variables do not make sense, or a port cannot be had.
pub fn run(vars: Vars, clock: Clock, shutdown: Shutdown) -> Running {
    Box::pin(live(vars, clock, shutdown))
}

async fn live(vars: Vars, clock: Clock, shutdown: Shutdown) -> Result<(), Failure> {
    let config = OuterConfig::read(&vars)?;
    let listen_variable = variables::OBLIVIOUS_LISTEN_ADDR.name;
    let clients = listen_tcp(config.listen_addr, Sharing::Alone, listen_variable)?;
    let operators = listen_tcp(config.metrics_addr, Sharing::Alone, variables::OBLIVIOUS_METRICS_ADDR.name)?;
    tracing::info!(clients = %config.listen_addr, operators = %config.metrics_addr, targets = config.targets.len(), "listening");
    inherited::none_is_left()?;
    if !config.knows_own_origin {
        tracing::warn!(
            "OBLIVIOUS_ORIGIN is not set: a target at this relay's own origin would not be noticed"
        );
    }
    for relay in &config.own_gateways {
        tracing::warn!(
            relay,
            "a target is on this machine at the port of RELAY_LISTEN_ADDR: where one operator has both, they hide nobody; \
             name the relay of another operator in OBLIVIOUS_TARGETS"
        );
    }
    let metrics = Arc::new(OuterMetrics::new().map_err(internal)?);
    let accepting = Arc::new(AtomicBool::new(true));
    let operator = Operator {
        metrics: Arc::clone(&metrics),
        accepting: Arc::clone(&accepting),
        stopping: shutdown.clone(),
    };
    // Ends with this function, and everything in it.
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_operators(operators, operator, config.metrics_token.clone())?);
    let server = Server {
        handler: ForwardHandler(Arc::new(forwarder(&config, &metrics, clock)?)),
        limits: Limits::with_idle(config.idle_timeout),
        max_connections: affordable_connections(&config),
        turned_away: ErrorCode::TooManyConnections.body(),
        replaces: false,
        per_address: Some(PerAddress {
            most: config.address_connections,
            turned_away: ErrorCode::TooManyOfOneAddress.body(),
            refused: metrics.limited_connections.clone(),
        }),
        shared_peers: SharedPeers(config.trusted_proxies),
        accepting,
        active: metrics.connections_active.clone(),
        refused: metrics.connections_refused.clone(),
    };
    notify::ready();
    // The operator is served until the last client is.
    edge::serve(clients, server, shutdown).await;
    Ok(())
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, error)
}

fn forwarder(config: &OuterConfig, metrics: &Arc<OuterMetrics>, clock: Clock) -> Result<Forwarder, Failure> {
    let connector = Arc::new(Connector::new(config.allowed.clone()));
    let destinations = config.targets.iter().enumerate().map(|(index, url)| {
        let limit = config.target_timeout;
        let target =
            Target::new(url.clone(), Arc::clone(&connector), limit, Arc::clone(metrics)).map_err(internal)?;
        Ok(Destination {
            target: Arc::new(target),
            share: FairShare::new(config.target_rate, clock.clone()),
            keys: KeyCache::new(clock.clone()),
            in_progress: Arc::default(),
            in_progress_of_networks: Arc::default(),
            memory: Arc::new(Memory::part(
                config.targets.len(),
                body::LONGEST_REQUEST + body::LONGEST_ANSWER,
                metrics.limited_memory.clone(),
            )),
            number: index + 1,
            failures: Notice::once_in(FAILURE_NOTICES),
            refusals: Notice::once_in(REFUSAL_NOTICES),
        })
    });
    Ok(Forwarder {
        names: config.targets.iter().map(|target| target.name.clone()).collect(),
        destinations: destinations.collect::<Result<_, Failure>>()?,
        trusted_proxies: config.trusted_proxies.clone(),
        told_unbelieved: AtomicBool::new(false),
        addresses: Mutex::new(BucketTable::new(ADDRESSES)),
        address_rate: Rate::per_minute(config.address_rate),
        metrics: Arc::clone(metrics),
        clock,
    })
}

/// What the operator is told.
struct Operator {
    metrics: Arc<OuterMetrics>,
    accepting: Arc<AtomicBool>,
    stopping: Shutdown,
}

impl ops::Ops for Operator {
    async fn ready(&self) -> Result<(), &'static str> {
        if self.stopping.has_begun() {
            return Err("stopping");
        }
        if !self.accepting.load(Relaxed) {
            return Err("connections cannot be accepted");
        }
        Ok(())
    }

    async fn metrics(&self) -> String {
        relay_daemon::metrics::render(&relay_daemon::metrics::gather(&self.metrics.registry))
    }
}

/// Serves the operator for as long as the process lives.
fn serve_operators(
    listener: TcpListener,
    operator: Operator,
    metrics_token: Option<String>,
) -> Result<impl Future<Output = ()> + use<>, Failure> {
    let uncounted = "uncounted";
    let server = Server {
        handler: Operators(ops::router(&Arc::new(operator), metrics_token)),
        limits: Limits::with_idle(OPERATOR_IDLE),
        max_connections: MAX_OPERATORS,
        turned_away: ErrorCode::TooManyConnections.body(),
        // Silence must not keep the operator out.
        replaces: true,
        per_address: None,
        shared_peers: SharedPeers::default(),
        accepting: Arc::default(),
        active: IntGauge::new(uncounted, uncounted).map_err(internal)?,
        refused: IntCounter::new(uncounted, uncounted).map_err(internal)?,
    };
    Ok(edge::serve(listener, server, Shutdown::default()))
}

/// As many client connections as were asked for, or as the open files allow.
fn affordable_connections(config: &OuterConfig) -> usize {
    let files = usize::try_from(relay_daemon::raise_open_files()).unwrap_or(usize::MAX);
    let others = SPARE_FILES + FILES_OF_A_TARGET * config.targets.len();
    let (wanted, affordable) = (config.max_connections, files.saturating_sub(others).max(1));
    if wanted > affordable {
        tracing::warn!(
            wanted,
            affordable,
            "RELAY_MAX_CONNECTIONS is more than the limit on open files allows; raise the limit (ulimit -n)"
        );
    }
    wanted.min(affordable)
}

/// Checks an outer relay's variables without starting one.
///
/// # Errors
/// With every mistake.
pub fn check(vars: &Vars) -> Result<(), ConfigError> {
    OuterConfig::read(vars).map(drop)
}

/// Every metric of an outer relay, at its start, for the documentation.
///
/// # Errors
/// Never, unless two metrics have one name.
pub fn metrics() -> Result<Vec<Family>, Failure> {
    let metrics = OuterMetrics::new().map_err(internal)?;
    Ok(relay_daemon::metrics::gather(&metrics.registry))
}
