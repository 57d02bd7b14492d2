//! Oblivious HTTP: sealed requests, the signed key record, and the end of the anchor's certificate.

use crate::display::time::{span, utc};
use crate::doctor::code::Code;
use crate::doctor::facts::{Facts, ProbeError, Proxy};
use crate::doctor::finding::Findings;
use relay_client::ServedKeyRecord;
use relay_proto::messages::KeyStatus;
use relay_proto::{PublicKey, UnixSeconds};

/// How long before its end a certificate is reported, in seconds. People renew it by hand, so they need time.
const NEAR: u64 = 14 * 86_400;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let Some(report) = &facts.report else { return };
    let Some(keys) = &report.keys else {
        return findings.add(Code::KeysUnknown, "storaged does not tell of its keys");
    };
    check_record(keys, facts.now, findings);
    let Some(proxy) = &facts.proxy else { return };
    let url = &proxy.url;
    let foreign =
        proxy.seen.key.is_some_and(|shown| keys.windows.iter().all(|window| window.fingerprint[..] != shown));
    if foreign {
        // Another relay may have this port of the machine.
        if !proxy.is_public {
            return;
        }
        findings.add(Code::OhttpKey, format!("the key that clients get at {url} is not this relay's"));
        return;
    }
    check_signed(facts, keys, proxy, findings);
    if let Some(Err(ProbeError::Broken(reason))) = &proxy.seen.sealed {
        findings.add(Code::OhttpBroken, format!("a sealed request to {url} was not answered: {reason}"));
    }
}

/// Checks the signed record that clients get, as they do.
fn check_signed(facts: &Facts, keys: &KeyStatus, proxy: &Proxy, findings: &mut Findings) {
    // Reported already, with the reason why the record does not fit.
    let reported = [Code::RecordMissing, Code::RotationForTests, Code::ClockOff];
    if reported.into_iter().any(|code| findings.has(code)) {
        return;
    }
    let refused = match &proxy.seen.record {
        Some(Ok(body)) => {
            let (anchor, now) = (PublicKey::try_from(&keys.anchor[..]).ok(), facts.now.get());
            let anchor = anchor.as_ref().map(PublicKey::as_bytes);
            ServedKeyRecord::check(body, anchor, now, now).err().map(|error| error.to_string())
        }
        Some(Err(status)) => Some(format!("status {status} in its place")),
        None => None,
    };
    if let Some(reason) = refused {
        let url = &proxy.url;
        findings.add_with(
            Code::RecordRefused,
            format!("clients refuse the signed key record that they get at {url}: {reason}"),
            format!("let nothing cache or change /v2/ohttp-key-signed; `relay selftest {url} --anchor HEX` shows more"),
        );
    }
}

fn check_record(keys: &KeyStatus, now: UnixSeconds, findings: &mut Findings) {
    if !keys.problem.is_empty() {
        return findings
            .add(Code::RecordMissing, format!("no signed key record is served: {}", keys.problem));
    }
    // A relay that is its own anchor renews by itself.
    let last = keys.certificates.iter().map(|times| times.not_after).max().filter(|_| !keys.self_anchored);
    if let Some(ends) = last.map(UnixSeconds::new).filter(|ends| ends.get() < now.get().saturating_add(NEAR))
    {
        findings.add(
            Code::CertificateEnds,
            format!("the anchor's last certificate ends {}, in {}", utc(ends), span(now.distance(ends))),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::checks::fixture::{NOW, codes, codes_met, codes_reported, key, record};
    use crate::doctor::facts::{ProbeError, StorageReport};
    use relay_proto::UnixSeconds;
    use relay_proto::anchor::public;
    use relay_proto::key_record::KeyRecord;
    use relay_proto::messages::KeyStatus;

    fn with_keys(change: impl FnOnce(&mut KeyStatus)) -> Vec<&'static str> {
        codes_reported(|report: &mut StorageReport| change(report.keys.as_mut().unwrap()))
    }

    #[test]
    fn a_record_is_served_for_long() {
        assert_eq!(with_keys(|keys| keys.problem = "none holds".to_owned()), ["record-missing"]);
        let soon = NOW + 86_400;
        assert_eq!(with_keys(|keys| keys.certificates[0].not_after = soon), ["certificate-ends"]);
        let own = with_keys(|keys| {
            keys.certificates[0].not_after = soon;
            keys.self_anchored = true;
        });
        assert!(own.is_empty(), "it renews by itself");
        assert_eq!(codes_reported(|report| report.keys = None), ["keys-unknown"]);
    }

    #[test]
    fn the_signed_record_is_held_to_what_clients_hold_it_to() {
        let now = UnixSeconds::new(NOW);
        let signed = |record: KeyRecord| Some(Ok(record.encode().to_vec()));
        for wrong in [
            signed(record(now, |config| config[0] ^= 1)),
            signed(record(now.minus(86_400), |_| ())),
            Some(Ok(b"something else".to_vec())),
            Some(Err(404)),
        ] {
            assert_eq!(codes_met(|proxy| proxy.seen.record = wrong.clone()), ["record-refused"], "{wrong:?}");
        }
        let other_anchor = with_keys(|keys| keys.anchor = public(&key(9)).into());
        assert_eq!(other_anchor, ["record-refused"]);
        assert!(codes_met(|proxy| proxy.seen.record = None).is_empty(), "a limit");
        let for_tests = codes(|facts| {
            facts.settings.rotation_secs = 10;
            facts.proxy.as_mut().unwrap().seen.record = signed(record(now, |config| config[0] ^= 1));
        });
        assert_eq!(for_tests, ["rotation-for-tests"]);
    }

    #[test]
    fn a_sealed_request_comes_back_and_the_key_is_ours() {
        let broken = Err(ProbeError::Broken("status 400 outside".to_owned()));
        assert_eq!(codes_met(|proxy| proxy.seen.sealed = Some(broken.clone())), ["ohttp-broken"]);
        let foreign = codes_met(|proxy| {
            proxy.seen.key = Some([0xee; 32]);
            proxy.seen.sealed = Some(broken.clone());
        });
        assert_eq!(foreign, ["ohttp-key"]);
    }
}
