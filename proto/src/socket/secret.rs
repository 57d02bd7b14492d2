//! The secret of a socket's directory. All processes of a relay may run as one user, and then the kernel lets each of
//! them connect to every socket. So whoever listens puts a secret beside its socket, new at each start, and callers show
//! it with each call. Where the kernel has Landlock, a process can read the secrets of its own directories only; so
//! none can do what another one may.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, fchown};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

/// Where callers show it.
const HEADER: HeaderName = HeaderName::from_static("relay-socket-secret");

/// Random bytes of a secret: enough against guessing, and few for something that goes with each call.
const BYTES: usize = 16;

/// Bytes of a file that are read: more than a secret has, and no more.
const ENOUGH: u64 = 256;

/// What callers of a socket must show. It is never printed.
#[derive(Clone)]
pub struct Secret(HeaderValue);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Secret {
    /// Draws a new secret for the directory of a socket and writes it there, readable for whom the directory is: its
    /// owner and group. To be done before the socket is there, so that whoever can connect finds it.
    ///
    /// # Errors
    /// When the directory cannot be written to, as where a service manager makes it, or there is no randomness.
    pub fn establish(socket: &Path) -> io::Result<Self> {
        let mut random = [0; BYTES];
        getrandom::fill(&mut random).map_err(|_| io::Error::other("no randomness to be had"))?;
        let text = hex::encode(random);
        let path = path_beside(socket);
        let new = path.with_extension("new");
        drop(fs::remove_file(&new));
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mut file = File::from(open(&new, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        file.write_all(text.as_bytes())?;
        if let Some(directory) = path.parent() {
            // Without the right to give it away, it is its owner's alone, and for a group with more rights, it is none's.
            let group = Gid::from_raw(fs::metadata(directory)?.gid());
            if file.metadata()?.gid() == group.as_raw() || fchown(&file, None, Some(group)).is_ok() {
                fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP)?;
            }
        }
        fs::rename(&new, &path)?;
        Self::of(text.as_bytes())
    }

    fn of(text: &[u8]) -> io::Result<Self> {
        let mut value =
            HeaderValue::from_bytes(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(File::open(path)?, ENOUGH), &mut text)?;
        Self::of(text.as_bytes())
    }

    fn is(&self, shown: &HeaderValue) -> bool {
        shown.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

/// What the callers of a socket must show.
#[derive(Debug, Clone, Default)]
pub struct SecretCheck {
    /// The secret; without one, whoever can connect may call.
    pub secret: Option<Secret>,
    /// Whether callers must show it that show nothing: those of an older version, and those that cannot read it.
    pub required: bool,
}

impl SecretCheck {
    /// Whether a call with these headers is carried out.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        match (&self.secret, headers.get(HEADER)) {
            (None, _) => true,
            (Some(secret), Some(shown)) => secret.is(shown),
            (Some(_), None) => !self.required,
        }
    }
}

/// Where the secret of a socket lies.
fn path_beside(socket: &Path) -> PathBuf {
    socket.with_file_name("secret")
}

/// Time between two attempts at reading a secret that is not there: a call must not cost a look at the disk.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The secret that a caller knows of a socket: read when it is first needed, and again when it was not right. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct KnownSecret {
    path: PathBuf,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
enum Known {
    #[default]
    Unread,
    /// It could not be read at that time.
    Missing(Instant),
    Read(Secret),
}

impl KnownSecret {
    /// The secret of this socket, which is not read yet.
    pub fn of(socket: &Path) -> Self {
        Self { path: path_beside(socket), known: Arc::default() }
    }

    /// Adds it to a call. Where there is none, because whoever listens is of an older version, nothing is added; whoever
    /// cannot read it is told by whoever listens.
    pub fn show(&self, headers: &mut HeaderMap) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = match &*known {
            Known::Unread => true,
            Known::Missing(since) => since.elapsed() >= READ_AGAIN,
            Known::Read(_) => false,
        };
        if is_due {
            *known = Secret::read(&self.path).map_or_else(|_| Known::Missing(Instant::now()), Known::Read);
        }
        if let Known::Read(Secret(value)) = &*known {
            headers.insert(HEADER, value.clone());
        }
    }

    /// Forgets it: it was not right, so whoever listens has started again.
    pub fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Known::Unread;
    }

    /// Whether it could be read, if it is there.
    ///
    /// # Errors
    /// When it is there and this process may not read it.
    pub fn check(&self) -> io::Result<()> {
        match Secret::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn socket(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("storage.sock")
    }

    fn headers(known: &KnownSecret) -> HeaderMap {
        let mut headers = HeaderMap::new();
        known.show(&mut headers);
        headers
    }

    #[test]
    fn it_is_readable_for_whom_the_directory_is_and_printed_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let secret = Secret::establish(&socket(&directory)).unwrap();
        let file = fs::metadata(directory.path().join("secret")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o640);
        assert_eq!(file.gid(), fs::metadata(directory.path()).unwrap().gid());
        let text = fs::read_to_string(directory.path().join("secret")).unwrap();
        assert_eq!(text.len(), 2 * BYTES);
        let known = KnownSecret::of(&socket(&directory));
        let shown = headers(&known);
        for printed in [format!("{secret:?}"), format!("{known:?}"), format!("{shown:?}")] {
            assert!(!printed.contains(&text), "{printed}");
        }
    }

    #[test]
    fn each_start_has_another_one_and_callers_find_it() {
        let directory = tempfile::tempdir().unwrap();
        let known = KnownSecret::of(&socket(&directory));
        assert!(headers(&known).is_empty(), "nobody has started");
        for _ in 0..2 {
            let secret = Some(Secret::establish(&socket(&directory)).unwrap());
            let check = SecretCheck { secret, required: true };
            known.forget();
            assert!(check.admits(&headers(&known)));
        }
        let check =
            SecretCheck { secret: Some(Secret::establish(&socket(&directory)).unwrap()), required: false };
        assert!(!check.admits(&headers(&known)), "the one before");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_not_there_is_looked_for_again_after_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let known = KnownSecret::of(&socket(&directory));
        assert!(headers(&known).is_empty());
        Secret::establish(&socket(&directory)).unwrap();
        assert!(headers(&known).is_empty());
        tokio::time::advance(READ_AGAIN).await;
        assert!(!headers(&known).is_empty());
    }

    #[test]
    fn who_shows_nothing_is_admitted_where_it_is_not_required_and_who_shows_a_wrong_one_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let secret = Secret::establish(&socket(&directory)).unwrap();
        let right = headers(&KnownSecret::of(&socket(&directory)));
        let wrong = HeaderMap::from_iter([(HEADER, HeaderValue::from_static("wrong"))]);
        for required in [false, true] {
            let check = SecretCheck { secret: Some(secret.clone()), required };
            let admitted = [&right, &wrong, &HeaderMap::new()].map(|headers| check.admits(headers));
            assert_eq!(admitted, [true, false, !required]);
            let none = SecretCheck { secret: None, required };
            assert!([&right, &wrong, &HeaderMap::new()].into_iter().all(|headers| none.admits(headers)));
        }
    }

    #[test]
    fn what_was_left_or_put_in_its_place_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", directory.path().join("secret.new")).unwrap();
        fs::write(directory.path().join("secret"), "older").unwrap();
        let secret = Some(Secret::establish(&socket(&directory)).unwrap());
        let check = SecretCheck { secret, required: true };
        assert!(check.admits(&headers(&KnownSecret::of(&socket(&directory)))));
    }
}
