//! Sealed requests, made before they are needed: sealing costs a client as much as opening costs the relay, and it
//! is the relay that is measured.

use crate::Fallible;
use crate::load::Script;
use crate::random::Random;
use crate::requests::{Mailboxes, find};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bhttp::{Message, Mode};
use ohttp::{ClientRequest, ClientResponse};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a request before it is sealed, as clients pad it.
pub(crate) const PLAINTEXT: usize = 4096;
/// Bytes of the smallest answer before it is sealed.
pub(crate) const ANSWER: usize = 4096;
/// What sealing adds to an answer: a nonce as long as the longest key, and a tag.
const AROUND: usize = 32 + 16;
/// Of so many answers one is opened and read.
const OPENED: usize = 64;
/// Bytes of the blob in a request.
const BLOB: usize = 1024;

/// The two forms that a request may have inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON with an action.
    Envelope,
    /// Binary HTTP.
    Binary,
}

/// A sealed send as it goes over the wire, and for some what opens its answer.
pub(crate) struct Sealed {
    request: Vec<u8>,
    opener: Option<ClientResponse>,
}

/// Seals sends, on every processor.
pub(crate) fn sends(config: &[u8], form: Form, count: usize) -> Fallible<Vec<Sealed>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move || (0..count.div_ceil(threads)).map(|nth| seal(config, form, nth)).collect())
            })
            .collect();
        let mut all = Vec::with_capacity(count);
        for worker in workers {
            let sealed: Fallible<Vec<Sealed>> = worker.join().map_err(|_| "a sealing thread panicked")?;
            all.extend(sealed?);
        }
        Ok(all)
    })
}

fn seal(config: &[u8], form: Form, nth: usize) -> Fallible<Sealed> {
    let (message, opener) = ClientRequest::from_encoded_config(config)?.encapsulate(&plaintext(form)?)?;
    let head = format!(
        "POST /v2/ohttp HTTP/1.1\r\nhost: relay.example\r\ncontent-type: message/ohttp-req\r\n\
         content-length: {}\r\n\r\n",
        message.len()
    );
    let request = [head.as_bytes(), &message].concat();
    Ok(Sealed { request, opener: nth.is_multiple_of(OPENED).then_some(opener) })
}

/// A send of a blob that was never sent before.
pub(crate) fn plaintext(form: Form) -> Fallible<Vec<u8>> {
    let mut random = Random::new();
    let mut blob = vec![0; BLOB];
    random.bytes(&mut blob);
    let token = Mailboxes(5).token(random.below(20_000));
    let (token, blob) = (std::str::from_utf8(&token)?, STANDARD.encode(blob));
    let fields = format!(r#""recipient_id":"{token}","ciphertext":"{blob}""#);
    let mut bytes = Vec::with_capacity(PLAINTEXT);
    match form {
        Form::Envelope => {
            let json = format!(r#"{{"version":2,"action":"send",{fields}}}"#);
            bytes.extend_from_slice(&u32::try_from(json.len())?.to_be_bytes());
            bytes.extend_from_slice(json.as_bytes());
        }
        Form::Binary => {
            let mut message = Message::request("POST".into(), "https".into(), Vec::new(), "/v2/send".into());
            message.put_header("content-type", "application/json");
            message.write_content(format!("{{{fields}}}"));
            message.write_bhttp(Mode::KnownLength, &mut bytes)?;
        }
    }
    bytes.resize(PLAINTEXT, 0);
    Ok(bytes)
}

/// Sealed sends that all connections share, each sent once.
pub(crate) type Stack = Arc<Mutex<Vec<Sealed>>>;

/// Sends what was sealed, until nothing is left.
pub(crate) struct SealedSender {
    stack: Stack,
    current: Option<Sealed>,
}

impl SealedSender {
    pub(crate) fn new(stack: &Stack) -> Self {
        Self { stack: Arc::clone(stack), current: None }
    }
}

impl Script for SealedSender {
    fn next(&mut self) -> Option<&[u8]> {
        self.current = self.stack.lock().unwrap_or_else(PoisonError::into_inner).pop();
        self.current.as_ref().map(|sealed| &sealed.request[..])
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        if status != 200 || body.len() != ANSWER + AROUND {
            return Err(format!("status {status}, {} bytes", body.len()));
        }
        let Some(opener) = self.current.take().and_then(|sealed| sealed.opener) else { return Ok(()) };
        let plaintext = opener.decapsulate(body).map_err(|error| error.to_string())?;
        match find(&plaintext, br#""blob_id":""#) {
            Some(_) => Ok(()),
            None => Err("a sealed send was answered without a blob id".to_owned()),
        }
    }
}
