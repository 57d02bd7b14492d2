//! What operators see of peers.

use super::{bytes_of, identifier};
use crate::federation::{Holdings, Link, PeerState, Peering, Pin, Reassigned};
use crate::{Refusal, UnixSeconds, wire};
use bytes::Bytes;

impl TryFrom<wire::Pin> for Pin {
    type Error = Refusal;

    fn try_from(message: wire::Pin) -> Result<Self, Refusal> {
        let wire::Pin { url, noise_key, identity } = message;
        Ok(Self {
            url,
            noise_key: identifier("noise_key", &noise_key)?,
            identity: identifier("identity", &identity)?,
        })
    }
}

impl From<Pin> for wire::Pin {
    fn from(pin: Pin) -> Self {
        let Pin { url, noise_key, identity } = pin;
        Self { url, noise_key: bytes_of(noise_key.as_bytes()), identity: bytes_of(identity.as_bytes()) }
    }
}

impl TryFrom<wire::PeerState> for PeerState {
    type Error = Refusal;

    fn try_from(message: wire::PeerState) -> Result<Self, Refusal> {
        let wire::PeerState {
            url,
            identity,
            link,
            free_bytes,
            last_seen,
            blobs_sent,
            blobs_received,
            blobs_recalled,
            trouble,
            clock_ahead_secs,
            keeps_secs,
        } = message;
        let link = match wire::Link::try_from(link) {
            Ok(wire::Link::Down) => Link::Down,
            Ok(wire::Link::Up) => Link::Up,
            Ok(wire::Link::Leaving) => Link::Leaving,
            Ok(wire::Link::PinChanged) => Link::PinChanged,
            Ok(wire::Link::Unspecified) | Err(_) => return Err(Refusal::invalid("link")),
        };
        Ok(Self {
            url,
            identity: optional("identity", &identity)?,
            link,
            free_bytes,
            last_seen: (last_seen > 0).then_some(UnixSeconds::new(last_seen)),
            blobs_sent,
            blobs_received,
            blobs_recalled,
            trouble,
            clock_ahead_secs,
            keeps_secs,
        })
    }
}

impl From<PeerState> for wire::PeerState {
    fn from(state: PeerState) -> Self {
        let PeerState {
            url,
            identity,
            link,
            free_bytes,
            last_seen,
            blobs_sent,
            blobs_received,
            blobs_recalled,
            trouble,
            clock_ahead_secs,
            keeps_secs,
        } = state;
        let link = match link {
            Link::Down => wire::Link::Down,
            Link::Up => wire::Link::Up,
            Link::Leaving => wire::Link::Leaving,
            Link::PinChanged => wire::Link::PinChanged,
        };
        Self {
            url,
            identity: identity.map(|id| bytes_of(id.as_bytes())).unwrap_or_default(),
            link: link.into(),
            free_bytes,
            last_seen: last_seen.map_or(0, UnixSeconds::get),
            blobs_sent,
            blobs_received,
            blobs_recalled,
            trouble,
            clock_ahead_secs,
            keeps_secs,
        }
    }
}

