//! A whole peer in memory: it holds what a relay offloads, gives it back, and forgets it; or it does not, where its
//! [`Conduct`] says so.

mod answer;

use super::blob;
use super::channel::{Channel, Receiver, Sender};
use super::closed::Closed;
use super::conduct::Conduct;
use super::keys::PeerKeys;
use super::listen::Listening;
use super::message::{About, Blob, BlobName, Body, Capacity, Message, Names, Offload};
use super::options::Options;
use crate::deadline::{self, PATIENCE};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Mutex as Turn, oneshot};
use tokio::task::{JoinHandle, JoinSet};

/// A peer that holds blobs in a map. Rules that the relay breaks fail the test, at the next look at the peer or at
/// its end.
#[derive(Debug)]
pub struct InMemoryPeer {
    desk: Arc<Mutex<Desk>>,
    task: JoinHandle<()>,
    url: String,
    keys: PeerKeys,
}

/// What the peer knows.
#[derive(Debug, Default)]
pub struct Desk {
    /// How it behaves.
    pub conduct: Conduct,
    /// What it holds.
    pub held: BTreeMap<BlobName, Blob>,
    /// Every message that it received, in order.
    pub heard: Vec<Message>,
    /// How its channels ended, in order.
    pub ended: Vec<Closed>,
    /// What the relay said of itself last, at its greeting or since.
    pub relay: Option<About>,
    /// The channels that there were.
    pub channels: usize,
    link: Option<Link>,
    /// By number of the channel and of the question.
    waiting: BTreeMap<(usize, u64), oneshot::Sender<Body>>,
    asked: u64,
}

/// The newest channel.
#[derive(Debug, Clone)]
struct Link {
    number: usize,
    sender: Arc<Turn<Sender>>,
}

impl InMemoryPeer {
    /// Waits to be dialled, any number of times, on a free port.
    pub async fn listen(keys: PeerKeys, conduct: Conduct) -> Self {
        Self::listen_as(Listening::start(keys).await, conduct)
    }

    /// Waits to be dialled where a listener is.
    pub fn listen_as(listening: Listening, conduct: Conduct) -> Self {
        let (url, keys) = (listening.url(), listening.keys().clone());
        let desk = Arc::new(Mutex::new(Desk { conduct, ..Desk::default() }));
        let task = tokio::spawn(receive_relays(listening, Arc::clone(&desk)));
        Self { desk, task, url, keys }
    }

    /// Dials a relay once.
    pub async fn dial(address: SocketAddr, keys: PeerKeys, options: &Options, conduct: Conduct) -> Self {
        let channel = super::Dialled::connect(address, &keys, options).await;
        let desk = Arc::new(Mutex::new(Desk { conduct, ..Desk::default() }));
        let task = tokio::spawn(serve(channel, Arc::clone(&desk)));
        Self { desk, task, url: String::new(), keys }
    }

    /// The base URL that a relay needs, if it can be dialled.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its keys.
    pub const fn keys(&self) -> &PeerKeys {
        &self.keys
    }

    /// Changes how it behaves from the next question on.
    pub fn behave(&self, change: impl FnOnce(&mut Conduct)) {
        self.look(|desk| change(&mut desk.conduct));
    }

    /// Looks at what it knows, or changes it.
    ///
    /// # Panics
    /// When the relay has broken a rule by then.
    pub fn look<T>(&self, look: impl FnOnce(&mut Desk) -> T) -> T {
        let mut desk = lock(&self.desk);
        let violation = desk.ended.iter().find(|closed| matches!(closed, Closed::Violation(_))).cloned();
        if let Some(violation) = violation {
            drop(desk);
            drop(violation.lawful());
            unreachable!("a violation is not lawful");
        }
        look(&mut desk)
    }

    /// Waits until it knows something.
    ///
    /// # Panics
    /// When it does not come to know it.
    pub async fn until<T>(&self, what: &str, mut probe: impl FnMut(&mut Desk) -> Option<T>) -> T {
        deadline::until(what, PATIENCE, async || self.look(&mut probe)).await
    }

    /// Waits for the relay to be connected.
    pub async fn connected(&self) {
        self.until("a channel with the relay", |desk| desk.link.as_ref().map(|_| ())).await;
    }

    /// Waits until it holds so many blobs.
    pub async fn holds(&self, blobs: usize) {
        self.until(&format!("{blobs} blobs at the peer"), |desk| (desk.held.len() == blobs).then_some(()))
            .await;
    }

    /// What it holds.
    pub fn blobs(&self) -> Vec<Blob> {
        self.look(|desk| desk.held.values().cloned().collect())
    }

    /// Asks the relay something on the newest channel.
    ///
    /// # Panics
    /// When there is no channel, or no answer.
    pub async fn ask(&self, body: Body) -> Body {
        let (link, request, answer) = self.look(|desk| {
            let (tell, answer) = oneshot::channel();
            let link = desk.link.clone().expect("a channel with the relay");
            desk.asked += 1;
            desk.waiting.insert((link.number, desk.asked), tell);
            (link, desk.asked, answer)
        });
        link.sender.lock().await.message(&Message::new(request, body)).await;
        let Ok(answer) = deadline::soon("an answer of the relay", answer).await else {
            panic!("the channel ended before an answer: {:?}", self.look(|desk| desk.ended.last().cloned()))
        };
        answer
    }

