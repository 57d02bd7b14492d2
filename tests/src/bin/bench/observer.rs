//! What somebody learns who sees nothing but the sizes of sealed answers: every action in both forms, hits, misses
//! and errors, and the set of sizes that came back.

use crate::load::{LoadClient, TO_THE_END};
use crate::oblivious::SEAL;
use crate::scenarios::Mailboxes;
use crate::wire::post;
use crate::{Fallible, Options, relay};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::random_range;
use relay_tests::fields::{
    ack_fields, claim_fields, complete_fields, guardian_fields, key_fields, mailbox_fields, proof_fields,
    put_fields, random_bytes, send_fields,
};
use relay_tests::oblivious::binary::Encode as _;
use relay_tests::oblivious::{Key, PATH, REQUEST_TYPE, binary, envelope, is_padded_size};
use relay_tests::{Action, Client, Via};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

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

/// What one sealed answer was inside, its size outside, and whether that size tells something.
type Seen = (&'static str, usize, bool);

pub(crate) async fn measure(options: &Options, directory: &Path) -> Fallible<Value> {
    let mut relay = relay::start(directory, 1, &VARIABLES).await?;
    let key = Client::new(relay.address(), Via::Envelope).key().await;
    let each = options.amount(100_000, 5_000) / CONNECTIONS as u64;
    let scenario = |client| ask_anything(client, key.clone(), each);
    let (outcome, seen) = relay::load(&mut relay, CONNECTIONS, TO_THE_END, scenario).await?;
    outcome.show_errors();
    // Answers by what they were inside and their size outside.
    let (mut sizes, mut telling) = (BTreeMap::<_, BTreeMap<usize, u64>>::new(), 0);
    for (inside, size, tells) in seen.into_iter().flatten() {
        *sizes.entry(inside).or_default().entry(size).or_default() += 1;
        telling += u64::from(tells);
    }
    let (requests, errors) = (outcome.requests(), outcome.errors);
    Ok(json!({ "requests": requests, "sizes": sizes, "telling": telling, "errors": errors }))
}

/// Asks for any action in either form, at random.
async fn ask_anything(mut client: LoadClient, key: Key, count: u64) -> Vec<Seen> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let action = Action::ALL[random_range(0..Action::ALL.len())];
        let fields = if random_range(0..10) == 0 { json!({}) } else { random_fields(action) };
        let is_binary = rand::random();
        let plaintext = if is_binary {
            binary::Request::post(action.path(), &fields).encode()
        } else {
            envelope::request(action, &fields)
        };
        let (sealed, opener) = key.seal(&plaintext);
        let check = |status, body: &[u8]| {
            if status != 200 {
                return Err(format!("status {status} outside"));
            }
            let plaintext = opener.open_body(body);
            let inside =
                if is_binary { binary::reply(&plaintext).body } else { envelope::unframed(&plaintext) };
            Ok((kind(&inside)?, body.len(), tells(body.len() - SEAL, inside.len())))
        };
        seen.extend(client.ask(&post(PATH, REQUEST_TYPE, &sealed), check).await);
    }
    seen
}

/// Whether an answer has a size that is not allowed, or not the least that what is inside fits. In one form there are
/// a status and headers in front of it.
fn tells(size: usize, inside: usize) -> bool {
    let least = [4096, 32_768].into_iter().find(|rung| inside + 4 <= *rung).unwrap_or(98_304);
    !is_padded_size(size) || size < least || (size > least && inside + 600 <= least)
}

/// A mailbox or another name. Half of the names are common to all, the others nobody's; a few are malformed.
fn name() -> String {
    let among = if rand::random() { MAILBOXES } else { 1 << 40 };
    let name = Mailboxes(6).random(among);
    if random_range(0..50) == 0 { format!("x{}", &name[1..]) } else { name }
}

fn bytes(sizes: &[usize]) -> Vec<u8> {
    random_bytes(sizes[random_range(0..sizes.len())])
}

fn random_fields(action: Action) -> Value {
    let (mailbox, signature) = (name(), name() + &name());
    let code = format!("{:06}", random_range(0..200));
    match action {
        Action::Send => send_fields(&mailbox, &bytes(&[16, 500, 1000, 1000, 4000, 30_000])),
        Action::Fetch | Action::Register => mailbox_fields(&[mailbox]),
        Action::Ack => ack_fields(&mailbox, &name()[..32]),
        Action::Purge => json!({
            "recipient_id": mailbox, "public_key": mailbox, "purge_token": name(), "timestamp": 5,
            "signature": signature,
        }),
        Action::RecoveryStore => proof_fields(&mailbox, &bytes(&[1, 300, 4096])),
        Action::RecoveryQuery => key_fields(&[mailbox, name(), name(), name()]),
        Action::ExchangeOffer => {
            json!({ "payload": STANDARD.encode(bytes(&[10, 2000, 40_000])), "expires_secs": 30 })
        }
        Action::ExchangeClaim => claim_fields(&code, "taken"),
        Action::ExchangeComplete => complete_fields(&code),
        Action::GuardianQuery => guardian_fields(&mailbox),
        Action::GuardianStore | Action::GuardianDelete => json!({
            "guardian_hash": mailbox, "designator_pk": mailbox, "timestamp": 5, "entries": [],
            "signature": signature,
        }),
        Action::Escrow => {
            let slot = Mailboxes(7).random(2);
            let mut fields = put_fields(&mailbox, &slot, &bytes(&[10, 3000, 50_000]), 600);
            fields["escrow_action"] = ["Put", "Get", "Count"][random_range(0..3)].into();
            fields
        }
    }
}

/// What an answer is inside.
fn kind(json: &[u8]) -> Result<&'static str, String> {
    let json: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let is_empty =
        ["blobs", "proofs", "guardians"].iter().any(|name| json[*name].as_array().is_some_and(Vec::is_empty))
            || json["acknowledged"] == false
            || json["status"] == "NotFound";
    Ok(match (json["status"] == "error", is_empty) {
        (true, _) => "error",
        (false, true) => "nothing there",
        (false, false) => "success",
    })
}
