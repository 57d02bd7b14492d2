//! Programs in another language, over other libraries, that share no code with the relay or with these tests.

use crate::deadline;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// A Python that can import some modules. Where there is none, a test says so and proves nothing; under continuous
/// integration that is a failure.
///
/// # Panics
/// When `CI` is set and there is no such Python.
pub fn python(modules: &str) -> Option<PathBuf> {
    let named = std::env::var_os("INTEROP_PYTHON").unwrap_or_else(|| "python3".into());
    let works = Command::new(&named)
        .args(["-c", &format!("import {modules}")])
        .output()
        .is_ok_and(|output| output.status.success());
    if works {
        return Some(named.into());
    }
    let lack = format!(
        "interoperation tests need a Python with the packages of tests/interop/requirements.txt; {} is none \
         (INTEROP_PYTHON names another)",
        Path::new(&named).display()
    );
    assert!(std::env::var_os("CI").is_none(), "{lack}");
    eprintln!("SKIPPED: {lack}");
    None
}

/// A Python that can run `peer.py`. As [`python`].
pub fn python_for_peers() -> Option<PathBuf> {
    python("cryptography, noise, websockets")
}

/// A program of `interop`, to be run by a Python.
pub fn program(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name));
    command
}

/// Runs it to its end.
///
/// # Panics
/// When it does not start, or does not end in time.
pub async fn run(mut command: Command) -> Output {
    let run = tokio::task::spawn_blocking(move || command.output().expect("Python starts"));
    deadline::soon("a program in another language", run).await.expect("it was waited for")
}

/// `peer.py`, waiting to be dialled. It ends with this.
#[derive(Debug)]
pub struct WaitingPeer {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl WaitingPeer {
    /// Starts it below a path.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(python: &Path, path: &str) -> Self {
        let mut command = program(python, "peer.py");
        command.args(["--listen", "0", "--path", path]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Python starts");
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        Self { child, lines }
    }

    /// The next thing of a kind that happens to it.
    ///
    /// # Panics
    /// When it sees a deviation, ends, or nothing of the kind happens.
    pub async fn event(&mut self, kind: &'static str) -> Value {
        let mut lines = self.lines.take().expect("one event is waited for at a time");
        let next = tokio::task::spawn_blocking(move || {
            for line in lines.by_ref() {
                let event: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
                assert_ne!(event["event"], "deviation", "{event}");
                if event["event"] == kind {
                    return (event, lines);
                }
            }
            panic!("it ended before {kind}")
        });
        let (event, lines) = deadline::soon(kind, next).await.expect("it was waited for");
        self.lines = Some(lines);
        event
    }
}

impl Drop for WaitingPeer {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}
