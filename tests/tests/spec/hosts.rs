//! The relay under a service manager: sockets that outlive processes, word of how it goes, and nothing kept that a process
//! does not need.

use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::random_mailbox;
use relay_tests::{Client, Cluster, Via};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;
use tokio::net::UnixDatagram;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_connects_while_the_gateway_is_replaced_waits_and_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut relay = Cluster::builder().build();
    let launch = relay.gateways[0].launch.clone();
    relay.gateways[0].launch = launch.variable("RELAY_LISTEN_ADDR", address).handing(listener);
    relay.start().await;
    let mailbox = random_mailbox();
    Client::new(address, Via::Plain).send(&mailbox, b"before").await.blob_id();
    for end in ["asked to stop", "killed"] {
        if end == "killed" {
            relay.gateways[0].kill();
        } else {
            assert_eq!(relay.gateways[0].terminate().await, 0);
        }
        let waiting: Vec<_> = (0..50)
            .map(|number| {
                let (client, mailbox) = (Client::new(address, Via::Plain), mailbox.clone());
                tokio::spawn(async move {
                    client.send(&mailbox, format!("{end} {number}").as_bytes()).await.blob_id()
                })
            })
            .collect();
        relay.gateways[0].spawn();
        for sent in waiting {
            sent.await.unwrap();
        }
    }
    let found = Client::new(address, Via::Plain).fetch(&[&mailbox]).await.page();
    assert_eq!(found.blobs.len(), 101);
}

#[tokio::test]
async fn storage_listens_on_a_socket_that_was_there_before_it() {
    let mut relay = Cluster::builder().build();
    let path = relay.sockets().join("gateway/storage.sock");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    let launch = relay.storaged.launch.clone();
    relay.storaged.launch = launch.handing(listener);
    relay.start().await;
    let before = std::fs::metadata(&path).unwrap();
    let client = relay.client();
    let mailbox = random_mailbox();
    client.send(&mailbox, b"through it").await.blob_id();
    relay.storaged.restart().await;
    assert_eq!(client.fetch(&[&mailbox]).await.page().blobs.len(), 1);
    let after = std::fs::metadata(&path).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap(), "the same socket");
}

#[tokio::test]
async fn a_listener_that_nobody_wants_stops_the_process_and_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut relay = Cluster::builder().build();
    for service in relay.services() {
        let launch = service.launch.clone();
        service.launch = launch.handing(listener.try_clone().unwrap());
        service.spawn();
        assert_eq!(service.exit_code().await, 78);
        assert!(service.output().contains(&address), "{}", service.output());
    }
}

#[tokio::test]
async fn the_service_manager_hears_of_the_start_of_life_and_of_the_end() {
    let mut relay = Cluster::builder().federated().build();
    let path = relay.directory().join("notify.sock");
    for service in relay.services() {
        let socket = UnixDatagram::bind(&path).unwrap();
        service.launch.set("NOTIFY_SOCKET", path.display());
        service.launch.set("WATCHDOG_USEC", 300_000);
        service.spawn();
        assert_eq!(heard(&socket).await, "READY=1");
        for _ in 0..3 {
            assert_eq!(heard(&socket).await, "WATCHDOG=1");
        }
        service.signal(nix::sys::signal::Signal::SIGTERM);
        let last = loop {
            let word = heard(&socket).await;
            if word != "WATCHDOG=1" {
                break word;
            }
        };
        assert_eq!(last, "STOPPING=1");
        assert_eq!(service.exit_code().await, 0);
        std::fs::remove_file(&path).unwrap();
    }
}

async fn heard(socket: &UnixDatagram) -> String {
    let mut word = [0; 256];
    let length = deadline::soon("a word to the service manager", socket.recv(&mut word)).await.unwrap();
    String::from_utf8(word[..length].to_vec()).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_process_that_does_not_get_on_is_silent() {
    let mut relay = Cluster::builder().build();
    let path = relay.directory().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    relay.storaged.launch.set("NOTIFY_SOCKET", path.display());
    relay.storaged.launch.set("WATCHDOG_USEC", 300_000);
    relay.storaged.spawn();
    assert_eq!(heard(&socket).await, "READY=1");
    relay.storaged.signal(nix::sys::signal::Signal::SIGSTOP);
    // What it said before is still on its way; then there is silence for as long as the manager would wait.
    let silence = deadline::within(PATIENCE, async || {
        let mut word = [0; 256];
        tokio::time::timeout(Duration::from_millis(600), socket.recv(&mut word)).await.is_err().then_some(())
    })
    .await;
    assert!(silence.is_some());
    relay.storaged.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(heard(&socket).await, "WATCHDOG=1");
}

#[tokio::test]
async fn every_process_has_given_up_what_it_does_not_need() {
    let mut relay = Cluster::builder().federated().start().await;
    for service in relay.services() {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", service.pid())).unwrap();
        assert!(read("status").lines().any(|line| line == "NoNewPrivs:\t1"));
        let limits = read("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
        assert!(service.output().contains("confined"), "{}", service.output());
    }
}
