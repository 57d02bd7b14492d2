//! Federation: how fast mail moves to a peer, against what the machine can do with plain means; and what peers that
//! are away, slow or hostile cost a relay's own clients.

mod attack;
mod neighbours;
mod offload;
mod plain;

use crate::Fallible;
use crate::options::Plan;
use crate::stats::Rounds;
pub(crate) use neighbours::Neighbour;
use neighbours::Neighbours;
use serde::Serialize;

/// Bytes of each blob that moves.
const BLOB: usize = 32 << 10;

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Federated {
    /// Bytes a second by plain WebSocket and SQLite commits.
    pub(crate) plain: Rounds,
    /// Bytes a second that a relay moves to a peer.
    pub(crate) offload: Rounds,
    /// What a relay's own clients see beside peers of different kinds.
    pub(crate) neighbours: Neighbours,
}

pub(crate) async fn measure(plan: &Plan) -> Fallible<Federated> {
    let mut federated = Federated::default();
    for round in 1..=plan.rounds {
        eprintln!("  round {round} of {}: mail that moves", plan.rounds);
        let before = plain::measure(plan.window / 2).await?;
        federated.offload.push(offload::measure(plan.moved).await?);
        let after = plain::measure(plan.window / 2).await?;
        federated.plain.push(before.midpoint(after));
    }
    federated.neighbours = neighbours::measure(plan).await?;
    Ok(federated)
}
