//! Mail that was purged: whoever brings the same message again brings nothing back.

use crate::tests::*;

fn own(owner: &SigningKey) -> MailboxHash {
    MailboxHash::of_public_key(&public(owner))
}

#[tokio::test]
async fn a_replay_of_a_purged_send_brings_nothing_back_for_three_days() {
    let relay = Relay::start(&[]);
    let owner = key(1);
    relay.register(&[1], Some(&owner)).await.unwrap();
    let sent = [blob(own(&owner), b"own"), hinted(mailbox(1), b"registered")];
    for blob in &sent {
        relay.send_blob(blob.clone()).await.unwrap();
    }
    assert_eq!(relay.purge(relay.purge_request(&owner, 1)).await, Ok(2));
    let relay = relay.restart(&[]).await;
    let replay = async || {
        for blob in &sent {
            let id = BlobId::derive(&MailboxHash::try_from(&blob.mailbox[..]).unwrap(), &blob.ciphertext);
            assert_eq!(relay.send_blob(blob.clone()).await, Ok(id), "as if it were new");
        }
        relay.page(&[own(&owner), mailbox(1)]).await.unwrap().blobs.len()
    };
    assert_eq!(replay().await, 0);
    relay.clock.advance(3 * DAY);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(replay().await, 0);
    relay.clock.advance(HOUR);
    relay.sweep.sweep().await.unwrap();
    assert_eq!(replay().await, 2);
    assert_eq!(relay.census().problems, Vec::<String>::new());
}

#[tokio::test]
async fn mail_after_a_purge_is_taken_as_before_it() {
    let relay = Relay::start(&[]);
    let owner = key(1);
    relay.send(own(&owner), b"before").await.unwrap();
    assert_eq!(relay.purge(relay.purge_request(&owner, 1)).await, Ok(1));
    relay.send(own(&owner), b"after").await.unwrap();
    relay.send(mailbox(2), b"before").await.unwrap();
    assert_eq!(relay.fetch(own(&owner)).await, [b"after"]);
    assert_eq!(relay.fetch(mailbox(2)).await, [b"before"], "the same content for somebody else");
}

#[tokio::test]
async fn a_purge_that_is_refused_remembers_nothing() {
    let relay = Relay::start(&[]);
    let owner = key(1);
    relay.send(own(&owner), b"stays").await.unwrap();
    let forged = PurgeRequest { signature: Bytes::from_static(&[1; 64]), ..relay.purge_request(&owner, 1) };
    assert_eq!(relay.purge(forged).await, Err(StorageError::BadSignature));
    assert_eq!(relay.rows("acked"), 0);
    assert_eq!(relay.fetch(own(&owner)).await, [b"stays"]);
}
