//! Gateways on this machine: what they may open, and what they answer their operator.

use super::PATIENCE;
use super::http::get;
use crate::doctor::facts::Operator;
use crate::up::near;
use relay_proto::admin::Status;
use relay_proto::telemetry::Role;
use std::fs;
use std::net::{SocketAddr, TcpStream};

/// Files that each gateway may open, of those whose process id means one on this machine.
pub(super) fn files(status: &Status) -> Vec<u64> {
    let gateways = status.processes.iter().filter(|process| process.role == Role::Gateway);
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

/// What a gateway answers at the operator's port; nothing where no gateway answers.
pub(super) fn operator(address: SocketAddr, token: Option<&str>) -> Option<Operator> {
    let stream = TcpStream::connect_timeout(&near(address), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let answer = get(stream, "/ready", token).ok()?;
    let speaks =
        serde_json::from_str::<serde_json::Value>(&answer.body).is_ok_and(|body| body["status"].is_string());
    speaks.then(|| Operator { not_ready: answer.not_ready() })
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
