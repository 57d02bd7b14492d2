//! One stranger costs nobody else anything: two kinds of client in one run, a hostile one at what the limits allow,
//! and honest ones at addresses of their own, which hardly notice. Each of these relays has the limits that an
//! operator has who sets nothing.

mod edge;
mod minute;
mod peers;
mod shares;
mod writer;

use relay_tests::Supervised;
use relay_tests::honest::Honest;
use std::time::Duration;

/// Time between two requests of one honest client.
const PAUSE: Duration = Duration::from_millis(150);

#[tokio::test]
async fn honest_clients_are_served_where_nobody_attacks() {
    let relay = Supervised::build().start().await;
    let honest = Honest::start(&relay.client(), 4, PAUSE);
    honest.more(24).await;
    let tally = honest.stop().await;
    tally.is_good();
    assert!(tally.refused.is_empty(), "{:?}", tally.refused);
}
