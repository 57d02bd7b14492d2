//! The anchor's directory: files that are there whole or not at all, also after a power loss, and keys that
//! nobody but their owner can read.

use ed25519_dalek::SigningKey;
use relay_daemon::Failure;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Who may read a secret: its owner.
const SECRET: u32 = 0o600;
/// Who may read what is public.
const PUBLIC: u32 = 0o644;
/// More than any file here has bytes.
const LARGEST: u64 = 4 << 20;

/// An anchor's directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// For syncing it; and while it is open locked, no other command changes anything here.
    handle: File,
}

impl Directory {
    /// Opens a directory to look at it.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        match File::open(path) {
            Ok(handle) if path.is_dir() => Ok(Self { path: path.to_owned(), handle }),
            Ok(_) => Err(failure!(Usage, "{shown} is not a directory; name the one with the anchor's files")),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(no_anchor(path)),
            Err(error) => Err(failed("open", path, &error)),
        }
    }

    /// Opens a directory to change something in it, as the only one.
    pub(super) fn lock(path: &Path) -> Result<Self, Failure> {
        let (directory, shown) = (Self::open(path)?, path.display());
        match directory.handle.try_lock() {
            Ok(()) => Ok(directory),
            Err(TryLockError::WouldBlock) => {
                Err(failure!(Locked, "another `relay anchor` is at work in {shown}; wait for its end"))
            }
            Err(TryLockError::Error(error)) => Err(failed("lock", path, &error)),
        }
    }

    /// As [`Directory::lock`]; makes the directory, for its owner alone, if it is not there.
    pub(super) fn make(path: &Path) -> Result<Self, Failure> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                File::open(parent)
                    .and_then(|parent| parent.sync_all())
                    .map_err(|error| failed("sync", parent, &error))?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(failure!(
                    Usage,
                    "cannot make {}: the directory around it is not there; make that one first, or mount \
                         the medium that it lies on",
                    path.display()
                ));
            }
            Err(error) => return Err(failed("make", path, &error)),
        }
        Self::lock(path)
    }

    /// Where a file of this name is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory itself.
    pub(super) fn itself(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything of this name, if only a link that leads nowhere.
    pub(super) fn has(&self, name: &str) -> Result<bool, Failure> {
        let path = self.path(name);
        let found = if_there(fs::symlink_metadata(&path));
        found.map(|found| found.is_some()).map_err(|error| failed("look at", &path, &error))
    }

    /// A file's text; `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, Failure> {
        Ok(self.opened(name)?.map(|(_, text)| text))
    }

    /// A key; `None` if there is no such file.
    pub(super) fn read_key(&self, name: &str) -> Result<Option<SigningKey>, Failure> {
        let Some((mode, text)) = self.opened(name)? else { return Ok(None) };
        let path = self.path(name);
        let path = path.display();
        if mode & 0o077 != 0 {
            return Err(failure!(
                Permission,
                "{path} can be read by others than its owner; if nobody did, close it (mend: chmod 600 {path})"
            ));
        }
        let mut seed = [0; 32];
        let wrong = "it must hold 64 hexadecimal digits; bring it back from a copy";
        hex::decode_to_slice(text.trim(), &mut seed)
            .map_err(|_| failure!(Corrupt, "{path} is not a key: {wrong}"))?;
        Ok(Some(SigningKey::from_bytes(&seed)))
    }

    fn opened(&self, name: &str) -> Result<Option<(u32, String)>, Failure> {
        let path = self.path(name);
        let read = || -> io::Result<Option<(u32, String)>> {
            let Some(file) = if_there(File::open(&path))? else { return Ok(None) };
            let mode = file.metadata()?.permissions().mode();
            let mut text = String::new();
            file.take(LARGEST).read_to_string(&mut text)?;
            Ok(Some((mode, text)))
        };
        read().map_err(|error| failed("read", &path, &error))
    }

    /// Writes a key to a place where nothing is.
    pub(super) fn write_new_key(&self, name: &str, key: &SigningKey) -> Result<(), Failure> {
        if self.has(name)? {
            let path = self.path(name);
            return Err(failure!(Usage, "{} is there already; keys are not written over", path.display()));
        }
        self.replace_key(name, key)
    }

    /// Writes a key, in the place of one that is not wanted any more.
    pub(super) fn replace_key(&self, name: &str, key: &SigningKey) -> Result<(), Failure> {
        self.put(name, SECRET, &(hex::encode(key.as_bytes()) + "\n"))
    }

    /// Writes a public file, in the place of the one before.
    pub(super) fn replace_public(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.put(name, PUBLIC, text)
    }

    /// Writes a file beside its place, and moves it there when every byte of it is on the disk.
    fn put(&self, name: &str, mode: u32, text: &str) -> Result<(), Failure> {
        let unfinished = format!(".{name}.unfinished");
        let path = self.path(&unfinished);
        // From a command that was cut off here. No other file refers to it.
        if_there(fs::remove_file(&path)).map_err(|error| failed("remove", &path, &error))?;
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            // Whatever the process's mask and the file system say.
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| failed("write", &path, &error))?;
        self.rename(&unfinished, name)
    }

    /// Moves a file, durably.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Failure> {
        let to = self.path(to);
        fs::rename(self.path(from), &to).map_err(|error| failed("write", &to, &error))?;
        self.handle.sync_all().map_err(|error| failed("sync", &self.path, &error))
    }
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Draws a key.
pub(super) fn fresh_key() -> Result<SigningKey, Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| failure!(Internal, "the system has no randomness: {error}"))?;
    Ok(SigningKey::from_bytes(&seed))
}

