//! The one connection that writes, on a thread of its own.
//!
//! Whatever has queued up goes into one transaction: block for the first job, drain what waits, commit,
//! then answer. No timer holds anybody back; groups form under load by themselves. Checkpoints run between
//! transactions, never inside somebody's commit.

pub(crate) mod checkpoint;
pub(crate) mod copy;
mod end;
pub(crate) mod erasure;

pub(crate) use end::{End, Ended};

use crate::db::volume::disk_space::DiskSpace;
use crate::db::{Batch, StoreError, Totals};
use checkpoint::Log;
use copy::{CopyFile, CopyJob, CopyProgress, Copying};
use end::Last;
use erasure::Answer;
use relay_daemon::watchdog::{Progress, watch};
use relay_daemon::{Failure, Throttle};
use relay_proto::StorageError;
use relay_proto::limits::MAX_WRITE_COMMANDS;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Jobs that may wait.
const QUEUE_JOBS: usize = 1024;
/// Bytes that may wait.
const QUEUE_BYTES: usize = 48 << 20;
/// Bytes after which a transaction takes no further job.
const BATCH_BYTES: usize = 8 << 20;
/// Quiet time after which the log is emptied.
const IDLE: Duration = Duration::from_millis(500);
/// How many times longer than an event loop the thread may take for one step. A disk that takes minutes is slow or
/// failing; whoever asks is told that storage is not ready, and to end the process would not make the disk faster.
const HANG_LIMITS: u32 = 10;

/// How much of a transaction a job takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Commands, at least one.
    pub(crate) commands: usize,
    /// Bytes of payload.
    pub(crate) bytes: usize,
}

impl Load {
    /// A job without payload.
    pub(crate) const LIGHT: Self = Self { commands: 1, bytes: 0 };
}

