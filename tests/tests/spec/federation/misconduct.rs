//! Peers that break the rules, lie, or say nothing: what they do costs them their connection, and the relay nothing
//! that it has.

use super::{Mail, SMALL, has_moved};
use relay_tests::Cluster;
use relay_tests::cluster::Builder;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::federation::peering;
use relay_tests::fields::random_mailbox;
use relay_tests::honest::address;
use relay_tests::peer::{
    Blob, Body, Closed, Conduct, Dialled, InMemoryPeer, Listening, Misdeed, OnForget, OnOffload, OnRecall,
    Options, PeerKeys,
};
use relay_tests::procfs;

/// What the wire says for the three verdicts.
const ACCEPTED: i32 = 1;
const REFUSED: i32 = 2;
const NOT_NOW: i32 = 3;

/// A relay that takes connections of some peers.
async fn accepting(keys: &[&PeerKeys], builder: Builder) -> Cluster {
    let identities: Vec<String> = keys.iter().map(|keys| keys.identity_text()).collect();
    peering(builder).federated().variable("RELAY_FEDERATION_ACCEPT", identities.join(",")).start().await
}

/// A relay that dials some peers, and is soon too full.
async fn dialling(peers: &[&InMemoryPeer]) -> Cluster {
    let urls: Vec<&str> = peers.iter().map(|peer| peer.url()).collect();
    let builder = SMALL.into_iter().fold(Cluster::builder(), |all, (name, value)| all.variable(name, value));
    let relay = peering(builder)
        .federated()
        .variable("RELAY_FEDERATION_PEERS", urls.join(","))
        .variable("RELAY_FEDERATION_PEER_TIMEOUT", "1")
        .start()
        .await;
    relay.has_peers(peers.len()).await;
    relay
}

/// The relay goes on: a client's mail goes in and out, and a peer that behaves is welcome.
async fn is_unharmed(relay: &Cluster) {
    let client = relay.client();
    let mut mail = Mail::default();
    mail.fill(&client, 1, 1000).await;
    mail.receive_all(&client).await;
}

fn offload(blobs: Vec<Blob>) -> Body {
    Body::Offload(relay_tests::peer::message::Offload { blobs, home: false })
}

fn names(blobs: &[Blob]) -> relay_tests::peer::message::Names {
    relay_tests::peer::message::Names { names: blobs.iter().map(Blob::name).collect() }
}

async fn verdicts(channel: &mut relay_tests::peer::Channel, blobs: Vec<Blob>) -> Vec<i32> {
    match channel.ask(offload(blobs)).await {
        Body::OffloadAck(ack) => ack.verdicts,
        other => panic!("no verdicts: {other:?}"),
    }
}

#[tokio::test]
async fn every_break_of_the_rules_ends_the_connection_and_nothing_else() {
    let keys = PeerKeys::generate();
    let relay = accepting(&[&keys], Cluster::builder()).await;
    // A WebSocket message in fragments is no fault of whoever sent it: a proxy may have cut it.
    for misdeed in Misdeed::ALL.into_iter().filter(|misdeed| *misdeed != Misdeed::Fragmented) {
        let mut channel = Dialled::connect(relay.address(), &keys, &Options::default()).await;
        misdeed.commit(&mut channel).await;
        let ended = channel.closed_with().await.lawful();
        assert!(matches!(ended, Closed::BROKEN | Closed::Cut), "{misdeed:?}: {ended:?}");
        relay.has_peers(0).await;
    }
    let mut sound = Dialled::connect(relay.address(), &keys, &Options::default()).await;
    assert_eq!(verdicts(&mut sound, vec![Blob::random(1000)]).await, [ACCEPTED]);
    is_unharmed(&relay).await;
    assert_eq!(relay.peering_metrics().await.sum("relay_panics_total"), 0.0);
}

