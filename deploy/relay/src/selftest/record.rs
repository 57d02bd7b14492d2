//! The signed key record as the clients read it that people have: what they refuse is wrong, whatever else it is.

use ohttp::KeyConfig;
use relay_proto::PublicKey;
use relay_proto::UnixSeconds;
use relay_proto::anchor;
use relay_proto::key_record::{KeyRecord, LONGEST};
use relay_proto::keys::DAY_SECS;

/// What the intermediate key's signature begins with. Written out here as a client would.
const LABEL: &[u8] = b"vauchi-ohttp-keyconfig-v1";
/// Where the suites begin in a key configuration, behind its id, KEM, public key and their length.
const SUITES: usize = 1 + 2 + 32 + 2;
/// The suite that must come first: HKDF-SHA256 and ChaCha20-Poly1305.
const FIRST_SUITE: [u8; 4] = [0, 1, 0, 3];

/// Checks a record that was asked for at `asked` and came at `now`. Without an anchor nobody can tell whose it is; all
/// the rest is checked.
///
/// # Errors
/// The first thing for which a client would refuse it.
pub(crate) fn check(
    body: &[u8],
    anchor: Option<&PublicKey>,
    asked: UnixSeconds,
    now: UnixSeconds,
) -> Result<KeyRecord, &'static str> {
    if body.len() > LONGEST {
        return Err("it is longer than 699 bytes");
    }
    let record = KeyRecord::parse(body).map_err(|_| "the body is not a key record")?;
    let window = |at: UnixSeconds| at.get() / DAY_SECS;
    if !(window(asked)..=window(now)).contains(&record.day) {
        return Err("its window is not this day");
    }
    KeyConfig::decode(&record.config).map_err(|_| "there is not one key configuration in it")?;
    if record.config.first().map(|id| u64::from(*id)) != Some(record.day % 256) {
        return Err("its key id is not its window modulo 256");
    }
    if !record.config.get(SUITES..).is_some_and(|suites| suites.starts_with(&FIRST_SUITE)) {
        return Err("HKDF-SHA256 with ChaCha20-Poly1305 is not its first suite");
    }
    if !record.certificate.holds_at(now) {
        return Err("the certificate in it does not hold at this time");
    }
    let message = [LABEL, &record.day.to_be_bytes(), &record.config[..]].concat();
    if !anchor::is_signed(&record.certificate.intermediate, &message, &record.signature) {
        return Err("the certified key did not sign it");
    }
    if anchor.is_some_and(|anchor| !record.certificate.is_by(anchor)) {
        return Err("the anchor did not sign the certificate in it");
    }
    Ok(record)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use relay_proto::WindowSeed;
    use relay_proto::anchor::{Certificate, public};
    use relay_proto::keys::KeyWindow;

    const NOW: UnixSeconds = UnixSeconds::new(20_000 * DAY_SECS + 5);

    pub(crate) fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    /// A record for the window of a moment, with a configuration that may be changed before it is signed.
    pub(crate) fn record(at: UnixSeconds, change: impl FnOnce(&mut Vec<u8>)) -> KeyRecord {
        let number = at.get() / DAY_SECS;
        let window = KeyWindow { number, seed: WindowSeed::from_bytes([7; 32]) };
        let mut config = window.encoded_config().unwrap();
        change(&mut config);
        let certificate =
            Certificate::issue(&key(1), &public(&key(2)), at.minus(DAY_SECS), at.plus(DAY_SECS));
        KeyRecord::sign(number, config.into(), &key(2), certificate).unwrap()
    }

    fn problem(body: &[u8], now: UnixSeconds) -> &'static str {
        check(body, Some(&public(&key(1))), now, now).unwrap_err()
    }

    #[test]
    fn a_record_is_taken_from_its_anchor_on_its_day() {
        let good = record(NOW, |_| ());
        for anchor in [None, Some(&public(&key(1)))] {
            assert_eq!(check(&good.encode(), anchor, NOW, NOW), Ok(good.clone()));
        }
        assert!(check(&good.encode(), None, NOW, NOW.plus(DAY_SECS - 1)).is_ok(), "it was the day before");
    }

    #[test]
    fn whatever_a_client_refuses_is_named() {
        let good = record(NOW, |_| ());
        assert_eq!(problem(&[0; 700], NOW), "it is longer than 699 bytes");
        assert_eq!(problem(&good.encode()[1..], NOW), "the body is not a key record");
        assert_eq!(problem(&good.encode(), NOW.plus(DAY_SECS)), "its window is not this day");
        let other_id = record(NOW, |config| config[0] ^= 1);
        assert_eq!(problem(&other_id.encode(), NOW), "its key id is not its window modulo 256");
        let swapped = record(NOW, |config| config[SUITES..].rotate_left(4));
        let first = "HKDF-SHA256 with ChaCha20-Poly1305 is not its first suite";
        assert_eq!(problem(&swapped.encode(), NOW), first);
        let cut = record(NOW, |config| config.truncate(20));
        assert_eq!(problem(&cut.encode(), NOW), "there is not one key configuration in it");
        let mut ended = good.clone();
        ended.certificate.not_after = NOW;
        assert_eq!(problem(&ended.encode(), NOW), "the certificate in it does not hold at this time");
        let mut forged = good.clone();
        forged.config = [&good.config[..3], &[9], &good.config[4..]].concat().into();
        assert_eq!(problem(&forged.encode(), NOW), "the certified key did not sign it");
        let other = check(&good.encode(), Some(&public(&key(3))), NOW, NOW).unwrap_err();
        assert_eq!(other, "the anchor did not sign the certificate in it");
    }
}
