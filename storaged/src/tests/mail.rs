//! Sending, fetching, acking.

use super::*;

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
    assert_eq!(relay.store.gauges.blobs(), 0);
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
    let order: Vec<u8> = page.blobs.iter().map(|blob| blob.ciphertext.as_bytes()[0]).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
    assert!(
        page.blobs
            .iter()
            .all(|blob| blob.mailbox_index == usize::from(blob.ciphertext.as_bytes()[0] % 2 == 0))
    );
    assert_eq!(relay.store.gauges.blobs(), 20);
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
            received.push(blob.ciphertext.as_bytes()[0]);
            relay.ack(mailbox(1), blob.blob_id).await.unwrap();
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
        let commands = (0..100_u32)
            .map(|number| {
                let content = (chunk * 100 + number).to_be_bytes();
                WriteCommand { caller: None, action: WriteAction::Send(blob(mailbox(1), &content)) }
            })
            .collect();
        assert!(relay.mailbox.write(commands).await.iter().all(Result::is_ok));
    }
    let page = relay.page(&[mailbox(1)]).await.unwrap();
    assert!(page.truncated && page.blobs.len() > 400);
    for (position, blob) in (0_u32..).zip(&page.blobs) {
        assert_eq!(blob.ciphertext.as_bytes().as_ref(), position.to_be_bytes());
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
async fn limits_spare_acks_that_remove_and_fetches_of_empty_mailboxes() {
    let relay = Relay::start(&[("RELAY_RATE_LIMIT", "4")]);
    let id = relay.send(mailbox(1), b"one").await.unwrap();
    let other = relay.send(mailbox(1), b"two").await.unwrap();
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 2);
    assert_eq!(relay.ack(mailbox(1), id).await, Ok(true));
    assert_eq!(relay.fetch(mailbox(1)).await.len(), 1);
    assert_eq!(relay.ack(mailbox(1), other).await, Ok(true));
    for _ in 0..50 {
        assert!(relay.fetch(mailbox(2)).await.is_empty());
    }
    for _ in 0..4 {
        assert_eq!(relay.ack(mailbox(2), id).await, Ok(false));
    }
    let refused = relay.ack(mailbox(2), id).await.unwrap_err();
    assert!(
        matches!(refused, Refusal::MailboxRateLimited { retry_after } if retry_after <= Duration::from_secs(15))
    );
    assert!(matches!(relay.send(mailbox(1), b"x").await, Err(Refusal::MailboxRateLimited { .. })));
    relay.clock.advance(Duration::from_secs(15));
    relay.send(mailbox(1), b"x").await.unwrap();
}

#[tokio::test]
async fn a_busy_mailbox_does_not_keep_the_others_from_their_mail() {
    let relay = Relay::start(&[("RELAY_RATE_LIMIT", "2")]);
    relay.send(mailbox(1), b"one").await.unwrap();
    relay.send(mailbox(2), b"a").await.unwrap();
    relay.send(mailbox(2), b"b").await.unwrap();
    let page = relay.page(&[mailbox(1), mailbox(2)]).await.unwrap();
    assert_eq!(page.blobs.len(), 1);
    assert!(page.truncated, "there is a rest to come back for");
    assert!(matches!(relay.page(&[mailbox(2)]).await, Err(Refusal::MailboxRateLimited { .. })));
}

#[tokio::test]
async fn a_blob_over_the_limit_is_refused_by_storage_too() {
    let relay = Relay::start(&[("RELAY_MAX_MESSAGE_SIZE", "1024")]);
    relay.send(mailbox(1), &[1; 1024]).await.unwrap();
    assert_eq!(relay.send(mailbox(1), &[1; 1025]).await, Err(Refusal::TooLarge));
}

#[tokio::test]
async fn one_refused_write_leaves_its_batch_alone() {
    let relay = Relay::start(&[("RELAY_MAX_BLOBS_PER_USER", "1")]);
    let commands = [b"one", b"two"]
        .map(|content| WriteCommand { caller: None, action: WriteAction::Send(blob(mailbox(1), content)) });
    let outcomes = relay.mailbox.write(commands.to_vec()).await;
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1], Err(Refusal::QuotaExceeded));
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
