//! Who peers are: keys of this relay, pins of others.

use crate::tests::federation::*;
use relay_proto::NoiseKey;
use relay_proto::federation::{Holdings, Met, Pin};

const URL: &str = "wss://b.example";

async fn meet(relay: &Relay, identity: PeerId, noise_key: u8, configured: bool) -> Result<(), Refusal> {
    let noise_key = NoiseKey::from_bytes([noise_key; 32]);
    let met = Some(Met { url: URL.to_owned(), noise_key, configured });
    relay.offload.introduce(Introduction { identity, met, client_url: String::new() }).await
}

async fn pins(relay: &Relay) -> Vec<Pin> {
    relay.offload.pins().await.unwrap()
}

fn pin(identity: PeerId, noise_key: u8) -> Pin {
    Pin { url: URL.to_owned(), noise_key: NoiseKey::from_bytes([noise_key; 32]), identity }
}

#[tokio::test]
async fn the_relays_keys_are_drawn_once() {
    let relay = Relay::start(&[]);
    let keys = relay.offload.identity().await.unwrap();
    let relay = relay.restart(&[]).await;
    let again = relay.offload.identity().await.unwrap();
    assert_eq!(keys.noise_secret.public(), again.noise_secret.public());
    assert_eq!(keys.signing_seed.id(), again.signing_seed.id());
    let other = Relay::start(&[]).offload.identity().await.unwrap();
    assert_ne!(keys.signing_seed.id(), other.signing_seed.id());
    assert_ne!(keys.noise_secret.as_bytes(), keys.signing_seed.as_bytes());
}

#[tokio::test]
async fn the_first_key_seen_stays_until_the_operator_says_otherwise() {
    let relay = Relay::start(&[]);
    meet(&relay, B, 1, false).await.unwrap();
    meet(&relay, B, 1, false).await.unwrap();
    let relay = relay.restart(&[]).await;
    assert_eq!(pins(&relay).await, [pin(B, 1)]);
    assert_eq!(meet(&relay, B, 2, false).await, Err(Refusal::BadSignature), "another key");
    assert_eq!(meet(&relay, C, 1, false).await, Err(Refusal::BadSignature), "another identity");
    assert_eq!(
        meet(&relay, C, 1, true).await,
        Err(Refusal::BadSignature),
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
        relay.settle(peer, false, &blobs, Verdict::Accepted).await;
    }
    relay.accept_one(C, carried(mailbox(9), b"held", START.plus(86_400))).await;
    relay.ack(mailbox(0), BlobId::derive(&mailbox(0), b"own")).await.unwrap();
    let holdings = relay.store.readers.run(crate::transfer::peers::holdings).await.unwrap();
    let expected = [
        Holdings { identity: B, moved: 2, held: 0, outbox: 1 },
        Holdings { identity: C, moved: 1, held: 1, outbox: 0 },
    ];
    assert_eq!(holdings, expected);
}
