//! A target that keeps every byte that it is sent, and answers as a test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What it does with a request.
pub(crate) enum Act {
    Answer(Vec<u8>),
    /// Replies once the test releases it.
    AnswerAfter(Arc<Notify>, Vec<u8>),
    /// Closes the connection.
    Close,
    /// Keeps the connection and says nothing.
    Silent,
}

/// Decides by the head and body of a request, and by how many came before it.
type Decide = dyn Fn(&str, &[u8], usize) -> Act + Send + Sync;

pub(crate) struct FakeTarget {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    decide: Box<Decide>,
    seen: Mutex<Vec<Vec<u8>>>,
    connections: AtomicUsize,
}

impl FakeTarget {
    pub(crate) async fn start(decide: impl Fn(&str, &[u8], usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let decide = Box::new(decide);
        let shared = Arc::new(Shared { decide, seen: Mutex::default(), connections: AtomicUsize::new(0) });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Relaxed);
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { address, shared, task }
    }

    /// One that answers every request alike.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, _, _| Act::Answer(answer.clone())).await
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request, head and body.
    pub(crate) fn seen(&self) -> Vec<Vec<u8>> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }
}

impl Drop for FakeTarget {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut read = Vec::new();
    loop {
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n").map(|end| end + 4) else {
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
        let length = head
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        while read.len() < end + length {
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let rest = read.split_off(end + length);
        let request = std::mem::replace(&mut read, rest);
        let before = {
            let mut seen = shared.seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let act = match (shared.decide)(&head, &request[end..], before) {
            Act::AnswerAfter(told, answer) => {
                told.notified().await;
                Act::Answer(answer)
            }
            act => act,
        };
        match act {
            Act::Answer(answer) | Act::AnswerAfter(_, answer) => {
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
            Act::Close => return,
            Act::Silent => {
                // Until the other side gives up.
                while stream.read(&mut [0; 1024]).await.unwrap_or(0) > 0 {}
                return;
            }
        }
    }
}

/// An answer with some header lines and a body.
pub(crate) fn answer(status: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{lines}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A sealed answer.
pub(crate) fn sealed(body: &[u8]) -> Vec<u8> {
    answer("200 OK", "content-type: message/ohttp-res\r\n", body)
}
