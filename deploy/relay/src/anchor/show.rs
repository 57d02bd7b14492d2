//! `relay anchor show`: an anchor with its certificates and rollovers. Reads `anchor.json` and no secret, so it works on a
//! relay's copy as well.

use super::DAY;
use super::files::Directory;
use super::new::names;
use super::state::{looks_unfinished, public_file};
use crate::display::output::row;
use crate::display::time::validity;
use relay_daemon::{Clock, Failure};
use relay_proto::UnixSeconds;
use relay_proto::anchor::file::AnchorFile;
use relay_proto::anchor::{Certificate, Rollover};
use serde_json::{Value, json};
use std::path::Path;

/// Shows an anchor, to people or to programs.
pub(super) fn show(path: &Path, as_json: bool, clock: &Clock) -> Result<String, Failure> {
    let directory = Directory::open(path)?;
    let file = public_file(&directory)?;
    let unfinished = looks_unfinished(&directory)?;
    let now = clock.now();
    if as_json {
        return Ok(format!("{:#}\n", as_value(&file, unfinished, now)));
    }
    let mut text = text(&file, now);
    if unfinished {
        let path = path.display();
        text.push_str(&format!("A rollover was cut off here; finish it: relay anchor rollover {path}\n"));
    }
    Ok(text)
}

fn text(file: &AnchorFile, now: UnixSeconds) -> String {
    let mut text = names(file);
    for certificate in &file.certificates {
        let validity = validity(now, certificate.not_before, certificate.not_after);
        let key = hex::encode(certificate.intermediate.as_bytes());
        text += &row("certificate", format_args!("{validity}, intermediate {key}"));
    }
    if file.certificates.is_empty() {
        text += &row("certificate", "none");
    }
    for record in &file.rollovers {
        text += &row("rollover", format_args!("to {}", hex::encode(record.new_anchor.as_bytes())));
    }
    text
}

fn as_value(file: &AnchorFile, unfinished: bool, now: UnixSeconds) -> Value {
    let certificate = |certificate: &Certificate| {
        json!({
            "intermediate": hex::encode(certificate.intermediate.as_bytes()),
            "not_before": certificate.not_before.get(),
            "not_after": certificate.not_after.get(),
            "days_left": certificate.not_after.get().saturating_sub(now.get()) / DAY,
        })
    };
    let rollover = |record: &Rollover| {
        json!({
            "anchor": hex::encode(record.new_anchor.as_bytes()),
            "commitment": hex::encode(record.next_commitment.as_bytes()),
        })
    };
    json!({
        "anchor": hex::encode(file.anchor.as_bytes()),
        "commitment": hex::encode(file.commitment.as_bytes()),
        "certificates": file.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "rollovers": file.rollovers.iter().map(rollover).collect::<Vec<_>>(),
        "unfinished_rollover": unfinished,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::AnchorCommand;
    use crate::anchor::fixture::TestAnchor;
    use crate::anchor::state::NEXT_BACKUP_KEY;
    use std::fs;
    use std::time::Duration;

    fn shown(offline: &TestAnchor, json: bool) -> String {
        offline.run(AnchorCommand::Show { directory: offline.directory.clone(), json }).unwrap()
    }

    #[test]
    fn people_read_lines() {
        let offline = TestAnchor::anchored();
        assert!(shown(&offline, false).contains("certificate   none"));
        offline.certify().unwrap();
        offline.rollover().unwrap();
        let (text, file) = (shown(&offline, false), offline.public());
        for expected in [
            format!("anchor        {}", hex::encode(file.anchor.as_bytes())),
            format!("commitment    {}", hex::encode(file.commitment.as_bytes())),
            "2025-06-01 11:00 UTC to 2025-08-30 11:00 UTC (89 d 22 h left)".to_owned(),
            format!("rollover      to {}", hex::encode(file.anchor.as_bytes())),
        ] {
            assert!(text.contains(&expected), "{expected:?} in {text}");
        }
        offline.time.advance(Duration::from_secs(100 * DAY));
        assert!(shown(&offline, false).contains("(ENDED)"));
    }

    #[test]
    fn programs_read_json() {
        let offline = TestAnchor::anchored();
        offline.certify().unwrap();
        offline.rollover().unwrap();
        let value: Value = serde_json::from_str(&shown(&offline, true)).unwrap();
        let file = offline.public();
        assert_eq!(value["anchor"], hex::encode(file.anchor.as_bytes()));
        assert_eq!(value["certificates"][0]["not_after"], file.certificates[0].not_after.get());
        assert_eq!(value["certificates"][0]["days_left"], 89);
        assert_eq!(value["rollovers"][0]["commitment"], hex::encode(file.commitment.as_bytes()));
        assert_eq!(value["unfinished_rollover"], false);
    }

    #[test]
    fn a_copy_without_any_key_is_enough_and_an_unfinished_rollover_is_told() {
        let offline = TestAnchor::anchored();
        for name in ["anchor.key", "backup.key"] {
            fs::remove_file(offline.path(name)).unwrap();
        }
        assert!(!shown(&offline, false).contains("cut off"));
        fs::write(offline.path(NEXT_BACKUP_KEY), "").unwrap();
        assert!(shown(&offline, false).contains("relay anchor rollover"));
    }
}
