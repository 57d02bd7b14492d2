//! Sending, fetching, acking.

use crate::tests::*;
use relay_proto::limits::{MAX_HINTS, MAX_MAILBOXES, MAX_WRITE_COMMANDS};

#[tokio::test]
async fn a_blob_is_delivered_until_it_is_acked() {
    let relay = Relay::start(&[]);
    let id = relay.send(mailbox(1), b"one").await.unwrap();
    for _ in 0..2 {
        assert_eq!(relay.fetch(mailbox(1)).await, [b"one"]);
    }
    assert_eq!(relay.ack(mailbox(2), id).await, Ok(false), "the wrong mailbox");
    assert_eq!(relay.ack(mailbox(1), id).await, Ok(true));
    assert_eq!(relay.ack(mailbox(1), id).await, Ok(false));
    assert!(relay.fetch(mailbox(1)).await.is_empty());
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 0);
}

#[tokio::test]
async fn sending_twice_stores_once() {
    let relay = Relay::start(&[]);
    let first = relay.send(mailbox(1), b"one").await.unwrap();
    assert_eq!(relay.send(mailbox(1), b"one").await, Ok(first));
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 1);
    assert_eq!(relay.metrics.blobs_created.get(), 1);
}

#[tokio::test]
async fn a_late_retry_of_an_acked_send_brings_nothing_back_for_three_days() {
    let relay = Relay::start(&[]);
    let id = relay.send(mailbox(1), b"one").await.unwrap();
    relay.ack(mailbox(1), id).await.unwrap();
    relay.clock.advance(3 * DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.send(mailbox(1), b"one").await, Ok(id));
    assert!(relay.fetch(mailbox(1)).await.is_empty());
    relay.clock.advance(HOUR);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(relay.send(mailbox(1), b"one").await, Ok(id));
    assert_eq!(relay.fetch(mailbox(1)).await, [b"one"]);
}

#[tokio::test]
async fn mail_survives_a_restart_in_the_order_of_arrival() {
    let relay = Relay::start(&[]);
    for number in 0..20_u8 {
        relay.send(mailbox(number % 2), &[number]).await.unwrap();
    }
    let relay = relay.restart(&[]).await;
    let page = relay.page(&[mailbox(1), mailbox(0)]).await.unwrap();
    let order: Vec<u8> = page.blobs.iter().map(|blob| blob.ciphertext[0]).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
    assert!(page.blobs.iter().all(|blob| blob.mailbox_index == u32::from(blob.ciphertext[0] % 2 == 0)));
    assert_eq!(relay.store.gauges.of(Total::BLOBS), 20);
}

#[tokio::test]
async fn a_page_ends_where_its_rung_does_and_says_so() {
    let relay = Relay::start(&[]);
    for number in 0..6_u8 {
        relay.send(mailbox(1), &[number; 20_000]).await.unwrap();
    }
    let mut received = Vec::new();
    loop {
        let page = relay.page(&[mailbox(1)]).await.unwrap();
        for blob in &page.blobs {
            received.push(blob.ciphertext[0]);
            relay.ack(mailbox(1), blob.blob_id.clone()).await.unwrap();
        }
        if !page.truncated {
            break;
        }
        assert_eq!(page.blobs.len(), 3);
    }
    assert_eq!(received, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_mailbox_of_many_small_blobs_is_read_page_by_page() {
    let relay = Relay::start(&[("RELAY_MAX_BLOBS_PER_USER", "3000")]);
    for chunk in 0..25_u32 {
        let blobs = (0..100_u32).map(|number| blob(mailbox(1), &(chunk * 100 + number).to_be_bytes()));
        assert!(relay.write_all(sends(blobs)).await.unwrap().iter().all(Result::is_ok));
    }
    let page = relay.page(&[mailbox(1)]).await.unwrap();
    assert!(page.truncated && page.blobs.len() > 400);
    for (position, blob) in (0_u32..).zip(&page.blobs) {
        assert_eq!(blob.ciphertext, position.to_be_bytes()[..]);
    }
}

#[tokio::test]
async fn content_that_was_damaged_on_disk_is_never_served() {
    let relay = Relay::start(&[]);
    relay.send(mailbox(1), b"good").await.unwrap();
    relay.send(mailbox(1), b"evil").await.unwrap();
    relay.sql().execute("UPDATE blobs SET ciphertext = x'00' WHERE ciphertext = ?1", [b"evil"]).unwrap();
    assert_eq!(relay.fetch(mailbox(1)).await, [b"good"]);
    assert_eq!(relay.metrics.blobs_damaged.get(), 1);
}

#[tokio::test]
async fn sends_and_fetches_have_buckets_of_their_own_and_acks_and_empty_mailboxes_have_none() {
    let relay = Relay::start(&[("RELAY_RATE_LIMIT", "2")]);
    let id = relay.send(mailbox(1), b"one").await.unwrap();
    let other = relay.send(mailbox(1), b"two").await.unwrap();
    assert!(matches!(relay.send(mailbox(1), b"x").await, Err(StorageError::MailboxRateLimited { .. })));
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 2);
    assert_eq!(relay.ack(mailbox(1), id).await, Ok(true));
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 1);
    assert!(matches!(relay.page(&[mailbox(1)]).await, Err(StorageError::MailboxRateLimited { .. })));
    assert_eq!(relay.ack(mailbox(1), other).await, Ok(true));
    for _ in 0..50 {
        assert!(relay.fetch(mailbox(2)).await.is_empty());
        assert_eq!(relay.ack(mailbox(2), id).await, Ok(false));
    }
    relay.clock.advance(Duration::from_secs(30));
    relay.send(mailbox(1), b"x").await.unwrap();
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 1);
}

