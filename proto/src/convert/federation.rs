//! Messages of the offload and recall services, and what operators see of peers.

use super::{bytes_of, identifier, required};
use crate::federation::{
    Accept, BlobNames, CarriedBlob, Found, Holdings, Identity, Introduction, Lease, Link, Met, Orders,
    OutboxEntry, PeerState, Peering, Pin, Reassigned, Settle, Verdict, Wanted,
};
use crate::limits::{MAX_CARRIED_BLOBS, MAX_MOVED_BLOBS};
use crate::mail::BlobName;
use crate::{Ciphertext, OriginHint, Refusal, UnixSeconds, wire};
use bytes::Bytes;

impl TryFrom<wire::Identity> for Identity {
    type Error = Refusal;

    fn try_from(message: wire::Identity) -> Result<Self, Refusal> {
        let wire::Identity { noise_secret, signing_seed } = message;
        Ok(Self {
            noise_secret: identifier("noise_secret", &noise_secret)?,
            signing_seed: identifier("signing_seed", &signing_seed)?,
        })
    }
}

impl From<Identity> for wire::Identity {
    fn from(identity: Identity) -> Self {
        let Identity { noise_secret, signing_seed } = identity;
        Self {
            noise_secret: bytes_of(noise_secret.as_bytes()),
            signing_seed: bytes_of(signing_seed.as_bytes()),
        }
    }
}

impl TryFrom<wire::CarriedBlob> for CarriedBlob {
    type Error = Refusal;

    fn try_from(message: wire::CarriedBlob) -> Result<Self, Refusal> {
        let wire::CarriedBlob { mailbox, blob_id, ciphertext, origin_hint, created_at, expires_at, owner } =
            message;
        Ok(Self {
            mailbox: identifier("mailbox", &mailbox)?,
            blob_id: identifier("blob_id", &blob_id)?,
            ciphertext: Ciphertext::try_from(ciphertext).map_err(|_| Refusal::invalid("ciphertext"))?,
            origin_hint: origin_hint
                .map(OriginHint::try_from)
                .transpose()
                .map_err(|_| Refusal::invalid("origin_hint"))?,
            created_at: UnixSeconds::new(created_at),
            expires_at: UnixSeconds::new(expires_at),
            owner: owner.map(|owner| identifier("owner", &owner)).transpose()?,
        })
    }
}

impl From<CarriedBlob> for wire::CarriedBlob {
    fn from(blob: CarriedBlob) -> Self {
        let CarriedBlob { mailbox, blob_id, ciphertext, origin_hint, created_at, expires_at, owner } = blob;
        Self {
            mailbox: bytes_of(mailbox.as_bytes()),
            blob_id: bytes_of(blob_id.as_bytes()),
            ciphertext: ciphertext.as_bytes().clone(),
            origin_hint: origin_hint.map(|hint| hint.as_bytes().clone()),
            created_at: created_at.get(),
            expires_at: expires_at.get(),
            owner: owner.map(|owner| bytes_of(owner.as_bytes())),
        }
    }
}

/// Reads blobs, of which one message holds so many.
fn blobs(list: Vec<wire::CarriedBlob>) -> Result<Vec<CarriedBlob>, Refusal> {
    if list.len() > MAX_CARRIED_BLOBS {
        return Err(Refusal::invalid("blobs"));
    }
    list.into_iter().map(CarriedBlob::try_from).collect()
}

pub(crate) fn read_blobs(message: wire::CarriedBlobs) -> Result<Vec<CarriedBlob>, Refusal> {
    let wire::CarriedBlobs { blobs: list } = message;
    blobs(list)
}

pub(crate) fn write_blobs(blobs: Vec<CarriedBlob>) -> wire::CarriedBlobs {
    wire::CarriedBlobs { blobs: blobs.into_iter().map(wire::CarriedBlob::from).collect() }
}

impl TryFrom<wire::BlobName> for BlobName {
    type Error = Refusal;

    fn try_from(message: wire::BlobName) -> Result<Self, Refusal> {
        let wire::BlobName { mailbox, blob_id } = message;
        Ok(Self { mailbox: identifier("mailbox", &mailbox)?, blob_id: identifier("blob_id", &blob_id)? })
    }
}

impl From<BlobName> for wire::BlobName {
    fn from(name: BlobName) -> Self {
        let BlobName { mailbox, blob_id } = name;
        Self { mailbox: bytes_of(mailbox.as_bytes()), blob_id: bytes_of(blob_id.as_bytes()) }
    }
}

impl TryFrom<wire::BlobNames> for BlobNames {
    type Error = Refusal;

