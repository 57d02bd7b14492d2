//! Crash points of a move between two relays, on either side: whoever dies, and wherever, every blob that was
//! answered is with one of them at least, and is fetched through its origin.

use super::{Mail, SMALL};
use nix::sys::signal::Signal;
use relay_tests::cluster::Service;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::federation::Federation;
use relay_tests::fields::random_mailbox;
use relay_tests::procfs;
use relay_tests::strace::{SYNC_CALLS, Strace, in_sync};
use std::time::{Duration, Instant};

/// Longer than a round takes: whoever is to die is dead before it passes.
const BEFORE_SYNC: &str = "delay_enter=60000000";
const AFTER_SYNC: &str = "delay_exit=60000000";

/// Rounds of the long run.
const ROUNDS: usize = 500;

/// A relay of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Origin,
    Peer,
}

/// A process of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Store,
    Link,
    Gateway,
}

use Part::{Gateway, Link, Store};
use Side::{Origin, Peer};

/// Where in a move somebody dies: at a sync of a store, counted from the moment the move begins.
struct Point {
    name: &'static str,
    watched: Side,
    sync: usize,
    how: &'static str,
    victims: &'static [(Side, Part)],
}

const ALL_OF_ORIGIN: &[(Side, Part)] = &[(Origin, Store), (Origin, Link), (Origin, Gateway)];
const ALL_OF_PEER: &[(Side, Part)] = &[(Peer, Store), (Peer, Link), (Peer, Gateway)];

const POINTS: [Point; 14] = [
    point("the origin's store before it marks", Origin, 1, BEFORE_SYNC, &[(Origin, Store)]),
    point("the origin's store after it marked", Origin, 1, AFTER_SYNC, &[(Origin, Store)]),
    point("the origin's link after the mark", Origin, 1, AFTER_SYNC, &[(Origin, Link)]),
    point("the peer's store before its commit", Peer, 1, BEFORE_SYNC, &[(Peer, Store)]),
    point("the peer's store after its commit", Peer, 1, AFTER_SYNC, &[(Peer, Store)]),
    point("the peer's link after the commit, before the answer", Peer, 1, AFTER_SYNC, &[(Peer, Link)]),
    point("the origin's link while the peer commits", Peer, 1, BEFORE_SYNC, &[(Origin, Link)]),
    point("the origin's store before it deletes and hints", Origin, 2, BEFORE_SYNC, &[(Origin, Store)]),
    point("the origin's store after it deleted and hinted", Origin, 2, AFTER_SYNC, &[(Origin, Store)]),
    point("the origin's link before the deletion", Origin, 2, BEFORE_SYNC, &[(Origin, Link)]),
    point("all of the origin at the mark", Origin, 1, BEFORE_SYNC, ALL_OF_ORIGIN),
    point("all of the origin at the deletion", Origin, 2, AFTER_SYNC, ALL_OF_ORIGIN),
    point("all of the peer at its commit", Peer, 1, AFTER_SYNC, ALL_OF_PEER),
    point("both stores at the peer's commit", Peer, 1, AFTER_SYNC, &[(Origin, Store), (Peer, Store)]),
];

const fn point(
    name: &'static str,
    watched: Side,
    sync: usize,
    how: &'static str,
    victims: &'static [(Side, Part)],
) -> Point {
    Point { name, watched, sync, how, victims }
}

struct Rounds {
    federation: Federation,
    mail: Mail,
    mailbox: String,
}

impl Rounds {
    async fn start() -> Self {
        let federation = Federation::pair(&SMALL).await;
        Self { federation, mail: Mail::default(), mailbox: random_mailbox() }
    }

    fn service(&mut self, side: Side, part: Part) -> &mut Service {
        let relay = match side {
            Origin => &mut self.federation.relays[0],
            Peer => &mut self.federation.relays[1],
        };
        match part {
            Store => &mut relay.storaged,
            Link => relay.peer_link(),
            Gateway => &mut relay.gateways[0],
        }
    }

