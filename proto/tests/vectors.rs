//! The test vectors that authors of clients get (`vectors.json`), recomputed from their inputs with the code that the
//! relay's processes use, and `PROTOCOL.md`, which shows them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use ed25519_dalek::{Signer as _, SigningKey};
use relay_proto::anchor::{self, Certificate, Rollover, encode_rollovers, parse_rollovers, public};
use relay_proto::guardian::Designating;
use relay_proto::key_record::KeyRecord;
use relay_proto::keys::DAY_SECS;
use relay_proto::messages::{Hint, KeyWindow};
use relay_proto::{
    BlobId, Commitment, GuardianHash, MailboxToken, PublicKey, PurgeToken, Signature, TokensDigest,
    UnixSeconds, signed_bytes,
};
use serde_json::{Map, Value};

const VECTORS: &str = include_str!("../vectors.json");
const DOCUMENT: &str = include_str!("../PROTOCOL.md");

/// Why a vector does not hold.
type Wrong = String;

/// One vector: its fields by name.
#[derive(Clone, Copy)]
struct Vector<'a>(&'a Value);

impl Vector<'_> {
    fn text(&self, field: &str) -> Result<&str, Wrong> {
        self.0[field].as_str().ok_or_else(|| format!("{field} is no text"))
    }

    fn number(&self, field: &str) -> Result<u64, Wrong> {
        self.0[field].as_u64().ok_or_else(|| format!("{field} is no number"))
    }

    fn time(&self, field: &str) -> Result<UnixSeconds, Wrong> {
        self.number(field).map(UnixSeconds::new)
    }

    fn list(&self, field: &str) -> Result<&Vec<Value>, Wrong> {
        self.0[field].as_array().ok_or_else(|| format!("{field} is no list"))
    }

    fn bytes(&self, field: &str) -> Result<Vec<u8>, Wrong> {
        hex::decode(self.text(field)?).map_err(|error| format!("{field}: {error}"))
    }

    fn array<const N: usize>(&self, field: &str) -> Result<[u8; N], Wrong> {
        self.bytes(field)?.try_into().map_err(|_| format!("{field} has another length"))
    }

    fn key(&self, field: &str) -> Result<SigningKey, Wrong> {
        self.array(field).map(|seed| SigningKey::from_bytes(&seed))
    }

    fn signature(&self) -> Result<Signature, Wrong> {
        self.array("signature").map(Signature::from_bytes)
    }

    /// Fails unless a field has these very bytes.
    fn expect(&self, field: &str, computed: &[u8]) -> Result<(), Wrong> {
        if self.text(field)? == hex::encode(computed) { Ok(()) } else { Err(format!("{field} is another")) }
    }

    /// Fails unless these are the signed bytes, the signature is the key's, and the relay takes it.
    fn expect_signed(&self, key: &SigningKey, message: &[u8]) -> Result<(), Wrong> {
        self.expect("signed_bytes", message)?;
        self.expect("signature", &key.sign(message).to_bytes())?;
        if anchor::is_signed(&public(key), message, &self.signature()?) {
            Ok(())
        } else {
            Err("the relay does not take the signature".into())
        }
    }

    /// Fails unless a signature that the relay made is the vector's, and one of the key's over the signed bytes. Signatures
    /// of Ed25519 are deterministic, so no other bytes have it.
    fn expect_made(&self, prefix: &str, key: &SigningKey, made: &Signature) -> Result<(), Wrong> {
        let message = self.bytes(&format!("{prefix}signed_bytes"))?;
        self.expect(&format!("{prefix}signature"), &key.sign(&message).to_bytes())?;
        self.expect(&format!("{prefix}signature"), made.as_bytes())
    }
}

fn purge(vector: Vector<'_>) -> Result<(), Wrong> {
    let key = vector.key("secret_key")?;
    let public_key = public(&key);
    vector.expect("public_key", public_key.as_bytes())?;
    let token = PurgeToken::from_bytes(vector.array("purge_token")?);
    vector.expect_signed(&key, &signed_bytes::purge(&public_key, &token, vector.time("timestamp")?))
}

