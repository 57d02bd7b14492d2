//! Keys for Oblivious HTTP: turned in time, durable before they are shown, signed, and gone when they are over.

use crate::config::KeySettings;
use crate::ohttp_keys::keyring::Keyring;
use crate::tests::*;
use ed25519_dalek::SigningKey;
use relay_daemon::Exit;
use relay_proto::Commitment;
use relay_proto::anchor::file::{AnchorFile, INTERMEDIATE_FILE, PUBLIC_FILE};
use relay_proto::anchor::{Certificate, Rollover};
use relay_proto::key_record::KeyRecord;
use relay_proto::keys::DAY_SECS;
use relay_proto::messages::KeySet;
use std::path::PathBuf;

/// Noon of a day.
const NOON: UnixSeconds = UnixSeconds::new(20_000 * DAY_SECS + DAY_SECS / 2);

async fn keyring(relay: &Relay, window_secs: u64, anchor: Option<PathBuf>) -> Keyring {
    let config = KeySettings { window_secs, anchor };
    Keyring::open(Arc::clone(&relay.store), config, Arc::clone(&relay.time), relay.metrics.clone())
        .await
        .unwrap()
}

async fn at_noon() -> Relay {
    Relay::open(tempfile::tempdir().unwrap(), ManualClock::at(NOON), &[])
}

fn numbers(set: &KeySet) -> Vec<u64> {
    set.windows.iter().map(|window| window.number).collect()
}

#[tokio::test]
async fn there_is_a_key_for_now_and_one_for_next_and_the_last_one_stays_for_a_window() {
    let relay = at_noon().await;
    let ring = keyring(&relay, DAY_SECS, None).await;
    let first = ring.current().await.unwrap();
    assert_eq!(numbers(&first), [20_000, 20_001], "nobody ever held a key of yesterday");
    relay.clock.advance(DAY);
    let second = ring.current().await.unwrap();
    assert_eq!(numbers(&second), [20_000, 20_001, 20_002]);
    assert_eq!(second.windows[..2], first.windows[..]);
    relay.clock.advance(DAY);
    assert_eq!(numbers(&ring.current().await.unwrap()), [20_001, 20_002, 20_003]);
}

#[tokio::test]
async fn a_restart_changes_no_byte_of_what_clients_hold_or_see() {
    let relay = at_noon().await;
    let before = keyring(&relay, DAY_SECS, None).await.current().await.unwrap();
    relay.clock.advance(DAY);
    let ring = keyring(&relay, DAY_SECS, None).await;
    let shown = ring.current().await.unwrap();
    drop(ring);
    let relay = relay.restart(&[]).await;
    let after = keyring(&relay, DAY_SECS, None).await.current().await.unwrap();
    assert_eq!(after, shown);
    assert!(before.windows.iter().all(|window| after.windows.contains(window)));
    let record = |set: &KeySet| set.records.iter().find(|record| record.window == 20_001).cloned();
    assert_eq!(record(&before), record(&after), "signed once, shown for ever after");
}

#[tokio::test]
async fn a_seed_that_is_over_is_in_no_file() {
    let relay = at_noon().await;
    let ring = keyring(&relay, DAY_SECS, None).await;
    let seed = ring.current().await.unwrap().windows.swap_remove(0).seed;
    relay.store.check().await.unwrap();
    let files = || {
        ["relay.db", "relay.db-wal"]
            .map(|name| relay.directory.path().join(name))
            .into_iter()
            .filter(|path| holds(path, &seed))
            .count()
    };
    assert!(files() > 0, "the search finds what is there");
    relay.clock.jump_to(NOON.plus(2 * DAY_SECS));
    ring.current().await.unwrap();
    assert!(files() > 0, "a clock that jumped erases nothing");
    relay.clock.jump_to(NOON);
    relay.clock.advance(2 * DAY);
    ring.current().await.unwrap();
    assert_eq!(files(), 0);
}

#[tokio::test]
async fn the_record_of_every_moment_is_of_its_window_and_key_and_vouched_for() {
    let relay = at_noon().await;
    for window_secs in [DAY_SECS, 10, 7 * 3600, 3 * DAY_SECS] {
        let ring = keyring(&relay, window_secs, None).await;
        let anchor = PublicKey::try_from(&ring.status().unwrap().anchor[..]).unwrap();
        let start = relay.clock.clock().now();
        for step in 0..40 {
            let now = start.plus(step * window_secs.min(DAY_SECS) / 3);
            relay.clock.jump_to(now);
            let set = ring.current().await.unwrap();
            let record = set.record_at(now).unwrap();
            let parsed = KeyRecord::parse(&record.record).unwrap();
            // A client counts in days, so it takes those of whole days only.
            let number = set.window_at(now);
            let believed = parsed.verify_in_window(&anchor, now, number);
            assert_eq!(believed, Ok(()), "window {window_secs}, step {step}");
            assert_eq!(parsed.verify(&anchor, now).is_ok(), number == now.get() / DAY_SECS);
            assert_eq!(u64::from(parsed.config[0]), parsed.day % 256);
            let window = set.windows.iter().find(|window| window.number == set.window_at(now)).unwrap();
            assert_eq!(parsed.config, window.encoded_config().unwrap());
        }
    }
}

#[tokio::test]
async fn the_relays_own_certificate_is_renewed_before_it_ends_and_its_anchor_stays() {
    let relay = at_noon().await;
    let ring = keyring(&relay, DAY_SECS, None).await;
    let first = ring.status().unwrap();
    assert!(first.self_anchored && first.commitment.is_empty() && first.problem.is_empty());
    for _ in 0..20 {
        relay.clock.advance(20 * DAY);
        ring.current().await.unwrap();
        let status = ring.status().unwrap();
        assert_eq!(status.anchor, first.anchor);
        assert!(
            status.certificates.last().unwrap().not_after
                > relay.clock.clock().now().plus(30 * DAY_SECS - 3600).get()
        );
        assert!(status.certificates.len() <= 3);
    }
}

