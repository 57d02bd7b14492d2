//! Filling a relay with blobs, and looking whether all that it answered for is there.

use crate::Fallible;
use crate::load::{self, Pace, Script};
use crate::random::Random;
use crate::requests::{self, BlobId, FetchRequest, Mailboxes, SendRequest};
use crate::scripts::{self, Sent};
use relay_tests::deadline;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

const CONNECTIONS: usize = 64;
const BETWEEN_PROGRESS: Duration = Duration::from_secs(10);

/// What to fill a relay with.
#[derive(Clone)]
pub(crate) struct Stock {
    pub(crate) mailboxes: Mailboxes,
    /// Which mailbox the blob of a number goes to.
    pub(crate) place: fn(u64) -> u64,
    /// Sizes of ciphertexts, taken in turn.
    pub(crate) sizes: Vec<usize>,
}

impl Stock {
    /// Sends the blobs of these numbers through the client API, by 64 connections.
    pub(crate) async fn fill(&self, address: SocketAddr, blobs: Range<u64>) -> Fallible<Vec<Sent>> {
        let cursor = Arc::new(AtomicU64::new(blobs.start));
        let fillers = (0..CONNECTIONS)
            .map(|_| {
                let mut random = Random::new();
                let requests = self.sizes.iter().map(|size| SendRequest::new(*size, &mut random)).collect();
                let cursor = Arc::clone(&cursor);
                Filler {
                    stock: self.clone(),
                    cursor,
                    end: blobs.end,
                    requests,
                    random,
                    mailbox: 0,
                    sent: Vec::new(),
                }
            })
            .collect();
        let progress = tokio::spawn(async move {
            loop {
                deadline::pace(BETWEEN_PROGRESS).await;
                eprintln!(
                    "    {} of {} blobs stored",
                    cursor.load(Ordering::Relaxed).min(blobs.end),
                    blobs.end
                );
            }
        });
        let outcome = load::drive(address, fillers, Pace::to_the_end(), &[]).await;
        progress.abort();
        let (outcome, fillers) = outcome?;
        outcome.flawless("filling the store")?;
        Ok(fillers.into_iter().flat_map(|filler| filler.sent).collect())
    }
}

struct Filler {
    stock: Stock,
    cursor: Arc<AtomicU64>,
    end: u64,
    requests: Vec<SendRequest>,
    random: Random,
    mailbox: u64,
    sent: Vec<Sent>,
}

impl Script for Filler {
    fn next(&mut self) -> Option<&[u8]> {
        let number = self.cursor.fetch_add(1, Ordering::Relaxed);
        if number >= self.end {
            return None;
        }
        self.mailbox = (self.stock.place)(number);
        let size = usize::try_from(self.random.below(self.requests.len() as u64)).unwrap_or_default();
        let token = self.stock.mailboxes.token(self.mailbox);
        Some(self.requests.get_mut(size)?.fresh(&token, &mut self.random))
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        self.sent.push(Sent { mailbox: self.mailbox, blob: scripts::stored(status, body)? });
        Ok(())
    }
}

/// Fetches every mailbox and counts the blobs that were answered for and are not there.
pub(crate) async fn missing(address: SocketAddr, mailboxes: Mailboxes, sent: &[Sent]) -> Fallible<u64> {
    let mut expected: HashMap<u64, Vec<BlobId>> = HashMap::new();
    for sent in sent {
        expected.entry(sent.mailbox).or_default().push(sent.blob);
    }
    let expected = Arc::new(expected.into_iter().collect::<Vec<_>>());
    let cursor = Arc::new(AtomicUsize::new(0));
    let checkers = (0..CONNECTIONS)
        .map(|_| Checker {
            mailboxes,
            expected: Arc::clone(&expected),
            cursor: Arc::clone(&cursor),
            current: 0,
            request: FetchRequest::new(),
            missing: 0,
        })
        .collect();
    let (outcome, checkers) = load::drive(address, checkers, Pace::to_the_end(), &[]).await?;
    outcome.flawless("looking for the blobs")?;
    Ok(checkers.iter().map(|checker| checker.missing).sum())
}

struct Checker {
    mailboxes: Mailboxes,
    expected: Arc<Vec<(u64, Vec<BlobId>)>>,
    cursor: Arc<AtomicUsize>,
    current: usize,
    request: FetchRequest,
    missing: u64,
}

impl Script for Checker {
    fn next(&mut self) -> Option<&[u8]> {
        self.current = self.cursor.fetch_add(1, Ordering::Relaxed);
        let (mailbox, _) = self.expected.get(self.current)?;
        Some(self.request.of(&self.mailboxes.token(*mailbox)))
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        scripts::ok(status, body)?;
        if requests::find(body, br#""truncated":true"#).is_some() {
            return Err("a mailbox of the bench does not fit a page, so it cannot be checked".to_owned());
        }
        let there: HashSet<BlobId> = requests::blob_ids(body).collect();
        let (_, expected) = self.expected.get(self.current).ok_or("an answer to nothing")?;
        self.missing += expected.iter().filter(|blob| !there.contains(*blob)).count() as u64;
        Ok(())
    }
}
