//! Peers: whether they are connected, show the pinned key, and have room.

use crate::display::time::span;
use crate::display::units::counted;
use crate::doctor::code::Code;
use crate::doctor::facts::{Facts, Health};
use crate::doctor::finding::Findings;
use crate::operate::federation_summary::{Federation, FederationSummary};
use relay_proto::limits::MAX_CLOCKS_APART_SECS;
use relay_proto::messages::{Link, PeersReply};

/// Switching Protocols.
const SWITCHED: u16 = 101;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let Some(peering) = facts.report.as_ref().and_then(|report| report.peering.as_ref()) else { return };
    let summary = FederationSummary::of(peering);
    let moved: u64 = peering.holdings.iter().map(|holdings| holdings.moved).sum();
    match summary.federation {
        Federation::Off if moved > 0 => findings.add(
            Code::FederationOff,
            format!("federation is off, and {} of this relay's lie with peers", counted(moved, "blob")),
        ),
        Federation::Off => {}
        Federation::Silent => {
            findings.add(Code::FederationSilent, "peers are wanted, and federated does not report")
        }
        Federation::On => check_peers(peering, &summary, findings),
    }
    if summary.draining {
        findings.add(Code::Draining, "this relay is being emptied into its peers");
    }
    if let Some(proxy) =
        facts.proxy.as_ref().filter(|proxy| proxy.is_public && proxy.seen.health == Health::Good)
        && let Some(status) = proxy.upgrade.filter(|status| *status != SWITCHED)
        && summary.federation == Federation::On
    {
        findings.add(
            Code::ProxyUpgrade,
            format!(
                "{}/federation answers {status} and begins no WebSocket: peers cannot connect",
                proxy.url
            ),
        );
    }
}

fn check_peers(peering: &PeersReply, summary: &FederationSummary, findings: &mut Findings) {
    for peer in &peering.peers {
        let name = if peer.url.is_empty() { "a peer that connects here" } else { &peer.url };
        if let Some(ahead) =
            peer.clock_ahead_secs.filter(|ahead| ahead.unsigned_abs() > MAX_CLOCKS_APART_SECS)
        {
            let direction = if ahead > 0 { "ahead of" } else { "behind" };
            findings.add(
                Code::PeerClock,
                format!(
                    "the clock of {name} is {} {direction} this relay's: no mail moves",
                    span(ahead.unsigned_abs())
                ),
            );
        }
        match peer.link() {
            Link::Unspecified | Link::Up => {}
            Link::Down if peer.url.is_empty() => {}
            Link::Down => findings
                .add(Code::PeerUnreachable, format!("{name} is not connected: {}", reason(&peer.trouble))),
            Link::PinChanged => findings.add_with(
                Code::PeerPin,
                format!("{name} shows another key than the one it is pinned to"),
                format!("ask its operator; only if the key was changed there: relay peers forget {name}"),
            ),
            Link::Leaving => {
                findings.add(Code::PeerLeaving, format!("{name} said that it leaves: it takes no mail"))
            }
        }
    }
    if summary.taking > 0 && summary.roomy == 0 {
        findings.add(Code::PeersFull, "no peer that is connected has room");
    }
}

fn reason(trouble: &str) -> &str {
    if trouble.is_empty() { "no reason is known yet" } else { trouble }
}

#[cfg(test)]
mod tests {
    use crate::doctor::checks::fixture::{codes, codes_reported};
    use crate::fixture::{holdings, nobody, peer, sample};
    use relay_proto::messages::{Link, PeerState, PeersReply};

    fn with(peers: Vec<PeerState>) -> Vec<&'static str> {
        codes_reported(|report| report.peering = Some(PeersReply { peers, ..sample() }))
    }

    #[test]
    fn peers_are_reached_known_and_have_room() {
        assert!(with(vec![peer("wss://a", 1)]).is_empty());
        let linked = |link: Link| PeerState { link: link.into(), ..peer("wss://a", 1) };
        assert_eq!(with(vec![linked(Link::Down)]), ["peer-unreachable"]);
        assert_eq!(with(vec![linked(Link::PinChanged)]), ["peer-pin"]);
        assert_eq!(with(vec![linked(Link::Leaving)]), ["peer-leaving"]);
        assert_eq!(with(vec![PeerState { free_bytes: 0, ..peer("wss://a", 1) }]), ["peers-full"]);
        for (ahead, codes) in [(300, &[][..]), (-301, &["peer-clock"]), (21_600, &["peer-clock"])] {
            assert_eq!(with(vec![PeerState { clock_ahead_secs: Some(ahead), ..peer("wss://a", 1) }]), codes);
        }
        let gone = PeerState { link: Link::Down.into(), ..peer("", 1) };
        assert!(with(vec![gone]).is_empty(), "who connects by itself comes when it likes");
    }

    #[test]
    fn federation_reports_where_it_is_wanted_and_is_on_where_mail_lies_with_peers() {
        let silent = PeersReply { reporting: false, peers: Vec::new(), ..sample() };
        assert_eq!(codes_reported(|report| report.peering = Some(silent)), ["federation-silent"]);
        let off = PeersReply { holdings: vec![holdings(1, 7)], ..nobody() };
        assert_eq!(codes_reported(|report| report.peering = Some(off)), ["federation-off"]);
        let draining = PeersReply { draining: true, peers: Vec::new(), ..sample() };
        assert_eq!(codes_reported(|report| report.peering = Some(draining)), ["draining"]);
    }

    #[test]
    fn a_proxy_passes_websockets_on() {
        let answered = |status| {
            codes(|facts| {
                let peering = PeersReply { peers: Vec::new(), ..sample() };
                facts.report.as_mut().unwrap().peering = Some(peering);
                facts.proxy.as_mut().unwrap().upgrade = Some(status);
            })
        };
        assert!(answered(101).is_empty());
        assert_eq!(answered(400), ["front-upgrade"]);
    }
}
