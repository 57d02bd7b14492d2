//! Hands out a copy of the database, piece by piece.

use crate::db::Store;
use crate::db::writer::copy::{self, CopyFile, CopyProgress};
use bytes::Bytes;
use relay_daemon::Throttle;
use relay_proto::StorageError;
use relay_proto::messages::backup_part::Part;
use relay_proto::messages::{BackupCourse, BackupPart};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Bytes of a piece: little enough that nobody's request waits for it for long.
const PIECE: usize = 256 << 10;

/// Pieces that may be on their way.
const ON_THEIR_WAY: usize = 8;

/// A download that reads nothing for this long is cancelled and its copy deleted.
const PATIENCE: Duration = Duration::from_secs(60);

type Sent = Result<BackupPart, Status>;

/// Makes a copy and hands it out. It is gone from the data directory when the stream has ended, however that was.
pub(crate) fn backup(store: &Arc<Store>) -> Result<ReceiverStream<Sent>, StorageError> {
    let directory = store.place_for_a_copy()?.to_owned();
    let (parts, stream) = mpsc::channel(ON_THEIR_WAY);
    let store = Arc::clone(store);
    tokio::spawn(async move {
        let (progress, mut seen) = watch::channel(CopyProgress::default());
        let telling = async {
            while seen.changed().await.is_ok() {
                let CopyProgress { copied, total } = *seen.borrow_and_update();
                if parts.send(Ok(progress_part(copied, total))).await.is_err() {
                    return;
                }
            }
            // The copying has ended; how, the other side tells.
            std::future::pending::<()>().await;
        };
        let copied = tokio::select! {
            copied = copy::make(&store, directory, progress) => copied,
            // Nobody wants it any more; the writer sees that at its next step.
            () = telling => return,
        };
        match copied {
            Ok(file) => hand_out(file, parts).await,
            Err(error) => {
                tracing::warn!(%error, "a backup came to nothing");
                drop(parts.send(Err(error.into())).await);
            }
        }
    });
    Ok(ReceiverStream::new(stream))
}

const fn progress_part(copied_bytes: u64, total_bytes: u64) -> BackupPart {
    BackupPart { part: Some(Part::Course(BackupCourse { copied_bytes, total_bytes })) }
}

async fn hand_out(file: CopyFile, parts: mpsc::Sender<Sent>) {
    let runtime = Handle::current();
    let reading = tokio::task::spawn_blocking(move || {
        let outcome = read(file.path(), |part| runtime.block_on(parts.send_timeout(part, PATIENCE)));
        // It holds everything that the relay holds: not a moment longer than need be.
        drop(file);
        if let Err(error) = outcome {
            tracing::warn!(kind = ?error.kind(), "a backup could not be handed out");
            drop(runtime.block_on(parts.send_timeout(Err(StorageError::Internal.into()), PATIENCE)));
        }
    });
    if reading.await.is_err() {
        tracing::error!("handing a backup out has failed");
    }
}

/// Ends early, and without an error, when somebody has gone who took the pieces.
fn read(copy: &Path, send: impl Fn(Sent) -> Result<(), SendTimeoutError<Sent>>) -> io::Result<()> {
    let mut copy = File::open(copy)?;
    let total = copy.metadata()?.len();
    let mut part = progress_part(total, total);
    let mut pace = Throttle::gentle();
    loop {
        match send(Ok(part)) {
            Ok(()) => {}
            Err(SendTimeoutError::Closed(_)) => return Ok(()),
            Err(SendTimeoutError::Timeout(_)) => return Err(io::ErrorKind::TimedOut.into()),
        }
        let mut piece = vec![0; PIECE];
        let length = copy.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        piece.truncate(length);
        part = BackupPart { part: Some(Part::Piece(Bytes::from(piece))) };
        pace.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io::Write as _;

    fn copy(bytes: usize) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; bytes]).unwrap();
        file
    }

    #[test]
    fn a_copy_is_handed_out_whole_and_in_pieces() {
        let file = copy(2 * PIECE + 1);
        let (pieces, bytes) = (Cell::new(0), Cell::new(0));
        read(file.path(), |part| {
            if let Some(Part::Piece(piece)) = part.unwrap().part {
                assert!(piece.iter().all(|byte| *byte == 7) && piece.len() <= PIECE);
                pieces.set(pieces.get() + 1);
                bytes.set(bytes.get() + piece.len());
            }
            Ok(())
        })
        .unwrap();
        assert_eq!((pieces.get(), bytes.get()), (3, 2 * PIECE + 1));
    }

    #[test]
    fn whoever_left_is_no_error_and_whoever_sleeps_is_given_up() {
        let file = copy(10);
        read(file.path(), |part| Err(SendTimeoutError::Closed(part))).unwrap();
        let given_up = read(file.path(), |part| Err(SendTimeoutError::Timeout(part))).unwrap_err();
        assert_eq!(given_up.kind(), io::ErrorKind::TimedOut);
    }
}
