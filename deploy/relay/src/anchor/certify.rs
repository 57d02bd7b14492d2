//! `relay anchor certify`: the anchor signs a certificate for the key that a relay signs with.

use super::files::{Directory, fresh_key};
use super::new::write_public_file;
use super::state::{ANCHOR_KEY, BACKUP_KEY, anchor_key, public_file, settle};
use super::{DAY, plausible_now};
use crate::display::output::row;
use crate::display::time::utc;
use ed25519_dalek::SigningKey;
use relay_daemon::{Clock, Failure};
use relay_proto::UnixSeconds;
use relay_proto::anchor::file::{INTERMEDIATE_FILE, PUBLIC_FILE};
use relay_proto::anchor::{Certificate, public};
use std::path::Path;

/// How far into the past a certificate reaches, for clients whose clocks are behind.
const TOLERANCE_SECS: u64 = 3600;

/// Certifies the intermediate key, which is made first if there is none or another one is wanted.
pub(super) fn certify(
    path: &Path,
    days: u64,
    new_intermediate: bool,
    clock: &Clock,
) -> Result<String, Failure> {
    let now = plausible_now(clock)?;
    let directory = Directory::lock(path)?;
    let mut file = public_file(&directory)?;
    settle(&directory, &file)?;
    let anchor = anchor_key(&directory, &file)?;
    // The key first: cut off here, the next run certifies it. A certificate for a key that was never written
    // would be of no use to anybody.
    let intermediate = match directory.read_key(INTERMEDIATE_FILE)? {
        Some(key) if !new_intermediate => key,
        _ => {
            let key = fresh_key()?;
            directory.replace_key(INTERMEDIATE_FILE, &key)?;
            key
        }
    };
    let certificate = issue(&anchor, &intermediate, days, now);
    // A relay has one intermediate key, so certificates of an earlier one are of no more use than ended ones.
    file.certificates.retain(|known| {
        known.not_after > now && known.intermediate == certificate.intermediate && *known != certificate
    });
    file.certificates.push(certificate);
    file.certificates.sort_by_key(|known| known.not_before);
    write_public_file(&directory, &file)?;
    Ok(certified(&certificate) + &to_be_copied(&directory))
}

/// A certificate from this hour on.
pub(super) fn issue(
    anchor: &SigningKey,
    intermediate: &SigningKey,
    days: u64,
    now: UnixSeconds,
) -> Certificate {
    let from = now.hour_floor().minus(TOLERANCE_SECS);
    Certificate::issue(anchor, &public(intermediate), from, from.plus(days * DAY))
}

/// A certificate, as lines.
pub(super) fn certified(certificate: &Certificate) -> String {
    let (from, to) = (utc(certificate.not_before), utc(certificate.not_after));
    let intermediate = hex::encode(certificate.intermediate.as_bytes());
    row("intermediate", intermediate) + &row("certified", format_args!("{from} to {to}"))
}

