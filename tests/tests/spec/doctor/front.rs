//! What clients meet: a front, its certificate, and whether the relay knows its clients apart.

use super::{comes_to_find, doctor, doctor_at, finds, finds_nothing};
use relay_tests::fields::random_mailbox;
use relay_tests::front::{Front, Habits};
use relay_tests::ports::HeldPort;
use relay_tests::tls_front::TlsFront;
use relay_tests::{Cluster, Via};
use serde_json::json;
use std::net::SocketAddr;

const NAMING: Habits = Habits { names_clients: true, date: None, answer: None, spoils_records: false };

/// A relay that trusts a front, and a front with some habits, in TLS.
struct Fronted {
    relay: Cluster,
    _front: Front,
    tls: TlsFront,
}

impl Fronted {
    async fn start(trusted: &str, habits: Habits) -> Self {
        let relay = Cluster::builder().variable("RELAY_TRUSTED_PROXIES", trusted).start().await;
        let front = Front::start(relay.address(), habits).await;
        let tls = TlsFront::start(front.address(), relay.directory()).await;
        Self { relay, _front: front, tls }
    }

    fn doctor(&self) -> relay_tests::Launch {
        doctor_at(&self.tls.url(), Some(self.tls.certificate()), &self.relay)
    }
}

#[tokio::test]
async fn nothing_is_wrong_behind_a_front_that_names_its_clients_and_is_trusted() {
    let fronted = Fronted::start("127.0.0.1", NAMING).await;
    finds_nothing(&fronted.doctor()).await;
    let told = doctor(&fronted.relay)
        .variable("RELAY_PUBLIC_URL", fronted.tls.url())
        .variable("SSL_CERT_FILE", fronted.tls.certificate().display());
    finds_nothing(&told).await;
}

#[tokio::test]
async fn a_front_that_is_not_trusted() {
    let fronted = Fronted::start("192.0.2.7", NAMING).await;
    finds("forwarded-untrusted", &fronted.doctor()).await;
}

#[tokio::test]
async fn a_front_that_names_nobody() {
    for trusted in ["127.0.0.1", "192.0.2.7"] {
        let fronted = Fronted::start(trusted, Habits::default()).await;
        finds("forwarded-missing", &fronted.doctor()).await;
    }
}

#[tokio::test]
async fn a_front_whose_certificate_nobody_knows() {
    let fronted = Fronted::start("127.0.0.1", NAMING).await;
    finds("front-certificate", &doctor_at(&fronted.tls.url(), None, &fronted.relay)).await;
}

#[tokio::test]
async fn a_front_whose_certificate_ended_or_ends_soon() {
    let relay = Cluster::builder().variable("RELAY_TRUSTED_PROXIES", "127.0.0.1").start().await;
    let front = Front::start(relay.address(), NAMING).await;
    let tls = TlsFront::ending(3 * 86_400, front.address(), relay.directory()).await;
    finds("front-certificate-ends", &doctor_at(&tls.url(), Some(tls.certificate()), &relay)).await;
    let tls = TlsFront::ending(30 * 86_400, front.address(), relay.directory()).await;
    finds_nothing(&doctor_at(&tls.url(), Some(tls.certificate()), &relay)).await;
}

#[tokio::test]
async fn a_front_that_does_not_answer() {
    let relay = Cluster::simple().await;
    let nobody = HeldPort::draw();
    for scheme in ["http", "https"] {
        finds("front-silent", &doctor_at(&format!("{scheme}://{}", nobody.address()), None, &relay)).await;
    }
}

#[tokio::test]
async fn a_gateway_where_tls_is_expected() {
    let relay = Cluster::simple().await;
    finds("front-tls", &doctor_at(&format!("https://{}", relay.address()), None, &relay)).await;
}

#[tokio::test]
async fn a_public_url_in_the_open() {
    let relay = Cluster::simple().await;
    // A spelling of loopback that only a resolver understands: to the doctor, a host somewhere.
    let url = format!("http://127.1:{}", relay.address().port());
    finds("front-plain", &doctor_at(&url, None, &relay)).await;
}

#[tokio::test]
async fn a_front_that_reaches_no_gateway_or_is_something_else() {
    let relay = Cluster::simple().await;
    let nobody: SocketAddr = HeldPort::draw().address();
    let front = Front::start(nobody, NAMING).await;
    finds("front-gateway", &doctor_at(&front.url(), None, &relay)).await;
    let other = Front::start(nobody, Habits { answer: Some("It works!"), ..NAMING }).await;
    finds("front-other", &doctor_at(&other.url(), None, &relay)).await;
}

#[tokio::test]
async fn a_front_that_leads_to_another_relay() {
    let (relay, other) = (Cluster::simple().await, Cluster::simple().await);
    finds("ohttp-key", &doctor_at(&format!("http://{}", other.address()), None, &relay)).await;
}

#[tokio::test]
async fn a_signed_key_record_that_clients_refuse() {
    let fronted = Fronted::start("127.0.0.1", Habits { spoils_records: true, ..NAMING }).await;
    finds("record-refused", &fronted.doctor()).await;
}

#[tokio::test]
async fn a_clock_that_is_off() {
    let date = Some("Tue, 15 Nov 1994 08:12:31 GMT");
    let fronted = Fronted::start("127.0.0.1", Habits { date, ..NAMING }).await;
    finds("clock-off", &fronted.doctor()).await;
}

#[tokio::test]
async fn limits_that_all_clients_share() {
    let relay = Cluster::builder().variable("RELAY_ADDR_RATE_LIMIT", 5).start().await;
    let client = relay.client();
    let body = json!({ "mailbox_tokens": [random_mailbox()] }).to_string();
    let headers = [("content-type", "application/json")];
    while client.raw("POST", "/v2/fetch", &headers, body.clone()).await.status != 429 {}
    comes_to_find("limits-one-address", &doctor(&relay)).await;
}

#[tokio::test]
async fn an_outer_relay_that_nobody_named() {
    let relay = Cluster::builder().variable("RELAY_ADDR_RATE_LIMIT", 5).start().await;
    let client = relay.client_via(Via::Envelope);
    let sealed = client.sealed(b"{}").await;
    while client.carry(sealed.clone()).await.status != 429 {}
    comes_to_find("outer-relay-unnamed", &doctor(&relay)).await;
}
