//! What the runbooks say is run here, or, where it wants a service manager, held against what is installed. `.ci/package`
//! runs the blocks for systemd and those that make the package, and the tests under Docker those for Compose.

use relay_tests::binaries::{self, Program};
use relay_tests::runbook::{blocks, kinds};
use relay_tests::{Launch, Supervised};
use std::process::Command;

#[tokio::test]
async fn commands_for_a_host_do_what_they_say() {
    let relay = Supervised::build().start().await;
    let data = relay.data();
    let backups = relay.directory().join("backups");
    for block in blocks("host") {
        // The relay of the test has ports of its own.
        let block = block
            .replace("127.0.0.1:8080", &relay.address().to_string())
            .replace("127.0.0.1:8081", &relay.ops_address().to_string());
        let finished = Launch::new(Program::Relay, relay.directory())
            .variable("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", binaries::directory().display()))
            .variable("RELAY_DATA_DIR", data.display())
            .variable("RELAY_LISTEN_ADDR", relay.address())
            .variable("RELAY_METRICS_ADDR", relay.ops_address())
            .variable("BACKUPS", backups.display())
            .other_program("/bin/bash")
            .arguments(&["-euo", "pipefail", "-c", &block])
            .finish()
            .await;
        assert_eq!(finished.code, Some(0), "{block}{}{}", finished.stdout, finished.stderr);
    }
}

#[test]
fn commands_for_systemd_name_units_that_there_are() {
    let units = binaries::workspace().join("deploy/systemd");
    for block in blocks("systemd") {
        let parsed = Command::new("/bin/bash").args(["-n", "-c", &block]).status().unwrap();
        assert!(parsed.success(), "{block}");
        for word in block.split_whitespace() {
            let is_unit = [".service", ".socket", ".target"].iter().any(|kind| word.ends_with(kind));
            assert!(!is_unit || units.join(word).exists(), "there is no {word}");
        }
        for line in block.lines() {
            let Some((_, command)) = line.split_once(" relay ") else { continue };
            let word = command.split_whitespace().next().unwrap();
            let known = Command::new(Program::Relay.path()).args([word, "--help"]).output().unwrap();
            assert!(known.status.success(), "relay has no {word}");
        }
    }
}

#[test]
fn no_command_is_left_out() {
    for kind in kinds() {
        let tested = ["host", "systemd", "compose", "images", "package"].contains(&kind.as_str());
        assert!(tested, "nobody runs the blocks of kind {kind:?}");
    }
    for block in blocks("images") {
        for script in block.lines() {
            assert!(binaries::workspace().join(script).exists(), "there is no {script}");
        }
    }
}