type Work = Box<dyn FnOnce(&mut Batch<'_>) -> Answer + Send>;
/// Is told of each transaction how many commands it had and how long it took.
pub(crate) type Observe = Box<dyn Fn(usize, Duration) + Send>;

type Chore = Box<dyn FnOnce(&Connection) -> Result<(), StoreError> + Send>;

enum Message {
    Job {
        load: Load,
        work: Work,
    },
    /// Runs between transactions.
    Chore(Chore),
    /// Goes on between transactions until it is done.
    Copy(CopyJob),
    Stop,
}

/// What comes after a transaction.
enum Next {
    /// The next one.
    Message,
    /// A copy that was asked for meanwhile.
    Copy(CopyJob),
    /// The end.
    Stop,
}

/// Hands work to the writer thread. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: SyncSender<Message>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Writer {
    /// Starts the thread. `log_was_empty` says that the process before left nothing in the log.
    pub(crate) fn start(
        connection: Connection,
        log_was_empty: bool,
        gauges: Arc<Totals>,
        room: Arc<DiskSpace>,
        observe: Observe,
        end: End,
    ) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE_JOBS);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let progress = watch("the writer of the store", HANG_LIMITS);
        let thread =
            Thread { messages, waiting_bytes: Arc::clone(&waiting_bytes), gauges, room, observe, progress };
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
            let last = Last(end);
            last.0.tell(thread.run(connection, log_was_empty));
        })?;
        Ok(Self { queue, waiting_bytes })
    }

    /// Runs `work` in the next transaction; answers after its commit.
    ///
    /// # Errors
    /// What `work` answers; [`StorageError::Busy`] when the queue is full, [`StorageError::Unavailable`] when the
    /// store is closing, [`StorageError::OutcomeUnknown`] when the commit failed.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        load: Load,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move |batch: &mut Batch<'_>| {
            let result = work(batch);
            let answer: Answer = Box::new(move |committed| {
                // The caller may be gone; its work is done all the same.
                drop(reply.send(committed.and(result)));
            });
            answer
        });
        if self.waiting_bytes.load(Ordering::Relaxed).saturating_add(load.bytes) > QUEUE_BYTES {
            return Err(StorageError::Busy.into());
        }
        self.waiting_bytes.fetch_add(load.bytes, Ordering::Relaxed);
        if let Err(error) = self.queue.try_send(Message::Job { load, work }) {
            self.waiting_bytes.fetch_sub(load.bytes, Ordering::Relaxed);
            return Err(match error {
                TrySendError::Full(_) => StorageError::Busy.into(),
                TrySendError::Disconnected(_) => StorageError::Unavailable.into(),
            });
        }
        answer.await.unwrap_or(Err(StorageError::OutcomeUnknown.into()))
    }

    /// Runs one write in a savepoint of its own: all of it or nothing.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(crate) async fn run_one<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut super::batch::Write<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run_one_of(Load::LIGHT, work).await
    }

    /// The same for a write that is more than a light one.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub(crate) async fn run_one_of<T: Send + 'static>(
        &self,
        load: Load,
        work: impl FnOnce(&mut super::batch::Write<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(load, |batch| batch.with_savepoint(work)).await
    }

    /// Runs something between two transactions. Dropped when the queue is full: chores come again.
    pub(crate) fn chore(&self, chore: impl FnOnce(&Connection) -> Result<(), StoreError> + Send + 'static) {
        if self.queue.try_send(Message::Chore(Box::new(chore))).is_err() {
            tracing::debug!("the writer has no time for a chore");
        }
    }

    /// Copies the database into a file of the directory, while it serves. `progress` is set to how far that is.
    ///
    /// # Errors
    /// [`StorageError::Busy`] while another copy is made, [`StorageError::Unavailable`] when the store is closing, and what the
    /// disk says.
    pub(crate) async fn copy(
        &self,
        directory: PathBuf,
        progress: watch::Sender<CopyProgress>,
    ) -> Result<CopyFile, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Message::Copy(CopyJob { directory, progress, reply })).map_err(|error| {
            match error {
                TrySendError::Full(_) => StorageError::Busy,
                TrySendError::Disconnected(_) => StorageError::Unavailable,
            }
        })?;
        answer.await.unwrap_or(Err(StorageError::Unavailable.into()))
    }

    /// Asks the thread to finish what waits, empty the log and end.
    pub(crate) fn stop(&self) {
        let queue = self.queue.clone();
        // Waits for room in the queue, so not on a thread of the runtime.
        tokio::task::spawn_blocking(move || drop(queue.send(Message::Stop)));
    }
}

struct Thread {
    messages: Receiver<Message>,
    waiting_bytes: Arc<AtomicUsize>,
    gauges: Arc<Totals>,
    room: Arc<DiskSpace>,
    observe: Observe,
    progress: Progress,
}

