//! Memory of the processes: at rest, and with a thousand idle and two hundred busy connections.

use crate::scenarios::{self, Mailboxes};
use crate::wire::Connection;
use crate::{Fallible, Options, processes, relay};
use relay_tests::deadline;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const IDLE: u64 = 1_000;
const BUSY: usize = 200;
const MAILBOXES: Mailboxes = Mailboxes(6);

pub(crate) async fn measure(options: &Options, directory: &Path) -> Fallible<Value> {
    let mut relay = relay::start(directory, 1, &[]).await?;
    let watched = relay::watched(&mut relay);
    deadline::pace(Duration::from_secs(1)).await;
    let at_rest = processes::memories(&watched)?;

    let mut waiting = Vec::new();
    for number in 0..IDLE {
        let mut connection = Connection::open(relay.address()).await?;
        let request = scenarios::fetch_request(&MAILBOXES.token(number));
        let (status, _) = connection.exchange(&request).await?;
        if status != 200 {
            return Err(format!("connection {number} was answered with status {status}").into());
        }
        waiting.push(connection);
    }
    let idle = processes::memories(&watched)?;

    let scenario = |client| scenarios::mixed(client, MAILBOXES, 20_000);
    let (outcome, _) = relay::load(&mut relay, BUSY, options.window() * 3, scenario).await?;
    let busy = processes::memories(&watched)?;
    drop(waiting);
    outcome.show_errors();
    let (rate, errors) = (outcome.per_second(), outcome.errors);
    Ok(json!({ "at_rest": at_rest, "idle": idle, "busy": busy, "busy_per_second": rate, "errors": errors }))
}