#[tokio::test]
async fn an_ack_that_removes_nothing_costs_its_caller_twice_and_nobody_else() {
    let relay = Relay::start(&[("RELAY_RATE_LIMIT", "3"), ("RELAY_ADDR_RATE_LIMIT", "4")]);
    let id = relay.send(mailbox(1), b"one").await.unwrap();
    let ack = async |caller, blob_id: BlobId| relay.ack_for(caller, mailbox(1), blob_id).await;
    let wrong = BlobId::from_bytes([0; 16]);
    for _ in 0..2 {
        assert_eq!(ack(client(1), wrong).await, Ok(false));
    }
    assert!(matches!(ack(client(1), wrong).await, Err(StorageError::AddressRateLimited { .. })));
    for _ in 0..3 {
        let request = fetch(client(2), &[mailbox(1)], false);
        assert_eq!(relay.fetched(request).await.unwrap().blobs.len(), 1);
    }
    assert_eq!(ack(client(2), id).await, Ok(true), "one that removes costs once");
}

#[tokio::test]
async fn who_reads_a_mailbox_all_the_time_keeps_nobody_else_from_reading_it() {
    let relay = Relay::start(&[("RELAY_RATE_LIMIT", "2")]);
    relay.send(mailbox(1), b"one").await.unwrap();
    let fetch = async |budget, number| {
        let caller = Some(RateLimitSubject::new(budget, AddressHash::from_bytes([number; 16])));
        relay.fetched(super::fetch(caller, &[mailbox(1)], false)).await
    };
    for (budget, number, most) in [
        (RateLimitClass::Client, 1, 2),
        (RateLimitClass::ObliviousRelay, 1, 0),
        (RateLimitClass::Client, 2, 2),
        (RateLimitClass::KnownObliviousRelay, 3, 20),
    ] {
        for _ in 0..most {
            assert_eq!(fetch(budget, number).await.unwrap().blobs.len(), 1);
        }
        let refused = fetch(budget, number).await;
        assert!(matches!(refused, Err(StorageError::MailboxRateLimited { .. })), "{budget:?} {number}");
    }
}

#[tokio::test]
async fn a_busy_mailbox_does_not_keep_the_others_from_their_mail() {
    let relay = Relay::start(&[("RELAY_RATE_LIMIT", "2")]);
    relay.send(mailbox(1), b"one").await.unwrap();
    relay.send(mailbox(2), b"a").await.unwrap();
    for _ in 0..2 {
        assert_eq!(relay.fetch(mailbox(2)).await.len(), 1);
    }
    let page = relay.page(&[mailbox(1), mailbox(2)]).await.unwrap();
    assert_eq!(page.blobs.len(), 1);
    assert!(page.truncated, "there is a rest to come back for");
    assert!(matches!(relay.page(&[mailbox(2)]).await, Err(StorageError::MailboxRateLimited { .. })));
}

#[tokio::test]
async fn a_blob_over_the_limit_is_refused_by_storage_too() {
    let relay = Relay::start(&[("RELAY_MAX_MESSAGE_SIZE", "1024")]);
    relay.send(mailbox(1), &[1; 1024]).await.unwrap();
    assert_eq!(relay.send(mailbox(1), &[1; 1025]).await, Err(StorageError::TooLarge));
}

