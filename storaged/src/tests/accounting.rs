//! The sums beside the tables agree with the tables, whatever happened.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Send(u8, u8),
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
        6 => (0..4_u8, 0..8_u8).prop_map(|(mailbox, content)| Step::Send(mailbox, content)),
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
            Step::Send(to, content) => {
                let sent = relay.send(mailbox(to), &[content]).await;
                assert!(matches!(sent, Ok(_) | Err(Refusal::QuotaExceeded)), "{sent:?}");
            }
            Step::Ack(of, content) => {
                let id = BlobId::derive(&mailbox(of), &[content]);
                drop(relay.ack(mailbox(of), id).await);
            }
            Step::Register(token) => drop(relay.register(&[token], Some(&key(1))).await),
            Step::Purge => {
                let token = u8::try_from(number % 256).unwrap();
                drop(relay.mailbox.purge(relay.purge_request(&key(1), token)).await);
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
    let sums = relay
        .sql()
        .query_row(
            "SELECT (SELECT count(*) FROM blobs) = blobs AND
                    (SELECT coalesce(sum(size), 0) FROM blobs) = bytes AND
                    (SELECT count(*) FROM registrations) = registrations AND
                    (SELECT count(*) FROM recovery_proofs) = recovery_proofs AND
                    (SELECT count(*) FROM exchanges) = exchange_offers AND
                    (SELECT count(*) FROM guardian_sets) = guardian_sets AND
                    (SELECT count(*) FROM escrow_gates) = escrow_gates FROM totals",
            [],
            |row| row.get::<_, bool>(0),
        )
        .unwrap();
    assert!(sums, "the sums have drifted from the tables");
    let blobs: u64 = relay.sql().query_row("SELECT blobs FROM totals", [], |row| row.get(0)).unwrap();
    assert_eq!(relay.store.gauges.blobs(), blobs);
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
