//! The doctor, from the operator's container.

use relay_tests::compose::Compose;
use serde_json::Value;

/// The codes of what it finds, and the parts that it says it could not look at.
fn look(relay: &Compose) -> (Vec<String>, Vec<String>) {
    // The test's port for the front is this machine's, and in there localhost is the container.
    let said = relay.shell("docker compose run --rm -e RELAY_PUBLIC_URL= admin doctor --json || true", &[]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let names = |list: &str, name: &str| {
        let list = said[list].as_array().unwrap();
        list.iter().map(|entry| entry[name].as_str().unwrap().to_owned()).collect()
    };
    (names("findings", "code"), names("not_looked_at", "part"))
}

#[tokio::test]
#[ignore = "wants Docker; .ci/run runs it"]
async fn a_good_set_up_is_called_good_and_a_bad_one_is_not() {
    let relay = Compose::lay_out(11);
    relay.up("--wait").await;
    let (findings, unseen) = look(&relay);
    assert_eq!(findings, [""; 0]);
    // Gateways' ports are not the operator's container's to see.
    assert_eq!(unseen, ["operator's port", "public URL"]);
    relay.compose("stop storaged");
    let (findings, _) = look(&relay);
    assert_eq!(findings, ["socket-missing"]);
}
