//! `relay anchor rollover`: the backup becomes the anchor, and a new key its backup.
//!
//! In this order, each step durable before the next:
//! 1. `next-backup.key`: the new backup. Cut off after this, nothing has happened; the next run uses this key.
//! 2. `anchor.json`: the new anchor, the new commitment, the record, a certificate. This is the rollover.
//! 3. `anchor.key` becomes `retired-N.key`, `backup.key` becomes `anchor.key`, `next-backup.key` becomes
//!    `backup.key`. Cut off among these, the next `rollover` or `certify` does what is left.
//!
//! A rollover that was cut off after its last rename is done, and another run is another rollover: it only
//! costs a record. `relay anchor show` lists them.

use super::USUAL_DAYS;
use super::certify::{certified, issue, to_be_copied};
use super::files::{Directory, fresh_key};
use super::new::{names, write_public_file};
use super::plausible_now;
use super::state::{ANCHOR_KEY, NEXT_BACKUP_KEY, anchor_key, backup_key, public_file, settle};
use relay_daemon::{Clock, Failure};
use relay_proto::Commitment;
use relay_proto::anchor::file::{AnchorFile, INTERMEDIATE_FILE};
use relay_proto::anchor::{MOST_ROLLOVERS, Rollover, public};
use std::path::Path;

/// Rolls over, or finishes a rollover that was cut off.
pub(super) fn rollover(path: &Path, clock: &Clock) -> Result<String, Failure> {
    let now = plausible_now(clock)?;
    let directory = Directory::lock(path)?;
    let file = public_file(&directory)?;
    if settle(&directory, &file)? {
        // A new rollover besides would be one more than the operator asked for.
        return Ok(format!("The rollover that was cut off here is done.\n{}", done(&directory, &file)));
    }
    let backup = backup_key(&directory, &file)?;
    if directory.has(ANCHOR_KEY)? {
        // It may be lost; but one that is there and wrong is a mistake, reported before anything changes.
        anchor_key(&directory, &file)?;
    }
    let next = match directory.read_key(NEXT_BACKUP_KEY)? {
        Some(key) => key,
        None => {
            let key = fresh_key()?;
            directory.write_new_key(NEXT_BACKUP_KEY, &key)?;
            key
        }
    };
    let commitment = Commitment::to(&public(&next));
    let mut rollovers = file.rollovers;
    rollovers.push(Rollover::issue(&backup, commitment));
    let intermediate = directory.read_key(INTERMEDIATE_FILE)?;
    let certificates =
        intermediate.iter().map(|intermediate| issue(&backup, intermediate, USUAL_DAYS, now)).collect();
    let file = AnchorFile { anchor: public(&backup), commitment, certificates, rollovers };
    write_public_file(&directory, &file)?;
    settle(&directory, &file)?;
    Ok(done(&directory, &file))
}

