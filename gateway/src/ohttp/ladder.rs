//! The sizes that answers have before they are sealed. Whoever sees sizes sees rungs: neither the action nor how
//! much mail there is below a rung.

use relay_proto::page::RUNG;

/// The rungs below [`RUNG`], whose multiples follow.
const LOW: [usize; 2] = [4 << 10, 32 << 10];

/// The rung that so many bytes go up to.
pub(super) fn rung(length: usize) -> usize {
    LOW.into_iter().find(|rung| length <= *rung).unwrap_or_else(|| length.next_multiple_of(RUNG).max(RUNG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_4_32_and_multiples_of_96_kib() {
        for (length, expected) in [
            (0, 4096),
            (4096, 4096),
            (4097, 32_768),
            (32_768, 32_768),
            (32_769, 98_304),
            (98_304, 98_304),
            (98_305, 196_608),
            (1_400_000, 15 * 98_304),
        ] {
            assert_eq!(rung(length), expected, "{length}");
        }
    }

    #[test]
    fn clients_accept_every_rung() {
        assert!((0..2_000_000).step_by(1000).all(|length| rung(length).is_multiple_of(256)));
    }
}