/// What the operator has to do with the files.
pub(super) fn to_be_copied(directory: &Directory) -> String {
    format!(
        "Copy these two, and no other, to the relay's RELAY_ANCHOR_DIR; a running relay reads them within a minute:\n  \
         {}\n  {}\n\
         The first is secret: let storaged's user alone read it there. {ANCHOR_KEY} and {BACKUP_KEY} stay offline.\n",
        directory.path(INTERMEDIATE_FILE).display(),
        directory.path(PUBLIC_FILE).display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::AnchorCommand;
    use crate::anchor::fixture::{NOW, TestAnchor, mode};
    use relay_daemon::Exit;
    use std::fs;
    use std::time::Duration;

    fn anew(offline: &TestAnchor) -> AnchorCommand {
        AnchorCommand::Certify { directory: offline.directory.clone(), days: 90, new_intermediate: true }
    }

    #[test]
    fn a_certificate_begins_an_hour_before_this_one_and_lasts_its_days() {
        let offline = TestAnchor::anchored();
        let answer = offline.certify().unwrap();
        let file = offline.public();
        let [certificate] = file.certificates[..] else { panic!("{file:?}") };
        assert!(certificate.is_by(&file.anchor) && certificate.holds_at(NOW));
        assert_eq!(certificate.not_before, NOW.hour_floor().minus(3600));
        assert_eq!(certificate.not_after, certificate.not_before.plus(90 * DAY));
        let key = Directory::open(&offline.directory).unwrap().read_key(INTERMEDIATE_FILE).unwrap().unwrap();
        assert_eq!(certificate.intermediate, public(&key));
        assert_eq!(mode(&offline.path(INTERMEDIATE_FILE)), 0o600);
        for expected in ["2025-06-01 11:00 UTC to 2025-08-30 11:00 UTC", "anchor.json", "intermediate.key"] {
            assert!(answer.contains(expected), "{answer}");
        }
    }

    #[test]
    fn a_renewal_keeps_the_key_and_what_still_holds_and_drops_what_ended() {
        let offline = TestAnchor::anchored();
        offline.certify().unwrap();
        let first = offline.public().certificates[0];
        offline.certify().unwrap();
        assert_eq!(offline.public().certificates, [first], "the same hour, the same certificate");
        offline.time.advance(Duration::from_secs(60 * DAY));
        offline.certify().unwrap();
        let both = offline.public().certificates;
        assert_eq!((both.len(), both[0]), (2, first));
        assert_eq!(both[1].intermediate, first.intermediate);
        offline.time.advance(Duration::from_secs(31 * DAY));
        offline.certify().unwrap();
        let left = offline.public().certificates;
        assert_eq!((left.len(), left[0]), (2, both[1]));
    }

    #[test]
    fn a_new_intermediate_takes_the_place_of_the_old_one_and_its_certificates() {
        let offline = TestAnchor::anchored();
        offline.certify().unwrap();
        let first = offline.public().certificates[0];
        offline.run(anew(&offline)).unwrap();
        let file = offline.public();
        let [second] = file.certificates[..] else { panic!("{file:?}") };
        assert_ne!(second.intermediate, first.intermediate);
        assert_eq!(mode(&offline.path(INTERMEDIATE_FILE)), 0o600);
    }

    #[test]
    fn an_intermediate_that_was_made_and_not_certified_is_certified_next() {
        let offline = TestAnchor::anchored();
        offline.certify().unwrap();
        let before = fs::read(offline.path(PUBLIC_FILE)).unwrap();
        offline.run(anew(&offline)).unwrap();
        let made = offline.public().certificates[0].intermediate;
        fs::write(offline.path(PUBLIC_FILE), before).unwrap();
        offline.certify().unwrap();
        let file = offline.public();
        let [certificate] = file.certificates[..] else { panic!("{file:?}") };
        assert_eq!(certificate.intermediate, made);
    }

    #[test]
    fn certifying_needs_the_anchor_and_not_its_backup() {
        let offline = TestAnchor::anchored();
        fs::remove_file(offline.path(BACKUP_KEY)).unwrap();
        offline.certify().unwrap();
        fs::rename(offline.path(ANCHOR_KEY), offline.path("elsewhere")).unwrap();
        let refused = offline.certify().unwrap_err();
        assert_eq!(refused.exit, Exit::DataMissing);
        assert!(refused.text.contains("relay anchor rollover"), "{refused}");
        let foreign = TestAnchor::anchored();
        fs::copy(foreign.path(ANCHOR_KEY), offline.path(ANCHOR_KEY)).unwrap();
        assert_eq!(offline.certify().unwrap_err().exit, Exit::Corrupt);
    }

    #[test]
    fn what_is_wrong_with_the_public_file_is_told() {
        let offline = TestAnchor::anchored();
        fs::write(offline.path(PUBLIC_FILE), "{}").unwrap();
        let refused = offline.certify().unwrap_err();
        assert_eq!(refused.exit, Exit::Corrupt);
        assert!(refused.text.contains("RELAY_ANCHOR_DIR"), "{refused}");
        fs::remove_file(offline.path(PUBLIC_FILE)).unwrap();
        let refused = offline.certify().unwrap_err();
        assert_eq!(refused.exit, Exit::DataMissing);
        assert!(refused.text.contains("cut off"), "{refused}");
    }
}