#[tokio::test]
async fn a_message_takes_no_more_memory_than_its_bytes_whatever_it_names() {
    let keys = PeerKeys::generate();
    let relay = accepting(&[&keys], Cluster::builder()).await;
    let federated = relay.federated.as_ref().unwrap().pid();
    for misdeed in Misdeed::INFLATED {
        let mut channel = Dialled::connect(relay.address(), &keys, &Options::default()).await;
        misdeed.commit(&mut channel).await;
        let ended = channel.closed_with().await.lawful();
        assert!(matches!(ended, Closed::BROKEN | Closed::Cut), "{misdeed:?}: {ended:?}");
        let peak = procfs::peak_bytes(federated).unwrap() >> 20;
        eprintln!("{misdeed:?}: {peak} MiB");
        assert!(peak <= 64, "{misdeed:?}: {peak} MiB");
    }
    is_unharmed(&relay).await;
}

#[tokio::test]
async fn a_peer_that_was_dialled_and_breaks_the_rules_is_left() {
    let keys = PeerKeys::generate();
    let mut listening = Listening::start(keys).await;
    let relay = peering(Cluster::builder())
        .federated()
        .variable("RELAY_FEDERATION_PEERS", listening.url())
        .start()
        .await;
    // Each costs a longer pause, so a few stand for all.
    for misdeed in [Misdeed::TurnedBit, Misdeed::Text, Misdeed::HugeTotal] {
        let mut channel = listening.accept().await;
        misdeed.commit(&mut channel).await;
        let ended = channel.closed_with().await.lawful();
        assert!(matches!(ended, Closed::BROKEN | Closed::Cut), "{misdeed:?}: {ended:?}");
        relay.has_peers(0).await;
    }
    let _channel = listening.accept().await;
    relay.has_peers(1).await;
    is_unharmed(&relay).await;
}

#[tokio::test]
async fn whoever_does_not_prove_itself_is_no_peer() {
    let keys = PeerKeys::generate();
    let relay = accepting(&[&keys], Cluster::builder()).await;
    for (how, options) in Options::wrong() {
        let met = match Dialled::attempt(relay.address(), &keys, &options).await {
            Ok(mut channel) => Err(channel.closed_with().await),
            Err(closed) => Err::<(), _>(closed),
        };
        let closed = met.unwrap_err().lawful();
        assert!(matches!(closed, Closed::Cut | Closed::BROKEN), "{how}: {closed:?}");
    }
    let stranger = PeerKeys::generate();
    let mut channel = Dialled::connect(relay.address(), &stranger, &Options::default()).await;
    assert_eq!(channel.closed_with().await, Closed::NOT_ACCEPTED);
    let metrics = relay.peering_metrics().await;
    assert_eq!(metrics.sum("relay_federation_peers_connected"), 0.0);
    let refused = metrics.sum("relay_federation_handshakes_refused_total") as usize;
    assert_eq!(refused, Options::wrong().len() + 1);
}

#[tokio::test]
async fn what_a_peer_said_once_proves_nothing_when_somebody_says_it_again() {
    let keys = PeerKeys::generate();
    let relay = accepting(&[&keys], Cluster::builder()).await;
    let channel = Dialled::connect(relay.address(), &keys, &Options::default()).await;
    relay.has_peers(1).await;
    let recording = channel.recording.clone();
    channel.cut().await;
    relay.has_peers(0).await;
    let closed = Dialled::replay(relay.address(), &recording, &Options::default()).await;
    assert_eq!(closed, Closed::Cut);
    relay.has_peers(0).await;
}

#[tokio::test]
async fn a_responder_that_does_not_prove_itself_is_not_trusted_with_mail() {
    let listening = Listening::start(PeerKeys::generate()).await;
    let mut listening = listening;
    let relay = peering(Cluster::builder())
        .federated()
        .variable("RELAY_FEDERATION_PEERS", listening.pinned_url())
        .start()
        .await;
    let wrong: Vec<_> =
        Options::wrong().into_iter().filter(|(how, _)| !how.contains("turned bit")).take(4).collect();
    for (how, options) in wrong {
        listening.greet(options);
        let met = listening.attempt().await;
        if let Ok(mut channel) = met {
            let closed = channel.closed_with().await.lawful();
            assert!(matches!(closed, Closed::Cut | Closed::BROKEN), "{how}: {closed:?}");
        }
        relay.has_peers(0).await;
    }
    is_unharmed(&relay).await;
}

