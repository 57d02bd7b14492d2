//! Quotas and a store that fills up.

use crate::tests::*;

#[tokio::test]
async fn quotas_are_exact_under_concurrency() {
    let relay = Arc::new(Relay::start(&[("RELAY_MAX_BLOBS_PER_USER", "10")]));
    let sends: Vec<_> = (0..40_u8)
        .map(|number| {
            let relay = Arc::clone(&relay);
            tokio::spawn(async move { relay.send(mailbox(1), &[number]).await })
        })
        .collect();
    let mut stored = 0;
    for send in sends {
        match send.await.unwrap() {
            Ok(_) => stored += 1,
            Err(refusal) => assert_eq!(refusal, StorageError::QuotaExceeded),
        }
    }
    assert_eq!(stored, 10);
    relay.send(mailbox(2), b"another mailbox has its own").await.unwrap();
}

#[tokio::test]
async fn the_byte_quota_takes_the_last_byte_and_no_more() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_PER_USER", "2000")]);
    relay.send(mailbox(1), &[1; 1500]).await.unwrap();
    assert_eq!(relay.send(mailbox(1), &[2; 501]).await, Err(StorageError::QuotaExceeded));
    let id = relay.send(mailbox(1), &[3; 500]).await.unwrap();
    assert_eq!(relay.send(mailbox(1), &[1; 1500]).await.map(drop), Ok(()), "a repetition needs no room");
    relay.ack(mailbox(1), id).await.unwrap();
    relay.send(mailbox(1), &[4; 500]).await.unwrap();
}

#[tokio::test]
async fn a_full_store_refuses_mail_keeps_what_it_has_and_lets_go_of_it() {
    let relay = Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576")]);
    let mut kept = Vec::new();
    let refusal = loop {
        let number = u8::try_from(kept.len()).unwrap();
        match relay.send(mailbox(number), &vec![number; 8000]).await {
            Ok(id) => kept.push((number, id)),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal, StorageError::StorageFull);
    assert!(relay.store.gauges.is_full());
    assert!(kept.len() > 80, "{}", kept.len());
    assert_eq!(relay.register(&[1], None).await, Err(StorageError::StorageFull));
    for (number, _) in &kept {
        assert_eq!(relay.fetch(mailbox(*number)).await, [vec![*number; 8000]]);
    }
    let live = relay.store.gauges.live_bytes();
    for (number, id) in &kept {
        assert_eq!(relay.ack(mailbox(*number), *id).await, Ok(true));
    }
    assert!(relay.store.gauges.live_bytes() < live / 3, "live bytes fall with what is deleted");
    relay.send(mailbox(1), b"there is room again").await.unwrap();
}

#[tokio::test]
async fn at_the_very_ceiling_acks_and_purges_still_go_through() {
    let relay =
        Relay::start(&[("RELAY_MAX_STORAGE_BYTES", "1048576"), ("RELAY_MAX_BLOBS_PER_USER", "100000")]);
    let own = MailboxHash::of_public_key(&public(&key(1)));
    // Tombstones and used tokens fill the part that mail may not.
    let mut ids = Vec::new();
    for number in 0_u32.. {
        match relay.send(own, &number.to_be_bytes()).await {
            Ok(id) => ids.push(id),
            Err(refusal) => {
                assert_eq!(refusal, StorageError::StorageFull);
                break;
            }
        }
    }
    for id in ids.iter().take(ids.len() / 2) {
        assert_eq!(relay.ack(own, *id).await, Ok(true));
    }
    let left = (ids.len() - ids.len() / 2) as u64;
    assert_eq!(relay.purge(relay.purge_request(&key(1), 1)).await, Ok(left));
}
