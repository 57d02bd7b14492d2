//! Messages put together from frames, with an eye on the rules.

use super::frame::{Data, LARGEST_MESSAGE, LAST};
use std::collections::BTreeMap;

/// Streams that may be open at once.
pub const OPEN_STREAMS: usize = 4;

/// The streams of one sender.
#[derive(Debug, Default)]
pub struct Assembly {
    newest: u32,
    open: BTreeMap<u32, Stream>,
}

#[derive(Debug)]
struct Stream {
    next: u32,
    total: u32,
    bytes: Vec<u8>,
}

impl Assembly {
    /// Takes a frame, and gives the message if that was its last.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn take(&mut self, frame: Data) -> Result<Option<Vec<u8>>, &'static str> {
        let total = usize::try_from(frame.total).map_err(|_| "a total that does not fit")?;
        if total > LARGEST_MESSAGE {
            return Err("a message that is too large");
        }
        if !self.open.contains_key(&frame.stream) {
            if Some(frame.stream) != self.newest.checked_add(1) {
                return Err("a stream whose number is not the next");
            }
            if self.open.len() == OPEN_STREAMS {
                return Err("too many open streams");
            }
            self.newest = frame.stream;
            let stream = Stream { next: 0, total: frame.total, bytes: Vec::new() };
            self.open.insert(frame.stream, stream);
        }
        let stream = self.open.get_mut(&frame.stream).ok_or("a stream that is open")?;
        if frame.sequence != stream.next {
            return Err("a frame whose number is not the next");
        }
        if frame.total != stream.total {
            return Err("another total than before");
        }
        stream.next += 1;
        stream.bytes.extend(&frame.bytes);
        if stream.bytes.len() > total {
            return Err("more bytes than the total");
        }
        if frame.flags & LAST == 0 {
            return Ok(None);
        }
        if stream.bytes.len() < total {
            return Err("fewer bytes than the total");
        }
        Ok(self.open.remove(&frame.stream).map(|stream| stream.bytes))
    }
}
