//! `manifest.json`: describes a backup, so that it can be checked.

use super::DATABASE;
use relay_daemon::{Failure, Throttle, build};
use relay_proto::UnixSeconds;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use storaged::offline::Census;

/// Name of the file in the backup's directory.
pub(super) const NAME: &str = "manifest.json";

/// Version of the layout of backups.
const FORMAT: u32 = 1;

/// The content of a manifest.
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
    /// Whether nothing was wrong with the database when it was looked at. Versions that did not say so looked as well,
    /// but not all of them rightly.
    #[serde(default)]
    sound: bool,
}

impl Manifest {
    /// Describes a database, at that pace.
    pub(super) fn of(
        database: &Path,
        census: &Census,
        created: UnixSeconds,
        pace: Throttle,
    ) -> io::Result<Self> {
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
            sound: census.problems.is_empty(),
        })
    }

    /// Writes it into a backup's directory.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join(NAME))?;
        file.write_all(format!("{:#}\n", serde_json::to_value(self)?).as_bytes())?;
        file.sync_all()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When there is none, or it cannot be understood.
    pub(super) fn read(directory: &Path) -> Result<Self, Failure> {
        let place = directory.display();
        let text = fs::read(directory.join(NAME)).map_err(|error| {
            failure!(DataMissing, "{place}: this is no backup, its {NAME} cannot be read ({error})")
        })?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|_| failure!(Corrupt, "{place}: its {NAME} cannot be understood"))?;
        if manifest.format != FORMAT {
            let format = manifest.format;
            let text = format!("it is laid out as format {format}, and this program knows {FORMAT}");
            return Err(failure!(Schema, "{place}: {text}"));
        }
        Ok(manifest)
    }

    /// Reads it, and checks at that pace that the database is the one that it describes.
    ///
    /// # Errors
    /// When there is none, it cannot be understood, or the database is another one.
    pub(crate) fn check(directory: &Path, pace: Throttle) -> Result<Self, Failure> {
        let (manifest, place) = (Self::read(directory)?, directory.display());
        let (bytes, sha256) = digest(&directory.join(DATABASE), pace)
            .map_err(|error| failure!(DataMissing, "{place}: its {DATABASE} cannot be read ({error})"))?;
        if (bytes, &sha256) != (manifest.database_bytes, &manifest.database_sha256) {
            return Err(failure!(Corrupt, "{place}: its {DATABASE} is not what was backed up"));
        }
        Ok(manifest)
    }

    /// Whether the database was found sound when it was backed up.
    pub(super) const fn is_sound(&self) -> bool {
        self.sound
    }
}

fn digest(path: &Path, mut pace: Throttle) -> io::Result<(u64, String)> {
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
