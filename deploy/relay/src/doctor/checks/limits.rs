//! Whether the relay knows its clients apart: by `X-Forwarded-For` of a proxy that it trusts.

use crate::doctor::code::Code;
use crate::doctor::facts::{Facts, Health, ProbeError, Proxy, Sources, StorageReport};
use crate::doctor::finding::Findings;

/// Refusals of sealed requests from which on they are no slip of one client.
const OFTEN: f64 = 10.0;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let Some(report) = &facts.report else { return };
    if let Some(proxy) =
        facts.proxy.as_ref().filter(|proxy| proxy.is_public && proxy.seen.health == Health::Good)
    {
        check_source(facts, report, proxy, findings);
    }
    // Counted before this command asked anything by itself.
    if report.before.limited_relays >= OFTEN && !facts.settings.names_relays {
        findings.add(
            Code::OuterRelayUnnamed,
            "requests from one address that brings sealed requests are refused (RELAY_ADDR_RATE_LIMIT): if it is an \
             outer relay, name it in RELAY_OHTTP_RELAYS",
        );
    }
    let was_refused =
        facts.proxy.as_ref().is_some_and(|proxy| proxy.seen.sealed == Some(Err(ProbeError::Limited)));
    let refused = report.after.limited > report.before.limited || was_refused;
    let others = [Code::ForwardedMissing, Code::ForwardedUntrusted, Code::OuterRelayUnnamed];
    let blamed = others.into_iter().any(|code| findings.has(code));
    // Counted before this command asked anything by itself.
    if refused && report.before.busy <= 1.0 && !blamed {
        findings.add(Code::LimitsOneAddress, "requests are refused by the limit of an address (RELAY_ADDR_RATE_LIMIT), and only one address is active");
    }
}

/// Checks where gateways found the client address of this command's own requests. Other clients send requests meanwhile, so
/// a kind of source counts as ours only if it grew by as many as were sent; the right kind is tried first.
fn check_source(facts: &Facts, report: &StorageReport, proxy: &Proxy, findings: &mut Findings) {
    let (before, after) = (&report.before.sources, &report.after.sources);
    let ours = |kind: fn(&Sources) -> f64| {
        proxy.seen.requests > 0 && kind(after) - kind(before) >= f64::from(proxy.seen.requests)
    };
    let (url, listen) = (&proxy.url, facts.settings.listen);
    let for_nginx = format!("for nginx: proxy_set_header X-Forwarded-For $remote_addr; ({listen})");
    if ours(|sources| sources.forwarded) {
    } else if ours(|sources| sources.unbelieved) {
        findings.add(
            Code::ForwardedUntrusted,
            format!("{url} names its clients and is not believed: all share the limits of one address"),
        );
    } else if ours(|sources| sources.unnamed) {
        findings.add_with(
            Code::ForwardedMissing,
            format!("{url} does not say who its clients are: all share the limits of one address"),
            format!("let the proxy set X-Forwarded-For; {for_nginx}"),
        );
    } else if proxy.tls.is_some() && ours(|sources| sources.connection) {
        findings.add_with(
            Code::ForwardedMissing,
            format!("{url} does not say who its clients are, and is not trusted to"),
            format!(
                "let the proxy set X-Forwarded-For, and set RELAY_TRUSTED_PROXIES to its address; {for_nginx}"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::OFTEN;
    use crate::doctor::checks::fixture::{codes, codes_reported};
    use crate::doctor::facts::{ProbeError, Sources};

    fn found(sources: Sources) -> Vec<&'static str> {
        codes_reported(|report| report.after.sources = sources)
    }

    #[test]
    fn a_proxy_names_its_clients_and_is_believed() {
        let none = Sources::default;
        assert!(found(Sources { forwarded: 3.0, unbelieved: 9.0, unnamed: 9.0, ..none() }).is_empty());
        assert_eq!(found(Sources { unbelieved: 3.0, ..none() }), ["forwarded-untrusted"]);
        assert_eq!(found(Sources { unnamed: 3.0, ..none() }), ["forwarded-missing"]);
        assert_eq!(found(Sources { connection: 3.0, ..none() }), ["forwarded-missing"]);
        assert!(found(Sources { unbelieved: 2.0, ..none() }).is_empty(), "a stranger's");
    }

    #[test]
    fn without_a_proxy_there_is_nobody_to_be_named() {
        let found = codes(|facts| {
            facts.report.as_mut().unwrap().after.sources = Sources { connection: 3.0, ..Sources::default() };
            facts.proxy.as_mut().unwrap().tls = None;
        });
        assert!(found.is_empty());
    }

    #[test]
    fn a_relay_that_nobody_named_is_told_of() {
        let refused = |times, names_relays| {
            codes(|facts| {
                facts.settings.names_relays = names_relays;
                facts.report.as_mut().unwrap().before.limited_relays = times;
            })
        };
        assert_eq!(refused(OFTEN, false), ["outer-relay-unnamed"]);
        assert!(refused(OFTEN - 1.0, false).is_empty(), "one client's slip");
        assert!(refused(OFTEN, true).is_empty(), "a named one has a budget of its own");
    }

    #[test]
    fn limits_that_only_one_address_meets_are_told() {
        let refused = |busy: f64| {
            codes_reported(|report| {
                (report.before.busy, report.after.busy) = (busy, busy);
                report.after.limited = 5.0;
            })
        };
        assert_eq!(refused(1.0), ["limits-one-address"]);
        assert!(refused(2.0).is_empty());
        assert!(codes_reported(|report| report.before.busy = 1.0).is_empty(), "nobody was refused");
        let own = codes(|facts| {
            facts.report.as_mut().unwrap().before.busy = 1.0;
            facts.proxy.as_mut().unwrap().seen.sealed = Some(Err(ProbeError::Limited));
        });
        assert_eq!(own, ["limits-one-address"]);
    }
}
