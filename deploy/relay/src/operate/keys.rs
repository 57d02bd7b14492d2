//! `relay keys`: the windows of the keys for Oblivious HTTP, the anchor and its certificates; nothing secret.

use crate::admin_client::call;
use crate::display::output::{Answer, answer, row};
use crate::display::time::{span, utc, validity};
use relay_daemon::{Clock, Failure, Vars};
use relay_proto::UnixSeconds;
use relay_proto::messages::{CertificateStatus, KeyStatus, WindowStatus};
use serde_json::{Value, json};
use std::cmp::Ordering;

/// Asks the relay that the variables point to.
///
/// # Errors
/// When no relay answers there.
pub(crate) fn keys(vars: &Vars, clock: &Clock, as_json: bool) -> Result<Answer, Failure> {
    let status = call(vars, async |admin| admin.keys().await)?;
    Ok(answer(as_json, || as_value(&status), || text(&status, clock.now())))
}

/// From when to when a window's key is the one that is shown.
const fn bounds(status: &KeyStatus, window: &WindowStatus) -> (UnixSeconds, UnixSeconds) {
    let starts = UnixSeconds::new(window.number.saturating_mul(status.window_secs));
    (starts, starts.plus(status.window_secs))
}

fn as_value(status: &KeyStatus) -> Value {
    let window = |window: &WindowStatus| {
        let (starts, ends) = bounds(status, window);
        let fingerprint = hex::encode(&window.fingerprint);
        json!({ "number": window.number, "starts": starts.get(), "ends": ends.get(), "fingerprint": fingerprint })
    };
    let certificate =
        |times: &CertificateStatus| json!({ "not_before": times.not_before, "not_after": times.not_after });
    json!({
        "window_secs": status.window_secs,
        "windows": status.windows.iter().map(window).collect::<Vec<_>>(),
        "self_anchored": status.self_anchored,
        "anchor": in_hex(&status.anchor),
        "commitment": in_hex(&status.commitment),
        "certificates": status.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "problem": Some(&status.problem).filter(|problem| !problem.is_empty()),
    })
}

/// A key or hash for people and programs; `None` where there is none.
pub(crate) fn in_hex(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| hex::encode(bytes))
}

/// The line that operators publish from: here and in `relay status`.
pub(crate) fn anchor_line(status: &KeyStatus) -> String {
    let kind = if status.self_anchored { "the relay's own" } else { "kept offline" };
    match in_hex(&status.anchor) {
        Some(anchor) => row("anchor", format_args!("{anchor} ({kind})")),
        None => row("anchor", "none"),
    }
}

fn text(status: &KeyStatus, now: UnixSeconds) -> String {
    let commitment = in_hex(&status.commitment);
    let mut text = anchor_line(status);
    text += &row("commitment", commitment.as_deref().unwrap_or("none: this anchor has no backup"));
    for times in &status.certificates {
        let [from, to] = [times.not_before, times.not_after].map(UnixSeconds::new);
        text += &row("certificate", validity(now, from, to));
    }
    if status.certificates.is_empty() {
        text += &row("certificate", "none");
    }
    text += &match status.problem.as_str() {
        "" => row("signed record", "served"),
        problem => row("signed record", format_args!("NOT SERVED: {problem}")),
    };
    text += &row("windows", format_args!("{} each", span(status.window_secs)));
    for window in &status.windows {
        let (starts, ends) = bounds(status, window);
        let which = match (starts.cmp(&now), ends > now) {
            (Ordering::Greater, _) => "next",
            (_, true) => "current",
            (_, false) => "previous",
        };
        let (number, starts, ends) = (window.number, utc(starts), utc(ends));
        let fingerprint = hex::encode(&window.fingerprint);
        text += &row(which, format_args!("number {number}, {starts} to {ends}, fingerprint {fingerprint}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn sample() -> KeyStatus {
        let window = |number, byte| WindowStatus { number, fingerprint: vec![byte; 32].into() };
        KeyStatus {
            window_secs: DAY,
            windows: vec![window(19_999, 1), window(20_000, 2), window(20_001, 3)],
            self_anchored: true,
            anchor: vec![0xaa; 32].into(),
            certificates: vec![CertificateStatus { not_before: 20_000 * DAY, not_after: 20_090 * DAY }],
            ..KeyStatus::default()
        }
    }

    #[test]
    fn people_read_lines() {
        let text = text(&sample(), UnixSeconds::new(20_000 * DAY));
        let expected = [
            format!("anchor        {} (the relay's own)", "aa".repeat(32)),
            "commitment    none: this anchor has no backup".to_owned(),
            "certificate   2024-10-04 00:00 UTC to 2025-01-02 00:00 UTC (90 d 0 h left)".to_owned(),
            "signed record served".to_owned(),
            "windows       1 d 0 h each".to_owned(),
            format!(
                "previous      number 19999, 2024-10-03 00:00 UTC to 2024-10-04 00:00 UTC, fingerprint {}",
                "01".repeat(32)
            ),
            format!(
                "current       number 20000, 2024-10-04 00:00 UTC to 2024-10-05 00:00 UTC, fingerprint {}",
                "02".repeat(32)
            ),
            format!(
                "next          number 20001, 2024-10-05 00:00 UTC to 2024-10-06 00:00 UTC, fingerprint {}",
                "03".repeat(32)
            ),
            String::new(),
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn an_offline_anchor_and_a_problem_are_said() {
        let status = KeyStatus {
            self_anchored: false,
            commitment: vec![0xbb; 32].into(),
            certificates: Vec::new(),
            problem: "no certificate holds".to_owned(),
            ..sample()
        };
        let text = text(&status, UnixSeconds::new(20_000 * DAY));
        assert!(text.contains("(kept offline)"), "{text}");
        assert!(text.contains(&format!("commitment    {}", "bb".repeat(32))), "{text}");
        assert!(text.contains("certificate   none"), "{text}");
        assert!(text.contains("NOT SERVED: no certificate holds"), "{text}");
    }

    #[test]
    fn programs_read_json() {
        let value = as_value(&sample());
        assert_eq!(value["window_secs"], DAY);
        assert_eq!(
            value["windows"][1],
            json!({
                "number": 20_000,
                "starts": 20_000 * DAY,
                "ends": 20_001 * DAY,
                "fingerprint": "02".repeat(32),
            })
        );
        assert_eq!(value["self_anchored"], true);
        assert_eq!(value["anchor"], "aa".repeat(32));
        assert_eq!(value["commitment"], Value::Null);
        assert_eq!(value["certificates"], json!([{ "not_before": 20_000 * DAY, "not_after": 20_090 * DAY }]));
        assert_eq!(value["problem"], Value::Null);
    }
}
