//! The conversation with one peer, as a state machine: what is heard and when goes in, what is to be done comes out.
//! It has no socket, no clock and no storage.

pub(crate) mod body;

pub(crate) use body::{Answer, Question};

use crate::link::Broken;
use crate::link::stream::Priority;
use relay_proto::peer::{is_answer, message, notice};
use relay_proto::peer_messages::message::Body;
use relay_proto::peer_messages::{Capacity, Message};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Send this.
    Send(Message, Priority),
    /// Carry this out, and answer it with [`Session::answer`].
    Serve(u64, Question),
    /// The question with this number has its answer.
    Answered(u64, Answer),
    /// The question with this number gets none.
    GivenUp(u64),
    /// The peer can hold this much for this relay.
    Capacity(Capacity),
    /// The peer takes nothing more and is about to be away.
    Leaving,
    /// A message was more than the peer may send.
    Limited,
    /// Look for a sign of life.
    Ping,
    /// The peer has been silent for too long.
    Silent,
}

/// A question of this relay's that waits for its answer.
#[derive(Debug)]
struct PendingRequest {
    kind: Kind,
    /// How long the peer may take once it has the question.
    within: Duration,
    /// Until when, once it has.
    until: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Offload(usize),
    Recall,
    Forget,
    Drain,
    Inventory,
}

impl Kind {
    fn of(question: &Body) -> Option<Self> {
        match question {
            Body::Offload(offload) => Some(Self::Offload(offload.blobs.len())),
            Body::Recall(_) => Some(Self::Recall),
            Body::Forget(_) => Some(Self::Forget),
            Body::Drain(_) => Some(Self::Drain),
            Body::Inventory(_) => Some(Self::Inventory),
            _ => None,
        }
    }

    fn is_answered_by(self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Offload(blobs), Answer::Offload { verdicts, .. }) => verdicts.len() == blobs,
            (Self::Recall, Answer::Recall { .. })
            | (Self::Forget, Answer::Forget { .. })
            | (Self::Drain, Answer::Drain)
            | (Self::Inventory, Answer::Inventory(_)) => true,
            _ => false,
        }
    }
}

/// A conversation, from the greeting to the end. Moments are those of a clock that never goes back.
#[derive(Debug)]
pub(crate) struct Session {
    asked: BTreeMap<u64, PendingRequest>,
    numbers: u64,
    /// How long a peer may be silent.
    patience: Duration,
    heard: Duration,
    pinged: Duration,
}

impl Session {
    /// A conversation that begins now, with a peer that may be silent for so long.
    pub(crate) fn new(patience: Duration, now: Duration) -> Self {
        Self { asked: BTreeMap::new(), numbers: 0, patience, heard: now, pinged: now }
    }

    /// Whether a message is charged to the peer's allowance: everything but answers.
    pub(crate) fn is_charged(message: &Message) -> bool {
        message.body.as_ref().is_some_and(|body| !is_answer(body))
    }

    /// Asks something. Returns its number and what to send; `None` for what is no question.
    pub(crate) fn ask(&mut self, question: Body, within: Duration) -> Option<(u64, Action)> {
        let kind = Kind::of(&question)?;
        let priority = if matches!(kind, Kind::Offload(_)) { Priority::Bulk } else { Priority::Prompt };
        self.numbers += 1;
        self.asked.insert(self.numbers, PendingRequest { kind, within, until: None });
        Some((self.numbers, Action::Send(message(self.numbers, question), priority)))
    }

    /// The peer has a question whole, or will have it when it reads: from now on it may take its time.
    pub(crate) fn sent(&mut self, number: u64, now: Duration) {
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.until = Some(now + asked.within);
        }
    }

    /// Nobody wants an answer any more.
    pub(crate) fn abandon(&mut self, number: u64) {
        self.asked.remove(&number);
    }

    /// Says something that nobody answers.
    pub(crate) fn tell(capacity: Capacity) -> Action {
        Action::Send(notice(Body::Capacity(capacity)), Priority::Prompt)
    }

    /// Answers a peer's question.
    pub(crate) fn answer(number: u64, answer: Body) -> Action {
        let priority = match &answer {
            Body::RecallAck(_) | Body::OffloadAck(_) | Body::ForgetAck(_) | Body::DrainAck(_) => {
                Priority::Prompt
            }
            _ => Priority::Bulk,
        };
        Action::Send(message(number, answer), priority)
    }

    /// Notes a sign of life.
    pub(crate) fn alive(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Takes a message. `admitted` says whether the peer may send it, `capacity` what it is told then.
    ///
    /// # Errors
    /// When the peer does what is not allowed; the connection is to be ended.
    pub(crate) fn hear(
        &mut self,
        message: Message,
        admitted: bool,
        capacity: Capacity,
        now: Duration,
    ) -> Result<Vec<Action>, Broken> {
        self.alive(now);
        let Message { request, body } = message;
        let Some(body) = body else { return Ok(Vec::new()) };
        if is_answer(&body) {
            return self.hear_answer(request, body);
        }
        match body {
            Body::Capacity(_) | Body::Drain(_) if !admitted => return Ok(vec![Action::Limited]),
            Body::Capacity(theirs) => return Ok(vec![Action::Capacity(theirs)]),
            Body::Drain(_) if request != 0 => {
                return Ok(vec![Action::Leaving, Self::answer(request, body::DRAIN_ACK)]);
            }
            _ => {}
        }
        // Greetings are over: they are no questions.
        let question = Question::read(body)?;
        if request == 0 {
            return Err(Broken);
        }
        Ok(if admitted {
            vec![Action::Serve(request, question)]
        } else {
            vec![Action::Limited, Self::answer(request, question.refusal(capacity))]
        })
    }

    fn hear_answer(&mut self, request: u64, answer: Body) -> Result<Vec<Action>, Broken> {
        let answer = Answer::read(answer)?;
        match self.asked.remove(&request) {
            // Asked too long ago, or never: nobody waits for it.
            None => Ok(Vec::new()),
            Some(asked) if asked.kind.is_answered_by(&answer) => Ok(vec![Action::Answered(request, answer)]),
            Some(_) => Err(Broken),
        }
    }

    /// What the time asks for.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let is_over = |asked: &PendingRequest| asked.until.is_some_and(|until| until <= now);
        let over: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| is_over(asked)).map(|(number, _)| *number).collect();
        for number in over {
            self.asked.remove(&number);
            actions.push(Action::GivenUp(number));
        }
        if now.saturating_sub(self.heard) >= self.patience {
            actions.push(Action::Silent);
        } else if now.saturating_sub(self.heard.max(self.pinged)) >= self.patience / 3 {
            self.pinged = now;
            actions.push(Action::Ping);
        }
        actions
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.asked.len()
    }
}

#[cfg(test)]
mod tests;
