//! Whom a relay does not connect to, whoever tells it to: nothing leaves for an address that is not the Internet's,
//! however it is written. All of it happens in a network whose every address is the relay's own, so that what does
//! leave arrives at the relay itself, which says so.

use relay_tests::Cluster;
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::federation::peering;
use relay_tests::namespace::{self, Traffic};
use serde_json::Value;
use std::collections::BTreeSet;

/// Where the relay listens, in a network where nobody else does.
const PORT: u16 = 8082;

/// Names that only the relay's own hosts file knows. A name with one forbidden address is forbidden.
const HOSTS: &str = "
127.0.0.1 localhost
::1 localhost
10.0.0.7 neighbour.example
169.254.169.254 credentials.example
::ffff:127.0.0.1 mapped.example
1.1.1.1 mixed.example
10.0.0.7 mixed.example
2606:4700:4700::1111 turned.example
::1 turned.example
1.1.1.1 far.example
";

/// Forbidden, and within reach once they are allowed.
const FORBIDDEN: [&str; 80] = [
    // This host
    "127.0.0.1",
    "127.0.0.1.",
    "127.0.0.53",
    "127.1.1.1",
    "127.255.255.254",
    "0.0.0.1",
    "0.255.255.255",
    "[::1]",
    "[0::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0.0.0.1]",
    "localhost",
    "localhost.",
    "LOCALHOST",
    // Its neighbours
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    "[fc00::1]",
    "[fd00::1]",
    "[FD12:3456:789A::1]",
    "[fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]",
    "[fec0::1]",
    "[feff::1]",
    "neighbour.example",
    "neighbour.example.",
    "mixed.example",
    "turned.example",
    // Where clouds keep credentials
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "[fd00:ec2::254]",
    "credentials.example",
    // Many hosts, or none
    "192.0.0.8",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "[100::1]",
    "[200::1]",
    "[1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]",
    "[4000::1]",
    "[5f00::1]",
    "[8000::1]",
    "[2001:2::1]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[2001:db8::1]",
    "[2620:4f:8000::1]",
    "[3fff::1]",
    // IPv4 in the clothes of IPv6
    "[::ffff:127.0.0.1]",
    "[::FFFF:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::ffff:0:127.0.0.1]",
    "[::127.0.0.1]",
    "[::8.8.8.8]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::8.8.8.8]",
    "[64:ff9b:1::10.0.0.1]",
    "[2001:0:808:808:0:0:80ff:fffe]",
    "[2002:7f00:1::]",
    "[2002:808:808::1]",
    "mapped.example",
];

/// Forbidden, and where they are allowed it is the kernel's affair what comes of them: addresses of groups, of
/// nobody in particular, or of a link that is not named.
const FORBIDDEN_AND_NOBODYS: [&str; 14] = [
    "0.0.0.0",
    "127.0.0.0",
    "127.255.255.255",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "[::]",
    "[0:0:0:0:0:0:0:0]",
    "[::ffff:0.0.0.0]",
    "[fe80::1]",
    "[fe80::10.0.0.1]",
    "[febf::1]",
    "[ff02::1]",
    "[ff05::1:3]",
];

/// Spellings that some parser, somewhere, takes for an address. Here they are nobody's.
const ODD: [&str; 19] = [
    "127.1",
    "127.0.1",
    "127.1.",
    "2130706433",
    "0",
    "0x7f000001",
    "0X7F000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.01",
    "127.0.0.1.1",
    "127.0.0.256",
    "127.0.0.1..",
    ".localhost",
    "peer..example",
    "[127.0.0.1]",
    "[fe80::1%25lo]",
];

/// What is no peer's address at all.
const MALFORMED: [&str; 14] = [
    "127.0.0.1:8082",
    "http://127.0.0.1:8082",
    "ws://127.0.0.1:0",
    "ws://127.0.0.1:65536",
    "ws://me@127.0.0.1:8082",
    "ws://127.0.0.1:8082?x",
    "ws://[::1:8082",
    "ws://[::1].:8082",
    "ws://::1:8082",
    "ws://127.0.0.1:",
    "ws://127。0。0。1:8082",
    "ws://１２７.０.０.１:8082",
    "ws://local\\104ost:8082",
    "ws://",
];

fn urls(hosts: &[&str]) -> Vec<String> {
    hosts.iter().map(|host| format!("ws://{host}:{PORT}")).collect()
}

/// A store as usual, and a peer link in a network of its own that listens on all addresses, which are its own.
async fn alone(peers: &[String], allowed: &str) -> Cluster {
    let mut relay = peering(Cluster::builder()).federated().build();
    let directory = relay.directory().join("names");
    let link = relay.peer_link();
    link.launch = namespace::alone(link.launch.clone(), &directory, HOSTS);
    link.launch.set("RELAY_FEDERATION_PEERS", peers.join(","));
    link.launch.set("RELAY_FEDERATION_LISTEN_ADDR", format!("[::]:{PORT}"));
    link.launch.set("RELAY_FEDERATION_ALLOW_CIDRS", allowed);
    link.launch.set("RUST_LOG", "debug");
    if allowed.is_empty() {
        link.launch.unset("RELAY_FEDERATION_ALLOW_CIDRS");
    }
    relay.storaged.spawn();
    relay.storaged.ready().await;
    relay.peer_link().spawn();
    relay.peer_link().ready().await;
    relay
}

