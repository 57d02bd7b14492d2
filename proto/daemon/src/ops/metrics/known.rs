//! What each role counts, as storage believes it: name, kind and labels. Storage adds up what the processes say and shows
//! it to operators, so a process that was taken over must not be able to say what others count, or to make storage hold
//! what nobody counts. A test in `deploy/relay` holds these lists to what the processes really register. A metric that is
//! no longer counted stays here for one version, because older processes report to a newer storage during an upgrade.

use relay_proto::messages::{Family, Kind};
use relay_proto::telemetry::Role;

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels, in the order in which they are written.
    pub labels: &'static [&'static str],
}

impl Known {
    /// Whether a family is this metric. One whose name is known and whose kind is not is another.
    pub fn is(&self, family: &Family) -> bool {
        self.name == family.name && self.kind == family.kind()
    }
}

const fn counter(name: &'static str) -> Known {
    Known { name, kind: Kind::Counter, labels: &[] }
}

const fn counter_by(name: &'static str, labels: &'static [&'static str]) -> Known {
    Known { name, kind: Kind::Counter, labels }
}

const fn gauge(name: &'static str) -> Known {
    Known { name, kind: Kind::Gauge, labels: &[] }
}

const fn histogram(name: &'static str) -> Known {
    Known { name, kind: Kind::Histogram, labels: &[] }
}

/// What every process counts.
const ALL: &[Known] = &[counter("relay_library_warnings_total"), counter("relay_panics_total")];

const GATEWAY: &[Known] = &[
    counter_by("relay_client_addresses_total", &["source"]),
    gauge("relay_connections_active"),
    counter("relay_connections_refused_total"),
    gauge("relay_federation_tunnels_active"),
    histogram("relay_message_duration_seconds"),
    counter("relay_messages_received_total"),
    counter_by("relay_messages_rejected_total", &["reason"]),
    counter_by("relay_ohttp_requests_total", &["outcome"]),
    counter_by("relay_rate_limited_total", &["scope"]),
    gauge("relay_storage_reachable"),
    counter("relay_storage_retries_total"),
];

const FEDERATED: &[Known] = &[
    counter("relay_federation_deletions_sent_total"),
    counter("relay_federation_dials_failed_total"),
    counter("relay_federation_drain_notices_total"),
    counter("relay_federation_handshakes_refused_total"),
    counter("relay_federation_offloads_declined_total"),
    counter("relay_federation_offloads_received_total"),
    counter("relay_federation_offloads_rejected_total"),
    counter("relay_federation_offloads_sent_total"),
    gauge("relay_federation_peers_clock_apart"),
    gauge("relay_federation_peers_connected"),
    counter("relay_federation_pins_refused_total"),
    counter("relay_federation_rate_limited_total"),
    counter("relay_federation_recalled_total"),
    counter("relay_federation_recalls_unanswered_total"),
    gauge("relay_federation_store_fill_ratio"),
];

/// What a process of this role may report to storage; storage and the outer relay report to nobody.
pub fn known(role: Role) -> impl Iterator<Item = &'static Known> {
    let own = match role {
        Role::Storaged | Role::Oblivious => &[],
        Role::Gateway => GATEWAY,
        Role::Federated => FEDERATED,
    };
    ALL.iter().chain(own)
}
