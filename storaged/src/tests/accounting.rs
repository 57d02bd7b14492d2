//! The sums beside the tables agree with the tables, whatever happened.

use crate::tests::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Send(u8, u8, bool),
    Ack(u8, u8),
    Register(u8),
    Purge,
    Prove(u8),
    Exchange(u8),
    Designate(u8),
    Put(u8, u8),
    Sweep,
    Wait(u32),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_u8, 0..8_u8, any::<bool>())
            .prop_map(|(mailbox, content, is_hinted)| Step::Send(mailbox, content, is_hinted)),
        4 => (0..4_u8, 0..8_u8).prop_map(|(mailbox, content)| Step::Ack(mailbox, content)),
        1 => (0..4_u8).prop_map(Step::Register),
        1 => Just(Step::Purge),
        2 => (0..4_u8).prop_map(Step::Prove),
        2 => (0..4_u8).prop_map(Step::Exchange),
        2 => (0..3_u8).prop_map(Step::Designate),
        2 => (0..3_u8, 0..4_u8).prop_map(|(gate, slot)| Step::Put(gate, slot)),
        1 => Just(Step::Sweep),
        2 => (0..200_000_u32).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

const VARIABLES: &[(&str, &str)] = &[("RELAY_BLOB_TTL_SECS", "172800"), ("RELAY_MAX_BLOBS_PER_USER", "6")];

async fn run(steps: Vec<Step>) {
    let mut relay = Relay::start(VARIABLES);
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Send(to, content, is_hinted) => {
                let make = if is_hinted { hinted } else { blob };
                let sent = relay.send_blob(make(mailbox(to), &[content])).await;
                assert!(matches!(sent, Ok(_) | Err(StorageError::QuotaExceeded)), "{sent:?}");
            }
            Step::Ack(of, content) => {
                let id = BlobId::derive(&mailbox(of), &[content]);
                drop(relay.ack(mailbox(of), id).await);
            }
            Step::Register(token) => drop(relay.register(&[token], Some(&key(1))).await),
            Step::Purge => {
                let token = u8::try_from(number % 256).unwrap();
                drop(relay.purge(relay.purge_request(&key(1), token)).await);
            }
            Step::Prove(number) => drop(relay.prove(number.into(), b"proof").await),
            // As many of its steps as the number says.
            Step::Exchange(steps) => exchange(&relay, steps).await,
            Step::Designate(entries) => {
                let entries = vec![b"entry".as_slice(); entries.into()];
                drop(relay.designate(&key(1), &entries).await);
            }
            Step::Put(gate, slot) => drop(relay.put(gate, slot, b"content").await),
            Step::Sweep => relay.sweep.sweep().await.unwrap(),
            Step::Wait(seconds) => relay.clock.advance(Duration::from_secs(seconds.into())),
            Step::Restart => relay = relay.restart(VARIABLES).await,
        }
    }
    assert_eq!(
        relay.census().problems,
        Vec::<String>::new(),
        "what is counted has drifted from what is there"
    );
    let blobs: u64 = relay.sql().query_row("SELECT blobs FROM totals", [], |row| row.get(0)).unwrap();
    assert_eq!(relay.store.gauges.of(Total::BLOBS), blobs);
}

async fn exchange(relay: &Relay, steps: u8) {
    if steps > 0 {
        let offer = relay.offer("payload").await.unwrap().offer();
        if steps > 1 {
            relay.claim(offer, "response").await.unwrap();
        }
        if steps > 2 {
            relay.complete(offer).await.unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn sums_never_drift(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

#[tokio::test]
async fn an_origin_hint_is_counted_where_it_is_checked() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_PER_USER", "1024")]);
    relay.send_blob(hinted(mailbox(1), &[1; 950])).await.unwrap();
    assert_eq!(
        relay.send(mailbox(1), &[2]).await,
        Err(StorageError::QuotaExceeded),
        "74 bytes of it are the hint"
    );
    relay.send(mailbox(2), &[2; 1024]).await.unwrap();
    let census = relay.census();
    assert_eq!((census.blobs, census.blob_bytes), (2, 2048));
    assert_eq!(census.problems, Vec::<String>::new());
    for wrong in ["size = size - 74", "origin_hint = NULL"] {
        let sql = relay.sql();
        sql.execute_batch(&format!("BEGIN; UPDATE blobs SET {wrong} WHERE origin_hint IS NOT NULL")).unwrap();
        let problems = integrity::take(sql, Throttle::hurried()).unwrap().problems;
        assert!(problems.iter().any(|problem| problem.contains("another size")), "{problems:?}");
    }
}

#[tokio::test]
async fn what_is_kept_besides_mail_shows_in_the_metrics_also_after_a_restart() {
    let relay = Relay::start(&[]);
    relay.prove(1, b"proof").await.unwrap();
    relay.offer("payload").await.unwrap();
    relay.designate(&key(1), &[b"entry"]).await.unwrap();
    relay.put(1, 1, b"content").await.unwrap();
    let relay = relay.restart(&[]).await;
    let text = relay_daemon::metrics::render(&relay.metrics.gather(&relay.store.gauges));
    for name in ["recovery_proofs", "exchange_offers", "guardian_sets", "escrow_gates"] {
        let line = format!("relay_{name}_active 1");
        assert!(text.lines().any(|found| found == line), "{name}");
    }
}
