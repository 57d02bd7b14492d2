//! Escrow: two blobs behind a gate. Neither side sees the other's before both are there, and nobody else sees
//! any.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{count_fields, get_fields, put_fields, random_bytes, random_name};
use relay_tests::{Action, Client, Cluster, Via};
use serde_json::{Value, json};

const HOUR: u64 = 3600;

async fn ask(client: &Client, fields: &Value) -> Value {
    client.call(Action::Escrow, fields).await.outcome()
}

async fn put(client: &Client, gate: &str, slot: &str, blob: &[u8]) -> Value {
    ask(client, &put_fields(gate, slot, blob, HOUR)).await
}

async fn get(client: &Client, gate: &str, slot: &str) -> Value {
    ask(client, &get_fields(gate, slot)).await
}

async fn count(client: &Client, gate: &str) -> Value {
    ask(client, &count_fields(gate)).await
}

fn blob(bytes: &[u8]) -> Value {
    json!({ "status": "Blob", "blob": URL_SAFE_NO_PAD.encode(bytes) })
}

fn status(status: &str) -> Value {
    json!({ "status": status })
}

#[tokio::test]
async fn each_side_gets_the_others_blob_once_both_are_there() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let [gate, left, right] = [random_name(), random_name(), random_name()];
        assert_eq!(count(&client, &gate).await, status("NotFound"));
        assert_eq!(put(&client, &gate, &left, b"from the left").await, status("Stored"));
        assert_eq!(count(&client, &gate).await, json!({ "status": "Count", "count": 1 }));
        assert_eq!(get(&client, &gate, &left).await, json!({ "status": "NotReady", "count": 1 }));
        assert_eq!(put(&client, &gate, &right, b"from the right").await, status("Stored"));
        assert_eq!(count(&client, &gate).await, json!({ "status": "Count", "count": 2 }));
        for _ in 0..2 {
            assert_eq!(get(&client, &gate, &left).await, blob(b"from the right"));
            assert_eq!(get(&client, &gate.to_uppercase(), &right).await, blob(b"from the left"));
        }
        assert_eq!(
            count(&client, &gate).await,
            json!({ "status": "Count", "count": 2 }),
            "nothing is deleted"
        );
    }
}

#[tokio::test]
async fn a_slot_is_filled_once_and_there_is_no_third() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let [gate, left, right, third] = [random_name(), random_name(), random_name(), random_name()];
        assert_eq!(put(&client, &gate, &left, b"first").await, status("Stored"));
        for other in [b"first".as_slice(), b"second"] {
            assert_eq!(put(&client, &gate, &left, other).await, status("AlreadyExists"));
        }
        assert_eq!(put(&client, &gate, &right, b"other").await, status("Stored"));
        assert_eq!(put(&client, &gate, &third, b"late").await, status("GateFull"));
        assert_eq!(put(&client, &gate, &right, b"again").await, status("AlreadyExists"));
        assert_eq!(get(&client, &gate, &right).await, blob(b"first"), "the first blob stays");
        assert_eq!(get(&client, &gate, &left).await, blob(b"other"));
    }
}

#[tokio::test]
async fn who_has_no_slot_gets_nothing() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let [gate, left, right, third] = [random_name(), random_name(), random_name(), random_name()];
        assert_eq!(get(&client, &gate, &left).await, status("NotFound"));
        put(&client, &gate, &left, b"left").await;
        // Whoever knows the gate may count; that much and no more.
        assert_eq!(get(&client, &gate, &third).await, json!({ "status": "NotReady", "count": 1 }));
        put(&client, &gate, &right, b"right").await;
        assert_eq!(get(&client, &gate, &third).await, status("NotFound"));
        assert_eq!(get(&client, &random_name(), &left).await, status("NotFound"));
    }
}

