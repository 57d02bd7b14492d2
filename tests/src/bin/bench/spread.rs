//! One limit over three gateways: however a sender spreads its requests, the mailbox gets what the limit says.

use crate::load::{self, LoadClient, TO_THE_END};
use crate::scenarios::{BLOB, Mailboxes, Pool, send_request, take};
use crate::{Fallible, Options, relay};
use relay_tests::fields::random_bytes;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;

/// Sends a minute to one mailbox.
pub(crate) const LIMIT: u32 = 30;
const MAILBOXES: Mailboxes = Mailboxes(10);
/// How many of two hundred sends each gateway gets.
const SPREADS: [[u32; 3]; 4] = [[67, 67, 66], [200, 0, 0], [150, 40, 10], [0, 100, 100]];
/// Connections to each gateway, so that the gateways ask at the same time.
const CONNECTIONS: usize = 5;

pub(crate) async fn measure(_options: &Options, directory: &Path) -> Fallible<Value> {
    let limit = LIMIT.to_string();
    let relay = relay::start(directory, 3, &[("RELAY_RATE_LIMIT", &limit)]).await?;
    let gateway = |number| relay.client_of(number).address();
    let gateways = [gateway(0), gateway(1), gateway(2)];
    let mut spreads = Vec::new();
    for (mailbox, sent) in (0..).zip(SPREADS) {
        let token = MAILBOXES.token(mailbox);
        let send = |number: usize| send(gateways[number], &token, sent[number]);
        let (one, two, three) = tokio::try_join!(send(0), send(1), send(2))?;
        spreads.push(json!({ "sent": sent, "taken": one + two + three }));
    }
    Ok(spreads.into())
}

/// Sends to one mailbox through one gateway. Returns how many were taken.
async fn send(gateway: SocketAddr, token: &str, count: u32) -> Fallible<u32> {
    let requests = (0..count).map(|_| send_request(token, &mut random_bytes(BLOB))).collect();
    let pool = Pool::new(RefCell::new(requests));
    let scenario = |mut client: LoadClient| {
        let pool = Pool::clone(&pool);
        async move {
            let mut taken = 0;
            while let Some(request) = take(&pool) {
                let check = |status, body: &[u8]| match status {
                    200 | 429 => Ok(u32::from(status == 200)),
                    _ => Err(format!("status {status}: {}", String::from_utf8_lossy(body))),
                };
                taken += client.ask(&request, check).await.unwrap_or(0);
            }
            taken
        }
    };
    let (outcome, taken) = load::run(gateway, CONNECTIONS, TO_THE_END, Vec::new(), scenario).await?;
    outcome.flawless("sending to one mailbox")?;
    Ok(taken.into_iter().sum())
}
