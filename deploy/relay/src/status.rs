//! `relay status`: what storage tells its operator, for people and for programs.

use crate::unwritable;
use relay_daemon::variables::{self, socket_directory};
use relay_daemon::{Clock, Exit, Failure, Vars};
use relay_proto::UnixSeconds;
use relay_proto::admin::Status;
use relay_proto::client::StorageClient;
use relay_proto::socket::Door;
use serde_json::{Value, json};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

/// How long storage may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the relay that the variables point to.
///
/// # Errors
/// When no relay answers there.
pub(crate) fn status(
    vars: &Vars,
    clock: &Clock,
    as_json: bool,
    out: &mut impl Write,
) -> Result<Exit, Failure> {
    let mut reader = vars.reader();
    let data = reader.read(&variables::DATA_DIR);
    let sockets = socket_directory(&data, reader.read(&variables::SOCKET_DIR));
    reader.finish()?;
    let status = ask(&Door::Admin.storage_socket(&sockets))?;
    let text =
        if as_json { format!("{:#}\n", as_value(&status, clock.now())) } else { text(&status, clock.now()) };
    out.write_all(text.as_bytes()).map_err(unwritable)?;
    Ok(Exit::Success)
}

fn ask(socket: &Path) -> Result<Status, Failure> {
    // The client below would only say that there is no way; the operator wants to know why.
    std::os::unix::net::UnixStream::connect(socket).map_err(|error| unreachable_because(socket, &error))?;
    let failed = |error: io::Error| Failure::new(Exit::Internal, error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let storage = StorageClient::new(socket.to_owned());
        match tokio::time::timeout(PATIENCE, storage.status()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(refusal)) => Err(Failure::new(
                Exit::Unavailable,
                format_args!(
                    "storaged listens at {} and does not answer: {refusal}; it may be stopping, or \
                     RELAY_SOCKET_UIDS may leave this user out; its log says which",
                    socket.display()
                ),
            )),
            Err(_) => Err(Failure::new(
                Exit::Unavailable,
                format_args!(
                    "storaged listens at {} and does not answer within {} seconds; see its log",
                    socket.display(),
                    PATIENCE.as_secs()
                ),
            )),
        }
    })
}

fn unreachable_because(socket: &Path, error: &io::Error) -> Failure {
    let socket = socket.display();
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::new(
            Exit::Permission,
            format_args!(
                "uid {} may not use {socket}; run this as the relay's user or as a member of the group of that directory",
                nix::unistd::geteuid()
            ),
        ),
        _ => Failure::new(
            Exit::Unavailable,
            format_args!(
                "no relay answers at {socket} ({error}); start one with `relay up`, or set RELAY_DATA_DIR \
                 (or RELAY_SOCKET_DIR) as the running relay has it"
            ),
        ),
    }
}

/// Where what is stored lives.
const fn durability(status: &Status) -> &'static str {
    if status.capacity.durable { "disk" } else { "memory" }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn fill(status: &Status) -> f64 {
    status.capacity.live_bytes as f64 / status.capacity.ceiling_bytes.max(1) as f64
}

fn as_value(status: &Status, now: UnixSeconds) -> Value {
    let processes: Vec<Value> = status
        .processes
        .iter()
        .map(|process| {
            json!({
                "role": process.role.name(),
                "pid": process.pid,
                "version": process.version,
                "started_at": process.started_at.get(),
                "uptime_seconds": now.get().saturating_sub(process.started_at.get()),
            })
        })
        .collect();
    let keys: Vec<Value> =
        status.keys.iter().map(|key| json!({ "name": key.name, "since": key.since.get() })).collect();
    json!({
        "processes": processes,
        "live_bytes": status.capacity.live_bytes,
        "ceiling_bytes": status.capacity.ceiling_bytes,
        "fill": fill(status),
        "blobs": status.blobs,
        "registrations": status.registrations,
        "durability": durability(status),
        "schema_version": status.schema_version,
        "sqlite_version": status.sqlite_version,
        "sweep_suspended": status.sweep_suspended,
        "keys": keys,
    })
}

fn text(status: &Status, now: UnixSeconds) -> String {
    let mut text = lines(status, now).join("\n");
    text.push('\n');
    text
}

