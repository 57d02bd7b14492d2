//! The examples for proxies in front, with the real programs: a relay behind them keeps its promises, clients cannot say
//! who they are, and nobody notices that the gateway is replaced.

use crate::doctor::{doctor_at, finds_nothing};
use relay_tests::binaries::{self, Program};
use relay_tests::deadline::{self, PATIENCE};
use relay_tests::fields::{mailbox_fields, random_bytes, random_mailbox};
use relay_tests::frames;
use relay_tests::hostile::Hostile;
use relay_tests::ledger::{self, Load};
use relay_tests::ports::HeldPort;
use relay_tests::tls_front::write_certificate;
use relay_tests::trust::Trust;
use relay_tests::wire::post_head;
use relay_tests::{Client, Cluster, Launch, Process, Via, procfs};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A proxy in front of a relay's one gateway, whose port outlives it.
struct Fronted {
    proxy: Process,
    relay: Cluster,
    port: HeldPort,
    certificate: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum Make {
    Nginx,
    Caddy,
}

const MAKES: [Make; 2] = [Make::Nginx, Make::Caddy];

impl Make {
    /// How many connections carry as many requests at once: over HTTP/1.1, which is all that Caddy takes here, each has one.
    const fn connections(self, http2: usize, requests: usize) -> usize {
        match self {
            Self::Nginx => http2,
            Self::Caddy => http2 * requests,
        }
    }
}

impl Fronted {
    async fn start(make: Make, limit: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let port = HeldPort::draw();
        let mut relay = Cluster::builder()
            .variable("RELAY_TRUSTED_PROXIES", "127.0.0.1,::1")
            .variable("RELAY_PUBLIC_URL", format!("https://localhost:{}", port.address().port()))
            .variable("RELAY_ADDR_RATE_LIMIT", limit)
            .variable("RELAY_MAX_BLOBS_PER_USER", 100_000)
            .build();
        let launch = relay.gateways[0].launch.clone();
        relay.gateways[0].launch = launch.variable("RELAY_LISTEN_ADDR", target).handing(listener);
        relay.start().await;
        let (certificate, key) = write_certificate(relay.directory());
        let paths = [certificate.display().to_string(), key.display().to_string()];
        let proxy = match make {
            Make::Nginx => nginx(&relay, target, port.address(), &paths),
            Make::Caddy => caddy(relay.directory(), target, port.address(), &paths),
        };
        let fronted = Self { proxy, relay, port, certificate };
        deadline::until("a proxy", PATIENCE, async || {
            let reply = fronted.client(Via::Plain).attempt("GET", "/health", &[], "").await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        fronted
    }

    fn client(&self, via: Via) -> Client {
        Client::new(self.port.address(), via).over_tls(Trust::in_authority(&self.certificate))
    }
}

fn example(name: &str) -> String {
    fs::read_to_string(binaries::workspace().join("deploy/proxy").join(name)).unwrap()
}

fn replaced(text: &str, what: &str, with: &str) -> String {
    assert!(text.contains(what), "the example has no {what}");
    text.replace(what, with)
}

fn nginx(relay: &Cluster, target: SocketAddr, port: SocketAddr, [certificate, key]: &[String; 2]) -> Process {
    let home = relay.directory().join("nginx");
    fs::create_dir_all(&home).unwrap();
    let mut site = example("nginx.conf");
    for (what, with) in [
        ("listen 443 ssl http2;", format!("listen {port} ssl http2;")),
        ("    listen [::]:443 ssl http2;\n", String::new()),
        ("server_name relay.example;", "server_name localhost;".to_owned()),
        ("/etc/ssl/relay/fullchain.pem", certificate.clone()),
        ("/etc/ssl/relay/privkey.pem", key.clone()),
        ("/var/log/nginx/relay-error.log", home.join("error.log").display().to_string()),
        ("127.0.0.1:8080", target.to_string()),
    ] {
        site = replaced(&site, what, &with);
    }
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", home.display()))
        .collect();
    let whole = format!(
        "daemon off;\npid {}/nginx.pid;\nerror_log {}/start.log;\nevents {{}}\nhttp {{\n{temporary}{site}}}\n",
        home.display(),
        home.display()
    );
    let path = home.join("nginx.conf");
    fs::write(&path, whole).unwrap();
    let launch = Launch::new(Program::Gateway, relay.directory()).named("nginx");
    launch
        .only_arguments(&[])
        .other_program("/usr/sbin/nginx")
        .arguments(&["-c", path.to_str().unwrap()])
        .start()
}

/// Starts Caddy with the shipped example, in a directory of its own, in front of a gateway.
pub(crate) fn caddy(
    directory: &Path,
    target: SocketAddr,
    port: SocketAddr,
    [certificate, key]: &[String; 2],
) -> Process {
    let mut site = example("Caddyfile");
    for (what, with) in [
        ("{\n\tservers {", "{\n\tadmin off\n\tauto_https off\n\tservers {".to_owned()),
        (
            "relay.example {",
            format!("localhost:{} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}", port.port()),
        ),
        ("127.0.0.1:8080", target.to_string()),
    ] {
        site = replaced(&site, what, &with);
    }
    let path = directory.join("Caddyfile");
    fs::write(&path, site).unwrap();
    Launch::new(Program::Gateway, directory)
        .named("caddy")
        .variable("HOME", directory.display())
        .other_program("/usr/bin/caddy")
        .arguments(&["run", "--adapter", "caddyfile", "--config", path.to_str().unwrap()])
        .start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_behind_a_proxy_passes_its_selftest() {
    for make in MAKES {
        let fronted = Fronted::start(make, 1_000_000).await;
        let url = format!("https://localhost:{}", fronted.port.address().port());
        for via in ["plain", "ohttp"] {
            let selftest = Launch::new(Program::Relay, fronted.relay.directory())
                .variable("SSL_CERT_FILE", fronted.certificate.display())
                .arguments(&["selftest", &url, "--via", via])
                .finish()
                .await;
            assert_eq!(selftest.code, Some(0), "{make:?}: {}{}", selftest.stdout, selftest.stderr);
        }
        finds_nothing(&doctor_at(&url, Some(&fronted.certificate), &fronted.relay)).await;
        let peers = fronted.client(Via::Plain).raw("GET", "/federation", &[], "").await;
        assert_eq!(peers.status, 404, "{make:?}: the gateway answers, and this relay does not peer");
    }
}

#[tokio::test]
async fn a_client_behind_a_proxy_cannot_say_who_it_is() {
    for make in MAKES {
        let fronted = Fronted::start(make, 5).await;
        let client = fronted.client(Via::Plain);
        let mut refused = 0;
        for number in 0..20 {
            let claimed = format!("198.51.100.{number}");
            let headers = [("x-forwarded-for", claimed.as_str()), ("content-type", "application/json")];
            let body = serde_json::json!({ "mailbox_tokens": [random_mailbox()] }).to_string();
            let reply = client.raw("POST", "/v2/fetch", &headers, body).await;
            refused += usize::from(reply.status == 429);
        }
        assert!(refused >= 10, "{make:?}: {refused} of 20 were refused, and 5 a minute are allowed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_a_proxy_do_not_notice_that_the_gateway_is_replaced() {
    for make in MAKES {
        let mut fronted = Fronted::start(make, 1_000_000).await;
        let ways = [Via::Plain, Via::Plain, Via::Plain, Via::Envelope];
        let clients = ways.into_iter().map(|via| fronted.client(via)).collect();
        let load = Load::paced(clients, Duration::from_millis(20));
        load.more(100).await;
        for _ in 0..3 {
            assert_eq!(fronted.relay.gateways[0].terminate().await, 0);
            fronted.relay.gateways[0].spawn();
            fronted.relay.gateways[0].ready().await;
            load.more(100).await;
        }
        ledger::verify(&fronted.client(Via::Plain), &load.stop().await).await;
    }
}

/// The last part of the hostile client's address.
const HOSTILE: u8 = 66;

/// What the container of the TLS front may use of memory is 256 MiB.
const MOST_MEMORY: u64 = 128 << 20;

/// What a program and its workers hold of memory.
fn resident(process: &Process) -> u64 {
    let workers = procfs::descendants(process.pid());
    process.resident_bytes() + workers.into_iter().filter_map(procfs::resident_bytes).sum::<u64>()
}

/// Every request of an honest client is served.
async fn serves(fronted: &Fronted, requests: usize) {
    let client = fronted.client(Via::Plain);
    for _ in 0..requests {
        let mailbox = random_mailbox();
        client.send(&mailbox, b"honest").await.blob_id();
        assert_eq!(client.fetch(&[&mailbox]).await.page().blobs.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_a_client_of_the_proxy_does_not_take_fill_neither_proxy_nor_gateway() {
    for make in MAKES {
        let fronted = Fronted::start(make, 1_000_000).await;
        let mailbox = random_mailbox();
        fronted.client(Via::Plain).send(&mailbox, &random_bytes(1 << 20)).await.blob_id();
        let fetch = mailbox_fields(&[&mailbox]).to_string();
        let trust = Trust::preferring_http2(&fronted.certificate);
        let mut stalled = Vec::new();
        for _ in 0..make.connections(20, 10) {
            let mut hostile = Hostile::over_tls(HOSTILE, fronted.port.address(), &trust, 0).await;
            let requests: Vec<u8> =
                (0..10).flat_map(|index| hostile.post(index, "/v2/fetch", &fetch)).collect();
            hostile.say(requests).await;
            stalled.push(hostile);
        }
        // Storage reads two hundred mebibytes first.
        deadline::until("an end of the reading", PATIENCE, async || {
            let reply =
                fronted.client(Via::Plain).attempt("POST", "/v2/fetch", &[], fetch.clone()).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        serves(&fronted, 30).await;
        let proxy = resident(&fronted.proxy);
        assert!(proxy < MOST_MEMORY, "{make:?} holds {} MiB", proxy >> 20);
        let gateway = fronted.relay.gateways[0].process().resident_bytes();
        assert!(gateway < MOST_MEMORY / 2, "{make:?}: the gateway holds {} MiB", gateway >> 20);
        drop(stalled);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_the_proxy_that_breaks_off_its_requests_breaks_nobody_elses() {
    for make in MAKES {
        let fronted = Fronted::start(make, 1_000_000).await;
        let trust = Trust::preferring_http2(&fronted.certificate);
        let address = fronted.port.address();
        let attack = tokio::spawn(async move {
            for round in 0_u32.. {
                let mut hostile = Hostile::over_tls(HOSTILE, address, &trust, 0).await;
                if !hostile.is_http2() {
                    let path = if round.is_multiple_of(2) { "/v2/nothing" } else { "/v2/send" };
                    hostile.say(post_head(path, 100_000, "")).await;
                    hostile.say([b' '; 8 << 10]).await;
                    continue;
                }
                for index in 0..100 {
                    let stream = frames::stream(index);
                    let path = if index % 2 == 0 { "/v2/nothing" } else { "/v2/send" };
                    hostile.say(frames::head(stream, "POST", path, &[], false)).await;
                    hostile.say(frames::data(stream, &[b' '; 8 << 10], false)).await;
                    if index % 4 < 2 {
                        hostile.say(frames::reset(stream)).await;
                    }
                }
            }
        });
        serves(&fronted, 100).await;
        attack.abort();
    }
}
