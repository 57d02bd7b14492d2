//! The peer that holds blobs, against another.

use crate::fields::random_bytes;
use crate::peer::message::{Drain, Names, Offload};
use crate::peer::{
    Blob, Body, Closed, Conduct, Dialled, InMemoryPeer, OnForget, OnOffload, OnRecall, Options, PeerKeys,
    Verdict,
};
use std::net::SocketAddr;

async fn peer(conduct: Conduct) -> (InMemoryPeer, SocketAddr) {
    let peer = InMemoryPeer::listen(PeerKeys::generate(), conduct).await;
    let address = peer.url().trim_start_matches("ws://").parse().unwrap();
    (peer, address)
}

fn offload(blobs: &[Blob]) -> Body {
    Body::Offload(Offload { blobs: blobs.to_vec(), home: false })
}

fn recall(blobs: &[Blob]) -> Body {
    Body::Recall(Names { names: blobs.iter().map(Blob::name).collect() })
}

#[tokio::test]
async fn what_it_takes_it_gives_back_until_it_is_told_to_forget() {
    let (peer, address) = peer(Conduct::default()).await;
    let mut relay = Dialled::connect(address, &PeerKeys::generate(), &Options::default()).await;
    let blobs = [Blob::random(10), Blob::random(70_000)];
    let Body::OffloadAck(ack) = relay.ask(offload(&blobs)).await else { panic!("an answer of another kind") };
    assert_eq!(ack.verdicts, [Verdict::Accepted as i32; 2]);
    peer.holds(2).await;
    let Body::RecallAck(ack) = relay.ask(recall(&blobs)).await else { panic!("an answer of another kind") };
    assert!(ack.blobs == blobs && ack.missing.is_empty());
    let names = Names { names: vec![blobs[0].name()] };
    let Body::ForgetAck(ack) = relay.ask(Body::Forget(names)).await else {
        panic!("an answer of another kind")
    };
    assert!(ack.done);
    let Body::RecallAck(ack) = relay.ask(recall(&blobs)).await else { panic!("an answer of another kind") };
    assert!(ack.blobs == blobs[1..] && ack.missing == [blobs[0].name()]);
    assert_eq!(relay.ask(Body::Drain(Drain {})).await, Body::DrainAck(Drain {}));
    relay.close(0).await;
    peer.until("the end", |desk| desk.ended.pop()).await;
}

#[tokio::test]
async fn two_of_them_ask_one_another() {
    let (listening, address) = peer(Conduct::default()).await;
    let dialling =
        InMemoryPeer::dial(address, PeerKeys::generate(), &Options::default(), Conduct::default()).await;
    listening.connected().await;
    let Body::OffloadAck(_) = dialling.ask(offload(&[Blob::random(5)])).await else {
        panic!("an answer of another kind")
    };
    listening.holds(1).await;
    assert_eq!(listening.bring_home().await, [Verdict::Accepted as i32]);
    dialling.holds(1).await;
    listening.holds(0).await;
    assert!(listening.forget(vec![dialling.blobs()[0].name()]).await);
    dialling.holds(0).await;
    listening.tell_room(1, false).await;
    dialling
        .until("the notice", |desk| desk.relay.as_ref()?.capacity.filter(|room| room.free_bytes == 1))
        .await;
    dialling.cut().await;
    listening.until("the cut", |desk| desk.ended.iter().find(|end| **end == Closed::Cut).map(|_| ())).await;
}

#[tokio::test]
async fn it_acks_and_forgets_if_told_to() {
    let (peer, address) = peer(Conduct { offload: OnOffload::Forgetful, ..Conduct::default() }).await;
    let mut relay = Dialled::connect(address, &PeerKeys::generate(), &Options::default()).await;
    let blobs = [Blob::random(10)];
    let Body::OffloadAck(ack) = relay.ask(offload(&blobs)).await else { panic!("an answer of another kind") };
    assert_eq!(ack.verdicts, [Verdict::Accepted as i32]);
    let Body::RecallAck(ack) = relay.ask(recall(&blobs)).await else { panic!("an answer of another kind") };
    assert!(ack.blobs.is_empty() && ack.missing == [blobs[0].name()]);
    peer.behave(|conduct| conduct.offload = OnOffload::CutAfter);
    relay.send(&crate::peer::Message::new(7, offload(&blobs))).await;
    assert_eq!(relay.closed_with().await, Closed::Cut);
    peer.holds(1).await;
}

#[tokio::test]
async fn its_lies_about_blobs_are_lies() {
    let (peer, address) = peer(Conduct::default()).await;
    let mut relay = Dialled::connect(address, &PeerKeys::generate(), &Options::default()).await;
    let blob = Blob::random(10);
    relay.ask(offload(std::slice::from_ref(&blob))).await;
    for (lie, sound, named) in [
        (OnRecall::OtherContent, false, true),
        (OnRecall::OtherContentHashed, false, true),
        (OnRecall::Unasked, true, false),
        (OnRecall::OtherMailbox, true, false),
        (OnRecall::Everlasting, true, true),
    ] {
        peer.behave(|conduct| conduct.recall = lie);
        let Body::RecallAck(ack) = relay.ask(recall(std::slice::from_ref(&blob))).await else {
            panic!("an answer of another kind")
        };
        let [given] = &ack.blobs[..] else { panic!("one blob for {lie:?}") };
        assert_eq!((given.fault().is_none(), given.name() == blob.name()), (sound, named), "{lie:?}");
    }
    peer.behave(|conduct| conduct.forget = OnForget::Lie);
    let names = Names { names: vec![blob.name()] };
    relay.ask(Body::Forget(names)).await;
    peer.holds(1).await;
}

#[tokio::test]
#[should_panic(expected = "the relay broke a rule of the channel: a hash that does not fit the ciphertext")]
async fn a_bad_blob_of_a_relay_fails_the_test() {
    let (peer, address) = peer(Conduct::default()).await;
    let mut relay = Dialled::connect(address, &PeerKeys::generate(), &Options::default()).await;
    let blob = Blob { content_hash: random_bytes(32), ..Blob::random(10) };
    relay.send(&crate::peer::Message::new(1, offload(&[blob]))).await;
    peer.until("a violation", |_| None::<()>).await;
}
