//! How much is to move, and where to. Pure: it is told everything it decides by.

use super::window::Window;
use crate::roster::Place;
use relay_proto::PeerId;
use relay_proto::admin::Capacity;
use relay_proto::peer::Room;
use std::collections::HashMap;

/// Parts of the ceiling.
#[derive(Debug, Clone, Copy)]
pub struct Ratios {
    /// Above it the oldest mail moves to peers.
    pub threshold: f64,
    /// Above it that of peers is refused.
    pub refuse: f64,
}

impl Ratios {
    /// Bytes above the threshold, less those on their way.
    pub(super) fn excess(self, capacity: Capacity, in_flight: u64) -> u64 {
        let kept = part(capacity.ceiling_bytes, self.threshold);
        capacity.live_bytes.saturating_sub(kept).saturating_sub(in_flight)
    }

    /// The room that peers are told of.
    pub(crate) fn room(self, capacity: Capacity, draining: bool) -> Room {
        let free_bytes = part(capacity.ceiling_bytes, self.refuse).saturating_sub(capacity.live_bytes);
        let accepting = capacity.durable && !draining && free_bytes > 0;
        Room { free_bytes: if accepting { free_bytes } else { 0 }, accepting }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a whole, which need not be exact"
)]
fn part(whole: u64, ratio: f64) -> u64 {
    (whole as f64 * ratio) as u64
}

/// The peer with most room of those that may be offered something now, and how much to offer it, of `wanted` bytes.
/// A peer whose word is not true costs a refusal, no more.
pub(super) fn choose(
    places: &[Place],
    windows: &HashMap<PeerId, Window>,
    wanted: u64,
) -> Option<(PeerId, u64)> {
    let window = |place: &Place| windows.get(&place.peer).copied().unwrap_or_default();
    let room = |place: &Place| place.free_bytes.saturating_sub(window(place).in_flight());
    let free = places.iter().filter(|place| window(place).message() > 0 && room(place) > 0);
    let best = free.max_by_key(|place| room(place))?;
    let bytes = wanted.min(window(best).message()).min(room(best));
    (bytes > 0).then_some((best.peer, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::window::MESSAGE;
    use proptest::prelude::*;

    const RATIOS: Ratios = Ratios { threshold: 0.8, refuse: 0.95 };

    fn capacity(live_bytes: u64) -> Capacity {
        Capacity { live_bytes, ceiling_bytes: 1000, durable: true }
    }

    fn places(free: &[u64]) -> Vec<Place> {
        (1..)
            .zip(free)
            .map(|(number, free)| Place { peer: PeerId::from_bytes([number; 32]), free_bytes: *free })
            .collect()
    }

    #[test]
    fn what_is_above_the_threshold_moves_once() {
        for (live, in_flight, excess) in [(0, 0, 0), (800, 0, 0), (801, 0, 1), (900, 30, 70), (900, 200, 0)] {
            assert_eq!(RATIOS.excess(capacity(live), in_flight), excess);
        }
    }

    #[test]
    fn peers_are_told_of_the_room_below_the_ratio_of_refusal() {
        assert_eq!(RATIOS.room(capacity(900), false), Room { free_bytes: 50, accepting: true });
        let none = Room { free_bytes: 0, accepting: false };
        assert_eq!(RATIOS.room(capacity(950), false), none);
        assert_eq!(RATIOS.room(capacity(0), true), none, "a relay that is being emptied takes nothing");
        assert_eq!(RATIOS.room(Capacity { durable: false, ..capacity(0) }, false), none, "nor does memory");
    }

    fn windows(in_flight: &[(u8, u64)]) -> HashMap<PeerId, Window> {
        let mut windows = HashMap::new();
        for (number, bytes) in in_flight {
            windows.entry(PeerId::from_bytes([*number; 32])).or_insert_with(Window::default).begin(*bytes);
        }
        windows
    }

    #[test]
    fn the_peer_with_most_room_is_asked_for_no_more_than_it_has() {
        let (none, two, three) = (HashMap::new(), PeerId::from_bytes([2; 32]), PeerId::from_bytes([3; 32]));
        assert_eq!(choose(&places(&[10, 30, 20]), &none, 100), Some((two, 30)));
        assert_eq!(choose(&places(&[10, 30, 20]), &none, 7), Some((two, 7)));
        assert_eq!(choose(&places(&[10, 30, 20]), &windows(&[(2, 15)]), 100), Some((three, 20)));
        assert_eq!(choose(&places(&[0, 0]), &none, 100), None);
        assert_eq!(choose(&[], &none, 100), None);
        assert_eq!(choose(&places(&[10]), &none, 0), None);
        let first = Window::default().message();
        assert_eq!(choose(&places(&[u64::MAX]), &none, u64::MAX).unwrap().1, first);
        let busy = windows(&[(2, first)]);
        assert_eq!(
            choose(&places(&[10, u64::MAX, 20]), &busy, 100),
            Some((three, 20)),
            "the other one is busy"
        );
    }

    proptest! {
        #[test]
        fn whatever_peers_say_no_more_is_offered_than_is_wanted(
            free in prop::collection::vec(any::<u64>(), 0..5), wanted: u64, in_flight in 0_u64..1 << 40,
        ) {
            let windows = windows(&[(1, in_flight), (2, in_flight)]);
            if let Some((peer, bytes)) = choose(&places(&free), &windows, wanted) {
                prop_assert!(bytes > 0 && bytes <= wanted && bytes <= MESSAGE);
                let window = windows.get(&peer).copied().unwrap_or_default();
                prop_assert!(bytes <= window.message());
            }
        }
    }
}
