//! Federation in one line: for `relay status`, `relay peers` and `relay drain`.

use crate::display::units::{counted, grouped};
use relay_proto::messages::{Link, PeerHoldings, PeersReply};
use serde_json::{Value, json};

/// Whether there is a federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Federation {
    /// The operator wants no peers.
    Off,
    /// The operator wants peers, and federated does not report.
    Silent,
    /// Federated reports its peers.
    On,
}

/// What operators need to know of federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FederationSummary {
    /// Whether there is one.
    pub(crate) federation: Federation,
    /// Whether the relay is being emptied into its peers.
    pub(crate) draining: bool,
    /// Peers that this relay is to be connected to.
    configured: u64,
    /// Those of them that can be asked.
    configured_up: u64,
    /// Peers that connected by themselves and can be asked.
    others_up: u64,
    /// Peers of either kind that may take mail: those that can be asked and do not leave.
    pub(crate) taking: usize,
    /// Those of them that say they have room.
    pub(crate) roomy: usize,
    /// Blobs of this relay's that peers hold.
    moved: u64,
    /// Blobs of peers that this relay holds.
    held: u64,
    /// Deletions that peers have not confirmed.
    waiting: u64,
}

impl FederationSummary {
    /// Sums up a report.
    pub(crate) fn of(peering: &PeersReply) -> Self {
        // Storage has an identity to report when the operator wants peers, and peers while federated reports them.
        let federation = match (peering.reporting, peering.identity.is_empty()) {
            (true, _) => Federation::On,
            (false, false) => Federation::Silent,
            (false, true) => Federation::Off,
        };
        let peers = |dialled: bool| peering.peers.iter().filter(move |peer| peer.url.is_empty() != dialled);
        let up = |dialled| {
            peers(dialled).filter(|peer| matches!(peer.link(), Link::Up | Link::Leaving)).count() as u64
        };
        let taking = || peering.peers.iter().filter(|peer| peer.link() == Link::Up);
        let sum = |count: fn(&PeerHoldings) -> u64| peering.holdings.iter().map(count).sum();
        Self {
            federation,
            draining: peering.draining,
            configured: peers(true).count() as u64,
            configured_up: up(true),
            others_up: up(false),
            taking: taking().count(),
            roomy: taking().filter(|peer| peer.free_bytes > 0).count(),
            moved: sum(|holdings| holdings.moved),
            held: sum(|holdings| holdings.held),
            waiting: sum(|holdings| holdings.outbox),
        }
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        let mut parts = vec![match self.federation {
            Federation::Off => "off".to_owned(),
            Federation::Silent => "on, but FEDERATED DOES NOT REPORT: see its log".to_owned(),
            Federation::On => {
                format!("on, {} of {} up", self.configured_up, counted(self.configured, "configured peer"))
            }
        }];
        if self.others_up > 0 {
            parts.push(format!("{} connected here", counted(self.others_up, "other peer")));
        }
        if self.federation != Federation::Off || self.moved > 0 {
            parts.push(format!("{} with peers", counted(self.moved, "blob")));
        }
        if self.federation != Federation::Off || self.held > 0 {
            parts.push(format!("{} held for peers", grouped(self.held)));
        }
        if self.waiting > 0 {
            parts.push(format!("{} to be told", counted(self.waiting, "deletion")));
        }
        if self.draining {
            parts.push("BEING EMPTIED (`relay drain --stop` ends it)".to_owned());
        }
        parts.join(", ")
    }

    /// For programs.
    pub(crate) fn as_value(&self) -> Value {
        json!({
            "enabled": self.federation != Federation::Off,
            "reporting": self.federation == Federation::On,
            "draining": self.draining,
            "peers_configured": self.configured,
            "peers_up": self.configured_up,
            "others_up": self.others_up,
            "blobs_moved": self.moved,
            "blobs_held": self.held,
            "deletions_waiting": self.waiting,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{nobody, peer, sample};
    use relay_proto::messages::PeerState;

    #[test]
    fn a_relay_without_peers_says_so_shortly() {
        assert_eq!(FederationSummary::of(&nobody()).line(), "off");
        let left_over = PeersReply { holdings: sample().holdings, ..nobody() };
        assert_eq!(
            FederationSummary::of(&left_over).line(),
            "off, 1,180 blobs with peers, 3 held for peers, 4 deletions to be told"
        );
    }

    #[test]
    fn peers_that_are_wanted_and_not_told_of_are_a_trouble() {
        let silent = PeersReply { reporting: false, peers: Vec::new(), holdings: Vec::new(), ..sample() };
        let summary = FederationSummary::of(&silent);
        assert_eq!(summary.federation, Federation::Silent);
        assert!(summary.line().contains("FEDERATED DOES NOT REPORT"), "{}", summary.line());
    }

    #[test]
    fn configured_peers_are_counted_apart_from_those_that_connect() {
        let summary = FederationSummary::of(&sample());
        assert_eq!((summary.configured, summary.configured_up, summary.others_up), (3, 1, 1));
        assert_eq!(
            summary.line(),
            "on, 1 of 3 configured peers up, 1 other peer connected here, 1,180 blobs with peers, 3 held for peers, \
             4 deletions to be told"
        );
        let value = summary.as_value();
        assert_eq!((&value["peers_up"], &value["peers_configured"]), (&json!(1), &json!(3)));
        assert_eq!((&value["enabled"], &value["reporting"]), (&json!(true), &json!(true)));
    }

    #[test]
    fn a_peer_that_leaves_is_up_and_takes_no_mail() {
        let leaving = PeerState { link: Link::Leaving.into(), ..peer("ws://a", 1) };
        let summary = FederationSummary::of(&PeersReply { peers: vec![leaving], ..sample() });
        assert_eq!((summary.configured_up, summary.taking), (1, 0));
    }

    #[test]
    fn a_peer_that_is_full_takes_mail_when_it_has_room_again() {
        let full = PeerState { free_bytes: 0, ..peer("ws://a", 1) };
        let summary = FederationSummary::of(&PeersReply { peers: vec![full, peer("ws://b", 2)], ..sample() });
        assert_eq!((summary.taking, summary.roomy), (2, 1));
    }

    #[test]
    fn an_order_to_empty_the_relay_is_seen() {
        let summary = FederationSummary::of(&PeersReply { draining: true, ..sample() });
        assert!(summary.line().ends_with("BEING EMPTIED (`relay drain --stop` ends it)"));
        assert_eq!(summary.as_value()["draining"], true);
    }
}
