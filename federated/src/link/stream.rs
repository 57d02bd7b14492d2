//! Messages as streams of frames: cutting what is sent, so that a short message does not wait behind a long one,
//! and putting together what comes, within bounds.

use super::Broken;
use super::frame::{Frame, MAX_PIECE, Piece};
use std::collections::{BTreeMap, VecDeque};

/// Messages of one sender that may be on their way at once.
const MAX_STREAMS: usize = 4;

/// Which messages go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Somebody waits for it.
    Prompt,
    /// Mail that moves.
    Bulk,
}

/// What waits to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// In the order of their priority.
    queues: [SendQueue; 2],
    streams: u32,
    /// Bytes of messages that were not handed out.
    waiting: usize,
    /// Frames that were.
    frames: u64,
    /// Questions that were handed out whole.
    sent: Vec<u64>,
}

/// Messages of one priority: the one that has begun, and those behind it.
#[derive(Debug, Default)]
struct SendQueue {
    begun: Option<Begun>,
    waiting: VecDeque<Queued>,
}

/// A message, and the number of the question that it is; 0 for what is none.
#[derive(Debug)]
struct Queued {
    message: Vec<u8>,
    question: u64,
}

/// A message on its way.
#[derive(Debug)]
struct Begun {
    queued: Queued,
    stream: u32,
    sequence: u32,
    sent: usize,
}

impl Outgoing {
    /// Queues a message. `question` is its number if it is one, or else 0.
    pub(crate) fn push(&mut self, message: Vec<u8>, priority: Priority, question: u64) {
        self.waiting += message.len();
        let [prompt, bulk] = &mut self.queues;
        let queue = if priority == Priority::Prompt { prompt } else { bulk };
        queue.waiting.push_back(Queued { message, question });
    }

    /// Takes a question back that nobody wants answered any more. What has begun is sent to its end.
    pub(crate) fn withdraw(&mut self, question: u64) {
        for queue in &mut self.queues {
            queue.waiting.retain(|queued| {
                let stays = queued.question != question;
                self.waiting -= if stays { 0 } else { queued.message.len() };
                stays
            });
        }
    }

    /// Bytes that were not handed out.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Frames that were handed out.
    pub(crate) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Questions that were handed out whole since this was asked last.
    pub(crate) fn take_sent(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.sent)
    }

    /// The next frame to send, of the most urgent message.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        for SendQueue { begun, waiting } in &mut self.queues {
            if begun.is_none() {
                *begun = waiting.pop_front().map(|queued| {
                    self.streams = self.streams.wrapping_add(1);
                    Begun { queued, stream: self.streams, sequence: 0, sent: 0 }
                });
            }
            let Some(current) = begun else { continue };
            let Queued { message, question } = &current.queued;
            let rest = message.get(current.sent..).unwrap_or_default();
            let (bytes, last) = match rest.split_at_checked(MAX_PIECE) {
                Some((bytes, rest)) if !rest.is_empty() => (bytes, false),
                _ => (rest, true),
            };
            let total = u32::try_from(message.len()).unwrap_or(u32::MAX);
            let piece = Piece { stream: current.stream, sequence: current.sequence, last, total, bytes };
            let frame = Frame::Data(piece).encode();
            self.waiting -= bytes.len();
            self.frames += 1;
            current.sent += bytes.len();
            current.sequence += 1;
            if last {
                if *question != 0 {
                    self.sent.push(*question);
                }
                *begun = None;
            }
            return Some(frame);
        }
        None
    }
}

/// What has come of messages that are not whole yet.
#[derive(Debug)]
pub(crate) struct Incoming {
    partial: BTreeMap<u32, Partial>,
    /// The newest stream that began.
    newest: u32,
    /// Longest message that is taken, in bytes.
    limit: usize,
}

#[derive(Debug)]
struct Partial {
    bytes: Vec<u8>,
    total: usize,
    sequence: u32,
}

