//! A connection on which both sides know one another.

use super::assembly::Assembly;
use super::closed::Closed;
use super::dial::Recording;
use super::frame::{self, Frame};
use super::greeting::{self, First, Introduction};
use super::keys::PeerKeys;
use super::message::{Body, Encoded as _, Message};
use super::noise::{self, Handshake, Opening, Sealing};
use super::options::Options;
use super::websocket::{Reader, Side, WebSocket, Writer};
use crate::deadline;
use std::collections::{BTreeMap, VecDeque};

/// A channel to a relay. What it receives is held against every rule of `CHANNEL.md`; what it sends need not keep
/// one. Sending never fails: what a relay does with it shows in what comes from it.
#[derive(Debug)]
pub struct Channel {
    /// Who is at the other end.
    pub relay: Introduction,
    /// What this side sent until it was through.
    pub recording: Recording,
    /// The sending half.
    pub sender: Sender,
    /// The receiving half.
    pub receiver: Receiver,
    aside: VecDeque<Message>,
    asked: u64,
}

impl Channel {
    /// Makes a channel of a WebSocket that this peer dialled.
    ///
    /// # Errors
    /// How it ended instead.
    pub async fn initiate(
        mut socket: WebSocket,
        keys: &PeerKeys,
        relay_key: &[u8; 32],
        options: &Options,
    ) -> Result<Self, Closed> {
        let mut recording = Recording::default();
        let mut handshake = Handshake::initiator(&options.prologue, relay_key);
        let first = turned(handshake.write(&options.payload), options.flipped_bit);
        socket.writer.binary(&first).await;
        recording.sent.push(first);
        hear(&mut handshake, &socket.reader.binary().await?)?;
        let (hash, sealing, opening) = handshake.finish();
        let mut sender = Sender { sealing, writer: socket.writer, stream: 0 };
        let mut receiver = Receiver::new(opening, socket.reader);
        recording.sent.extend(sender.greet(keys, Side::Client, relay_key, &hash, options).await);
        let greeted = receiver.bytes().await?;
        let relay = greeting::check(&greeted, Side::Server, relay_key, &hash).map_err(Closed::violation)?;
        Ok(Self { relay, recording, sender, receiver, aside: VecDeque::new(), asked: 0 })
    }

    /// Makes a channel of a WebSocket that the relay dialled.
    ///
    /// # Errors
    /// How it ended instead.
    pub async fn respond(mut socket: WebSocket, keys: &PeerKeys, options: &Options) -> Result<Self, Closed> {
        let mut handshake = Handshake::responder(&options.prologue, &keys.noise_private);
        hear(&mut handshake, &socket.reader.binary().await?)?;
        let second = turned(handshake.write(&options.payload), options.flipped_bit);
        socket.writer.binary(&second).await;
        let mut recording = Recording { sent: vec![second] };
        let (hash, sealing, opening) = handshake.finish();
        let mut sender = Sender { sealing, writer: socket.writer, stream: 0 };
        let mut receiver = Receiver::new(opening, socket.reader);
        let greeted = receiver.bytes().await?;
        let relay = greeting::check(&greeted, Side::Client, &keys.noise_public, &hash);
        let relay = relay.map_err(Closed::violation)?;
        recording.sent.extend(sender.greet(keys, Side::Server, &keys.noise_public, &hash, options).await);
        Ok(Self { relay, recording, sender, receiver, aside: VecDeque::new(), asked: 0 })
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Message) {
        self.sender.message(message).await;
    }

    /// The next message.
    ///
    /// # Panics
    /// When the connection ends instead, the relay breaks a rule, or nothing comes.
    pub async fn receive(&mut self) -> Message {
        if let Some(message) = self.aside.pop_front() {
            return message;
        }
        self.fresh().await
    }

    async fn fresh(&mut self) -> Message {
        match deadline::soon("a message of the relay", self.receiver.message()).await {
            Ok(message) => message,
            Err(closed) => panic!("no message of the relay: {closed:?}"),
        }
    }

    /// The next message that asks or is a notice of some kind; others are passed over.
    ///
    /// # Panics
    /// As [`Channel::receive`].
    pub async fn receive_where(&mut self, wanted: impl Fn(&Body) -> bool) -> Message {
        loop {
            let message = self.receive().await;
            if message.body.as_ref().is_some_and(&wanted) {
                return message;
            }
        }
    }

