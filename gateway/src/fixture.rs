//! A gateway without sockets towards clients, in front of a storage of our own on a real socket.

pub(crate) mod keys;
mod mail;
pub(crate) mod peering;
mod policy;
mod records;

use keys::FakeKeys;
use peering::FakePeers;
pub(crate) use policy::{ADDRESS_KEY, policy};
pub(crate) use records::{PROOF_EXPIRES_AT, PROOF_STORED_AT};

use crate::api::openapi;
use crate::api::router;
use crate::app::{App, Clients};
use crate::bodies::budget::BodyBudget;
use crate::bodies::reply::Reply;
use crate::limits::LocalLimits;
use crate::ohttp::Oblivious;
use crate::ohttp::keyring::Keyring;
use crate::ops::metrics::Metrics;
use crate::peers::recall::Recall;
use crate::peers::tunnel::Tunnels;
use crate::storage::Storage;
use crate::storage::policy::{PolicySnapshot, channel, follow};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Method, Request};
use relay_daemon::ManualClock;
use relay_proto::client::{PeeringClient, StorageClient};
use relay_proto::mail::{BlobName, Caller};
use relay_proto::messages::telemetry_server::Telemetry;
use relay_proto::messages::{
    Blob, CheckReply, CheckRequest, CollectReply, CollectRequest, Family, Kind, MovedBlob, Policy,
    RegisterReply, ReportReply, Sample,
};
use relay_proto::server::Services;
use relay_proto::socket::AllowedUsers;
use relay_proto::transfer::TransferBlob;
use relay_proto::{RequestId, StorageError, UnixSeconds};
use serde_json::Value;
use std::collections::{HashSet, VecDeque};
use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;

/// How long a gateway waits for peers.
pub(crate) const RECALL: Duration = Duration::from_secs(2);

/// A storage that keeps mail in a list and refuses when told to.
pub(crate) struct FakeStorage {
    policy: watch::Sender<Policy>,
    state: Mutex<State>,
    /// What registrations are told besides their number.
    pub(crate) registered: Mutex<RegisterReply>,
}

#[derive(Default)]
struct State {
    mail: Vec<(Bytes, Blob)>,
    moved: Vec<(Bytes, MovedBlob)>,
    truncated: bool,
    hinted: Vec<Vec<BlobName>>,
    hint_refusal: Option<StorageError>,
    writes: usize,
    write_refusals: VecDeque<StorageError>,
    call_refusals: VecDeque<StorageError>,
    request_ids: HashSet<RequestId>,
    last_caller: Caller,
    records: records::Records,
}

impl FakeStorage {
    /// Refuses the next writes, one refusal each.
    pub(crate) fn refuse_writes(&self, refusals: &[StorageError]) {
        self.state.lock().unwrap().write_refusals.extend(refusals.iter().cloned());
    }

    /// Refuses the next other calls, one refusal each.
    pub(crate) fn refuse_calls(&self, refusals: &[StorageError]) {
        self.state.lock().unwrap().call_refusals.extend(refusals.iter().cloned());
    }

    /// Writes that came, refused ones too.
    pub(crate) fn writes(&self) -> usize {
        self.state.lock().unwrap().writes
    }

    /// Says of a blob that it lies with a peer.
    pub(crate) fn moved(&self, blob: &TransferBlob, moved: MovedBlob) {
        let moved = MovedBlob { blob_id: blob.blob_id.into(), ..moved };
        self.state.lock().unwrap().moved.push((blob.mailbox.into(), moved));
    }

    /// Says of every page that more waits.
    pub(crate) fn truncate(&self) {
        self.state.lock().unwrap().truncated = true;
    }

    /// Refuses to tell where blobs are.
    pub(crate) fn refuse_hints(&self, refusal: StorageError) {
        self.state.lock().unwrap().hint_refusal = Some(refusal);
    }

    /// Which hints were asked for.
    pub(crate) fn hinted(&self) -> Vec<Vec<BlobName>> {
        self.state.lock().unwrap().hinted.clone()
    }

    /// Names of the requests that came.
    pub(crate) fn request_ids(&self) -> HashSet<RequestId> {
        self.state.lock().unwrap().request_ids.clone()
    }

    pub(crate) fn last_caller(&self) -> Caller {
        self.state.lock().unwrap().last_caller
    }

    fn call(&self, caller: Caller, request_id: Option<RequestId>) -> Result<(), StorageError> {
        let mut state = self.state.lock().unwrap();
        state.last_caller = caller;
        state.request_ids.extend(request_id);
        state.call_refusals.pop_front().map_or(Ok(()), Err)
    }
}

#[tonic::async_trait]
impl Telemetry for FakeStorage {
    async fn check(&self, _: tonic::Request<CheckRequest>) -> Replied<CheckReply> {
        Ok(tonic::Response::new(CheckReply {}))
    }

    async fn report(
        &self,
        request: tonic::Request<tonic::Streaming<relay_proto::messages::Snapshot>>,
    ) -> Replied<ReportReply> {
        let mut snapshots = request.into_inner();
        while snapshots.next().await.is_some() {}
        Ok(tonic::Response::new(ReportReply {}))
    }

    async fn collect(&self, _: tonic::Request<CollectRequest>) -> Replied<CollectReply> {
        let samples = vec![Sample { value: 12.0, ..Sample::default() }];
        let (name, help) = ("relay_blobs_stored".to_owned(), "Blobs stored.".to_owned());
        let families = vec![Family { name, help, kind: Kind::Gauge.into(), samples }];
        Ok(tonic::Response::new(CollectReply { families }))
    }
}

