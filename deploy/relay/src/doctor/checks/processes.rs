//! The processes: whether all are there, of one version, ready, and well.

use crate::display::units::{counted, grouped};
use crate::doctor::code::Code;
use crate::doctor::facts::{Counters, Facts, StorageReport};
use crate::doctor::finding::Findings;
use relay_daemon::build;
use relay_proto::telemetry::Role;
use std::collections::BTreeSet;

/// Older releases of SQLite can lose commits.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let Some(report) = &facts.report else { return };
    check_gateways(facts, report, findings);
    check_silence(report, findings);
    check_versions(report, findings);
    check_faults(report, findings);
    let wanted = facts.settings.max_connections + gateway::SPARE_FILES;
    if let Some(files) = facts.files.iter().min().filter(|files| **files < wanted as u64) {
        findings.add_with(
            Code::FilesFew,
            format!(
                "a gateway may open {} files, and RELAY_MAX_CONNECTIONS={} wants {}",
                grouped(*files),
                facts.settings.max_connections,
                grouped(wanted as u64)
            ),
            format!("LimitNOFILE={wanted} in its unit, or `ulimit -n {wanted}` before `relay up`"),
        );
    }
}

fn check_gateways(facts: &Facts, report: &StorageReport, findings: &mut Findings) {
    let gateways = report.status.processes.iter().filter(|process| process.runs(Role::Gateway)).count();
    let wanted = usize::from(facts.settings.gateways.unwrap_or(1));
    if gateways == 0 {
        findings.add(Code::GatewayMissing, "no gateway reports to storaged: no client is served");
    } else if gateways < wanted {
        findings.add(
            Code::GatewayFew,
            format!("{} reports, and RELAY_GATEWAYS={wanted}", counted(gateways as u64, "gateway")),
        );
    }
    if gateways > 0
        && let Some(reason) = facts.operator.as_ref().and_then(|operator| operator.not_ready.as_ref())
    {
        findings.add(
            Code::GatewayNotReady,
            format!("the gateway at {} is not ready: {reason}", facts.settings.ops),
        );
    }
}

fn check_silence(report: &StorageReport, findings: &mut Findings) {
    for process in report.status.processes.iter().filter(|process| process.is_silent()) {
        let (role, pid, silent) = (process.program(), process.pid, process.silent_secs);
        findings.add_with(
            Code::ProcessSilent,
            format!("{role} (process {pid}) has not answered for {silent} s: it hangs or is stopped"),
            format!(
                "wait for 40 s: `relay up` and systemd replace it; where neither runs it, restart {role}"
            ),
        );
    }
}

fn check_versions(report: &StorageReport, findings: &mut Findings) {
    let processes = &report.status.processes;
    let versions: BTreeSet<&str> = processes.iter().map(|process| process.version.as_str()).collect();
    if versions.len() > 1 {
        let each: Vec<String> =
            processes.iter().map(|process| format!("{} {}", process.program(), process.version)).collect();
        findings.add(
            Code::VersionsMixed,
            format!("processes of different versions run together: {}", each.join(", ")),
        );
    } else if let Some(version) = versions.first().filter(|version| **version != build::VERSION) {
        findings.add_with(
            Code::VersionCommand,
            format!("this command is version {}, and the relay {version}", build::VERSION),
            format!("use the `relay` command of version {version}"),
        );
    }
    let version = &report.status.sqlite_version;
    let sqlite: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if !sqlite.is_empty() && sqlite[..] < OLDEST_SQLITE[..] {
        findings.add(Code::SqliteOld, format!("storaged has SQLite {version}, which can lose commits"));
    }
}

fn check_faults(report: &StorageReport, findings: &mut Findings) {
    let Counters { damaged, panics, connections_refused: refused, .. } = report.after;
    if damaged > 0.0 {
        findings.add(Code::BlobsDamaged, format!("{damaged:.0} times a blob was not what its name says"));
    }
    if panics > 0.0 {
        findings.add(Code::Panics, format!("{panics:.0} faults of the relay's own were caught"));
    }
    if refused > 0.0 {
        findings.add(
            Code::ConnectionsRefused,
            format!("{refused:.0} connections were turned away because too many were open"),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::checks::fixture::{codes, codes_reported, process};
    use crate::doctor::facts::Operator;
    use relay_proto::telemetry::Role;

    #[test]
    fn gateways_are_there_as_many_as_wanted_and_ready() {
        assert_eq!(codes_reported(|report| report.status.processes.truncate(1)), ["gateway-missing"]);
        assert_eq!(codes(|facts| facts.settings.gateways = Some(2)), ["gateway-few"]);
        let not_ready = Some(Operator { not_ready: Some("stopping".to_owned()) });
        assert_eq!(codes(|facts| facts.operator = not_ready), ["gateway-not-ready"]);
    }

    #[test]
    fn a_process_that_has_stopped_reporting_is_told() {
        let after = |seconds| codes_reported(|report| report.status.processes[1].silent_secs = seconds);
        assert_eq!(after(42), ["process-silent"]);
        assert!(after(9).is_empty());
    }

    #[test]
    fn versions_are_one_and_the_same() {
        assert_eq!(
            codes_reported(|report| report.status.processes[1].version = "0.0.9".to_owned()),
            ["versions-mixed"]
        );
        let other = codes_reported(|report| {
            for process in &mut report.status.processes {
                process.version = "9.0.0".to_owned();
            }
        });
        assert_eq!(other, ["version-command"]);
        assert!(codes_reported(|report| report.status.processes.push(process(Role::Federated))).is_empty());
    }

    #[test]
    fn an_old_sqlite_is_told_and_a_newer_one_is_not() {
        let with = |version: &str| codes_reported(|report| report.status.sqlite_version = version.to_owned());
        assert_eq!(with("3.51.2"), ["sqlite-old"]);
        assert_eq!(with("3.9.0"), ["sqlite-old"]);
        assert!(with("3.51.3").is_empty() && with("3.100.0").is_empty() && with("4.0.0").is_empty());
    }

    #[test]
    fn faults_are_told() {
        assert_eq!(codes_reported(|report| report.after.panics = 1.0), ["panics"]);
        assert_eq!(codes_reported(|report| report.after.damaged = 1.0), ["blobs-damaged"]);
        assert_eq!(codes_reported(|report| report.after.connections_refused = 1.0), ["connections-refused"]);
    }

    #[test]
    fn a_gateway_that_may_open_too_few_files_is_told() {
        assert_eq!(codes(|facts| facts.files = vec![1 << 19, 1024]), ["files-few"]);
        assert!(codes(|facts| facts.files = vec![4096]).is_empty());
    }
}