#[tokio::test]
async fn those_who_keep_the_door_busy_are_bounded() {
    let keys = PeerKeys::generate();
    let relay = accepting(&[&keys], Cluster::builder()).await;
    let mut halves = Vec::new();
    let refused = loop {
        match Dialled::half(relay.address(), &Options::default()).await {
            Ok(half) => halves.push(half),
            Err(closed) => break closed,
        }
        assert!(halves.len() <= 8, "more tunnels than one address has");
    };
    assert_eq!((refused, halves.len()), (Closed::Refused(503), 8));
    // Others get in, and those who have waited longest give way.
    for number in 1..=2 {
        for _ in 0..8 {
            let options = Options { source: Some(address(number)), ..Options::default() };
            halves.push(Dialled::half(relay.address(), &options).await.unwrap());
        }
    }
    for half in &mut halves[..8] {
        deadline::soon("the end of the longest wait", async { while half.reader.binary().await.is_ok() {} })
            .await;
    }
    // The rest have five seconds; meanwhile a peer gets in.
    deadline::until("room for one more arrival", PATIENCE, async || {
        Dialled::attempt(relay.address(), &keys, &Options::default()).await.ok()
    })
    .await;
    is_unharmed(&relay).await;
}

#[tokio::test]
async fn blobs_that_are_not_what_they_should_be_are_refused_one_by_one() {
    let keys = PeerKeys::generate();
    let relay = accepting(&[&keys], Cluster::builder()).await;
    let mut channel = Dialled::connect(relay.address(), &keys, &Options::default()).await;
    let changed = |change: fn(&mut Blob)| {
        let mut blob = Blob::random(500);
        change(&mut blob);
        blob
    };
    let blobs = vec![
        changed(|_| {}),
        changed(|blob| blob.content_hash[0] ^= 1),
        changed(|blob| blob.blob_id[0] ^= 1),
        changed(|blob| blob.ciphertext[0] ^= 1),
        changed(|blob| blob.hop_count = 0),
        changed(|blob| blob.hop_count = 2),
        changed(|blob| blob.expires_at = 1),
        changed(|blob| blob.expires_at += 1000 * 86_400),
        changed(|blob| blob.created_at = u64::MAX),
    ];
    let said = verdicts(&mut channel, blobs.clone()).await;
    assert_eq!(said, [ACCEPTED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, ACCEPTED]);
    let again = verdicts(&mut channel, blobs[..1].to_vec()).await;
    assert_eq!((again, relay.stored("relay_blobs_stored").await), (vec![ACCEPTED], 2));

    // It gets back what it brought, and a time that it made up was bent to what may be.
    let Body::RecallAck(found) = channel.ask(Body::Recall(names(&blobs))).await else { panic!("no blobs") };
    assert_eq!((found.blobs.len(), found.missing.len()), (2, 7));
    assert!(found.blobs.iter().all(|blob| blob.created_at <= deadline::unix_now() && blob.fault().is_none()));
}

#[tokio::test]
async fn a_peer_has_a_hand_on_its_own_mail_only() {
    let [one, other] = [PeerKeys::generate(), PeerKeys::generate()];
    let relay = accepting(&[&one, &other], Cluster::builder()).await;
    let mut owner = Dialled::connect(relay.address(), &one, &Options::default()).await;
    let mut thief = Dialled::connect(relay.address(), &other, &Options::default()).await;
    let blobs = vec![Blob::random(500), Blob::random(600)];
    assert_eq!(verdicts(&mut owner, blobs.clone()).await, [ACCEPTED, ACCEPTED]);
    // Mail of the relay's own clients is nobody's to fetch or forget.
    let client = relay.client();
    let mut mail = Mail::default();
    mail.fill(&client, 1, 100).await;

    let Body::RecallAck(found) = thief.ask(Body::Recall(names(&blobs))).await else { panic!("no answer") };
    assert_eq!((found.blobs.len(), found.missing.len()), (0, 2));
    assert!(matches!(thief.ask(Body::Forget(names(&blobs))).await, Body::ForgetAck(ack) if ack.done));
    assert_eq!(verdicts(&mut thief, blobs.clone()).await, [REFUSED, REFUSED], "it is another's to bring");
    assert_eq!(relay.stored("relay_blobs_stored").await, 3);

    assert!(matches!(owner.ask(Body::Forget(names(&blobs))).await, Body::ForgetAck(ack) if ack.done));
    assert_eq!(relay.stored("relay_blobs_stored").await, 1);
    assert_eq!(
        verdicts(&mut owner, blobs).await,
        [REFUSED, REFUSED],
        "a late copy of what is to be forgotten"
    );
    mail.receive_all(&client).await;
}

