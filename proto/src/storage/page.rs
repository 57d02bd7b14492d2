//! How much mail goes into one answer.
//!
//! Deployed OHTTP relays refuse responses over 128 KiB, and padded plaintexts come in rungs, so a page
//! ends before its JSON would pass the 96 KiB rung. Direct answers follow the same rule, but for a single blob that
//! fits no page. Storage cuts the page, the gateway writes it: both count with these functions, and a gateway test
//! holds them to the real JSON.

/// The largest plaintext of a sealed answer, in bytes. Nothing goes above it, whatever was asked.
pub const RUNG: usize = 96 << 10;

/// Bytes of the length prefix in front of a padded plaintext.
const LENGTH_PREFIX: usize = 4;

/// `{"status":"ok","blobs":[],"truncated":false}`, room for a few fields more, and the status and headers that
/// stand before it in a Binary HTTP response.
const ENVELOPE: usize = 512;

/// What a blob adds besides its base64: names, quotes, id, token, a `created_at` of at most 20 digits, a comma.
const BLOB_FRAME: usize = 180;

/// What an origin hint adds: name, quotes and 100 characters of base64.
const HINT_FRAME: usize = 117;

/// Bytes of JSON that the blobs of one page may take.
pub const BUDGET: usize = RUNG - LENGTH_PREFIX - ENVELOPE;

/// Bytes of JSON that one blob takes, at most.
pub const fn wire_size(ciphertext: usize, has_origin_hint: bool) -> usize {
    let base64 = ciphertext.div_ceil(3) * 4;
    BLOB_FRAME + base64 + if has_origin_hint { HINT_FRAME } else { 0 }
}

/// Bytes of the largest blob that fits a page, counted as storage counts them: ciphertext and origin hint together.
/// So the size alone tells whether a blob fits, also where only its size is known. Split into the two, it takes up to
/// 24 bytes more of JSON than the budget, which the envelope has to spare.
pub const LARGEST: usize = (BUDGET - BLOB_FRAME) / 4 * 3;

/// Whether a blob of so many bytes, its origin hint included, fits a page.
pub const fn fits(size: usize) -> bool {
    size <= LARGEST
}

/// Decides blob by blob what still fits.
#[derive(Debug, Default)]
pub struct PageRoom {
    used: usize,
    blobs: usize,
}

impl PageRoom {
    /// The room that so many other bytes of JSON leave.
    pub const fn besides(bytes: usize) -> Self {
        Self { used: bytes, blobs: 0 }
    }

    /// Takes room for a blob, or says that this page has none for it. The first blob always fits.
    pub fn take(&mut self, ciphertext: usize, has_origin_hint: bool) -> bool {
        let fits = self.has_room(ciphertext, has_origin_hint);
        if fits {
            self.used = self.used.saturating_add(wire_size(ciphertext, has_origin_hint));
            self.blobs += 1;
        }
        fits
    }

    /// Whether [`PageRoom::take`] would take it.
    pub const fn has_room(&self, ciphertext: usize, has_origin_hint: bool) -> bool {
        self.blobs == 0 || self.used.saturating_add(wire_size(ciphertext, has_origin_hint)) <= BUDGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_page_holds_one_blob_or_stays_inside_its_budget(sizes in prop::collection::vec(1_usize..40_000, 1..200)) {
            let mut room = PageRoom::default();
            let (taken, left): (Vec<usize>, Vec<usize>) = sizes.iter().partition(|size| room.take(**size, true));
            prop_assert!(!taken.is_empty());
            let total: usize = taken.iter().map(|size| wire_size(*size, true)).sum();
            prop_assert!(taken.len() == 1 || total <= BUDGET);
            prop_assert_eq!(taken[0], sizes[0], "the oldest goes first");
            for size in left {
                prop_assert!(total + wire_size(size, true) > BUDGET, "the page could have held one more");
            }
        }

        #[test]
        fn two_blobs_of_which_one_fits_no_page_never_share_one(small in 1_usize..100, hint: bool) {
            let (mut room, ciphertext) = (PageRoom::default(), LARGEST + 1 - 74 * usize::from(hint));
            prop_assert!(room.take(ciphertext, hint));
            prop_assert!(!room.take(small, false));
        }
    }

    #[test]
    fn what_stands_beside_the_blobs_takes_its_room() {
        let fits = |besides| {
            let mut room = PageRoom::besides(besides);
            (0..1000).take_while(|_| room.take(300, false)).count()
        };
        assert_eq!(fits(0), BUDGET / wire_size(300, false));
        assert_eq!(fits(5000), (BUDGET - 5000) / wire_size(300, false));
    }

    #[test]
    fn a_single_larger_blob_goes_out_alone() {
        let mut room = PageRoom::default();
        assert!(room.take(1 << 20, false));
        assert!(!room.take(1, false));
    }

    #[test]
    fn the_largest_blob_fits_with_and_without_a_hint_and_the_next_size_is_larger_than_a_page() {
        assert!(fits(LARGEST) && !fits(LARGEST + 1));
        assert_eq!(wire_size(LARGEST, false), BUDGET);
        assert!(wire_size(LARGEST - 74, true) <= BUDGET + 24);
        assert!(wire_size(LARGEST + 1, false) > BUDGET);
    }
}
