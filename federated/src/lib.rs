//! The link to other relays: it dials peers and is dialled, moves the oldest mail to them when the store fills up,
//! brings it back when somebody fetches it, and holds theirs. It sees hashes, ciphertext and the hour of arrival; it
//! has no disk, no tokens, no addresses of clients and no keys for Oblivious HTTP. Whether a blob may be taken, moved
//! or deleted is storage's to decide.
//!
//! `connection` dials peers and is dialled, `link` makes a channel of a connection, `session` is the conversation on it, and
//! `registry` knows who is there. `transfer` carries out what peers ask, and asks of them what this relay needs.

mod config;
mod connection;
mod context;
#[cfg(test)]
mod fixture;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "../../tests/fuzz/bodies/federated.rs"]
pub mod fuzz;
mod link;
mod metrics;
mod ops;
mod peering;
mod registry;
mod session;
mod transfer;

pub use config::{Config, Peering};
pub use metrics::metrics;
pub use transfer::offload::plan::Ratios;

use metrics::Metrics;
use ops::FederatedOps;
use relay_daemon::{
    Clock, Exit, Failure, Running, Shutdown, SocketLocks, Vars, inherited, lifecycle, listen_unix, notify,
    ops as endpoints, patiently, report,
};
use relay_proto::client::StorageClient;
use relay_proto::socket::SocketRole;
use relay_proto::telemetry::Role;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at how full the store is, for a relay on its own.
const LOOK: Duration = Duration::from_secs(10);

/// How soon after the first look failed, because storage was still starting, the next one follows.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// How long an operator's request in flight may take once the process is asked to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Runs until `shutdown`.
///
/// # Errors
/// Variables that make no sense, or a socket or port that cannot be had.
pub fn run(vars: Vars, clock: Clock, shutdown: Shutdown) -> Running {
    Box::pin(live(vars, clock, shutdown))
}

async fn live(vars: Vars, clock: Clock, shutdown: Shutdown) -> Result<(), Failure> {
    let config = Config::from_vars(&vars)?;
    let process = lifecycle::this_process(Role::Federated, clock.now());
    let (metrics, counted) = Metrics::new().map_err(|error| Failure::new(Exit::Internal, error))?;
    let metrics = Arc::new(metrics);
    ops::refuse_a_second(&config.ops_socket)?;
    let sockets = [
        config.ops_socket.clone(),
        SocketRole::tunnel_socket(&config.sockets),
        SocketRole::recall_socket(&config.sockets),
    ];
    let served = if config.peering.is_some() { &sockets[..] } else { &sockets[..1] };
    let _locks = patiently(|| SocketLocks::take(served)).await?;
    let listener = listen_unix(&config.ops_socket)?;
    let storage = StorageClient::new(SocketRole::Federation.storage_socket(&config.sockets));
    let operator = Arc::new(FederatedOps { storage: storage.clone(), registry: counted.clone() });
    let router = endpoints::router(&operator, config.metrics_token);
    let peering = match config.peering {
        Some(peering) => Some(peering::Listeners::bind(&config.sockets, peering)?),
        None => None,
    };
    inherited::none_is_left()?;
    notify::ready();
    let peers = async {
        match peering {
            Some(peering) => peering.run(storage.clone(), &metrics, clock, &shutdown).await,
            None => {
                tracing::info!("federated is in place; this relay has no peers");
                let _: Option<()> = shutdown.unless_begun(watch_fill(&storage, &metrics)).await;
            }
        }
    };
    // One task: if a part of it panics, the process ends and is started again, and nothing dies unseen.
    tokio::join!(
        serve(listener, router, &shutdown),
        report::report(storage.clone(), process, counted.clone(), shutdown.clone()),
        peers,
    );
    Ok(())
}

/// Serves the operator until the process stops.
async fn serve(listener: tokio::net::UnixListener, router: axum::Router, shutdown: &Shutdown) {
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.begun());
    let out_of_time = async {
        shutdown.begun().await;
        tokio::time::sleep(LAST_REQUESTS).await;
    };
    tokio::select! {
        outcome = serving => {
            if let Err(error) = outcome {
                tracing::error!(kind = ?error.kind(), "the ops endpoints are gone");
            }
        }
        () = out_of_time => tracing::warn!("an operator's request outlived the process"),
    }
}

/// Keeps the gauge of the store's fill true, to within [`LOOK`].
async fn watch_fill(storage: &StorageClient, metrics: &Metrics) {
    let mut pause = FIRST_LOOK;
    loop {
        match context::capacity(storage).await {
            Ok(capacity) => {
                metrics.saw(capacity);
                pause = LOOK;
            }
            Err(refusal) => tracing::debug!(%refusal, "storage does not say how full it is"),
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;
