//! What each running process may do, as the kernel sees it: what was asked of the engine is worth what it made of it.

use relay_tests::compose::{Compose, docker};
use std::fs;
use std::process::Command;

/// A service, its user, and the only places that it can write to.
const SERVICES: [(&str, u32, &[&str]); 4] = [
    (
        "storaged",
        10001,
        &["/run/relay/admin", "/run/relay/federation", "/run/relay/gateway", "/var/lib/relay"],
    ),
    ("gateway", 10002, &[]),
    ("federated", 10003, &["/run/relay/federated", "/run/relay/peering"]),
    ("front", 10005, &["/data"]),
];

/// The container's main process.
fn process(relay: &Compose, service: &str) -> String {
    docker(&["inspect", "-f", "{{.State.Pid}}", &relay.containers(service)[0]])
}

/// The value of a field in a process's status.
fn status(pid: &str, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    value.trim().to_owned()
}

/// Where something is mounted that can be written to, with the options it is mounted with. What the engine makes for
/// every process, below `/dev`, `/proc` and `/sys`, takes no file from anybody but root.
fn writable(pid: &str) -> Vec<(String, String)> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let mut found: Vec<_> = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(4);
            let (place, options) = (words.next()?, words.next()?);
            let is_kernels = ["/dev", "/proc", "/sys"].iter().any(|top| place.starts_with(top));
            let is_writable = options.split(',').any(|option| option == "rw");
            (is_writable && !is_kernels).then(|| (place.to_owned(), options.to_owned()))
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
#[ignore = "wants Docker; .ci/run runs it"]
async fn a_process_has_no_capability_and_writes_nowhere_but_where_it_must() {
    let relay = Compose::lay_out(7)
        .variable("COMPOSE_PROFILES", "federation")
        .variable("RELAY_FEDERATION_ENABLED", "true")
        .variable("RELAY_FEDERATION_PEERS", "wss://relay.invalid");
    relay.up("--wait").await;
    for (service, user, places) in SERVICES {
        let pid = process(&relay, service);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(&pid, set), "0000000000000000", "{service}: {set}");
        }
        assert_eq!(status(&pid, "NoNewPrivs"), "1", "{service}");
        assert_eq!(status(&pid, "Seccomp"), "2", "{service}");
        let users = status(&pid, "Uid");
        assert!(users.split_whitespace().all(|found| found == user.to_string()), "{service}: {users}");
        let writable = writable(&pid);
        let found: Vec<&str> = writable.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(found, places, "{service}");
        for (place, options) in writable.iter().filter(|(place, _)| place.starts_with("/run/")) {
            for option in ["noexec", "nosuid", "nodev"] {
                assert!(options.split(',').any(|found| found == option), "{service}: {place}: {options}");
            }
        }
        assert!(!fs::exists(format!("/proc/{pid}/root/dev/shm")).unwrap(), "{service}: shared memory");
    }
    let interfaces = |service: &str| {
        let table = fs::read_to_string(format!("/proc/{}/net/dev", process(&relay, service))).unwrap();
        table
            .lines()
            .skip(2)
            .map(|line| line.split(':').next().unwrap().trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(interfaces("storaged"), ["lo"]);
    let address = |network: &str| {
        let format =
            format!("{{{{(index .NetworkSettings.Networks \"{}_{network}\").IPAddress}}}}", relay.name());
        docker(&["inspect", "-f", &format, &relay.containers("front")[0]])
    };
    let reaches = |service: &str, host: &str| {
        let connect = format!("exec 3<>/dev/tcp/{host}/8443");
        let mut command = Command::new("nsenter");
        command.args(["-t", &process(&relay, service), "-n", "timeout", "2", "bash", "-c", &connect]);
        command.output().unwrap().status.success()
    };
    assert!(reaches("gateway", &address("inside")) && reaches("federated", &address("outside")));
    assert!(!reaches("gateway", &address("outside")), "a gateway can reach nobody but the front");
}
