//! Who peers are: keys of this relay, pins of others.

use crate::tests::federation::*;
use relay_proto::limits::{MAX_CLIENT_URL, MAX_PEER_URL, MAX_PINS};
use relay_proto::messages::{Identity, IdentityRequest, IntroduceReply, PeerHoldings, Pin, PinsRequest};
use relay_proto::{NoiseKey, NoiseSecret, PeerSeed};

const URL: &str = "wss://b.example";

async fn meet(relay: &Relay, identity: PeerId, noise_key: u8, configured: bool) -> Result<(), StorageError> {
    let introduction = Introduction {
        identity: identity.into(),
        url: URL.to_owned(),
        noise_key: NoiseKey::from_bytes([noise_key; 32]).into(),
        configured,
        client_url: String::new(),
    };
    let IntroduceReply {} = replied(relay.offload.introduce(Request::new(introduction)).await)?;
    Ok(())
}

async fn identity(relay: &Relay) -> (NoiseSecret, PeerSeed) {
    let Identity { noise_secret, signing_seed } =
        replied(relay.offload.identity(Request::new(IdentityRequest {})).await).unwrap();
    (noise_secret.as_ref().try_into().unwrap(), signing_seed.as_ref().try_into().unwrap())
}

async fn pins(relay: &Relay) -> Vec<Pin> {
    replied(relay.offload.pins(Request::new(PinsRequest {})).await).unwrap().pins
}

fn pin(identity: PeerId, noise_key: u8) -> Pin {
    let noise_key = NoiseKey::from_bytes([noise_key; 32]).into();
    Pin { url: URL.to_owned(), noise_key, identity: identity.into() }
}

#[tokio::test]
async fn the_relays_keys_are_drawn_once() {
    let relay = Relay::start(&[]);
    let (noise_secret, signing_seed) = identity(&relay).await;
    let relay = relay.restart(&[]).await;
    let again = identity(&relay).await;
    assert_eq!((noise_secret.public(), signing_seed.id()), (again.0.public(), again.1.id()));
    let other = identity(&Relay::start(&[])).await;
    assert_ne!(signing_seed.id(), other.1.id());
    assert_ne!(noise_secret.as_bytes(), signing_seed.as_bytes());
}

#[tokio::test]
async fn a_message_that_is_not_whole_is_refused() {
    let relay = Relay::start(&[]);
    let no_key = Introduction { identity: B.into(), url: URL.to_owned(), ..Introduction::default() };
    let refused = replied(relay.offload.introduce(Request::new(no_key)).await).err();
    assert_eq!(refused, Some(StorageError::invalid("noise_key")));
    let up = PeerState { identity: B.into(), link: Link::Up.into(), ..PeerState::default() };
    for (peer, field) in [
        (PeerState { identity: Bytes::from_static(&[1; 31]), ..up.clone() }, "identity"),
        (PeerState { link: 0, ..up.clone() }, "link"),
        (PeerState { link: 99, ..up.clone() }, "link"),
    ] {
        assert_eq!(relay.tell(vec![peer]).await.err(), Some(StorageError::invalid(field)));
    }
    relay.tell(vec![PeerState { identity: Bytes::new(), ..up }]).await.unwrap();
    let lease = |max_blobs| relay.leased(LeaseRequest { max_blobs, ..all_of(B) });
    assert_eq!(lease(128).await, Ok(Vec::new()));
    assert_eq!(lease(129).await, Err(StorageError::invalid("max_blobs")));
    let due = |limit| relay.offload.outbox(Request::new(OutboxRequest { peer: B.into(), limit }));
    assert!(replied(due(128).await).is_ok());
    assert_eq!(replied(due(129).await).err(), Some(StorageError::invalid("limit")));
    let settle = |settlement: Settlement, count| {
        let settlements = vec![settlement; count];
        relay.offload.settle(Request::new(SettleRequest { peer: B.into(), home: false, settlements }))
    };
    let good =
        Settlement { name: Some(name(mailbox(1), b"one").into()), verdict: OfferResult::Accepted.into() };
    for (settlement, count, field) in [
        (Settlement { name: None, ..good.clone() }, 1, "name"),
        (Settlement { verdict: 0, ..good.clone() }, 1, "verdict"),
        (good.clone(), 129, "settlements"),
    ] {
        assert_eq!(replied(settle(settlement, count).await).err(), Some(StorageError::invalid(field)));
    }
    assert_eq!(replied(settle(good, 128).await).map(|reply| reply.moved), Ok(0));
    let told = |count| relay.offload.delivered(Request::new(DeliveredRequest { numbers: vec![1; count] }));
    assert!(replied(told(128).await).is_ok());
    assert_eq!(replied(told(129).await).err(), Some(StorageError::invalid("numbers")));
    let names = |count| Request::new(names_of(B, vec![name(mailbox(1), b"one"); count]));
    assert_eq!(replied(relay.offload.read(names(128)).await).map(|found| found.missing.len()), Ok(128));
    let refused = [
        replied(relay.offload.read(names(129)).await).err(),
        replied(relay.offload.forget(names(129)).await).err(),
        replied(relay.offload.missing(names(129)).await).err(),
    ];
    assert_eq!(refused, [const { Some(StorageError::invalid("names")) }; 3]);
    let blob = messages::CarriedBlob::from(carried(mailbox(1), b"one", START.plus(86_400)));
    let accept = |count| {
        let blobs = vec![blob.clone(); count];
        relay.offload.accept(Request::new(AcceptRequest { peer: B.into(), home: false, blobs }))
    };
    assert_eq!(replied(accept(129).await).err(), Some(StorageError::invalid("blobs")));
    assert_eq!(replied(accept(128).await).map(|reply| reply.verdicts.len()), Ok(128));
}

