//! The steps of the walk. Each is a promise of the contract; a later one may use what an earlier one made.

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

/// What is asked directly, whichever way the actions take.
const DIRECT: &[Step] = &[
    ("health", Trial::health),
    ("version headers", Trial::version_headers),
    ("key, with its fingerprint", Trial::bare_key),
    ("the list of keys has the same key", Trial::key_list),
    ("key record, as clients check it", Trial::key_record),
    ("anchor rollovers", Trial::rollovers),
    ("a request to an unknown key is refused as such", Trial::unknown_key),
];

/// What can only be tried inside a sealed request.
const INSIDE: &[Step] = &[
    ("an envelope of another version is refused", Trial::other_version),
    ("an envelope with an unknown action is refused", Trial::unknown_action),
    ("Binary HTTP: health, with version headers", Trial::binary_health),
    ("Binary HTTP: no such path is a 404 inside", Trial::binary_not_found),
];

/// What clients do.
const ACTIONS: &[Step] = &[
    ("a bad request is refused", Trial::bad_request),
    ("register", Trial::register),
    ("send", Trial::send),
    ("sending again gives the same id", Trial::send_again),
    ("fetch brings it byte for byte", Trial::fetch),
    ("ack", Trial::ack),
    ("a second ack finds nothing", Trial::ack_again),
    ("fetch brings nothing any more", Trial::fetch_nothing),
    ("purge, signed by the mailbox's key", Trial::purge),
    ("the same purge again is refused", Trial::purge_replay),
    ("register, signed by an owner", Trial::register_owned),
    ("purge of what the owner registered", Trial::purge_owned),
    ("recovery: store a proof", Trial::recovery_store),
    ("recovery: query brings that proof alone", Trial::recovery_query),
    ("exchange: an offer gets a code", Trial::exchange_offer),
    ("exchange: nothing to complete before a claim", Trial::exchange_early),
    ("exchange: claim", Trial::exchange_claim),
    ("exchange: a second claim is refused", Trial::exchange_claim_again),
    ("exchange: complete", Trial::exchange_complete),
    ("exchange: completed once and no more", Trial::exchange_complete_again),
    ("guardians: store", Trial::guardian_store),
    ("guardians: query brings them", Trial::guardian_query),
    ("guardians: a forged signature is refused", Trial::guardian_forged),
    ("guardians: delete", Trial::guardian_delete),
    ("escrow: one slot is not enough", Trial::escrow_first),
    ("escrow: each slot reads the other", Trial::escrow_second),
    ("escrow: no third slot, and nothing unknown", Trial::escrow_full),
];

/// The steps of a walk, in order.
pub(super) fn of(via: Via) -> Vec<Step> {
    let inside = match via {
        Via::Plain => &[],
        Via::Ohttp => INSIDE,
    };
    [DIRECT, inside, ACTIONS].concat()
}

/// One walk: random mailboxes, a random blob, random keys.
pub(super) struct Trial {
    transport: Transport,
    /// What clients pin, where somebody said it.
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

    fn health(&mut self) -> Result<(), StepError> {
        for path in ["/health", "/v2/health"] {
            let body = ApiReply::from(&self.transport.get(path)?).success()?;
            expect(body == json!({ "status": "ok" }), "the answer says more than that it is well")?;
        }
        Ok(())
    }

    fn version_headers(&mut self) -> Result<(), StepError> {
        let answer = self.transport.get("/v2/health")?;
        versions(|name| answer.header(name))
    }
}

/// Checks the headers that tell clients which versions are served.
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
        assert_eq!(of(Via::Plain).len() + INSIDE.len(), steps.len());
    }

    #[test]
    fn both_version_headers_are_asked_for() {
        assert!(versions(|_| Some("7")).is_ok());
        assert!(versions(|name| (name == "x-min-version").then_some("7")).is_err());
        assert!(versions(|_| Some("many")).is_err());
    }
}