fn register(vector: Vector<'_>) -> Result<(), Wrong> {
    let key = vector.key("secret_key")?;
    vector.expect("public_key", public(&key).as_bytes())?;
    let read = |token: &Value| MailboxToken::from_hex(token.as_str()?).ok();
    let tokens: Option<Vec<_>> = vector.list("mailbox_tokens")?.iter().map(read).collect();
    let tokens_digest = TokensDigest::of(&tokens.ok_or("a token is malformed")?);
    vector.expect("tokens_digest", tokens_digest.as_bytes())?;
    let message = signed_bytes::registration(&public(&key), &tokens_digest, vector.time("timestamp")?);
    vector.expect_signed(&key, &message)
}

fn guardian(vector: Vector<'_>, what: Designating) -> Result<(), Wrong> {
    let key = vector.key("secret_key")?;
    vector.expect("designator_pk", public(&key).as_bytes())?;
    vector.expect("guardian_hash", GuardianHash::of_public_key(&public(&key)).as_bytes())?;
    vector.expect_signed(&key, &what.message(&public(&key), vector.time("timestamp")?))
}

fn key_record(vector: Vector<'_>) -> Result<(), Wrong> {
    let (anchor, intermediate) = (vector.key("anchor_secret_key")?, vector.key("intermediate_secret_key")?);
    vector.expect("anchor", public(&anchor).as_bytes())?;
    vector.expect("intermediate_key", public(&intermediate).as_bytes())?;
    let seed = vector.bytes("window_seed")?.into();
    let window = KeyWindow { number: vector.number("window")?, seed };
    let config = window.encoded_config().map_err(|error| error.to_string())?;
    vector.expect("key_configuration", &config)?;
    let (from, until) = (vector.time("not_before")?, vector.time("not_after")?);
    let certificate = Certificate::issue(&anchor, &public(&intermediate), from, until);
    vector.expect_made("certificate_", &anchor, &certificate.signature)?;
    let record = KeyRecord::sign(window.number, config.into(), &intermediate, certificate);
    let record = record.ok_or("the key configuration is too long")?;
    vector.expect_made("", &intermediate, &record.signature)?;
    vector.expect("record", &record.encode())?;
    let read = KeyRecord::parse(&vector.bytes("record")?).map_err(|error| error.to_string())?;
    let noon = UnixSeconds::new(window.number * DAY_SECS + DAY_SECS / 2);
    read.verify(&public(&anchor), noon).map_err(|error| error.to_string())
}

fn rollover(vector: Vector<'_>) -> Result<(), Wrong> {
    let key = vector.key("secret_key")?;
    vector.expect("new_anchor", public(&key).as_bytes())?;
    let commitment = Commitment::to(&public(&key));
    vector.expect("commitment", commitment.as_bytes())?;
    let next = Commitment::to(&PublicKey::from_bytes(vector.array("next_backup_key")?));
    vector.expect("next_commitment", next.as_bytes())?;
    let record = Rollover::issue(&key, next);
    vector.expect_made("", &key, &record.signature)?;
    vector.expect("record", &record.encode())?;
    vector.expect("body", &encode_rollovers(&[record]))?;
    let read = parse_rollovers(&vector.bytes("body")?).map_err(|error| error.to_string())?;
    if read.iter().all(|record| record.follows(&commitment)) {
        Ok(())
    } else {
        Err("it is not followed".into())
    }
}

fn hints(vector: Vector<'_>) -> Result<(), Wrong> {
    let key = vector.key("secret_key")?;
    vector.expect("relay_signing_key", public(&key).as_bytes())?;
    let read = |hint: &Value| {
        let hint = Vector(hint);
        let blob_id = hint.bytes("blob_id")?.into();
        let relay_url = hint.text("relay_url")?.to_owned();
        Ok::<_, Wrong>(Hint { blob_id, relay_url, expires_at: hint.number("expires_at_secs")? })
    };
    let hints: Vec<Hint> = vector.list("hints")?.iter().map(read).collect::<Result<_, _>>()?;
    if !hints.is_sorted_by(|one, next| one.blob_id <= next.blob_id) {
        return Err("the hints are not sorted".into());
    }
    vector.expect_signed(&key, &signed_bytes::hints(&hints))
}

