//! This peer and the one in another language, `interop/peer.py`, each against the other: where they agree, it is by
//! the text.

use crate::deadline;
use crate::peer::message::{Names, Offload};
use crate::peer::{Blob, Body, Conduct, Dialled, InMemoryPeer, Options, PeerKeys, Verdict};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A Python that has what the peer needs. Where there is none, a test says so and proves nothing; under
/// continuous integration that is a failure.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("INTEROP_PYTHON").unwrap_or_else(|| "python3".into());
    let works = Command::new(&named)
        .args(["-c", "import cryptography, noise, websockets"])
        .output()
        .is_ok_and(|output| output.status.success());
    if works {
        return Some(named.into());
    }
    let lack = "interoperation tests need a Python with the packages of tests/interop/requirements.txt";
    assert!(std::env::var_os("CI").is_none(), "{lack}");
    eprintln!("SKIPPED: {lack}; INTEROP_PYTHON names one");
    None
}

fn command(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/peer.py"));
    command
}

/// The peer in another language, waiting to be dialled.
struct Waiting {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Waiting {
    fn start(python: &Path, path: &str) -> Self {
        let mut command = command(python);
        command.args(["--listen", "0", "--path", path]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        Self { child, lines }
    }

    /// The next thing of a kind that happens to it.
    async fn event(&mut self, kind: &'static str) -> Value {
        let mut lines = self.lines.take().unwrap();
        let next = tokio::task::spawn_blocking(move || {
            for line in lines.by_ref() {
                let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
                assert_ne!(event["event"], "deviation", "{event}");
                if event["event"] == kind {
                    return (event, lines);
                }
            }
            panic!("it ended before {kind}")
        });
        let (event, lines) = deadline::soon(kind, next).await.unwrap();
        self.lines = Some(lines);
        event
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_peer_of_another_make_is_served() {
    let Some(python) = python() else { return };
    let conduct = Conduct { refuses_unsound: true, ..Conduct::default() };
    let peer = InMemoryPeer::listen(PeerKeys::generate(), conduct).await;
    let mut command = command(&python);
    command.arg(format!("{}#{}", peer.url(), peer.keys().pin()));
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = deadline::soon("the other peer", run).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["relay"]["identity"], peer.keys().identity_text());
    assert_eq!(
        (&said["offloaded"], &said["recalled"], &said["forgotten"]),
        (&4.into(), &4.into(), &4.into())
    );
    peer.holds(0).await;
}

#[tokio::test]
async fn a_peer_of_another_make_sees_a_deviation() {
    let Some(python) = python() else { return };
    // It wants unsound blobs to be refused one by one, and this peer accepts none at all.
    let peer = InMemoryPeer::listen(PeerKeys::generate(), Conduct::default()).await;
    peer.behave(|conduct| conduct.offload = crate::peer::OnOffload::Say(Verdict::NotNow as i32));
    let mut command = command(&python);
    command.arg(peer.url());
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = deadline::soon("the other peer", run).await.unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said["what"], "Deviation: sound blobs are accepted: [3, 3, 3]");
}

#[tokio::test]
async fn a_peer_of_another_make_serves() {
    let Some(python) = python() else { return };
    let mut other = Waiting::start(&python, "/some/path");
    let listening = other.event("listening").await;
    let url = listening["url"].as_str().unwrap();
    let address = url.trim_start_matches("ws://").trim_end_matches("/some/path").parse().unwrap();
    let keys = PeerKeys::generate();
    let mut channel = Dialled::connect(address, &keys, &Options::at("/some/path")).await;
    let greeted = other.event("greeted").await;
    assert_eq!(greeted["relay"]["identity"], keys.identity_text());

    let hint = Blob { origin_hint: Some(Vec::new()), owner: Some(vec![9; 32]), ..Blob::random(70_000) };
    let blobs = vec![Blob::random(1), hint];
    let offload = Body::Offload(Offload { blobs: blobs.clone(), home: false });
    let Body::OffloadAck(ack) = channel.ask(offload).await else { panic!("an answer of another kind") };
    assert_eq!(ack.verdicts, [Verdict::Accepted as i32; 2]);
    let names = || Names { names: blobs.iter().map(Blob::name).collect() };
    let Body::RecallAck(ack) = channel.ask(Body::Recall(names())).await else {
        panic!("an answer of another kind")
    };
    assert!(ack.blobs == blobs && ack.missing.is_empty());
    let Body::ForgetAck(ack) = channel.ask(Body::Forget(names())).await else {
        panic!("an answer of another kind")
    };
    assert!(ack.done);
    let Body::RecallAck(ack) = channel.ask(Body::Recall(names())).await else {
        panic!("an answer of another kind")
    };
    assert!(ack.blobs.is_empty() && ack.missing == names().names);
    channel.close(4).await;
    assert_eq!(other.event("ended").await["reason"], 4);
}
