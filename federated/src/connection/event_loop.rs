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
            began: self.context.clock.monotonic(),
            clock: OwnClock::read(&self.context.clock),
            worn: false,
            progress: (0, self.context.clock.monotonic()),
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let peer = self.joined.peer;
        let end = loop {
            let is_awaited = state.asked.values().any(|reply| !reply.is_closed());
            if state.closing.is_some() && !is_awaited && state.serving.is_empty() {
                break End::Closing;
            }
            let reading = state.serving.len() < SERVED_AT_ONCE
                && state.serving_bytes < SERVED_BYTES
                && self.channel.outgoing().waiting() < WAITING;
            let actions = tokio::select! {
                event = self.channel.next(reading) => self.heard(&mut state, event),
                command = self.commands.recv() => Ok(told(&mut state, command).into_iter().collect()),
                Some((number, bytes, answer)) = state.serving.next() => {
                    state.serving_bytes -= bytes;
                    Ok(vec![Session::answer(number, answer)])
                }
                _ = ticks.tick() => self.tick(&mut state),
            };
            let done = async {
                for action in actions? {
                    self.act(&mut state, peer, action).await?;
                }
                Ok(())
            };
            if let Err(end) = done.await {
                break end;
            }
            for question in self.channel.outgoing().take_sent() {
                state.session.sent(question, self.context.clock.monotonic());
            }
        };
        // Nobody is to ask over this connection any more while it closes.
        drop(self.joined);
        let last_reason = match end {
            End::Closing => state.closing.unwrap_or(Reason::Ended),
            End::Broken => Reason::Broken,
            End::Closed(_) => Reason::Ended,
            End::Lost => return end,
        };
        // Who does not take the last frames does not get them.
        drop(timeout(CLOSE_TIMEOUT, self.channel.close(last_reason)).await);
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

    /// What the time asks for.
    fn tick(&mut self, state: &mut State) -> Result<Vec<Action>, End> {
        self.look_at_keys(state);
        if state.clock.was_set(&self.context.clock) {
            // The peer is told the new time in another greeting.
            state.closing.get_or_insert(Reason::Ended);
        }
        self.abandon(state);
        let now = self.context.clock.monotonic();
        let (frames, waiting) = (self.channel.outgoing().frames(), self.channel.outgoing().waiting());
        if waiting == 0 || frames != state.progress.0 {
            state.progress = (frames, now);
        } else if now.saturating_sub(state.progress.1) >= self.context.patience {
            // A peer that gives signs of life and takes nothing is as good as away.
            return Err(End::Lost);
        }
        Ok(state.session.tick(now))
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

    fn heard(&self, state: &mut State, event: Event) -> Result<Vec<Action>, End> {
        let registry = self.joined.registry();
        let now = self.context.clock.monotonic();
        let bytes = match event {
            Event::Message(bytes) => bytes,
            Event::Alive => {
                state.session.alive(now);
                return Ok(Vec::new());
            }
            Event::Closed(reason) => return Err(End::Closed(reason)),
            Event::Cut => return Err(End::Lost),
            Event::Broken => return Err(End::Broken),
        };
        state.came = bytes.len();
        let message = peer::decode(bytes).map_err(|_| End::Broken)?;
        registry.seen(&self.joined.peer);
        let admitted = !Session::is_charged(&message) || registry.admits(&self.joined.peer);
        state.session.hear(message, admitted, registry.own_capacity(), now).map_err(|_| End::Broken)
    }

    async fn act(&mut self, state: &mut State, peer: PeerId, action: Action) -> Result<(), End> {
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
                    return Err(End::Lost);
                }
            }
            Action::Capacity(capacity) => registry.set_capacity(&peer, capacity),
            Action::Leaving => registry.leaves(&peer),
            Action::Limited => self.context.metrics.rate_limited.inc(),
            Action::Ping => self.channel.ping().await.map_err(|()| End::Lost)?,
            Action::Silent => return Err(End::Lost),
        }
        Ok(())
    }
}

/// Takes a command. Returns what it asks for at once.
fn told(state: &mut State, command: Option<Command>) -> Option<Action> {
    match command {
        Some(Command::Ask(question, within, reply)) => {
            let (number, action) = state.session.ask(*question, within)?;
            state.asked.insert(number, reply);
            Some(action)
        }
        Some(Command::Tell(capacity)) => Some(Session::tell(capacity)),
        Some(Command::Close(reason)) => {
            state.closing = Some(reason);
            None
        }
        None => {
            state.closing.get_or_insert(Reason::Ended);
            None
        }
    }
}

#[cfg(test)]
mod tests;