impl Incoming {
    /// Takes messages of up to `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { partial: BTreeMap::new(), newest: 0, limit }
    }

    /// Takes longer ones from now on, or shorter ones.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes a piece. Returns the message that it completes.
    pub(crate) fn take(&mut self, piece: &Piece<'_>) -> Result<Option<Vec<u8>>, Broken> {
        let total = usize::try_from(piece.total).map_err(|_| Broken)?;
        // What all unfinished messages may take together is what one may.
        let others: usize = self
            .partial
            .iter()
            .filter(|(stream, _)| **stream != piece.stream)
            .map(|(_, partial)| partial.bytes.len())
            .sum();
        if total > self.limit || others + total > self.limit.saturating_mul(2) {
            return Err(Broken);
        }
        if !self.partial.contains_key(&piece.stream) {
            if piece.stream != self.newest.wrapping_add(1) || self.partial.len() >= MAX_STREAMS {
                return Err(Broken);
            }
            self.newest = piece.stream;
            // Room for all of it, of which the kernel gives what is written to. A list that grows would hold it twice.
            let bytes = Vec::with_capacity(total);
            self.partial.insert(piece.stream, Partial { bytes, total, sequence: 0 });
        }
        let partial = self.partial.get_mut(&piece.stream).ok_or(Broken)?;
        let length = partial.bytes.len() + piece.bytes.len();
        let fits = piece.sequence == partial.sequence && total == partial.total && length <= total;
        // An empty piece moves nothing, unless it is all of an empty message.
        let moves = !piece.bytes.is_empty() || total == 0;
        if !fits || !moves || piece.last != (length == total) {
            return Err(Broken);
        }
        partial.bytes.extend_from_slice(piece.bytes);
        partial.sequence += 1;
        let whole = if piece.last { self.partial.remove(&piece.stream) } else { None };
        Ok(whole.map(|partial| partial.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn deliver(outgoing: &mut Outgoing, incoming: &mut Incoming) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(frame) = outgoing.next() {
            let Ok(Frame::Data(piece)) = Frame::decode(&frame) else { panic!("not a piece") };
            whole.extend(incoming.take(&piece).unwrap());
        }
        assert!(outgoing.waiting() == 0 && incoming.partial.is_empty());
        whole
    }

    fn piece(stream: u32, sequence: u32, last: bool, total: u32, bytes: &[u8]) -> Piece<'_> {
        Piece { stream, sequence, last, total, bytes }
    }

    #[test]
    fn a_short_message_overtakes_a_long_one() {
        let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::new(1 << 20));
        let long = vec![1; 3 * MAX_PIECE + 1];
        outgoing.push(long.clone(), Priority::Bulk, 0);
        let first = outgoing.next().unwrap();
        let Ok(Frame::Data(first)) = Frame::decode(&first) else { panic!("not a piece") };
        assert_eq!(incoming.take(&first), Ok(None));
        outgoing.push(b"short".to_vec(), Priority::Prompt, 0);
        assert_eq!(deliver(&mut outgoing, &mut incoming), [b"short".to_vec(), long]);
    }

    #[test]
    fn a_question_is_sent_when_its_last_frame_is_and_withdrawn_before_its_first() {
        let mut outgoing = Outgoing::default();
        outgoing.push(vec![1; 2 * MAX_PIECE], Priority::Bulk, 1);
        outgoing.push(vec![2; 10], Priority::Bulk, 2);
        outgoing.push(vec![3; 10], Priority::Prompt, 0);
        assert_eq!(outgoing.waiting(), 2 * MAX_PIECE + 20);
        outgoing.next().unwrap();
        outgoing.next().unwrap();
        assert_eq!(outgoing.take_sent(), Vec::<u64>::new(), "one has begun, one is no question");
        for question in [1, 2, 0] {
            outgoing.withdraw(question);
        }
        assert_eq!(outgoing.waiting(), MAX_PIECE, "what has begun goes on");
        outgoing.next().unwrap();
        assert_eq!((outgoing.take_sent(), outgoing.waiting(), outgoing.frames()), (vec![1], 0, 3));
        assert!(outgoing.next().is_none());
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        for (why, pieces) in [
            ("a stream that skips a number", vec![piece(2, 0, true, 1, b"a")]),
            ("stream 0", vec![piece(0, 0, true, 1, b"a")]),
            ("a sequence that skips", vec![piece(1, 0, false, 2, b"a"), piece(1, 2, true, 2, b"a")]),
            ("a sequence that begins late", vec![piece(1, 1, true, 1, b"a")]),
            ("a stream that is over", vec![piece(1, 0, true, 1, b"a"), piece(1, 1, true, 1, b"a")]),
            ("more than its total", vec![piece(1, 0, false, 2, b"a"), piece(1, 1, true, 2, b"aa")]),
            ("less than its total", vec![piece(1, 0, true, 2, b"a")]),
            ("its total, and not the last", vec![piece(1, 0, false, 1, b"a")]),
            ("another total", vec![piece(1, 0, false, 3, b"a"), piece(1, 1, true, 2, b"a")]),
            ("nothing", vec![piece(1, 0, false, 2, b"")]),
            ("too long", vec![piece(1, 0, false, 101, b"a")]),
            ("five at once", (1..=5).map(|stream| piece(stream, 0, false, 2, b"a")).collect::<Vec<_>>()),
        ] {
            let mut incoming = Incoming::new(100);
            let (last, before) = pieces.split_last().unwrap();
            for piece in before {
                assert!(incoming.take(piece).is_ok(), "{why}");
            }
            assert_eq!(incoming.take(last), Err(Broken), "{why}");
        }
    }

    #[test]
    fn unfinished_messages_are_bounded_together() {
        let mut incoming = Incoming::new(100);
        let bytes = [1; 99];
        assert_eq!(incoming.take(&piece(1, 0, false, 100, &bytes)), Ok(None));
        assert_eq!(incoming.take(&piece(2, 0, false, 100, &bytes)), Ok(None));
        assert_eq!(incoming.take(&piece(3, 0, false, 100, &bytes)), Err(Broken));
    }

    #[test]
    fn an_empty_message_is_one_too() {
        let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::new(0));
        outgoing.push(Vec::new(), Priority::Prompt, 0);
        assert_eq!(deliver(&mut outgoing, &mut incoming), [Vec::<u8>::new()]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn messages_of_any_length_arrive_whole(lengths in prop::collection::vec(0_usize..200_000, 1..6)) {
            let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::new(1 << 20));
            let messages: Vec<Vec<u8>> = (1..).zip(&lengths).map(|(fill, length)| vec![fill; *length]).collect();
            for message in &messages {
                outgoing.push(message.clone(), Priority::Bulk, 0);
            }
            prop_assert_eq!(deliver(&mut outgoing, &mut incoming), messages);
        }

        #[test]
        fn no_pieces_panic(
            pieces in prop::collection::vec(
                (0_u32..4, 0_u32..3, any::<bool>(), 0_u32..6, prop::collection::vec(any::<u8>(), 0..4)), 0..40)
        ) {
            let mut incoming = Incoming::new(5);
            for (stream, sequence, last, total, bytes) in &pieces {
                drop(incoming.take(&piece(*stream, *sequence, *last, *total, bytes)));
                prop_assert!(incoming.partial.len() <= MAX_STREAMS);
            }
        }
    }
}
