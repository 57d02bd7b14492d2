//! One connection to a peer, from the greeting to the end: the loop that owns the socket. It moves what the
//! conversation wants between the channel, the registry and the handler.

use crate::context::Context;
use crate::link::Reason;
use crate::link::channel::{Channel, Event, Transit};
use crate::registry::peer_clock::OwnClock;
use crate::registry::{Command, Joined};
use crate::session::{Action, Answer, Session};
use crate::transfer::request_handler;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use relay_proto::PeerId;
use relay_proto::peer;
use relay_proto::peer_messages::message::Body;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Questions of a peer that are carried out at once. While so many are, nothing more is read.
const SERVED_AT_ONCE: usize = 4;

/// Bytes of the questions that are carried out. While there are more, nothing more is read: a peer that brings much has to
/// wait until it is stored.
const SERVED_BYTES: usize = 4 << 20;

/// Between two looks at what the time asks for.
const TICK: Duration = Duration::from_millis(250);

/// Bytes that may wait to be sent. While there are more, nothing more is read: whoever asks and does not read waits for
/// itself.
const WAITING: usize = 8 << 20;

/// How long the last frames may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer said so.
    Closed(Reason),
    /// This relay did.
    Closing,
    /// It broke, or the peer became silent.
    Lost,
    /// The peer did what is not allowed.
    Broken,
}

/// How long a channel's keys are used, less what the initiator needs to turn them, and how many bytes they carry.
const KEYS_LAST: Duration = Duration::from_secs(59 * 60);
const KEYS_CARRY: u64 = 900 << 20;

/// Who sees to it that the keys of a channel are turned in time.
#[derive(Debug)]
pub(crate) enum Keys {
    /// This side, which dialled: it is told that they are worn.
    Renewed(Arc<Notify>),
    /// The other side. Where it does not, the channel is closed.
    Awaited,
}

/// Questions that are carried out: number, bytes, and in the end the answer.
type Serving = FuturesUnordered<Pin<Box<dyn Future<Output = (u64, usize, Body)> + Send>>>;

/// What a loop works with.
pub(crate) struct Connection<S> {
    pub(crate) channel: Channel<S>,
    pub(crate) joined: Joined,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) context: Arc<Context>,
    pub(crate) keys: Keys,
}

struct State {
    session: Session,
    asked: HashMap<u64, oneshot::Sender<Answer>>,
    serving: Serving,
    serving_bytes: usize,
    /// Bytes of the message that came last.
    came: usize,
    /// What this relay says once it is done.
    closing: Option<Reason>,
    end: Option<End>,
    began: Duration,
    clock: OwnClock,
    worn: bool,
    /// Frames that were sent, and when that was another number.
    progress: (u64, Duration),
}

