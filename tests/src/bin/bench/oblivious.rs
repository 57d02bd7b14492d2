//! Sends by way of Oblivious HTTP, against what this machine's processors can open and seal. Requests are sealed
//! before they are needed: sealing costs a client as much as opening costs the relay, and it is the relay that is
//! measured.

use crate::load::LoadClient;
use crate::scenarios::{BLOB, Mailboxes, Pool, take};
use crate::stats::{LoadResults, Rounds};
use crate::wire::post;
use crate::{Fallible, Options, processes, relay};
use ohttp::hpke::{Aead, Kdf, Kem};
use ohttp::{KeyConfig, Server, SymmetricSuite};
use relay_tests::fields::{random_bytes, send_fields};
use relay_tests::oblivious::binary::Encode as _;
use relay_tests::oblivious::{Key, Opener, PATH, REQUEST_TYPE, binary, envelope};
use relay_tests::{Action, Client, Via};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

/// Connections of the measured load.
const CONNECTIONS: usize = 64;
const ENVELOPE: &str = "ohttp send, envelope";
const BINARY: &str = "ohttp send, binary";
/// What sealing adds to an answer: a nonce as long as the longest key, and a tag.
pub(crate) const SEAL: usize = 32 + 16;
/// Bytes of a request, as clients pad it, and of the smallest answer, before they are sealed.
const PLAINTEXT: usize = 4096;
/// More sealed requests a second than are sent.
const ENOUGH: f64 = 14_000.0;
/// Of so many answers one is opened and read.
const OPENED: usize = 64;
/// Limits are not what is measured.
const VARIABLES: [(&str, &str); 2] =
    [("RELAY_OHTTP_RATE_LIMIT", "100000000"), ("RELAY_OHTTP_RELAYS", "127.0.0.1")];

pub(crate) async fn measure(options: &Options, directory: &Path) -> Fallible<Value> {
    let mut relay = relay::start(directory, 1, &VARIABLES).await?;
    let key = Client::new(relay.address(), Via::Envelope).key().await;
    let count = (ENOUGH * options.window().as_secs_f64()) as usize;
    let (mut hpke, mut load) = (Rounds::default(), LoadResults::default());
    for round in 1..=options.rounds() {
        let others = processes::others_percent().await?;
        eprintln!("  round {round} of {} (others take {others:.0} %)", options.rounds());
        let before = open_and_seal(options.window() / 2)?;
        let mut forms = [ENVELOPE, BINARY];
        // Whichever comes second meets a larger store.
        if round % 2 == 0 {
            forms.reverse();
        }
        for form in forms {
            let sealed = (0..count).map(|_| key.seal(&plaintext(form)));
            let sealed = sealed.map(|(sealed, opener)| (post(PATH, REQUEST_TYPE, &sealed), opener));
            let pool = Pool::new(RefCell::new(sealed.collect()));
            let scenario = |client| send(client, Pool::clone(&pool));
            let (outcome, _) = relay::load(&mut relay, CONNECTIONS, options.window(), scenario).await?;
            load.push(form, CONNECTIONS, &outcome);
        }
        hpke.push(before.midpoint(open_and_seal(options.window() / 2)?));
    }
    Ok(json!({ "hpke": hpke, "load": load }))
}

/// How many messages all processors open, sealing an answer to each, in a second.
fn open_and_seal(window: Duration) -> Fallible<f64> {
    let suites = vec![SymmetricSuite::new(Kdf::HkdfSha256, Aead::ChaCha20Poly1305)];
    let server = Server::new(KeyConfig::new(1, Kem::X25519Sha256, suites)?)?;
    let (message, _) = Key::bare(server.config().encode()?).seal(&plaintext(ENVELOPE));
    let started = Instant::now();
    let work = || -> Result<u32, ohttp::Error> {
        let mut count = 0;
        while started.elapsed() < window {
            let (_, sealer) = server.decapsulate(&message)?;
            std::hint::black_box(sealer.encapsulate(&[0; PLAINTEXT])?);
            count += 1;
        }
        Ok(count)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let count = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let counts =
            workers.into_iter().map(|worker| Ok(worker.join().map_err(|_| "a thread panicked")??));
        counts.sum::<Fallible<u32>>()
    });
    Ok(f64::from(count?) / started.elapsed().as_secs_f64())
}

/// A send of a blob that was never sent before.
fn plaintext(form: &str) -> Vec<u8> {
    let fields = send_fields(&Mailboxes(5).random(20_000), &random_bytes(BLOB));
    if form == ENVELOPE {
        return envelope::request(Action::Send, &fields);
    }
    let mut plaintext = binary::Request::post(Action::Send.path(), &fields).encode();
    plaintext.resize(PLAINTEXT, 0);
    plaintext
}

/// Sends what was sealed, until nothing is left.
async fn send(mut client: LoadClient, sealed: Pool<(Vec<u8>, Opener)>) {
    let mut sent = 0_usize;
    while client.is_on()
        && let Some((request, opener)) = take(&sealed)
    {
        let is_opened = sent.is_multiple_of(OPENED);
        sent += 1;
        let check = |status, body: &[u8]| {
            if status != 200 || body.len() != PLAINTEXT + SEAL {
                return Err(format!("status {status}, {} bytes", body.len()));
            }
            if is_opened && !String::from_utf8_lossy(&opener.open_body(body)).contains(r#""blob_id":""#) {
                return Err("a sealed send was answered without a blob id".to_owned());
            }
            Ok(())
        };
        client.ask(&request, check).await;
    }
}
