//! Two relays with a bad network between them: one dials, through a proxy that the test tells what to do.

use super::hinting::{checked, fetched};
use super::{Mail, SMALL, has_moved};
use relay_tests::Cluster;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fault_proxy::FaultProxy;
use relay_tests::federation::{Federation, peering};
use relay_tests::peer::{Body, Capacity, Listening, Message, Options, PeerKeys};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a peer may be silent here, in seconds.
const SILENCE: u64 = 2;

/// How the far relay says that clients reach it.
const FAR_URL: &str = "https://far.example";

/// A relay that dials through the proxy, and one that takes what comes.
struct Apart {
    between: FaultProxy,
    federation: Federation,
}

impl Apart {
    /// Two small relays that are connected.
    async fn start(variables: &[(&str, &str)]) -> Self {
        let builder = || {
            let all = SMALL.iter().chain(variables);
            let silence = peering(Cluster::builder()).variable("RELAY_FEDERATION_PEER_TIMEOUT", SILENCE);
            all.fold(silence, |builder, (name, value)| builder.variable(name, value)).federated()
        };
        let mut far = builder().variable("RELAY_PUBLIC_URL", FAR_URL).build();
        let between = FaultProxy::to(far.address());
        let dialled = format!("ws://{}", between.address());
        let near = builder().variable("RELAY_FEDERATION_PEERS", dialled).start().await;
        far.set("RELAY_FEDERATION_ACCEPT", identity(&near).await);
        far.start().await;
        let apart = Self { between, federation: Federation { relays: vec![near, far] } };
        apart.federation.connected().await;
        apart
    }

    fn near(&self) -> &Cluster {
        &self.federation.relays[0]
    }

    fn far(&self) -> &Cluster {
        &self.federation.relays[1]
    }

    /// Both have noticed that the other is away.
    async fn parted(&self) {
        self.near().has_peers(0).await;
        self.far().has_peers(0).await;
    }

    /// Nothing is wrong any more, and connections that came to grief are over.
    async fn heal(&self) {
        self.between.heal();
        self.between.cut();
        self.federation.connected().await;
    }

    /// Everything comes as it was sent, and then nothing is left anywhere.
    async fn finish(self, mut mail: Mail) {
        mail.receive_all(&self.near().client()).await;
        self.federation.settled().await;
        for relay in &self.federation.relays {
            assert_eq!(relay.stored("relay_blobs_stored").await, 0);
        }
    }
}

