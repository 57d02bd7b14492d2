//! Processes of the relay that were taken over: each can do what its role does, and nothing of what the others do. The
//! intruder is this test: it runs as the same user, as all processes of `relay up` do, and has the one secret that the
//! process could read.

use relay_tests::deadline::{self, PATIENCE};
use relay_tests::grpc::{Answer, Line, every_call};
use relay_tests::procfs;
use relay_tests::{Cluster, Supervised};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The sockets between the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Socket {
    Gateway,
    Federation,
    Admin,
    Recall,
}

use Socket::{Admin, Federation, Gateway, Recall};

impl Socket {
    const ALL: [Self; 4] = [Gateway, Federation, Admin, Recall];

    fn path(self, sockets: &Path) -> PathBuf {
        sockets.join(match self {
            Gateway => "gateway/storage.sock",
            Federation => "federation/storage.sock",
            Admin => "admin/storage.sock",
            Recall => "peering/recall.sock",
        })
    }
}

/// Where each call is served. A call that is not here has no verdict, and the test fails until it has one.
fn verdicts() -> BTreeMap<String, Vec<Socket>> {
    let mut verdicts = BTreeMap::new();
    let mut served = |service: &str, methods: &[&str], sockets: &[Socket]| {
        for method in methods {
            verdicts.insert(format!("/relay.storage.v1.{service}/{method}"), sockets.to_vec());
        }
    };
    served("Mailbox", &["Write", "Fetch", "Larger", "Register", "Purge", "Hints"], &[Gateway]);
    served("Recovery", &["Store", "Query"], &[Gateway]);
    served("Exchange", &["Offer", "Claim", "Complete"], &[Gateway]);
    served("Guardian", &["Store", "Query", "Delete"], &[Gateway]);
    served("Escrow", &["Put", "Get", "Count"], &[Gateway]);
    served("Keys", &["Current"], &[Gateway]);
    served("Admission", &["Watch"], &[Gateway]);
    served("Telemetry", &["Check", "Report", "Collect"], &[Gateway, Federation, Admin]);
    let own = ["Capacity", "Identity", "Resume", "Tell", "Pins", "Introduce", "Lease", "Settle", "Outbox"];
    served("Offload", &own, &[Federation]);
    let others = ["Delivered", "Missing", "Reconcile", "Accept", "Read", "Forget", "List"];
    served("Offload", &others, &[Federation]);
    served("Recalls", &["Bring"], &[Recall]);
    let asked = ["Status", "Keys", "Peers", "Backup", "Compact", "Usage", "Evict"];
    served("Admin", &asked, &[Admin]);
    served("Admin", &["ForgetPeer", "ReassignPeer", "Drain", "TrustClock"], &[Admin]);
    verdicts
}

async fn supervised() -> Supervised {
    Supervised::build()
        .variable("RELAY_FEDERATION_ENABLED", "true")
        .variable("RELAY_FEDERATION_PEERS", "ws://127.0.0.1:9")
        .start()
        .await
}

/// Waits until federated serves gateways, which nobody waits for otherwise.
async fn recalls_are_served(sockets: &Path) {
    deadline::until("federated's socket", PATIENCE, async || {
        let socket = Recall.path(sockets);
        let line = Line::open(&socket).await?.showing_that_of(&socket);
        (line.call("/relay.storage.v1.Recalls/Bring", b"").await == Answer::Ok).then_some(())
    })
    .await;
}

#[test]
fn every_call_has_a_verdict() {
    let known: Vec<String> = verdicts().into_keys().collect();
    assert_eq!(every_call(), known, "say in this file who may make a call");
}

#[tokio::test]
async fn whoever_was_taken_over_can_do_what_its_role_does_and_nothing_else() {
    let relay = supervised().await;
    let sockets = relay.data().join("run");
    recalls_are_served(&sockets).await;
    // A gateway can read two secrets, federated one, and the operator's command its own.
    for (intruder, secrets) in [("a gateway", &[Gateway, Recall][..]), ("federated", &[Federation])] {
        for socket in Socket::ALL {
            for secret in secrets {
                let path = socket.path(&sockets);
                let line = Line::open(&path).await.unwrap().showing_that_of(&secret.path(&sockets));
                for (call, served) in verdicts() {
                    let answer = line.call(&call, b"").await;
                    let what =
                        format!("{intruder} at {socket:?} with the secret of {secret:?}: {call}: {answer:?}");
                    if socket != *secret {
                        assert_eq!(answer, Answer::Forbidden, "{what}");
                    } else if served.contains(&socket) {
                        assert!(
                            !matches!(answer, Answer::Forbidden | Answer::Unknown | Answer::Cut),
                            "{what}"
                        );
                    } else {
                        assert_eq!(answer, Answer::Unknown, "{what}");
                    }
                }
            }
        }
    }
    for socket in Socket::ALL {
        let line = Line::open(&socket.path(&sockets)).await.unwrap();
        for call in verdicts().keys() {
            assert_eq!(line.call(call, b"").await, Answer::Forbidden, "{socket:?} without a secret: {call}");
        }
    }
    let mut status = relay.command(&["status", "--json"]).start();
    assert_eq!(status.exit_code().await, 0, "the operator's command shows its secret");
}

