//! What the runbooks say of Docker Compose, run in their order against one relay.

use relay_tests::Via;
use relay_tests::compose::Compose;
use relay_tests::fields::random_mailbox;
use relay_tests::runbook::blocks;

#[tokio::test]
#[ignore = "wants Docker; .ci/run runs it"]
async fn commands_for_compose_do_what_they_say() {
    let relay = Compose::lay_out(6);
    let trust = relay.up("").await;
    let client = relay.client(Via::Plain, &trust);
    let mailbox = random_mailbox();
    let id = client.send(&mailbox, b"there before everything").await.blob_id();
    let mut backup = String::new();
    for block in blocks("compose") {
        assert!(!block.contains("$BACKUP") || !backup.is_empty(), "nothing was backed up before: {block}");
        let said = relay.shell(&block, &[("BACKUP", &backup)]);
        if let Some(path) = said.split_whitespace().find(|word| word.starts_with("/backups/relay-")) {
            path.clone_into(&mut backup);
        }
    }
    let trust = relay.up("").await;
    let page = relay.client(Via::Plain, &trust).fetch(&[&mailbox]).await.page();
    assert_eq!(page.ids(), [&id], "mail is there after all of it");
}
