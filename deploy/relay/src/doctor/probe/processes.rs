//! Gateways on this machine: what they may open, and what they answer their operator.

use super::{DEADLINE, not_ready};
use crate::doctor::facts::Operator;
use relay_client::get;
use relay_daemon::health::from_here;
use relay_proto::messages::StatusReply;
use relay_proto::telemetry::Role;
use std::fs;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Files that each gateway may open, of those whose process id means one on this machine.
pub(super) fn files(status: &StatusReply) -> Vec<u64> {
    let gateways = status.processes.iter().filter(|process| process.runs(Role::Gateway));
    gateways.filter_map(|process| open_files(process.pid)).collect()
}

fn open_files(pid: u32) -> Option<u64> {
    // In a container's own numbering it may be anybody here.
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim_end() == Role::Gateway.name()).then_some(())?;
    limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
}

/// The limit in force, as proc(5) writes it.
fn limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// What a gateway answers at the operator's port; `None` where no gateway answers.
pub(super) async fn operator(address: SocketAddr, token: Option<&str>) -> Option<Operator> {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers = bearer.as_deref().map(|bearer| ("authorization", bearer));
    let asking = async {
        let stream = TcpStream::connect(from_here(address)).await.ok()?;
        get(stream, "/ready", headers.as_slice()).await.ok()
    };
    let answer = timeout(DEADLINE, asking).await.ok()??;
    answer.json()["status"].is_string().then(|| Operator { not_ready: not_ready(&answer) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_in_force_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             7                    8                    processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(limit(limits), Some(1024));
        assert_eq!(limit("Max open files            unlimited            unlimited  files"), Some(u64::MAX));
        assert_eq!(limit(""), None);
    }

    #[test]
    fn another_program_is_no_gateway() {
        assert_eq!(open_files(std::process::id()), None);
    }
}
