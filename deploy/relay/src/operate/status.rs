//! `relay status`: processes, fill, keys and federation of a running relay.

use crate::admin_client::call;
use crate::display::output::{Answer, answer, row};
use crate::display::time::span;
use crate::display::units::grouped;
use crate::operate::clock;
use crate::operate::federation_summary::FederationSummary;
use crate::operate::keys::{anchor_line, in_hex};
use relay_daemon::{Clock, Failure, Vars};
use relay_proto::UnixSeconds;
use relay_proto::messages::{Key, KeyStatus, Process, StatusReply};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// How long storage may take to report its keys, and its peers; the rest is shown without them.
const PART_DEADLINE: Duration = Duration::from_secs(2);

/// What storage reported. Keys and peers are missing if it did not answer for them in time.
#[derive(Debug)]
struct Known {
    status: StatusReply,
    keys: Option<KeyStatus>,
    summary: Option<FederationSummary>,
}

/// Asks the relay that the variables point to.
///
/// # Errors
/// When no relay answers there.
pub(crate) fn status(vars: &Vars, clock: &Clock, as_json: bool) -> Result<Answer, Failure> {
    let known = call(vars, async |admin| {
        let status = admin.status().await?;
        // Where storage cannot report its keys, something is wrong, and the operator needs the rest all the more.
        let (keys, peers) =
            tokio::join!(timeout(PART_DEADLINE, admin.keys()), timeout(PART_DEADLINE, admin.peers()));
        let peers = peers.ok().and_then(Result::ok);
        let summary = peers.as_ref().map(FederationSummary::of);
        Ok(Known { status, keys: keys.ok().and_then(Result::ok), summary })
    })?;
    let now = clock.now();
    Ok(answer(as_json, || as_value(&known, now), || text(&known, now)))
}

/// Where what is stored lives.
const fn durability(status: &StatusReply) -> &'static str {
    if status.durable { "disk" } else { "memory" }
}

fn as_value(known: &Known, now: UnixSeconds) -> Value {
    let Known { status, keys: oblivious, summary } = known;
    let process = |process: &Process| {
        json!({
            "role": process.program(),
            "pid": process.pid,
            "version": process.version,
            "started_at": process.started_at,
            "uptime_seconds": now.get().saturating_sub(process.started_at),
            "last_report_seconds": process.silent_secs,
            "answers": !process.is_silent(),
        })
    };
    let key = |key: &Key| json!({ "name": key.name, "since": key.since });
    json!({
        "processes": status.processes.iter().map(process).collect::<Vec<_>>(),
        "live_bytes": status.live_bytes,
        "ceiling_bytes": status.ceiling_bytes,
        "fill": status.fill(),
        "blobs": status.blobs,
        "registrations": status.registrations,
        "durability": durability(status),
        "schema_version": status.schema_version,
        "sqlite_version": status.sqlite_version,
        "sweep_suspended": status.sweep_suspended,
        "clock": status.clock.map(|clock| json!({
            "standing": clock.standing().name(),
            "apart_seconds": clock.apart_secs,
            "trusted_in_seconds": clock.trusted_in_secs,
        })),
        "keys": status.keys.iter().map(key).collect::<Vec<_>>(),
        "anchor": oblivious.as_ref().and_then(|keys| in_hex(&keys.anchor)),
        "federation": summary.as_ref().map(FederationSummary::as_value),
    })
}

fn text(known: &Known, now: UnixSeconds) -> String {
    let mut text = stored(&known.status, now);
    match &known.keys {
        None => text += &row("anchor", "not known: storage does not tell of its keys"),
        Some(keys) => {
            text += &anchor_line(keys);
            if !keys.problem.is_empty() {
                text += &row("signed record", format_args!("NOT SERVED: {}", keys.problem));
            }
        }
    }
    let summary = known.summary.as_ref().map(FederationSummary::line);
    text + &row("federation", summary.as_deref().unwrap_or("not known: storage does not tell of its peers"))
}