#[tokio::test]
async fn a_flood_is_answered_without_a_look_and_costs_others_nothing() {
    let [loud, quiet] = [PeerKeys::generate(), PeerKeys::generate()];
    let builder = Cluster::builder().variable("RELAY_FEDERATION_RATE_LIMIT", "20");
    let relay = accepting(&[&loud, &quiet], builder).await;
    let mut channel = Dialled::connect(relay.address(), &loud, &Options::default()).await;
    let answers = channel.ask_all((0..100).map(|_| offload(vec![Blob::random(100)])).collect()).await;
    let accepted =
        answers.iter().filter(|answer| matches!(answer, Body::OffloadAck(ack) if ack.verdicts == [ACCEPTED]));
    let accepted = accepted.count();
    assert!((20..40).contains(&accepted), "{accepted}");
    let refused =
        answers.iter().filter(|answer| matches!(answer, Body::OffloadAck(ack) if ack.verdicts == [NOT_NOW]));
    assert_eq!(refused.count(), 100 - accepted);
    let metrics = relay.peering_metrics().await;
    assert_eq!(metrics.sum("relay_federation_rate_limited_total"), (100 - accepted) as f64);
    let mut other = Dialled::connect(relay.address(), &quiet, &Options::default()).await;
    assert_eq!(verdicts(&mut other, vec![Blob::random(100)]).await, [ACCEPTED]);
    is_unharmed(&relay).await;
}

#[tokio::test]
async fn a_peer_has_only_so_many_connections() {
    let keys = PeerKeys::generate();
    let relay = accepting(&[&keys], Cluster::builder()).await;
    let mut channels = Vec::new();
    for _ in 0..4 {
        let mut channel = Dialled::connect(relay.address(), &keys, &Options::default()).await;
        assert_eq!(verdicts(&mut channel, vec![Blob::random(10)]).await, [ACCEPTED]);
        channels.push(channel);
    }
    let mut fifth = Dialled::connect(relay.address(), &keys, &Options::default()).await;
    assert_eq!(fifth.closed_with().await, Closed::TOO_MUCH);
    relay.has_peers(1).await;
}

#[tokio::test]
async fn whatever_a_peer_says_to_an_offer_costs_no_blob() {
    use OnOffload::{AnotherKind, AnotherNumber, CutAfter, CutBefore, EverySecond, Silent, TooFew, TooMany};
    for conduct in [
        Silent,
        OnOffload::KeepSilently,
        EverySecond,
        TooFew,
        TooMany,
        AnotherNumber,
        OnOffload::Twice,
        AnotherKind,
        CutBefore,
        CutAfter,
        OnOffload::Say(0),
        OnOffload::Say(REFUSED),
        OnOffload::Say(NOT_NOW),
        OnOffload::Say(9),
    ] {
        let peer =
            InMemoryPeer::listen(PeerKeys::generate(), Conduct { offload: conduct, ..Conduct::default() })
                .await;
        let relay = dialling(&[&peer]).await;
        let client = relay.client();
        let mut mail = Mail::default();
        mail.fill(&client, 24, 50_000).await;
        // It has been asked once at least.
        peer.until("an offer", |desk| {
            desk.heard.iter().any(|heard| matches!(heard.body, Some(Body::Offload(_)))).then_some(())
        })
        .await;
        mail.receive_all(&client).await;
        eprintln!("{conduct:?}: all there");
    }
}

#[tokio::test]
async fn a_peer_that_lies_about_its_room_is_left_for_another() {
    let liar = Conduct { offload: OnOffload::Say(NOT_NOW), ..Conduct::default() };
    let liar = InMemoryPeer::listen(PeerKeys::generate(), liar).await;
    let honest = InMemoryPeer::listen(PeerKeys::generate(), Conduct::default()).await;
    let relay = dialling(&[&liar, &honest]).await;
    liar.tell_room(u64::MAX, true).await;
    honest.tell_room(50_000_000, true).await;
    let client = relay.client();
    let mut mail = Mail::default();
    mail.fill(&client, 30, 50_000).await;
    let moved = has_moved(&relay).await;
    assert_eq!(honest.blobs().len() as u64, moved);
    mail.receive_all(&client).await;
    honest.holds(0).await;
}