impl Thread {
    fn run(self, mut connection: Connection, log_was_empty: bool) -> Result<(), Failure> {
        let mut log =
            Log::watch(&mut connection, Arc::clone(&self.room), log_was_empty).map_err(Failure::from)?;
        loop {
            self.progress.made();
            let patience = log.erasure_due_in().map_or(IDLE, |due| due.min(IDLE));
            match self.messages.recv_timeout(patience) {
                Ok(Message::Job { load, work }) => match self.transact(&connection, &mut log, load, work)? {
                    Next::Message => {}
                    Next::Copy(job) => {
                        if self.copy(&connection, &mut log, job)? {
                            break;
                        }
                    }
                    Next::Stop => break,
                },
                Ok(Message::Copy(job)) => {
                    if self.copy(&connection, &mut log, job)? {
                        break;
                    }
                }
                Ok(Message::Chore(chore)) => self.carry_out(chore, &connection, &mut log)?,
                Err(RecvTimeoutError::Timeout) if log.erasure_due_in().is_some() => {}
                Err(RecvTimeoutError::Timeout) => log.empty_when_idle(&connection)?,
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            log.erase_when_due(&connection)?;
        }
        log.end(&connection)?;
        if self.room.is_low() {
            // Closing would remove the log, and whoever fills the volume would have its room.
            connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map_err(|error| Failure::from(StoreError::from(error)))?;
        }
        connection.close().map_err(|(_, error)| Failure::from(StoreError::from(error)))
    }

    /// Makes a copy, and serves whoever comes meanwhile. Answers whether the thread was asked to stop.
    fn copy(&self, connection: &Connection, log: &mut Log, job: CopyJob) -> Result<bool, Failure> {
        let file = match job.file() {
            Ok(file) => file,
            Err(error) => {
                job.end(Err(error));
                return Ok(false);
            }
        };
        let mut stop = false;
        let outcome = copy::target(&file).and_then(|mut target| {
            let copying = Copying::begin(connection, &mut target)?;
            loop {
                let pace = Throttle::gentle();
                let (done, progress) = match copying.step().map_err(|error| self.room.judge(error)) {
                    // Database and copy are on the same disk.
                    Err(error) if error.is_fatal() => return Ok(Err(error.into())),
                    step => step?,
                };
                let rest = pace.due();
                job.progress.send_replace(progress);
                if done {
                    return Ok(Ok(()));
                }
                if stop || !job.is_wanted() {
                    return Err(StorageError::Unavailable.into());
                }
                match self.has_room_for_copies(connection, log) {
                    Ok(true) => {}
                    Ok(false) => return Err(StoreError::Full),
                    Err(failure) => return Ok(Err(failure)),
                }
                match self.serve(connection, log, rest) {
                    Ok(stopping) => stop = stopping,
                    // The store itself has failed, and not the copy.
                    Err(failure) => return Ok(Err(failure)),
                }
            }
        });
        match outcome {
            Ok(Ok(())) => job.end(Ok(file)),
            Ok(Err(failure)) => return Err(failure),
            Err(error) => {
                drop(file);
                job.end(Err(error));
            }
        }
        Ok(stop)
    }

    /// Mail is worth more than a copy of it: a copy ends when the volume becomes low.
    fn has_room_for_copies(&self, connection: &Connection, log: &mut Log) -> Result<bool, Failure> {
        if self.room.look() {
            log.empty(connection)?;
        }
        Ok(!self.gauges.is_volume_low())
    }

    /// Serves what has come, and if something has, whatever else comes within that time. Answers whether that was the
    /// word to stop.
    fn serve(&self, connection: &Connection, log: &mut Log, time: Duration) -> Result<bool, Failure> {
        let end = Instant::now() + time;
        let mut patience = Duration::ZERO;
        loop {
            self.progress.made();
            match self.messages.recv_timeout(patience) {
                Ok(Message::Job { load, work }) => match self.transact(connection, log, load, work)? {
                    Next::Message => {}
                    Next::Copy(another) => another.end(Err(StorageError::Busy.into())),
                    Next::Stop => return Ok(true),
                },
                Ok(Message::Chore(chore)) => self.carry_out(chore, connection, log)?,
                Ok(Message::Copy(another)) => another.end(Err(StorageError::Busy.into())),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(true),
                Err(RecvTimeoutError::Timeout) => {
                    log.erase_when_due(connection)?;
                    return Ok(false);
                }
            }
            log.erase_when_due(connection)?;
            patience = end.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Ok(false);
            }
        }
    }

