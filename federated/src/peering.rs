//! Everything that has to do with peers, wired together.

use crate::config::Peering;
use crate::connection::accept::{self, PeerListener};
use crate::connection::connector::Connector;
use crate::connection::dial::Dialler;
use crate::context::{Context, replied};
use crate::link::Reason;
use crate::link::greeting::HelloInfo;
use crate::link::handshake::LocalIdentity;
use crate::metrics::Metrics;
use crate::registry::PeerRegistry;
use crate::session::body;
use crate::transfer::offload::Offloader;
use crate::transfer::recall::Recalls;
use crate::transfer::{deletions, inventory};
use relay_daemon::{Clock, Failure, Sharing, Shutdown, listen_tcp, listen_unix, socket_secret};
use relay_proto::client::StorageClient;
use relay_proto::field::identifier;
use relay_proto::messages::{Identity, IdentityRequest, Orders, PeerReport, ResumeReply, ResumeRequest};
use relay_proto::peer_messages::Capacity;
use relay_proto::server::Services;
use relay_proto::socket;
use relay_proto::{NoiseSecret, PeerSeed, StorageError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

/// Between two reports to storage of how it stands with peers, where nothing changes.
const REPORTS: Duration = Duration::from_secs(1);

/// Between two attempts to have this relay's keys while storage is starting.
const RETRY: Duration = Duration::from_millis(100);

/// How long it may take to notify peers that this relay stops, and to end connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where peers and gateways come in.
pub(crate) struct Listeners {
    config: Peering,
    tunnel: UnixListener,
    recall_socket: UnixListener,
    /// What gateways show; both sockets lie in one directory.
    gateways: socket::SecretCheck,
    port: Option<TcpListener>,
}

impl Listeners {
    /// Takes the sockets, and the port if there is one.
    pub(crate) fn bind(sockets: &Path, config: Peering) -> Result<Self, Failure> {
        let port = config
            .listen
            .map(|address| listen_tcp(address, Sharing::Alone, "RELAY_FEDERATION_LISTEN_ADDR"))
            .transpose()?;
        let gateways = socket_secret(&socket::SocketRole::tunnel_socket(sockets), config.require_secrets)?;
        Ok(Self {
            config,
            gateways,
            tunnel: listen_unix(&socket::SocketRole::tunnel_socket(sockets))?,
            recall_socket: listen_unix(&socket::SocketRole::recall_socket(sockets))?,
            port,
        })
    }

    /// Peers until the process stops.
    pub(crate) async fn run(
        self,
        storage: StorageClient,
        metrics: &Arc<Metrics>,
        clock: Clock,
        shutdown: &Shutdown,
    ) {
        let Self { config, tunnel, recall_socket, gateways, port } = self;
        let Some((noise_secret, signing_seed)) = keys(&storage, shutdown).await else { return };
        let id = signing_seed.id();
        let about = HelloInfo {
            relay_id: config.relay_id.clone().unwrap_or_else(|| id.to_base64url().chars().take(8).collect()),
            client_url: config.client_url.clone(),
            messages_per_minute: config.messages_per_minute,
            keeps_secs: config.keeps_secs,
        };
        let local = LocalIdentity { noise_secret, signing_seed, about, clock: clock.clone() };
        let urls: Vec<String> = config.peers.iter().map(|peer| peer.as_str().to_owned()).collect();
        let registry =
            PeerRegistry::new(urls.clone(), config.messages_per_minute, clock.clone(), Arc::clone(metrics));
        let (registry, metrics) = (Arc::new(registry), Arc::clone(metrics));
        let context = Arc::new(Context { storage, registry, metrics, clock, patience: config.patience });
        let draining = Arc::new(AtomicBool::new(false));
        let tasks = TaskTracker::new();
        dial_all(&config, &context, &local, &tasks, shutdown);
        let [pending, asking] = accept::bounds();
        let listener = Arc::new(PeerListener {
            local,
            accepted: config.accepted,
            urls,
            context: Arc::clone(&context),
            tasks: tasks.clone(),
            pending,
            asking,
        });
        let offloader = Offloader {
            context: Arc::clone(&context),
            ratios: config.ratios,
            draining: Arc::clone(&draining),
        };
        let recalls = Arc::new(Recalls::new(Arc::clone(&context)));
        let serve_port = async {
            if let Some(port) = port {
                Arc::clone(&listener).serve_port(port, shutdown).await;
            }
        };
        tracing::info!(peers = config.peers.len(), "peering");
        tokio::join!(
            Arc::clone(&listener).serve_tunnel(tunnel, gateways.clone(), shutdown),
            serve_port,
            serve_recalls(recall_socket, gateways, config.users, &recalls, shutdown),
            offloader.run(shutdown),
            deletions::run(&context, shutdown),
            inventory::run(&context, shutdown),
            report_capacity(&context.registry, config.reports, shutdown),
            report(&context, &draining, shutdown),
            leave(&context.registry, shutdown),
        );
        tasks.close();
        if timeout(CLOSE_TIMEOUT, tasks.wait()).await.is_err() {
            tracing::debug!("connections to peers are cut, because they do not end");
        }
    }
}

/// Keeps every configured peer connected.
fn dial_all(
    config: &Peering,
    context: &Arc<Context>,
    local: &LocalIdentity,
    tasks: &TaskTracker,
    shutdown: &Shutdown,
) {
    let connector = Arc::new(Connector::new(config.allowed.clone()));
    for (position, url) in config.peers.iter().cloned().enumerate() {
        let (connector, context) = (Arc::clone(&connector), Arc::clone(context));
        let dialler = Dialler { position, url, connector, context, local: local.clone() };
        tasks.spawn(dialler.run(shutdown.clone()));
    }
}

/// Returns this relay's keys, once storage is there. Leases of an earlier life are freed before anything is offered.
async fn keys(storage: &StorageClient, shutdown: &Shutdown) -> Option<(NoiseSecret, PeerSeed)> {
    let ask = || async {
        let ResumeReply {} = replied(storage.offload().resume(ResumeRequest {}).await)?;
        let keys = replied(storage.offload().identity(IdentityRequest {}).await)?;
        let Identity { noise_secret, signing_seed } = keys;
        let seed = identifier("signing_seed", &signing_seed)?;
        Ok::<_, StorageError>((identifier("noise_secret", &noise_secret)?, seed))
    };
    loop {
        match shutdown.unless_begun(ask()).await? {
            Ok(keys) => return Some(keys),
            Err(refusal) => tracing::debug!(%refusal, "storage does not hand out this relay's keys yet"),
        }
        shutdown.unless_begun(sleep(RETRY)).await?;
    }
}

/// Answers gateways.
async fn serve_recalls(
    listener: UnixListener,
    gateways: socket::SecretCheck,
    users: socket::AllowedUsers,
    recalls: &Arc<Recalls>,
    shutdown: &Shutdown,
) {
    let services = Services::default().recalls(recalls).checked(gateways);
    if services.serve(listener, users, shutdown.begun()).await.is_err() {
        tracing::error!("gateways cannot have mail back from peers: their socket failed");
    }
}

/// Tells peers now and then how much room there is.
async fn report_capacity(registry: &PeerRegistry, every: Duration, shutdown: &Shutdown) {
    while shutdown.unless_begun(sleep(every)).await.is_some() {
        registry.tell_all(registry.own_capacity());
    }
}

/// Tells storage how it stands with peers, and does what it says.
async fn report(context: &Context, draining: &AtomicBool, shutdown: &Shutdown) {
    let registry = &context.registry;
    let reporting = async {
        loop {
            let report = PeerReport { peers: registry.states() };
            match replied(context.storage.offload().tell(report).await) {
                Ok(Orders { draining: now }) => {
                    let before = draining.swap(now, Relaxed);
                    if now && !before {
                        tracing::info!("the relay is being emptied into its peers");
                        tell_leave(registry).await;
                    }
                }
                Err(refusal) => tracing::debug!(%refusal, "storage does not hear of peers"),
            }
            // Until something changes, or a while has passed.
            drop(timeout(REPORTS, registry.changes()).await);
        }
    };
    let _: Option<()> = shutdown.unless_begun(reporting).await;
}

/// Says to all peers that this relay is about to be away.
async fn tell_leave(registry: &PeerRegistry) {
    let peers = registry.connected();
    // A peer that does not answer notices when the connection ends.
    let told = peers.iter().map(|peer| registry.ask(peer, body::DRAIN, CLOSE_TIMEOUT));
    drop(futures_util::future::join_all(told).await);
}

/// When the process is to stop: says so, and has all connections closed.
async fn leave(registry: &PeerRegistry, shutdown: &Shutdown) {
    shutdown.begun().await;
    registry.set_own_capacity(Capacity::default());
    tell_leave(registry).await;
    registry.close_all(Reason::Stopping).await;
}
