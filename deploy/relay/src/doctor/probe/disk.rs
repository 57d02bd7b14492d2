//! The data directory and its volume. Files are looked at, and of the database only how it begins is read.

use crate::doctor::facts::{Contents, Data, Header, Volume};
use nix::sys::statvfs::statvfs;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Files of the store in its directory.
const FILES: [&str; 6] = ["relay.db", "relay.db-wal", "relay.db-shm", "lock", "initialized", "ballast"];

/// How every database begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes of a database's header, and where the schema version is in it.
const HEADER: usize = 100;
const USER_VERSION: usize = 60;

/// What can be seen of the data directory; nothing where not even its place can be looked at.
pub(super) fn data(directory: &Path) -> Option<Data> {
    let found = match fs::metadata(directory) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(_) => return Some(Data::Missing),
    };
    let (owner, mode) = (found.uid(), found.permissions().mode() & 0o777);
    match fs::read_dir(directory) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Some(Data::Closed { owner, mode });
        }
        Err(_) => return Some(Data::Missing),
    }
    let files = FILES.iter().filter_map(|name| {
        let found = fs::symlink_metadata(directory.join(name)).ok()?;
        Some(((*name).to_owned(), found.uid(), found.permissions().mode() & 0o777))
    });
    Some(Data::Open(Contents {
        owner,
        mode,
        files: files.collect(),
        header: header(&directory.join("relay.db")),
    }))
}

fn header(database: &Path) -> Option<Header> {
    let mut bytes = Vec::new();
    File::open(database).ok()?.take(HEADER as u64).read_to_end(&mut bytes).ok()?;
    if bytes.is_empty() {
        return Some(Header::Empty);
    }
    let version = bytes.get(USER_VERSION..).and_then(|rest| rest.first_chunk::<4>());
    Some(match version {
        Some(version) if bytes.starts_with(MAGIC) => Header::Schema(u32::from_be_bytes(*version)),
        _ => Header::Damaged,
    })
}

/// The volume of the data directory.
pub(super) fn volume(directory: &Path) -> Option<Volume> {
    let found = statvfs(directory).ok()?;
    let unit = found.fragment_size();
    let database = fs::metadata(directory.join("relay.db")).map_or(0, |file| file.len());
    Some(Volume { total: found.blocks() * unit, free: found.blocks_available() * unit, database })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    #[test]
    fn what_is_in_a_directory_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::set_permissions(directory.path(), Permissions::from_mode(0o750)).unwrap();
        fs::write(at("relay.db"), "").unwrap();
        fs::set_permissions(at("relay.db"), Permissions::from_mode(0o600)).unwrap();
        fs::write(at("other"), "").unwrap();
        let Some(Data::Open(contents)) = data(directory.path()) else { panic!() };
        let user = nix::unistd::geteuid().as_raw();
        assert_eq!((contents.owner, contents.mode), (user, 0o750));
        assert_eq!(contents.files, [("relay.db".to_owned(), user, 0o600)]);
        assert_eq!(contents.header, Some(Header::Empty));
        assert_eq!(data(&at("nothing")), Some(Data::Missing));
        assert_eq!(data(&at("other")), Some(Data::Missing), "a file is no directory");
    }

    #[test]
    fn a_database_is_known_by_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay.db");
        fs::write(&path, [b'x'; 4096]).unwrap();
        assert_eq!(header(&path), Some(Header::Damaged));
        let mut sound = [0; 4096];
        sound[..16].copy_from_slice(MAGIC);
        sound[USER_VERSION + 3] = 7;
        fs::write(&path, sound).unwrap();
        assert_eq!(header(&path), Some(Header::Schema(7)));
        fs::write(&path, &sound[..50]).unwrap();
        assert_eq!(header(&path), Some(Header::Damaged));
        assert_eq!(header(directory.path().join("none").as_path()), None);
    }

    #[test]
    fn a_volume_has_a_size() {
        let directory = tempfile::tempdir().unwrap();
        let volume = volume(directory.path()).unwrap();
        assert!(volume.total > 0 && volume.free <= volume.total && volume.database == 0);
    }
}
