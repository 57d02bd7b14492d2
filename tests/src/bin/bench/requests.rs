//! Requests as bytes, made once; only the parts that must differ are written anew for each.

use crate::random::Random;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Hex digits of a mailbox token.
pub(crate) const TOKEN: usize = 64;
/// Hex digits of a blob id.
pub(crate) const BLOB_ID: usize = 32;
/// Base64 digits at the front of a ciphertext that make it unlike any other.
const FRESH: usize = 30;

/// A mailbox token as clients write it.
pub(crate) type Token = [u8; TOKEN];
/// A blob id as the relay writes it.
pub(crate) type BlobId = [u8; BLOB_ID];

/// A family of mailboxes; two families have none in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mailboxes(pub(crate) u32);

impl Mailboxes {
    pub(crate) fn token(self, index: u64) -> Token {
        let mut token = [0; TOKEN];
        Random::seeded((u64::from(self.0) << 48) ^ index).hex(&mut token);
        token
    }
}

/// A request with holes.
#[derive(Debug, Clone)]
struct Template {
    bytes: Vec<u8>,
    body: usize,
}

impl Template {
    fn post(path: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: relay.example\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n"
        );
        Self { bytes: [head.as_bytes(), body.as_bytes()].concat(), body: head.len() }
    }

    /// The hole that begins `at` bytes into the body.
    fn hole(&mut self, at: usize, length: usize) -> &mut [u8] {
        &mut self.bytes[self.body + at..][..length]
    }
}

/// `POST /v2/send` of a ciphertext of one size.
#[derive(Debug, Clone)]
pub(crate) struct SendRequest(Template);

impl SendRequest {
    const RECIPIENT: &str = r#"{"recipient_id":""#;
    const CIPHERTEXT: &str = r#"","ciphertext":""#;

    pub(crate) fn new(ciphertext: usize, random: &mut Random) -> Self {
        let mut bytes = vec![0; ciphertext];
        random.bytes(&mut bytes);
        let body = format!(
            "{}{}{}{}\"}}",
            Self::RECIPIENT,
            "0".repeat(TOKEN),
            Self::CIPHERTEXT,
            STANDARD.encode(bytes)
        );
        Self(Template::post("/v2/send", &body))
    }

    /// To this mailbox, with a ciphertext that was never sent before.
    pub(crate) fn fresh(&mut self, recipient: &Token, random: &mut Random) -> &[u8] {
        let recipient_at = Self::RECIPIENT.len();
        self.0.hole(recipient_at, TOKEN).copy_from_slice(recipient);
        random.base64(self.0.hole(recipient_at + TOKEN + Self::CIPHERTEXT.len(), FRESH));
        &self.0.bytes
    }
}

/// `POST /v2/fetch` of one mailbox.
#[derive(Debug, Clone)]
pub(crate) struct FetchRequest(Template);

impl FetchRequest {
    const TOKENS: &str = r#"{"mailbox_tokens":[""#;

    pub(crate) fn new() -> Self {
        Self(Template::post("/v2/fetch", &format!("{}{}\"]}}", Self::TOKENS, "0".repeat(TOKEN))))
    }

    pub(crate) fn of(&mut self, mailbox: &Token) -> &[u8] {
        self.0.hole(Self::TOKENS.len(), TOKEN).copy_from_slice(mailbox);
        &self.0.bytes
    }
}

/// `POST /v2/ack` of one blob.
#[derive(Debug, Clone)]
pub(crate) struct AckRequest(Template);

impl AckRequest {
    const RECIPIENT: &str = r#"{"recipient_id":""#;
    const BLOB: &str = r#"","blob_id":""#;

    pub(crate) fn new() -> Self {
        let body =
            format!("{}{}{}{}\"}}", Self::RECIPIENT, "0".repeat(TOKEN), Self::BLOB, "0".repeat(BLOB_ID));
        Self(Template::post("/v2/ack", &body))
    }

    pub(crate) fn of(&mut self, mailbox: &Token, blob: &BlobId) -> &[u8] {
        let recipient_at = Self::RECIPIENT.len();
        self.0.hole(recipient_at, TOKEN).copy_from_slice(mailbox);
        self.0.hole(recipient_at + TOKEN + Self::BLOB.len(), BLOB_ID).copy_from_slice(blob);
        &self.0.bytes
    }
}

/// The blob ids that an answer names, in its order.
pub(crate) fn blob_ids(answer: &[u8]) -> impl Iterator<Item = BlobId> {
    const NAME: &[u8] = br#""blob_id":""#;
    let mut rest = answer;
    std::iter::from_fn(move || {
        let at = find(rest, NAME)? + NAME.len();
        let id = rest.get(at..at + BLOB_ID)?.try_into().ok()?;
        rest = &rest[at + BLOB_ID..];
        Some(id)
    })
}

/// Where `needle` begins. Ciphertexts are long and hold no quotes, so the quote is what to look for.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(step) = haystack.get(from..)?.iter().position(|byte| *byte == first) {
        let at = from + step;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_request_is_json_of_the_declared_length() {
        let mut random = Random::new();
        let token = Mailboxes(1).token(7);
        let mut send = SendRequest::new(300, &mut random);
        let first = send.fresh(&token, &mut random).to_vec();
        assert_ne!(first, send.fresh(&token, &mut random), "every ciphertext is new");
        let mut fetch = FetchRequest::new();
        let mut ack = AckRequest::new();
        for request in [&first[..], fetch.of(&token), ack.of(&token, &[b'a'; BLOB_ID])] {
            let end = find(request, b"\r\n\r\n").unwrap();
            let (head, body) = (std::str::from_utf8(&request[..end]).unwrap(), &request[end + 4..]);
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            let json: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert!(json.to_string().contains(std::str::from_utf8(&token).unwrap()));
            if let Some(ciphertext) = json["ciphertext"].as_str() {
                assert_eq!(STANDARD.decode(ciphertext).unwrap().len(), 300);
            }
        }
    }

    #[test]
    fn every_blob_of_a_page_is_found() {
        let page = format!(
            r#"{{"blobs":[{{"blob_id":"{}","ciphertext":"AA=="}},{{"blob_id":"{}"}},{{"blob_id":"cut"#,
            "a".repeat(BLOB_ID),
            "b".repeat(BLOB_ID)
        );
        let ids: Vec<_> = blob_ids(page.as_bytes()).collect();
        assert_eq!(ids, [[b'a'; BLOB_ID], [b'b'; BLOB_ID]]);
    }
}
