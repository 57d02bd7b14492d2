//! What happens to every request, from the outside in: it means a resource of a target, its client is charged, and of
//! the request the sealed bytes go on.

use super::body;
use super::key_cache::{CacheStatus, KeyCache, LONGEST_DOCUMENT};
use super::metrics::{ForwardOutcome, OuterMetrics};
use super::notice::Notice;
use super::reply::{self, ForwardError, Reply};
use super::routes::{self, Kind, RESOURCES, RequestTarget};
use super::share::{Admission, Client, Denial, FairShare};
use super::target::{SEALED, Target, TargetAnswer};
use crate::edge::{Handler, ResponseFuture, TrackedBody};
use crate::layers::strict::{self, Malformed};
use crate::limits::address::{Source, client_address, prefix, source, wider_network};
use crate::limits::memory::{Memory, MemoryPermit};
use crate::limits::places::Places;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Request, StatusCode};
use ipnet::IpNet;
use relay_daemon::Clock;
use relay_daemon::bucket::{BucketTable, Rate};
use relay_daemon::variables::TargetName;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Addresses whose rate is remembered at once (1 MiB).
pub(super) const ADDRESSES: usize = 1 << 16;

/// Sealed requests of one client to one target at once: a quarter of those that there may be.
const AT_ONCE: usize = 16;

/// How many times as much as one client all those of one IPv6 /48 may have, and of requests at once.
const RATE_OF_NETWORK: u32 = 8;
const AT_ONCE_OF_NETWORK: usize = 2 * AT_ONCE;

/// How long a client that is within its share waits for the target to take requests again.
const WAITS_FOR_BUDGET: Duration = Duration::from_secs(5);

/// The pause that a target means that refuses requests and names none.
const UNNAMED_PAUSE: Duration = Duration::from_secs(1);

/// A target with what its clients share.
pub(super) struct Destination {
    pub(super) target: Arc<Target>,
    pub(super) share: FairShare,
    pub(super) keys: KeyCache,
    pub(super) in_progress: Arc<Places<Client>>,
    pub(super) in_progress_of_networks: Arc<Places<[u8; 6]>>,
    /// Each has its own: requests to one that hangs must not leave none to the others.
    pub(super) memory: Arc<Memory>,
    /// By which the log names it: its place in the operator's list, from one.
    pub(super) number: usize,
    pub(super) failures: Notice,
    pub(super) refusals: Notice,
}

/// The outer relay.
pub(super) struct Forwarder {
    pub(super) names: Vec<TargetName>,
    pub(super) destinations: Vec<Destination>,
    pub(super) trusted_proxies: Vec<IpNet>,
    /// Whether the log said that a proxy is not believed.
    pub(super) told_unbelieved: AtomicBool,
    pub(super) addresses: Mutex<BucketTable>,
    pub(super) address_rate: Rate,
    pub(super) metrics: Arc<OuterMetrics>,
    pub(super) clock: Clock,
}

/// Where clients' requests come in.
pub(super) struct ForwardHandler(pub(super) Arc<Forwarder>);

impl Handler for ForwardHandler {
    fn handle(&self, peer: IpAddr, request: Request<TrackedBody>) -> ResponseFuture {
        let forwarder = Arc::clone(&self.0);
        Box::pin(async move { forwarder.answer(peer, request).await.unwrap_or_else(ForwardError::reply) })
    }
}

impl Forwarder {
    async fn answer(&self, peer: IpAddr, request: Request<TrackedBody>) -> Result<Reply, ForwardError> {
        let (mut head, body) = request.into_parts();
        strict::inspect(&mut head);
        let (target, resource) = match routes::find(&head, &self.names)? {
            RequestTarget::Health => return Ok(reply::health()),
            RequestTarget::Forward { target, resource } => (target, resource),
        };
        self.note_source(source(peer, &head.headers, &self.trusted_proxies));
        let address = client_address(peer, &head.headers, &self.trusted_proxies);
        let destination = self.destinations.get(target).ok_or(ForwardError::NotFound)?;
        let is_sealed = RESOURCES[resource].kind == Kind::Sealed;
        if let Err(wait) = self.charge(address) {
            if is_sealed {
                self.metrics.request(ForwardOutcome::Limited);
            }
            return Err(ForwardError::RateLimit(wait));
        }
        if let Some(Malformed(error)) = head.extensions.get() {
            if is_sealed {
                self.metrics.request(ForwardOutcome::Malformed);
            }
            return Err(ForwardError::Malformed(*error));
        }
        if !is_sealed {
            return self.document(destination, resource, prefix(address)).await;
        }
        let outcome = self.forward(destination, resource, address, &head.headers, body).await;
        self.metrics.request(match &outcome {
            Ok(reply) if reply.status() == StatusCode::OK => ForwardOutcome::Answered,
            Ok(_) => ForwardOutcome::Refused,
            Err(ForwardError::RateLimit(_) | ForwardError::InProgress | ForwardError::Crowded) => {
                ForwardOutcome::Limited
            }
            Err(ForwardError::Unreachable | ForwardError::Unusable) => ForwardOutcome::Unreachable,
            Err(ForwardError::Silent) => ForwardOutcome::Silent,
            Err(_) => ForwardOutcome::Malformed,
        });
        outcome
    }

    fn note_source(&self, source: Source) {
        self.metrics.addressed(source);
        if source == Source::Unbelieved && !self.told_unbelieved.swap(true, Relaxed) {
            tracing::warn!(
                "requests name a client in X-Forwarded-For and come from an address that is not in RELAY_TRUSTED_PROXIES: \
                 all of one address count as one client; if it is your proxy, name it there"
            );
        }
    }

