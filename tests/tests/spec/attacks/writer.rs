//! Work for the one thread that writes: purges, registrations and deletions of every size, with others in between.

use super::PAUSE;
use relay_tests::fields::{mailbox_fields, random_bytes, random_mailbox, send_fields};
use relay_tests::honest::{Honest, address};
use relay_tests::{Action, Client, Owner, Supervised};
use serde_json::{Value, json};
use std::future::Future;
use tokio::task::JoinSet;

/// Answers that honest clients wait for while the hostile one is at work.
const ANSWERS: usize = 60;

/// Has honest clients at work until they have had their answers and all of the attack is over, and judges what they saw.
async fn beside<A: Future<Output = ()> + Send + 'static>(
    relay: &Supervised,
    attacks: impl IntoIterator<Item = A>,
) {
    let honest = Honest::start(&relay.client(), 4, PAUSE);
    honest.more(8).await;
    let mut hostile = JoinSet::new();
    for attack in attacks {
        hostile.spawn(attack);
    }
    honest.more(ANSWERS).await;
    while let Some(ended) = hostile.join_next().await {
        ended.unwrap();
    }
    honest.stop().await.is_good();
}

fn hostile(relay: &Supervised, number: u8) -> Client {
    relay.client().with_source(address(200 + number))
}

/// Asks the same kind of thing again and again, whatever the answer.
async fn repeat(client: Client, action: Action, times: usize, fields: impl Fn() -> Value) {
    for _ in 0..times {
        client.try_call(action, &fields()).await.unwrap();
    }
}

#[tokio::test]
async fn purges_that_prove_nothing_or_find_nothing_hold_nobody_up() {
    let relay = Supervised::build().start().await;
    let forged = |number: u8| {
        repeat(hostile(&relay, 0), Action::Purge, 60, move || {
            let owner = Owner::random();
            let mut fields = owner.purge(&owner.mailbox());
            if number < 4 {
                fields["signature"] = json!("11".repeat(64));
            }
            fields
        })
    };
    beside(&relay, (0..8).map(forged)).await;
}

#[tokio::test]
async fn purges_of_many_mailboxes_at_once_hold_nobody_up() {
    let relay = Supervised::build().start().await;
    let mut owners = Vec::new();
    for number in 0..6 {
        let (client, owner) = (hostile(&relay, number), Owner::random());
        let mailboxes: Vec<String> = (0..1900).map(|_| random_mailbox()).collect();
        client.call(Action::Register, &owner.register(&mailboxes)).await.success();
        owners.push((client, owner));
    }
    let purge = |(client, owner): (Client, Owner)| async move {
        client.call(Action::Purge, &owner.purge(&owner.mailbox())).await.success();
    };
    beside(&relay, owners.into_iter().map(purge)).await;
}

#[tokio::test]
async fn purges_of_much_mail_at_once_hold_nobody_up() {
    const BLOBS: u64 = 10;
    let relay = Supervised::build().start().await;
    let mut filling = JoinSet::new();
    for number in 0..4 {
        let (client, owner) = (hostile(&relay, number), Owner::random());
        filling.spawn(async move {
            for _ in 0..BLOBS {
                client.send(&owner.mailbox(), &random_bytes(1 << 20)).await.blob_id();
            }
            (client, owner)
        });
    }
    let owners = filling.join_all().await;
    let purge = |(client, owner): (Client, Owner)| async move {
        let purged = client.call(Action::Purge, &owner.purge(&owner.mailbox())).await;
        assert_eq!(purged.success()["blobs_deleted"], BLOBS);
        assert!(client.fetch(&[owner.mailbox()]).await.page().blobs.is_empty());
    };
    beside(&relay, owners.into_iter().map(purge)).await;
}

#[tokio::test]
async fn registrations_of_many_names_hold_nobody_up() {
    let relay = Supervised::build().start().await;
    let known: Vec<String> = (0..1900).map(|_| random_mailbox()).collect();
    let attack = |number: u8| {
        let known = known.clone();
        repeat(hostile(&relay, number % 2), Action::Register, 8, move || match number {
            0..4 => mailbox_fields(&known),
            _ => mailbox_fields(&(0..1900).map(|_| random_mailbox()).collect::<Vec<_>>()),
        })
    };
    beside(&relay, (0..6).map(attack)).await;
}

#[tokio::test]
async fn acks_of_large_blobs_hold_nobody_up() {
    let relay = Supervised::build().start().await;
    let client = hostile(&relay, 0);
    let mut acks = Vec::new();
    for _ in 0..2 {
        let mailbox = random_mailbox();
        for _ in 0..12 {
            let id =
                client.call(Action::Send, &send_fields(&mailbox, &random_bytes(1 << 20))).await.blob_id();
            acks.push((client.another().with_source(address(200)), mailbox.clone(), id));
        }
    }
    let ack = |(client, mailbox, id): (Client, String, String)| async move {
        assert!(client.ack(&mailbox, &id).await.acknowledged());
    };
    beside(&relay, acks.into_iter().map(ack)).await;
}
