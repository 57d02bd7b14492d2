//! The sums beside the tables agree with the tables, whatever happened.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Send(u8, u8),
    Ack(u8, u8),
    Register(u8),
    Purge,
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
                    (SELECT count(*) FROM registrations) = registrations FROM totals",
            [],
            |row| row.get::<_, bool>(0),
        )
        .unwrap();
    assert!(sums, "the sums have drifted from the tables");
    let blobs: u64 = relay.sql().query_row("SELECT blobs FROM totals", [], |row| row.get(0)).unwrap();
    assert_eq!(relay.store.gauges.blobs(), blobs);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn sums_never_drift(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
