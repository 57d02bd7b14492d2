//! The plain way to bring blobs from one process to another and onto its disk: a WebSocket without anything inside, and
//! a table that is committed to once a message. Two threads, as two relays are two processes; four messages may be on
//! their way. Settings and shape of the table are those of the relay, whose own work is all that it leaves out.

use super::BLOB;
use crate::Fallible;
use futures_util::{SinkExt as _, StreamExt as _};
use rusqlite::Connection;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Bytes of one WebSocket frame: two blobs, about as much as fits one Noise message.
const FRAME: usize = 2 * BLOB;
/// Frames of one message, which is what is committed at once: 2 MiB.
const FRAMES: usize = (2 << 20) / FRAME;
/// Messages on their way at once.
const IN_FLIGHT: usize = 4;
/// Bytes of a mailbox's hash, and of a blob's id, at the beginning of each blob.
const MAILBOX: usize = 32;
const NAME: usize = MAILBOX + 16;

/// Bytes of blobs a second.
pub(super) async fn measure(window: Duration) -> Fallible<f64> {
    // Where the relays that it is compared with have theirs.
    let directory = tempfile::tempdir_in("/tmp")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let path = directory.path().join("plain.db");
    let taking = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(take(listener, &path))
    });
    let brought = bring(address, window).await?;
    taking.join().map_err(|_| "the plain peer panicked")??;
    Ok(brought)
}

/// Brings messages for a while, and counts those that were answered.
async fn bring(address: SocketAddr, window: Duration) -> Fallible<f64> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    let mut frame = vec![7; FRAME];
    let (began, mut open, mut answered) = (Instant::now(), 0, 0_u64);
    while began.elapsed() < window || open > 0 {
        while open < IN_FLIGHT && began.elapsed() < window {
            for _ in 0..FRAMES {
                frame.chunks_exact_mut(BLOB).for_each(|blob| rand::fill(&mut blob[..NAME]));
                socket.feed(Message::binary(frame.clone())).await?;
            }
            socket.flush().await?;
            open += 1;
        }
        socket.next().await.ok_or("the plain peer left")??;
        open -= 1;
        answered += 1;
    }
    Ok((answered * (FRAMES * FRAME) as u64) as f64 / began.elapsed().as_secs_f64())
}

/// Takes messages until nobody brings any more.
async fn take(listener: TcpListener, path: &Path) -> Fallible<()> {
    let mut database = Connection::open(path)?;
    database.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 1024; PRAGMA journal_size_limit = 67108864;
         PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON; PRAGMA cache_size = -8192;
         CREATE TABLE blobs (seq INTEGER PRIMARY KEY, mailbox BLOB NOT NULL, id BLOB NOT NULL,
             size INTEGER NOT NULL, created INTEGER NOT NULL, origin_hint BLOB, ciphertext BLOB NOT NULL) STRICT;
         CREATE UNIQUE INDEX blobs_by_mailbox ON blobs (mailbox, id, size, created);",
    )?;
    let (stream, _) = tokio::net::TcpListener::from_std(listener)?.accept().await?;
    stream.set_nodelay(true)?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let mut frames = Vec::with_capacity(FRAMES);
    while let Some(Ok(frame)) = socket.next().await {
        frames.push(frame.into_data());
        if frames.len() < FRAMES {
            continue;
        }
        let transaction = database.transaction()?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO blobs (mailbox, id, size, created, ciphertext) VALUES (?1, ?2, ?3, 0, ?4)",
        )?;
        for blob in frames.iter().flat_map(|frame| frame.chunks_exact(BLOB)) {
            insert.execute((&blob[..MAILBOX], &blob[MAILBOX..NAME], BLOB, blob))?;
        }
        drop(insert);
        transaction.commit()?;
        frames.clear();
        socket.send(Message::binary("done")).await?;
    }
    Ok(())
}
