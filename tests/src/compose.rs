//! A relay under Docker Compose, as an operator has it who copied one file: an empty folder, an empty environment, and
//! images that `deploy/docker/build.sh` has made. Nothing is set but the ports and the name, so that tests get in
//! nobody's way.

use crate::binaries;
use crate::client::{Client, Via};
use crate::deadline::{self, PATIENCE};
use crate::ports::HeldPort;
use crate::trust::Trust;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The relay. Its containers, networks and volumes end with it.
#[derive(Debug)]
pub struct Compose {
    name: String,
    folder: TempDir,
    variables: BTreeMap<String, String>,
    https: SocketAddr,
    _ports: [HeldPort; 2],
}

impl Compose {
    /// Lays a relay out and starts nothing. Projects differ in their number, and so do their networks.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn lay_out(number: u8) -> Self {
        let folder = tempfile::Builder::new().prefix("relay-").tempdir_in("/tmp").expect("a folder");
        std::fs::copy(binaries::workspace().join("compose.yaml"), folder.path().join("compose.yaml"))
            .expect("the project's compose.yaml");
        let (https, http) = (HeldPort::draw(), HeldPort::draw());
        let name = format!("relay-test-{}-{number}", std::process::id());
        let address = https.address();
        let variables = BTreeMap::from([
            ("COMPOSE_PROJECT_NAME".to_owned(), name.clone()),
            ("RELAY_HTTPS_PORT".to_owned(), address.port().to_string()),
            ("RELAY_HTTP_PORT".to_owned(), http.address().port().to_string()),
            ("RELAY_PUBLIC_URL".to_owned(), format!("https://localhost:{}", address.port())),
            ("RELAY_SUBNET".to_owned(), format!("10.221.{number}.0/24")),
        ]);
        Self { name, folder, variables, https: address, _ports: [https, http] }
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a variable for the next command.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.variables.insert(name.to_owned(), value.to_string());
    }

    /// Lays a file beside compose.yaml which changes it, as operators have them.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn changed_by(&self, yaml: &str) {
        std::fs::write(self.folder.path().join("compose.override.yaml"), yaml).expect("a file");
    }

    /// Runs `docker compose` with some words, and returns what it prints.
    ///
    /// # Panics
    /// When it fails; the message shows what it said.
    pub fn compose(&self, words: &str) -> String {
        let output = self.command(words).output().expect("docker");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "docker compose {words}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs a piece of shell in the relay's folder with its variables and some more, and returns what it prints.
    ///
    /// # Panics
    /// When it fails; the message shows what it said.
    pub fn shell(&self, script: &str, variables: &[(&str, &str)]) -> String {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]);
        let output = self.here(command).envs(variables.iter().copied()).output().expect("bash");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{script}{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new("docker");
        command.arg("compose").args(words.split_whitespace());
        self.here(command)
    }

    /// The same command in the relay's folder, with its variables and no others.
    fn here(&self, mut command: Command) -> Command {
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin")
            .env("HOME", self.folder.path());
        command.envs(&self.variables);
        command
    }

    /// Starts the relay and waits until clients are served. Returns whom clients are to trust.
    ///
    /// # Panics
    /// When they are not served in time.
    pub async fn up(&self, more: &str) -> Trust {
        self.compose(&format!("up -d {more}"));
        let authority = self.authority();
        deadline::until("the front's authority", PATIENCE, async || {
            let path = "front:/data/caddy/pki/authorities/local/root.crt";
            let copied =
                self.command(&format!("cp {path} {}", authority.display())).output().expect("docker");
            copied.status.success().then_some(())
        })
        .await;
        let trust = Trust::in_authority(&authority);
        let client = self.client(Via::Plain, &trust);
        deadline::until("a relay behind its front", PATIENCE, async || {
            let reply = client.another().attempt("GET", "/health", &[], "").await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        trust
    }

    /// Where the certificate of the front's authority lies after [`Self::up`].
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("root.crt")
    }

    /// Where clients reach it.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.https.port())
    }

    /// A client of the front's.
    pub fn client(&self, via: Via, trust: &Trust) -> Client {
        Client::new(self.https, via).over_tls(trust.clone())
    }

    /// The ids of a service's containers, running or not.
    pub fn containers(&self, service: &str) -> Vec<String> {
        self.compose(&format!("ps -a -q {service}")).lines().map(str::to_owned).collect()
    }

    /// The folder it was started in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its name, which those of its volumes begin with.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        let words = "--profile admin --profile federation --profile oblivious down -v --remove-orphans -t 5";
        let output = self.command(words).output();
        if !output.is_ok_and(|output| output.status.success()) {
            eprintln!("containers of {} may be left", self.name);
        }
    }
}

/// Runs `docker` with some words, and returns what it prints.
///
/// # Panics
/// When it fails; the message shows what it said.
pub fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().expect("docker");
    assert!(output.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
