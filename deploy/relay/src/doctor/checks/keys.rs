//! Oblivious HTTP from end to end, and who vouches for its keys and for how long.

use crate::doctor::code::Code;
use crate::doctor::facts::{Facts, Sealed};
use crate::doctor::finding::Findings;
use crate::moment::{span, utc};
use relay_proto::UnixSeconds;
use relay_proto::admin::KeyStatus;

/// An offline anchor's certificate is renewed by people: they want to be told early, in seconds.
const NEAR: u64 = 14 * 86_400;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let Some(told) = &facts.told else { return };
    let Some(keys) = &told.keys else {
        return findings.add(Code::KeysUnknown, "storaged does not tell of its keys", "see its log");
    };
    check_record(keys, facts.now, findings);
    let Some(front) = &facts.front else { return };
    let foreign =
        front.key.is_some_and(|shown| keys.windows.iter().all(|window| window.fingerprint != shown));
    if foreign {
        // Whose port that is on this machine nobody said.
        if !front.is_public {
            return;
        }
        findings.add(
            Code::OhttpKey,
            format_args!("the key that clients get at {} is not this relay's", front.url),
            "let the name lead to this relay, and let nothing cache /v2/ohttp-key longer than Cache-Control says",
        );
    } else if let Some(Sealed::Broken(reason)) = &front.sealed {
        findings.add(
            Code::OhttpBroken,
            format_args!("a sealed request to {} was not answered: {reason}", front.url),
            format_args!("`relay selftest {} --via ohttp` shows which step fails", front.url),
        );
    }
}

fn check_record(keys: &KeyStatus, now: UnixSeconds, findings: &mut Findings) {
    if let Some(problem) = &keys.problem {
        return findings.add(
            Code::RecordMissing,
            format_args!("no signed key record is served: {problem}"),
            "`relay anchor certify` on the offline machine, and copy anchor.json to RELAY_ANCHOR_DIR",
        );
    }
    // A relay that is its own anchor renews by itself.
    let last = keys.certificates.iter().map(|times| times.not_after).max().filter(|_| !keys.self_anchored);
    if let Some(ends) = last.filter(|ends| ends.get() < now.get().saturating_add(NEAR)) {
        findings.add(
            Code::CertificateEnds,
            format_args!("the anchor's last certificate ends {}, in {}", utc(ends), span(now.distance(ends))),
            "`relay anchor certify` on the offline machine, and copy anchor.json to RELAY_ANCHOR_DIR",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::checks::fixture::{NOW, codes_met, codes_told};
    use crate::doctor::facts::{Sealed, Told};
    use relay_proto::UnixSeconds;
    use relay_proto::admin::KeyStatus;

    fn with_keys(change: impl FnOnce(&mut KeyStatus)) -> Vec<&'static str> {
        codes_told(|told: &mut Told| change(told.keys.as_mut().unwrap()))
    }

    #[test]
    fn a_record_is_served_for_long() {
        assert_eq!(with_keys(|keys| keys.problem = Some("none holds".to_owned())), ["record-missing"]);
        let soon = UnixSeconds::new(NOW + 86_400);
        assert_eq!(with_keys(|keys| keys.certificates[0].not_after = soon), ["certificate-ends"]);
        let own = with_keys(|keys| {
            keys.certificates[0].not_after = soon;
            keys.self_anchored = true;
        });
        assert!(own.is_empty(), "it renews by itself");
        assert_eq!(codes_told(|told| told.keys = None), ["keys-unknown"]);
    }

    #[test]
    fn a_sealed_request_comes_back_and_the_key_is_ours() {
        let broken = Sealed::Broken("status 400 outside".to_owned());
        assert_eq!(codes_met(|front| front.sealed = Some(broken.clone())), ["ohttp-broken"]);
        let foreign = codes_met(|front| {
            front.key = Some([0xee; 32]);
            front.sealed = Some(broken.clone());
        });
        assert_eq!(foreign, ["ohttp-key"]);
    }
}