    fn charge(&self, address: IpAddr) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        // It is whole after any panic: its entries are plain numbers.
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = addresses.take(&prefix(address), self.address_rate, now);
        if let (Ok(()), Some(network)) = (taken, wider_network(address)) {
            taken = addresses.take(&network, self.address_rate.times(RATE_OF_NETWORK), now);
        }
        taken.inspect_err(|_| self.metrics.limited_address.inc())
    }

    /// Shows a key, or how the anchor changed.
    async fn document(
        &self,
        destination: &Destination,
        resource: usize,
        client: Client,
    ) -> Result<Reply, ForwardError> {
        let (target, path) = (Arc::clone(&destination.target), RESOURCES[resource].path);
        let fetch = async move { target.get(path, LONGEST_DOCUMENT).await };
        let shown = destination.keys.get(resource, client, fetch).await;
        match &shown {
            Ok((_, CacheStatus::Hit)) => self.metrics.keys_kept.inc(),
            Ok((_, CacheStatus::Miss)) => self.metrics.keys_fetched.inc(),
            Err(error) => {
                self.metrics.keys_failed.inc();
                self.note_failure(destination, *error);
            }
        }
        shown.map(|(reply, _)| reply)
    }

    /// Brings a sealed request to a target, and its answer back.
    async fn forward(
        &self,
        destination: &Destination,
        resource: usize,
        address: IpAddr,
        headers: &HeaderMap,
        body: TrackedBody,
    ) -> Result<Reply, ForwardError> {
        if !is_sealed(headers) {
            return Err(ForwardError::ContentType);
        }
        let client = prefix(address);
        let _slot = destination.in_progress.take(client, AT_ONCE).ok_or(ForwardError::InProgress)?;
        let networks = &destination.in_progress_of_networks;
        let _slot_of_network = match wider_network(address) {
            Some(network) => {
                Some(networks.take(network, AT_ONCE_OF_NETWORK).ok_or(ForwardError::InProgress)?)
            }
            None => None,
        };
        let account = destination.memory.account(address, false);
        let (sealed, mut memory) =
            body::request(body, &account).await.inspect_err(|error| self.count(*error))?;
        let (path, sealed) = (RESOURCES[resource].path, sealed.into());
        let answer = self.bring(destination, client, path, sealed, &mut memory).await;
        let TargetAnswer { passed, body, .. } =
            answer.inspect_err(|error| self.note_failure(destination, *error))?;
        Ok(passed.holding(body, memory))
    }

    /// Brings a sealed request to a target as soon as its client's share allows. Where the target refuses all that come
    /// through here, only a client that wants more than its share is told; for others it is tried again in a while.
    async fn bring(
        &self,
        destination: &Destination,
        client: Client,
        path: &'static str,
        sealed: Bytes,
        memory: &mut MemoryPermit,
    ) -> Result<TargetAnswer, ForwardError> {
        let deadline = Instant::now() + WAITS_FOR_BUDGET;
        let can_wait = |wait: Duration| wait <= deadline.saturating_duration_since(Instant::now());
        loop {
            let admission = match destination.share.admit(client) {
                Ok(admission) => admission,
                Err(Denial::Budget(wait)) if can_wait(wait) => {
                    sleep(wait).await;
                    continue;
                }
                Err(Denial::Share(wait) | Denial::Budget(wait)) => {
                    self.metrics.limited_share.inc();
                    return Err(ForwardError::RateLimit(wait));
                }
            };
            let place = destination.target.place().await?;
            let room = body::make_room(memory, sealed.len()).await;
            room.inspect_err(|error| self.count(*error))?;
            let answer = place.post(path, sealed.clone()).await?;
            if answer.passed.status != StatusCode::TOO_MANY_REQUESTS {
                return Ok(answer);
            }
            let pause = answer.passed.retry_after.unwrap_or(UNNAMED_PAUSE).max(UNNAMED_PAUSE);
            self.metrics.limited_target.inc();
            destination.share.refused(pause);
            if destination.refusals.is_due(self.clock.monotonic()) {
                tracing::warn!(
                    relay = destination.number,
                    "a target refuses requests (status 429); if it takes fewer than OBLIVIOUS_TARGET_RATE_LIMIT says, ask \
                     its operator to name this relay in RELAY_OHTTP_RELAYS, or set the variable to what it takes"
                );
            }
            if admission == Admission::Surplus || !can_wait(pause) {
                return Err(ForwardError::RateLimit(pause));
            }
            memory.shrink(sealed.len());
            sleep(pause).await;
        }
    }

    /// Counts a refusal for want of the memory of all. Those for what the client holds are counted where they happen.
    fn count(&self, error: ForwardError) {
        if error == ForwardError::Crowded {
            self.metrics.limited_memory.inc();
        }
    }

    fn note_failure(&self, destination: &Destination, error: ForwardError) {
        let problem = match error {
            ForwardError::Unreachable => "it cannot be reached, or closed the connection",
            ForwardError::Silent => "it did not answer in time",
            ForwardError::Unusable => "its answer is not one of a relay's",
            _ => return,
        };
        if destination.failures.is_due(self.clock.monotonic()) {
            tracing::warn!(relay = destination.number, problem, "a target does not answer as it should");
        }
    }
}

fn is_sealed(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|kind| {
        let essence = kind.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(SEALED)
    })
}
