//! What somebody learns who sees nothing but the sizes of sealed answers: every action in both forms, hits, misses
//! and errors, and the set of sizes that came back.

use crate::Fallible;
use crate::load::{self, Pace, Script};
use crate::options::Plan;
use crate::random::Random;
use crate::relay::Site;
use crate::requests::Mailboxes;
use crate::table::{Table, number};
use crate::wire;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use relay_tests::action::Action;
use relay_tests::oblivious::{Key, Opener, PATH, REQUEST_TYPE, RESPONSE_TYPE, binary, envelope, is_rung};
use relay_tests::reply::Reply;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What sealing adds: a nonce as long as the longest key, and a tag.
const AROUND: usize = 32 + 16;
const CONNECTIONS: usize = 16;
/// Few, so that hits are common.
const MAILBOXES: u64 = 300;
/// Limits are far away, and none of the actions is refused for being asked too often.
const VARIABLES: [(&str, &str); 5] = [
    ("RELAY_OHTTP_RATE_LIMIT", "100000000"),
    ("RELAY_OHTTP_RELAYS", "127.0.0.1"),
    ("RELAY_RECOVERY_RATE_LIMIT", "100000000"),
    ("RELAY_EXCHANGE_GUESS_LIMIT", "1000000"),
    ("RELAY_EXCHANGE_MAX_OFFERS", "100000"),
];

/// What an observer saw.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Observed {
    pub(crate) requests: u64,
    /// Answers by what they were inside and their size outside.
    pub(crate) sizes: BTreeMap<&'static str, BTreeMap<usize, u64>>,
    /// Sizes that are none of the ladder's, or not the rung of what is inside.
    pub(crate) telling: u64,
    pub(crate) errors: u64,
}

pub(crate) async fn measure(directory: &Path, plan: &Plan) -> Fallible<Observed> {
    let site = Site::new(directory)?;
    let variables = VARIABLES.map(|(name, value)| (name, value.to_owned()));
    let mut apart = site.apart_with(&variables).await?;
    let (_, config) = wire::get(site.address(), "/v2/ohttp-key").await?;
    let key = Key::bare(config);
    let each = plan.observed / CONNECTIONS as u64;
    let askers = (0..CONNECTIONS).map(|_| Asker::new(key.clone(), each)).collect();
    let (outcome, askers) = load::drive(site.address(), askers, Pace::to_the_end(), &[]).await?;
    apart.still_runs()?;
    let mut observed =
        Observed { requests: outcome.requests(), errors: outcome.errors, ..Observed::default() };
    for sample in &outcome.samples {
        eprintln!("    wrong: {sample}");
    }
    for asker in askers {
        observed.telling += asker.telling;
        for ((inside, size), count) in asker.sizes {
            *observed.sizes.entry(inside).or_default().entry(size).or_default() += count;
        }
    }
    Ok(observed)
}

/// The sizes that an observer saw, as a table.
pub(crate) fn table(observed: &Observed) -> Table {
    let title = format!("Sizes of {} sealed answers", number(observed.requests as f64));
    let mut table = Table::new(title, &["inside", "bytes outside", "answers"]);
    for (inside, sizes) in &observed.sizes {
        for (size, count) in sizes {
            table.row([(*inside).to_owned(), size.to_string(), count.to_string()]);
        }
    }
    table
}

/// Asks for anything, at random.
struct Asker {
    key: Key,
    left: u64,
    random: Random,
    request: Vec<u8>,
    asked: Option<(Opener, bool)>,
    sizes: BTreeMap<(&'static str, usize), u64>,
    telling: u64,
}

impl Asker {
    fn new(key: Key, left: u64) -> Self {
        let (random, request) = (Random::new(), Vec::new());
        Self { key, left, random, request, asked: None, sizes: BTreeMap::new(), telling: 0 }
    }

    fn name(&mut self) -> String {
        // Half of the names are common to all, the others nobody's.
        let number = self.random.below(2 * MAILBOXES);
        let mut name =
            Mailboxes(6).token(if number < MAILBOXES { number } else { self.random.below(1 << 40) });
        if self.random.below(50) == 0 {
            name[0] = b'x';
        }
        String::from_utf8_lossy(&name).into_owned()
    }

    fn bytes(&mut self, sizes: &[usize]) -> Vec<u8> {
        let size = sizes[self.random.below(sizes.len() as u64) as usize];
        let mut bytes = vec![0; size];
        self.random.bytes(&mut bytes);
        bytes
    }