impl<S: Transit> Connection<S> {
    /// Drives the connection to its end.
    pub(crate) async fn run(mut self) -> End {
        let mut state = State {
            session: Session::new(self.context.patience, self.context.clock.monotonic()),
            asked: HashMap::new(),
            serving: FuturesUnordered::new(),
            serving_bytes: 0,
            came: 0,
            closing: None,
            end: None,
            began: self.context.clock.monotonic(),
            clock: OwnClock::read(&self.context.clock),
            worn: false,
            progress: (0, self.context.clock.monotonic()),
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let peer = self.joined.peer;
        while state.end.is_none() {
            let is_awaited = state.asked.values().any(|reply| !reply.is_closed());
            if state.closing.is_some() && !is_awaited && state.serving.is_empty() {
                state.end = Some(End::Closing);
                break;
            }
            let reading = state.serving.len() < SERVED_AT_ONCE
                && state.serving_bytes < SERVED_BYTES
                && self.channel.outgoing().waiting() < WAITING;
            let actions = tokio::select! {
                event = self.channel.next(reading) => self.heard(&mut state, event),
                command = self.commands.recv() => self.told(&mut state, command),
                Some((number, bytes, answer)) = state.serving.next() => {
                    state.serving_bytes -= bytes;
                    vec![Session::answer(number, answer)]
                }
                _ = ticks.tick() => {
                    self.look_at_keys(&mut state);
                    if state.clock.was_set(&self.context.clock) {
                        // The peer is told the new time in another greeting.
                        state.closing.get_or_insert(Reason::Ended);
                    }
                    self.abandon(&mut state);
                    self.look_at_progress(&mut state);
                    state.session.tick(self.context.clock.monotonic())
                }
            };
            for action in actions {
                self.act(&mut state, peer, action).await;
            }
            for question in self.channel.outgoing().take_sent() {
                state.session.sent(question, self.context.clock.monotonic());
            }
        }
        let end = state.end.unwrap_or(End::Lost);
        // Nobody is to ask over this connection any more while it takes its leave.
        drop(self.joined);
        let farewell = match end {
            End::Closing => state.closing.unwrap_or(Reason::Ended),
            End::Broken => Reason::Broken,
            End::Closed(_) => Reason::Ended,
            End::Lost => return end,
        };
        // Who does not take the last frames does not get them.
        drop(timeout(CLOSE_TIMEOUT, self.channel.close(farewell)).await);
        end
    }

    /// Takes back what nobody wants answered any more.
    fn abandon(&mut self, state: &mut State) {
        let abandoned: Vec<u64> =
            state.asked.iter().filter(|(_, reply)| reply.is_closed()).map(|(number, _)| *number).collect();
        for number in abandoned {
            state.asked.remove(&number);
            state.session.abandon(number);
            self.channel.outgoing().withdraw(number);
        }
    }

    /// A peer that gives signs of life and takes nothing is as good as away.
    fn look_at_progress(&mut self, state: &mut State) {
        let now = self.context.clock.monotonic();
        let (frames, waiting) = (self.channel.outgoing().frames(), self.channel.outgoing().waiting());
        if waiting == 0 || frames != state.progress.0 {
            state.progress = (frames, now);
        } else if now.saturating_sub(state.progress.1) >= self.context.patience {
            state.end = Some(End::Lost);
        }
    }

    fn look_at_keys(&self, state: &mut State) {
        let age = self.context.clock.monotonic().saturating_sub(state.began);
        let is_worn =
            |times: u32| age >= KEYS_LAST * times || self.channel.moved() >= KEYS_CARRY * u64::from(times);
        match &self.keys {
            Keys::Renewed(worn) if !state.worn && is_worn(1) => {
                state.worn = true;
                worn.notify_one();
            }
            Keys::Awaited if is_worn(2) => {
                state.closing.get_or_insert(Reason::Ended);
            }
            Keys::Renewed(_) | Keys::Awaited => {}
        }
    }

    fn heard(&self, state: &mut State, event: Event) -> Vec<Action> {
        let registry = self.joined.registry();
        let now = self.context.clock.monotonic();
        match event {
            Event::Alive => {
                state.session.alive(now);
                Vec::new()
            }
            Event::Message(bytes) => {
                state.came = bytes.len();
                let Ok(message) = peer::decode(bytes) else {
                    state.end = Some(End::Broken);
                    return Vec::new();
                };
                registry.seen(&self.joined.peer);
                let admitted = !Session::is_charged(&message) || registry.admits(&self.joined.peer);
                state.session.hear(message, admitted, registry.own_room(), now).unwrap_or_else(|_| {
                    state.end = Some(End::Broken);
                    Vec::new()
                })
            }
            Event::Closed(reason) => {
                state.end = Some(End::Closed(reason));
                Vec::new()
            }
            Event::Cut => {
                state.end = Some(End::Lost);
                Vec::new()
            }
            Event::Broken => {
                state.end = Some(End::Broken);
                Vec::new()
            }
        }
    }

    fn told(&self, state: &mut State, command: Option<Command>) -> Vec<Action> {
        match command {
            Some(Command::Ask(question, within, reply)) => match state.session.ask(*question, within) {
                Some((number, action)) => {
                    state.asked.insert(number, reply);
                    vec![action]
                }
                None => Vec::new(),
            },
            Some(Command::Tell(capacity)) => vec![Session::tell(capacity)],
            Some(Command::Close(reason)) => {
                state.closing = Some(reason);
                Vec::new()
            }
            None => {
                state.closing.get_or_insert(Reason::Ended);
                Vec::new()
            }
        }
    }

    async fn act(&mut self, state: &mut State, peer: PeerId, action: Action) {
        let registry = self.joined.registry();
        match action {
            Action::Send(message, priority) => {
                let is_answer = message.body.as_ref().is_none_or(peer::is_answer);
                let question = if is_answer { 0 } else { message.request };
                self.channel.push(peer::encode(&message), priority, question);
            }
            Action::Serve(number, question) => {
                let (context, bytes) = (Arc::clone(&self.context), state.came);
                state.serving_bytes += bytes;
                state.serving.push(Box::pin(async move {
                    (number, bytes, request_handler::answer(&context, peer, question).await)
                }));
            }
            Action::Answered(number, answer) => {
                if let Some(reply) = state.asked.remove(&number) {
                    // Who asked may have stopped waiting.
                    drop(reply.send(answer));
                }
            }
            Action::GivenUp(number) => {
                // Whoever still waits gave the peer all the time there is: it is there, and as good as away.
                if state.asked.remove(&number).is_some_and(|reply| !reply.is_closed()) {
                    state.end = Some(End::Lost);
                }
            }
            Action::Capacity(capacity) => registry.set_room(&peer, capacity),
            Action::Leaving => registry.leaves(&peer),
            Action::Limited => self.context.metrics.rate_limited.inc(),
            Action::Ping => {
                if self.channel.ping().await.is_err() {
                    state.end = Some(End::Lost);
                }
            }
            Action::Silent => state.end = Some(End::Lost),
        }
    }
}

#[cfg(test)]
mod tests;
