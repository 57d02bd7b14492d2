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

/// The checks after that of the settings, in this order: a later one leaves out what follows from an earlier finding.
const CHECKS: [fn(&Facts, &mut Findings); 9] = [
    data::check,
    sockets::check,
    room::check,
    clock::check,
    processes::check,
    proxy::check,
    limits::check,
    keys::check,
    federation::check,
];

/// Everything that is wrong, the worst first. What only follows from something else is not named.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Findings::default();
    settings::check(facts, &mut findings);
    if facts.settings.make_sense() {
        CHECKS.iter().for_each(|check| check(facts, &mut findings));
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