    fn try_from(message: wire::BlobNames) -> Result<Self, Refusal> {
        let wire::BlobNames { peer, names } = message;
        if names.len() > MAX_CARRIED_BLOBS {
            return Err(Refusal::invalid("names"));
        }
        let names = names.into_iter().map(BlobName::try_from).collect::<Result<_, _>>()?;
        Ok(Self { peer: identifier("peer", &peer)?, names })
    }
}

impl From<BlobNames> for wire::BlobNames {
    fn from(names: BlobNames) -> Self {
        let BlobNames { peer, names } = names;
        Self { peer: bytes_of(peer.as_bytes()), names: names.into_iter().map(wire::BlobName::from).collect() }
    }
}

impl TryFrom<wire::ReadReply> for Found {
    type Error = Refusal;

    fn try_from(message: wire::ReadReply) -> Result<Self, Refusal> {
        let wire::ReadReply { blobs: list, missing } = message;
        let missing = missing.into_iter().map(BlobName::try_from).collect::<Result<_, _>>()?;
        Ok(Self { blobs: blobs(list)?, missing })
    }
}

impl From<Found> for wire::ReadReply {
    fn from(found: Found) -> Self {
        let Found { blobs, missing } = found;
        Self {
            blobs: blobs.into_iter().map(wire::CarriedBlob::from).collect(),
            missing: missing.into_iter().map(wire::BlobName::from).collect(),
        }
    }
}

fn write_verdict(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Accepted => wire::Verdict::Accepted,
        Verdict::Refused => wire::Verdict::Refused,
        Verdict::NotNow => wire::Verdict::NotNow,
    }
    .into()
}

fn read_verdict(number: i32) -> Result<Verdict, Refusal> {
    match wire::Verdict::try_from(number) {
        Ok(wire::Verdict::Accepted) => Ok(Verdict::Accepted),
        Ok(wire::Verdict::Refused) => Ok(Verdict::Refused),
        Ok(wire::Verdict::NotNow) => Ok(Verdict::NotNow),
        Ok(wire::Verdict::Unspecified) | Err(_) => Err(Refusal::invalid("verdict")),
    }
}

impl TryFrom<wire::LeaseRequest> for Lease {
    type Error = Refusal;

    fn try_from(message: wire::LeaseRequest) -> Result<Self, Refusal> {
        let wire::LeaseRequest { peer, home, max_blobs, max_bytes, lease_secs, latest_expiry } = message;
        if usize::try_from(max_blobs).is_ok_and(|blobs| blobs > MAX_CARRIED_BLOBS) {
            return Err(Refusal::invalid("max_blobs"));
        }
        let peer = identifier("peer", &peer)?;
        let latest_expiry = (latest_expiry > 0).then_some(UnixSeconds::new(latest_expiry));
        Ok(Self { peer, home, max_blobs, max_bytes, lease_secs, latest_expiry })
    }
}

impl From<Lease> for wire::LeaseRequest {
    fn from(lease: Lease) -> Self {
        let Lease { peer, home, max_blobs, max_bytes, lease_secs, latest_expiry } = lease;
        let latest_expiry = latest_expiry.map_or(0, UnixSeconds::get);
        Self { peer: bytes_of(peer.as_bytes()), home, max_blobs, max_bytes, lease_secs, latest_expiry }
    }
}

impl TryFrom<wire::SettleRequest> for Settle {
    type Error = Refusal;

    fn try_from(message: wire::SettleRequest) -> Result<Self, Refusal> {
        let wire::SettleRequest { peer, home, settlements } = message;
        if settlements.len() > MAX_CARRIED_BLOBS {
            return Err(Refusal::invalid("settlements"));
        }
        let read = |settlement: wire::Settlement| {
            let wire::Settlement { name, verdict } = settlement;
            Ok((required("name", name)?.try_into()?, read_verdict(verdict)?))
        };
        let settlements = settlements.into_iter().map(read).collect::<Result<_, Refusal>>()?;
        Ok(Self { peer: identifier("peer", &peer)?, home, settlements })
    }
}

impl From<Settle> for wire::SettleRequest {
    fn from(settle: Settle) -> Self {
        let Settle { peer, home, settlements } = settle;
        let write = |(name, verdict): (BlobName, Verdict)| wire::Settlement {
            name: Some(name.into()),
            verdict: write_verdict(verdict),
        };
        Self {
            peer: bytes_of(peer.as_bytes()),
            home,
            settlements: settlements.into_iter().map(write).collect(),
        }
    }
}

impl TryFrom<wire::AcceptRequest> for Accept {
    type Error = Refusal;

    fn try_from(message: wire::AcceptRequest) -> Result<Self, Refusal> {
        let wire::AcceptRequest { peer, home, blobs: list } = message;
        Ok(Self { peer: identifier("peer", &peer)?, home, blobs: blobs(list)? })
    }
}

