//! Numbers that look random and cost a nanosecond, so that making requests does not compete with serving them.
//! Streams differ by number: a run is repeatable, and no two ciphertexts in it are the same.

use std::sync::atomic::{AtomicU64, Ordering};

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static STREAMS: AtomicU64 = AtomicU64::new(1);

/// One stream of numbers (`SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A stream that nobody else in this run has.
    pub(crate) fn new() -> Self {
        Self::seeded(STREAMS.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0xd134_2543_de82_ef95));
        Self(random.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`. Its bias is far below what a measurement shows.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn bytes(&mut self, into: &mut [u8]) {
        for chunk in into.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    pub(crate) fn hex(&mut self, into: &mut [u8]) {
        for chunk in into.chunks_mut(16) {
            let mut bits = self.next();
            for digit in chunk {
                *digit = HEX[(bits & 15) as usize];
                bits >>= 4;
            }
        }
    }

    pub(crate) fn base64(&mut self, into: &mut [u8]) {
        for chunk in into.chunks_mut(10) {
            let mut bits = self.next();
            for digit in chunk {
                *digit = BASE64[(bits & 63) as usize];
                bits >>= 6;
            }
        }
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}