fn traffic(relay: &mut Cluster) -> Traffic {
    Traffic::of(relay.peer_link().pid())
}

/// Waits until each of so many peers was tried twice. What federated says at this level names them by their places.
async fn tried_twice(relay: &mut Cluster, peers: usize) {
    deadline::until("two attempts at every peer", PATIENCE, async || {
        let said = relay.peer_link().output();
        // What is wrong is the last word of a line: with it, the line is whole.
        let attempts = said.lines().filter(|line| line.contains("trouble="));
        let mut tried = vec![0; peers];
        for attempt in attempts {
            let (_, rest) = attempt.split_once("peer=").unwrap();
            let place: usize = rest.split(' ').next().and_then(|place| place.parse().ok()).unwrap();
            tried[place - 1] += 1;
        }
        tried.iter().all(|attempts| *attempts >= 2).then_some(())
    })
    .await;
}

/// The peers that turned out to be the relay itself, as it tells its operator now.
async fn reached(relay: &Cluster) -> BTreeSet<String> {
    let said = relay.command(&["peers", "--json"]).finish().await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let told: Value = serde_json::from_str(&said.stdout).unwrap();
    let rows = told["peers"].as_array().unwrap().iter();
    rows.filter(|row| row["trouble"] == "is this relay itself")
        .map(|row| row["url"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until all of some peers have been reached; answers everybody who was.
async fn all_reached(relay: &Cluster, wanted: &[String]) -> BTreeSet<String> {
    let mut ever = BTreeSet::new();
    let seen = deadline::within(PATIENCE, async || {
        ever.extend(reached(relay).await);
        wanted.iter().all(|url| ever.contains(url)).then_some(())
    })
    .await;
    let missing: Vec<_> = wanted.iter().filter(|url| !ever.contains(*url)).collect();
    assert!(seen.is_some(), "not reached: {missing:?}");
    ever
}

#[tokio::test]
async fn not_one_packet_leaves_for_a_forbidden_address_however_it_is_written() {
    if !namespace::is_here() {
        return;
    }
    let mut peers = urls(&FORBIDDEN);
    peers.extend(urls(&FORBIDDEN_AND_NOBODYS));
    peers.extend(urls(&ODD));
    peers.extend(FORBIDDEN.iter().map(|host| format!("wss://{host}:{PORT}/below")));
    peers.push("ws://127.0.0.1".to_owned());
    peers.push("wss://[::1]".to_owned());
    let mut relay = alone(&peers, "").await;
    tried_twice(&mut relay, peers.len()).await;
    assert_eq!(traffic(&mut relay), Traffic::default());
    let told = relay.command(&["peers", "--json"]).finish().await.stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    let rows = told["peers"].as_array().unwrap();
    assert_eq!(rows.len(), peers.len());
    // Forbidden, unknown and not there are one and the same to whoever wrote the name.
    assert!(rows.iter().all(|row| row["link"] == "down" && row["trouble"] == "cannot be reached"), "{told}");
}

#[tokio::test]
async fn the_same_addresses_are_reached_once_they_are_allowed() {
    if !namespace::is_here() {
        return;
    }
    let (forbidden, odd) = (urls(&FORBIDDEN), urls(&ODD));
    let mut relay = alone(&[forbidden.clone(), odd.clone()].concat(), "0.0.0.0/0,::/0").await;
    let ever = all_reached(&relay, &forbidden).await;
    assert!(odd.iter().all(|url| !ever.contains(url)), "an odd spelling was taken for an address");
    let seen = traffic(&mut relay);
    let peers = forbidden.len() as u64;
    assert!(seen.opened >= peers && seen.segments > seen.opened && seen.packets > seen.opened, "{seen:?}");
}

#[tokio::test]
async fn addresses_of_the_internet_need_no_leave() {
    if !namespace::is_here() {
        return;
    }
    let far = urls(&["1.1.1.1", "[2606:4700:4700::1111]", "[::ffff:8.8.8.8]", "far.example"]);
    let near = urls(&["10.0.0.1", "mixed.example"]);
    let mut relay = alone(&[far.clone(), near.clone()].concat(), "").await;
    let ever = all_reached(&relay, &far).await;
    tried_twice(&mut relay, far.len() + near.len()).await;
    assert!(near.iter().all(|url| !ever.contains(url)));
    assert!(traffic(&mut relay).opened >= far.len() as u64);
}

#[tokio::test]
async fn what_is_no_address_of_a_peer_stops_the_relay_at_its_start() {
    let mut relay = peering(Cluster::builder()).federated().build();
    for text in MALFORMED {
        let link = relay.peer_link();
        link.launch.set("RELAY_FEDERATION_PEERS", text);
        link.spawn();
        assert_eq!(link.exit_code().await, 78, "{text}");
        assert!(link.output().contains("RELAY_FEDERATION_PEERS"), "{text}");
    }
}