#[tokio::test]
async fn one_refused_write_leaves_its_batch_alone() {
    let relay = Relay::start(&[("RELAY_MAX_BLOBS_PER_USER", "1")]);
    let blobs = [b"one", b"two"].map(|content| blob(mailbox(1), content));
    let outcomes = relay.write_all(sends(blobs)).await.unwrap();
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1], Err(StorageError::QuotaExceeded));
}

#[tokio::test]
async fn a_wrong_field_is_named_and_spoils_its_own_command_only() {
    let relay = Relay::start(&[]);
    let send = |change: fn(&mut messages::Send)| {
        let mut blob = hinted(mailbox(1), b"content");
        change(&mut blob);
        WriteCommand { caller: client(1).map(Into::into), command: Some(Command::Send(blob)) }
    };
    let paid_by = |caller: messages::Caller| WriteCommand { caller: Some(caller), ..send(|_| {}) };
    let older = messages::Caller { budget: 1, address: Bytes::from_static(&[1; 16]), network: Bytes::new() };
    let ack = Ack { mailbox: mailbox(1).into(), blob_id: Bytes::from_static(&[1; 15]) };
    let (commands, fields): (Vec<_>, Vec<_>) = [
        (send(|_| {}), None),
        (paid_by(older.clone()), None),
        (paid_by(messages::Caller { network: Bytes::from_static(b"short"), ..older }), Some("caller")),
        (WriteCommand { command: None, ..send(|_| {}) }, Some("command")),
        (send(|blob| blob.mailbox = Bytes::from_static(&[1; 31])), Some("mailbox")),
        (send(|blob| blob.ciphertext = Bytes::new()), Some("ciphertext")),
        (send(|blob| blob.origin_hint = Some(Bytes::from_static(&[1; 73]))), Some("origin_hint")),
        (WriteCommand { caller: None, command: Some(Command::Ack(ack)) }, Some("blob_id")),
        (send(|blob| blob.ciphertext = Bytes::from_static(b"another")), None),
    ]
    .into_iter()
    .unzip();
    let outcomes = relay.write_all(commands).await.unwrap();
    let refusals: Vec<_> = outcomes.into_iter().map(Result::err).collect();
    assert_eq!(
        refusals,
        fields.into_iter().map(|field| field.map(StorageError::invalid)).collect::<Vec<_>>()
    );
    let page = relay.page(&[mailbox(1)]).await.unwrap();
    assert_eq!(page.blobs.len(), 2);
    assert!(page.blobs.iter().all(|blob| blob.origin_hint.as_deref() == Some(&[7; 74][..])));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_whole() {
    let relay = Relay::start(&[]);
    let commands = |count: usize| sends((0..count).map(|_| blob(mailbox(1), b"one")));
    let refused = relay.write_all(commands(MAX_WRITE_COMMANDS + 1)).await;
    assert_eq!(refused, Err(StorageError::invalid("commands")));
    assert!(relay.fetch(mailbox(1)).await.is_empty());
    assert_eq!(relay.write_all(commands(MAX_WRITE_COMMANDS)).await.unwrap().len(), MAX_WRITE_COMMANDS);
    for (count, accepted) in [(0, false), (1, true), (MAX_MAILBOXES, true), (MAX_MAILBOXES + 1, false)] {
        let mailboxes = vec![mailbox(5); count];
        assert_eq!(relay.fetched(fetch(None, &mailboxes, true)).await.is_ok(), accepted, "{count}");
        let registered = relay.registered(registration(None, &mailboxes, None)).await;
        assert_eq!(registered.is_ok(), accepted, "{count}");
    }
    let name = BlobName { mailbox: mailbox(1), blob_id: BlobId::from_bytes([1; 16]) };
    assert!(relay.hints(&vec![name; MAX_HINTS]).await.is_ok());
    assert_eq!(relay.hints(&vec![name; MAX_HINTS + 1]).await, Err(StorageError::invalid("blobs")));
}

#[tokio::test]
async fn memory_keeps_mail_for_as_long_as_it_lives() {
    let relay = Relay::start(&[("RELAY_STORAGE_BACKEND", "memory")]);
    let id = relay.send(mailbox(1), b"one").await.unwrap();
    assert_eq!(relay.fetch(mailbox(1)).await, [b"one"]);
    assert_eq!(relay.ack(mailbox(1), id).await, Ok(true));
    assert!(!relay.store.capacity().durable);
    assert!(!relay.database().exists());
}