    /// Asks, and returns the answer. What comes before it is kept for [`Channel::receive`].
    ///
    /// # Panics
    /// As [`Channel::receive`].
    pub async fn ask(&mut self, body: Body) -> Body {
        self.asked += 1;
        let request = self.asked;
        self.send(&Message::new(request, body)).await;
        loop {
            match self.fresh().await {
                Message { request: of, body: Some(body) } if of == request && body.is_answer() => {
                    return body;
                }
                other => self.aside.push_back(other),
            }
        }
    }

    /// Asks everything at once, as fast as the relay takes it, and returns the answers in the order of the
    /// questions. Answers are read meanwhile, so that neither side has to wait for the other.
    ///
    /// # Panics
    /// As [`Channel::receive`].
    pub async fn ask_all(&mut self, bodies: Vec<Body>) -> Vec<Body> {
        let first = self.asked + 1;
        self.asked += bodies.len() as u64;
        let questions = (first..).zip(bodies).map(|(request, body)| Message::new(request, body));
        let (sender, receiver, aside) = (&mut self.sender, &mut self.receiver, &mut self.aside);
        let mut open: Vec<u64> = (first..=self.asked).collect();
        let send = async {
            for question in questions {
                sender.message(&question).await;
            }
        };
        let receive = async {
            let mut answers = BTreeMap::new();
            while !open.is_empty() {
                let message = match receiver.message().await {
                    Ok(message) => message,
                    Err(closed) => panic!("{} questions stay without answer: {closed:?}", open.len()),
                };
                match message.body {
                    Some(body) if body.is_answer() => {
                        assert!(
                            open.contains(&message.request),
                            "an answer to what was not asked, or a second one"
                        );
                        open.retain(|&request| request != message.request);
                        answers.insert(message.request, body);
                    }
                    _ => aside.push_back(message),
                }
            }
            answers.into_values().collect()
        };
        deadline::soon("all answers", async { tokio::join!(send, receive).1 }).await
    }

    /// Answers a question of the relay.
    pub async fn answer(&mut self, question: &Message, body: Body) {
        self.send(&Message::new(question.request, body)).await;
    }

    /// Sends the bytes of a message, whatever they are, as one.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.sender.bytes(bytes).await;
    }

    /// Sends a frame.
    pub async fn send_frame(&mut self, frame: &Frame) {
        self.sender.plaintext(&frame.encode()).await;
    }

    /// Sends the plaintext of a Noise message, whatever it is.
    pub async fn send_raw_frame(&mut self, plaintext: &[u8]) {
        self.sender.plaintext(plaintext).await;
    }

    /// Sends bytes where a Noise message should be.
    pub async fn send_raw_noise(&mut self, message: &[u8]) {
        self.sender.writer.binary(message).await;
    }

    /// Sends bytes where a WebSocket frame should be.
    pub async fn send_raw_websocket(&mut self, bytes: &[u8]) {
        self.sender.writer.raw(bytes).await;
    }

    /// Ends it in order. What the relay says meanwhile can still be received.
    pub async fn close(&mut self, reason: u8) {
        self.send_frame(&Frame::Close { reason }).await;
        self.sender.writer.cut().await;
    }

    /// Ends it without a word.
    pub async fn cut(self) {
        self.sender.writer.cut().await;
    }

    /// Waits until the relay ends it, and says how. Messages that come before are passed over.
    ///
    /// # Panics
    /// When it does not end it, or breaks a rule.
    pub async fn closed_with(&mut self) -> Closed {
        let end = async {
            loop {
                if let Err(closed) = self.receiver.message().await {
                    return closed;
                }
            }
        };
        deadline::soon("the end of a channel", end).await.lawful()
    }
}

/// Takes in the relay's handshake message.
fn hear(handshake: &mut Handshake, message: &[u8]) -> Result<(), Closed> {
    if message.len() != noise::HANDSHAKE_MESSAGE {
        return Err(Closed::violation("a handshake message of another size"));
    }
    match handshake.read(message) {
        Some(payload) if payload.is_empty() => Ok(()),
        Some(_) => Err(Closed::violation("a payload in the handshake")),
        None => Err(Closed::Unreadable),
    }
}

