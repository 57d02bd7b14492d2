//! The units for hosts with systemd: sound, tight, and of one mind with the programs.

use relay_tests::binaries::{self, Program};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Each service, and the exposure it may have at most, in tenths.
const SERVICES: [(&str, u32); 4] =
    [("relay-storaged", 5), ("relay-gateway", 13), ("relay-federated", 13), ("relay-oblivious", 13)];

fn units() -> PathBuf {
    binaries::workspace().join("deploy/systemd")
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn exposure_is_as_low_as_promised() {
    for (service, tenths) in SERVICES {
        let unit = units().join(format!("{service}.service"));
        let threshold = format!("--threshold={tenths}");
        let (tight, said) = analyze(&["security", "--offline=true", &threshold, unit.to_str().unwrap()]);
        assert!(tight, "{service}: {said}");
    }
    // And the check can fail.
    let open = tempfile::tempdir().unwrap();
    let unit = open.path().join("open.service");
    fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
    assert!(!analyze(&["security", "--offline=true", "--threshold=13", unit.to_str().unwrap()]).0);
}

#[test]
fn units_are_sound() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for unit in fs::read_dir(units()).unwrap().map(|entry| entry.unwrap().path()) {
        let kind = unit.extension().and_then(|kind| kind.to_str());
        if !matches!(kind, Some("service" | "socket" | "target")) {
            continue;
        }
        let mut text = fs::read_to_string(&unit).unwrap();
        for program in [Program::Storaged, Program::Gateway, Program::Federated, Program::Oblivious] {
            let installed = format!("ExecStart=/usr/bin/{}", program.name());
            text = text.replace(&installed, &format!("ExecStart={}", program.path().display()));
        }
        let copy = directory.path().join(unit.file_name().unwrap());
        fs::write(&copy, text).unwrap();
        files.push(copy.display().to_string());
    }
    assert_eq!(files.len(), 9, "{files:?}");
    let arguments: Vec<&str> =
        ["verify", "--man=false"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let (sound, said) = analyze(&arguments);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("relay")).collect();
    assert!(sound && ours.is_empty(), "{said}");
}

#[test]
fn sockets_directories_and_variables_name_the_same_places() {
    let read = |name: &str| fs::read_to_string(units().join(name)).unwrap();
    let listens = |unit: &str| -> Vec<String> {
        let text = read(unit);
        text.lines().filter_map(|line| line.strip_prefix("ListenStream=").map(str::to_owned)).collect()
    };
    let variables = read("relay.env");
    let value = |name: &str| {
        variables
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
            .unwrap()
    };
    assert_eq!(listens("relay-gateway.socket"), [value("RELAY_LISTEN_ADDR"), value("RELAY_METRICS_ADDR")]);
    let directories = read("relay.tmpfiles");
    for (socket, group) in
        [("gateway", "relay-gateway"), ("federation", "relay-federated"), ("admin", "relay-admin")]
    {
        let unit = format!("relay-storaged-{socket}.socket");
        assert_eq!(listens(&unit), [format!("/run/relay/{socket}/storage.sock")]);
        assert!(read(&unit).contains(&format!("SocketGroup={group}\n")));
        let made = directories.lines().find(|line| line.contains(&format!(" /run/relay/{socket} "))).unwrap();
        let made: Vec<&str> = made.split_whitespace().collect();
        assert_eq!(made[2..5], ["0750", "relay-storaged", group]);
        assert!(read("relay-storaged.service").contains(&unit));
    }
    for socket in ["peering", "federated"] {
        assert!(directories.contains(&format!(" /run/relay/{socket} ")));
        assert!(read("relay-federated.service").contains(&format!("/run/relay/{socket}")));
    }
}

#[test]
fn a_gateway_that_starts_does_not_stop_those_that_share_its_listener() {
    // The service manager resets the flag of a listener that it hands over, for whoever has it already as well; accepting
    // would then block whole processes.
    for service in ["relay-gateway", "relay-storaged"] {
        let text = fs::read_to_string(units().join(format!("{service}.service"))).unwrap();
        assert!(text.lines().any(|line| line == "NonBlocking=true"), "{service}");
    }
}

#[test]
fn no_process_is_given_up_and_none_loses_landlock_to_its_filter() {
    for (service, _) in SERVICES {
        let text = fs::read_to_string(units().join(format!("{service}.service"))).unwrap();
        for line in [
            "StartLimitIntervalSec=0",
            "SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp",
        ] {
            assert!(text.lines().any(|found| found == line), "{service} has no {line}");
        }
    }
}

#[test]
fn gateways_have_neither_the_database_nor_the_sockets_of_others() {
    let text = fs::read_to_string(units().join("relay-gateway.service")).unwrap();
    let hidden = text.lines().find_map(|line| line.strip_prefix("InaccessiblePaths=")).unwrap();
    for place in ["/var/lib/relay", "/run/relay/federation", "/run/relay/admin", "/run/relay/federated"] {
        assert!(hidden.split_whitespace().any(|path| path.trim_start_matches('-') == place), "{place}");
    }
}
