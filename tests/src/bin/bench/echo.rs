//! A bare axum server in a process of its own: it parses the same send request and answers in the same form.
//! What the relay cannot be faster than.

use crate::Fallible;
use crate::load::{self, Outcome, Pace};
use crate::proc::Watched;
use crate::requests::{BLOB_ID, Mailboxes};
use crate::scripts::Sender;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", listener.local_addr()?)?;
        stdout.flush()?;
        let parent_gone = async {
            let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
            end.await.map(|_| ()).unwrap_or_default();
        };
        let router = Router::new().route("/v2/send", post(echo));
        tokio::select! {
            served = axum::serve(listener, router) => Ok(served?),
            () = parent_gone => Ok(()),
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
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--echo")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the echo has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().parse()? })
    }

    pub(crate) async fn send(&self, connections: usize, window: Duration) -> Fallible<Outcome> {
        let watched = [Watched { name: "echo", pid: self.child.id() }, Watched::generator()];
        let senders = (0..connections).map(|_| Sender::new(Mailboxes(1), 1000)).collect();
        Ok(load::drive(self.address, senders, Pace::measured(window), &watched).await?.0)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
