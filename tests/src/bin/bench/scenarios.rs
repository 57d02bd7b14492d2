//! What the connections of a load do: send, fetch, ack, all three in turn; fill a relay, and look for what it stored.

use crate::load::{self, LoadClient, TO_THE_END};
use crate::{Fallible, wire};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::seq::SliceRandom as _;
use relay_tests::fields::random_bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;

/// Bytes of a ciphertext where nothing else is said.
pub(crate) const BLOB: usize = 1024;
/// Connections that fill a relay or look for what it stored.
const CONNECTIONS: usize = 64;
/// Blobs stored between two lines about it.
const PROGRESS: u64 = 100_000;

/// A family of mailboxes; two families have none in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mailboxes(pub(crate) u32);

impl Mailboxes {
    /// The token of one of them: the same for the same number.
    pub(crate) fn token(self, number: u64) -> String {
        hex::encode(Sha256::digest([&self.0.to_le_bytes()[..], &number.to_le_bytes()].concat()))
    }

    pub(crate) fn random(self, among: u64) -> String {
        self.token(rand::random_range(0..among))
    }
}

/// A blob that the relay has answered for.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    mailbox: u64,
    blob_id: String,
}

/// What all connections of a load share, each item for one of them.
pub(crate) type Pool<T> = Rc<RefCell<Vec<T>>>;

pub(crate) fn take<T>(pool: &Pool<T>) -> Option<T> {
    pool.borrow_mut().pop()
}

impl LoadClient {
    /// Sends a blob whose beginning was never sent before. Returns the id that the relay gave it.
    pub(crate) async fn send(&mut self, token: &str, blob: &mut [u8]) -> Option<String> {
        self.ask(&send_request(token, blob), |status, body| Ok(json::<StoredBlob>(status, body)?.blob_id))
            .await
    }

    /// Fetches a mailbox and checks the ids of its blobs.
    pub(crate) async fn fetch<T>(
        &mut self,
        token: &str,
        check: impl FnOnce(HashSet<String>) -> Result<T, String>,
    ) -> Option<T> {
        self.ask(&fetch_request(token), |status, body| {
            let page: Page = json(status, body)?;
            if page.truncated {
                return Err("a mailbox of the bench does not fit a page, so it cannot be checked".to_owned());
            }
            check(page.blobs.into_iter().map(|blob| blob.blob_id).collect())
        })
        .await
    }

    pub(crate) async fn ack(&mut self, token: &str, blob_id: &str) -> Option<()> {
        self.ask(&ack_request(token, blob_id), |status, body| {
            let answer: Acknowledgement = json(status, body)?;
            answer.acknowledged.then_some(()).ok_or_else(|| "an ack found no blob".to_owned())
        })
        .await
    }
}

#[derive(Deserialize)]
struct StoredBlob {
    blob_id: String,
}

#[derive(Deserialize)]
struct Page {
    blobs: Vec<StoredBlob>,
    truncated: bool,
}

#[derive(Deserialize)]
struct Acknowledgement {
    acknowledged: bool,
}

/// Reads the JSON of a success. Of what is not understood only the length is told, since it may name blobs.
fn json<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, String> {
    if status != 200 {
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
        return Err(format!("status {status}: {text}"));
    }
    serde_json::from_slice(body).map_err(|_| format!("an answer of {} bytes has another form", body.len()))
}

fn post(path: &str, body: &str) -> Vec<u8> {
    wire::post(path, "application/json", body.as_bytes())
}

