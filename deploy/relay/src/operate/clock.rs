//! `relay clock trust`: the operator says that the machine's clock is right.

use crate::admin_client::call;
use crate::display::output::Answer;
use crate::display::time::span;
use clap::Subcommand;
use relay_daemon::{Failure, Vars};
use relay_proto::messages::{ClockStanding, ClockStatus, TrustClockRequest};
use relay_proto::{StorageError, refusal_of};

/// What to do with the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum ClockCommand {
    /// Go by the clock from now on: what is over by it expires, and new mail is stored
    ///
    /// A relay does not believe a clock that jumped (`relay status` shows that). Check it first: mail that expires is gone.
    Trust,
}

/// Makes storage trust the clock, and returns what that changes.
///
/// # Errors
/// When no relay answers, or its clock is certainly wrong.
pub(crate) fn trust(vars: &Vars) -> Result<Answer, Failure> {
    let before = call(vars, async |mut admin| match admin.0.trust_clock(TrustClockRequest {}).await {
        Err(status) if refusal_of(&status) == StorageError::ClockWrong => Ok(None),
        reply => Ok(Some(reply?.into_inner().checked()?)),
    })?;
    let wrong = "this machine's clock is before the time the relay was built, so it is wrong; set it right";
    let before = before.ok_or_else(|| failure!(Config, "{wrong}"))?;
    Ok((effect(&before) + "\n").into())
}

fn effect(before: &ClockStatus) -> String {
    let apart = span(before.apart_secs);
    match before.standing() {
        ClockStanding::Unspecified | ClockStanding::Trusted => "the clock was trusted already".to_owned(),
        ClockStanding::Ahead => {
            format!("the clock is trusted, {apart} ahead of before: what is over by it expires")
        }
        ClockStanding::Behind | ClockStanding::BeforeBuild => {
            format!("the clock is trusted, {apart} behind what it was: new mail is stored again")
        }
    }
}

/// What is wrong with a clock, for people; nothing where it is trusted.
pub(crate) fn wrong(clock: &ClockStatus) -> Option<String> {
    let apart = span(clock.apart_secs);
    match clock.standing() {
        ClockStanding::Unspecified | ClockStanding::Trusted => None,
        ClockStanding::Ahead => {
            Some(format!("it jumped {apart} ahead: nothing expires by it{}", settled(clock.trusted_in_secs)))
        }
        ClockStanding::Behind => Some(format!(
            "it is {apart} behind the time the relay knows: nothing new is stored{}",
            settled(clock.trusted_in_secs)
        )),
        ClockStanding::BeforeBuild => Some(format!(
            "it is {apart} before the time the relay was built: nothing new is stored; set it right"
        )),
    }
}

fn settled(seconds: u64) -> String {
    format!(
        "; set it right, or if it is: `relay clock trust` (if it stays the same it is trusted in {} of uptime)",
        span(seconds)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Storage, TRUSTED, sample};
    use relay_daemon::Exit;

    fn trusted(standing: ClockStanding) -> Result<String, Failure> {
        let before = ClockStatus { standing: standing.into(), apart_secs: 7200, trusted_in_secs: 3600 };
        let storage = Storage::answering(sample(), |answers| answers.clock = before);
        let answer = trust(&storage.vars())?;
        storage.change(|answers| assert_eq!(answers.clock, TRUSTED));
        Ok(answer.text)
    }

    #[test]
    fn what_the_operators_word_changes_is_said() {
        assert_eq!(trusted(ClockStanding::Trusted).unwrap(), "the clock was trusted already\n");
        assert!(trusted(ClockStanding::Ahead).unwrap().contains("2 h 0 min ahead of before"));
        assert!(trusted(ClockStanding::Behind).unwrap().contains("new mail is stored again"));
    }

    #[test]
    fn a_clock_that_is_certainly_wrong_is_not_trusted() {
        let refused = trusted(ClockStanding::BeforeBuild).unwrap_err();
        assert_eq!(refused.exit, Exit::Config);
        assert!(refused.text.contains("set it right"), "{refused}");
    }

    #[test]
    fn what_is_wrong_is_said_with_the_command_that_settles_it() {
        assert_eq!(wrong(&TRUSTED), None);
        for standing in [ClockStanding::Ahead, ClockStanding::Behind] {
            let said = wrong(&ClockStatus {
                standing: standing.into(),
                apart_secs: 130 * 86_400,
                trusted_in_secs: 3600,
            })
            .unwrap();
            assert!(said.contains("130 d 0 h") && said.contains("relay clock trust"), "{said}");
            assert!(said.contains("1 h 0 min of uptime"), "{said}");
        }
        let early = ClockStatus { standing: ClockStanding::BeforeBuild.into(), ..TRUSTED };
        assert!(!wrong(&early).unwrap().contains("clock trust"), "nobody's word helps there");
    }
}