fn blob(vector: Vector<'_>) -> Result<(), Wrong> {
    let mailbox = MailboxToken::from_bytes(vector.array("mailbox_token")?).hash();
    vector.expect("mailbox_hash", mailbox.as_bytes())?;
    vector.expect("blob_id", BlobId::derive(&mailbox, &vector.bytes("ciphertext")?).as_bytes())
}

fn check(name: &str, vector: &Value) -> Result<(), Wrong> {
    let vector = Vector(vector);
    match name {
        "purge" => purge(vector),
        "register" => register(vector),
        "guardian_store" => guardian(vector, Designating::Store),
        "guardian_delete" => guardian(vector, Designating::Delete),
        "key_record" => key_record(vector),
        "rollover" => rollover(vector),
        "hints" => hints(vector),
        "blob" => blob(vector),
        _ => Err("nothing recomputes it".into()),
    }
}

fn vectors() -> Map<String, Value> {
    serde_json::from_str(VECTORS).unwrap()
}

/// A vector again and again, each time with one digit or letter of it changed, and what was changed.
fn spoilt(vector: &Value) -> Vec<(String, Value)> {
    match vector {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                spoilt(value).into_iter().map(move |(place, changed)| {
                    let mut fields = fields.clone();
                    fields[name] = changed;
                    (format!("{name} {place}"), Value::Object(fields))
                })
            })
            .collect(),
        Value::Array(entries) => (0..entries.len())
            .flat_map(|at| {
                spoilt(&entries[at]).into_iter().map(move |(place, changed)| {
                    let mut entries = entries.clone();
                    entries[at] = changed;
                    (format!("{at} {place}"), Value::Array(entries))
                })
            })
            .collect(),
        Value::Number(number) => vec![(String::new(), Value::from(number.as_u64().unwrap() + 1))],
        Value::String(text) => {
            (0..text.len()).map(|at| (at.to_string(), Value::from(other(text, at)))).collect()
        }
        other => panic!("no vector has {other}"),
    }
}

/// A text with another hexadecimal digit in one place.
fn other(text: &str, at: usize) -> String {
    let digit = if &text[at..=at] == "0" { "1" } else { "0" };
    [&text[..at], digit, &text[at + 1..]].concat()
}

#[test]
fn every_vector_is_what_the_relay_computes() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 8);
    for (name, vector) in vectors {
        check(&name, &vector).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
    }
}

#[test]
fn no_digit_of_a_vector_can_be_another() {
    for (name, vector) in vectors() {
        let spoilt = spoilt(&vector);
        assert!(spoilt.len() > 100, "{name} has few digits");
        for (place, changed) in spoilt {
            assert!(check(&name, &changed).is_err(), "{name} holds with another {place}");
        }
    }
}

/// The vectors that the document shows: a block of JSON behind a marker each.
fn shown() -> Vec<(&'static str, Value)> {
    let read = |part: &'static str| {
        let (name, rest) = part.split_once(" -->\n\n```json\n").unwrap();
        let (json, _) = rest.split_once("\n```\n").unwrap();
        (name, serde_json::from_str(json).unwrap())
    };
    DOCUMENT.split("<!-- vector: ").skip(1).map(read).collect()
}

#[test]
fn the_document_shows_every_vector_as_it_is() {
    let (shown, vectors) = (shown(), vectors());
    assert_eq!(shown.len(), vectors.len(), "each is shown once");
    for (name, vector) in shown {
        assert_eq!(Some(&vector), vectors.get(name), "PROTOCOL.md shows another vector {name}");
    }
}
