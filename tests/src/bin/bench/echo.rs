//! A bare axum server in a process of its own: it parses the same send request and answers in the same form.
//! What the relay cannot be faster than.

use crate::Fallible;
use crate::load::{self, Outcome};
use crate::scenarios::{self, Mailboxes};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Hex digits of a blob's id.
const BLOB_ID: usize = 32;

#[derive(Deserialize)]
struct Request {
    recipient_id: String,
    ciphertext: String,
}

#[derive(Serialize)]
struct Answer {
    status: &'static str,
    blob_id: String,
}

/// Serves until standard input closes, which it does when the bench ends in whatever way.
pub(crate) fn serve() -> Fallible<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        let parent_gone = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        tokio::select! {
            served = axum::serve(listener, Router::new().route("/v2/send", post(echo))) => Ok(served?),
            gone = parent_gone => Ok(gone?.map(|_| ())?),
        }
    })
}

async fn echo(Json(request): Json<Request>) -> Json<Answer> {
    let mut blob_id = request.recipient_id;
    blob_id.truncate(BLOB_ID);
    // So that the ciphertext is really parsed.
    std::hint::black_box(request.ciphertext);
    Json(Answer { status: "ok", blob_id })
}

/// The echo's process.
pub(crate) struct Echo {
    child: Child,
    address: SocketAddr,
}

impl Echo {
    pub(crate) fn start() -> Fallible<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("--echo").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("the echo has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().parse()? })
    }

    pub(crate) async fn send(&self, connections: usize, window: Duration) -> Fallible<Outcome> {
        let watched = vec![("echo", self.child.id())];
        let scenario = |client| scenarios::send(client, Mailboxes(1), 1000);
        Ok(load::run(self.address, connections, window, watched, scenario).await?.0)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
