//! Everything that has to do with peers, wired together.

use crate::config::Peering;
use crate::connection::accept::{self, PeerListener};
use crate::connection::connector::Connector;
use crate::connection::dial::Dialler;
use crate::link::Reason;
use crate::link::greeting::HelloInfo;
use crate::link::handshake::LocalIdentity;
use crate::metrics::Metrics;
use crate::registry::PeerRegistry;
use crate::session::body;
use crate::storage::replied;
use crate::transfer::deletions::Deletions;
use crate::transfer::inventory::Inventories;
use crate::transfer::offload::Offloader;
use crate::transfer::recall::Recalls;
use crate::transfer::request_handler::PeerRequestHandler;
use relay_daemon::variables::PeerUrl;
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

/// How long peers may take to hear that this relay leaves, and connections to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where peers and gateways come in.
pub(crate) struct Listeners {
    config: Peering,
    tunnel: UnixListener,
    recalls: UnixListener,
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
            recalls: listen_unix(&socket::SocketRole::recall_socket(sockets))?,
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
        let Self { config, tunnel, recalls, gateways, port } = self;
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
        let registry = Arc::new(PeerRegistry::new(
            urls.clone(),
            config.messages_per_minute,
            clock.clone(),
            Arc::clone(metrics),
        ));
        let handler = Arc::new(PeerRequestHandler {
            storage: storage.clone(),
            registry: Arc::clone(&registry),
            metrics: Arc::clone(metrics),
        });
        let draining = Arc::new(AtomicBool::new(false));
        let tasks = TaskTracker::new();
        let [pending, asking] = accept::bounds();
        let door = Arc::new(PeerListener {
            local: local.clone(),
            accepted: config.accepted.clone(),
            urls,
            storage: storage.clone(),
            registry: Arc::clone(&registry),
            handler: Arc::clone(&handler),
            patience: config.patience,
            clock: clock.clone(),
            tasks: tasks.clone(),
            pending,
            asking,
        });
        let parts = Parts { config, storage, metrics, registry, draining, clock: clock.clone() };
        parts.spawn_diallers(&tasks, &local, &handler, &clock, shutdown);
        let recalling =
            Arc::new(Recalls::new(parts.storage.clone(), Arc::clone(&parts.registry), Arc::clone(metrics)));
        tracing::info!(peers = parts.config.peers.len(), "peering");
        tokio::join!(
            Arc::clone(&door).serve_tunnel(tunnel, gateways.clone(), shutdown),
            serve_port(&door, port, shutdown),
            serve_recalls(recalls, gateways, parts.config.users.clone(), &recalling, shutdown),
            parts.offloader().run(shutdown),
            parts.deletions().run(shutdown),
            parts.inventories().run(shutdown),
            parts.report_room(shutdown),
            parts.report(shutdown),
            parts.leave(shutdown),
        );
        tasks.close();
        if timeout(CLOSE_TIMEOUT, tasks.wait()).await.is_err() {
            tracing::debug!("connections to peers are cut, because they do not end");
        }
    }
}

/// This relay's keys, once storage is there. Leases of an earlier life are freed before anything is offered.
async fn keys(storage: &StorageClient, shutdown: &Shutdown) -> Option<(NoiseSecret, PeerSeed)> {
    loop {
        let asking = async {
            let ResumeReply {} = replied(storage.offload().resume(ResumeRequest {}).await)?;
            let keys = replied(storage.offload().identity(IdentityRequest {}).await)?;
            let Identity { noise_secret, signing_seed } = keys;
            let seed = identifier("signing_seed", &signing_seed)?;
            Ok::<_, StorageError>((identifier("noise_secret", &noise_secret)?, seed))
        };
        tokio::select! {
            keys = asking => match keys {
                Ok(keys) => return Some(keys),
                Err(refusal) => tracing::debug!(%refusal, "storage does not hand out this relay's keys yet"),
            },
            () = shutdown.begun() => return None,
        }
        tokio::select! {
            () = sleep(RETRY) => {}
            () = shutdown.begun() => return None,
        }
    }
}