#[tokio::test]
async fn a_blob_has_64_kib_at_most() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        // An outer relay brings no request of that size, and every answer.
        let client = relay.client_via(via);
        let sender = if via.is_outer() { relay.client() } else { relay.client_via(via) };
        let [gate, left, right] = [random_name(), random_name(), random_name()];
        let large = random_bytes((64 << 10) + 1);
        assert_eq!(put(&sender, &gate, &left, &large).await, status("BlobTooLarge"));
        assert_eq!(count(&client, &gate).await, status("NotFound"), "a refusal opens no gate");
        assert_eq!(put(&sender, &gate, &left, &large[1..]).await, status("Stored"));
        assert_eq!(put(&client, &gate, &right, &[7]).await, status("Stored"));
        assert_eq!(get(&client, &gate, &right).await, blob(&large[1..]));
    }
}

#[tokio::test]
async fn the_first_blob_fixes_when_the_gate_closes() {
    let relay = Cluster::simple().await;
    let [left, right] = [random_name(), random_name()];
    let mut gates = Vec::new();
    for via in Via::ALL {
        let client = relay.client_via(via);
        let [short, long] = [random_name(), random_name()];
        for (gate, slot, seconds) in
            [(&long, &left, HOUR), (&long, &right, 1), (&short, &left, 6), (&short, &right, HOUR)]
        {
            let fields = put_fields(gate, slot, b"blob", seconds);
            assert_eq!(ask(&client, &fields).await, status("Stored"));
        }
        gates.push((client, short, long));
    }
    for (client, short, long) in gates {
        deadline::until("a gate to close", PATIENCE, async || {
            (count(&client, &short).await == status("NotFound")).then_some(())
        })
        .await;
        assert_eq!(get(&client, &short, &left).await, status("NotFound"));
        assert_eq!(get(&client, &long, &left).await, blob(b"blob"));
        assert_eq!(put(&client, &short, &left, b"a new gate").await, status("Stored"));
        assert_eq!(count(&client, &short).await, json!({ "status": "Count", "count": 1 }));
    }
}

#[tokio::test]
async fn a_gate_may_stay_open_for_a_second_to_a_week() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        for seconds in [1, 604_800] {
            let fields = put_fields(&random_name(), &random_name(), b"blob", seconds);
            assert_eq!(ask(&client, &fields).await, status("Stored"));
        }
        for seconds in [0, 604_801, u64::MAX] {
            let fields = put_fields(&random_name(), &random_name(), b"blob", seconds);
            client.call(Action::Escrow, &fields).await.failure(400);
        }
    }
}

#[tokio::test]
async fn of_many_blobs_at_once_two_find_room() {
    let relay = Cluster::builder().gateways(2).start().await;
    let gate = random_name();
    let tasks: Vec<_> = (0..9)
        .map(|index| {
            let (client, gate) = (relay.client_via(Via::ALL[index % 3]), gate.clone());
            tokio::spawn(async move { put(&client, &gate, &random_name(), b"blob").await })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        let outcome = task.await.unwrap();
        if outcome == status("Stored") {
            stored += 1;
        } else {
            assert_eq!(outcome, status("GateFull"));
        }
    }
    assert_eq!(stored, 2);
    assert_eq!(count(&relay.client(), &gate).await, json!({ "status": "Count", "count": 2 }));
}

#[tokio::test]
async fn a_gate_survives_that_everything_is_killed() {
    let mut relay = Cluster::builder().gateways(2).separate_ports().start().await;
    for via in Via::ALL {
        let [gate, left, right] = [random_name(), random_name(), random_name()];
        let large = random_bytes(40_000);
        assert_eq!(put(&relay.client_of_via(0, via), &gate, &left, &large).await, status("Stored"));
        relay.kill();
        relay.start().await;
        let client = relay.client_of_via(1, via);
        assert_eq!(get(&client, &gate, &left).await, json!({ "status": "NotReady", "count": 1 }));
        assert_eq!(put(&client, &gate, &left, &large).await, status("AlreadyExists"));
        assert_eq!(put(&client, &gate, &right, b"right").await, status("Stored"));
        relay.kill();
        relay.start().await;
        for gateway in 0..2 {
            let client = relay.client_of_via(gateway, via);
            assert_eq!(get(&client, &gate, &left).await, blob(b"right"));
            assert_eq!(get(&client, &gate, &right).await, blob(&large));
        }
    }
}
