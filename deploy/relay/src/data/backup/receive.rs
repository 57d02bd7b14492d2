//! Gets a copy of the database: from a running relay over the operator's socket, or from its directory.

use crate::admin_client::{self, Admin};
use crate::display::progress::Progress;
use crate::display::units::bytes;
use relay_daemon::{Exit, Failure, Vars};
use relay_proto::messages::backup_part::Part;
use relay_proto::messages::{BackupCourse, BackupRequest};
use relay_proto::{StorageError, refusal_of};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Status;

/// How long storage may be silent.
const DEADLINE: Duration = Duration::from_secs(60);

/// Bytes after which the file is synced. All at once would delay the commits of a running relay.
const TO_DISK: u64 = 64 << 20;

/// Copies the database into a new file, and syncs it: from the relay, if one serves, or from its directory.
pub(super) fn copy(vars: &Vars, serves: bool, target: &Path, errors: &mut impl Write) -> Result<(), Failure> {
    if !serves {
        // A closed stderr is no reason to stop.
        drop(writeln!(errors, "no relay runs; copying its data directory"));
        return storaged::offline::copy(vars, target);
    }
    admin_client::with_client(vars, async |client| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(unwritable)?;
        let mut progress = Progress::of_something_short(errors);
        let received = receive(client.admin(), &mut file, &mut progress).await;
        progress.end();
        received?;
        file.sync_all().map_err(unwritable)
    })
}

async fn receive(
    mut admin: Admin,
    file: &mut File,
    progress: &mut Progress<'_, impl Write>,
) -> Result<(), Failure> {
    let silent = || failure!(Unavailable, "storaged does not go on with the backup; see its log");
    let begun = timeout(DEADLINE, admin.0.backup(BackupRequest {})).await.map_err(|_| silent())?;
    let mut parts = begun.map_err(refused)?.into_inner();
    let (mut received, mut expected) = (0_u64, 0);
    loop {
        let next = timeout(DEADLINE, parts.message()).await.map_err(|_| silent())?;
        let Some(part) = next.map_err(refused)? else { break };
        match part.part {
            // The copying and the handing out are a half each.
            Some(Part::Course(BackupCourse { copied_bytes: copied, total_bytes: total })) => {
                expected = total;
                let words = format_args!("{} of {} copied", bytes(copied), bytes(total));
                progress.show(copied, total.saturating_mul(2), &words);
            }
            None => return Err(refused(StorageError::invalid("part").into())),
            Some(Part::Piece(piece)) => {
                file.write_all(&piece).map_err(unwritable)?;
                let before = received / TO_DISK;
                received += piece.len() as u64;
                if received / TO_DISK != before {
                    file.sync_data().map_err(unwritable)?;
                }
                let words = format_args!("{} of {} received", bytes(received), bytes(expected));
                progress.show(expected.saturating_add(received), expected.saturating_mul(2), &words);
            }
        }
    }
    if received == 0 || received != expected {
        return Err(failure!(Unavailable, "storaged ended in the middle of the backup; see its log"));
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn refused(status: Status) -> Failure {
    let refusal = refusal_of(&status);
    let (exit, text) = match &refusal {
        StorageError::Busy => {
            (Exit::Unavailable, "storaged makes another backup, or has too much to do; try again later")
        }
        StorageError::StorageFull => (
            Exit::Io,
            "the volume of the data directory has no room for a copy of the database; make room, or stop the relay and \
             back it up then",
        ),
        StorageError::Invalid { .. } => {
            (Exit::Usage, "this relay keeps its mail in memory: there is nothing to back up")
        }
        _ => {
            return failure!(Unavailable, "storaged cannot make a backup: {refusal}; see its log");
        }
    };
    Failure::new(exit, text)
}

fn unwritable(error: io::Error) -> Failure {
    failure!(Io, "cannot write the backup: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Storage, sample};
    use relay_proto::messages::BackupPart;

    /// What comes of a backup that is made of these parts.
    fn received(parts: Vec<Result<BackupPart, StorageError>>) -> Result<Vec<u8>, Failure> {
        let storage = Storage::answering(sample(), |answers| answers.parts = parts);
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("relay.db");
        copy(&storage.vars(), true, &target, &mut Vec::new()).map(|()| std::fs::read(&target).unwrap())
    }

    fn piece(bytes: &'static [u8]) -> Result<BackupPart, StorageError> {
        Ok(BackupPart { part: Some(Part::Piece(bytes.into())) })
    }

    #[test]
    fn pieces_are_put_together_and_too_few_are_no_backup() {
        let course = BackupCourse { copied_bytes: 5, total_bytes: 5 };
        let whole = Ok(BackupPart { part: Some(Part::Course(course)) });
        assert_eq!(received(vec![whole.clone(), piece(b"abc"), piece(b"de")]).unwrap(), b"abcde");
        for parts in [vec![], vec![whole.clone()], vec![whole.clone(), piece(b"abc")], vec![piece(b"abc")]] {
            assert_eq!(received(parts).unwrap_err().exit, Exit::Unavailable);
        }
    }

    #[test]
    fn a_refusal_says_what_can_be_done() {
        for (refusal, exit, word) in [
            (StorageError::Busy, Exit::Unavailable, "later"),
            (StorageError::StorageFull, Exit::Io, "make room"),
            (StorageError::Invalid { field: "backup".into() }, Exit::Usage, "memory"),
            (StorageError::Internal, Exit::Unavailable, "log"),
        ] {
            let refused = received(vec![Err(refusal)]).unwrap_err();
            assert!(refused.exit == exit && refused.text.contains(word), "{refused}");
        }
    }
}