#[tokio::test]
async fn each_start_has_new_secrets_and_no_client_notices() {
    let mut relay = Cluster::builder().variable("RELAY_REQUIRE_SOCKET_SECRETS", "true").start().await;
    let sockets = relay.sockets();
    let read = || fs::read_to_string(sockets.join("gateway/secret")).unwrap();
    let client = relay.client();
    let mailbox = relay_tests::fields::random_mailbox();
    let mut before = read();
    for number in 1..=3 {
        relay.storaged.restart().await;
        assert_ne!(read(), before);
        before = read();
        client.send(&mailbox, format!("after {number}").as_bytes()).await.blob_id();
    }
    assert_eq!(client.fetch(&[&mailbox]).await.page().blobs.len(), 3);
    let said = relay.storaged.output() + &relay.gateways[0].output();
    assert!(!said.contains(&before), "a secret is in the log");
}

/// Processes as services, each with a user of its own: during an upgrade, older ones show nothing.
#[tokio::test]
async fn an_older_process_may_call_without_a_secret_but_not_as_the_operator() {
    let relay = Cluster::simple().await;
    let sockets = relay.sockets();
    for (socket, call, expected) in [
        (Gateway, "/relay.storage.v1.Keys/Current", Answer::Ok),
        (Federation, "/relay.storage.v1.Offload/Capacity", Answer::Ok),
        (Admin, "/relay.storage.v1.Admin/Status", Answer::Forbidden),
    ] {
        let line = Line::open(&socket.path(&sockets)).await.unwrap();
        assert_eq!(line.call(call, b"").await, expected, "{socket:?}");
        let other = if socket == Admin { Gateway } else { Admin };
        let wrong = line.showing_that_of(&other.path(&sockets));
        assert_eq!(wrong.call(call, b"").await, Answer::Forbidden, "{socket:?}");
    }
}

/// A field with bytes in it: number, length, bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}

/// That many empty elements of a list.
fn empties(number: u8, many: usize) -> Vec<u8> {
    [number << 3 | 2, 0].repeat(many)
}

/// What a gateway says of itself and of one metric, as a process of a role.
fn snapshot(role: u8, families: &[u8]) -> Vec<u8> {
    let process = [&[1 << 3, role, 2 << 3, 1][..], &field(3, b"1.0")].concat();
    [field(1, &process), families.to_vec()].concat()
}

/// A metric with one value.
fn metric(name: &str, kind: u8, value: f64) -> Vec<u8> {
    let sample = [&[2 << 3 | 1][..], &value.to_le_bytes()].concat();
    field(2, &[field(1, name.as_bytes()), vec![3 << 3, kind], field(4, &sample)].concat())
}

const REPORT: &str = "/relay.storage.v1.Telemetry/Report";
const COUNTER: u8 = 1;
const GAUGE: u8 = 2;
const GATEWAY_ROLE: u8 = 2;
const STORAGED_ROLE: u8 = 1;