/// What holds now and what the operator has to do.
fn done(directory: &Directory, file: &AnchorFile) -> String {
    let mut answer = names(file);
    answer.push_str(
        "Clients that know the old anchor follow by the record in anchor.json; publish these for new ones.\n",
    );
    if file.rollovers.len() > MOST_ROLLOVERS {
        answer.push_str(&format!(
            "Of {} records the newest {MOST_ROLLOVERS} are served: clients that know an older anchor cannot follow.\n",
            file.rollovers.len()
        ));
    }
    match file.certificates.last() {
        Some(certificate) => {
            answer.push_str(&certified(certificate));
            answer.push_str(&to_be_copied(directory));
        }
        None => {
            answer.push_str(&format!("Next: relay anchor certify {}\n", directory.itself().display()));
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::fixture::{NOW, TestAnchor, mode};
    use crate::anchor::state::{BACKUP_KEY, retired_key};
    use relay_daemon::Exit;
    use relay_proto::anchor::file::PUBLIC_FILE;
    use std::collections::BTreeMap;
    use std::fs;

    const DONE: [&str; 5] = ["anchor.json", "anchor.key", "backup.key", "intermediate.key", "retired-1.key"];

    type Files = BTreeMap<String, Vec<u8>>;

    fn files(offline: &TestAnchor) -> Files {
        offline
            .names()
            .into_iter()
            .map(|name| (name.clone(), fs::read(offline.path(&name)).unwrap()))
            .collect()
    }

    /// A directory with exactly these files.
    fn with(files: &Files) -> TestAnchor {
        let offline = TestAnchor::anchored();
        for name in offline.names() {
            fs::remove_file(offline.path(&name)).unwrap();
        }
        for (name, bytes) in files {
            fs::write(offline.path(name), bytes).unwrap();
            let open = fs::Permissions::from_mode(0o600);
            fs::set_permissions(offline.path(name), open).unwrap();
        }
        offline
    }

    use std::os::unix::fs::PermissionsExt as _;

    /// Checks that all files there fit together.
    fn is_whole(offline: &TestAnchor) {
        let directory = Directory::open(&offline.directory).unwrap();
        let file = public_file(&directory).unwrap();
        anchor_key(&directory, &file).unwrap();
        backup_key(&directory, &file).unwrap();
        assert!(!directory.has(NEXT_BACKUP_KEY).unwrap());
    }

    #[test]
    fn the_backup_becomes_the_anchor_and_everything_follows() {
        let offline = TestAnchor::anchored();
        offline.certify().unwrap();
        let (before, keys) = (offline.public(), files(&offline));
        let answer = offline.rollover().unwrap();
        let after = offline.public();
        assert_eq!(offline.names(), DONE);
        is_whole(&offline);
        assert_eq!(files(&offline)["anchor.key"], keys["backup.key"]);
        assert_eq!(files(&offline)["retired-1.key"], keys["anchor.key"]);
        assert_eq!(files(&offline)["intermediate.key"], keys["intermediate.key"]);
        assert_eq!(mode(&offline.path(BACKUP_KEY)), 0o600);
        let [record] = after.rollovers[..] else { panic!("{after:?}") };
        assert!(record.follows(&before.commitment));
        assert_eq!((record.new_anchor, record.next_commitment), (after.anchor, after.commitment));
        let [certificate] = after.certificates[..] else { panic!("{after:?}") };
        assert_eq!(certificate.intermediate, before.certificates[0].intermediate);
        assert!(certificate.holds_at(NOW));
        assert!(answer.contains(&hex::encode(after.anchor.as_bytes())), "{answer}");
        assert!(answer.contains("RELAY_ANCHOR_DIR"), "{answer}");
    }

    #[test]
    fn rollovers_make_a_chain_and_keep_every_old_key() {
        let offline = TestAnchor::anchored();
        let mut commitment = offline.public().commitment;
        let mut answer = String::new();
        for _ in 0..17 {
            answer = offline.rollover().unwrap();
        }
        let file = offline.public();
        assert_eq!(file.rollovers.len(), 17);
        for record in &file.rollovers {
            assert!(record.follows(&commitment));
            commitment = record.next_commitment;
        }
        assert!((1..=17).all(|number| offline.path(&retired_key(number)).exists()));
        assert!(answer.contains("the newest 16 are served"), "{answer}");
        assert!(answer.contains("Next: relay anchor certify"), "there is no intermediate key: {answer}");
    }

    #[test]
    fn cut_off_anywhere_it_is_finished_by_the_next_run() {
        let offline = TestAnchor::anchored();
        offline.certify().unwrap();
        let before = files(&offline);
        offline.rollover().unwrap();
        let after = files(&offline);
        let next = after["backup.key"].clone();

        // Before the new anchor.json nothing has happened: the next run rolls over, to this very key.
        let mut state = before.clone();
        state.insert(NEXT_BACKUP_KEY.to_owned(), next.clone());
        let cut = with(&state);
        cut.certify().unwrap();
        assert!(cut.path(NEXT_BACKUP_KEY).exists(), "not a rollover to be finished");
        let cut = with(&state);
        cut.rollover().unwrap();
        assert_eq!(files(&cut), after);

        // After it every step that is left is done, by either command, and no other rollover is begun.
        state.insert(PUBLIC_FILE.to_owned(), after[PUBLIC_FILE].clone());
        let mut states = vec![state.clone()];
        for (from, to) in [("anchor.key", "retired-1.key"), ("backup.key", "anchor.key")] {
            let bytes = state.remove(from).unwrap();
            state.insert(to.to_owned(), bytes);
            states.push(state.clone());
        }
        for state in states {
            let cut = with(&state);
            let answer = cut.rollover().unwrap();
            assert!(answer.contains("cut off"), "{answer}");
            assert_eq!(files(&cut), after);
            let cut = with(&state);
            cut.certify().unwrap();
            assert_eq!(files(&cut), after);
            is_whole(&cut);
        }
    }

    #[test]
    fn what_was_half_written_is_not_taken_for_a_key() {
        let offline = TestAnchor::anchored();
        fs::write(offline.path(".next-backup.key.unfinished"), "07").unwrap();
        offline.rollover().unwrap();
        is_whole(&offline);
        assert!(!offline.path(".next-backup.key.unfinished").exists());
    }

    #[test]
    fn a_lost_anchor_is_what_the_backup_is_for() {
        let offline = TestAnchor::anchored();
        fs::remove_file(offline.path(ANCHOR_KEY)).unwrap();
        offline.rollover().unwrap();
        assert_eq!(offline.names(), ["anchor.json", "anchor.key", "backup.key"]);
        is_whole(&offline);
    }

    #[test]
    fn without_the_right_keys_nothing_changes() {
        let offline = TestAnchor::anchored();
        let other = TestAnchor::anchored();
        for (name, replaced, exit) in [
            (BACKUP_KEY, false, Exit::DataMissing),
            (BACKUP_KEY, true, Exit::Corrupt),
            (ANCHOR_KEY, true, Exit::Corrupt),
        ] {
            let mut state = files(&offline);
            state.remove(name);
            if replaced {
                state.insert(name.to_owned(), fs::read(other.path(name)).unwrap());
            }
            let cut = with(&state);
            let refused = cut.rollover().unwrap_err();
            assert_eq!(refused.exit, exit, "{refused}");
            assert!(refused.text.contains(name), "{refused}");
            assert_eq!(files(&cut), state);
        }
    }

    #[test]
    fn a_cut_off_rollover_whose_backup_is_gone_says_so() {
        let offline = TestAnchor::anchored();
        let before = files(&offline);
        offline.rollover().unwrap();
        let after = files(&offline);
        let mut state = after.clone();
        state.remove("anchor.key");
        state.insert(NEXT_BACKUP_KEY.to_owned(), state["backup.key"].clone());
        state.remove("backup.key");
        let cut = with(&state);
        assert_eq!(cut.rollover().unwrap_err().exit, Exit::DataMissing);
        fs::write(cut.path(BACKUP_KEY), &before["anchor.key"]).unwrap();
        fs::set_permissions(cut.path(BACKUP_KEY), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(cut.rollover().unwrap_err().exit, Exit::Corrupt);
        fs::write(cut.path(BACKUP_KEY), &before["backup.key"]).unwrap();
        cut.rollover().unwrap();
        assert_eq!(files(&cut), after);
    }
}