/// Reads a fixed-size identifier that may be absent.
fn optional<T>(field: &'static str, bytes: &Bytes) -> Result<Option<T>, Refusal>
where
    T: for<'a> TryFrom<&'a [u8], Error = crate::Malformed>,
{
    if bytes.is_empty() { Ok(None) } else { identifier(field, bytes).map(Some) }
}

impl From<wire::ReassignPeerReply> for Reassigned {
    fn from(message: wire::ReassignPeerReply) -> Self {
        let wire::ReassignPeerReply { blobs, from_is_connected, to_is_unknown } = message;
        match (from_is_connected, to_is_unknown) {
            (true, _) => Self::FromIsConnected,
            (false, true) => Self::ToIsUnknown,
            (false, false) => Self::Blobs(blobs),
        }
    }
}

impl From<Reassigned> for wire::ReassignPeerReply {
    fn from(reassigned: Reassigned) -> Self {
        match reassigned {
            Reassigned::Blobs(blobs) => Self { blobs, ..Self::default() },
            Reassigned::FromIsConnected => Self { from_is_connected: true, ..Self::default() },
            Reassigned::ToIsUnknown => Self { to_is_unknown: true, ..Self::default() },
        }
    }
}

impl TryFrom<wire::PeersReply> for Peering {
    type Error = Refusal;

    fn try_from(message: wire::PeersReply) -> Result<Self, Refusal> {
        let wire::PeersReply {
            reporting,
            noise_key,
            identity,
            peers,
            pins,
            holdings,
            draining,
            keeps_secs,
            outlasting,
        } = message;
        let read = |holdings: wire::PeerHoldings| {
            let wire::PeerHoldings { identity, moved, held, outbox } = holdings;
            Ok(Holdings { identity: identifier("identity", &identity)?, moved, held, outbox })
        };
        Ok(Self {
            reporting,
            noise_key: optional("noise_key", &noise_key)?,
            identity: optional("identity", &identity)?,
            peers: peers.into_iter().map(PeerState::try_from).collect::<Result<_, _>>()?,
            pins: pins.into_iter().map(Pin::try_from).collect::<Result<_, _>>()?,
            holdings: holdings.into_iter().map(read).collect::<Result<_, Refusal>>()?,
            draining,
            keeps_secs,
            outlasting,
        })
    }
}

impl From<Peering> for wire::PeersReply {
    fn from(peering: Peering) -> Self {
        let Peering {
            reporting,
            noise_key,
            identity,
            peers,
            pins,
            holdings,
            draining,
            keeps_secs,
            outlasting,
        } = peering;
        let write = |Holdings { identity, moved, held, outbox }: Holdings| wire::PeerHoldings {
            identity: bytes_of(identity.as_bytes()),
            moved,
            held,
            outbox,
        };
        Self {
            reporting,
            noise_key: noise_key.map(|key| bytes_of(key.as_bytes())).unwrap_or_default(),
            identity: identity.map(|id| bytes_of(id.as_bytes())).unwrap_or_default(),
            peers: peers.into_iter().map(wire::PeerState::from).collect(),
            pins: pins.into_iter().map(wire::Pin::from).collect(),
            holdings: holdings.into_iter().map(write).collect(),
            draining,
            keeps_secs,
            outlasting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NoiseKey, PeerId};

    const PEER: PeerId = PeerId::from_bytes([9; 32]);

    fn state(link: Link) -> PeerState {
        PeerState {
            url: "ws://peer".to_owned(),
            identity: Some(PEER),
            link,
            free_bytes: 1,
            last_seen: Some(UnixSeconds::new(2)),
            blobs_sent: 3,
            blobs_received: 4,
            blobs_recalled: 5,
            trouble: "no".to_owned(),
            clock_ahead_secs: Some(-6),
            keeps_secs: 6,
        }
    }

    #[test]
    fn what_became_of_giving_to_another_relay_survives_the_wire() {
        for reassigned in [Reassigned::Blobs(7), Reassigned::FromIsConnected, Reassigned::ToIsUnknown] {
            assert_eq!(Reassigned::from(wire::ReassignPeerReply::from(reassigned)), reassigned);
        }
    }

    #[test]
    fn what_operators_see_survives_the_wire() {
        let peers: Vec<PeerState> =
            [Link::Down, Link::Up, Link::Leaving, Link::PinChanged].map(state).to_vec();
        let peering = Peering {
            reporting: true,
            noise_key: Some(NoiseKey::from_bytes([1; 32])),
            identity: Some(PEER),
            peers,
            pins: vec![Pin {
                url: "ws://peer".to_owned(),
                noise_key: NoiseKey::from_bytes([3; 32]),
                identity: PEER,
            }],
            holdings: vec![Holdings { identity: PEER, moved: 1, held: 2, outbox: 3 }],
            draining: true,
            keeps_secs: 4,
            outlasting: 5,
        };
        assert_eq!(Peering::try_from(wire::PeersReply::from(peering.clone())), Ok(peering));
        let fresh =
            PeerState { identity: None, last_seen: None, clock_ahead_secs: None, ..state(Link::Down) };
        assert_eq!(PeerState::try_from(wire::PeerState::from(fresh.clone())), Ok(fresh));
    }
}
