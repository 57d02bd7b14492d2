//! `relay anchor new`: an anchor and its backup.

use super::files::{Directory, fresh_key};
use super::state::{ANCHOR_KEY, BACKUP_KEY, FILES};
use crate::display::output::row;
use relay_daemon::{Exit, Failure};
use relay_proto::Commitment;
use relay_proto::anchor::file::{AnchorFile, PUBLIC_FILE};
use relay_proto::anchor::public;
use std::path::Path;

/// Makes both keys and `anchor.json`, in a directory that has none of an anchor's files.
pub(super) fn new(path: &Path) -> Result<String, Failure> {
    let directory = Directory::make(path)?;
    for name in FILES {
        if directory.has(name)? {
            return Err(taken(&directory, name)?);
        }
    }
    let (anchor, backup) = (fresh_key()?, fresh_key()?);
    directory.write_new_key(ANCHOR_KEY, &anchor)?;
    directory.write_new_key(BACKUP_KEY, &backup)?;
    let file = AnchorFile {
        anchor: public(&anchor),
        commitment: Commitment::to(&public(&backup)),
        certificates: Vec::new(),
        rollovers: Vec::new(),
    };
    write_public_file(&directory, &file)?;
    Ok(format!(
        "{}\
         Publish both: clients that know them cannot be given another relay's keys.\n\
         Keep {} and {} offline, on media of their own: the backup takes over when the anchor is lost or stolen.\n\
         Next: relay anchor certify {}\n",
        names(&file),
        directory.path(ANCHOR_KEY).display(),
        directory.path(BACKUP_KEY).display(),
        path.display()
    ))
}

/// Why there is no room for a new anchor, and what to do about it.
fn taken(directory: &Directory, name: &str) -> Result<Failure, Failure> {
    let path = directory.path(name);
    let path = path.display();
    let text = if directory.has(PUBLIC_FILE)? {
        format!("{path} is there already: this directory has an anchor. Name another directory for a new one")
    } else {
        format!(
            "{path} is there already, and {PUBLIC_FILE} is not. If an earlier `relay anchor new` was cut off here \
             and nothing was ever published, remove the file and run it again; otherwise bring {PUBLIC_FILE} back"
        )
    };
    Ok(Failure::new(Exit::Usage, text))
}

/// What is to be published, in lines.
pub(super) fn names(file: &AnchorFile) -> String {
    row("anchor", hex::encode(file.anchor.as_bytes()))
        + &row("commitment", hex::encode(file.commitment.as_bytes()))
}

/// Writes `anchor.json`.
pub(super) fn write_public_file(directory: &Directory, file: &AnchorFile) -> Result<(), Failure> {
    let text = file.write().map_err(|error| Failure::new(Exit::Internal, error))?;
    directory.replace_public(PUBLIC_FILE, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::AnchorCommand;
    use crate::anchor::fixture::{TestAnchor, mode};
    use std::fs;

    #[test]
    fn a_new_anchor_is_its_two_keys_and_what_it_publishes() {
        let offline = TestAnchor::empty();
        let answer = offline.run(AnchorCommand::New { directory: offline.directory.clone() }).unwrap();
        assert_eq!(offline.names(), ["anchor.json", "anchor.key", "backup.key"]);
        assert_eq!(mode(&offline.directory), 0o700);
        assert_eq!([ANCHOR_KEY, BACKUP_KEY].map(|name| mode(&offline.path(name))), [0o600, 0o600]);
        let file = offline.public();
        let directory = Directory::open(&offline.directory).unwrap();
        let [anchor, backup] =
            [ANCHOR_KEY, BACKUP_KEY].map(|name| directory.read_key(name).unwrap().unwrap());
        assert_eq!(file.anchor, public(&anchor));
        assert_eq!(file.commitment, Commitment::to(&public(&backup)));
        assert!(file.certificates.is_empty() && file.rollovers.is_empty());
        for expected in
            [&hex::encode(file.anchor.as_bytes()), &hex::encode(file.commitment.as_bytes()), "certify"]
        {
            assert!(answer.contains(expected), "{answer}");
        }
    }

    #[test]
    fn a_directory_with_any_of_the_files_is_left_as_it_is() {
        for name in FILES {
            let offline = TestAnchor::empty();
            fs::create_dir(&offline.directory).unwrap();
            fs::write(offline.path(name), "precious").unwrap();
            let refused =
                offline.run(AnchorCommand::New { directory: offline.directory.clone() }).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage);
            assert!(refused.text.contains(&offline.path(name).display().to_string()), "{refused}");
            assert_eq!(offline.names(), [name]);
            assert_eq!(fs::read_to_string(offline.path(name)).unwrap(), "precious");
        }
    }

    #[test]
    fn an_empty_directory_that_is_there_is_used() {
        let offline = TestAnchor::empty();
        fs::create_dir(&offline.directory).unwrap();
        fs::write(offline.path("notes.txt"), "mine").unwrap();
        offline.run(AnchorCommand::New { directory: offline.directory.clone() }).unwrap();
        assert_eq!(offline.names(), ["anchor.json", "anchor.key", "backup.key", "notes.txt"]);
    }
}
