//! What a backup says of itself.

use super::DATABASE;
use relay_daemon::{Exit, Failure, Pace, build};
use relay_proto::UnixSeconds;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use storaged::offline::Census;

/// Its name in the backup's directory.
const NAME: &str = "manifest.json";

/// The way in which backups are laid out. Another number is another way.
const FORMAT: u32 = 1;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    relay_version: String,
    /// Version of the database's schema.
    pub(crate) schema_version: u32,
    /// When it was made, in Unix seconds.
    pub(crate) created: u64,
    /// When the last of its mail expires, in Unix seconds.
    pub(crate) last_expiry: Option<u64>,
    /// Size of the database's file.
    pub(crate) database_bytes: u64,
    database_sha256: String,
    /// Rows of each table.
    pub(crate) rows: BTreeMap<String, u64>,
}

impl Manifest {
    /// Describes a database, at that pace.
    pub(super) fn of(database: &Path, census: &Census, created: UnixSeconds, pace: Pace) -> io::Result<Self> {
        let (database_bytes, database_sha256) = digest(database, pace)?;
        Ok(Self {
            format: FORMAT,
            relay_version: build::VERSION.to_owned(),
            schema_version: census.schema_version,
            created: created.get(),
            last_expiry: census.last_expiry.map(UnixSeconds::get),
            database_bytes,
            database_sha256,
            rows: census.rows.iter().cloned().collect(),
        })
    }

    /// Writes it into a backup's directory.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join(NAME))?;
        file.write_all(format!("{:#}\n", serde_json::to_value(self)?).as_bytes())?;
        file.sync_all()
    }

    /// Reads it, and checks that the database is the one that it describes.
    ///
    /// # Errors
    /// When there is none, it cannot be understood, or the database is another one.
    pub(crate) fn check(directory: &Path) -> Result<Self, Failure> {
        let failed = |exit, text: String| Failure::new(exit, format_args!("{}: {text}", directory.display()));
        let text = fs::read(directory.join(NAME)).map_err(|error| {
            failed(Exit::DataMissing, format!("this is no backup, its {NAME} cannot be read ({error})"))
        })?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|_| failed(Exit::Corrupt, format!("its {NAME} cannot be understood")))?;
        if manifest.format != FORMAT {
            return Err(failed(
                Exit::Schema,
                format!("it is laid out as format {}, and this program knows {FORMAT}", manifest.format),
            ));
        }
        let (bytes, sha256) = digest(&directory.join(DATABASE), Pace::hurried())
            .map_err(|error| failed(Exit::DataMissing, format!("its {DATABASE} cannot be read ({error})")))?;
        if (bytes, &sha256) != (manifest.database_bytes, &manifest.database_sha256) {
            return Err(failed(Exit::Corrupt, format!("its {DATABASE} is not what was backed up")));
        }
        Ok(manifest)
    }

    /// Whether a directory has one at all.
    pub(super) fn is_in(directory: &Path) -> bool {
        directory.join(NAME).is_file()
    }
}

fn digest(path: &Path, mut pace: Pace) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut length) = (Sha256::new(), 0);
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((length, hex::encode(hasher.finalize())));
        }
        length += read as u64;
        hasher.update(&piece[..read]);
        pace.rest();
    }
}
