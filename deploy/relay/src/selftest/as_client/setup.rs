//! What a client checks of its configuration, and of the key that it is given, before it sends anything.

use super::base_url::origin;
use super::{Anchor, ClientTrial};
use crate::selftest::is_this_machine;
use crate::selftest::reply::{Passed, StepError, expect, wrong};
use relay_client::Url;

pub(super) type Step = crate::selftest::Step<ClientTrial, Passed>;

/// Of the configuration alone.
pub(super) const CONFIGURATION: &[Step] = &[
    ("relay URL", |trial| is_private(&trial.relay)),
    ("oblivious relay URL", |trial| match &trial.oblivious {
        Some(oblivious) => is_private(oblivious),
        None => Err(wrong("none was given, and clients never call a relay directly; add --oblivious URL")),
    }),
    ("the two are of different origins", |trial| {
        let Some(oblivious) = &trial.oblivious else {
            return Ok(Passed::Skipped("there is one URL only".to_owned()));
        };
        expect(
            origin(oblivious) != origin(&trial.relay),
            "clients want the oblivious relay at another scheme, host or port than the relay: whoever runs both sees who asks what",
        )?;
        Ok(Passed::Plainly)
    }),
    ("anchor", |trial| match &trial.anchor {
        Anchor::Given(_) => Ok(Passed::Plainly),
        Anchor::Published(_) => Ok(Passed::Noting(
            "none was given; this is the one that the relay running here publishes".to_owned(),
        )),
        Anchor::Unknown(reason) => {
            Err(wrong(format_args!("clients want one and none was given; add --anchor HEX ({reason})")))
        }
    }),
];

pub(super) const KEY_RECORD: Step = ("signed key record, through the oblivious relay", |trial| {
    trial.client.fetch_key()?;
    Ok(Passed::Plainly)
});

/// Clients take plain HTTP from their own machine only.
fn is_private(url: &Url) -> Result<Passed, StepError> {
    match (url.is_secure(), is_this_machine(url.host())) {
        (true, _) => Ok(Passed::Plainly),
        (false, true) => {
            Ok(Passed::Noting("plain http, which clients take on their own machine only".to_owned()))
        }
        (false, false) => Err(wrong("it is plain http, and clients take nothing but https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_and_noted() {
        let checked = |url: &str| is_private(&url.parse().unwrap());
        assert_eq!(checked("https://relay.example"), Ok(Passed::Plainly));
        for here in ["http://localhost:8080", "http://127.0.0.1", "http://[::1]:1"] {
            assert!(matches!(checked(here), Ok(Passed::Noting(_))), "{here}");
        }
        assert!(checked("http://relay.example").is_err());
    }
}