/// The lines for what storage always knows.
fn stored(status: &StatusReply, now: UnixSeconds) -> String {
    let ago = |time: u64| span(now.get().saturating_sub(time));
    let mut text = String::new();
    for process in &status.processes {
        let (pid, version) = (process.pid, &process.version);
        let state = match process.is_silent() {
            true => format!("NOT ANSWERING for {} s", process.silent_secs),
            false => format!("up {}", ago(process.started_at)),
        };
        text += &row(process.program(), format_args!("pid {pid:<8} version {version:<8} {state}"));
    }
    let (live, ceiling) = (grouped(status.live_bytes), grouped(status.ceiling_bytes));
    text += &row("live bytes", format_args!("{live} of {ceiling} bytes ({:.1} %)", status.fill() * 100.0));
    text += &row("blobs", grouped(status.blobs));
    text += &row("registrations", grouped(status.registrations));
    let (durability, schema) = (durability(status), status.schema_version);
    let store = format!("durability={durability}, schema {schema}, SQLite {}", status.sqlite_version);
    text += &row("store", store);
    let suspended = "SUSPENDED: the clock of storaged's machine is not trusted";
    text += &row("expiry", if status.sweep_suspended { suspended } else { "running" });
    if let Some(wrong) = status.clock.as_ref().and_then(clock::wrong) {
        text += &row("clock", format_args!("NOT TRUSTED: {wrong}"));
    }
    if status.keys.is_empty() {
        text += &row("keys", "none");
    }
    for key in &status.keys {
        text += &row("key", format_args!("{} (made {} ago)", key.name, ago(key.since)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Storage, nobody};
    use relay_proto::messages::{ClockStanding, ClockStatus};
    use relay_proto::telemetry::Role;

    fn known(status: StatusReply, keys: KeyStatus) -> Known {
        Known { status, keys: Some(keys), summary: Some(FederationSummary::of(&nobody())) }
    }

    const AHEAD: ClockStatus =
        ClockStatus { standing: ClockStanding::Ahead as i32, apart_secs: 86_400 * 4, trusted_in_secs: 60 };

    fn sample(durable: bool) -> StatusReply {
        let process = |role: Role, pid| Process {
            role: role.into(),
            pid,
            version: "0.1.0".to_owned(),
            started_at: 1_000_000,
            silent_secs: 0,
        };
        StatusReply {
            processes: vec![process(Role::Storaged, 41), process(Role::Gateway, 42)],
            live_bytes: 1_234_567,
            ceiling_bytes: 12_345_670,
            durable,
            blobs: 1200,
            registrations: 7,
            schema_version: 1,
            sqlite_version: "3.51.3".to_owned(),
            sweep_suspended: !durable,
            keys: vec![Key { name: "federation".to_owned(), since: 913_600 }],
            clock: Some(if durable { fixture::TRUSTED } else { AHEAD }),
        }
    }

    fn anchored(problem: Option<&str>) -> KeyStatus {
        KeyStatus {
            window_secs: 86_400,
            self_anchored: true,
            anchor: vec![0xaa; 32].into(),
            problem: problem.unwrap_or_default().to_owned(),
            ..KeyStatus::default()
        }
    }

    #[test]
    fn people_read_lines() {
        let text = text(&known(sample(true), anchored(None)), UnixSeconds::new(1_003_700));
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
             anchor        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa (the relay's own)\n\
             federation    off\n"
        );
    }

    #[test]
    fn what_will_be_lost_and_what_is_suspended_is_said() {
        let keys = anchored(Some("no certificate holds"));
        let text = text(&known(sample(false), keys), UnixSeconds::new(1_000_000));
        assert!(text.contains("durability=memory"), "{text}");
        assert!(text.contains("SUSPENDED"), "{text}");
        assert!(text.contains("clock         NOT TRUSTED: it jumped 4 d 0 h ahead"), "{text}");
        assert!(text.contains("NOT SERVED: no certificate holds"), "{text}");
    }

    #[test]
    fn a_process_that_does_not_report_is_not_shown_as_up() {
        let mut status = sample(true);
        status.processes[0].silent_secs = 9;
        status.processes[1].silent_secs = 42;
        let known = known(status, anchored(None));
        let now = UnixSeconds::new(1_000_060);
        let shown = text(&known, now);
        assert!(shown.contains("pid 41       version 0.1.0    up 1 min 0 s\n"), "{shown}");
        assert!(shown.contains("pid 42       version 0.1.0    NOT ANSWERING for 42 s\n"), "{shown}");
        let value = as_value(&known, now);
        let silence = |index: usize| {
            (
                value["processes"][index]["last_report_seconds"].clone(),
                value["processes"][index]["answers"].clone(),
            )
        };
        assert_eq!((silence(0), silence(1)), ((json!(9), json!(true)), (json!(42), json!(false))));
    }

    #[test]
    fn what_storage_does_not_tell_is_not_known() {
        let known = Known { status: sample(true), keys: None, summary: None };
        let now = UnixSeconds::new(1_000_000);
        let shown = text(&known, now);
        assert!(
            shown.contains("anchor        not known") && shown.contains("federation    not known"),
            "{shown}"
        );
        let value = as_value(&known, now);
        assert_eq!((&value["anchor"], &value["federation"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn programs_read_json() {
        let value = as_value(&known(sample(false), anchored(None)), UnixSeconds::new(1_000_060));
        assert_eq!(value["processes"][1]["role"], "gateway");
        assert_eq!(value["processes"][1]["uptime_seconds"], 60);
        assert_eq!(value["durability"], "memory");
        assert_eq!(value["keys"][0]["name"], "federation");
        assert_eq!(value["live_bytes"], 1_234_567);
        assert_eq!(value["sweep_suspended"], true);
        assert_eq!(value["clock"]["standing"], "ahead");
        assert_eq!(value["clock"]["apart_seconds"], 345_600);
        assert_eq!(value["anchor"], "aa".repeat(32));
        assert_eq!(value["federation"]["enabled"], false);
    }

    #[test]
    fn federation_is_told_of_although_storage_does_not_tell_of_its_keys() {
        let storage = Storage::start(fixture::sample());
        let answer = super::status(&storage.vars(), &Clock::system(), true).unwrap();
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!((&value["anchor"], &value["blobs"]), (&Value::Null, &json!(1200)));
        assert_eq!(value["federation"], FederationSummary::of(&fixture::sample()).as_value());
    }

    #[test]
    fn a_clock_that_went_back_shows_no_negative_time() {
        assert!(text(&known(sample(true), anchored(None)), UnixSeconds::new(5)).contains("up 0 s"));
    }
}
