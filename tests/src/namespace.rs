//! A network of a process's own, in which every address there is leads back to the process itself: whatever it
//! connects to, it reaches, and none of it leaves the machine. The kernel counts what is sent there, and the test
//! reads that through `/proc`. The namespace ends with the process.

use crate::process::Launch;
use std::fs;
use std::path::Path;
use std::process::Command;

/// All of IPv4 and of IPv6 is local.
const NETWORK: &str =
    "ip link set lo up && ip route add local 0.0.0.0/0 dev lo && ip -6 route add local ::/0 dev lo";

/// The process sees a hosts file and name servers of its own.
const NAMES: &str =
    "mount --bind \"$0/hosts\" /etc/hosts && mount --bind \"$0/resolv.conf\" /etc/resolv.conf";

/// Whether this machine can make one. Where it cannot, a test says so and proves nothing; under continuous
/// integration that is a failure.
///
/// # Panics
/// When `CI` is set and such networks cannot be made.
pub fn is_here() -> bool {
    let made = Command::new("unshare")
        .args(["-rnm", "--", "sh", "-c", NETWORK])
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(
        made || std::env::var_os("CI").is_none(),
        "network tests need unshare, user namespaces, ip (iproute2) and IPv6"
    );
    if !made {
        eprintln!("SKIPPED: network tests need unshare, user namespaces, ip (iproute2) and IPv6");
    }
    made
}

/// The same program in a network of its own. It knows the names of `hosts`, which is written as `/etc/hosts` is,
/// and no name server. Its Unix sockets are where they were.
///
/// # Panics
/// When the files of names cannot be written into the directory.
#[must_use]
pub fn alone(launch: Launch, directory: &Path, hosts: &str) -> Launch {
    fs::create_dir_all(directory).expect("a directory for names");
    fs::write(directory.join("hosts"), hosts).expect("a hosts file");
    fs::write(directory.join("resolv.conf"), "").expect("a list of name servers");
    let script = format!("{NETWORK} && {NAMES} && exec \"$@\"");
    launch.wrapped("unshare", &["-rnm", "--", "sh", "-c", &script, &directory.display().to_string()])
}

/// What was sent in a network since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// TCP connections that were begun: each is a SYN.
    pub opened: u64,
    /// TCP segments.
    pub segments: u64,
    /// Packets of any kind, on any interface.
    pub packets: u64,
}

impl Traffic {
    /// That of a process's network.
    ///
    /// # Panics
    /// When the kernel does not tell.
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{pid}/net/{name}"))
                .expect("what the kernel counts in a network")
        };
        let tcp = read("snmp");
        Self {
            opened: tcp_counter(&tcp, "ActiveOpens"),
            segments: tcp_counter(&tcp, "OutSegs"),
            packets: sent_packets(&read("dev")),
        }
    }
}

/// A counter of `/proc/net/snmp`, where a line of names comes before a line of numbers.
fn tcp_counter(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let place = names.split(' ').position(|found| found == name).expect("a counter of TCP");
    numbers.split(' ').nth(place).and_then(|number| number.parse().ok()).expect("a number")
}

/// Packets that all interfaces of `/proc/net/dev` sent.
fn sent_packets(text: &str) -> u64 {
    let interfaces = text.lines().filter_map(|line| line.split_once(':'));
    interfaces
        .map(|(_, numbers)| {
            let number = numbers.split_whitespace().nth(9).and_then(|number| number.parse::<u64>().ok());
            number.expect("packets sent by an interface")
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_where_the_kernel_writes_them() {
        let tcp = "Ip: Forwarding\nIp: 2\nTcp: RtoMin MaxConn ActiveOpens OutSegs\nTcp: 200 -1 3 17\nUdp: A\nUdp: 1\n";
        assert_eq!((tcp_counter(tcp, "ActiveOpens"), tcp_counter(tcp, "OutSegs")), (3, 17));
        let interfaces = concat!(
            "Inter-|   Receive                           |  Transmit\n",
            " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop\n",
            "    lo:   1  2 3 4 5 6 7 8 9 10 11 12 0 0 0 0\n  dummy:0 0 0 0 0 0 0 0 0 7 0 0 0 0 0 0\n",
        );
        assert_eq!(sent_packets(interfaces), 17);
    }
}
