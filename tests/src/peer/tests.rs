//! The peer against itself: what it sends is what the text says, and what it receives it holds against the text.

mod channels;
mod codec;
mod holding;
mod other_make;