#[tokio::test]
async fn another_length_of_windows_begins_with_other_keys() {
    let relay = at_noon().await;
    let days = keyring(&relay, DAY_SECS, None).await.current().await.unwrap();
    let short = keyring(&relay, 10, None).await.current().await.unwrap();
    assert_eq!((short.window_secs, short.refresh_secs), (10, 1));
    assert!(days.windows.iter().all(|window| !short.windows.contains(window)));
    let again = keyring(&relay, DAY_SECS, None).await.current().await.unwrap();
    assert_ne!(again.windows, days.windows);
}

/// An operator's offline anchor, with the files that go to the relay.
struct Offline {
    directory: TempDir,
    anchor: SigningKey,
    intermediate: SigningKey,
}

impl Offline {
    fn new(not_after: UnixSeconds) -> Self {
        let this = Self { directory: tempfile::tempdir().unwrap(), anchor: key(1), intermediate: key(2) };
        this.certify(not_after);
        this
    }

    fn certify(&self, not_after: UnixSeconds) {
        let certificate =
            Certificate::issue(&self.anchor, &public(&self.intermediate), NOON.minus(3600), not_after);
        let commitment = Commitment::to(&public(&key(3)));
        let file = AnchorFile {
            anchor: public(&self.anchor),
            commitment,
            certificates: vec![certificate],
            rollovers: vec![Rollover::issue(&self.anchor, commitment)],
        };
        std::fs::write(self.path(PUBLIC_FILE), file.write().unwrap()).unwrap();
        let seed = hex::encode(self.intermediate.to_bytes()) + "\n";
        std::fs::write(self.path(INTERMEDIATE_FILE), seed).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

#[tokio::test]
async fn an_offline_anchor_vouches_and_when_its_certificate_ends_nothing_stands_in() {
    let relay = at_noon().await;
    let own = keyring(&relay, DAY_SECS, None).await.current().await.unwrap();
    let offline = Offline::new(NOON.plus(10));
    let ring = keyring(&relay, DAY_SECS, Some(offline.directory.path().to_owned())).await;
    let set = ring.current().await.unwrap();
    assert_eq!(set.windows, own.windows, "the keys are the same, who vouches for them is not");
    let record = KeyRecord::parse(&set.record_at(NOON).unwrap().record).unwrap();
    assert_eq!(record.verify(&public(&offline.anchor), NOON), Ok(()));
    assert_eq!(set.rollovers.len(), 1 + Rollover::LENGTH);
    let status = ring.status().unwrap();
    assert!(!status.self_anchored && !status.commitment.is_empty());

    relay.clock.jump_to(NOON.plus(10));
    let ring = keyring(&relay, DAY_SECS, Some(offline.directory.path().to_owned())).await;
    assert!(ring.current().await.unwrap().record_at(NOON.plus(10)).is_none());
    assert!(ring.status().unwrap().problem.contains("relay anchor certify"));
    offline.certify(NOON.plus(1_000_000));
    let ring = keyring(&relay, DAY_SECS, Some(offline.directory.path().to_owned())).await;
    assert!(ring.current().await.unwrap().record_at(NOON.plus(10)).is_some());
}

#[tokio::test]
async fn files_of_an_anchor_that_do_not_fit_stop_the_relay_at_its_start_and_say_why() {
    let relay = at_noon().await;
    let refused = async |offline: &Offline| {
        let config = KeySettings { window_secs: DAY_SECS, anchor: Some(offline.directory.path().to_owned()) };
        let outcome =
            Keyring::open(Arc::clone(&relay.store), config, Arc::clone(&relay.time), relay.metrics.clone())
                .await;
        let failure = outcome.unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        failure.text
    };
    let offline = Offline::new(NOON.plus(1000));
    std::fs::write(offline.path(INTERMEDIATE_FILE), hex::encode([9; 32])).unwrap();
    assert!(refused(&offline).await.contains("certifies another key"));
    std::fs::write(offline.path(INTERMEDIATE_FILE), "short").unwrap();
    assert!(refused(&offline).await.contains("64 hexadecimal digits"));
    std::fs::write(offline.path(PUBLIC_FILE), "{}").unwrap();
    assert!(refused(&offline).await.contains("anchor.json cannot be used"));
    std::fs::remove_file(offline.path(PUBLIC_FILE)).unwrap();
    assert!(refused(&offline).await.contains("cannot read"));
}

#[tokio::test]
async fn a_clock_that_jumps_and_comes_back_leaves_every_key_as_it_was() {
    let relay = at_noon().await;
    let ring = keyring(&relay, DAY_SECS, None).await;
    let before = ring.current().await.unwrap();
    relay.clock.jump_to(NOON.plus(200 * DAY_SECS));
    let meanwhile = ring.current().await.unwrap();
    assert_eq!(numbers(&meanwhile), [20_000, 20_001, 20_200, 20_201]);
    assert_eq!(meanwhile.windows[..2], before.windows[..], "what clients hold is still opened");
    assert!(meanwhile.record_at(NOON.plus(200 * DAY_SECS)).is_some());
    relay.clock.jump_to(NOON);
    let ring = keyring(&relay, DAY_SECS, None).await;
    let set = ring.current().await.unwrap();
    assert_eq!(set.windows, before.windows);
    assert_eq!(set.record_at(NOON), before.record_at(NOON), "and the record is the one that was shown");
}