/// A relay's identity, as its operator is shown it.
async fn identity(relay: &Cluster) -> String {
    deadline::until("an identity", PATIENCE, async || {
        let said = relay.command(&["peers", "--json"]).finish().await;
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let told: Value = serde_json::from_str(&said.stdout).unwrap();
        told["identity"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn a_partition_costs_no_blob_and_heals() {
    let apart = Apart::start(&[]).await;
    let client = apart.near().client();
    let (mut mail, mut theirs) = (Mail::default(), Mail::default());
    let old = mail.fill(&client, 30, 50_000).await;
    has_moved(apart.near()).await;
    apart.between.refuse();
    apart.parted().await;

    // Each side serves its own as if nothing were.
    let mut fresh = Mail::default();
    fresh.fill(&client, 5, 1000).await;
    fresh.receive_all(&client).await;
    theirs.fill(&apart.far().client(), 5, 1000).await;
    theirs.receive_all(&apart.far().client()).await;
    let answer = deadline::until("hints", PATIENCE, async || {
        let answer = fetched(&client, &old).await;
        answer.get("forwarding_hints").is_some().then_some(answer)
    })
    .await;
    assert!(!checked(&answer["forwarding_hints"]).is_empty());
    // It takes mail as before, and keeps what it would have moved.
    mail.fill(&client, 10, 50_000).await;

    apart.heal().await;
    has_moved(apart.near()).await;
    apart.finish(mail).await;
}

#[tokio::test]
async fn a_half_open_peer_is_given_up_in_time_and_fetches_hint_meanwhile() {
    let apart =
        Apart::start(&[("RELAY_FEDERATION_PEER_TIMEOUT", "4"), ("RELAY_FEDERATION_RECALL_TIMEOUT", "500")])
            .await;
    let client = apart.near().client();
    let mut mail = Mail::default();
    let old = mail.fill(&client, 30, 50_000).await;
    has_moved(apart.near()).await;
    let fresh = mail.fill(&client, 1, 100).await;
    let recalled = apart.far().stored("relay_federation_held_blobs").await;

    apart.between.hang();
    let hung = Instant::now();
    let answer = fetched(&client, &fresh).await;
    assert!(answer.get("forwarding_hints").is_none() && answer["blobs"].as_array().unwrap().len() == 1);
    let answer = fetched(&client, &old).await;
    // Both answers came while the relay still took its peer for present: neither waited for it to be given up.
    apart.near().has_peers(1).await;
    let hints = &answer["forwarding_hints"];
    let ids = checked(hints);
    assert!(!ids.is_empty() && ids.iter().all(|id| mail.0.contains_key(&(old.clone(), id.clone()))));
    assert!(hints["hints"].as_array().unwrap().iter().all(|hint| hint["relay_url"] == *FAR_URL));

    apart.parted().await;
    assert!(hung.elapsed() < Duration::from_secs(12), "given up after {:?}", hung.elapsed());
    assert!(fetched(&client, &old).await.get("forwarding_hints").is_some());
    assert_eq!(apart.far().stored("relay_federation_held_blobs").await, recalled, "it keeps what it holds");
    apart.heal().await;
    apart.finish(mail).await;
}

/// A move over connections that break after as many bytes as a seed says.
async fn cut_and_taken_up(seed: u64) {
    let apart = Apart::start(&[]).await;
    // More than a greeting takes. Two connections together carry less than what is to move.
    apart.between.cut_each(seed, 60_000..500_000);
    apart.between.cut();
    let client = apart.near().client();
    let mut mail = Mail::default();
    mail.fill(&client, 40, 50_000).await;
    deadline::until("cuts", PATIENCE, async || (apart.between.cuts() >= 2).then_some(())).await;
    apart.heal().await;
    has_moved(apart.near()).await;
    apart.finish(mail).await;
    eprintln!("seed {seed}: all there");
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_move_is_taken_up_again() {
    tokio::join!(cut_and_taken_up(1), cut_and_taken_up(2), cut_and_taken_up(3));
}

#[tokio::test]
async fn acks_made_during_a_partition_reach_the_peer_afterwards() {
    let faults: [fn(&FaultProxy); 2] = [FaultProxy::refuse, FaultProxy::hang];
    for fault in faults {
        let apart = Apart::start(&[]).await;
        let client = apart.near().client();
        let mut mail = Mail::default();
        mail.fill(&client, 30, 50_000).await;
        let moved = has_moved(apart.near()).await;
        fault(&apart.between);
        for (mailbox, id) in mail.0.keys() {
            assert!(client.ack(mailbox, id).await.acknowledged());
        }
        apart.parted().await;
        assert_eq!(apart.near().stored("relay_blobs_stored").await, 0);
        assert_eq!(apart.near().stored("relay_federation_outbox_entries").await, moved);
        assert_eq!(apart.far().stored("relay_federation_held_blobs").await, moved);
        apart.heal().await;
        apart.finish(Mail::default()).await;
    }
}

#[tokio::test]
async fn a_slow_peer_does_not_slow_local_mail() {
    let apart = Apart::start(&[("RELAY_FEDERATION_PEER_TIMEOUT", "30")]).await;
    let client = apart.near().client();
    let mut mail = Mail::default();
    apart.between.limit(20_000);
    mail.fill(&client, 40, 50_000).await;
    let before = apart.between.passed();
    deadline::until("a move", PATIENCE, async || (apart.between.passed() > before + 20_000).then_some(()))
        .await;
    for _ in 0..20 {
        let mut local = Mail::default();
        local.fill(&client, 2, 1000).await;
        local.receive_all(&client).await;
    }
    // All of that while mail was moving: of more than a million bytes that are too many here, few have passed.
    assert!(apart.between.passed() < before + 1_000_000, "the move is over");
    apart.near().has_peers(1).await;
    apart.between.heal();
    has_moved(apart.near()).await;
    apart.finish(mail).await;
}

/// Bytes a second of a line on which the largest message would take longer than a peer may be silent.
const SLOW_LINE: u32 = 200_000;

#[tokio::test]
async fn a_slow_line_carries_what_it_can_and_costs_no_memory() {
    let apart = Apart::start(&[]).await;
    apart.between.limit(SLOW_LINE);
    let mut mail = Mail::default();
    mail.fill(&apart.near().client(), 60, 50_000).await;
    let moved = has_moved(apart.near()).await;
    // What the peer has was settled: nothing was sent in vain, again and again.
    let held = apart.far().stored("relay_federation_held_blobs").await;
    assert!(held < moved + 8, "{held} blobs are there and {moved} are known to be");
    let federated = apart.near().federated.as_ref().unwrap();
    let resident = federated.process().resident_bytes() >> 20;
    assert!(resident < 64, "{resident} MiB");
    apart.heal().await;
    apart.finish(mail).await;
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_given_up_whatever_signs_of_life_it_gives() {
    let keys = PeerKeys::generate();
    let mut listening = Listening::start(keys).await;
    let builder =
        SMALL.iter().fold(Cluster::builder(), |builder, (name, value)| builder.variable(name, value));
    let relay = peering(builder)
        .federated()
        .variable("RELAY_FEDERATION_PEERS", listening.url())
        .variable("RELAY_FEDERATION_PEER_TIMEOUT", SILENCE)
        .start()
        .await;
    listening.greet(Options { receive_buffer: Some(4096), ..Options::room(1 << 30, true) });
    // Connections before this one were greeted as usual.
    drop(listening.accept().await);
    let mut channel = listening.accept().await;
    relay.has_peers(1).await;
    let mut mail = Mail::default();
    mail.fill(&relay.client(), 200, 50_000).await;
    // It speaks, and reads nothing.
    let room = Message::new(0, Body::Capacity(Capacity { free_bytes: 1 << 30, accepting: true }));
    let given_up = async || {
        channel.send(&room).await;
        let connected = relay.peering_metrics().await.sum("relay_federation_peers_connected");
        (connected == 0.0).then_some(())
    };
    deadline::until("to be given up", PATIENCE, given_up).await;
    mail.receive_all(&relay.client()).await;
}
