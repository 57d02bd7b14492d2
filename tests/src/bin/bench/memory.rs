//! Memory of the processes: at rest, and with a thousand idle and two hundred busy connections.

use crate::Fallible;
use crate::load::{self, Pace};
use crate::options::Plan;
use crate::proc::{self, Memory};
use crate::relay::Site;
use crate::requests::{FetchRequest, Mailboxes};
use crate::scripts::Mixer;
use crate::wire::Connection;
use relay_tests::deadline;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const IDLE: u64 = 1_000;
const BUSY: usize = 200;
const MAILBOXES: Mailboxes = Mailboxes(6);

/// Memory of gateway and storaged.
#[derive(Debug, Serialize)]
pub(crate) struct MemoryUse {
    /// A moment after they were ready.
    pub(crate) at_rest: BTreeMap<&'static str, Memory>,
    /// With a thousand connections that have asked once and now wait.
    pub(crate) idle: BTreeMap<&'static str, Memory>,
    /// After two hundred more worked for a while.
    pub(crate) busy: BTreeMap<&'static str, Memory>,
    pub(crate) busy_per_second: f64,
    pub(crate) errors: u64,
}

pub(crate) async fn measure(directory: &Path, plan: &Plan) -> Fallible<MemoryUse> {
    let site = Site::new(directory)?;
    let mut relay = site.apart().await?;
    let watched = relay.watched();
    deadline::pace(Duration::from_secs(1)).await;
    let at_rest = proc::memories(&watched)?;

    let mut request = FetchRequest::new();
    let mut waiting = Vec::new();
    for number in 0..IDLE {
        let mut connection = Connection::open(site.address()).await?;
        let status = connection.exchange(request.of(&MAILBOXES.token(number))).await?;
        if status != 200 {
            return Err(format!("connection {number} was answered with status {status}").into());
        }
        waiting.push(connection);
    }
    let idle = proc::memories(&watched)?;

    let mixers = (0..BUSY).map(|_| Mixer::new(MAILBOXES, 20_000)).collect();
    let pace = Pace { warm_up: Duration::ZERO, window: plan.window * 3 };
    let (outcome, _) = load::drive(site.address(), mixers, pace, &watched).await?;
    relay.still_runs()?;
    let busy = proc::memories(&watched)?;
    drop(waiting);
    for sample in &outcome.samples {
        eprintln!("    wrong: {sample}");
    }
    Ok(MemoryUse { at_rest, idle, busy, busy_per_second: outcome.per_second(), errors: outcome.errors })
}
