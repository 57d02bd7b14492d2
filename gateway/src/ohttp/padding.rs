//! The sizes that replies have before they are sealed. Whoever sees sizes sees rungs: neither the action nor how
//! much mail there is below a rung.

use relay_proto::page::RUNG;

/// The rungs below [`RUNG`], above which there is none: relays in between refuse longer replies.
const LOW: [usize; 2] = [4 << 10, 32 << 10];

/// The rung that so many bytes go up to, if there is one.
pub(super) fn rung(length: usize) -> Option<usize> {
    LOW.into_iter().chain([RUNG]).find(|rung| length <= *rung)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_4_32_and_96_kib_and_nothing_above() {
        for (length, expected) in [
            (0, Some(4096)),
            (4096, Some(4096)),
            (4097, Some(32_768)),
            (32_768, Some(32_768)),
            (32_769, Some(98_304)),
            (98_304, Some(98_304)),
            (98_305, None),
            (1_400_000, None),
        ] {
            assert_eq!(rung(length), expected, "{length}");
        }
    }

    #[test]
    fn clients_accept_every_rung() {
        assert!((0..2_000_000).step_by(1000).filter_map(rung).all(|rung| rung.is_multiple_of(256)));
    }
}
