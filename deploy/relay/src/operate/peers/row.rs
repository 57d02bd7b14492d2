//! A row of the table of peers: what federated reports, the pin of its address, and how much mail each side holds.

use crate::display::time::span;
use crate::display::units::{bytes, grouped};
use relay_proto::messages::{Link, PeerHoldings, PeerState, PeersReply};
use relay_proto::{NoiseKey, PeerId, UnixSeconds};
use serde_json::{Value, json};

/// Heads of the columns; the first one is for text, the others are for numbers and words.
pub(super) const HEADS: [&str; COLUMNS] = [
    "PEER",
    "LINK",
    "ROOM",
    "LAST SEEN",
    "SENT",
    "RECEIVED",
    "RECALLED",
    "THERE",
    "HERE",
    "TO TELL",
    "PINNED",
];

const COLUMNS: usize = 11;

/// What is not known.
const UNKNOWN: &str = "-";

/// A peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// Where this relay dials it; `None` for a peer that dials, and for one that is not configured any more.
    url: Option<&'a str>,
    identity: Option<PeerId>,
    /// What federated reports of it, if it does.
    state: Option<&'a PeerState>,
    /// For how long this relay keeps mail, in seconds.
    keeps_secs: u64,
    /// The key that its address is pinned to.
    pin: Option<NoiseKey>,
    holdings: Option<&'a PeerHoldings>,
}

/// Every peer: those that federated reports, in its order, then those whose addresses are pinned, then those
/// that hold mail or have mail here. So a peer that was removed from the configuration is shown while it holds mail.
pub(super) fn rows<'a>(peering: &'a PeersReply) -> Vec<Row<'a>> {
    let of_state = |state: &'a PeerState| {
        let url = Some(state.url.as_str()).filter(|url| !url.is_empty());
        Row::of(peering, url, PeerId::try_from(&state.identity[..]).ok(), Some(state))
    };
    let mut rows: Vec<_> = peering.peers.iter().map(of_state).collect();
    for pin in &peering.pins {
        if !rows.iter().any(|row| row.url == Some(pin.url.as_str())) {
            rows.push(Row::of(peering, Some(&pin.url), None, None));
        }
    }
    for holdings in &peering.holdings {
        let identity = PeerId::try_from(&holdings.identity[..]).ok();
        if !rows.iter().any(|row| row.identity == identity) {
            rows.push(Row::of(peering, None, identity, None));
        }
    }
    rows
}

/// What a link is called for people and programs.
const fn named(link: Link) -> &'static str {
    match link {
        Link::Unspecified => "unknown",
        Link::Down => "down",
        Link::Up => "up",
        Link::Leaving => "leaving",
        Link::PinChanged => "pin changed",
    }
}

impl<'a> Row<'a> {
    /// Adds the pin of the peer's address, and how much mail each side holds.
    fn of(
        peering: &'a PeersReply,
        url: Option<&'a str>,
        identity: Option<PeerId>,
        state: Option<&'a PeerState>,
    ) -> Self {
        let pin = peering.pins.iter().find(|pin| Some(pin.url.as_str()) == url);
        let identity = identity.or(pin.and_then(|pin| PeerId::try_from(&pin.identity[..]).ok()));
        let is_held = |of: &&PeerHoldings| identity.is_some_and(|known| of.identity[..] == *known.as_bytes());
        Self {
            url,
            identity,
            state,
            keeps_secs: peering.keeps_secs,
            pin: pin.and_then(|pin| NoiseKey::try_from(&pin.noise_key[..]).ok()),
            holdings: peering.holdings.iter().find(is_held),
        }
    }

    /// The peer's line of the table.
    pub(super) fn cells(&self, now: UnixSeconds) -> [String; COLUMNS] {
        let reported = |show: fn(&PeerState) -> String| self.state.map_or_else(|| UNKNOWN.to_owned(), show);
        let lies = |count: fn(&PeerHoldings) -> u64| grouped(self.holdings.map_or(0, count));
        let name = match (self.url, self.state) {
            (Some(url), _) => url,
            (None, Some(_)) => "(connects here)",
            (None, None) => "(not a peer any more)",
        };
        let seen = self.last_seen().map_or_else(
            || UNKNOWN.to_owned(),
            |seen| format!("{} ago", span(now.get().saturating_sub(seen))),
        );
        [
            name.to_owned(),
            reported(|state| named(state.link()).to_owned()),
            reported(|state| bytes(state.free_bytes)),
            seen,
            reported(|state| grouped(state.blobs_sent)),
            reported(|state| grouped(state.blobs_received)),
            reported(|state| grouped(state.blobs_recalled)),
            lies(|holdings| holdings.moved),
            lies(|holdings| holdings.held),
            lies(|holdings| holdings.outbox),
            if self.pin.is_some() { "yes" } else { "no" }.to_owned(),
        ]
    }