fn lines(status: &Status, now: UnixSeconds) -> Vec<String> {
    let mut lines: Vec<String> = status
        .processes
        .iter()
        .map(|process| {
            let uptime = span(now.get().saturating_sub(process.started_at.get()));
            let (role, pid, version) = (process.role.name(), process.pid, &process.version);
            format!("{role:<14}pid {pid:<8} version {version:<8} up {uptime}")
        })
        .collect();
    let (live, ceiling) = (status.capacity.live_bytes, status.capacity.ceiling_bytes);
    lines.push(format!(
        "{:<14}{} of {} bytes ({:.1} %)",
        "live bytes",
        grouped(live),
        grouped(ceiling),
        fill(status) * 100.0
    ));
    lines.push(format!("{:<14}{}", "blobs", grouped(status.blobs)));
    lines.push(format!("{:<14}{}", "registrations", grouped(status.registrations)));
    lines.push(format!(
        "{:<14}durability={}, schema {}, SQLite {}",
        "store",
        durability(status),
        status.schema_version,
        status.sqlite_version
    ));
    lines.push(if status.sweep_suspended {
        format!(
            "{:<14}SUSPENDED: far more would expire at once than is plausible; check this machine's clock",
            "expiry"
        )
    } else {
        format!("{:<14}running", "expiry")
    });
    if status.keys.is_empty() {
        lines.push(format!("{:<14}none", "keys"));
    }
    for key in &status.keys {
        let age = span(now.get().saturating_sub(key.since.get()));
        lines.push(format!("{:<14}{} (made {age} ago)", "key", key.name));
    }
    lines
}

/// A length of time in its two largest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if days > 0 => format!("{days} d {} h", hours % 24),
        () if hours > 0 => format!("{hours} h {} min", minutes % 60),
        () if minutes > 0 => format!("{minutes} min {} s", seconds % 60),
        () => format!("{seconds} s"),
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_proto::admin::{Capacity, Key};
    use relay_proto::telemetry::{Process, Role};

    fn sample(durable: bool) -> Status {
        let process = |role, pid| Process {
            role,
            pid,
            version: "0.1.0".to_owned(),
            started_at: UnixSeconds::new(1_000_000),
        };
        Status {
            processes: vec![process(Role::Storaged, 41), process(Role::Gateway, 42)],
            capacity: Capacity { live_bytes: 1_234_567, ceiling_bytes: 12_345_670, durable },
            blobs: 1200,
            registrations: 7,
            schema_version: 1,
            sqlite_version: "3.51.3".to_owned(),
            sweep_suspended: !durable,
            keys: vec![Key { name: "federation".to_owned(), since: UnixSeconds::new(913_600) }],
        }
    }

    #[test]
    fn people_read_lines() {
        let text = text(&sample(true), UnixSeconds::new(1_003_700));
        assert_eq!(
            text,
            "storaged      pid 41       version 0.1.0    up 1 h 1 min\n\
             gateway       pid 42       version 0.1.0    up 1 h 1 min\n\
             live bytes    1,234,567 of 12,345,670 bytes (10.0 %)\n\
             blobs         1,200\n\
             registrations 7\n\
             store         durability=disk, schema 1, SQLite 3.51.3\n\
             expiry        running\n\
             key           federation (made 1 d 1 h ago)\n"
        );
    }

    #[test]
    fn what_will_be_lost_and_what_is_suspended_is_said() {
        let text = text(&sample(false), UnixSeconds::new(1_000_000));
        assert!(text.contains("durability=memory"), "{text}");
        assert!(text.contains("SUSPENDED"), "{text}");
    }

    #[test]
    fn programs_read_json() {
        let value = as_value(&sample(false), UnixSeconds::new(1_000_060));
        assert_eq!(value["processes"][1]["role"], "gateway");
        assert_eq!(value["processes"][1]["uptime_seconds"], 60);
        assert_eq!(value["durability"], "memory");
        assert_eq!(value["keys"][0]["name"], "federation");
        assert_eq!(value["live_bytes"], 1_234_567);
        assert_eq!(value["sweep_suspended"], true);
    }

    #[test]
    fn a_clock_that_went_back_shows_no_negative_time() {
        assert!(text(&sample(true), UnixSeconds::new(5)).contains("up 0 s"));
    }

    #[test]
    fn where_no_relay_is_the_operator_learns_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let vars = Vars::from_pairs([("RELAY_DATA_DIR", directory.path().display().to_string())]);
        let refused = status(&vars, &Clock::system(), false, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.exit, Exit::Unavailable);
        assert!(refused.text.contains("relay up") && refused.text.contains("RELAY_DATA_DIR"), "{refused}");
    }

    #[test]
    fn spans_and_numbers_are_short() {
        let spans = [0, 59, 61, 3_599, 90_061].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min 1 s", "59 min 59 s", "1 d 1 h"]);
        assert_eq!([0, 999, 1000, 1_000_000].map(grouped), ["0", "999", "1,000", "1,000,000"]);
    }
}
