//! Storage's sockets: whether they are there, answer, and are closed to other users.

use crate::doctor::code::Code;
use crate::doctor::facts::{Facts, Reached, StorageReport};
use crate::doctor::finding::Findings;
use relay_proto::messages::ClockStanding;
use relay_proto::socket::SocketRole;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    check_modes(facts, findings);
    // A store that cannot start is reason enough for its silence.
    if findings.has_error() {
        return;
    }
    let socket = SocketRole::Admin.storage_socket(&facts.settings.sockets);
    let socket = socket.display();
    let user = facts.user;
    match &facts.reached {
        Reached::Ready => {}
        Reached::Missing => findings.add(
            Code::SocketMissing,
            format!("there is no {socket}: no relay runs here, or its sockets are elsewhere"),
        ),
        Reached::Dead => findings.add(
            Code::SocketDead,
            format!("nobody listens at {socket}: storaged has ended or does not start"),
        ),
        Reached::Denied => findings.add(Code::SocketDenied, format!("uid {user} may not use {socket}")),
        Reached::Refused => findings.add_with(
            Code::SocketRefused,
            format!("storaged turns uid {user} away at {socket}: it is not in RELAY_SOCKET_UIDS"),
            format!("add {user} to RELAY_SOCKET_UIDS of storaged and restart it"),
        ),
        Reached::Silent => findings
            .add(Code::StorageSilent, format!("storaged takes connections at {socket} and does not answer")),
        // Reported with the clocks.
        Reached::NotReady(_) if facts.report.as_ref().is_some_and(is_behind) => {}
        Reached::NotReady(reason) => {
            findings.add(Code::StorageNotReady, format!("storaged is not ready: {reason}"))
        }
    }
}

/// Whether storage stores nothing new because of its clock.
fn is_behind(report: &StorageReport) -> bool {
    let standing = report.status.clock.map(|clock| clock.standing());
    matches!(standing, Some(ClockStanding::Behind | ClockStanding::BeforeBuild))
}

fn check_modes(facts: &Facts, findings: &mut Findings) {
    for socket in &facts.sockets {
        let Some((own, above)) = socket.modes.split_last() else { continue };
        // A socket is used by those who may write to it and pass through every directory above it.
        if own & 0o002 != 0 && above.iter().all(|mode| mode & 0o001 != 0) {
            findings.add_with(
                Code::SocketOpen,
                format!("every user of this machine may connect to {}", socket.path.display()),
                format!("chmod o-rwx {}", socket.path.parent().unwrap_or(&socket.path).display()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::checks::fixture::codes;
    use crate::doctor::facts::Reached;

    #[test]
    fn every_end_of_the_way_has_its_code() {
        for (reached, code) in [
            (Reached::Missing, "socket-missing"),
            (Reached::Dead, "socket-dead"),
            (Reached::Denied, "socket-denied"),
            (Reached::Refused, "socket-refused"),
            (Reached::Silent, "storage-silent"),
            (Reached::NotReady("the store cannot commit".to_owned()), "storage-not-ready"),
        ] {
            let found = codes(|facts| {
                facts.reached = reached;
                facts.report = None;
                facts.proxy = None;
                facts.operator = None;
            });
            assert_eq!(found, [code]);
        }
    }

    #[test]
    fn a_socket_is_open_when_nothing_on_the_way_to_it_is_closed() {
        let with = |modes: &[u32]| codes(|facts| facts.sockets[0].modes = modes.to_vec());
        assert_eq!(with(&[0o755, 0o755, 0o666]), ["socket-open"]);
        assert!(with(&[0o755, 0o755, 0o660]).is_empty());
        assert!(with(&[0o755, 0o750, 0o666]).is_empty());
        assert!(with(&[0o700, 0o755, 0o666]).is_empty());
    }
}
