//! Relays that are put back in time while their peers are not.

use super::{only, relay};
use crate::federation::{Mail, SMALL, has_moved};
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::federation::Federation;

#[tokio::test]
async fn mail_that_moved_after_the_backup_is_received_once() {
    let mut federation = Federation::build([0, 1].map(|_| {
        SMALL
            .iter()
            .fold(relay_tests::Cluster::builder(), |builder, (name, value)| builder.variable(name, value))
    }));
    federation.relays[0].start().await;
    let client = federation.relays[0].client();
    let mut mail = Mail::default();
    for _ in 0..4 {
        mail.fill(&client, 10, 50_000).await;
    }
    let backups = federation.relays[0].directory().join("backups");
    assert_eq!(relay(&federation.relays[0], &["backup", backups.to_str().unwrap()]).await.0, 0);
    federation.relays[1].start().await;
    federation.connected().await;
    has_moved(&federation.relays[0]).await;

    federation.relays[0].kill();
    let backup = only(&backups);
    let (code, said) =
        relay(&federation.relays[0], &["restore", "--replace", backup.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    federation.relays[0].start().await;
    federation.connected().await;
    // Both have it now, under one name.
    mail.receive_all(&client).await;
}

#[tokio::test]
async fn mail_that_came_home_after_the_backup_is_not_waited_for() {
    let mut federation = Federation::pair(&SMALL).await;
    let client = federation.relays[0].client();
    let mut mail = Mail::default();
    let mut mailboxes = Vec::new();
    for _ in 0..4 {
        mailboxes.push(mail.fill(&client, 10, 50_000).await);
    }
    has_moved(&federation.relays[0]).await;
    let backups = federation.relays[0].directory().join("backups");
    assert_eq!(relay(&federation.relays[0], &["backup", backups.to_str().unwrap()]).await.0, 0);
    mail.receive_all(&client).await;
    federation.settled().await;

    federation.relays[0].kill();
    let backup = only(&backups);
    let (code, said) =
        relay(&federation.relays[0], &["restore", "--replace", backup.to_str().unwrap()]).await;
    assert!(code == 0 && said.contains("is back, until it is fetched and acknowledged again"), "{said}");
    federation.relays[0].start().await;
    federation.connected().await;
    // What lay here at the time of the backup comes again; what lay with the peer is gone there, and is not asked
    // for without end.
    for mailbox in mailboxes {
        deadline::until("the end of a mailbox", PATIENCE, async || {
            let page = client.fetch(&[&mailbox]).await.page();
            for blob in &page.blobs {
                assert!(client.ack(&mailbox, &blob.id).await.acknowledged());
            }
            (page.blobs.is_empty() && !page.truncated).then_some(())
        })
        .await;
    }
    federation.settled().await;
}
