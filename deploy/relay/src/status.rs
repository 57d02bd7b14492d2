//! `relay status`: what storage tells its operator, for people and for programs.

use crate::ask::ask;
use crate::keys::anchor_line;
use crate::moment::span;
use crate::unwritable;
use relay_daemon::{Clock, Exit, Failure, Vars};
use relay_proto::UnixSeconds;
use relay_proto::admin::{KeyStatus, Status};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// How long the rest waits for what storage has to say of its keys.
const KEY_PATIENCE: Duration = Duration::from_secs(2);

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
    let (status, keys) = ask(vars, async |storage| {
        let status = storage.status().await?;
        // A store that cannot tell of its keys has its troubles, and the rest is worth the more then.
        let keys = tokio::time::timeout(KEY_PATIENCE, storage.key_status()).await;
        Ok((status, keys.ok().and_then(Result::ok)))
    })?;
    let (now, keys) = (clock.now(), keys.as_ref());
    let text =
        if as_json { format!("{:#}\n", as_value(&status, keys, now)) } else { text(&status, keys, now) };
    out.write_all(text.as_bytes()).map_err(unwritable)?;
    Ok(Exit::Success)
}

/// Where what is stored lives.
const fn durability(status: &Status) -> &'static str {
    if status.capacity.durable { "disk" } else { "memory" }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn fill(status: &Status) -> f64 {
    status.capacity.live_bytes as f64 / status.capacity.ceiling_bytes.max(1) as f64
}

fn as_value(status: &Status, oblivious: Option<&KeyStatus>, now: UnixSeconds) -> Value {
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
        "anchor": oblivious.and_then(|keys| keys.anchor).map(|anchor| hex::encode(anchor.as_bytes())),
    })
}

fn text(status: &Status, keys: Option<&KeyStatus>, now: UnixSeconds) -> String {
    let mut lines = lines(status, now);
    match keys {
        None => lines.push(format!("{:<14}not known: storage does not tell of its keys", "anchor")),
        Some(keys) => {
            lines.push(anchor_line(keys));
            if let Some(problem) = &keys.problem {
                lines.push(format!("{:<14}NOT SERVED: {problem}", "signed record"));
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
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
    use relay_proto::PublicKey;
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

    fn anchored(problem: Option<&str>) -> KeyStatus {
        KeyStatus {
            window_secs: 86_400,
            windows: Vec::new(),
            self_anchored: true,
            anchor: Some(PublicKey::from_bytes([0xaa; 32])),
            commitment: None,
            certificates: Vec::new(),
            problem: problem.map(str::to_owned),
        }
    }

    #[test]
    fn people_read_lines() {
        let text = text(&sample(true), Some(&anchored(None)), UnixSeconds::new(1_003_700));
        assert_eq!(
            text,
            "storaged      pid 41       version 0.1.0    up 1 h 1 min\n\
             gateway       pid 42       version 0.1.0    up 1 h 1 min\n\
             live bytes    1,234,567 of 12,345,670 bytes (10.0 %)\n\
             blobs         1,200\n\
             registrations 7\n\
             store         durability=disk, schema 1, SQLite 3.51.3\n\
             expiry        running\n\
             key           federation (made 1 d 1 h ago)\n\
             anchor        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa (the relay's own)\n"
        );
    }

    #[test]
    fn what_will_be_lost_and_what_is_suspended_is_said() {
        let keys = anchored(Some("no certificate holds"));
        let text = text(&sample(false), Some(&keys), UnixSeconds::new(1_000_000));
        assert!(text.contains("durability=memory"), "{text}");
        assert!(text.contains("SUSPENDED"), "{text}");
        assert!(text.contains("NOT SERVED: no certificate holds"), "{text}");
    }

    #[test]
    fn what_storage_does_not_tell_is_not_known() {
        let status = sample(true);
        assert!(text(&status, None, UnixSeconds::new(1_000_000)).contains("anchor        not known"));
        assert_eq!(as_value(&status, None, UnixSeconds::new(1_000_000))["anchor"], Value::Null);
    }

    #[test]
    fn programs_read_json() {
        let value = as_value(&sample(false), Some(&anchored(None)), UnixSeconds::new(1_000_060));
        assert_eq!(value["processes"][1]["role"], "gateway");
        assert_eq!(value["processes"][1]["uptime_seconds"], 60);
        assert_eq!(value["durability"], "memory");
        assert_eq!(value["keys"][0]["name"], "federation");
        assert_eq!(value["live_bytes"], 1_234_567);
        assert_eq!(value["sweep_suspended"], true);
        assert_eq!(value["anchor"], "aa".repeat(32));
    }

    #[test]
    fn a_clock_that_went_back_shows_no_negative_time() {
        assert!(text(&sample(true), None, UnixSeconds::new(5)).contains("up 0 s"));
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([0, 999, 1000, 1_000_000].map(grouped), ["0", "999", "1,000", "1,000,000"]);
    }
}
