//! One limit over three gateways: however a sender spreads its requests, the mailbox gets what the limit says.

use crate::Fallible;
use crate::load::{self, Pace, Script};
use crate::random::Random;
use crate::relay::Site;
use crate::requests::{Mailboxes, SendRequest, Token};
use crate::scripts;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::Path;

/// Sends a minute to one mailbox.
pub(crate) const LIMIT: u32 = 30;
const MAILBOXES: Mailboxes = Mailboxes(10);
/// How many of two hundred sends each gateway gets.
const SPREADS: [[u32; 3]; 4] = [[67, 67, 66], [200, 0, 0], [150, 40, 10], [0, 100, 100]];
/// Connections to each gateway, so that the gateways ask at the same time.
const CONNECTIONS: u32 = 5;

/// What a limit let through.
#[derive(Debug, Serialize)]
pub(crate) struct Spread {
    /// How many sends went to each gateway.
    pub(crate) sent: [u32; 3],
    /// How many of them were taken, in all.
    pub(crate) taken: u32,
}

pub(crate) async fn measure(directory: &Path) -> Fallible<Vec<Spread>> {
    let site = Site::new(directory)?;
    let limit = [("RELAY_RATE_LIMIT", LIMIT.to_string())];
    let (first, mut relay) = (site.address(), site.apart_with(&limit).await?);
    let (second, _two) = site.another_gateway(&limit).await?;
    let (third, _three) = site.another_gateway(&limit).await?;
    let mut spreads = Vec::new();
    for (mailbox, sent) in (0..).zip(SPREADS) {
        let token = MAILBOXES.token(mailbox);
        let (one, two, three) = tokio::try_join!(
            send(first, token, sent[0]),
            send(second, token, sent[1]),
            send(third, token, sent[2])
        )?;
        spreads.push(Spread { sent, taken: one + two + three });
    }
    relay.still_runs()?;
    Ok(spreads)
}

/// Sends to one mailbox through one gateway; how many were taken.
async fn send(gateway: SocketAddr, token: Token, count: u32) -> Fallible<u32> {
    let mut random = Random::new();
    let repeaters = (0..CONNECTIONS)
        .map(|number| Repeater {
            token,
            left: count / CONNECTIONS + u32::from(number < count % CONNECTIONS),
            request: SendRequest::new(scripts::BLOB, &mut random),
            random: Random::new(),
            taken: 0,
        })
        .collect();
    let (outcome, repeaters) = load::drive(gateway, repeaters, Pace::to_the_end(), &[]).await?;
    outcome.flawless("sending to one mailbox")?;
    Ok(repeaters.iter().map(|repeater| repeater.taken).sum())
}

struct Repeater {
    token: Token,
    left: u32,
    request: SendRequest,
    random: Random,
    taken: u32,
}

impl Script for Repeater {
    fn next(&mut self) -> Option<&[u8]> {
        self.left = self.left.checked_sub(1)?;
        Some(self.request.fresh(&self.token, &mut self.random))
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> Result<(), String> {
        if status != 429 {
            scripts::ok(status, body)?;
            self.taken += 1;
        }
        Ok(())
    }
}
