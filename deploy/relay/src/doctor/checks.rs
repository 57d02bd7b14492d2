//! Checks: what is wrong, judged from the facts alone.

mod clock;
mod data;
mod federation;
mod keys;
mod limits;
mod processes;
mod proxy;
mod room;
mod settings;
mod sockets;

#[cfg(test)]
pub(super) mod fixture;

use super::facts::Facts;
use super::finding::{Finding, Findings};

/// Everything that is wrong, the worst first. What only follows from something else is not named.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Findings::default();
    settings::check(facts, &mut findings);
    if facts.settings.make_sense() {
        data::check(facts, &mut findings);
        sockets::check(facts, &mut findings);
        room::check(facts, &mut findings);
        clock::check(facts, &mut findings);
        processes::check(facts, &mut findings);
        proxy::check(facts, &mut findings);
        limits::check(facts, &mut findings);
        keys::check(facts, &mut findings);
        federation::check(facts, &mut findings);
    }
    findings.sorted()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wrong_with_a_good_set_up() {
        assert_eq!(judge(&fixture::good()), []);
    }

    #[test]
    fn nothing_is_wrong_where_little_can_be_seen() {
        let facts = Facts {
            data: Some(super::super::facts::Data::Missing),
            volume: None,
            sockets: Vec::new(),
            files: Vec::new(),
            operator: None,
            proxy: None,
            ..fixture::good()
        };
        assert_eq!(judge(&facts), [], "as in a container of its own");
    }
}