    fn fields(&mut self, action: Action) -> Value {
        let name = self.name();
        let code = format!("{:06}", self.random.below(200));
        match action {
            Action::Send => {
                let blob = self.bytes(&[16, 500, 1000, 1000, 4000, 30_000]);
                json!({ "recipient_id": name, "ciphertext": STANDARD.encode(blob) })
            }
            Action::Fetch | Action::Register => json!({ "mailbox_tokens": [name] }),
            Action::Ack => json!({ "recipient_id": name, "blob_id": &self.name()[..32] }),
            Action::Purge => json!({
                "recipient_id": name, "public_key": name, "purge_token": self.name(), "timestamp": 5,
                "signature": self.name() + &self.name(),
            }),
            Action::RecoveryStore => {
                let proof = self.bytes(&[1, 300, 4096]);
                json!({ "key_hash": name, "proof_data": STANDARD.encode(proof) })
            }
            Action::RecoveryQuery => json!({ "key_hashes": [name, self.name(), self.name(), self.name()] }),
            Action::ExchangeOffer => {
                let payload = self.bytes(&[10, 2000, 40_000]);
                json!({ "payload": STANDARD.encode(payload), "expires_secs": 30 })
            }
            Action::ExchangeClaim => json!({ "code": code, "response": "taken" }),
            Action::ExchangeComplete => json!({ "code": code }),
            Action::GuardianQuery => json!({ "guardian_hash": name }),
            Action::GuardianStore | Action::GuardianDelete => json!({
                "guardian_hash": name, "designator_pk": name, "timestamp": 5, "entries": [],
                "signature": self.name() + &self.name(),
            }),
            Action::Escrow => {
                let what = ["Put", "Get", "Count"][self.random.below(3) as usize];
                let blob = URL_SAFE_NO_PAD.encode(self.bytes(&[10, 3000, 50_000]));
                let slot = Mailboxes(7).token(self.random.below(2));
                json!({
                    "escrow_action": what, "gate_hash": name, "slot_hash": String::from_utf8_lossy(&slot),
                    "blob": blob, "ttl_seconds": 600,
                })
            }
        }
    }
}

impl Script for Asker {
    fn next(&mut self) -> Option<&[u8]> {
        self.left = self.left.checked_sub(1)?;
        let action = Action::ALL[self.random.below(Action::ALL.len() as u64) as usize];
        let fields = if self.random.below(10) == 0 { json!({}) } else { self.fields(action) };
        let is_binary = self.random.below(2) == 0;
        let plaintext = if is_binary {
            binary::Request::post(action.path(), &fields).encode()
        } else {
            envelope::request(action, &fields)
        };
        let (sealed, opener) = self.key.seal(&plaintext);
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: relay.example\r\ncontent-type: {REQUEST_TYPE}\r\n\
             content-length: {}\r\n\r\n",
            sealed.len()
        );
        self.request.clear();
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(&sealed);
        self.asked = Some((opener, is_binary));
        Some(&self.request)
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        let Some((opener, is_binary)) = self.asked.take() else {
            return Err("an answer to nothing".to_owned());
        };
        if status != 200 {
            return Err(format!("status {status} outside"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(RESPONSE_TYPE));
        let outer = Reply::plain(status, headers, Bytes::copy_from_slice(body));
        let plaintext = opener.open(&outer);
        let inside = if is_binary { binary::reply(&plaintext).body } else { envelope::unframed(&plaintext) };
        let kind = kind(&inside)?;
        *self.sizes.entry((kind, body.len())).or_default() += 1;
        let size = body.len() - AROUND;
        // The rung is the least that what is inside fits, with a status and headers in front of it in one form.
        let least = [4096, 32_768].into_iter().find(|rung| inside.len() + 4 <= *rung).unwrap_or(98_304);
        if !is_rung(size) || size < least || (size > least && inside.len() + 600 <= least) {
            self.telling += 1;
        }
        Ok(())
    }
}

/// What an answer is inside.
fn kind(json: &[u8]) -> Result<&'static str, String> {
    let json: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let is_empty =
        ["blobs", "proofs", "guardians"].iter().any(|name| json[*name].as_array().is_some_and(Vec::is_empty))
            || json["acknowledged"] == false
            || json["status"] == "NotFound";
    Ok(if json["status"] == "error" {
        "error"
    } else if is_empty {
        "nothing there"
    } else {
        "success"
    })
}