impl From<Accept> for wire::AcceptRequest {
    fn from(accept: Accept) -> Self {
        let Accept { peer, home, blobs } = accept;
        Self {
            peer: bytes_of(peer.as_bytes()),
            home,
            blobs: blobs.into_iter().map(wire::CarriedBlob::from).collect(),
        }
    }
}

pub(crate) fn write_verdicts(verdicts: Vec<Verdict>) -> wire::AcceptReply {
    wire::AcceptReply { verdicts: verdicts.into_iter().map(write_verdict).collect() }
}

/// Reads the answer to an accept of `expected` blobs.
pub(crate) fn read_verdicts(message: wire::AcceptReply, expected: usize) -> Result<Vec<Verdict>, Refusal> {
    let wire::AcceptReply { verdicts } = message;
    if verdicts.len() != expected {
        return Err(Refusal::invalid("verdicts"));
    }
    verdicts.into_iter().map(read_verdict).collect()
}

pub(crate) fn write_outbox(entries: Vec<OutboxEntry>) -> wire::OutboxReply {
    let write =
        |OutboxEntry { number, name }: OutboxEntry| wire::OutboxEntry { number, name: Some(name.into()) };
    wire::OutboxReply { entries: entries.into_iter().map(write).collect() }
}

pub(crate) fn read_outbox(message: wire::OutboxReply) -> Result<Vec<OutboxEntry>, Refusal> {
    let wire::OutboxReply { entries } = message;
    let read = |entry: wire::OutboxEntry| {
        let wire::OutboxEntry { number, name } = entry;
        Ok(OutboxEntry { number, name: required("name", name)?.try_into()? })
    };
    entries.into_iter().map(read).collect()
}

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

impl TryFrom<wire::Introduction> for Introduction {
    type Error = Refusal;

    fn try_from(message: wire::Introduction) -> Result<Self, Refusal> {
        let wire::Introduction { identity, url, noise_key, configured, client_url } = message;
        let met = if url.is_empty() {
            None
        } else {
            Some(Met { url, noise_key: identifier("noise_key", &noise_key)?, configured })
        };
        Ok(Self { identity: identifier("identity", &identity)?, met, client_url })
    }
}

