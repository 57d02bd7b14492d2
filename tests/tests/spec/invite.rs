//! Invitations: what people type or scan is what clients accept, or is not printed at all.

use crate::signed_keys::anchor;
use relay_tests::outer_relay::{Habits, OuterRelay};
use relay_tests::process::Finished;
use relay_tests::tls_front::TlsFront;
use relay_tests::{Cluster, Owner};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;

/// Rows and columns of light modules around a code.
const MARGIN: usize = 4;

async fn invite(relay: &Cluster, arguments: &[&str]) -> Finished {
    relay.command(&[&["invite"], arguments].concat()).finish().await
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// What a camera reads in a picture, given as the lightness of each pixel.
fn scanned(width: usize, height: usize, lightness: impl FnMut(usize, usize) -> u8) -> Value {
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, lightness);
    let codes = picture.detect_grids();
    assert_eq!(codes.len(), 1, "one code should be found");
    serde_json::from_str(&codes[0].decode().unwrap().1).unwrap()
}

/// What a camera reads on a dark terminal. Each character has two modules, one over the other.
fn scanned_on_terminal(text: &str) -> Value {
    const PIXELS: usize = 4;
    let rows: Vec<Vec<char>> = text
        .lines()
        .filter(|line| line.contains(['█', '▀', '▄']))
        .map(|line| line.chars().collect())
        .collect();
    let width = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == width) && width > 2 * MARGIN, "{text}");
    scanned(width * PIXELS, rows.len() * 2 * PIXELS, |x, y| {
        let (column, row) = (x / PIXELS, y / PIXELS);
        let is_light = match rows[row / 2][column] {
            '█' => true,
            '▀' => row % 2 == 0,
            '▄' => row % 2 == 1,
            _ => false,
        };
        if is_light { 255 } else { 0 }
    })
}

fn scanned_in_png(path: &Path) -> Value {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut decoder = png::Decoder::new(file);
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    let (width, height) = (frame.width as usize, frame.height as usize);
    scanned(width, height, |x, y| pixels[y * frame.line_size + x])
}

#[tokio::test]
async fn an_invitation_is_text_code_and_files_with_the_same_content() {
    let relay = Cluster::simple().await;
    let outer = OuterRelay::start(relay.address(), Habits::default()).await;
    let anchor = anchor(&relay).await;
    let [own, oblivious] = [relay.address(), outer.address()].map(url);
    let expected = json!({ "relay_url": own, "ohttp_relay_url": oblivious, "anchor": anchor });
    let [png, svg] = ["code.png", "code.svg"].map(|name| relay.directory().join(name));
    let full = format!("{oblivious}/v2/ohttp");
    let files = ["--png", png.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
    let said = invite(&relay, &[&[&own, "--oblivious", &full][..], &files].concat()).await;
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    for part in [&own, &oblivious, &anchor] {
        assert!(said.stdout.lines().any(|line| line.ends_with(part.as_str())), "{}", said.stdout);
    }
    assert_eq!(said.stderr.matches("plain http").count(), 2, "{}", said.stderr);
    assert!(said.stderr.contains("none was given; this is the one"), "{}", said.stderr);
    assert_eq!(scanned_on_terminal(&said.stdout), expected);
    assert_eq!(scanned_in_png(&png), expected);
    assert!(std::fs::read_to_string(&svg).unwrap().contains("<svg"));
    let said = invite(&relay, &["--relay", &own, "--oblivious", &oblivious, "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap(), expected);
}

#[tokio::test]
async fn an_invitation_over_tls_takes_the_public_url_and_notes_nothing() {
    let relay = Cluster::simple().await;
    let outer = OuterRelay::start(relay.address(), Habits::default()).await;
    let front = TlsFront::start(outer.address(), relay.directory()).await;
    let said = relay
        .command(&["invite", "--oblivious", &front.url(), "--anchor", &anchor(&relay).await, "--json"])
        .variable("RELAY_PUBLIC_URL", "https://relay.example/")
        .variable("SSL_CERT_FILE", front.certificate().display())
        .finish()
        .await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said["relay_url"], "https://relay.example");
    assert_eq!(said["ohttp_relay_url"], front.url());
}

/// Checks that an invitation is refused for one reason, and that it is printed all the same where nobody is to check.
async fn refused(relay: &Cluster, arguments: &[&str], reason: &str) {
    let said = invite(relay, arguments).await;
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{}", said.stderr);
    assert_eq!(said.stderr.lines().count(), 2, "{}", said.stderr);
    assert!(said.stderr.contains(reason), "{reason} is not in: {}", said.stderr);
    let said = invite(relay, &[arguments, &["--unchecked"]].concat()).await;
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("warning"), "{}", said.stderr);
    assert!(scanned_on_terminal(&said.stdout)["anchor"].is_string());
}

#[tokio::test]
async fn an_invitation_that_clients_would_refuse_is_not_printed() {
    let relay = Cluster::simple().await;
    let outer = OuterRelay::start(relay.address(), Habits::default()).await;
    let [own, oblivious] = [relay.address(), outer.address()].map(url);
    refused(&relay, &[&own, "--oblivious", &own], "at another scheme, host or port").await;
    let same = format!("{own}/below/v2/ohttp");
    refused(&relay, &[&own, "--oblivious", &same], "at another scheme, host or port").await;
    refused(&relay, &["http://relay.example", "--oblivious", &oblivious], "relay URL: it is plain http")
        .await;
    let open = "http://outer.example";
    refused(&relay, &[&own, "--oblivious", open], "oblivious relay URL: it is plain http").await;
    let foreign = Owner::random().mailbox();
    let with_foreign = [&own, "--oblivious", &oblivious, "--anchor", &foreign];
    refused(&relay, &with_foreign, "the anchor did not sign the certificate").await;
    let habits = Habits { redirects: true, ..Habits::default() };
    let redirecting = OuterRelay::start(relay.address(), habits).await;
    let redirecting = url(redirecting.address());
    refused(&relay, &[&own, "--oblivious", &redirecting], "clients follow no redirect").await;
    drop(outer);
    refused(&relay, &[&own, "--oblivious", &oblivious], "the oblivious relay does not answer").await;
}

#[tokio::test]
async fn an_invitation_to_keys_of_another_day_is_not_printed() {
    // Windows of ten seconds have other numbers than days.
    let relay = Cluster::builder().variable("RELAY_OHTTP_KEY_ROTATION_HOURS", "10s").start().await;
    let outer = OuterRelay::start(relay.address(), Habits::default()).await;
    let [own, oblivious] = [relay.address(), outer.address()].map(url);
    refused(&relay, &[&own, "--oblivious", &oblivious], "its window is not this day").await;
}

#[tokio::test]
async fn what_an_invitation_lacks_is_named() {
    let relay = Cluster::simple().await;
    let own = url(relay.address());
    for (arguments, lacking) in [
        (&["--oblivious", "https://outer.example"][..], "RELAY_PUBLIC_URL"),
        (&[&own], "--oblivious URL"),
        (&[&own, "--unchecked"], "--oblivious URL"),
    ] {
        let said = invite(&relay, arguments).await;
        assert_eq!(said.code, Some(64), "{}", said.stderr);
        assert!(said.stdout.is_empty() && said.stderr.contains(lacking), "{}", said.stderr);
    }
    let nobody = Cluster::builder().build();
    let said = invite(&nobody, &[&own, "--oblivious", "https://outer.example"]).await;
    assert_eq!(said.code, Some(69), "{}", said.stderr);
    assert!(said.stderr.contains("--anchor HEX"), "{}", said.stderr);
}
