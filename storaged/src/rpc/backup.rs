//! Hands out a copy of the database, piece by piece.

use crate::backup::copy::{CopyFile, Course};
use crate::db::Store;
use bytes::Bytes;
use relay_daemon::Pace;
use relay_proto::Refusal;
use relay_proto::admin::BackupPart;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of a piece: little enough that nobody's request waits for it for long.
const PIECE: usize = 256 << 10;

/// Pieces that may be on their way.
const ON_THEIR_WAY: usize = 8;

/// How long nobody may take a piece. A copy is not kept for somebody who sleeps.
const PATIENCE: Duration = Duration::from_secs(60);

type Part = Result<BackupPart, Refusal>;

/// Makes a copy and hands it out. It is gone from the data directory when the stream has ended, however that was.
pub(crate) fn backup(store: &Arc<Store>) -> Result<ReceiverStream<Part>, Refusal> {
    let directory = store.place_for_a_copy()?.to_owned();
    let (parts, stream) = mpsc::channel(ON_THEIR_WAY);
    let store = Arc::clone(store);
    tokio::spawn(async move {
        let (course, mut seen) = watch::channel(Course::default());
        let telling = async {
            while seen.changed().await.is_ok() {
                let Course { copied, total } = *seen.borrow_and_update();
                if parts.send(Ok(BackupPart::Course { copied, total })).await.is_err() {
                    return;
                }
            }
            // The copying has ended; how, the other side tells.
            std::future::pending::<()>().await;
        };
        let copied = tokio::select! {
            copied = store.writer.copy(directory, course) => copied,
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

async fn hand_out(file: CopyFile, parts: mpsc::Sender<Part>) {
    let runtime = Handle::current();
    let reading = tokio::task::spawn_blocking(move || {
        let outcome = read(file.path(), |part| runtime.block_on(parts.send_timeout(part, PATIENCE)));
        // It holds everything that the relay holds: not a moment longer than need be.
        drop(file);
        if let Err(error) = outcome {
            tracing::warn!(kind = ?error.kind(), "a backup could not be handed out");
            drop(runtime.block_on(parts.send_timeout(Err(Refusal::Internal), PATIENCE)));
        }
    });
    if reading.await.is_err() {
        tracing::error!("handing a backup out has failed");
    }
}

/// Ends early, and without an error, when somebody has gone who took the pieces.
fn read(copy: &Path, send: impl Fn(Part) -> Result<(), SendTimeoutError<Part>>) -> io::Result<()> {
    let mut copy = File::open(copy)?;
    let total = copy.metadata()?.len();
    let mut part = BackupPart::Course { copied: total, total };
    let mut pace = Pace::gentle();
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
        part = BackupPart::Piece(Bytes::from(piece));
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
            if let BackupPart::Piece(piece) = part.unwrap() {
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
