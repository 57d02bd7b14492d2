//! This peer and the one in another language, `interop/peer.py`, each against the other: where they agree, it is by
//! the text.

use crate::interop::{WaitingPeer, program, python_for_peers, run};
use crate::peer::message::{Names, Offload};
use crate::peer::{Blob, Body, Conduct, Dialled, InMemoryPeer, Options, PeerKeys, Verdict};
use serde_json::Value;

#[tokio::test]
async fn a_peer_of_another_make_is_served() {
    let Some(python) = python_for_peers() else { return };
    let conduct = Conduct { refuses_unsound: true, ..Conduct::default() };
    let peer = InMemoryPeer::listen(PeerKeys::generate(), conduct).await;
    let mut command = program(&python, "peer.py");
    command.arg(format!("{}#{}", peer.url(), peer.keys().pin()));
    let output = run(command).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["relay"]["identity"], peer.keys().identity_text());
    assert_eq!(
        (&said["offloaded"], &said["recalled"], &said["forgotten"]),
        (&4.into(), &4.into(), &4.into())
    );
    peer.holds(0).await;
}

#[tokio::test]
async fn a_peer_of_another_make_sees_a_deviation() {
    let Some(python) = python_for_peers() else { return };
    // It wants unsound blobs to be refused one by one, and this peer accepts none at all.
    let peer = InMemoryPeer::listen(PeerKeys::generate(), Conduct::default()).await;
    peer.behave(|conduct| conduct.offload = crate::peer::OnOffload::Say(Verdict::NotNow as i32));
    let mut command = program(&python, "peer.py");
    command.arg(peer.url());
    let output = run(command).await;
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said["what"], "Deviation: sound blobs are accepted: [3, 3, 3]");
}

#[tokio::test]
async fn a_peer_of_another_make_serves() {
    let Some(python) = python_for_peers() else { return };
    let mut other = WaitingPeer::start(&python, "/some/path");
    let listening = other.event("listening").await;
    let url = listening["url"].as_str().unwrap();
    let address = url.trim_start_matches("ws://").trim_end_matches("/some/path").parse().unwrap();
    let keys = PeerKeys::generate();
    let mut channel = Dialled::connect(address, &keys, &Options::at("/some/path")).await;
    let greeted = other.event("greeted").await;
    assert_eq!(greeted["relay"]["identity"], keys.identity_text());

    let hint = Blob { origin_hint: Some(Vec::new()), owner: Some(vec![9; 32]), ..Blob::random(70_000) };
    let blobs = vec![Blob::random(1), hint];
    let offload = Body::Offload(Offload { blobs: blobs.clone(), home: false });
    let Body::OffloadAck(ack) = channel.ask(offload).await else { panic!("an answer of another kind") };
    assert_eq!(ack.verdicts, [Verdict::Accepted as i32; 2]);
    let names = || Names { names: blobs.iter().map(Blob::name).collect() };
    let Body::RecallAck(ack) = channel.ask(Body::Recall(names())).await else {
        panic!("an answer of another kind")
    };
    assert!(ack.blobs == blobs && ack.missing.is_empty());
    let Body::ForgetAck(ack) = channel.ask(Body::Forget(names())).await else {
        panic!("an answer of another kind")
    };
    assert!(ack.done);
    let Body::RecallAck(ack) = channel.ask(Body::Recall(names())).await else {
        panic!("an answer of another kind")
    };
    assert!(ack.blobs.is_empty() && ack.missing == names().names);
    channel.close(4).await;
    assert_eq!(other.event("ended").await["reason"], 4);
}
