//! Looks at a set-up. Every look is short, changes nothing, and has a deadline; together they send a relay a handful of
//! requests.

mod disk;
mod front;
mod http;
mod processes;
mod settings;
mod sockets;
mod storage;
mod tls;
mod upgrade;

use super::facts::{Facts, Front, Told};
use relay_daemon::variables::Backend;
use relay_daemon::{Clock, Exit, Failure, Vars};
use relay_proto::socket::Door;
use std::time::Duration;
use storage::Storage;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Looks at everything that this user can see.
///
/// # Errors
/// When this process has no runtime, or the URL is none.
pub(crate) fn look(vars: &Vars, clock: &Clock, url: Option<&str>) -> Result<Facts, Failure> {
    let (settings, token) = settings::read(vars);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, error))?;
    let _inside = runtime.enter();
    let socket = Door::Admin.storage_socket(&settings.sockets);
    let on_disk = settings.backend == Backend::Sqlite;
    let reached = sockets::reach(&socket);
    let data = on_disk.then(|| disk::data(&settings.data)).flatten();
    let volume = on_disk.then(|| disk::volume(&settings.data)).flatten();
    let storage = Storage::at(socket);
    let mut facts = Facts {
        now: clock.now(),
        user: nix::unistd::geteuid().as_raw(),
        data,
        volume,
        sockets: sockets::seen(&settings.sockets),
        reached,
        told: None,
        files: Vec::new(),
        operator: None,
        front: None,
        settings,
    };
    if !facts.settings.make_sense() {
        return Ok(facts);
    }
    if facts.reached.answers() {
        facts.told = runtime.block_on(storage.tell(clock));
    }
    if let Some(told) = &facts.told {
        facts.files = processes::files(&told.status);
        facts.operator = processes::operator(facts.settings.ops, token.as_deref());
    }
    let asked = url.map(str::to_owned).or_else(|| facts.settings.public_url.clone());
    facts.front = match asked {
        Some(url) => Some(runtime.block_on(front::public(&url, &facts, clock))?),
        None => front::direct(&facts, clock),
    };
    if let (Some(Told { before, after, .. }), front) = (&mut facts.told, &facts.front) {
        let requests = front.as_ref().map_or(0, |front: &Front| front.requests);
        *after = runtime.block_on(storage.count_again(*before, requests));
    }
    Ok(facts)
}
