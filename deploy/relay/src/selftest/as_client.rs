//! `relay selftest --as-client`: does and checks what the clients that people have do. Such a client never calls a relay
//! directly: keys and sealed requests alike go through an oblivious relay at another origin.

mod base_url;
mod sealed_client;
mod setup;
mod steps;

use super::reply::Passed;
use super::{DEADLINE, Selftest, run_steps};
use crate::admin_client::call;
pub(crate) use base_url::{base_url, text_of};
use relay_client::Url;
use relay_daemon::{Clock, Exit, Failure, Vars};
use relay_proto::PublicKey;
use sealed_client::SealedClient;
use std::io::Write;
use std::time::Duration;

/// Where a client takes its anchor from.
#[derive(Debug)]
pub(crate) enum Anchor {
    Given(PublicKey),
    /// The relay that runs here publishes it.
    Published(PublicKey),
    /// There is none, and why.
    Unknown(String),
}

impl Anchor {
    /// Takes the given anchor, or else asks the relay that the variables point to.
    pub(crate) fn find(given: Option<PublicKey>, vars: &Vars) -> Self {
        if let Some(anchor) = given {
            return Self::Given(anchor);
        }
        let status = match call(vars, async |admin| admin.keys().await) {
            Ok(status) => status,
            Err(failure) => return Self::Unknown(failure.text),
        };
        let unknown = |_| Self::Unknown("the relay that runs here has no anchor".to_owned());
        PublicKey::try_from(status.anchor.as_ref()).map_or_else(unknown, Self::Published)
    }

    pub(crate) const fn key(&self) -> Option<PublicKey> {
        match self {
            Self::Given(anchor) | Self::Published(anchor) => Some(*anchor),
            Self::Unknown(_) => None,
        }
    }
}

/// What a client is configured with, and what it did with that.
pub(crate) struct ClientTrial {
    relay: Url,
    /// `None` where nobody named one; sealed requests go to the relay itself then.
    oblivious: Option<Url>,
    anchor: Anchor,
    client: SealedClient,
    mailbox: String,
    blob: Vec<u8>,
    blob_id: Option<String>,
}

impl ClientTrial {
    /// # Errors
    /// When this machine has no CA certificates or no randomness.
    pub(crate) fn new(
        relay: Url,
        oblivious: Option<Url>,
        anchor: Anchor,
        deadline: Duration,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        let randomness = |error| failure!(Internal, "the system has no randomness: {error}");
        let through = oblivious.clone().unwrap_or_else(|| relay.clone());
        Ok(Self {
            client: SealedClient::new(through, anchor.key(), deadline, clock)?,
            relay,
            oblivious,
            anchor,
            mailbox: steps::random_mailbox().map_err(randomness)?,
            blob: steps::random_blob(1024).map_err(randomness)?,
            blob_id: None,
        })
    }

    /// Checks what a client checks before it sends anything. Returns notes, and the reasons to refuse it. Nobody is asked for a
    /// key where the configuration alone is a reason.
    pub(crate) fn check(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut notes, mut reasons) = (Vec::new(), Vec::new());
        for steps in [setup::CONFIGURATION, &[setup::KEY_RECORD]] {
            if !reasons.is_empty() {
                break;
            }
            for (name, step) in steps {
                match step(self) {
                    Ok(Passed::Noting(note)) => notes.push(format!("{name}: {note}")),
                    Ok(_) => {}
                    Err(error) => reasons.push(format!("{name}: {error}")),
                }
            }
        }
        (notes, reasons)
    }
}

/// Tries a relay the way a client does, with random mailboxes, and takes back what it sends.
///
/// # Errors
/// When this machine has no CA certificates. A relay that fails is no error: the answer says so.
pub(crate) fn selftest(
    vars: &Vars,
    clock: &Clock,
    how: &Selftest,
    out: &mut impl Write,
) -> Result<Exit, Failure> {
    let anchor = Anchor::find(how.anchor, vars);
    let relay = base_url(&text_of(&how.url)).map_err(|problem| failure!(Usage, "{problem}"))?;
    let mut trial = ClientTrial::new(relay, how.oblivious.clone(), anchor, DEADLINE, clock)?;
    run_steps(&steps::all(), &mut trial, clock, out)
}
