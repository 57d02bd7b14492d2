//! Sends by way of Oblivious HTTP, against what this machine's processors can open and seal.

use crate::Fallible;
use crate::load::{self, Pace};
use crate::options::Plan;
use crate::proc::{self, Watched};
use crate::relay::Site;
use crate::results::LoadResults;
use crate::sealed::{self, ANSWER, Form, PLAINTEXT, SealedSender};
use crate::stats::Rounds;
use crate::wire;
use ohttp::hpke::{Aead, Kdf, Kem};
use ohttp::{ClientRequest, KeyConfig, Server, SymmetricSuite};
use serde::Serialize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Connections of the measured load.
pub(crate) const CONNECTIONS: usize = 64;
/// More sealed requests a second than are sent.
const ENOUGH: f64 = 12_000.0;
/// Limits are not what is measured.
const VARIABLES: [(&str, &str); 2] =
    [("RELAY_OHTTP_RATE_LIMIT", "100000000"), ("RELAY_OHTTP_RELAYS", "127.0.0.1")];

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Obliviousness {
    /// Messages opened and answers sealed a second, on all processors at once.
    pub(crate) hpke: Rounds,
    /// The two forms, as loads of their own names.
    pub(crate) load: LoadResults,
}

pub(crate) async fn measure(directory: &Path, plan: &Plan) -> Fallible<Obliviousness> {
    let site = Site::new(directory)?;
    let variables = VARIABLES.map(|(name, value)| (name, value.to_owned()));
    let mut apart = site.apart_with(&variables).await?;
    let (status, config) = wire::get(site.address(), "/v2/ohttp-key").await?;
    if status != 200 {
        return Err(format!("the key was answered with {status}").into());
    }
    let pace = Pace::measured(plan.window);
    let count = (ENOUGH * (pace.warm_up + pace.window).as_secs_f64()) as usize;
    let watched: Vec<Watched> = apart.watched();
    let mut measured = Obliviousness::default();
    for round in 1..=plan.rounds {
        let others = proc::others().await?;
        eprintln!("round {round} of {} (others take {others:.0} %)", plan.rounds);
        let before = hpke(plan.window / 2)?;
        let mut forms = [("ohttp send, envelope", Form::Envelope), ("ohttp send, binary", Form::Binary)];
        // Whichever comes second meets a larger store.
        if round % 2 == 0 {
            forms.reverse();
        }
        for (name, form) in forms {
            let stack = Arc::new(Mutex::new(sealed::sends(&config, form, count)?));
            let scripts = (0..CONNECTIONS).map(|_| SealedSender::new(&stack)).collect();
            let (outcome, _) = load::drive(site.address(), scripts, pace, &watched).await?;
            measured.load.push(name, CONNECTIONS, &outcome);
        }
        measured.hpke.push(before.midpoint(hpke(plan.window / 2)?));
    }
    apart.still_runs()?;
    Ok(measured)
}

/// How many messages all processors open, sealing an answer to each, in a second.
fn hpke(window: Duration) -> Fallible<f64> {
    let suites = vec![SymmetricSuite::new(Kdf::HkdfSha256, Aead::ChaCha20Poly1305)];
    let server = Server::new(KeyConfig::new(1, Kem::X25519Sha256, suites)?)?;
    let plaintext = sealed::plaintext(Form::Envelope)?;
    debug_assert_eq!(plaintext.len(), PLAINTEXT);
    let config = server.config().encode()?;
    let (message, _) = ClientRequest::from_encoded_config(&config)?.encapsulate(&plaintext)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    let counts: Fallible<Vec<u32>> = std::thread::scope(|scope| {
        let work = || -> Result<u32, ohttp::Error> {
            let mut count = 0;
            while started.elapsed() < window {
                let (_, sealer) = server.decapsulate(&message)?;
                std::hint::black_box(sealer.encapsulate(&[0; ANSWER])?);
                count += 1;
            }
            Ok(count)
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| Ok(worker.join().map_err(|_| "an opening thread panicked")??))
            .collect()
    });
    Ok(counts?.into_iter().map(f64::from).sum::<f64>() / started.elapsed().as_secs_f64())
}
