//! How much is to move, and where to. Pure: it is told everything it decides by.

use super::window::Window;
use crate::registry::PeerCapacity;
use relay_proto::PeerId;
use relay_proto::messages::CapacityReply;
use relay_proto::peer_messages::Capacity;
use std::collections::HashMap;

/// The part of the threshold to which mail of peers goes home where this relay's own needs the room, and the part up to
/// which it is taken in then: in between, so that nothing comes and goes for ever.
const HOME_TO: f64 = 15.0 / 16.0;
const TAKEN_TO: f64 = 31.0 / 32.0;

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
    pub(super) fn excess(self, capacity: CapacityReply, in_flight: u64) -> u64 {
        let kept = part(capacity.ceiling_bytes, self.threshold);
        capacity.live_bytes.saturating_sub(kept).saturating_sub(in_flight)
    }

    /// Bytes of peers' mail that are to go home because this relay's own needs the room, less those on their way: from
    /// where the store is above the threshold until it is a little below.
    pub(super) fn homing(self, capacity: CapacityReply, is_homing: bool, in_flight: u64) -> u64 {
        let end = part(capacity.ceiling_bytes, self.threshold * HOME_TO);
        let begin = if is_homing { end } else { part(capacity.ceiling_bytes, self.threshold) };
        if capacity.live_bytes <= begin || !has_much_of_its_own(capacity) {
            return 0;
        }
        let excess = capacity.live_bytes.saturating_sub(end).min(capacity.foreign_bytes);
        excess.saturating_sub(in_flight)
    }

    /// The room that peers are told of: up to the ratio of refusal, and no more than half of the store for all of them.
    pub(crate) fn room(self, capacity: CapacityReply, closed: bool) -> Capacity {
        let taken_to = if has_much_of_its_own(capacity) { self.threshold * TAKEN_TO } else { self.refuse };
        let taken_to = part(capacity.ceiling_bytes, taken_to.min(self.refuse));
        let below_ratio = taken_to.saturating_sub(capacity.live_bytes);
        let share = (capacity.ceiling_bytes / 2).saturating_sub(capacity.foreign_bytes);
        let free_bytes = below_ratio.min(share);
        let accepting = capacity.durable && !closed && free_bytes > 0;
        Capacity { free_bytes: if accepting { free_bytes } else { 0 }, accepting }
    }
}

/// Whether a quarter of the store is mail of this relay's own. With less, it is not that which makes the store full.
const fn has_much_of_its_own(capacity: CapacityReply) -> bool {
    capacity.live_bytes.saturating_sub(capacity.foreign_bytes) >= capacity.ceiling_bytes / 4
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
    places: &[PeerCapacity],
    windows: &HashMap<PeerId, Window>,
    wanted: u64,
) -> Option<(PeerId, u64)> {
    let window = |place: &PeerCapacity| windows.get(&place.peer).copied().unwrap_or_default();
    let room = |place: &PeerCapacity| place.free_bytes.saturating_sub(window(place).in_flight());
    let free = places.iter().filter(|place| window(place).message() > 0 && room(place) > 0);
    let best = free.max_by_key(|place| room(place))?;
    let bytes = wanted.min(window(best).message()).min(room(best));
    (bytes > 0).then_some((best.peer, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::offload::window::MESSAGE;
    use proptest::prelude::*;

    const RATIOS: Ratios = Ratios { threshold: 0.8, refuse: 0.95 };

    fn capacity(live_bytes: u64) -> CapacityReply {
        CapacityReply { live_bytes, ceiling_bytes: 1000, durable: true, foreign_bytes: 0 }
    }

    fn places(free: &[u64]) -> Vec<PeerCapacity> {
        (1..)
            .zip(free)
            .map(|(number, free)| PeerCapacity { peer: PeerId::from_bytes([number; 32]), free_bytes: *free })
            .collect()
    }

    #[test]
    fn what_is_above_the_threshold_moves_once() {
        for (live, in_flight, excess) in [(0, 0, 0), (800, 0, 0), (801, 0, 1), (900, 30, 70), (900, 200, 0)] {
            assert_eq!(RATIOS.excess(capacity(live), in_flight), excess);
        }
    }

    /// What peers are told where so much is in use and so much of it is theirs.
    fn room(live_bytes: u64, foreign_bytes: u64) -> u64 {
        RATIOS.room(CapacityReply { foreign_bytes, ..capacity(live_bytes) }, false).free_bytes
    }

    #[test]
    fn peers_are_told_of_the_room_that_there_is_for_them() {
        assert_eq!(RATIOS.room(capacity(700), false), Capacity { free_bytes: 75, accepting: true });
        let none = Capacity { free_bytes: 0, accepting: false };
        assert_eq!(RATIOS.room(capacity(775), false), none);
        assert_eq!(RATIOS.room(capacity(0), true), none, "a relay that is being emptied takes nothing");
        assert_eq!(
            RATIOS.room(CapacityReply { durable: false, ..capacity(0) }, false),
            none,
            "nor does memory"
        );
        let low = Ratios { threshold: 0.05, refuse: 0.1 };
        let told = |live_bytes| low.room(capacity(live_bytes), false).free_bytes;
        assert_eq!([told(99), told(100)], [1, 0], "the ratio of refusal holds in any case");
    }

    #[test]
    fn peers_have_half_of_the_store_and_no_more() {
        assert_eq!([room(0, 0), room(100, 100), room(480, 480), room(500, 500)], [500, 400, 20, 0]);
        assert_eq!(
            [room(650, 450), room(750, 450), room(780, 450)],
            [50, 25, 0],
            "less beside much of its own"
        );
    }

    #[test]
    fn mail_of_peers_goes_home_where_a_relays_own_needs_the_room() {
        let homing = |live_bytes, foreign_bytes, is_homing| {
            RATIOS.homing(CapacityReply { foreign_bytes, ..capacity(live_bytes) }, is_homing, 0)
        };
        assert_eq!([homing(800, 100, false), homing(801, 100, false)], [0, 51]);
        assert_eq!([homing(751, 100, true), homing(750, 100, true)], [1, 0], "once begun it goes on");
        assert_eq!([homing(940, 30, false), homing(940, 0, false)], [30, 0], "no more than there is");
        assert_eq!(homing(940, 700, false), 0, "it is theirs that fills the store");
        let on_its_way = CapacityReply { foreign_bytes: 300, ..capacity(850) };
        assert_eq!(RATIOS.homing(on_its_way, false, 80), 20);
    }

    #[test]
    fn what_peers_bring_never_begins_to_send_it_home() {
        for own in 250..800 {
            let foreign = room(own, 0);
            let full = CapacityReply { foreign_bytes: foreign, ..capacity(own + foreign) };
            assert_eq!(RATIOS.homing(full, false, 0), 0, "{own}");
        }
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