    /// What is too long for the table, or seldom there.
    pub(super) fn remarks(&self) -> Vec<String> {
        let identity = self.identity.map_or_else(
            || "not known yet: it has not proved who it is".to_owned(),
            |identity| identity.to_base64url(),
        );
        let mut remarks = vec![format!("identity {identity}")];
        if let Some(trouble) = self.trouble() {
            remarks.push(format!("trouble: {trouble}"));
        }
        if let Some(kept) = self.keeps().filter(|kept| *kept < self.keeps_secs) {
            remarks.push(format!(
                "keeps mail for {}, and this relay for {}: what lasts longer is not moved there",
                span(kept),
                span(self.keeps_secs)
            ));
        }
        remarks
    }

    /// For how long the peer keeps mail, if known.
    fn keeps(&self) -> Option<u64> {
        self.state.map(|state| state.keeps_secs).filter(|kept| *kept > 0)
    }

    /// When the last message from the peer arrived, in Unix seconds, if any did.
    fn last_seen(&self) -> Option<u64> {
        self.state.map(|state| state.last_seen).filter(|seen| *seen > 0)
    }

    fn trouble(&self) -> Option<&str> {
        self.state.map(|state| state.trouble.as_str()).filter(|trouble| !trouble.is_empty())
    }

    /// For programs. What federated does not report is null.
    pub(super) fn as_value(&self) -> Value {
        let holdings = self.holdings;
        json!({
            "url": self.url,
            "identity": self.identity.map(|identity| identity.to_base64url()),
            "link": self.state.map(|state| named(state.link())),
            "free_bytes": self.state.map(|state| state.free_bytes),
            "last_seen": self.last_seen(),
            "blobs_sent": self.state.map(|state| state.blobs_sent),
            "blobs_received": self.state.map(|state| state.blobs_received),
            "blobs_recalled": self.state.map(|state| state.blobs_recalled),
            "trouble": self.trouble(),
            "clock_ahead_seconds": self.state.and_then(|state| state.clock_ahead_secs),
            "keeps_secs": self.keeps(),
            "pinned": self.pin.is_some(),
            "pinned_key": self.pin.map(|key| key.to_base64url()),
            "blobs_moved": holdings.map_or(0, |holdings| holdings.moved),
            "blobs_held": holdings.map_or(0, |holdings| holdings.held),
            "deletions_waiting": holdings.map_or(0, |holdings| holdings.outbox),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{holdings, id, nobody, peer, pin, sample};

    #[test]
    fn a_peer_is_known_by_its_pin_before_it_is_met_again() {
        let mut state = peer("ws://a", 1);
        state.identity.clear();
        let peering = PeersReply {
            peers: vec![state],
            pins: vec![pin("ws://a", 1)],
            holdings: vec![holdings(1, 5)],
            ..sample()
        };
        let rows = rows(&peering);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].identity, rows[0].holdings), (Some(id(1)), Some(&holdings(1, 5))));
        assert_eq!(rows[0].as_value()["pinned_key"], NoiseKey::from_bytes([1; 32]).to_base64url());
    }

    #[test]
    fn a_peer_that_keeps_mail_for_less_time_than_this_relay_is_told_apart() {
        let remarks = |keeps_secs| {
            let peering =
                PeersReply { peers: vec![PeerState { keeps_secs, ..peer("ws://a", 1) }], ..sample() };
            rows(&peering)[0].remarks()
        };
        for unremarkable in [0, 120 * 86_400, 365 * 86_400] {
            assert_eq!(remarks(unremarkable).len(), 1, "{unremarkable}");
        }
        let said = remarks(4 * 3600).pop().unwrap();
        assert!(said.starts_with("keeps mail for 4 h 0 min, and this relay for 120 d 0 h"), "{said}");
    }

    #[test]
    fn mail_with_a_peer_that_is_none_any_more_is_seen() {
        let peering =
            PeersReply { pins: vec![pin("ws://gone", 1)], holdings: vec![holdings(2, 7)], ..nobody() };
        let rows = rows(&peering);
        let shown: Vec<_> = rows.iter().map(|row| row.cells(UnixSeconds::new(0))).collect();
        assert_eq!(shown[0][..3], ["ws://gone", "-", "-"]);
        assert_eq!((shown[1][0].as_str(), shown[1][7].as_str()), ("(not a peer any more)", "7"));
        assert_eq!(rows[1].as_value()["link"], Value::Null);
        assert_eq!(rows[1].as_value()["blobs_moved"], 7);
    }

    #[test]
    fn two_addresses_of_one_peer_show_the_same_mail() {
        let peering = PeersReply {
            peers: vec![peer("ws://a", 1), peer("ws://b", 1)],
            pins: Vec::new(),
            holdings: vec![holdings(1, 5)],
            ..sample()
        };
        assert!(rows(&peering).iter().all(|row| row.holdings == Some(&holdings(1, 5))));
        assert_eq!(rows(&peering).len(), 2);
    }
}
