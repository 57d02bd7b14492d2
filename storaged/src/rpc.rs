//! What storage serves: one file a service. Handlers decide; the store does.

pub(crate) mod admin;
pub(crate) mod admission;
pub(crate) mod backup;
pub(crate) mod escrow;
pub(crate) mod exchange;
pub(crate) mod guardian;
pub(crate) mod keys;
pub(crate) mod mailbox;
pub(crate) mod offload;
pub(crate) mod recovery;
pub(crate) mod telemetry;
pub(crate) mod usage;

use crate::clock::TrustedClock;
use crate::config::Config;
use crate::db::Store;
use crate::limits::Limits;
use crate::mail::purging::Purging;
use crate::metrics::Metrics;
use crate::metrics::aggregator::MetricsAggregator;
use crate::ohttp_keys::keyring::Keyring;
use crate::records::guess_limiter::GuessLimiter;
use crate::transfer::offer_cursor::OfferCursor;
use crate::transfer::peers::peering::Peering;
use admin::Admin;
use admission::Admission;
use exchange::Exchange;
use keys::Keys;
use mailbox::Mailbox;
use offload::Offload;
use relay_daemon::{Clock, Shutdown, lifecycle, ops};
use relay_proto::messages::Policy;
use relay_proto::server::Services;
use relay_proto::telemetry::Role;
use std::sync::Arc;
use telemetry::Telemetry;
use tonic::{Response, Status};

type Reply<T> = Result<Response<T>, Status>;

/// Serves records that need nothing of their own besides the store.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    pub(crate) store: Arc<Store>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) time: Arc<TrustedClock>,
}

/// What the services of all sockets are made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) clock: &'a Clock,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) store: Arc<Store>,
    pub(crate) time: Arc<TrustedClock>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Metrics,
    pub(crate) reporters: Arc<MetricsAggregator>,
    pub(crate) peering: Arc<Peering>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) policy: Policy,
}

impl Parts<'_> {
    /// The services of the socket for gateways.
    pub(crate) fn for_gateways(&self) -> Services {
        let records = Arc::new(self.records());
        Services::default()
            .mailbox(&Arc::new(self.mailbox()))
            .recovery(&records)
            .exchange(&Arc::new(self.exchange()))
            .guardian(&records)
            .escrow(&records)
            .keys(&Arc::new(Keys { keyring: Arc::clone(&self.keyring) }))
            .admission(&Arc::new(Admission { policy: self.policy.clone(), shutdown: self.shutdown.clone() }))
            .telemetry(&Arc::new(self.telemetry(Some(Role::Gateway))))
            .with_blobs_of(self.config.bounds.blob_bytes)
    }

    /// The services of the socket for federation.
    pub(crate) fn for_federation(&self) -> Services {
        Services::default()
            .offload(&Arc::new(self.offload()))
            .telemetry(&Arc::new(self.telemetry(Some(Role::Federated))))
            .with_blobs_of(self.config.bounds.blob_bytes)
    }

    /// The services of the socket for the operator's command.
    pub(crate) fn for_operator(&self) -> Services {
        let telemetry = Arc::new(self.telemetry(None));
        Services::default()
            .admin(&Arc::new(self.admin()))
            .telemetry(&telemetry)
            .http(ops::router(&telemetry, None))
    }

    /// Serves recovery proofs, guardian sets and escrow.
    fn records(&self) -> Records {
        let (store, limits) = (Arc::clone(&self.store), Arc::clone(&self.limits));
        Records { store, limits, time: Arc::clone(&self.time) }
    }

    fn exchange(&self) -> Exchange {
        let (gauges, clock) = (Arc::clone(&self.store.gauges), self.clock.clone());
        let bounds = self.config.exchange;
        let guesses = GuessLimiter::new(bounds.guess_rate, gauges, clock, self.metrics.clone());
        Exchange { records: self.records(), guesses: Arc::new(guesses), bounds }
    }

    fn mailbox(&self) -> Mailbox {
        Mailbox {
            store: Arc::clone(&self.store),
            limits: Arc::clone(&self.limits),
            bounds: self.config.bounds,
            time: Arc::clone(&self.time),
            metrics: self.metrics.clone(),
            peering: Arc::clone(&self.peering),
            purging: Purging::new(Arc::clone(&self.store), Arc::clone(&self.time), self.metrics.clone()),
        }
    }

    fn offload(&self) -> Offload {
        Offload {
            store: Arc::clone(&self.store),
            peering: Arc::clone(&self.peering),
            rounds: OfferCursor::new(self.clock.clone()),
            limits: Arc::clone(&self.limits),
            bounds: self.config.bounds,
            refuse: self.config.refuse,
            time: Arc::clone(&self.time),
            metrics: self.metrics.clone(),
        }
    }

    fn telemetry(&self, role: Option<Role>) -> Telemetry {
        Telemetry {
            role,
            store: Arc::clone(&self.store),
            time: Arc::clone(&self.time),
            limits: Arc::clone(&self.limits),
            reporters: Arc::clone(&self.reporters),
            metrics: self.metrics.clone(),
            shutdown: self.shutdown.clone(),
        }
    }

    fn admin(&self) -> Admin {
        let now = self.clock.now();
        Admin {
            store: Arc::clone(&self.store),
            reporters: Arc::clone(&self.reporters),
            time: Arc::clone(&self.time),
            keyring: Arc::clone(&self.keyring),
            peering: Arc::clone(&self.peering),
            federates: self.config.federates,
            process: lifecycle::this_process(Role::Storaged, now),
            keeps: self.config.bounds.ttl,
            address_key_since: now,
        }
    }
}
