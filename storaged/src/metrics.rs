//! What the storage daemon counts. Labels come from enums; none names a mailbox or a blob.

pub(crate) mod aggregator;

use crate::db::{Total, Totals};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use relay_daemon::metrics::registry;
use relay_proto::messages::Family;
use std::time::Duration;

/// The storage daemon's metrics.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) blobs_created: IntCounter,
    pub(crate) blobs_delivered: IntCounter,
    pub(crate) blobs_acked: IntCounter,
    pub(crate) blobs_purged: IntCounter,
    pub(crate) blobs_expired: IntCounter,
    pub(crate) blobs_damaged: IntCounter,
    pub(crate) exchange_wrong_guesses: IntCounter,
    pub(crate) sweep_suspended: IntGauge,
    pub(crate) hints_stored: IntCounter,
    pub(crate) hints_expired: IntCounter,
    pub(crate) hints_missing: IntCounter,
    sums: Vec<(Total, IntGauge)>,
    certificate_ends: IntGauge,
    rate_limited: IntCounterVec,
    pub(crate) addresses_busy: IntGauge,
    live_bytes: IntGauge,
    ceiling_bytes: IntGauge,
    full: IntGauge,
    commit_commands: Histogram,
    commit_seconds: Histogram,
}

/// Name and help of a gauge.
pub(crate) type Gauge = (&'static str, &'static str);

/// Totals that are shown as they are, besides those of records: name and help of the gauge.
const SUMS: [(Total, Gauge); 6] = [
    (Total::BLOBS, ("relay_blobs_stored", "Blobs in the store.")),
    (Total::REGISTRATIONS, ("relay_registrations_stored", "Mailboxes registered.")),
    (Total::HINTS, ("relay_federation_hints_active", "Blobs of this relay's that peers hold.")),
    (
        Total::CLAIMS,
        (
            "relay_federation_claims_active",
            "Blobs that peers say they hold for this relay, and of which nothing else here tells, as after a restore.",
        ),
    ),
    (Total::HELD, ("relay_federation_held_blobs", "Blobs of peers that this relay holds.")),
    (Total::OUTBOX, ("relay_federation_outbox_entries", "Deletions that wait to be told to peers.")),
];

/// What a refused request had too many of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope {
    Mailbox,
    Address,
    Relay,
    Recovery,
    Guess,
    /// Bytes that one payer adds to the store.
    Bytes,
    /// Rows that one payer adds to a table.
    Names,
}

impl Scope {
    const ALL: [Self; 7] =
        [Self::Mailbox, Self::Address, Self::Relay, Self::Recovery, Self::Guess, Self::Bytes, Self::Names];

    const fn label(self) -> &'static str {
        match self {
            Self::Mailbox => "mailbox",
            Self::Address => "address",
            Self::Relay => "relay",
            Self::Recovery => "recovery",
            Self::Guess => "guess",
            Self::Bytes => "bytes",
            Self::Names => "names",
        }
    }
}

impl Metrics {
    /// Makes and registers all of them, with those that show how many records there are.
    pub(crate) fn new(records: impl IntoIterator<Item = (Total, Gauge)>) -> Result<Self, prometheus::Error> {
        let registry = registry()?;
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| -> Result<Histogram, prometheus::Error> {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let rate_limited = IntCounterVec::new(
            Opts::new("relay_rate_limited_total", "Requests refused by a rate limit, by what was too busy."),
            &["scope"],
        )?;
        registry.register(Box::new(rate_limited.clone()))?;
        for scope in Scope::ALL {
            rate_limited.with_label_values(&[scope.label()]);
        }
        let sums = SUMS
            .into_iter()
            .chain(records)
            .map(|(total, (name, help))| Ok((total, gauge(name, help)?)))
            .collect::<Result<_, prometheus::Error>>()?;
        Ok(Self {
            blobs_created: counter("relay_blobs_created_total", "Blobs stored for the first time.")?,
            blobs_delivered: counter("relay_blobs_delivered_total", "Blobs handed out by fetches.")?,
            blobs_acked: counter("relay_blobs_acked_total", "Blobs removed by acks.")?,
            blobs_purged: counter("relay_blobs_purged_total", "Blobs removed by purges.")?,
            blobs_expired: counter(
                "relay_blobs_expired_total",
                "Blobs removed because their time had passed.",
            )?,
            blobs_damaged: counter(
                "relay_blobs_damaged_total",
                "Blobs not served because their content does not match their name.",
            )?,
            exchange_wrong_guesses: counter(
                "relay_exchange_wrong_guesses_total",
                "Exchange codes that named no live offer.",
            )?,
            sweep_suspended: gauge(
                "relay_sweep_suspended",
                "1 while expiry waits because the clock is not trusted: it jumped, or is behind.",
            )?,
            hints_stored: counter(
                "relay_federation_hints_stored_total",
                "Blobs that moved to a peer: deleted here, with a hint in their place.",
            )?,
            hints_expired: counter(
                "relay_federation_hints_expired_total",
                "Hints removed because the time of their blob had passed.",
            )?,
            hints_missing: counter(
                "relay_federation_hints_missing_total",
                "Hints removed because the peer does not have the blob: a client acked it there, or the peer lost it.",
            )?,
            certificate_ends: gauge(
                "relay_ohttp_certificate_expiry_timestamp_seconds",
                "Unix time at which the certificate behind the signed key record ends; 0 while there is none.",
            )?,
            addresses_busy: gauge(
                "relay_client_addresses_busy",
                "Client addresses that used some of their limit in the last minute and have not got it back; 10 is ten or more.",
            )?,
            live_bytes: gauge("relay_storage_live_bytes", "Bytes of the database in use.")?,
            ceiling_bytes: gauge("relay_storage_ceiling_bytes", "Bytes the database may use.")?,
            full: gauge("relay_storage_full", "1 while new mail is refused for lack of room.")?,
            commit_commands: histogram(
                "relay_commit_commands",
                "Commands in one commit.",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0],
            )?,
            commit_seconds: histogram(
                "relay_commit_seconds",
                "Time from the begin of a transaction to the end of its commit.",
                &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0],
            )?,
            sums,
            rate_limited,
            registry,
        })
    }

    /// Counts a refusal.
    pub(crate) fn rate_limited(&self, scope: Scope) {
        self.rate_limited.with_label_values(&[scope.label()]).inc();
    }

    /// Tells when the certificate behind the signed key record ends; 0 while there is none.
    pub(crate) fn certificate_ends(&self, at: u64) {
        self.certificate_ends.set(i64::try_from(at).unwrap_or(i64::MAX));
    }

    /// Returns what counts commits: how many commands each has, and how long it takes.
    #[expect(clippy::cast_precision_loss, reason = "at most a few hundred")]
    pub(crate) fn commits(&self) -> Box<dyn Fn(usize, Duration) + Send> {
        let (command_counts, seconds) = (self.commit_commands.clone(), self.commit_seconds.clone());
        Box::new(move |commands, took| {
            command_counts.observe(commands as f64);
            seconds.observe(took.as_secs_f64());
        })
    }

    /// Everything, with the gauges as they stand now.
    pub(crate) fn gather(&self, gauges: &Totals) -> Vec<Family> {
        let set = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        for (total, gauge) in &self.sums {
            set(gauge, gauges.of(*total));
        }
        set(&self.live_bytes, gauges.live_bytes());
        set(&self.ceiling_bytes, gauges.ceiling_bytes());
        self.full.set(i64::from(gauges.is_full()));
        relay_daemon::metrics::gather(&self.registry)
    }
}
