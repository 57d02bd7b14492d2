//! Keys turn with the clock, on all gateways at once; the last one is still accepted for as long again, and then
//! it is gone.

use crate::oblivious::{is_key_problem, max_age, within_one};
use relay_tests::deadline::{self, PATIENCE, unix_now};
use relay_tests::fields::{random_mailbox, send_fields};
use relay_tests::oblivious::{KEY_PATH, Key, envelope};
use relay_tests::signed_key::SignedKey;
use relay_tests::{Action, Client, Cluster, Via};
use std::fs;
use std::time::Duration;

/// Seconds of a window in these tests.
const WINDOW: u64 = 2;

async fn relay(gateways: usize) -> Cluster {
    Cluster::builder()
        .gateways(gateways)
        .separate_ports()
        .variable("RELAY_OHTTP_KEY_ROTATION_HOURS", format!("{WINDOW}s"))
        .start()
        .await
}

fn window() -> u64 {
    unix_now() / WINDOW
}

/// Waits until a window has begun.
async fn begun(number: u64) {
    deadline::until("a window", PATIENCE, async || (window() >= number).then_some(())).await;
}

/// Does something within one window.
async fn in_one_window<T>(work: impl AsyncFnMut() -> T) -> (u64, T) {
    within_one(WINDOW, work).await
}

#[tokio::test]
async fn all_gateways_turn_at_once_and_number_their_keys() {
    let relay = relay(2).await;
    let mut seen: Vec<(u64, Key)> = Vec::new();
    for _ in 0..3 {
        let (number, keys) =
            in_one_window(async || [relay.client_of(0).key().await, relay.client_of(1).key().await]).await;
        assert_eq!(keys[0], keys[1]);
        assert_eq!(u64::from(keys[0].id()), number % 256);
        assert!(seen.iter().all(|(_, old)| old.config()[3..35] != keys[0].config()[3..35]), "a key again");
        let [key, _] = keys;
        seen.push((number, key));
        begun(number + 1).await;
    }
}

#[tokio::test]
async fn a_signed_record_carries_the_window_of_its_key_and_the_log_says_that_this_is_for_tests() {
    let relay = relay(1).await;
    let (number, record) =
        in_one_window(async || crate::signed_keys::record(&relay.client()).await.body).await;
    let signed = SignedKey::parse(&record);
    assert_eq!(signed.window, number);
    assert_eq!(u64::from(signed.key.id()), number % 256);
    assert!(signed.is_vouched_for_by(&crate::signed_keys::anchor(&relay).await));
    let said = relay.storaged.output();
    assert!(said.contains("which is for tests") && said.contains("RELAY_OHTTP_KEY_ROTATION_HOURS"), "{said}");
}

#[tokio::test]
async fn a_key_is_not_to_be_kept_past_its_window() {
    let relay = relay(1).await;
    for _ in 0..3 {
        let (_, (now, reply)) = in_one_window(async || {
            let now = unix_now();
            (now, relay.client().raw("GET", KEY_PATH, &[], "").await)
        })
        .await;
        assert_eq!(reply.status, 200, "{}", reply.describe());
        let age = max_age(&reply);
        assert!((1..=WINDOW - now % WINDOW).contains(&age), "{age} s at {now}");
        begun(window() + 1).await;
    }
}

/// A client that keeps to a key, whichever is shown.
fn keeping(relay: &Cluster, gateway: usize, via: Via, key: &Key) -> Client {
    relay.client_of_via(gateway, via).with_key(key.clone())
}

