//! Keeps the relay's processes running, and stops them in order.

use super::child::{attend, start};
use super::plan::Plan;
use super::policy::{End, RestartPause, Stage, beyond_restart, ended_well};
use super::probe;
use crate::admin_client::Admin;
use nix::sys::signal::Signal;
use relay_daemon::lifecycle::SAME_REQUEST;
use relay_daemon::signals::{HangUps, Request, StopSignals};
use relay_daemon::{Exit, Failure};
use relay_proto::client::StorageClient;
use relay_proto::socket::SocketRole;
use relay_proto::telemetry::Role;
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// How long the whole relay may take to stop: gateways half a minute for what they have, federated a few seconds, and
/// storage what is left. Each process has a deadline of its own that is shorter.
const STOP_DEADLINE: Duration = Duration::from_secs(45);

/// How long federated may take to part from its peers. It keeps nothing: ended by force, it costs peers a timeout. One
/// that hangs would keep storage waiting for its calls, and storage has something to lose.
const FEDERATION_DEADLINE: Duration = Duration::from_secs(5);

/// How long the kernel may take to end a process that was killed.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

enum Event {
    Ended { slot: usize, end: End },
    Due { slot: usize },
}

enum ProcessState {
    /// Running; the sender passes signals to it.
    Alive(UnboundedSender<Signal>),
    /// To be started when its pause is over.
    Pausing,
    /// Not to be started any more.
    Over,
}

struct Slot {
    role: Role,
    state: ProcessState,
    pid: Option<u32>,
    since: Instant,
    pause: RestartPause,
}

/// The relay's processes.
pub(super) struct Supervisor<'a> {
    plan: &'a Plan,
    /// Where clients connect, for as long as there are to be gateways.
    clients: Option<TcpListener>,
    slots: Vec<Slot>,
    events: JoinSet<Event>,
    /// The process ids of store and gateways, when all of them run.
    processes: watch::Sender<Option<Vec<u32>>>,
    stage: Stage,
    asked: Option<Instant>,
    deadline: Option<Instant>,
    /// Until when storage waits for federated, while it does.
    federation_deadline: Option<Instant>,
    ready: bool,
    exit: Exit,
    signals: StopSignals,
}

impl<'a> Supervisor<'a> {
    /// Nothing runs yet.
    ///
    /// # Errors
    /// When signals cannot be watched.
    pub(super) fn new(plan: &'a Plan, clients: TcpListener) -> Result<Self, Failure> {
        let signals = StopSignals::watch(HangUps::as_started())?;
        let slot = |role| Slot {
            role,
            state: ProcessState::Over,
            pid: None,
            since: Instant::now(),
            pause: RestartPause::default(),
        };
        let slots = plan.processes().into_iter().map(slot).collect();
        Ok(Self {
            plan,
            clients: Some(clients),
            slots,
            events: JoinSet::new(),
            processes: watch::Sender::default(),
            stage: Stage::Running,
            asked: None,
            deadline: None,
            federation_deadline: None,
            ready: false,
            exit: Exit::Success,
            signals,
        })
    }

    /// Runs the relay to its end, and writes a line to `out` when it is ready.
    ///
    /// # Errors
    /// When a task that watches a process fails. How the relay ended is in the answer.
    pub(super) async fn run(mut self, out: &mut impl Write) -> Result<Exit, Failure> {
        for slot in 0..self.slots.len() {
            self.start(slot);
        }
        let storage = Admin(StorageClient::new(SocketRole::Admin.storage_socket(&self.plan.sockets)).admin());
        let mut serving = std::pin::pin!(probe::serving(
            self.plan.listen,
            self.plan.ops,
            storage,
            self.processes.subscribe()
        ));
        while !self.is_over() {
            let deadline = self.deadline.unwrap_or_else(Instant::now);
            let federation_deadline = self.federation_deadline.unwrap_or_else(Instant::now);
            tokio::select! {
                Some(event) = self.events.join_next() => match event {
                    Ok(Event::Ended { slot, end }) => self.ended(slot, end),
                    Ok(Event::Due { slot }) => self.due(slot),
                    // These tasks only wait. If one fails all the same, its process is not watched any more.
                    Err(error) => return Err(Failure::new(Exit::Internal, error)),
                },
                request = self.signals.next() => self.asked_to_stop(request),
                () = sleep_until(deadline), if self.deadline.is_some() => self.out_of_time(),
                () = sleep_until(federation_deadline), if self.federation_deadline.is_some() => self.kill_federated(),
                () = &mut serving, if !self.ready && self.stage == Stage::Running => {
                    self.ready = true;
                    // A closed output is no reason to stop.
                    drop(writeln!(out, "{}", self.plan).and_then(|()| out.flush()));
                    relay_daemon::notify::ready();
                }
            }
        }
        Ok(self.exit)
    }

    fn start(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.since = Instant::now();
        match start(slot.role, self.plan.listen, self.clients.as_ref()) {
            Ok(child) => {
                slot.pid = child.id();
                tracing::debug!(pid = child.id(), "started {}", slot.role.name());
                let (sender, signals) = unbounded_channel();
                slot.state = ProcessState::Alive(sender);
                let (limit, name) = (self.plan.hang_timeout, slot.role.name());
                self.events.spawn(async move {
                    Event::Ended { slot: index, end: attend(child, signals, limit, name).await }
                });
                self.publish_processes();
            }
            Err(error) => {
                tracing::error!(kind = ?error.kind(), "cannot start {}", slot.role.name());
                self.ended(index, End::NeverBegan);
            }
        }
    }

