//! Mail: what is sent is there, in order, until it is acked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_tests::fields::{random_bytes, random_mailbox, send_fields};
use relay_tests::{Action, Cluster, Via};
use serde_json::json;

#[tokio::test]
async fn mail_is_fetched_in_order_of_arrival() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let [first, second] = [random_mailbox(), random_mailbox()];
        let mut sent = Vec::new();
        for round in 0..6_u8 {
            let mailbox = if round % 2 == 0 { &first } else { &second };
            sent.push((client.send(mailbox, &[round; 20]).await.blob_id(), mailbox.clone(), vec![round; 20]));
        }
        let page = client.fetch(&[&second, &first]).await.page();
        let fetched: Vec<_> =
            page.blobs.into_iter().map(|blob| (blob.id, blob.mailbox_token, blob.ciphertext)).collect();
        assert_eq!(fetched, sent);
        assert!(!page.truncated);
    }
}

#[tokio::test]
async fn a_blob_is_delivered_at_every_fetch_until_it_is_acked() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let id = client.send(&mailbox, b"again and again").await.blob_id();
        for _ in 0..3 {
            assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&id]);
        }
        assert!(client.ack(&mailbox, &id).await.acknowledged());
        assert!(client.fetch(&[&mailbox]).await.page().blobs.is_empty());
    }
}

#[tokio::test]
async fn a_blob_sent_twice_is_stored_once_under_the_same_id() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let id = client.send(&mailbox, b"once").await.blob_id();
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(client.send(&mailbox, b"once").await.blob_id(), id);
        assert_eq!(client.another().send(&mailbox.to_uppercase(), b"once").await.blob_id(), id);
        assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&id]);
        // The id belongs to mailbox and content.
        assert_ne!(client.send(&random_mailbox(), b"once").await.blob_id(), id);
        assert_ne!(client.send(&mailbox, b"twice").await.blob_id(), id);
    }
}

#[tokio::test]
async fn a_send_of_what_was_acked_answers_its_id_and_stores_nothing() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let id = client.send(&mailbox, b"read already").await.blob_id();
        assert!(client.ack(&mailbox, &id).await.acknowledged());
        assert_eq!(client.send(&mailbox, b"read already").await.blob_id(), id);
        assert!(client.fetch(&[&mailbox]).await.page().blobs.is_empty());
    }
}

#[tokio::test]
async fn an_ack_that_finds_nothing_says_false() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let id = client.send(&mailbox, b"one").await.blob_id();
        let unknown = "0123456789abcdef0123456789abcdef";
        assert!(!client.ack(&mailbox, unknown).await.acknowledged());
        assert!(!client.ack(&random_mailbox(), &id).await.acknowledged());
        assert_eq!(client.fetch(&[&mailbox]).await.page().ids(), [&id]);
        assert!(client.ack(&mailbox, &id).await.acknowledged());
        assert!(!client.ack(&mailbox, &id).await.acknowledged());
    }
}

#[tokio::test]
async fn identifiers_are_hex_of_either_case() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let id = client.send(&mailbox, b"either").await.blob_id();
        assert!(client.ack(&mailbox.to_uppercase(), &id.to_uppercase()).await.acknowledged());
    }
}

#[tokio::test]
async fn an_unknown_mailbox_looks_like_an_emptied_one() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let id = client.send(&mailbox, b"gone soon").await.blob_id();
        assert!(client.ack(&mailbox, &id).await.acknowledged());
        let [emptied, unknown] = [client.fetch(&[&mailbox]).await, client.fetch(&[random_mailbox()]).await];
        assert!(emptied.page().blobs.is_empty());
        assert_eq!(emptied.body, unknown.body);
        let names = |reply: &relay_tests::Reply| reply.headers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&emptied), names(&unknown));
    }
}

#[tokio::test]
async fn the_time_of_arrival_is_known_to_the_hour_only() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let before = relay_tests::deadline::unix_now();
        client.send(&mailbox, b"when").await.blob_id();
        let after = relay_tests::deadline::unix_now();
        let created_at = client.fetch(&[&mailbox]).await.page().blobs[0].created_at;
        assert_eq!(created_at % 3600, 0);
        assert!((before - before % 3600..=after).contains(&created_at));
    }
}

#[tokio::test]
async fn the_mailbox_token_comes_back_as_the_client_wrote_it() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = "00aAbBcCdDeEfF11".repeat(4);
        client.send(&mailbox.to_lowercase(), via.name().as_bytes()).await.blob_id();
        for written in [mailbox.clone(), mailbox.to_lowercase(), mailbox.to_uppercase()] {
            let page = client.fetch(&[random_mailbox(), written.clone()]).await.page();
            assert_eq!(page.blobs[0].mailbox_token, written);
        }
    }
}