    /// Sends until the origin has to move mail, which it cannot do while its link is held.
    async fn press(&mut self) {
        let client = self.federation.relays[0].client();
        loop {
            self.mail.send(&client, &self.mailbox, 30_000).await;
            let metrics = self.federation.relays[0].storaged.ops.metrics().await;
            let fill = metrics.sum("relay_storage_live_bytes") / metrics.sum("relay_storage_ceiling_bytes");
            if fill > 0.06 {
                return;
            }
        }
    }

    /// What the peer has from an offer before costs it no sync when it is offered again: there has to be more.
    async fn press_until_in_sync(&mut self, peer: u32) {
        let began = Instant::now();
        let client = self.federation.relays[0].client();
        let is_in_sync = async || procfs::is_in_call(peer, &SYNC_CALLS).then_some(());
        while deadline::within(Duration::from_millis(500), is_in_sync).await.is_none() {
            assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for a sync of the peer");
            self.mail.send(&client, &self.mailbox, 30_000).await;
        }
    }

    async fn round(&mut self, point: &Point) {
        self.federation.connected().await;
        self.service(Origin, Link).signal(Signal::SIGSTOP);
        self.press().await;
        let watched = self.service(point.watched, Store).pid();
        let fault = Strace::bend_syncs(watched, &format!("{}:when={}+", point.how, point.sync)).await;
        self.service(Origin, Link).signal(Signal::SIGCONT);
        if point.watched == Peer {
            self.press_until_in_sync(watched).await;
        } else {
            in_sync(watched).await;
        }
        for (side, part) in point.victims {
            self.service(*side, *part).signal(Signal::SIGKILL);
        }
        drop(fault);
        for (side, part) in point.victims {
            self.service(*side, *part).kill();
        }
        for (side, part) in point.victims {
            self.service(*side, *part).spawn();
        }
        for (side, part) in point.victims {
            self.service(*side, *part).ready().await;
        }
        self.relieve().await;
    }

    /// Receives the older half of the mail once there is much.
    async fn relieve(&mut self) {
        if self.mail.0.len() < 100 {
            return;
        }
        let client = self.federation.relays[0].client();
        let mut wanted = self.mail.0.len() / 2;
        deadline::until("some of the mail", PATIENCE, async || {
            for blob in client.fetch(&[&self.mailbox]).await.page().blobs {
                let name = (self.mailbox.clone(), blob.id);
                let sent =
                    self.mail.0.remove(&name).unwrap_or_else(|| panic!("a blob came that is not awaited"));
                assert!(sent == blob.ciphertext, "a blob came torn");
                client.ack(&self.mailbox, &name.1).await.success();
                wanted = wanted.saturating_sub(1);
            }
            (wanted == 0).then_some(())
        })
        .await;
    }

    /// Everything is there, and then nothing is left anywhere.
    async fn finish(mut self) {
        self.federation.connected().await;
        let client = self.federation.relays[0].client();
        self.mail.receive_all(&client).await;
        self.federation.settled().await;
        for relay in &self.federation.relays {
            assert_eq!(relay.stored("relay_blobs_stored").await, 0);
        }
    }
}

#[tokio::test]
async fn a_move_that_is_cut_anywhere_costs_no_blob() {
    if !Strace::is_here() {
        return;
    }
    let mut rounds = Rounds::start().await;
    for point in &POINTS {
        eprintln!("{}", point.name);
        rounds.round(point).await;
    }
    rounds.finish().await;
}

/// The long run: `cargo test --test spec -- --ignored five_hundred`.
#[tokio::test]
#[ignore = "takes some ten minutes"]
async fn five_hundred_crashes_cost_no_blob() {
    if !Strace::is_here() {
        return;
    }
    let mut rounds = Rounds::start().await;
    for round in 0..ROUNDS {
        let point = &POINTS[round % POINTS.len()];
        if round % 25 == 0 {
            eprintln!("round {round}: {}, {} blobs under way", point.name, rounds.mail.0.len());
        }
        rounds.round(point).await;
    }
    rounds.finish().await;
}
