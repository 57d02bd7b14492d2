//! Load that remembers what it was told, so that a test can ask afterwards whether it is true.

use crate::deadline::{self, PATIENCE};
use crate::fields::{ack_fields, random_bytes, random_mailbox, send_fields};
use crate::{Action, Client};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What one client was told about its mailbox.
#[derive(Debug)]
pub struct Ledger {
    mailbox: String,
    stored: BTreeMap<String, Vec<u8>>,
    acked: BTreeSet<String>,
    /// A send or an ack without an answer: it may have happened or not.
    open_send: Option<Vec<u8>>,
    open_ack: Option<String>,
}

impl Ledger {
    /// Of a mailbox that nobody used before.
    pub fn open() -> Self {
        Self {
            mailbox: random_mailbox(),
            stored: BTreeMap::new(),
            acked: BTreeSet::new(),
            open_send: None,
            open_ack: None,
        }
    }

    /// Sends a new blob. Says whether there was an answer; any answer but a success fails the test.
    pub async fn send(&mut self, client: &Client) -> bool {
        let ciphertext = random_bytes(300);
        let Ok(reply) = client.try_call(Action::Send, &send_fields(&self.mailbox, &ciphertext)).await else {
            self.open_send = Some(ciphertext);
            return false;
        };
        self.stored.insert(reply.blob_id(), ciphertext);
        true
    }

    /// Acks one blob, if one is left. Says whether there was an answer.
    pub async fn ack(&mut self, client: &Client) -> bool {
        let Some(id) = self.stored.keys().find(|id| !self.acked.contains(*id)).cloned() else { return true };
        let Ok(reply) = client.try_call(Action::Ack, &ack_fields(&self.mailbox, &id)).await else {
            self.open_ack = Some(id);
            return false;
        };
        // After a restart in between, the repeated ack finds the blob gone already; both answers are a success.
        reply.success();
        self.acked.insert(id);
        true
    }

    /// Takes up again what had no answer, so that nothing is open any more.
    pub async fn settle(&mut self, client: &Client) {
        if let Some(ciphertext) = self.open_send.take() {
            let id = client.send(&self.mailbox, &ciphertext).await.blob_id();
            self.stored.insert(id, ciphertext);
        }
        if let Some(id) = self.open_ack.take() {
            client.ack(&self.mailbox, &id).await.success();
            self.acked.insert(id);
        }
    }

    /// Checks that everything that was answered is true: what was stored and not acked is there as it was, what
    /// was acked is not, and nothing else is.
    pub async fn verify(&self, client: &Client) {
        let found = drain(client, &self.mailbox).await;
        for (id, ciphertext) in self.stored.iter().filter(|(id, _)| !self.acked.contains(*id)) {
            if self.open_ack.as_ref() == Some(id) {
                continue;
            }
            assert_eq!(found.get(id), Some(ciphertext), "an answered blob is missing or torn");
        }
        for (id, ciphertext) in &found {
            assert!(!self.acked.contains(id), "an acked blob came back");
            let expected = self.stored.contains_key(id) || self.open_send.as_ref() == Some(ciphertext);
            assert!(expected, "a blob that nobody sent");
        }
    }
}

/// Fetches and acks until the mailbox is empty.
pub async fn drain(client: &Client, mailbox: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    loop {
        let page = client.fetch(&[mailbox]).await.page();
        if page.blobs.is_empty() {
            return found;
        }
        for blob in page.blobs {
            assert!(client.ack(mailbox, &blob.id).await.acknowledged());
            assert!(found.insert(blob.id, blob.ciphertext).is_none(), "delivered again after its ack");
        }
    }
}

/// Clients that send and ack until they are stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Ledger>>,
}

impl Load {
    /// Every request must be answered, and with success.
    pub fn steady(clients: Vec<Client>) -> Self {
        Self::start(clients, true, None)
    }

    /// The same, and each client asks once in so much time.
    pub fn paced(clients: Vec<Client>, every: Duration) -> Self {
        Self::start(clients, true, Some(every))
    }

    /// Every answer must be a success; a client whose connection breaks goes home.
    pub fn until_cut(clients: Vec<Client>) -> Self {
        Self::start(clients, false, None)
    }

    /// Answers so far.
    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    fn start(clients: Vec<Client>, steady: bool, every: Option<Duration>) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let spawn = |client: Client| {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            tokio::spawn(async move {
                let mut ledger = Ledger::open();
                let mut beats = every.map(deadline::beats);
                for round in 0_usize.. {
                    if let Some(beats) = &mut beats {
                        beats.tick().await;
                    }
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let answered =
                        if round % 3 == 2 { ledger.ack(&client).await } else { ledger.send(&client).await };
                    if !answered {
                        assert!(!steady, "a request without an answer");
                        break;
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                ledger
            })
        };
        let tasks = clients.into_iter().map(spawn).collect();
        Self { stop, answers, tasks }
    }

    /// Waits for so many answers more than there are now.
    pub async fn more(&self, count: usize) {
        let goal = self.answers() + count;
        deadline::until("answers under load", PATIENCE, async || {
            let failed = self.tasks.iter().any(JoinHandle::is_finished);
            (failed || self.answers() >= goal).then_some(())
        })
        .await;
    }

    /// Stops the clients, or waits for them to go home, and returns what they were told.
    pub async fn stop(self) -> Vec<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ledgers = Vec::new();
        for task in self.tasks {
            ledgers.push(deadline::soon("a client", task).await.expect("no client failed"));
        }
        ledgers
    }
}

/// Checks what each of them was told.
pub async fn verify(client: &Client, ledgers: &[Ledger]) {
    for ledger in ledgers {
        ledger.verify(client).await;
    }
}