#[tokio::test]
async fn addresses_of_peers_are_short_and_few() {
    let relay = Relay::start(&[]);
    let meet = async |url: String, client_url: String| {
        let noise_key = NoiseKey::from_bytes([1; 32]).into();
        let met = Introduction { identity: B.into(), url, noise_key, configured: false, client_url };
        replied(relay.offload.introduce(Request::new(met)).await).map(|IntroduceReply {}| ())
    };
    let long = |bytes| "u".repeat(bytes);
    assert_eq!(meet(long(MAX_PEER_URL + 1), String::new()).await, Err(StorageError::invalid("url")));
    assert_eq!(meet(String::new(), long(MAX_CLIENT_URL + 1)).await, Err(StorageError::invalid("url")));
    assert_eq!(meet(long(MAX_PEER_URL), long(MAX_CLIENT_URL)).await, Ok(()));
    for number in 1..MAX_PINS {
        assert_eq!(meet(number.to_string(), String::new()).await, Ok(()));
    }
    assert_eq!(meet("one more".to_owned(), String::new()).await, Err(StorageError::StorageFull));
    assert_eq!(meet("1".to_owned(), String::new()).await, Ok(()), "a known one is met again");
}

#[tokio::test]
async fn the_first_key_seen_stays_until_the_operator_says_otherwise() {
    let relay = Relay::start(&[]);
    meet(&relay, B, 1, false).await.unwrap();
    meet(&relay, B, 1, false).await.unwrap();
    let relay = relay.restart(&[]).await;
    assert_eq!(pins(&relay).await, [pin(B, 1)]);
    assert_eq!(meet(&relay, B, 2, false).await, Err(StorageError::BadSignature), "another key");
    assert_eq!(meet(&relay, C, 1, false).await, Err(StorageError::BadSignature), "another identity");
    assert_eq!(
        meet(&relay, C, 1, true).await,
        Err(StorageError::BadSignature),
        "the operator wrote down a key, no name"
    );
    assert_eq!(pins(&relay).await, [pin(B, 1)]);
    meet(&relay, C, 2, true).await.unwrap();
    assert_eq!(pins(&relay).await, [pin(C, 2)]);
}

#[tokio::test]
async fn a_forgotten_pin_is_taken_anew() {
    let relay = Relay::start(&[]);
    meet(&relay, B, 1, false).await.unwrap();
    let unpin = |url| relay.store.writer.run_one(move |write| crate::transfer::peers::unpin(write.sql, url));
    assert!(!unpin("wss://c.example").await.unwrap());
    assert!(unpin(URL).await.unwrap());
    assert!(!unpin(URL).await.unwrap());
    meet(&relay, C, 2, false).await.unwrap();
    assert_eq!(pins(&relay).await, [pin(C, 2)]);
}

#[tokio::test]
async fn a_peer_that_does_not_say_where_it_serves_clients_has_not_moved() {
    let (origin, _) = moved_pair().await;
    let url = async || {
        let signed = origin.hints(&[name(mailbox(1), b"one")]).await.unwrap();
        signed.hints.first().map(|hint| hint.relay_url.clone())
    };
    for (said, known) in [
        ("https://b.example", "https://b.example"),
        ("", "https://b.example"),
        ("https://elsewhere.example", "https://elsewhere.example"),
    ] {
        origin.introduce(B, said).await;
        assert_eq!(url().await.as_deref(), Some(known));
    }
}

#[tokio::test]
async fn what_lies_where_is_counted_by_peer() {
    let relay = Relay::start(&[]);
    for number in 0..5 {
        relay.send(mailbox(number), b"own").await.unwrap();
    }
    for (peer, most) in [(B, 3), (C, 1)] {
        let blobs = relay.lease(peer, false, most).await;
        relay.settle(peer, false, &blobs, OfferResult::Accepted).await;
    }
    relay.accept_one(C, carried(mailbox(9), b"held", START.plus(86_400))).await;
    relay.ack(mailbox(0), BlobId::derive(&mailbox(0), b"own")).await.unwrap();
    let holdings = relay.store.readers.run(crate::transfer::peers::holdings).await.unwrap();
    let expected = [
        PeerHoldings { identity: B.into(), moved: 2, held: 0, outbox: 1 },
        PeerHoldings { identity: C.into(), moved: 1, held: 1, outbox: 0 },
    ];
    assert_eq!(holdings, expected);
}