impl From<Introduction> for wire::Introduction {
    fn from(introduction: Introduction) -> Self {
        let Introduction { identity, met, client_url } = introduction;
        let identity = bytes_of(identity.as_bytes());
        match met {
            None => Self { identity, client_url, ..Self::default() },
            Some(Met { url, noise_key, configured }) => {
                Self { identity, url, noise_key: bytes_of(noise_key.as_bytes()), configured, client_url }
            }
        }
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

pub(crate) fn read_report(message: wire::PeerReport) -> Result<Vec<PeerState>, Refusal> {
    let wire::PeerReport { peers } = message;
    peers.into_iter().map(PeerState::try_from).collect()
}

impl From<wire::Orders> for Orders {
    fn from(message: wire::Orders) -> Self {
        let wire::Orders { draining } = message;
        Self { draining }
    }
}

impl From<Orders> for wire::Orders {
    fn from(orders: Orders) -> Self {
        let Orders { draining } = orders;
        Self { draining }
    }
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

impl TryFrom<wire::BringRequest> for Vec<Wanted> {
    type Error = Refusal;

    fn try_from(message: wire::BringRequest) -> Result<Self, Refusal> {
        let wire::BringRequest { wanted, millis: _ } = message;
        if wanted.len() > MAX_MOVED_BLOBS {
            return Err(Refusal::invalid("wanted"));
        }
        let read = |wanted: wire::Wanted| {
            let wire::Wanted { peer, name } = wanted;
            Ok(Wanted { peer: identifier("peer", &peer)?, name: required("name", name)?.try_into()? })
        };
        wanted.into_iter().map(read).collect()
    }
}

pub(crate) fn bring_request(wanted: Vec<Wanted>, millis: u32) -> wire::BringRequest {
    let write = |Wanted { peer, name }: Wanted| wire::Wanted {
        peer: bytes_of(peer.as_bytes()),
        name: Some(name.into()),
    };
    wire::BringRequest { wanted: wanted.into_iter().map(write).collect(), millis }
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
    use crate::{BlobId, MailboxHash, NoiseKey, NoiseSecret, OwnerHash, PeerId, PeerSeed};

    const PEER: PeerId = PeerId::from_bytes([9; 32]);

    fn blob() -> CarriedBlob {
        let mailbox = MailboxHash::from_bytes([1; 32]);
        CarriedBlob {
            mailbox,
            blob_id: BlobId::derive(&mailbox, b"sealed"),
            ciphertext: Ciphertext::try_from(Bytes::from_static(b"sealed")).unwrap(),
            origin_hint: Some(OriginHint::try_from(Bytes::from(vec![3; 74])).unwrap()),
            created_at: UnixSeconds::new(3600),
            expires_at: UnixSeconds::new(7200),
            owner: Some(OwnerHash::from_bytes([4; 32])),
        }
    }

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
    fn a_blob_survives_the_wire_whole() {
        assert_eq!(CarriedBlob::try_from(wire::CarriedBlob::from(blob())), Ok(blob()));
        let bare = CarriedBlob { origin_hint: None, owner: None, ..blob() };
        assert_eq!(CarriedBlob::try_from(wire::CarriedBlob::from(bare.clone())), Ok(bare));
        assert!(blob().is_sound());
        assert!(!CarriedBlob { mailbox: MailboxHash::from_bytes([2; 32]), ..blob() }.is_sound());
    }

    #[test]
    fn what_is_asked_of_storage_survives_the_wire() {
        let latest_expiry = Some(UnixSeconds::new(10));
        let lease =
            Lease { peer: PEER, home: true, max_blobs: 7, max_bytes: 8, lease_secs: 9, latest_expiry };
        let read = Lease::try_from(wire::LeaseRequest::from(lease)).unwrap();
        assert_eq!(format!("{read:?}"), format!("{lease:?}"));
        let settlements =
            [Verdict::Accepted, Verdict::Refused, Verdict::NotNow].map(|verdict| (blob().name(), verdict));
        let settle = Settle { peer: PEER, home: false, settlements: settlements.to_vec() };
        let read = Settle::try_from(wire::SettleRequest::from(settle.clone())).unwrap();
        assert_eq!(read.settlements, settle.settlements);
        let accept = Accept { peer: PEER, home: true, blobs: vec![blob()] };
        assert_eq!(Accept::try_from(wire::AcceptRequest::from(accept)).unwrap().blobs, [blob()]);
        let found = Found { blobs: vec![blob()], missing: vec![blob().name()] };
        let read = Found::try_from(wire::ReadReply::from(found)).unwrap();
        assert_eq!((read.blobs, read.missing), (vec![blob()], vec![blob().name()]));
        let names = BlobNames { peer: PEER, names: vec![blob().name()] };
        assert_eq!(BlobNames::try_from(wire::BlobNames::from(names)).unwrap().names, [blob().name()]);
        let read = read_outbox(write_outbox(vec![OutboxEntry { number: 4, name: blob().name() }])).unwrap();
        assert_eq!((read[0].number, read[0].name), (4, blob().name()));
        let wanted = vec![Wanted { peer: PEER, name: blob().name() }];
        assert_eq!(Vec::<Wanted>::try_from(bring_request(wanted.clone(), 5)), Ok(wanted));
    }

    #[test]
    fn keys_and_pins_survive_the_wire() {
        let identity = Identity {
            noise_secret: NoiseSecret::from_bytes([1; 32]),
            signing_seed: PeerSeed::from_bytes([2; 32]),
        };
        let read = Identity::try_from(wire::Identity::from(identity)).unwrap();
        assert_eq!((read.noise_secret.as_bytes(), read.signing_seed.as_bytes()), (&[1; 32], &[2; 32]));
        for url in ["", "ws://peer"] {
            let met = Met { url: url.to_owned(), noise_key: NoiseKey::from_bytes([3; 32]), configured: true };
            let met = (!url.is_empty()).then_some(met);
            let introduction =
                Introduction { identity: PEER, met, client_url: "https://relay.example".to_owned() };
            let read = Introduction::try_from(wire::Introduction::from(introduction.clone())).unwrap();
            assert_eq!(format!("{read:?}"), format!("{introduction:?}"));
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

    #[test]
    fn lists_are_bounded_and_verdicts_must_match_in_number() {
        let names = BlobNames { peer: PEER, names: vec![blob().name(); MAX_CARRIED_BLOBS + 1] };
        assert!(BlobNames::try_from(wire::BlobNames::from(names)).is_err());
        let accept = Accept { peer: PEER, home: false, blobs: vec![blob(); MAX_CARRIED_BLOBS + 1] };
        assert!(Accept::try_from(wire::AcceptRequest::from(accept)).is_err());
        let wanted = vec![Wanted { peer: PEER, name: blob().name() }; MAX_MOVED_BLOBS + 1];
        assert!(Vec::<Wanted>::try_from(bring_request(wanted, 5)).is_err());
        assert!(read_verdicts(write_verdicts(vec![Verdict::Accepted]), 2).is_err());
    }
}
