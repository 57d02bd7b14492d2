//! HPKE work, and where it is done.
//!
//! Opening a small message takes less than a tenth of a millisecond, whatever its size, and is done where it came
//! in: a gateway serves all its connections on one thread, so one is opened at a time and nothing piles up.
//! Handing it to another thread cost half as much again in processor time, and on two cores throughput as well;
//! with more cores, more gateways use them. What is large goes to threads of its own, as many at once as there are
//! processors, so that nobody waits behind a megabyte.

use super::problem::Problem;
use bytes::Bytes;
use ohttp::hpke::{Aead, Kdf, Kem};
use ohttp::{Server, ServerResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::Semaphore;

/// Messages that may wait to be opened.
const WAITING: usize = 1024;

/// Messages up to this size are opened and sealed where they are: that costs less than handing them over.
const SMALL: usize = 32 << 10;

/// Bytes before the encapsulated key: key id, KEM, KDF and AEAD (RFC 9458 §4.1).
const HEADER: usize = 7;

/// Bytes of an encapsulated X25519 key.
const ENCAPSULATED_KEY: usize = 32;

/// Bytes of an authentication tag.
const TAG: usize = 16;

/// Why a message was not opened.
#[derive(Debug)]
pub(super) enum DecapsulationError {
    /// More wait than may wait.
    Busy,
    /// Storage has not told any key.
    NoKeys,
    /// It cannot be.
    Problem(Problem),
}

impl From<Problem> for DecapsulationError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// An opened message and what seals its reply.
pub(super) struct Opened {
    pub(super) plaintext: Bytes,
    pub(super) sealer: ServerResponse,
}

/// Where HPKE work is done.
#[derive(Debug)]
pub(crate) struct Crypto {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Crypto {
    /// For this machine's processors.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { running: Arc::new(Semaphore::new(processors)), waiting: AtomicUsize::new(0) }
    }

    /// Opens a message with the key that it names.
    pub(super) async fn open(&self, key: Arc<Server>, sealed: Bytes) -> Result<Opened, DecapsulationError> {
        check_suite(&sealed)?;
        let opened = if sealed.len() <= SMALL {
            key.decapsulate(&sealed)
        } else {
            let _place = QueueSlot::take(&self.waiting).ok_or(DecapsulationError::Busy)?;
            self.run(move || key.decapsulate(&sealed)).await.ok_or(DecapsulationError::Busy)?
        };
        // The header names a key and a suite that are offered. So what does not fit is the sealing, and another key
        // under the same id is the likeliest reason.
        let (plaintext, sealer) = opened.map_err(|_| Problem::Key)?;
        Ok(Opened { plaintext: plaintext.into(), sealer })
    }

    /// Seals a reply. `None` only when the process is ending.
    pub(super) async fn seal(&self, sealer: ServerResponse, plain: Vec<u8>) -> Option<Vec<u8>> {
        let small = plain.len() <= SMALL;
        let seal = move || sealer.encapsulate(&plain);
        let sealed = if small { Some(seal()) } else { self.run(seal).await };
        sealed?.ok()
    }

    /// Runs work on a thread of its own. `None` only when the process is ending.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let permit = Arc::clone(&self.running).acquire_owned().await.ok()?;
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}

/// A place among those who wait, left when dropped.
struct QueueSlot<'a>(&'a AtomicUsize);

impl<'a> QueueSlot<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Relaxed) < WAITING).then_some(place)
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The key that a message says it is sealed to.
pub(super) fn key_id(sealed: &[u8]) -> Result<u8, Problem> {
    if sealed.len() < HEADER + ENCAPSULATED_KEY + TAG {
        return Err(Problem::Malformed);
    }
    sealed.first().copied().ok_or(Problem::Malformed)
}

/// Whether the message says that it is sealed in a way that is offered.
fn check_suite(sealed: &[u8]) -> Result<(), Problem> {
    let Some((header, _)) = sealed.split_first_chunk::<HEADER>() else { return Err(Problem::Malformed) };
    let [_, kem @ .., kdf_high, kdf_low, aead_high, aead_low] = *header;
    let offered = [Aead::ChaCha20Poly1305, Aead::Aes128Gcm].map(u16::from);
    let fits = u16::from_be_bytes(kem) == u16::from(Kem::X25519Sha256)
        && u16::from_be_bytes([kdf_high, kdf_low]) == u16::from(Kdf::HkdfSha256)
        && offered.contains(&u16::from_be_bytes([aead_high, aead_low]));
    if fits { Ok(()) } else { Err(Problem::Key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_and_no_more_and_whoever_is_done_makes_room() {
        let waiting = AtomicUsize::new(0);
        let mut places: Vec<_> = (0..WAITING).map(|_| QueueSlot::take(&waiting).unwrap()).collect();
        assert!(QueueSlot::take(&waiting).is_none());
        assert!(QueueSlot::take(&waiting).is_none(), "asking in vain takes no place");
        places.pop();
        assert!(QueueSlot::take(&waiting).is_some());
    }

    #[test]
    fn a_message_says_its_key_and_an_offered_suite() {
        let message = |kem: u8, kdf: u8, aead: u8| [&[9, 0, kem, 0, kdf, 0, aead][..], &[0; 48]].concat();
        assert_eq!(key_id(&message(0x20, 1, 3)), Ok(9));
        assert_eq!(key_id(&message(0x20, 1, 3)[..54]), Err(Problem::Malformed));
        for (kem, kdf, aead, verdict) in [
            (0x20, 1, 3, Ok(())),
            (0x20, 1, 1, Ok(())),
            (0x10, 1, 3, Err(Problem::Key)),
            (0x20, 2, 3, Err(Problem::Key)),
            (0x20, 1, 2, Err(Problem::Key)),
        ] {
            assert_eq!(check_suite(&message(kem, kdf, aead)), verdict);
        }
    }
}
