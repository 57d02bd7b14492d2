//! Connections that only read, each on a thread of its own. Reads are short and bounded in time: a long one
//! would pin the write-ahead log.

use crate::db::StoreError;
use crate::db::open::DataDirectory;
use crate::db::writer::End;
use relay_daemon::Failure;
use relay_proto::StorageError;
use rusqlite::Connection;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Reading connections.
const READERS: usize = 2;
/// Reads that may wait.
const QUEUE: usize = 512;
/// How long one read may take.
const DEADLINE: Duration = Duration::from_secs(3);
/// Virtual-machine steps between two looks at the clock.
const STEPS: i32 = 10_000;

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

/// Hands reads to the reader threads. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    queue: SyncSender<Work>,
    end: End,
}

impl Readers {
    /// Opens the connections and starts their threads. They end when the last handle is gone. A failing disk and a
    /// damaged page end the store.
    pub(crate) fn start(home: &DataDirectory, end: End) -> Result<Self, StoreError> {
        let (queue, work) = sync_channel(QUEUE);
        let work = Arc::new(Mutex::new(work));
        for _ in 0..READERS {
            let reader = Reader { connection: home.open_reader()?, started: Arc::default() };
            let work = Arc::clone(&work);
            std::thread::Builder::new()
                .name("reader".to_owned())
                .spawn(move || reader.run(&work))
                .map_err(|_| StoreError::Io(0))?;
        }
        Ok(Self { queue, end })
    }

    /// Runs `read` in a transaction, so that it sees one moment.
    ///
    /// # Errors
    /// What `read` answers; [`StorageError::Busy`] when the queue is full or the read took too long.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let end = self.end.clone();
        let work = Box::new(move |connection: &mut Connection| {
            let outcome = at_one_moment(connection, read);
            if let Some(error) = outcome.as_ref().err().and_then(StoreError::of_disk)
                && error.is_fatal()
            {
                tracing::error!(%error, "a read failed");
                end.tell(Err(Failure::from(error)));
            }
            // The caller may be gone.
            drop(reply.send(outcome));
        });
        self.queue.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => StorageError::Busy,
            TrySendError::Disconnected(_) => StorageError::Unavailable,
        })?;
        answer.await.unwrap_or(Err(StorageError::Unavailable.into()))
    }
}

/// Reads in a transaction. Its statements are prepared once: they would cost as much as a short read itself.
fn at_one_moment<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let outcome = read(connection);
    // Some failures have ended it already.
    if !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK")?.execute([])?;
    }
    outcome
}

struct Reader {
    connection: Connection,
    /// When the current read began, in milliseconds of this thread's own clock.
    started: Arc<AtomicU64>,
}

impl Reader {
    fn run(mut self, work: &Mutex<Receiver<Work>>) {
        let clock = Instant::now();
        let millis = move || u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (started, limit) = (Arc::clone(&self.started), DEADLINE.as_millis());
        let overdue = move || u128::from(millis().saturating_sub(started.load(Ordering::Relaxed))) > limit;
        if self.connection.progress_handler(STEPS, Some(overdue)).is_err() {
            tracing::error!("a reader cannot be bounded in time");
            return;
        }
        loop {
            let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(read) = next else { return };
            self.started.store(millis(), Ordering::Relaxed);
            read(&mut self.connection);
        }
    }
}
