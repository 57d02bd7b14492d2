//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use relay_proto::PeerId;
use std::path::PathBuf;

/// For how many days a rollover certifies the intermediate key again, and `certify` does if nobody says.
pub(crate) const USUAL_DAYS: u64 = 90;

/// Runs, inspects and tests a relay. Everything is set by variables; REFERENCE.md lists them.
#[derive(Debug, Parser)]
#[command(name = "relay", version = relay_daemon::build::VERSION, disable_help_subcommand = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a relay here: the store, the gateways and federated, each as its own process
    Up,
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
        /// Where clients reach the relay, for example <https://relay.example>; RELAY_PUBLIC_URL, if nobody says
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
        role: RoleName,
        /// The process without which this one must not live
        #[arg(long)]
        supervisor: Option<i32>,
    },
}

/// What to do with peers.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum PeersCommand {
    /// Forget the key that a peer's address is pinned to; the key it shows next is taken and kept
    Forget {
        /// The address, as `relay peers` shows it
        url: String,
    },
    /// Give the mail held here for a relay that lost its keys to the same relay with new keys
    ///
    /// Its operator asks for it: make sure that it is them, by another way than the relay. Whoever has the new identity can
    /// fetch that mail. The relay learns within ten minutes what is held for it, or when it connects anew.
    Reassign {
        /// The identity that the relay had, as `relay peers` shows it
        #[arg(value_name = "OLD_IDENTITY", value_parser = identity)]
        from: PeerId,
        /// The identity that it has now; it has connected once
        #[arg(value_name = "NEW_IDENTITY", value_parser = identity)]
        to: PeerId,
    },
}

fn identity(text: &str) -> Result<PeerId, &'static str> {
    PeerId::from_base64url(text).map_err(|_| "an identity has 43 characters, as `relay peers` shows it")
}

/// What to do with the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum ClockCommand {
    /// Go by the clock from now on: what is over by it expires, and new mail is stored
    ///
    /// A relay does not believe a clock that jumped (`relay status` shows that). Check it first: mail that expires is gone.
    Trust,
}

/// What to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
#[command(group = clap::ArgGroup::new("which").args(["older_than", "larger_than", "all"]).multiple(true).required(true))]
pub struct Evict {
    /// Of which kind
    #[arg(value_enum)]
    pub kind: EvictKind,
    /// What was stored or renewed so long ago, or longer, for example 12h or 30d
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub older_than: Option<u64>,
    /// What has more content than this, for example 64KiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub larger_than: Option<u64>,
    /// All of the kind
    #[arg(long, conflicts_with_all = ["older_than", "larger_than"])]
    pub all: bool,
    /// Delete nothing, only count
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// What can be deleted by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EvictKind {
    /// Mail of this relay's clients: it is lost, read or not
    Mail,
    /// Mail held for peers: it is lost, unless they have it too
    Held,
    /// Deletions that peers have not heard of: their copies stay until their time is over
    Outbox,
    /// Registered mailboxes: purges do not reach them until their clients register again
    Registrations,
    /// Exchange offers: their codes end
    Offers,
    /// Recovery proofs: who loses a device cannot be recovered by them
    Proofs,
    /// Guardian sets: lost until their owners store them again
    Guardians,
    /// Escrow gates, with what lies behind them
    Escrow,
    /// Ids of what was acked or purged: whoever sends it again brings it back
    Tombstones,
}

fn time(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a time is a number with s, m, h or d behind it, for example 12h or 30d";
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    with_unit(text, &units).filter(|seconds| *seconds > 0).ok_or(EXPECTED)
}

fn size(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a size is a number with B, KiB, MiB or GiB behind it, for example 64KiB";
    // The longest come first: all of them end in B.
    with_unit(text, &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)]).ok_or(EXPECTED)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, worth) = units.iter().find_map(|(unit, worth)| Some((text.strip_suffix(unit)?, *worth)))?;
    // A sign would parse.
    let is_whole = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| is_whole)?.checked_mul(worth)
}

/// From where to take over.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ImportCommand {
    /// The relay of one process, with blobs.db, recovery_proofs.db and files of keys in one directory
    ///
    /// Stop it first, and copy its file of keys for Oblivious HTTP into the directory if it lies elsewhere. Nothing there
    /// is changed, and what was taken is not taken twice.
    Vauchi {
        /// Its data directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// Which relay to try, and which way.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Selftest {
    /// Where it serves clients, for example <http://127.0.0.1:8080>
    pub url: String,
    /// How clients' requests travel
    #[arg(long, value_enum, default_value_t = Via::Plain)]
    pub via: Via,
    /// An oblivious relay in front, to whose URL the sealed requests go; the key still comes from the relay itself
    #[arg(long, value_name = "OUTER_URL")]
    pub relay: Option<String>,
    /// The anchor that clients pin, in 64 hexadecimal digits; without it nobody tells whose the signed key record is
    #[arg(long, value_name = "HEX")]
    pub anchor: Option<String>,
}

/// How clients' requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// As they are
    Plain,
    /// Sealed to the relay's key, as envelopes and as Binary HTTP
    Ohttp,
}

/// What to do with an anchor.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum AnchorCommand {
    /// Make an anchor and its backup
    New {
        /// Where; made if it is not there
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Certify the key that a relay signs with, making that key first if there is none
    Certify {
        /// Where the anchor is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// For how many days
        #[arg(long, default_value_t = USUAL_DAYS, value_parser = clap::value_parser!(u64).range(1..=825))]
        days: u64,
        /// Make another key in the place of the one there is
        #[arg(long)]
        new_intermediate: bool,
    },
    /// Make the backup the anchor, and a new key its backup
    Rollover {
        /// Where the anchor is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Show an anchor, its certificates and rollovers
    Show {
        /// Where the anchor is, or a copy of its anchor.json
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// A process of the relay, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// The store.
    Storaged,
    /// The edge.
    Gateway,
    /// The link to other relays.
    Federated,
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((plain.via, plain.relay, plain.anchor), (Via::Plain, None, None));
        let sealed = "selftest http://host --via ohttp --relay https://outer/path";
        let Ok(Command::Selftest(sealed)) = parsed(sealed) else { panic!() };
        assert_eq!((sealed.via, sealed.relay.as_deref()), (Via::Ohttp, Some("https://outer/path")));
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
            (EvictKind::Mail, Some(2_592_000), Some(65_536))
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