    /// Clients are served without federated, so readiness does not depend on it.
    fn publish_processes(&self) {
        let needed = self.slots.iter().filter(|slot| slot.role != Role::Federated);
        self.processes.send_replace(needed.map(|slot| slot.pid).collect());
    }

    fn due(&mut self, index: usize) {
        if matches!(self.slots[index].state, ProcessState::Pausing) {
            self.start(index);
        }
    }

    fn ended(&mut self, index: usize, end: End) {
        let slot = &mut self.slots[index];
        let name = slot.role.name();
        slot.state = ProcessState::Over;
        slot.pid = None;
        let role = slot.role;
        self.publish_processes();
        if !self.stage.wants(role) {
            if !ended_well(end) && self.exit == Exit::Success {
                tracing::warn!(?end, "{name} did not stop as it should");
                self.exit = Exit::Forced;
            }
            self.advance();
            return;
        }
        if let Some(exit) = beyond_restart(role, end, self.ready) {
            tracing::error!(code = exit.code(), "{name} ended, and starting it again would not mend that");
            self.exit = exit;
            self.stop();
            return;
        }
        let slot = &mut self.slots[index];
        let pause = slot.pause.after(slot.since.elapsed(), end);
        tracing::warn!(?end, pause_ms = pause.as_millis(), "{name} ended; starting it again");
        slot.state = ProcessState::Pausing;
        self.events.spawn(async move {
            sleep(pause).await;
            Event::Due { slot: index }
        });
    }

    fn asked_to_stop(&mut self, request: Request) {
        let first = *self.asked.get_or_insert_with(Instant::now);
        match self.stage {
            Stage::Running => {
                tracing::info!("asked to stop");
                self.stop();
            }
            // A service manager and a terminal may both pass on what is one request.
            Stage::Draining | Stage::StoppingFederation | Stage::Closing
                if first.elapsed() < SAME_REQUEST || request == Request::HangUp => {}
            Stage::Draining | Stage::StoppingFederation | Stage::Closing => {
                tracing::warn!("asked again: stopping at once");
                self.kill();
            }
            Stage::Killing => {}
        }
    }

    fn out_of_time(&mut self) {
        if self.stage == Stage::Killing {
            tracing::error!("processes do not end although they were killed; leaving them to the kernel");
            for slot in &mut self.slots {
                slot.state = ProcessState::Over;
            }
        } else {
            tracing::warn!("the deadline has passed: stopping at once");
            self.kill();
        }
    }

    fn kill_federated(&mut self) {
        self.federation_deadline = None;
        if self.stage != Stage::StoppingFederation {
            return;
        }
        tracing::warn!("federated takes too long to part from its peers: stopping it at once");
        for slot in self.slots.iter().filter(|slot| slot.role == Role::Federated) {
            if let ProcessState::Alive(signals) = &slot.state {
                signals.send(Signal::SIGKILL).unwrap_or_default();
            }
        }
    }

    /// Begins to stop: gateways first.
    fn stop(&mut self) {
        self.clients = None;
        if self.stage == Stage::Running {
            self.deadline = Some(Instant::now() + STOP_DEADLINE);
            self.enter(Stage::Draining);
        } else {
            self.enter(Stage::Closing);
        }
        self.advance();
    }

    fn kill(&mut self) {
        self.exit = Exit::Forced;
        self.deadline = Some(Instant::now() + KILL_DEADLINE);
        self.enter(Stage::Killing);
    }

    /// Enters the next stage when this one has no process left to wait for.
    fn advance(&mut self) {
        while let Some(next) = self.stage.next() {
            let mut unwanted = self.slots.iter().filter(|slot| !self.stage.wants(slot.role));
            if unwanted.any(|slot| !matches!(slot.state, ProcessState::Over)) {
                return;
            }
            self.enter(next);
        }
    }

    /// Enters a stage and signals the processes that are not to run in it.
    fn enter(&mut self, stage: Stage) {
        let before = self.stage;
        self.stage = stage;
        if stage == Stage::StoppingFederation {
            self.federation_deadline = Some(Instant::now() + FEDERATION_DEADLINE);
        }
        let signal = if stage == Stage::Killing { Signal::SIGKILL } else { Signal::SIGTERM };
        for slot in &mut self.slots {
            if stage.wants(slot.role) {
                continue;
            }
            match &slot.state {
                // A second SIGTERM would mean "at once".
                ProcessState::Alive(_) if !before.wants(slot.role) && stage != Stage::Killing => {}
                ProcessState::Alive(signals) => {
                    // Where the receiver is gone the process has ended.
                    signals.send(signal).unwrap_or_default();
                }
                ProcessState::Pausing => slot.state = ProcessState::Over,
                ProcessState::Over => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stage != Stage::Running && self.slots.iter().all(|slot| matches!(slot.state, ProcessState::Over))
    }
}