#[tokio::test]
async fn a_mailbox_named_twice_is_fetched_once() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let id = client.send(&mailbox, b"only one").await.blob_id();
        assert_eq!(client.fetch(&[&mailbox, &mailbox]).await.page().ids(), [&id]);
        assert_eq!(client.fetch(&[&mailbox, &mailbox.to_uppercase()]).await.page().ids(), [&id]);
    }
}

#[tokio::test]
async fn an_origin_hint_comes_back_where_there_was_one() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let hint = STANDARD.encode(random_bytes(74));
        let mut fields = send_fields(&mailbox, b"with");
        fields["origin_hint"] = json!(hint);
        client.call(Action::Send, &fields).await.blob_id();
        client.send(&mailbox, b"without").await.blob_id();
        let hints: Vec<_> =
            client.fetch(&[&mailbox]).await.page().blobs.into_iter().map(|blob| blob.origin_hint).collect();
        assert_eq!(hints, [Some(hint), None]);
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let mut fields = send_fields(&mailbox, b"from the future");
        fields["priority"] = json!({ "nested": [1, 2, { "deep": null }] });
        let id = client.call(Action::Send, &fields).await.blob_id();
        let fields = json!({ "mailbox_tokens": [mailbox], "wait_secs": 30 });
        assert_eq!(client.call(Action::Fetch, &fields).await.page().ids(), [&id]);
    }
}

#[tokio::test]
async fn a_page_stays_small_and_says_that_there_is_a_rest() {
    // What an oblivious relay lets through, less its framing.
    const PAGE: usize = 98_300;
    const PADDED: usize = 98_304;
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let mut waiting = Vec::new();
        for _ in 0..30 {
            waiting.push(client.send(&mailbox, &random_bytes(10_000)).await.blob_id());
        }
        let mut pages = 0;
        loop {
            let reply = client.fetch(&[&mailbox]).await;
            let page = reply.page();
            assert!(reply.body.len() <= PAGE, "a page of {} bytes", reply.body.len());
            assert!(reply.plaintext.is_none_or(|size| size <= PADDED), "padded to {:?}", reply.plaintext);
            assert_eq!(page.ids(), waiting[..page.blobs.len()], "pages go by arrival");
            assert!(page.blobs.len() >= 5 || !page.truncated, "a page that could hold more");
            for blob in &page.blobs {
                assert!(client.ack(&mailbox, &blob.id).await.acknowledged());
            }
            waiting.drain(..page.blobs.len());
            pages += 1;
            assert_eq!(page.truncated, !waiting.is_empty());
            if !page.truncated {
                break;
            }
        }
        assert!(pages >= 4, "{pages}");
    }
}

#[tokio::test]
async fn a_blob_larger_than_a_page_stands_in_no_others_way() {
    let relay = Cluster::simple().await;
    for via in Via::ALL {
        let client = relay.client_via(via);
        let mailbox = random_mailbox();
        let large = random_bytes(1 << 20);
        let first = relay.client().send(&mailbox, &large).await.blob_id();
        let second = client.send(&mailbox, b"small").await.blob_id();
        let reply = client.fetch(&[&mailbox]).await;
        let page = reply.page();
        assert_eq!(page.ids(), [&second]);
        assert_eq!(
            page.truncated,
            via == Via::Plain,
            "only a direct page will show it, alone, after the rest"
        );
        assert_eq!(reply.json().get("oversized"), (via != Via::Plain).then_some(&json!(1)));
        assert!(client.ack(&mailbox, &second).await.acknowledged());
        if via != Via::Plain {
            let page = client.fetch(&[&mailbox]).await.page();
            assert_eq!((page.blobs.len(), page.truncated), (0, false));
        }
        let page = relay.client().fetch(&[&mailbox]).await.page();
        assert_eq!((page.ids(), page.truncated), (vec![first.as_str()], false));
        assert_eq!(page.blobs[0].ciphertext, large);
        assert!(client.ack(&mailbox, &first).await.acknowledged());
    }
}

#[tokio::test]
async fn one_fetch_takes_1900_mailboxes() {
    let relay = Cluster::simple().await;
    for via in Via::STRAIGHT {
        let client = relay.client_via(via);
        let mut mailboxes: Vec<String> = (0..1900).map(|_| random_mailbox()).collect();
        let id = client.send(&mailboxes[1899], b"in the last").await.blob_id();
        assert_eq!(client.fetch(&mailboxes).await.page().ids(), [&id]);
        mailboxes.push(random_mailbox());
        client.fetch(&mailboxes).await.refuses(400, "mailbox_tokens must contain 1-1900 entries");
    }
}