/// That a directory has no anchor.
pub(super) fn no_anchor(directory: &Path) -> Failure {
    let directory = directory.display();
    failure!(DataMissing, "there is no anchor in {directory}; make one with `relay anchor new {directory}`")
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => failure!(
            Permission,
            "cannot {what} {path}: {error}; run this as the owner of the anchor's files (this is uid {})",
            nix::unistd::geteuid()
        ),
        _ => failure!(Io, "cannot {what} {path}: {error}; when that is mended, run the same command again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::fixture::mode;
    use relay_daemon::Exit;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    #[test]
    fn a_key_is_64_digits_and_closed_to_others() {
        let around = tempfile::tempdir().unwrap();
        let directory = Directory::make(&around.path().join("new")).unwrap();
        directory.write_new_key("some.key", &key()).unwrap();
        let path = directory.path("some.key");
        assert_eq!(fs::read_to_string(&path).unwrap(), "07".repeat(32) + "\n");
        assert_eq!((mode(&path), mode(directory.itself())), (0o600, 0o700));
        assert_eq!(directory.read_key("some.key").unwrap().unwrap(), key());
    }

    #[test]
    fn a_key_is_not_written_over() {
        let around = tempfile::tempdir().unwrap();
        let directory = Directory::lock(around.path()).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path("link.key")).unwrap();
        directory.write_new_key("some.key", &key()).unwrap();
        for name in ["some.key", "link.key"] {
            assert_eq!(directory.write_new_key(name, &fresh_key().unwrap()).unwrap_err().exit, Exit::Usage);
        }
        assert_eq!(directory.read_key("some.key").unwrap().unwrap(), key());
    }

    #[test]
    fn what_was_cut_off_while_writing_is_written_again() {
        let around = tempfile::tempdir().unwrap();
        let directory = Directory::lock(around.path()).unwrap();
        fs::write(directory.path(".some.key.unfinished"), "0707").unwrap();
        directory.write_new_key("some.key", &key()).unwrap();
        assert_eq!(directory.read_key("some.key").unwrap().unwrap(), key());
        assert!(!directory.has(".some.key.unfinished").unwrap());
    }

    #[test]
    fn an_open_or_damaged_key_is_told_with_its_mend() {
        let around = tempfile::tempdir().unwrap();
        let directory = Directory::lock(around.path()).unwrap();
        directory.write_new_key("some.key", &key()).unwrap();
        let path = directory.path("some.key");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = directory.read_key("some.key").unwrap_err();
        assert_eq!(refused.exit, Exit::Permission);
        assert!(refused.text.contains(&format!("chmod 600 {}", path.display())), "{refused}");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for damaged in ["", "07", &"zz".repeat(32), &"07".repeat(33)] {
            fs::write(&path, damaged).unwrap();
            let refused = directory.read_key("some.key").unwrap_err();
            assert_eq!(refused.exit, Exit::Corrupt, "{damaged:?}");
            assert!(refused.text.contains("64 hexadecimal digits"), "{refused}");
        }
    }

    #[test]
    fn two_commands_do_not_change_one_directory() {
        let around = tempfile::tempdir().unwrap();
        let first = Directory::lock(around.path()).unwrap();
        assert_eq!(Directory::lock(around.path()).unwrap_err().exit, Exit::Locked);
        Directory::open(around.path()).unwrap();
        drop(first);
        Directory::lock(around.path()).unwrap();
    }

    #[test]
    fn what_is_no_directory_is_told() {
        let around = tempfile::tempdir().unwrap();
        let file = around.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(Directory::make(&file).unwrap_err().exit, Exit::Usage);
        assert_eq!(Directory::make(&around.path().join("a/b")).unwrap_err().exit, Exit::Usage);
    }
}