/// A send of a blob, after its beginning was replaced.
pub(crate) fn send_request(token: &str, blob: &mut [u8]) -> Vec<u8> {
    rand::fill(&mut blob[..16]);
    let ciphertext = STANDARD.encode(blob);
    post("/v2/send", &format!(r#"{{"recipient_id":"{token}","ciphertext":"{ciphertext}"}}"#))
}

pub(crate) fn fetch_request(token: &str) -> Vec<u8> {
    post("/v2/fetch", &format!(r#"{{"mailbox_tokens":["{token}"]}}"#))
}

fn ack_request(token: &str, blob_id: &str) -> Vec<u8> {
    post("/v2/ack", &format!(r#"{{"recipient_id":"{token}","blob_id":"{blob_id}"}}"#))
}

/// Sends to mailboxes of these numbers, as long as there are any, blobs of random ones of these sizes. Returns what was
/// stored.
async fn store(
    mut client: LoadClient,
    mailboxes: Mailboxes,
    sizes: Vec<usize>,
    mut next: impl FnMut() -> Option<u64>,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut blobs: Vec<Vec<u8>> = sizes.into_iter().map(random_bytes).collect();
    while client.is_on()
        && let Some(mailbox) = next()
    {
        let blob = rand::random_range(0..blobs.len());
        if let Some(blob_id) = client.send(&mailboxes.token(mailbox), &mut blobs[blob]).await {
            sent.push(Sent { mailbox, blob_id });
        }
    }
    sent
}

/// Sends to random mailboxes. Returns what was stored.
pub(crate) fn send(client: LoadClient, mailboxes: Mailboxes, among: u64) -> impl Future<Output = Vec<Sent>> {
    store(client, mailboxes, vec![BLOB], move || Some(rand::random_range(0..among)))
}

/// Fetches random mailboxes that hold one blob each: those below `end` whose number `every` divides.
pub(crate) async fn fetch(mut client: LoadClient, mailboxes: Mailboxes, every: u64, end: u64) {
    while client.is_on() {
        let token = mailboxes.token(rand::random_range(0..end / every) * every);
        let check = |blobs: HashSet<String>| match blobs.len() {
            1 => Ok(()),
            other => Err(format!("a mailbox with one blob answered {other}")),
        };
        client.fetch(&token, check).await;
    }
}

/// Acks blobs of a pool until it is empty.
pub(crate) async fn ack(mut client: LoadClient, mailboxes: Mailboxes, pool: Pool<Sent>) {
    while client.is_on()
        && let Some(sent) = take(&pool)
    {
        client.ack(&mailboxes.token(sent.mailbox), &sent.blob_id).await;
    }
}

/// In an order unlike that of arrival, as clients ack.
pub(crate) fn shuffled(mut sent: Vec<Sent>) -> Pool<Sent> {
    sent.shuffle(&mut rand::rng());
    Pool::new(RefCell::new(sent))
}

/// Sends to a mailbox, fetches it, acks what it sent: what a delivered message costs, a third each.
pub(crate) async fn mixed(mut client: LoadClient, mailboxes: Mailboxes, among: u64) {
    let mut blob = random_bytes(BLOB);
    while client.is_on() {
        let token = mailboxes.random(among);
        let Some(blob_id) = client.send(&token, &mut blob).await else { continue };
        let check = |blobs: HashSet<String>| {
            let is_there = blobs.contains(&blob_id);
            is_there.then_some(()).ok_or_else(|| "a blob just sent is not in its mailbox".to_owned())
        };
        if client.fetch(&token, check).await.is_some() {
            client.ack(&token, &blob_id).await;
        }
    }
}

/// Stores so many blobs of random ones of these sizes through the client API; `place` says which mailbox the blob of
/// a number goes to. Returns what was stored.
pub(crate) async fn fill(
    address: SocketAddr,
    (mailboxes, place): (Mailboxes, fn(u64) -> u64),
    sizes: &[usize],
    blobs: u64,
) -> Fallible<Vec<Sent>> {
    let next = Rc::new(Cell::new(0));
    let scenario = |client| {
        let next = Rc::clone(&next);
        let place_next = move || {
            let number = next.replace(next.get() + 1);
            if number > 0 && number < blobs && number.is_multiple_of(PROGRESS) {
                eprintln!("    {number} of {blobs} blobs stored");
            }
            (number < blobs).then(|| place(number))
        };
        store(client, mailboxes, sizes.to_vec(), place_next)
    };
    let (outcome, sent) = load::run(address, CONNECTIONS, TO_THE_END, Vec::new(), scenario).await?;
    outcome.flawless("filling the store")?;
    Ok(sent.concat())
}

/// Fetches every mailbox and counts the blobs that were answered for and are not there.
pub(crate) async fn missing(address: SocketAddr, mailboxes: Mailboxes, sent: Vec<Sent>) -> Fallible<u64> {
    let mut expected: HashMap<u64, HashSet<String>> = HashMap::new();
    for Sent { mailbox, blob_id } in sent {
        expected.entry(mailbox).or_default().insert(blob_id);
    }
    let pool = Pool::new(RefCell::new(expected.into_iter().collect()));
    let scenario = |mut client: LoadClient| {
        let pool = Pool::clone(&pool);
        async move {
            let mut missing = 0;
            while let Some((mailbox, expected)) = take(&pool) {
                let check = |there: HashSet<String>| Ok(expected.difference(&there).count() as u64);
                missing += client.fetch(&mailboxes.token(mailbox), check).await.unwrap_or(0);
            }
            missing
        }
    };
    let (outcome, missing) = load::run(address, CONNECTIONS, TO_THE_END, Vec::new(), scenario).await?;
    outcome.flawless("looking for the blobs")?;
    Ok(missing.into_iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_json_of_the_declared_length() {
        let (token, mut blob) = (Mailboxes(1).token(7), random_bytes(300));
        let send = send_request(&token, &mut blob);
        assert_ne!(send, send_request(&token, &mut blob), "every ciphertext is new");
        for request in [send, fetch_request(&token), ack_request(&token, &"a".repeat(32))] {
            let request = String::from_utf8(request).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(json.to_string().contains(&token));
            if let Some(ciphertext) = json["ciphertext"].as_str() {
                assert_eq!(STANDARD.decode(ciphertext).unwrap().len(), 300);
            }
        }
    }

    #[test]
    fn every_blob_of_a_page_is_found() {
        let page = r#"{"blobs":[{"blob_id":"aa","ciphertext":"AA=="},{"blob_id":"bb"}],"truncated":false}"#;
        let ids = json::<Page>(200, page.as_bytes()).unwrap().blobs;
        assert_eq!(ids.iter().map(|blob| blob.blob_id.as_str()).collect::<Vec<_>>(), ["aa", "bb"]);
        assert!(json::<Page>(200, br#"{"blobs":[{"blob_id":"cut"#).is_err());
    }
}