async fn serve_port(door: &Arc<PeerListener>, port: Option<TcpListener>, shutdown: &Shutdown) {
    if let Some(port) = port {
        Arc::clone(door).serve_port(port, shutdown).await;
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

/// What the parts are made of.
struct Parts<'a> {
    config: Peering,
    storage: StorageClient,
    metrics: &'a Arc<Metrics>,
    registry: Arc<PeerRegistry>,
    draining: Arc<AtomicBool>,
    clock: Clock,
}

impl Parts<'_> {
    fn spawn_diallers(
        &self,
        tasks: &TaskTracker,
        local: &LocalIdentity,
        handler: &Arc<PeerRequestHandler>,
        clock: &Clock,
        shutdown: &Shutdown,
    ) {
        let connector = Arc::new(Connector::new(self.config.allowed.clone()));
        for (position, url) in self.config.peers.iter().cloned().enumerate() {
            let url: PeerUrl = url;
            let dialler = Dialler {
                position,
                url,
                connector: Arc::clone(&connector),
                storage: self.storage.clone(),
                registry: Arc::clone(&self.registry),
                handler: Arc::clone(handler),
                local: local.clone(),
                patience: self.config.patience,
                clock: clock.clone(),
            };
            tasks.spawn(dialler.run(shutdown.clone()));
        }
    }

    fn offloader(&self) -> Offloader {
        Offloader {
            storage: self.storage.clone(),
            registry: Arc::clone(&self.registry),
            metrics: Arc::clone(self.metrics),
            ratios: self.config.ratios,
            draining: Arc::clone(&self.draining),
            patience: self.config.patience,
            clock: self.clock.clone(),
        }
    }

    fn deletions(&self) -> Deletions {
        Deletions {
            storage: self.storage.clone(),
            registry: Arc::clone(&self.registry),
            metrics: Arc::clone(self.metrics),
            patience: self.config.patience,
        }
    }

    fn inventories(&self) -> Inventories {
        Inventories {
            storage: self.storage.clone(),
            registry: Arc::clone(&self.registry),
            patience: self.config.patience,
        }
    }

    /// Tells peers now and then how much room there is.
    async fn report_room(&self, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                () = sleep(self.config.reports) => self.registry.tell_all(self.registry.own_room()),
                () = shutdown.begun() => return,
            }
        }
    }

    async fn tell(&self) -> Result<Orders, StorageError> {
        let report = PeerReport { peers: self.registry.states() };
        replied(self.storage.offload().tell(report).await)
    }

    /// Tells storage how it stands with peers, and hears what to do.
    async fn report(&self, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                orders = self.tell() => match orders {
                    Ok(Orders { draining }) => {
                        let before = self.draining.swap(draining, Relaxed);
                        if draining && !before {
                            tracing::info!("the relay is being emptied into its peers");
                            self.tell_leave().await;
                        }
                    }
                    Err(refusal) => tracing::debug!(%refusal, "storage does not hear of peers"),
                },
                () = shutdown.begun() => return,
            }
            tokio::select! {
                () = sleep(REPORTS) => {}
                () = self.registry.changes() => {}
                () = shutdown.begun() => return,
            }
        }
    }

    /// Says to all peers that this relay is about to be away.
    async fn tell_leave(&self) {
        let told = self.registry.connected().into_iter().map(|peer| {
            let registry = Arc::clone(&self.registry);
            async move {
                // Who does not hear it finds out.
                drop(registry.ask(&peer, body::DRAIN, CLOSE_TIMEOUT).await);
            }
        });
        futures_util::future::join_all(told).await;
    }

    /// When the process is to stop: says so, and has all connections closed.
    async fn leave(&self, shutdown: &Shutdown) {
        shutdown.begun().await;
        self.registry.set_own_room(Capacity::default());
        self.tell_leave().await;
        self.registry.close_all(Reason::Stopping).await;
    }
}
