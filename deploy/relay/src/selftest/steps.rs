//! The steps of the selftest. Each checks one promise of the contract; a later one may use what an earlier one made.

mod inside;
mod keys;
mod mail;
mod records;

use super::reply::{ApiReply, StepError, expect, wrong};
use super::transport::Transport;
use crate::selftest::Via;
use relay_client::{Owner, ServedKeyRecord};
use relay_daemon::Clock;
use relay_proto::PublicKey;
use serde_json::{Value, json};

/// Headers of every answer of the API: the oldest version that is served, and the oldest that is not warned.
const VERSIONS: [&str; 2] = ["x-min-version", "x-warn-version"];

/// A step and its name.
pub(super) type Step = (&'static str, fn(&mut Trial) -> Result<(), StepError>);

/// Whether the relay is there, and which versions of clients it serves.
const PRESENCE: &[Step] = &[
    ("health", |trial| {
        for path in ["/health", "/v2/health"] {
            let body = ApiReply::from(&trial.transport.get(path)?).success()?;
            expect(body == json!({ "status": "ok" }), "the answer says more than that it is well")?;
        }
        Ok(())
    }),
    ("version headers", |trial| {
        let answer = trial.transport.get("/v2/health")?;
        versions(|name| answer.header(name))
    }),
];

/// The steps, in order.
pub(super) fn of(via: Via) -> Vec<Step> {
    let inside = match via {
        Via::Plain => &[],
        Via::Ohttp => inside::STEPS,
    };
    [PRESENCE, keys::STEPS, inside, mail::STEPS, records::STEPS].concat()
}

/// One selftest: random mailboxes, a random blob, random keys.
pub(super) struct Trial {
    transport: Transport,
    /// The anchor that clients pin, if it was given.
    anchor: Option<PublicKey>,
    clock: Clock,
    owner: Owner,
    mailbox: String,
    /// A mailbox that is bound to the owner.
    owned: [u8; 32],
    blob: Vec<u8>,
    blob_id: Option<String>,
    purge: Option<Value>,
    record: Option<ServedKeyRecord>,
    /// Names a recovery proof, a gate and slots.
    names: [String; 5],
    code: Option<String>,
}

impl Trial {
    pub(super) fn new(
        transport: Transport,
        anchor: Option<PublicKey>,
        clock: Clock,
    ) -> Result<Self, getrandom::Error> {
        let mut blob = vec![0; 1024];
        getrandom::fill(&mut blob)?;
        let name = || Ok(hex::encode(random::<32>()?));
        Ok(Self {
            transport,
            anchor,
            clock,
            owner: Owner::new(&random()?),
            mailbox: name()?,
            owned: random()?,
            blob,
            blob_id: None,
            purge: None,
            record: None,
            names: [name()?, name()?, name()?, name()?, name()?],
            code: None,
        })
    }

    /// Requests an action of the API.
    fn act(&mut self, action: &str, fields: &Value) -> Result<ApiReply, StepError> {
        self.transport.act(action, fields)
    }
}

/// Checks the headers with the versions of clients that are served.
fn versions<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<(), StepError> {
    let number = |name: &&str| header(name).is_some_and(|text| text.parse::<u16>().is_ok());
    expect(VERSIONS.iter().all(number), "X-Min-Version and X-Warn-Version are not both there")
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

fn no_randomness(_: getrandom::Error) -> StepError {
    wrong("this system has no randomness")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_a_name_of_its_own_that_fits_its_column() {
        let steps = of(Via::Ohttp);
        for (index, (name, _)) in steps.iter().enumerate() {
            assert!(name.len() <= 46, "{name}");
            assert!(steps[..index].iter().all(|(other, _)| other != name), "{name}");
        }
        assert_eq!(of(Via::Plain).len() + inside::STEPS.len(), steps.len());
    }

    #[test]
    fn both_version_headers_are_asked_for() {
        assert!(versions(|_| Some("7")).is_ok());
        assert!(versions(|name| (name == "x-min-version").then_some("7")).is_err());
        assert!(versions(|_| Some("many")).is_err());
    }
}
