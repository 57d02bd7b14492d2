//! The public URL: TLS, its certificate, and whether this relay answers there.

use crate::display::time::{span, utc};
use crate::doctor::code::Code;
use crate::doctor::facts::{Facts, Health, Proxy, Tls};
use crate::doctor::finding::Findings;
use crate::selftest::{INSTALL_AUTHORITIES, NO_AUTHORITIES};
use relay_proto::UnixSeconds;

/// A certificate that is this near to its end should have been renewed, in seconds; or, if it never holds for long,
/// when a fifth of its time is left.
const NEAR: u64 = 14 * 86_400;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let Some(proxy) = &facts.proxy else { return };
    let url = &proxy.url;
    if proxy.is_open {
        findings.add(Code::ProxyPlain, format!("{url} is plain HTTP: tokens travel in the open"));
    }
    match &proxy.tls {
        Some(Tls::NoAuthorities) => {
            let text = format!("{url} was not tried: {NO_AUTHORITIES}");
            return findings.add_with(Code::ProxyTls, text, INSTALL_AUTHORITIES);
        }
        Some(Tls::Silent(reason)) => return silent(url, reason, findings),
        Some(Tls::Broken(reason)) => {
            return findings.add(Code::ProxyTls, format!("{url} does not speak TLS as it should: {reason}"));
        }
        Some(Tls::Certificate(reason)) => {
            return findings
                .add(Code::ProxyCertificate, format!("the certificate of {url} does not hold: {reason}"));
        }
        Some(Tls::Good { from, to }) => check_end(url, facts.now, *from, *to, findings),
        None => {}
    }
    check_health(facts, proxy, findings);
}

fn silent(url: &str, reason: &str, findings: &mut Findings) {
    findings.add(Code::ProxySilent, format!("{url} does not answer: {reason}"));
}

fn check_end(url: &str, now: UnixSeconds, from: UnixSeconds, to: UnixSeconds, findings: &mut Findings) {
    let (left, whole) = (to.get().saturating_sub(now.get()), to.get().saturating_sub(from.get()));
    if left < NEAR.min(whole / 5) {
        findings.add(
            Code::ProxyCertificateEnds,
            format!("the certificate of {url} ends {}, in {}", utc(to), span(left)),
        );
    }
}

fn check_health(facts: &Facts, proxy: &Proxy, findings: &mut Findings) {
    let url = &proxy.url;
    match &proxy.seen.health {
        Health::Good => {}
        Health::None(reason) => silent(url, reason, findings),
        // Reported already: there is no gateway.
        Health::Other(502..=504) if findings.has(Code::GatewayMissing) => {}
        Health::Other(status @ 502..=504) => findings.add_with(
            Code::ProxyGateway,
            format!("{url} answers {status}: it reaches no gateway"),
            format!("point the proxy to http://{}", facts.settings.listen),
        ),
        Health::Other(status) => {
            findings.add(Code::ProxyOther, format!("{url}/health answers {status}, and not as a relay does"))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::checks::fixture::{NOW, codes, codes_met};
    use crate::doctor::facts::{Health, Proxy, Tls};
    use relay_proto::UnixSeconds;

    /// Behind what does not let requests in, nothing is seen.
    fn nothing_behind(proxy: &mut Proxy) {
        (proxy.seen.key, proxy.seen.sealed, proxy.seen.requests, proxy.seen.skew) = (None, None, 0, None);
    }

    #[test]
    fn a_proxy_is_silent_untrusted_or_lets_in() {
        let reason = || "refused".to_owned();
        for (tls, health, code) in [
            (Some(Tls::NoAuthorities), Health::None(reason()), "front-tls"),
            (Some(Tls::Silent(reason())), Health::None(reason()), "front-silent"),
            (Some(Tls::Broken(reason())), Health::None(reason()), "front-tls"),
            (Some(Tls::Certificate(reason())), Health::None(reason()), "front-certificate"),
            (None, Health::None(reason()), "front-silent"),
            (None, Health::Other(502), "front-gateway"),
            (None, Health::Other(404), "front-other"),
            (None, Health::Other(200), "front-other"),
        ] {
            let found = codes_met(|proxy| {
                nothing_behind(proxy);
                (proxy.tls, proxy.seen.health) = (tls, health);
            });
            assert_eq!(found, [code]);
        }
    }

    #[test]
    fn a_proxy_without_any_gateway_is_not_to_blame() {
        let found = codes(|facts| {
            let proxy = facts.proxy.as_mut().unwrap();
            nothing_behind(proxy);
            proxy.seen.health = Health::Other(502);
            facts.report.as_mut().unwrap().status.processes.truncate(1);
        });
        assert_eq!(found, ["gateway-missing"]);
    }

    #[test]
    fn a_certificate_ends_soon_by_its_own_measure() {
        let with = |age: u64, left: u64| {
            let (from, to) = (UnixSeconds::new(NOW - age), UnixSeconds::new(NOW + left));
            codes_met(|proxy| proxy.tls = Some(Tls::Good { from, to }))
        };
        let day = 86_400;
        assert_eq!(with(80 * day, 10 * day), ["front-certificate-ends"]);
        assert!(with(75 * day, 15 * day).is_empty());
        assert!(with(6 * 3600, 6 * 3600).is_empty(), "one of a proxy's own, renewed every few hours");
        assert_eq!(with(10 * 3600, 3600), ["front-certificate-ends"]);
    }

    #[test]
    fn tokens_in_the_open_are_told() {
        let found = codes_met(|proxy| {
            proxy.is_open = true;
            proxy.tls = None;
        });
        assert_eq!(found, ["front-plain"]);
    }
}
