//! Rate limits: true over all gateways, computed, and never a tale about what exists.

use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{random_mailbox, send_fields};
use relay_tests::oblivious::envelope;
use relay_tests::reply::limited;
use relay_tests::{Action, Client, Cluster, Via};
use std::collections::HashSet;

#[tokio::test]
async fn a_busy_mailbox_is_limited_and_told_for_how_long() {
    for via in Via::ALL {
        let relay = Cluster::builder().variable("RELAY_RATE_LIMIT", 4).start().await;
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        for round in 0..4_u8 {
            client.send(&mailbox, &[round]).await.blob_id();
        }
        // Four a minute: the next one in a quarter of a minute.
        limited(&client.send(&mailbox, b"too many").await, 15);
        for _ in 0..4 {
            assert_eq!(client.fetch(&[&mailbox]).await.page().blobs.len(), 4, "reading is counted apart");
        }
        limited(&client.fetch(&[&mailbox]).await, 15);
        client.send(&random_mailbox(), b"elsewhere").await.blob_id();
    }
}

#[tokio::test]
async fn a_limited_mailbox_opens_again_after_a_while() {
    for via in Via::ALL {
        let relay = Cluster::builder().variable("RELAY_RATE_LIMIT", 30).start().await;
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let reply = deadline::until("a limit", PATIENCE, async || {
            let reply = client.send(&mailbox, b"the same").await;
            (reply.status != 200).then_some(reply)
        })
        .await;
        limited(&reply, 2);
        deadline::until("room again", PATIENCE, async || {
            (client.send(&mailbox, b"the same").await.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_empty_mailbox_makes_no_bucket() {
    for via in Via::ALL {
        let relay = Cluster::builder().variable("RELAY_RATE_LIMIT", 3).start().await;
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        for _ in 0..20 {
            client.fetch(&[&mailbox, &random_mailbox()]).await.page();
        }
        for round in 0..3_u8 {
            client.send(&mailbox, &[round]).await.blob_id();
        }
        limited(&client.send(&mailbox, b"one more").await, 20);
    }
}

#[tokio::test]
async fn a_fetch_charges_each_mailbox_that_holds_something() {
    for via in Via::ALL {
        let relay = Cluster::builder().variable("RELAY_RATE_LIMIT", 3).start().await;
        let client = relay.client_via(via);
        let [first, second] = [random_mailbox(), random_mailbox()];
        client.send(&first, b"mail").await.blob_id();
        client.send(&second, b"mail").await.blob_id();
        for _ in 0..3 {
            assert_eq!(client.fetch(&[&first, &second]).await.page().blobs.len(), 2);
        }
        for mailbox in [&first, &second] {
            limited(&client.fetch(&[mailbox]).await, 20);
            client.send(mailbox, b"sends are counted apart").await.blob_id();
        }
    }
}

#[tokio::test]
async fn an_ack_is_charged_to_its_caller_and_twice_if_it_removes_nothing() {
    for via in Via::ALL {
        let relay = Cluster::builder()
            .variable("RELAY_RATE_LIMIT", 4)
            .variable("RELAY_ADDR_RATE_LIMIT", 20)
            .start()
            .await;
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let mut ids = Vec::new();
        for round in 0..4_u8 {
            ids.push(client.send(&mailbox, &[round]).await.blob_id());
        }
        for id in &ids {
            assert!(client.ack(&mailbox, id).await.acknowledged());
        }
        // Nine or ten requests of twenty are spent: one for each send and ack, and for the key where there is one.
        let mut empty = 0;
        let refused = loop {
            let reply = client.ack(&mailbox, &ids[0]).await;
            if reply.status != 200 {
                break reply;
            }
            assert!(!reply.acknowledged());
            empty += 1;
        };
        limited(&refused, 3);
        assert!((5..=7).contains(&empty), "{empty} acks that removed nothing");
    }
}

/// Sends from many clients at once and counts what was accepted; everything else must be a clear refusal.
async fn accepted(clients: Vec<Client>, sends: usize, mailbox: &str) -> usize {
    let tasks: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(index, client)| {
            let mailbox = mailbox.to_owned();
            tokio::spawn(async move {
                let mut accepted = 0;
                for round in 0..sends {
                    let reply = client.send(&mailbox, format!("{index} {round}").as_bytes()).await;
                    match reply.status {
                        200 => accepted += 1,
                        _ => limited(&reply, 60),
                    }
                }
                accepted
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap();
    }
    total
}

#[tokio::test]
async fn three_gateways_share_one_limit() {
    let relay =
        Cluster::builder().gateways(3).separate_ports().variable("RELAY_RATE_LIMIT", 30).start().await;
    let evenly = (0..12).map(|index| relay.client_of(index % 3)).collect();
    let total = accepted(evenly, 10, &random_mailbox()).await;
    assert!((30..=33).contains(&total), "{total} of 120 were accepted");
    let unevenly = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2].map(|index| relay.client_of(index)).into();
    let total = accepted(unevenly, 10, &random_mailbox()).await;
    assert!((30..=33).contains(&total), "{total} of 120 were accepted");
}

#[tokio::test]
async fn three_gateways_behind_one_port_share_one_limit() {
    let relay = Cluster::builder().gateways(3).variable("RELAY_RATE_LIMIT", 30).start().await;
    let total = accepted((0..12).map(|_| relay.client()).collect(), 10, &random_mailbox()).await;
    assert!((30..=33).contains(&total), "{total} of 120 were accepted");
}

/// How many requests of one address get through before a limit.
async fn burst(clients: &[Client], forwarded: &str) -> usize {
    for count in 0..200 {
        let client = &clients[count % clients.len()];
        let headers = [("content-type", "application/json"), ("x-forwarded-for", forwarded)];
        let fields = send_fields(&random_mailbox(), b"from somewhere").to_string();
        let reply = client.raw("POST", "/v2/send", &headers, fields).await;
        if reply.status != 200 {
            limited(&reply, 6);
            return count;
        }
    }
    200
}

#[tokio::test]
async fn an_address_has_one_limit_over_all_mailboxes_and_gateways() {
    let relay =
        Cluster::builder().gateways(3).separate_ports().variable("RELAY_ADDR_RATE_LIMIT", 10).start().await;
    let clients: Vec<_> = (0..3).map(|index| relay.client_of(index)).collect();
    assert_eq!(burst(&clients, "203.0.113.1").await, 10);
}

#[tokio::test]
async fn a_forwarded_address_counts_only_behind_a_trusted_proxy() {
    let relay = Cluster::builder()
        .variable("RELAY_ADDR_RATE_LIMIT", 10)
        .variable("RELAY_TRUSTED_PROXIES", "192.0.2.0/24")
        .start()
        .await;
    assert_eq!(burst(&[relay.client()], "203.0.113.1").await, 10);
    // Another forwarded address, the same connection behind it.
    assert_eq!(burst(&[relay.client()], "203.0.113.2").await, 0);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_limit() {
    let relay = Cluster::builder()
        .variable("RELAY_ADDR_RATE_LIMIT", 10)
        .variable("RELAY_TRUSTED_PROXIES", "127.0.0.0/8,198.51.100.7")
        .start()
        .await;
    let clients = [relay.client()];
    let mut seen = HashSet::new();
    for (forwarded, expected, why) in [
        ("203.0.113.1", 10, "a first client"),
        ("203.0.113.1", 0, "the same client"),
        ("203.0.113.2", 10, "another client"),
        ("9.9.9.9, 203.0.113.1", 0, "what the client wrote itself is not believed"),
        ("203.0.113.3, 198.51.100.7", 10, "a chain of trusted proxies"),
        ("203.0.113.3", 0, "the client behind that chain"),
        ("::ffff:203.0.113.2", 0, "an IPv4 address in other clothes"),
        ("2001:db8:1:2::1", 10, "an IPv6 client"),
        ("2001:db8:1:2:ffff::9", 0, "the same /64"),
        ("2001:db8:1:3::1", 10, "another /64"),
    ] {
        assert!(seen.insert(why));
        assert_eq!(burst(&clients, forwarded).await, expected, "{why}");
    }
}

#[tokio::test]
async fn who_asks_by_way_of_a_named_relay_has_no_address_to_be_limited_by() {
    let relay = Cluster::builder()
        .variable("RELAY_ADDR_RATE_LIMIT", 2)
        .variable("RELAY_TRUSTED_PROXIES", "127.0.0.0/8")
        .variable("RELAY_OHTTP_RELAYS", "127.0.0.1")
        .start()
        .await;
    for via in Via::OBLIVIOUS {
        let elsewhere = relay.client().with_outer_header("x-forwarded-for", "203.0.113.9").key().await;
        let client = relay.client_via(via).with_key(elsewhere);
        for _ in 0..20 {
            client.send(&random_mailbox(), b"from somewhere").await.blob_id();
        }
    }
}

/// How many sealed requests of one outer address get through before a limit, which is told inside.
async fn sealed_burst(relay: &Cluster, from: &str) -> usize {
    let client = relay.client_via(Via::Envelope).with_outer_header("x-forwarded-for", from);
    let key = client.key().await;
    for count in 0..200 {
        let plaintext = envelope::request(Action::Send, &send_fields(&random_mailbox(), b"mail"));
        let (sealed, opener) = key.seal(&plaintext);
        let outer = client.carry(sealed).await;
        assert_eq!(
            outer.status,
            200,
            "an outer relay makes a failure of any other status: {}",
            outer.describe()
        );
        let plaintext = opener.open(&outer);
        let inner = envelope::reply(outer, &plaintext);
        if inner.status != 200 {
            limited(&inner, 12);
            return count;
        }
    }
    200
}

#[tokio::test]
async fn sealing_to_oneself_earns_nothing_and_a_named_relay_has_a_budget_of_its_own() {
    let relay = Cluster::builder()
        .variable("RELAY_ADDR_RATE_LIMIT", 10)
        .variable("RELAY_OHTTP_RATE_LIMIT", 50)
        .variable("RELAY_OHTTP_RELAYS", "198.51.100.0/24")
        .variable("RELAY_TRUSTED_PROXIES", "127.0.0.0/8")
        .start()
        .await;
    // One of the ten was the key.
    assert_eq!(sealed_burst(&relay, "203.0.113.1").await, 9);
    assert_eq!(
        burst(&[relay.client()], "203.0.113.1").await,
        0,
        "one bucket for what is sealed and what is not"
    );
    assert_eq!(burst(&[relay.client()], "203.0.113.2").await, 10);
    let named = sealed_burst(&relay, "198.51.100.7").await;
    // A bucket of fifty a minute fills while it is being emptied.
    assert!((50..=55).contains(&named), "{named}");
    let said = relay.gateways[0].output();
    assert_eq!(said.matches("name it in RELAY_OHTTP_RELAYS").count(), 1, "{said}");
}

#[tokio::test]
async fn an_outer_relay_has_one_budget_over_all_gateways() {
    let relay = Cluster::builder()
        .gateways(2)
        .separate_ports()
        .variable("RELAY_OHTTP_RATE_LIMIT", 10)
        .variable("RELAY_OHTTP_RELAYS", "127.0.0.1")
        .start()
        .await;
    let clients = [0, 1].map(|index| relay.client_of_via(index, Via::Envelope));
    let key = clients[0].key().await;
    let mut accepted = 0;
    for round in 0..20 {
        let plaintext = envelope::request(Action::Send, &send_fields(&random_mailbox(), b"mail"));
        let (sealed, opener) = key.seal(&plaintext);
        let outer = clients[round % 2].carry(sealed).await;
        let plaintext = opener.open(&outer);
        let inner = envelope::reply(outer, &plaintext);
        if inner.status == 200 {
            accepted += 1;
        } else {
            limited(&inner, 6);
        }
    }
    assert_eq!(accepted, 10);
}
