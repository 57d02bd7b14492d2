//! Relays that peer: what one cannot hold another holds, and clients need not know.

mod clocks;
mod crashes;
mod guard;
mod hinting;
mod interop;
mod inventory;
mod leaving;
mod meeting;
mod misconduct;
mod moving;
mod partitions;
mod pressure;
mod silence;

use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{random_bytes, random_mailbox};
use relay_tests::{Client, Cluster};
use std::collections::BTreeMap;

/// A store so small, and so soon too full, that a few blobs make mail move.
pub(crate) const SMALL: [(&str, &str); 2] =
    [("RELAY_MAX_STORAGE_BYTES", "16777216"), ("RELAY_FEDERATION_OFFLOAD_THRESHOLD", "0.05")];

/// Mail that was answered, by mailbox and id.
#[derive(Debug, Default)]
pub(crate) struct Mail(pub(crate) BTreeMap<(String, String), Vec<u8>>);

impl Mail {
    /// Sends a blob to a mailbox.
    pub(crate) async fn send(&mut self, client: &Client, mailbox: &str, length: usize) -> String {
        let ciphertext = random_bytes(length);
        let id = client.send(mailbox, &ciphertext).await.blob_id();
        self.0.insert((mailbox.to_owned(), id.clone()), ciphertext);
        id
    }

    /// Sends blobs to a fresh mailbox; answers it.
    pub(crate) async fn fill(&mut self, client: &Client, blobs: usize, length: usize) -> String {
        let mailbox = random_mailbox();
        for _ in 0..blobs {
            self.send(client, &mailbox, length).await;
        }
        mailbox
    }

    /// Fetches and acks until nothing is left, as a client does that knows nothing of hints. Every blob must come
    /// exactly as it was sent, and be acknowledged once.
    pub(crate) async fn receive_all(&mut self, client: &Client) {
        let mut mailboxes: Vec<String> = self.0.keys().map(|(mailbox, _)| mailbox.clone()).collect();
        mailboxes.dedup();
        for mailbox in mailboxes {
            deadline::until("the whole of a mailbox", PATIENCE, async || {
                let page = client.fetch(&[&mailbox]).await.page();
                for blob in page.blobs {
                    let name = (mailbox.clone(), blob.id);
                    let sent =
                        self.0.remove(&name).unwrap_or_else(|| panic!("a blob came that is not awaited"));
                    assert!(sent == blob.ciphertext, "a blob came torn");
                    assert!(
                        client.ack(&mailbox, &name.1).await.acknowledged(),
                        "a blob was gone before its ack"
                    );
                }
                (!self.0.keys().any(|(of, _)| *of == mailbox)).then_some(())
            })
            .await;
            // What clients acked at a peer is asked for once more, and then no more.
            deadline::until("the end of a mailbox", PATIENCE, async || {
                let rest = client.fetch(&[&mailbox]).await.page();
                assert!(rest.blobs.is_empty(), "mail that was acked came again");
                (!rest.truncated).then_some(())
            })
            .await;
        }
        assert!(self.0.is_empty());
    }
}

/// Waits until some of a relay's mail lies with peers, and as much as is to move.
pub(crate) async fn has_moved(relay: &Cluster) -> u64 {
    deadline::until("mail with peers", PATIENCE, async || {
        let metrics = relay.storaged.ops.metrics().await;
        let (live, ceiling) =
            (metrics.sum("relay_storage_live_bytes"), metrics.sum("relay_storage_ceiling_bytes"));
        let hints = metrics.sum("relay_federation_hints_active") as u64;
        (hints > 0 && live <= ceiling * 0.05).then_some(hints)
    })
    .await
}