    /// Tells the relay how much room there is.
    ///
    /// # Panics
    /// When there is no channel.
    pub async fn tell_room(&self, free_bytes: u64, accepting: bool) {
        let link = self.look(|desk| desk.link.clone()).expect("a channel with the relay");
        let notice = Message::new(0, Body::Capacity(Capacity { free_bytes, accepting }));
        link.sender.lock().await.message(&notice).await;
    }

    /// Brings everything home that it holds, and forgets what the relay accepted. Returns the verdicts.
    ///
    /// # Panics
    /// When the relay answers something else.
    pub async fn bring_home(&self) -> Vec<i32> {
        let blobs = self.blobs();
        let names: Vec<BlobName> = blobs.iter().map(Blob::name).collect();
        let Body::OffloadAck(ack) = self.ask(Body::Offload(Offload { blobs, home: true })).await else {
            panic!("the relay answers an offload with something else")
        };
        self.look(|desk| {
            for (name, verdict) in names.iter().zip(&ack.verdicts) {
                if *verdict == super::Verdict::Accepted as i32 {
                    desk.held.remove(name);
                }
            }
        });
        ack.verdicts
    }

    /// Asks the relay to forget blobs that this peer brought.
    ///
    /// # Panics
    /// When the relay answers something else.
    pub async fn forget(&self, names: Vec<BlobName>) -> bool {
        match self.ask(Body::Forget(Names { names })).await {
            Body::ForgetAck(ack) => ack.done,
            _ => panic!("the relay answers a forget with something else"),
        }
    }

    /// Ends the newest channel without a word.
    pub async fn cut(&self) {
        if let Some(link) = self.look(|desk| desk.link.take()) {
            link.sender.lock().await.writer.cut().await;
        }
    }
}

impl Drop for InMemoryPeer {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            self.look(|_| ());
        }
    }
}

fn lock(desk: &Mutex<Desk>) -> std::sync::MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves every relay that dials, one beside the other.
async fn receive_relays(mut listening: Listening, desk: Arc<Mutex<Desk>>) {
    // Ends its tasks when it is ended itself.
    let mut relays = JoinSet::new();
    while let Some(socket) = listening.next().await {
        let (keys, options) = (listening.keys().clone(), listening.options().clone());
        let desk = Arc::clone(&desk);
        relays.spawn(async move {
            let channel = match socket {
                Ok(socket) => Channel::respond(socket, &keys, &options).await,
                Err(closed) => Err(closed),
            };
            match channel {
                Ok(channel) => serve(channel, desk).await,
                Err(closed) => lock(&desk).ended.push(closed),
            }
        });
    }
}

/// Makes a channel the newest one, and then answers what is asked on it until it ends.
fn serve(channel: Channel, desk: Arc<Mutex<Desk>>) -> impl Future<Output = ()> + Send {
    let sender = Arc::new(Turn::new(channel.sender));
    let number = {
        let mut desk = lock(&desk);
        desk.channels += 1;
        desk.relay = Some(channel.relay.about);
        desk.link = Some(Link { number: desk.channels, sender: Arc::clone(&sender) });
        desk.channels
    };
    async move {
        let closed = converse(number, channel.receiver, &sender, &desk).await;
        sender.lock().await.writer.cut().await;
        let mut desk = lock(&desk);
        if desk.link.as_ref().is_some_and(|link| link.number == number) {
            desk.link = None;
        }
        // Whoever waits for an answer on it waits in vain.
        desk.waiting.retain(|(channel, _), _| *channel != number);
        desk.ended.push(closed);
    }
}

async fn converse(
    number: usize,
    mut receiver: Receiver,
    sender: &Turn<Sender>,
    desk: &Mutex<Desk>,
) -> Closed {
    loop {
        let message = match receiver.message().await {
            Ok(message) => message,
            Err(closed) => return closed,
        };
        let reply = answer::to(number, message, &mut lock(desk));
        match reply {
            Ok(reply) => {
                let mut sender = sender.lock().await;
                for answer in &reply.messages {
                    sender.message(answer).await;
                }
                if reply.cut {
                    sender.writer.cut().await;
                }
            }
            Err(rule) => return Closed::violation(rule),
        }
    }
}

/// What is wrong with a blob that a relay moves away from home.
fn fault(blob: &Blob) -> Option<&'static str> {
    if blob.hop_count != 1 { Some("a blob that makes another move than its first") } else { blob.fault() }
}

/// A sound blob that no relay ever saw.
fn stranger() -> Blob {
    Blob::random(64)
}

/// A blob with the same content in another mailbox.
fn elsewhere(of: &Blob) -> Blob {
    let mailbox = vec![0xEE; 32];
    Blob { blob_id: blob::id(&mailbox, &of.ciphertext), mailbox, ..of.clone() }
}