/// The bytes with one bit turned, if one is to be.
fn turned(mut bytes: Vec<u8>, bit: Option<usize>) -> Vec<u8> {
    if let Some(bit) = bit {
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes
}

/// The sending half.
#[derive(Debug)]
pub struct Sender {
    sealing: Sealing,
    /// The WebSocket below.
    pub writer: Writer,
    stream: u32,
}

impl Sender {
    /// Sends the greeting, or what is said in place of it, and returns the Noise messages that it took.
    async fn greet(
        &mut self,
        keys: &PeerKeys,
        side: Side,
        responder_key: &[u8; 32],
        hash: &[u8; 32],
        options: &Options,
    ) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        if let Some(bytes) = options.greeting.encode(keys, side, responder_key, hash) {
            let stream = self.next_stream();
            for data in frame::cut(stream, &bytes, frame::LARGEST_PIECE) {
                sent.push(self.sealing.seal(&Frame::Data(data).encode()));
            }
        }
        for message in &sent {
            self.writer.binary(message).await;
        }
        if matches!(options.greeting.first, First::Cut) {
            self.writer.cut().await;
        }
        sent
    }

    /// Opens a stream: the number that comes next.
    pub const fn next_stream(&mut self) -> u32 {
        self.stream += 1;
        self.stream
    }

    /// Seals a plaintext under the next number and leaves the sending to the caller.
    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.sealing.seal(plaintext)
    }

    /// Sends a plaintext.
    pub async fn plaintext(&mut self, plaintext: &[u8]) {
        let sealed = self.seal(plaintext);
        self.writer.binary(&sealed).await;
    }

    /// Sends a message.
    pub async fn message(&mut self, message: &Message) {
        self.bytes(&message.encode_to_vec()).await;
    }

    /// Sends the bytes of a message, whatever they are.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let stream = self.next_stream();
        for data in frame::cut(stream, bytes, frame::LARGEST_PIECE) {
            self.plaintext(&Frame::Data(data).encode()).await;
        }
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct Receiver {
    opening: Opening,
    reader: Reader,
    assembly: Assembly,
    ended: Option<Closed>,
}

impl Receiver {
    fn new(opening: Opening, reader: Reader) -> Self {
        Self { opening, reader, assembly: Assembly::default(), ended: None }
    }

    /// The next message whose body is known; others are passed over.
    ///
    /// # Errors
    /// How the connection ended. It ends once: every further call says the same.
    pub async fn message(&mut self) -> Result<Message, Closed> {
        loop {
            let bytes = self.bytes().await?;
            let Ok(message) = Message::decode(&bytes[..]) else {
                return self.broken("a message that is none");
            };
            return match (&message.body, message.request) {
                (None, _) => continue,
                (Some(Body::Hello(_) | Body::HelloAck(_)), _) => self.broken("a second greeting"),
                (Some(Body::Capacity(_)), 1..) => self.broken("a notice with a number"),
                (Some(Body::Capacity(_)), 0) => Ok(message),
                (_, 0) => self.broken("a question or an answer without a number"),
                _ => Ok(message),
            };
        }
    }

    fn broken(&mut self, rule: &str) -> Result<Message, Closed> {
        let closed = Closed::violation(rule);
        self.ended = Some(closed.clone());
        Err(closed)
    }

    /// The bytes of the next message.
    ///
    /// # Errors
    /// As [`Receiver::message`].
    pub async fn bytes(&mut self) -> Result<Vec<u8>, Closed> {
        if let Some(closed) = &self.ended {
            return Err(closed.clone());
        }
        loop {
            let taken = match self.frame().await {
                Ok(Frame::Data(data)) => self.assembly.take(data).map_err(Closed::violation),
                Ok(Frame::Close { reason }) if reason <= 4 => Err(Closed::InOrder(reason)),
                Ok(Frame::Close { reason }) => Err(Closed::violation(format!("close reason {reason}"))),
                Err(closed) => Err(closed),
            };
            match taken {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) => {}
                Err(closed) => {
                    self.ended = Some(closed.clone());
                    return Err(closed);
                }
            }
        }
    }

    async fn frame(&mut self) -> Result<Frame, Closed> {
        let sealed = self.reader.binary().await?;
        let plaintext = self.opening.open(&sealed);
        let plaintext = plaintext.ok_or_else(|| Closed::violation("a Noise message that does not open"))?;
        Frame::decode(&plaintext).map_err(Closed::violation)
    }
}
