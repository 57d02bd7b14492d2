//! Looks at a set-up. Every look is short, changes nothing, and has a deadline; together they send a relay a handful of
//! requests.

mod disk;
mod processes;
mod proxy;
mod settings;
mod sockets;
mod storage;
mod tls;
mod upgrade;

use super::facts::{Facts, Proxy, StorageReport};
use crate::display::output;
use relay_client::Response;
use relay_daemon::variables::Backend;
use relay_daemon::{Clock, Failure, Vars};
use relay_proto::socket::SocketRole;
use std::time::Duration;
use storage::Storage;

/// How long one look may take.
const DEADLINE: Duration = Duration::from_secs(4);

/// Looks at everything that this user can see.
///
/// # Errors
/// When the runtime does not start, or the URL cannot be parsed.
pub(crate) fn look(vars: &Vars, clock: &Clock, url: Option<&str>) -> Result<Facts, Failure> {
    let (settings, token) = settings::read(vars);
    let runtime = output::runtime()?;
    let _inside = runtime.enter();
    let socket = SocketRole::Admin.storage_socket(&settings.sockets);
    let on_disk = settings.backend == Backend::Sqlite;
    let reached = runtime.block_on(sockets::reach(&socket));
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
        report: None,
        files: Vec::new(),
        operator: None,
        proxy: None,
        settings,
    };
    if !facts.settings.make_sense() {
        return Ok(facts);
    }
    if facts.reached.answers() {
        facts.report = runtime.block_on(storage.report(clock));
    }
    if let Some(report) = &facts.report {
        facts.files = processes::files(&report.status);
        facts.operator = runtime.block_on(processes::operator(facts.settings.ops, token.as_deref()));
    }
    let asked = url.map(str::to_owned).or_else(|| facts.settings.public_url.clone());
    facts.proxy = match asked {
        Some(url) => Some(proxy::public(&url, &facts, clock, &runtime)?),
        None => proxy::direct(&facts, clock),
    };
    if let (Some(StorageReport { before, after, .. }), proxy) = (&mut facts.report, &facts.proxy) {
        let requests = proxy.as_ref().map_or(0, |proxy: &Proxy| proxy.seen.requests);
        *after = runtime.block_on(storage.count_again(*before, requests));
    }
    Ok(facts)
}

/// Why a process is not ready, by its answer to `/ready`; `None` when it is.
fn not_ready(answer: &Response) -> Option<String> {
    if answer.status == 200 {
        return None;
    }
    let reason = answer.json()["reason"].as_str().map(str::to_owned);
    Some(reason.unwrap_or_else(|| format!("status {}", answer.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_ready_says_why() {
        let answer = |status, body: &'static str| {
            not_ready(&Response { status, headers: Default::default(), body: body.into() })
        };
        assert_eq!(answer(200, r#"{"status":"ready"}"#), None);
        assert_eq!(answer(503, r#"{"reason":"stopping"}"#).as_deref(), Some("stopping"));
        assert_eq!(answer(503, "").as_deref(), Some("status 503"));
    }
}