#[tokio::test]
async fn whatever_a_peer_gives_back_no_client_sees_what_was_not_sent() {
    use OnRecall::{
        Cut, Everlasting, Nothing, OneMore, OtherContent, OtherContentHashed, OtherMailbox, Silent, Unasked,
    };
    let peer = InMemoryPeer::listen(PeerKeys::generate(), Conduct::default()).await;
    let relay = dialling(&[&peer]).await;
    let client = relay.client();
    let mut mail = Mail::default();
    let old = mail.fill(&client, 30, 50_000).await;
    has_moved(&relay).await;
    let fresh = random_mailbox();
    let local = mail.send(&client, &fresh, 100).await;
    for conduct in [
        Silent,
        Nothing,
        OtherContent,
        OtherContentHashed,
        Unasked,
        OneMore,
        OtherMailbox,
        OnRecall::Twice,
        OnRecall::Expired,
        Everlasting,
        OnRecall::Both,
        Cut,
    ] {
        peer.behave(|behaviour| behaviour.recall = conduct);
        for blob in client.fetch(&[&old, &fresh]).await.page().blobs {
            let sent = mail.0.get(&(blob.mailbox_token.clone(), blob.id.clone()));
            assert_eq!(sent, Some(&blob.ciphertext), "{conduct:?}");
        }
        // What lies here is there whatever the peer does.
        assert_eq!(client.fetch(&[&fresh]).await.page().ids(), [&local], "{conduct:?}");
    }
    peer.behave(|behaviour| behaviour.recall = OnRecall::Give);
    mail.receive_all(&client).await;
    peer.holds(0).await;
}

#[tokio::test]
async fn what_a_peer_lost_is_counted_and_keeps_no_client_from_the_rest() {
    let conduct = Conduct { offload: OnOffload::Forgetful, ..Conduct::default() };
    let peer = InMemoryPeer::listen(PeerKeys::generate(), conduct).await;
    let relay = dialling(&[&peer]).await;
    let client = relay.client();
    let mut mail = Mail::default();
    let mailbox = mail.fill(&client, 30, 50_000).await;
    let moved = has_moved(&relay).await;
    let (mut received, mut rounds) = (0, 0);
    while relay.stored("relay_federation_hints_active").await > 0 || received < 30 - moved {
        for blob in client.fetch(&[&mailbox]).await.page().blobs {
            assert!(client.ack(&mailbox, &blob.id).await.acknowledged());
            received += 1;
        }
        rounds += 1;
        assert!(rounds < 200, "it does not come to an end");
    }
    assert_eq!(received, 30 - moved);
    assert_eq!(relay.stored("relay_federation_hints_missing_total").await, moved);
}

#[tokio::test]
async fn a_peer_that_does_not_forget_hears_it_until_it_says_so() {
    let conduct = Conduct { forget: OnForget::NotDone, ..Conduct::default() };
    let peer = InMemoryPeer::listen(PeerKeys::generate(), conduct).await;
    let relay = dialling(&[&peer]).await;
    let client = relay.client();
    let mut mail = Mail::default();
    mail.fill(&client, 30, 50_000).await;
    let moved = has_moved(&relay).await;
    mail.receive_all(&client).await;
    for conduct in [OnForget::Silent, OnForget::CutAfter] {
        peer.behave(|behaviour| behaviour.forget = conduct);
        let heard = |desk: &mut relay_tests::peer::memory::Desk| {
            desk.heard.iter().filter(|heard| matches!(heard.body, Some(Body::Forget(_)))).count()
        };
        let before = peer.look(heard);
        peer.until("to be told again", |desk| (heard(desk) > before).then_some(())).await;
        assert_eq!(relay.stored("relay_federation_outbox_entries").await, moved, "it is not told yet");
    }
    peer.behave(|behaviour| behaviour.forget = OnForget::Do);
    deadline::until("all of it to be told", PATIENCE, async || {
        (relay.stored("relay_federation_outbox_entries").await == 0).then_some(())
    })
    .await;
}
