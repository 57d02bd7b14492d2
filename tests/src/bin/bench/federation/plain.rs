//! The plain way to bring blobs from one process to another and onto its disk: a WebSocket without anything inside, and
//! a table that is committed to once a message. Two threads, as two relays are two processes; four messages may be on
//! their way.

use super::BLOB;
use crate::Fallible;
use crate::random::Random;
use futures_util::{SinkExt as _, StreamExt as _};
use rusqlite::Connection;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Blobs of one message, and of one commit.
const BLOBS: usize = 64;

/// Messages on their way at once.
const IN_FLIGHT: usize = 4;

/// Messages between two checkpoints.
const BETWEEN_CHECKPOINTS: usize = 4;

/// Bytes of blobs a second.
pub(super) fn measure(directory: &Path, window: Duration) -> Fallible<f64> {
    let directory = tempfile::tempdir_in(directory)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let path = directory.path().join("plain.db");
    let taking = std::thread::spawn(move || run(take(listener, &path)));
    let brought = run(bring(address, window))?;
    taking.join().map_err(|_| "the plain peer panicked")??;
    Ok(brought)
}

fn run<T>(task: impl Future<Output = Fallible<T>>) -> Fallible<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}

/// Brings messages for a while, each blob a frame of its own, and counts what was answered.
async fn bring(address: std::net::SocketAddr, window: Duration) -> Fallible<f64> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    let mut random = Random::new();
    let mut blob = vec![0; BLOB];
    let (began, mut open, mut answered) = (Instant::now(), 0, 0_u64);
    while began.elapsed() < window || open > 0 {
        while open < IN_FLIGHT && began.elapsed() < window {
            for _ in 0..BLOBS {
                random.bytes(&mut blob[..16]);
                socket.feed(Message::binary(blob.clone())).await?;
            }
            socket.flush().await?;
            open += 1;
        }
        socket.next().await.ok_or("the plain peer left")??;
        open -= 1;
        answered += 1;
    }
    let bytes = answered * (BLOBS * BLOB) as u64;
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

/// Takes messages until nobody brings any more.
async fn take(listener: std::net::TcpListener, path: &Path) -> Fallible<()> {
    let mut database = Connection::open(path)?;
    database.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
         PRAGMA wal_autocheckpoint = 0;
         CREATE TABLE blob (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, body BLOB NOT NULL);",
    )?;
    let (stream, _) = TcpListener::from_std(listener)?.accept().await?;
    stream.set_nodelay(true)?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let (mut blobs, mut messages) = (Vec::with_capacity(BLOBS), 0);
    while let Some(Ok(frame)) = socket.next().await {
        blobs.push(frame.into_data());
        if blobs.len() < BLOBS {
            continue;
        }
        let transaction = database.transaction()?;
        let mut insert = transaction.prepare_cached("INSERT INTO blob (id, body) VALUES (?1, ?2)")?;
        for body in blobs.drain(..) {
            insert.execute((&body[..16], &body[..]))?;
        }
        drop(insert);
        transaction.commit()?;
        messages += 1;
        if messages % BETWEEN_CHECKPOINTS == 0 {
            database.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))?;
        }
        socket.send(Message::binary("done")).await?;
    }
    Ok(())
}