#[tokio::test]
async fn a_gateway_that_was_taken_over_takes_little_of_storages_memory() {
    let relay = Cluster::simple().await;
    let (sockets, storaged) = (relay.sockets(), relay.storaged.pid());
    let socket = Gateway.path(&sockets);
    let peak = |what: &str| {
        let peak = procfs::peak_bytes(storaged).unwrap() >> 20;
        eprintln!("{what}: {peak} MiB");
        assert!(peak <= 128, "{what}: {peak} MiB");
    };
    peak("at first");

    let line = Line::open(&socket).await.unwrap();
    let write = line.call("/relay.storage.v1.Mailbox/Write", &empties(1, 10_000_000)).await;
    assert!(matches!(write, Answer::Refused(_)), "{write:?}");
    peak("10 million empty commands");

    let families = [empties(2, 200), field(2, &empties(4, 1_800_000))].concat();
    for _ in 0..12 {
        drop(line.begin(REPORT, &snapshot(GATEWAY_ROLE, &families)).await);
    }
    peak("counters of 4 MB");

    let mut lines = Vec::new();
    for _ in 0..400 {
        lines.extend(Line::open(&socket).await);
    }
    let mut watches = Vec::new();
    for line in lines.iter().cycle().take(4_000) {
        watches.extend(line.watch("/relay.storage.v1.Admission/Watch").await);
    }
    peak("400 connections and 4,000 streams");
    drop((watches, lines));

    // Many large requests that never come whole. The connections before have to be gone first.
    let line = deadline::until("a free place", PATIENCE, async || {
        let line = Line::open(&socket).await?;
        (line.call("/relay.storage.v1.Keys/Current", b"").await == Answer::Ok).then_some(line)
    })
    .await;
    let part = field(1, &field(2, &vec![7; 8 << 20]));
    let mut begun = Vec::new();
    for _ in 0..64 {
        let (line, part) = (line.clone(), part.clone());
        begun.push(tokio::spawn(async move { line.begin("/relay.storage.v1.Mailbox/Write", &part).await }));
    }
    deadline::until("an answer to somebody else", PATIENCE, async || {
        let line = Line::open(&socket).await?;
        (line.call("/relay.storage.v1.Keys/Current", b"").await == Answer::Ok).then_some(())
    })
    .await;
    // They are told so after ten seconds.
    for begun in begun {
        drop(begun.await);
    }
    peak("64 requests of 8 MiB");
    let mailbox = relay_tests::fields::random_mailbox();
    relay.client().send(&mailbox, b"honest").await.blob_id();
}

#[tokio::test]
async fn a_gateway_that_was_taken_over_says_what_gateways_count_and_nothing_else() {
    let relay = Cluster::simple().await;
    let line = Line::open(&Gateway.path(&relay.sockets())).await.unwrap();
    let forged = [
        metric("relay_storage_full", GAUGE, -1.0),
        metric("relay_blobs_created_total", COUNTER, 1e6),
        metric("made_up_total", COUNTER, 1e6),
        metric("relay_messages_received_total", GAUGE, -1e6),
        metric("relay_connections_refused_total", COUNTER, 7.0),
    ];
    let begun = tokio::spawn({
        let (line, message) = (line.clone(), snapshot(GATEWAY_ROLE, &forged.concat()));
        async move { line.begin(REPORT, &message).await }
    });
    // What is its own to say arrives, and so does nothing else.
    deadline::until("its own counter", PATIENCE, async || {
        let metrics = relay.gateways[0].ops.metrics().await;
        (metrics.sum("relay_connections_refused_total") == 7.0).then_some(())
    })
    .await;
    let metrics = relay.gateways[0].ops.metrics().await;
    assert_eq!(metrics.sum("relay_storage_full"), 0.0);
    assert_eq!(metrics.sum("relay_blobs_created_total"), 0.0);
    assert_eq!(metrics.sum("made_up_total"), 0.0);
    begun.abort();

    // It is no other process, and counts no numbers that are none.
    for message in [
        snapshot(STORAGED_ROLE, b""),
        snapshot(GATEWAY_ROLE, &metric("relay_messages_received_total", COUNTER, f64::NAN)),
        snapshot(GATEWAY_ROLE, &metric("relay_messages_received_total", COUNTER, -1.0)),
    ] {
        assert!(matches!(line.call(REPORT, &message).await, Answer::Refused(_)));
    }
    let mut status = relay.command(&["status", "--json"]).start();
    assert_eq!(status.exit_code().await, 0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout()).unwrap();
    let processes = status["processes"].as_array().unwrap();
    assert_eq!(processes.iter().filter(|process| process["role"] == "storaged").count(), 1, "{status}");
}

#[tokio::test]
async fn no_process_keeps_capabilities_or_makes_calls_that_it_has_no_use_for() {
    let mut relay = supervised().await;
    let supervisor = relay.process().pid();
    let processes = procfs::descendants(supervisor);
    assert!(processes.len() >= 3, "{processes:?}");
    for pid in processes {
        let said = |field: &str| procfs::status(pid, field).unwrap();
        let who = said("Name");
        assert_eq!(said("Seccomp"), "2", "{who}");
        assert_eq!(said("NoNewPrivs"), "1", "{who}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&said(set), 16).unwrap(), 0, "{set} of {who}");
        }
    }
}
