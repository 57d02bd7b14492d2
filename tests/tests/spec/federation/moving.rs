//! Mail that moves and comes back.

use super::{Mail, SMALL, has_moved};
use relay_tests::federation::Federation;

#[tokio::test]
async fn what_a_full_relay_moves_its_clients_receive_through_it() {
    let federation = Federation::pair(&SMALL).await;
    let [origin, peer] = &federation.relays[..] else { panic!("two relays") };
    let client = origin.client();
    let mut mail = Mail::default();
    for _ in 0..4 {
        mail.fill(&client, 10, 50_000).await;
    }
    let moved = has_moved(origin).await;
    assert_eq!(peer.stored("relay_federation_held_blobs").await, moved);
    assert_eq!(origin.stored("relay_blobs_stored").await + moved, 40);
    mail.receive_all(&client).await;
    federation.settled().await;
    for relay in &federation.relays {
        assert_eq!(relay.stored("relay_blobs_stored").await, 0);
    }
}