#[tokio::test]
async fn a_key_is_still_accepted_in_the_window_after_its_own() {
    let relay = relay(2).await;
    for via in Via::OBLIVIOUS {
        for gateway in 0..2 {
            deadline::until("two windows side by side", PATIENCE, async || {
                let (number, key) = in_one_window(async || relay.client_of(0).key().await).await;
                begun(number + 1).await;
                let mailbox = random_mailbox();
                let client = keeping(&relay, gateway, via, &key);
                let plaintext = envelope::request(Action::Send, &send_fields(&mailbox, b"late"));
                let outer = client.carry(key.seal(&plaintext).0).await;
                if window() > number + 1 {
                    return None;
                }
                assert_eq!(outer.status, 200, "{}", outer.describe());
                assert_eq!(relay.client_of(0).fetch(&[mailbox]).await.page().blobs.len(), 1);
                Some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_key_two_windows_old_is_refused_by_name() {
    let relay = relay(2).await;
    let (number, key) = in_one_window(async || relay.client_of(0).key().await).await;
    begun(number + 2).await;
    for gateway in 0..2 {
        let sealed = key.seal(&envelope::request(Action::Send, &send_fields(&random_mailbox(), b"too late")));
        // Gateways hear of a turn within a second.
        let refused = deadline::until("the old key's end", Duration::from_secs(4), async || {
            let outer = relay.client_of(gateway).carry(sealed.0.clone()).await;
            (outer.status != 200).then_some(outer)
        })
        .await;
        assert!(is_key_problem(&refused), "{}", refused.describe());
    }
    // With the key that is shown now, all is well.
    relay.client_of_via(0, Via::Envelope).send(&random_mailbox(), b"in time").await.blob_id();
}

#[tokio::test]
async fn a_client_keeps_its_key_over_a_restart_and_into_the_next_window() {
    let mut relay = relay(1).await;
    deadline::until("a restart within a window", Duration::from_secs(60), async || {
        let (number, key) = in_one_window(async || relay.client().key().await).await;
        relay.kill();
        relay.start().await;
        let plaintext = envelope::request(Action::Send, &send_fields(&random_mailbox(), b"kept"));
        let outer = relay.client().carry(key.seal(&plaintext).0).await;
        if window() > number + 1 {
            return None;
        }
        assert_eq!(outer.status, 200, "{}", outer.describe());
        Some(())
    })
    .await;
}

/// Columns that hold what nobody may ever see. The relay must be stopped.
fn read<T>(relay: &Cluster, query: &str, row: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(relay.data()).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("relay.db") {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let database = rusqlite::Connection::open(copy.path().join("relay.db")).unwrap();
    let mut query = database.prepare(query).unwrap();
    query.query_map([], |found| row(found)).unwrap().map(Result::unwrap).collect()
}

/// The seeds that the store holds, by window. The relay must be stopped.
fn seeds(relay: &Cluster) -> Vec<(u64, Vec<u8>)> {
    read(relay, "SELECT number, seed FROM key_windows", |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Every secret of the relay's own. The relay must be stopped.
pub(crate) fn secrets(relay: &Cluster) -> Vec<Vec<u8>> {
    let seeds =
        read(relay, "SELECT seed FROM key_windows UNION SELECT seed FROM signing_keys", |row| row.get(0));
    assert!(seeds.len() >= 4, "two windows, an anchor, an intermediate key");
    seeds
}

fn is_on_disk(relay: &Cluster, bytes: &[u8]) -> bool {
    let files = fs::read_dir(relay.data()).unwrap().flatten();
    let mut contents = files.filter_map(|file| fs::read(file.path()).ok());
    contents.any(|content| content.windows(bytes.len()).any(|window| window == bytes))
}

#[tokio::test]
async fn what_was_sealed_to_an_old_key_stays_sealed() {
    let mut relay = relay(1).await;
    relay.kill();
    let old = seeds(&relay);
    assert!(old.len() >= 2, "this window's and the next one's");
    assert!(old.iter().all(|(_, seed)| is_on_disk(&relay, seed)), "this search finds a seed");
    relay.start().await;
    let last = old.iter().map(|(number, _)| *number).max().unwrap();
    begun(last + 2).await;
    // Turns happen every second; each look needs the store to be still.
    deadline::until("old seeds to be gone", PATIENCE, async || {
        deadline::pace(Duration::from_secs(1)).await;
        relay.kill();
        let left = old.iter().filter(|(_, seed)| is_on_disk(&relay, seed)).count();
        relay.start().await;
        (left == 0).then_some(())
    })
    .await;
}
