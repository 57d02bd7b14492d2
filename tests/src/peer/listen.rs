//! Being dialled by a relay: a small HTTP listener that shows a key and agrees to upgrades.

use super::channel::Channel;
use super::closed::Closed;
use super::head::Head;
use super::keys::PeerKeys;
use super::options::Options;
use super::websocket::WebSocket;
use crate::deadline;
use bytes::BytesMut;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the listener says to HTTP requests. A test may change it at any time.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Status of the answer to who asks for the key.
    pub key_status: u16,
    /// Its body.
    pub key: String,
    /// Further headers of it, each with its line end; a redirect, say.
    pub key_headers: String,
    /// Answers upgrades with this status instead of agreeing.
    pub refuse: Option<u16>,
    /// How often somebody asked for the key.
    pub keys_asked: usize,
    /// How often somebody asked for an upgrade.
    pub upgrades_asked: usize,
}

/// A peer that waits to be dialled.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    keys: PeerKeys,
    options: Options,
    shown: Arc<Mutex<Shown>>,
    sockets: mpsc::UnboundedReceiver<Result<WebSocket, Closed>>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Listens on a free loopback port.
    pub async fn start(keys: PeerKeys) -> Self {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), keys, Options::default()).await
    }

    /// Listens on an address of the test's choice, below the path of the options, and greets as they say.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn start_on(address: SocketAddr, keys: PeerKeys, options: Options) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free address");
        let address = listener.local_addr().expect("a bound address");
        let shown = Arc::new(Mutex::new(Shown {
            key_status: 200,
            key: keys.pin(),
            key_headers: String::new(),
            refuse: None,
            keys_asked: 0,
            upgrades_asked: 0,
        }));
        let (queue, sockets) = mpsc::unbounded_channel();
        let serving = ListeningTask { shown: Arc::clone(&shown), path: options.path.clone(), queue };
        let task = tokio::spawn(serving.accept(listener));
        Self { address, keys, options, shown, sockets, task }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL that a relay needs.
    pub fn url(&self) -> String {
        format!("ws://{}{}", self.address, self.options.path)
    }

    /// The same with the key pinned.
    pub fn pinned_url(&self) -> String {
        format!("{}#{}", self.url(), self.keys.pin())
    }

    /// Its keys.
    pub const fn keys(&self) -> &PeerKeys {
        &self.keys
    }

    /// Greets in another way from now on.
    pub fn greet(&mut self, options: Options) {
        self.options = options;
    }

    /// Changes what HTTP requests are answered, or looks at it.
    pub fn shown<T>(&self, look: impl FnOnce(&mut Shown) -> T) -> T {
        look(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How it greets.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The next WebSocket or what was wrong with it, whenever it comes.
    pub(crate) async fn next(&mut self) -> Option<Result<WebSocket, Closed>> {
        self.sockets.recv().await
    }

    /// The next WebSocket, with nothing said on it.
    ///
    /// # Panics
    /// When none comes, or it was asked for in a way that the rules do not allow.
    pub async fn socket(&mut self) -> WebSocket {
        let next = deadline::soon("a dialling relay", self.sockets.recv()).await.expect("the listener runs");
        match next {
            Ok(socket) => socket,
            Err(closed) => panic!("a relay that dials in another way: {:?}", closed.lawful()),
        }
    }

    /// The next channel.
    ///
    /// # Panics
    /// When none comes about.
    pub async fn accept(&mut self) -> Channel {
        match self.attempt().await {
            Ok(channel) => channel,
            Err(closed) => panic!("no channel from the relay: {closed:?}"),
        }
    }

    /// The next channel, or how it ended.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// When no relay dials, or it breaks a rule or takes too long.
    pub async fn attempt(&mut self) -> Result<Channel, Closed> {
        let socket = self.socket().await;
        let respond = Channel::respond(socket, &self.keys, &self.options);
        deadline::soon("a channel from the relay", respond).await.map_err(Closed::lawful)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the listener's task needs.
#[derive(Debug, Clone)]
struct ListeningTask {
    shown: Arc<Mutex<Shown>>,
    path: String,
    queue: mpsc::UnboundedSender<Result<WebSocket, Closed>>,
}

impl ListeningTask {
    async fn accept(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().serve(stream));
        }
    }

    /// Answers one request on a connection.
    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = BytesMut::new();
        let head = match Head::read(&mut stream, &mut buffer).await {
            Ok(head) => head,
            // A probe of the port is no fault.
            Err(_) => return,
        };
        let Some(place) = head.second().strip_prefix(&self.path) else {
            return answer(stream, 404, "", "").await;
        };
        match place {
            "/federation/key" => {
                let shown = self.look(|shown| {
                    shown.keys_asked += 1;
                    shown.clone()
                });
                answer(stream, shown.key_status, &shown.key_headers, &shown.key).await;
            }
            "/federation" => {
                let refuse = self.look(|shown| {
                    shown.upgrades_asked += 1;
                    shown.refuse
                });
                if let Some(status) = refuse {
                    return answer(stream, status, "", "").await;
                }
                let agreed = WebSocket::agree(stream, buffer, &head).await;
                // A test that has ended takes no more.
                self.queue.send(agreed).unwrap_or_default();
            }
            _ => answer(stream, 404, "", "").await,
        }
    }

    fn look<T>(&self, look: impl FnOnce(&mut Shown) -> T) -> T {
        look(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn answer(mut stream: TcpStream, status: u16, headers: &str, body: &str) {
    let response = format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\
         {headers}\r\n{body}",
        body.len()
    );
    // Who asked may be gone, which is as good as answered.
    stream.write_all(response.as_bytes()).await.unwrap_or_default();
}
