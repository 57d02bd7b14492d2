//! Variables: what does not parse, and what parses and is not wise.

use crate::doctor::code::Code;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Findings;
use relay_proto::keys::DAY_SECS;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let settings = &facts.settings;
    for mistake in &settings.mistakes {
        findings.add(Code::Variables, mistake);
    }
    if let Some(problem) = &settings.socket_path {
        findings.add(Code::SocketPath, problem);
    }
    if settings.trusts_everybody {
        findings.add(
            Code::ProxiesEverybody,
            "RELAY_TRUSTED_PROXIES has all addresses in it: every client may say that it is another one",
        );
    }
    if settings.federates && settings.allows_everywhere {
        findings.add(
            Code::AllowEverywhere,
            "RELAY_FEDERATION_ALLOW_CIDRS has all addresses in it: a peer's name may lead into this network",
        );
    }
    if settings.rotation_secs != DAY_SECS {
        findings.add(
            Code::RotationForTests,
            format!("RELAY_OHTTP_KEY_ROTATION_HOURS turns keys every {} s", settings.rotation_secs),
        );
    }
    if !settings.has_token && !settings.ops.ip().to_canonical().is_loopback() {
        findings.add_with(
            Code::MetricsOpen,
            format!("RELAY_METRICS_ADDR={}: everybody who reaches it reads the metrics", settings.ops),
            format!("RELAY_METRICS_ADDR=127.0.0.1:{}, or set RELAY_METRICS_TOKEN", settings.ops.port()),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::checks::fixture::codes;
    use crate::doctor::facts::Reached;

    #[test]
    fn with_variables_that_make_no_sense_nothing_else_is_judged() {
        let found = codes(|facts| {
            facts.settings.mistakes = vec!["RELAY_X: unknown".to_owned(), "RELAY_Y: unknown".to_owned()];
            facts.reached = Reached::Missing;
            facts.report = None;
        });
        assert_eq!(found, ["variables", "variables"]);
    }

    #[test]
    fn what_is_not_wise_is_named() {
        assert_eq!(codes(|facts| facts.settings.trusts_everybody = true), ["proxies-everybody"]);
        assert_eq!(codes(|facts| facts.settings.rotation_secs = 10), ["rotation-for-tests"]);
        assert!(codes(|facts| facts.settings.allows_everywhere = true).is_empty(), "nobody is dialled");
    }

    #[test]
    fn metrics_beyond_this_machine_want_a_token() {
        let open = "0.0.0.0:8081".parse().unwrap();
        assert_eq!(codes(|facts| facts.settings.ops = open), ["metrics-open"]);
        let guarded = codes(|facts| {
            facts.settings.ops = open;
            facts.settings.has_token = true;
        });
        assert!(guarded.is_empty());
    }

    #[test]
    fn a_socket_path_that_is_too_long_explains_the_missing_socket() {
        let found = codes(|facts| {
            facts.settings.socket_path = Some("too long".to_owned());
            facts.reached = Reached::Missing;
            facts.report = None;
        });
        assert_eq!(found, ["socket-path"]);
    }
}
