//! What the proxy forwards over, and the faults of it.

use crate::deadline;
use crate::ports::HeldPort;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes that pass at once.
const PIECE: usize = 4096;

/// Pieces on their way, each way of a connection. Beyond them, whoever sends has to wait.
const ON_THE_WAY: usize = 64;

/// What is wrong.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) is_open: bool,
    pub(super) hangs: bool,
    pub(super) delay: Duration,
    pub(super) bytes_per_second: Option<u32>,
    pub(super) cuts: Option<Cuts>,
}

impl Default for Fault {
    fn default() -> Self {
        Self { is_open: true, hangs: false, delay: Duration::ZERO, bytes_per_second: None, cuts: None }
    }
}

/// After how many bytes connections are reset.
#[derive(Debug, Clone)]
pub(super) struct Cuts {
    state: u64,
    after: Range<u64>,
}

impl Cuts {
    pub(super) const fn new(seed: u64, after: Range<u64>) -> Self {
        Self { state: seed, after }
    }

    /// The next number: splitmix64, which is as random as this needs and the same everywhere.
    pub(super) const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.after.start + (mixed ^ (mixed >> 31)) % (self.after.end - self.after.start)
    }
}

/// A line to an address.
#[derive(Debug)]
pub(super) struct Line {
    target: SocketAddr,
    fault: watch::Sender<Fault>,
    /// Counts the cuts that the test ordered. A connection lives in one of these ages.
    age: watch::Sender<u64>,
    passed: AtomicU64,
    cuts: AtomicU64,
}

/// A connection is to be reset.
struct Doomed;

impl Line {
    pub(super) fn new(target: SocketAddr) -> Self {
        let (fault, age) = (watch::Sender::new(Fault::default()), watch::Sender::new(0));
        Self { target, fault, age, passed: AtomicU64::new(0), cuts: AtomicU64::new(0) }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Fault)) {
        self.fault.send_modify(change);
    }

    pub(super) fn cut(&self) {
        self.age.send_modify(|age| *age += 1);
    }

    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Relaxed)
    }

    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Relaxed)
    }

    /// Takes connections while the line is open, until it is dropped.
    pub(super) async fn serve(self: Arc<Self>, port: Arc<HeldPort>) {
        let mut connections = JoinSet::new();
        let mut fault = self.fault.subscribe();
        loop {
            self.holds(|fault| fault.is_open).await;
            let listener = listen(port.address()).expect("a port that is held can be listened on");
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        // Who was gone before it was taken is nobody's connection.
                        if let Ok((near, _)) = accepted {
                            connections.spawn(Arc::clone(&self).carry(near));
                        }
                    }
                    _ = fault.wait_for(|fault| !fault.is_open) => break,
                }
            }
        }
    }

    /// Waits until something is true of the faults.
    async fn holds(&self, wanted: impl FnMut(&Fault) -> bool) {
        // It cannot fail: the sender is this line's own.
        drop(self.fault.subscribe().wait_for(wanted).await);
    }

    /// One connection, from its beginning to its end.
    async fn carry(self: Arc<Self>, mut near: TcpStream) {
        let mut age = self.age.subscribe();
        let born = *age.borrow_and_update();
        let mut budget = u64::MAX;
        self.fault.send_if_modified(|fault| {
            budget = fault.cuts.as_mut().map_or(u64::MAX, Cuts::draw);
            false
        });
        let budget = AtomicU64::new(budget);
        let mut far = None;
        let whole = async {
            self.holds(|fault| !fault.hangs).await;
            let far = far.insert(TcpStream::connect(self.target).await.map_err(|_| Doomed)?);
            let (near_read, near_write) = near.split();
            let (far_read, far_write) = far.split();
            tokio::try_join!(
                self.pass(near_read, far_write, &budget),
                self.pass(far_read, near_write, &budget)
            )
        };
        let ended = tokio::select! {
            ended = whole => ended.is_ok(),
            _ = age.wait_for(|age| *age != born) => false,
        };
        if !ended {
            // A reset, as when a machine has lost its connections. Where it cannot be had, an end will do.
            for stream in [Some(&near), far.as_ref()].into_iter().flatten() {
                drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
            }
        }
    }

    /// One way of a connection.
    async fn pass(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        budget: &AtomicU64,
    ) -> Result<(), Doomed> {
        let (sender, mut on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
        let taking = async move {
            loop {
                let mut piece = vec![0; PIECE];
                let length = from.read(&mut piece).await.map_err(|_| Doomed)?;
                if length == 0 {
                    return Ok(());
                }
                piece.truncate(length);
                let due = Instant::now() + self.fault.borrow().delay;
                sender.send((due, piece)).await.map_err(|_| Doomed)?;
            }
        };
        let giving = async {
            while let Some((due, mut piece)) = on_the_way.recv().await {
                deadline::pace(due.saturating_duration_since(Instant::now())).await;
                self.holds(|fault| !fault.hangs).await;
                let is_doomed = spend(budget, &mut piece);
                to.write_all(&piece).await.map_err(|_| Doomed)?;
                self.passed.fetch_add(piece.len() as u64, Relaxed);
                if is_doomed {
                    self.cuts.fetch_add(1, Relaxed);
                    return Err(Doomed);
                }
                let limit = self.fault.borrow().bytes_per_second;
                if let Some(limit) = limit {
                    deadline::pace(Duration::from_secs(piece.len() as u64) / limit).await;
                }
            }
            to.shutdown().await.map_err(|_| Doomed)
        };
        tokio::try_join!(taking, giving).map(drop)
    }
}

/// Takes a piece off what a connection has left, and cuts off what is too much. Answers whether nothing is left.
fn spend(budget: &AtomicU64, piece: &mut Vec<u8>) -> bool {
    let left = budget.load(Relaxed);
    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
    budget.store(left - piece.len() as u64, Relaxed);
    left == piece.len() as u64
}

/// Listens over the holder of a port.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}