    /// One group commit. Answers what comes next.
    fn transact(
        &self,
        connection: &Connection,
        log: &mut Log,
        mut load: Load,
        mut work: Work,
    ) -> Result<Next, Failure> {
        let started = Instant::now();
        if self.room.look() {
            // While there is still room for it: later there may be none.
            log.empty(connection)?;
        }
        let mut batch = match Batch::begin(connection, &self.gauges) {
            Ok(batch) => batch,
            Err(error) => return self.refuse_unbegun(load, work, connection, error),
        };
        let (mut answers, mut erasing) = (Vec::new(), Vec::new());
        let (mut commands, mut bytes) = (0, 0);
        let mut chores = Vec::new();
        let mut next = Next::Message;
        loop {
            self.waiting_bytes.fetch_sub(load.bytes, Ordering::Relaxed);
            commands += load.commands;
            bytes += load.bytes;
            let answer = work(&mut batch);
            if batch.take_erasure() {
                erasing.push(answer)
            } else {
                answers.push(answer)
            }
            if commands >= MAX_WRITE_COMMANDS || bytes >= BATCH_BYTES || batch.is_large() {
                break;
            }
            match self.messages.try_recv() {
                Ok(Message::Job { load: next_load, work: next_work }) => {
                    (load, work) = (next_load, next_work)
                }
                Ok(Message::Chore(chore)) => {
                    chores.push(chore);
                    break;
                }
                Ok(Message::Copy(job)) => {
                    next = Next::Copy(job);
                    break;
                }
                Ok(Message::Stop) => {
                    next = Next::Stop;
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let lacked_room = batch.lacked_room();
        let committed = batch.commit(log.begins()).map_err(|error| self.room.judge(error));
        (self.observe)(commands, started.elapsed());
        let begins = match committed {
            Ok(begins) => begins,
            Err(error) => {
                answers.append(&mut erasing);
                return self.refuse_uncommitted(answers, connection, log, error).map(|()| next);
            }
        };
        if begins {
            log.began();
        }
        for answer in answers {
            answer(Ok(()));
        }
        if lacked_room && self.room.is_out() {
            self.make_way(connection, log)?;
        }
        log.answer_after_erasure(erasing);
        for chore in chores {
            self.carry_out(chore, connection, log)?;
        }
        log.keep_short(connection)?;
        Ok(next)
    }

    /// What a failed commit left behind is known only after recovery: never a plain "no".
    fn refuse_uncommitted(
        &self,
        answers: Vec<Answer>,
        connection: &Connection,
        log: &mut Log,
        error: StoreError,
    ) -> Result<(), Failure> {
        tracing::error!(%error, "a transaction failed");
        if matches!(error, StoreError::Full) {
            self.make_way(connection, log)?;
        }
        for answer in answers {
            answer(Err(StorageError::OutcomeUnknown.into()));
        }
        if error.is_fatal() { Err(error.into()) } else { Ok(()) }
    }

    /// The volume is full: frees what can be freed, so that the next deletion finds room in the log.
    fn make_way(&self, connection: &Connection, log: &mut Log) -> Result<(), Failure> {
        if self.room.drop_ballast() {
            tracing::error!("the volume is full: the ballast is thrown off so that deletions go on");
        }
        log.empty(connection).map(drop)
    }

    /// What a chore leaves undone comes again, unless the disk fails.
    fn carry_out(&self, chore: Chore, connection: &Connection, log: &mut Log) -> Result<(), Failure> {
        match chore(connection).map_err(|error| self.room.judge(error)) {
            Err(error) if error.is_fatal() => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        // What a chore gave back is free on the volume only when the log is copied, and a busy relay is never idle.
        if self.room.is_low() { log.copy(connection) } else { Ok(()) }
    }

    fn refuse_unbegun(
        &self,
        load: Load,
        work: Work,
        connection: &Connection,
        error: StoreError,
    ) -> Result<Next, Failure> {
        let error = self.room.judge(error);
        tracing::error!(%error, "a transaction could not begin");
        self.waiting_bytes.fetch_sub(load.bytes, Ordering::Relaxed);
        let fatal = error.is_fatal();
        // The work runs against a batch that refuses everything, so that its caller is answered.
        let answer = work(&mut Batch::broken(connection, &self.gauges));
        answer(Err(StorageError::OutcomeUnknown.into()));
        if fatal { Err(error.into()) } else { Ok(Next::Message) }
    }
}
