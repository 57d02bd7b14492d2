//! Hands out a copy of the database, piece by piece.

use crate::store::Store;
use crate::store::copy::{CopyFile, Course};
use bytes::Bytes;
use relay_proto::Refusal;
use relay_proto::admin::BackupPart;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of a piece.
const PIECE: usize = 1 << 20;

/// Pieces that may be on their way.
const ON_THEIR_WAY: usize = 4;

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
        let outcome = read(&file, |part| runtime.block_on(parts.send_timeout(part, PATIENCE)));
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
fn read(file: &CopyFile, send: impl Fn(Part) -> Result<(), SendTimeoutError<Part>>) -> io::Result<()> {
    let mut copy = File::open(file.path())?;
    let total = copy.metadata()?.len();
    let mut part = BackupPart::Course { copied: total, total };
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
    }
}
