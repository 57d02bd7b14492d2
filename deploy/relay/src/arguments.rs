//! The command line.

use crate::anchor::AnchorCommand;
use crate::data::import::ImportCommand;
use crate::operate::clock::ClockCommand;
use crate::operate::evict::Evict;
use crate::operate::invite::Invite;
use crate::operate::peers::PeersCommand;
use crate::selftest::Selftest;
use clap::{Parser, Subcommand};
use relay_proto::telemetry::Role;
use std::path::PathBuf;

/// Runs, inspects and tests a relay. Everything is set by variables; REFERENCE.md lists them.
#[derive(Debug, Parser)]
#[command(name = "relay", version = relay_daemon::build::VERSION)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a relay here: the store, the gateways and federated, each as its own process
    Up,
    /// Run an oblivious relay for the relays that OBLIVIOUS_TARGETS names, as the program `oblivious` does
    Oblivious,
    /// Show a running relay: its processes, how full it is, its keys
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a running relay's keys for Oblivious HTTP: windows, certificates, the anchor to publish
    Keys {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what people type or scan to use a relay: its URL, the oblivious relay in front, the anchor
    ///
    /// Does first what a client does with them, and prints nothing that clients would not accept. A terminal with dark
    /// text on light ground shows the QR code inverted; use --png or --svg there.
    Invite(Invite),
    /// Show a running relay's peers: links, pins, and what lies with whom
    #[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
    Peers {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Something else than showing them.
        #[command(subcommand)]
        command: Option<PeersCommand>,
    },
    /// Empty a running relay into its peers, and show how far that is
    ///
    /// Ends when no blob is left, or with code 1 after RELAY_FEDERATION_DRAIN_TIMEOUT seconds. The order stands: mail goes
    /// on moving when this command has ended, and after a restart, and the same command shows how far it is.
    Drain {
        /// End it: what is still here stays here
        #[arg(long)]
        stop: bool,
    },
    /// Copy everything the relay keeps into a directory, while it serves or not, and check the copy
    Backup {
        /// Where backups are; each gets a directory of its own there
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Remove older ones, so that so many are left
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
        keep: Option<u16>,
    },
    /// Put a backup into the place of a stopped relay's data
    Restore {
        /// The backup's own directory
        #[arg(value_name = "BACKUP")]
        backup: PathBuf,
        /// Even if there is a database; it is laid aside
        #[arg(long)]
        replace: bool,
    },
    /// Check a backup, or the data of a stopped relay: the file, every blob, every sum
    Verify {
        /// The backup's own directory; if nobody says, the relay's data
        #[arg(value_name = "BACKUP")]
        backup: Option<PathBuf>,
    },
    /// Say that the clock of a running relay's machine is right
    #[command(subcommand, disable_help_subcommand = true)]
    Clock(ClockCommand),
    /// Give the database's free pages back to the volume
    Compact,
    /// Show what takes the room in a running relay's store: rows and bytes, by kind and age
    Usage {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete what a running relay keeps, by kind, age or size, after asking: what is deleted is lost
    ///
    /// Counts first what would go, says what is lost with it, and asks. Goes in short steps while the relay serves; each is
    /// durable, so that a command that is cut short has deleted a part. `relay usage` shows what there is.
    Evict(Evict),
    /// Take over what another kind of relay left behind, into a stopped relay
    #[command(subcommand, disable_help_subcommand = true)]
    Import(ImportCommand),
    /// Take the database of a stopped relay back, for the version of the relay before this one
    ///
    /// Loses nothing. Make a backup first all the same.
    Downgrade {
        /// Which schema version; as far as this program can, if nobody says
        #[arg(long, value_name = "VERSION")]
        to: Option<u32>,
    },
    /// Look at a set-up: what is wrong, and the line that mends it
    ///
    /// Looks at variables, data directory, sockets, processes and at what clients meet; changes nothing. Ends with code 1
    /// when something is wrong. deploy/RUNBOOKS.md lists what it finds.
    Doctor {
        /// Where clients reach the relay, for example `https://relay.example`; RELAY_PUBLIC_URL, if nobody says
        url: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Try a relay out as a client would, step by step, each with its time
    Selftest(Selftest),
    /// Make and use an anchor that vouches for relays' keys, on a machine that may be offline
    #[command(subcommand, disable_help_subcommand = true)]
    Anchor(AnchorCommand),
    /// Print version
    Version,
    /// Print the generated tables of REFERENCE.md and RUNBOOKS.md
    #[command(hide = true)]
    Reference {
        /// Write them into this file, between its markers
        #[arg(long)]
        write: Option<PathBuf>,
    },
    /// Be one of the relay's processes
    #[command(hide = true)]
    Role {
        /// Which
        #[arg(value_parser = role)]
        role: Role,
        /// The process without which this one must not live
        #[arg(long)]
        supervisor: Option<i32>,
    },
}

fn role(name: &str) -> Result<Role, &'static str> {
    let roles = [Role::Storaged, Role::Gateway, Role::Federated];
    roles.into_iter().find(|role| role.name() == name).ok_or("the relay has no such process")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::Via;
    use relay_proto::PeerId;
    use relay_proto::messages::RowKind;

    fn parsed(arguments: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("relay").chain(arguments.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.command)
    }

    fn anchor(arguments: &str) -> AnchorCommand {
        match parsed(arguments) {
            Ok(Command::Anchor(command)) => command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn anchor_commands_are_understood() {
        let directory = PathBuf::from("/media/anchor");
        assert_eq!(
            anchor("anchor certify /media/anchor"),
            AnchorCommand::Certify { directory: directory.clone(), days: 90, new_intermediate: false }
        );
        assert_eq!(
            anchor("anchor certify --days 825 --new-intermediate /media/anchor"),
            AnchorCommand::Certify { directory: directory.clone(), days: 825, new_intermediate: true }
        );
        assert_eq!(anchor("anchor show --json /media/anchor"), AnchorCommand::Show { directory, json: true });
    }

    #[test]
    fn a_selftest_goes_as_it_is_unless_told() {
        let Ok(Command::Selftest(plain)) = parsed("selftest http://host") else { panic!() };
        assert!(plain.via == Via::Plain && plain.relay.is_none() && plain.anchor.is_none());
        let sealed = "selftest http://host --via ohttp --relay https://outer/path";
        let Ok(Command::Selftest(sealed)) = parsed(sealed) else { panic!() };
        assert_eq!((sealed.via, sealed.relay), (Via::Ohttp, "https://outer/path".parse().ok()));
    }

    #[test]
    fn a_client_goes_through_an_oblivious_relay_of_either_spelling() {
        for url in ["https://outer", "https://outer/v2/ohttp"] {
            let line = format!("selftest http://host --as-client --oblivious {url}");
            let Ok(Command::Selftest(how)) = parsed(&line) else { panic!("{line}") };
            assert_eq!((how.as_client, how.oblivious), (true, "https://outer".parse().ok()));
        }
        let Ok(Command::Selftest(how)) = parsed("selftest http://host --as-client") else { panic!() };
        assert!(how.as_client && how.oblivious.is_none());
        assert!(matches!(parsed("invite --oblivious https://outer --json"), Ok(Command::Invite(_))));
    }

    #[test]
    fn a_bad_url_is_refused_with_an_example() {
        for url in ["", "127.0.0.1:8080", "ftp://host", "http://", "http://host?q=1"] {
            let refused = Arguments::try_parse_from(["relay", "selftest", url]).unwrap_err();
            assert!(refused.to_string().contains("http://127.0.0.1:8080"), "{refused}");
        }
        for outer in ["", "outer", "ftp://outer"] {
            let words = ["relay", "selftest", "http://host", "--via", "ohttp", "--relay", outer];
            assert!(Arguments::try_parse_from(words).is_err(), "{outer}");
        }
    }

    #[test]
    fn an_anchor_is_64_hexadecimal_digits() {
        let with = |anchor: &str| {
            Arguments::try_parse_from(["relay", "selftest", "http://host", "--anchor", anchor])
        };
        assert!(with(&"a".repeat(64)).is_ok());
        for anchor in ["", "ab", &"g".repeat(64)] {
            let refused = with(anchor).unwrap_err();
            assert!(refused.to_string().contains("64 hexadecimal digits"), "{refused}");
        }
    }

    #[test]
    fn peers_are_shown_unless_one_is_to_be_forgotten() {
        assert!(matches!(parsed("peers"), Ok(Command::Peers { json: false, command: None })));
        assert!(matches!(parsed("peers --json"), Ok(Command::Peers { json: true, command: None })));
        let Ok(Command::Peers { command: Some(command), .. }) = parsed("peers forget ws://a") else {
            panic!()
        };
        assert_eq!(command, PeersCommand::Forget { url: "ws://a".to_owned() });
        let [from, to] = [1, 2].map(|number| PeerId::from_bytes([number; 32]));
        let line = format!("peers reassign {} {}", from.to_base64url(), to.to_base64url());
        let Ok(Command::Peers { command: Some(command), .. }) = parsed(&line) else { panic!() };
        assert_eq!(command, PeersCommand::Reassign { from, to });
    }

    #[test]
    fn what_is_to_be_deleted_is_named_by_kind_and_by_age_size_or_all() {
        let evict = |arguments: &str| match parsed(&format!("evict {arguments}")) {
            Ok(Command::Evict(evict)) => Ok(evict),
            Ok(other) => panic!("{other:?}"),
            Err(refused) => Err(refused),
        };
        let old = evict("mail --older-than 30d --larger-than 64KiB --dry-run").unwrap();
        assert_eq!(
            (old.kind, old.older_than, old.larger_than),
            (RowKind::Mail, Some(2_592_000), Some(65_536))
        );
        assert!(old.dry_run && !old.yes && !old.all);
        assert!(evict("tombstones --all --yes").unwrap().all);
        assert_eq!(evict("proofs --larger-than 0B").unwrap().larger_than, Some(0));
        for wrong in [
            "mail",
            "--all",
            "used --all",
            "mail --all --older-than 30d",
            "mail --older-than 30",
            "mail --older-than 0d",
            "mail --older-than +3d",
            "mail --older-than 99999999999999999999d",
            "mail --older-than 999999999999999999d",
            "mail --larger-than 64KB",
            "mail --larger-than many",
        ] {
            assert!(evict(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(parsed("usage --json"), Ok(Command::Usage { json: true })));
    }

    #[test]
    fn a_relay_is_emptied_unless_that_is_to_end() {
        assert!(matches!(parsed("drain"), Ok(Command::Drain { stop: false })));
        assert!(matches!(parsed("drain --stop"), Ok(Command::Drain { stop: true })));
    }

    #[test]
    fn a_set_up_is_looked_at_with_or_without_a_url() {
        assert!(matches!(parsed("doctor"), Ok(Command::Doctor { url: None, json: false })));
        let Ok(Command::Doctor { url: Some(url), json: true }) = parsed("doctor --json https://a") else {
            panic!()
        };
        assert_eq!(url, "https://a");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            "doctor https://a https://b",
            "invite https://a --relay https://b",
            "invite https://a --oblivious b",
            "invite https://a --anchor ab",
            "selftest http://host --oblivious https://b",
            "selftest http://host --as-client --via ohttp",
            "selftest http://host --as-client --relay https://b",
            "anchor",
            "anchor new",
            "anchor make d",
            "anchor certify",
            "anchor certify d --days 0",
            "anchor certify d --days 826",
            "anchor certify d --days many",
            "anchor rollover d --days 5",
            "selftest http://host --via carrier",
            "keys --jason",
            "peers help",
            "peers forget",
            "peers forget ws://a ws://b",
            "peers reassign",
            "peers reassign AAAA AAAA",
            "drain now",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
