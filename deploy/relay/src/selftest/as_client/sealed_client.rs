//! A client as strict as the ones that people have: it takes a key only as a signed record that holds today, fetches the
//! key once more when a request fails outside, and reads and sends no more than oblivious relays pass on.

use crate::display::output::runtime;
use crate::selftest::reply::{ApiReply, StepError, check_type, wrong};
use crate::selftest::transport::client;
use relay_client::{Client, Key, Response, ServedKeyRecord, Url, envelope, key_record, oblivious};
use relay_daemon::{Clock, Failure};
use relay_proto::PublicKey;
use serde_json::Value;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Most bytes of a sealed request that the deployed oblivious relays take.
const LONGEST_REQUEST: usize = 64 << 10;
/// Most bytes of an answer that they give.
const LONGEST_ANSWER: usize = 128 << 10;

/// Requests to one oblivious relay. Each waits for its answer, so it must not run inside a runtime.
pub(super) struct SealedClient {
    runtime: Runtime,
    http: Client,
    anchor: Option<PublicKey>,
    clock: Clock,
    key: Option<Key>,
    record: Option<ServedKeyRecord>,
    /// How many records were fetched and found good.
    fetched: u32,
}

impl SealedClient {
    pub(super) fn new(
        oblivious: Url,
        anchor: Option<PublicKey>,
        deadline: Duration,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        let (runtime, http, clock) = (runtime()?, client(oblivious, deadline)?, clock.clone());
        Ok(Self { runtime, http, anchor, clock, key: None, record: None, fetched: 0 })
    }

    pub(super) const fn fetched(&self) -> u32 {
        self.fetched
    }

    /// The record that was fetched last.
    pub(super) const fn record(&self) -> Option<&ServedKeyRecord> {
        self.record.as_ref()
    }

    /// Seals requests to this key until one fails outside.
    pub(super) fn seal_to(&mut self, key: Key) {
        self.key = Some(key);
    }

    /// The key of the record, fetched when there is none.
    pub(super) fn key(&mut self) -> Result<Key, StepError> {
        match &self.key {
            Some(key) => Ok(key.clone()),
            None => self.fetch_key(),
        }
    }

    /// Fetches the signed key record and checks all of it.
    pub(super) fn fetch_key(&mut self) -> Result<Key, StepError> {
        let asked = self.clock.now().get();
        let answer = self.get(key_record::PATH)?;
        check_type(&answer, 200, key_record::CONTENT_TYPE)?;
        let anchor = self.anchor.as_ref().map(PublicKey::as_bytes);
        let record = ServedKeyRecord::check(&answer.body, anchor, asked, self.clock.now().get());
        let record = record.map_err(wrong)?;
        let key = record.key.clone();
        (self.key, self.record) = (Some(key.clone()), Some(record));
        self.fetched += 1;
        Ok(key)
    }

    pub(super) fn get(&self, path: &str) -> Result<Response, StepError> {
        self.send("GET", path, &[], Vec::new())
    }

    /// Requests an action of the API in an envelope.
    pub(super) fn act(&mut self, action: &str, fields: &Value) -> Result<ApiReply, StepError> {
        let plaintext = envelope::request(action, fields)?;
        let mut is_second = false;
        loop {
            let (sealed, opener) = self.key()?.seal(&plaintext)?;
            if sealed.len() > LONGEST_REQUEST {
                return Err(wrong(
                    "the sealed request is longer than 64 KiB, and oblivious relays take no longer one",
                ));
            }
            let headers = [("content-type", oblivious::REQUEST_TYPE)];
            let answer = self.send("POST", oblivious::PATH, &headers, sealed.into())?;
            match answer.status {
                200 if answer.body.len() > LONGEST_ANSWER => {
                    return Err(wrong(
                        "the answer is longer than 128 KiB, and oblivious relays pass on no longer one",
                    ));
                }
                200 => {
                    let json = envelope::answer(&opener.open(&answer)?)?;
                    return Ok(ApiReply { status: None, json });
                }
                // The key may have been replaced: a relay says 400, and oblivious relays make a 502 of that.
                400 | 502 if !is_second => {
                    is_second = true;
                    self.key = None;
                }
                status => return Err(wrong(format_args!("status {status} outside"))),
            }
        }
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Response, StepError> {
        let sent = self.runtime.block_on(self.http.send(method, path, headers, body));
        let answer = sent.map_err(|error| match error.into() {
            StepError::Unreachable(reason) => {
                StepError::Unreachable(format!("the oblivious relay does not answer: {reason}"))
            }
            wrong => wrong,
        })?;
        match answer.status {
            300..400 => Err(wrong(format_args!(
                "the oblivious relay redirects (status {}), and clients follow no redirect",
                answer.status
            ))),
            _ => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_proto::messages::KeyWindow;
    use serde_json::json;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// A client whose one request is answered with this status and so many bytes, and which has a key already.
    fn answered(status: &str, length: usize) -> SealedClient {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let head = format!("HTTP/1.1 {status}\r\nlocation: /\r\ncontent-length: {length}\r\n\r\n");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 16 << 10]).unwrap() > 0);
            stream.write_all(&[head.as_bytes(), &vec![0; length]].concat()).unwrap();
            // Until the client has read all of it and goes away.
            drop(stream.read_to_end(&mut Vec::new()));
        });
        let mut client = SealedClient::new(url, None, Duration::from_secs(10), &Clock::system()).unwrap();
        let window = KeyWindow { number: 1, seed: vec![7; 32].into() };
        client.seal_to(Key::parse(window.encoded_config().unwrap()).unwrap());
        client
    }

    fn refusal(mut client: SealedClient, text: &str) -> String {
        client.act("send", &json!({ "ciphertext": text })).unwrap_err().to_string()
    }

    #[test]
    fn no_more_goes_and_comes_than_oblivious_relays_pass_on() {
        let long = refusal(answered("200 OK", LONGEST_ANSWER + 1), "x");
        assert!(long.contains("longer than 128 KiB"), "{long}");
        let as_long_as_may_be = refusal(answered("200 OK", LONGEST_ANSWER), "x");
        assert!(as_long_as_may_be.contains("content type"), "{as_long_as_may_be}");
        let long = refusal(answered("200 OK", 0), &"x".repeat(LONGEST_REQUEST));
        assert!(long.contains("longer than 64 KiB"), "{long}");
    }

    #[test]
    fn no_redirect_is_followed_and_other_errors_are_final() {
        let redirected = refusal(answered("302 Found", 0), "x");
        assert!(redirected.contains("redirects (status 302)"), "{redirected}");
        assert_eq!(refusal(answered("500 Internal Server Error", 0), "x"), "status 500 outside");
    }
}