type Replied<T> = Result<tonic::Response<T>, tonic::Status>;

/// The base64 form of so many bytes.
pub(crate) fn base64_of(length: usize) -> String {
    base64::Engine::encode(&base64::prelude::BASE64_STANDARD, vec![0xa5; length])
}

/// A reply, taken apart.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Value,
}

impl Answered {
    pub(crate) async fn read(reply: Reply) -> Self {
        assert_eq!(reply.headers()["content-type"], "application/json");
        let (head, body) = reply.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            // A reply to HEAD has none.
            body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() },
        }
    }

    /// The body, after checking the status.
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body.clone()
    }

    /// The text of an error, after checking its status and form.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> String {
        let body = self.json(status);
        assert_eq!(body["status"], "error");
        body["error"].as_str().unwrap().to_owned()
    }
}

/// A gateway and its storage.
pub(crate) struct Relay {
    pub(crate) app: Arc<App>,
    pub(crate) clients: Clients,
    pub(crate) clock: ManualClock,
    pub(crate) client: StorageClient,
    pub(crate) storage: Arc<FakeStorage>,
    pub(crate) keys: Arc<FakeKeys>,
    pub(crate) peers: Arc<FakePeers>,
    told: watch::Receiver<Option<Arc<PolicySnapshot>>>,
    tasks: JoinSet<()>,
    directory: TempDir,
}

impl Relay {
    /// A gateway that knows its storage's policy and keys.
    pub(crate) async fn start() -> Self {
        let mut relay = Self::without_policy();
        let path = relay.directory.path().join("storage.sock");
        let listener = relay_proto::socket::bind(&path).unwrap();
        let services = Services::default()
            .mailbox(&relay.storage)
            .keys(&relay.keys)
            .recovery(&relay.storage)
            .exchange(&relay.storage)
            .guardian(&relay.storage)
            .escrow(&relay.storage)
            .admission(&relay.storage)
            .telemetry(&relay.storage);
        relay.tasks.spawn(async move {
            services.serve(listener, AllowedUsers::new(Vec::new()), pending()).await.unwrap();
        });
        relay.app.policy.within(Duration::from_secs(5)).await.unwrap();
        relay.app.oblivious.keyring.within(Duration::from_secs(5)).await.unwrap();
        relay
    }

    /// As [`Self::start`], with a federated that brings mail back.
    pub(crate) async fn with_peers() -> Self {
        let mut relay = Self::start().await;
        relay.peers.serve(&relay.directory.path().join("recall.sock"), &mut relay.tasks);
        relay
    }

    /// Where the gateway looks for federated's end of tunnels.
    pub(crate) fn tunnel_socket(&self) -> PathBuf {
        self.directory.path().join("tunnel.sock")
    }

    /// Makes storage tell a new policy, and waits until the gateway knows it.
    pub(crate) async fn post_policy(&self, policy: Policy) {
        let mut told = self.told.clone();
        told.mark_unchanged();
        self.storage.policy.send_replace(policy);
        told.changed().await.unwrap();
    }

    /// A gateway whose storage is not there.
    pub(crate) fn without_policy() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(UnixSeconds::new(1000));
        let metrics = Arc::new(Metrics::new().unwrap());
        let client = StorageClient::new(directory.path().join("storage.sock"));
        let mut tasks = JoinSet::new();
        let (sender, policy_watch) = channel();
        let told = sender.subscribe();
        tasks.spawn(follow(client.clone(), sender, Arc::clone(&metrics)));
        let max_message_size = 1 << 20;
        let keyring = Arc::new(Keyring::new(client.clone(), clock.clock(), Arc::clone(&metrics)));
        tasks.spawn(Arc::clone(&keyring).follow());
        let app = Arc::new(App {
            max_message_size,
            trusted_proxies: Vec::new(),
            known_relays: vec!["192.0.2.0/24".parse().unwrap()],
            authority: Some("relay.example".to_owned()),
            oblivious: Oblivious::new(keyring),
            policy: policy_watch,
            limits: LocalLimits::new(clock.clock(), Arc::clone(&metrics)),
            intake: BodyBudget::new(max_message_size, metrics.limited_memory.clone()),
            storage: Storage::new(client.clone(), Arc::clone(&metrics), &mut tasks),
            recall: Recall::new(PeeringClient::new(directory.path().join("recall.sock")), RECALL),
            tunnels: Tunnels::new(directory.path().join("tunnel.sock"), metrics.tunnels_active.clone()),
            metrics,
            clock: clock.clock(),
        });
        let storage = Arc::new(FakeStorage {
            policy: watch::Sender::new(policy()),
            state: Mutex::default(),
            registered: Mutex::default(),
        });
        let (keys, peers) = (Arc::new(FakeKeys::new()), Arc::default());
        let clients = Clients::new(Arc::clone(&app));
        Self { app, clients, clock, client, storage, keys, peers, told, tasks, directory }
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answered {
        self.request(Method::POST, path, &[], &body.to_string()).await
    }

    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answered {
        self.request_from("127.0.0.1", method, path, headers, body).await
    }

    pub(crate) async fn request_from(
        &self,
        client: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answered {
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answered = Answered::read(self.clients.serve(client.parse().unwrap(), request).await).await;
        // What a gateway replies is what its description says.
        if let Some(route) = router::find(&method, path) {
            openapi::check(route, answered.status, "application/json", &answered.body).unwrap();
        }
        answered
    }
}
