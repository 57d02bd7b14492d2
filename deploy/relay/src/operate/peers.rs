//! `relay peers`: this relay's keys, its peers, and how much mail each side holds.

mod row;

use crate::admin_client::call;
use crate::display::output::{Answer, answer, row};
use crate::display::units::counted;
use crate::operate::federation_summary::{Federation, FederationSummary};
use clap::Subcommand;
use relay_daemon::{Clock, Failure, Vars};
use relay_proto::messages::{
    ForgetPeerReply, ForgetPeerRequest, PeersReply, ReassignPeerReply, ReassignPeerRequest,
};
use relay_proto::{NoiseKey, PeerId, UnixSeconds};
use row::{HEADS, Row, rows};
use serde_json::{Value, json};

/// What to do with peers.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum PeersCommand {
    /// Forget the key that a peer's address is pinned to; the key it shows next is taken and kept
    Forget {
        /// The address, as `relay peers` shows it
        url: String,
    },
    /// Give the mail held here for a relay that lost its keys to the same relay with new keys
    ///
    /// Its operator asks for it: make sure that it is them, by another way than the relay. Whoever has the new identity can
    /// fetch that mail. The relay learns within ten minutes what is held for it, or when it connects anew.
    Reassign {
        /// The identity that the relay had, as `relay peers` shows it
        #[arg(value_name = "OLD_IDENTITY", value_parser = identity)]
        from: PeerId,
        /// The identity that it has now; it has connected once
        #[arg(value_name = "NEW_IDENTITY", value_parser = identity)]
        to: PeerId,
    },
}

fn identity(text: &str) -> Result<PeerId, &'static str> {
    PeerId::from_base64url(text).map_err(|_| "an identity has 43 characters, as `relay peers` shows it")
}

/// Asks the relay that the variables point to.
///
/// # Errors
/// When no relay answers there.
pub(crate) fn peers(vars: &Vars, clock: &Clock, as_json: bool) -> Result<Answer, Failure> {
    let peering = call(vars, async |admin| admin.peers().await)?;
    Ok(answer(as_json, || as_value(&peering), || text(&peering, clock.now())))
}

/// Has the relay forget what a peer's address is pinned to.
///
/// # Errors
/// When the address is not pinned, or no relay answers.
pub(crate) fn forget(vars: &Vars, url: &str) -> Result<Answer, Failure> {
    // As RELAY_FEDERATION_PEERS has it, a key may stand behind it.
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let request = ForgetPeerRequest { url: url.to_owned() };
    let reply = call(vars, async |mut admin| admin.0.forget_peer(request).await)?;
    let ForgetPeerReply { forgotten } = reply.into_inner();
    if !forgotten {
        return Err(failure!(
            DataMissing,
            "{url} is not pinned; give the URL exactly as `relay peers` shows it"
        ));
    }
    let text = "the key that it shows next is taken and kept, unless RELAY_FEDERATION_PEERS names one";
    Ok(format!("forgot what {url} was pinned to: {text}\n").into())
}

/// Gives what is held for a relay that lost its keys to the same relay with new ones.
///
/// # Errors
/// When the relay is connected under its old keys, or never was under the new ones, or no relay answers.
pub(crate) fn reassign(vars: &Vars, from: PeerId, to: PeerId) -> Result<Answer, Failure> {
    let refused = |why: &str| Err(failure!(DataMissing, "{why}; nothing was changed"));
    let request = ReassignPeerRequest { from: from.into(), to: to.into() };
    let reply = call(vars, async |mut admin| admin.0.reassign_peer(request).await)?;
    let ReassignPeerReply { blobs, from_is_connected, to_is_unknown } = reply.into_inner();
    if from_is_connected {
        return refused("the relay with the old identity is connected, so it has not lost its keys");
    }
    if to_is_unknown {
        return refused(
            "no relay with the new identity has connected here yet; let it connect first (`relay peers` shows it)",
        );
    }
    let (blobs, belong) = (counted(blobs, "blob"), if blobs == 1 { "belongs" } else { "belong" });
    Ok(format!(
        "{blobs} of the old identity {belong} to the new one now; the relay learns that within ten minutes, or when it \
         connects anew\n"
    )
    .into())
}

/// This relay's identity and Noise key, in the form in which operators exchange them.
fn own_keys(peering: &PeersReply) -> [Option<String>; 2] {
    let identity = PeerId::try_from(&peering.identity[..]).ok().map(|identity| identity.to_base64url());
    let noise_key = NoiseKey::try_from(&peering.noise_key[..]).ok().map(|key| key.to_base64url());
    [identity, noise_key]
}

fn as_value(peering: &PeersReply) -> Value {
    let summary = FederationSummary::of(peering);
    let [identity, noise_key] = own_keys(peering);
    json!({
        "enabled": summary.federation != Federation::Off,
        "reporting": peering.reporting,
        "draining": peering.draining,
        "identity": identity,
        "noise_key": noise_key,
        "peers": rows(peering).iter().map(Row::as_value).collect::<Vec<_>>(),
    })
}

fn text(peering: &PeersReply, now: UnixSeconds) -> String {
    let summary = FederationSummary::of(peering);
    let mut text = row("federation", summary.line());
    if summary.federation == Federation::Off {
        let how =
            "start the relay with RELAY_FEDERATION_ENABLED=true and RELAY_FEDERATION_PEERS to have peers";
        text += &row("", how);
    }
    let [identity, noise_key] = own_keys(peering);
    if let Some(identity) = identity {
        text += &row("identity", format_args!("{identity} (for RELAY_FEDERATION_ACCEPT of peers)"));
    }
    if let Some(key) = noise_key {
        text += &row("noise key", format_args!("{key} (behind # in RELAY_FEDERATION_PEERS of peers)"));
    }
    let rows = rows(peering);
    if rows.is_empty() {
        return text;
    }
    let heads = std::iter::once(HEADS.map(str::to_owned));
    let cells: Vec<_> = heads.chain(rows.iter().map(|row| row.cells(now))).collect();
    // The line of the heads has no remarks.
    let remarks = std::iter::once(Vec::new()).chain(rows.iter().map(Row::remarks));
    text.push('\n');
    for (line, remarks) in align(&cells).into_iter().zip(remarks) {
        text += &format!("{line}\n");
        text.extend(remarks.into_iter().map(|remark| format!("    {remark}\n")));
    }
    text + "\nSENT, RECEIVED, RECALLED: blobs, since federated started; THERE, HERE: blobs that lie with\n\
            the peer, and here for it; TO TELL: deletions that the peer has not confirmed\n"
}

/// Lines in which columns stand below one another: the first one to the left, the others to the right.
fn align<const COLUMNS: usize>(table: &[[String; COLUMNS]]) -> Vec<String> {
    let width = |column: usize| table.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |cells: &[String; COLUMNS]| {
        let cells = cells.iter().zip(widths).enumerate();
        let cell = |(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("  {cell:>width$}"),
        };
        cells.map(cell).collect()
    };
    table.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Storage, id, nobody, sample};
    use relay_daemon::Exit;

    #[test]
    fn people_read_a_table() {
        let text = text(&sample(), UnixSeconds::new(1_000_065));
        let expected = [
            format!("federation    {}", FederationSummary::of(&sample()).line()),
            format!("identity      {} (for RELAY_FEDERATION_ACCEPT of peers)", id(9).to_base64url()),
            format!(
                "noise key     {} (behind # in RELAY_FEDERATION_PEERS of peers)",
                NoiseKey::from_bytes([8; 32]).to_base64url()
            ),
            String::new(),
            "PEER                          LINK     ROOM      LAST SEEN   SENT  RECEIVED  RECALLED  THERE  HERE  TO TELL  PINNED".to_owned(),
            "wss://relay-b.example           up  1.0 GiB  1 min 5 s ago  1,200         3        20  1,180     3        4     yes".to_owned(),
            format!("    identity {}", id(1).to_base64url()),
            "ws://10.0.0.7:8080     pin changed      0 B              -      0         0         0      0     0        0     yes".to_owned(),
            format!("    identity {}", id(2).to_base64url()),
            "    trouble: its key has changed".to_owned(),
            "ws://10.0.0.8:8080            down      0 B              -      0         0         0      0     0        0      no".to_owned(),
            "    identity not known yet: it has not proved who it is".to_owned(),
            "    trouble: not reached yet".to_owned(),
            "(connects here)                 up  1.0 GiB  1 min 5 s ago  1,200         3        20      0     0        0      no".to_owned(),
            format!("    identity {}", id(4).to_base64url()),
            String::new(),
            "SENT, RECEIVED, RECALLED: blobs, since federated started; THERE, HERE: blobs that lie with".to_owned(),
            "the peer, and here for it; TO TELL: deletions that the peer has not confirmed".to_owned(),
            String::new(),
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn a_relay_without_peers_tells_how_to_have_some() {
        let text = text(&nobody(), UnixSeconds::new(0));
        assert!(text.starts_with("federation    off\n"), "{text}");
        assert!(text.contains("RELAY_FEDERATION_ENABLED=true") && !text.contains("identity"), "{text}");
    }

    #[test]
    fn programs_read_json() {
        let value = as_value(&sample());
        assert_eq!(value["identity"], id(9).to_base64url());
        assert_eq!(value["noise_key"], NoiseKey::from_bytes([8; 32]).to_base64url());
        assert_eq!(
            (&value["enabled"], &value["reporting"], &value["draining"]),
            (&json!(true), &json!(true), &json!(false))
        );
        assert_eq!(
            value["peers"][0],
            json!({
                "url": "wss://relay-b.example",
                "identity": id(1).to_base64url(),
                "link": "up",
                "free_bytes": 1_u64 << 30,
                "last_seen": 1_000_000,
                "blobs_sent": 1200,
                "blobs_received": 3,
                "blobs_recalled": 20,
                "trouble": null,
                "clock_ahead_seconds": 0,
                "keeps_secs": 120 * 86_400,
                "pinned": true,
                "pinned_key": NoiseKey::from_bytes([1; 32]).to_base64url(),
                "blobs_moved": 1180,
                "blobs_held": 3,
                "deletions_waiting": 4,
            })
        );
        assert_eq!(value["peers"][3]["url"], Value::Null);
        assert_eq!(as_value(&nobody())["enabled"], false);
    }

    #[test]
    fn storage_is_asked() {
        let storage = Storage::start(sample());
        let answer = peers(&storage.vars(), &Clock::system(), true).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&answer.text).unwrap(), as_value(&sample()));
    }

    #[test]
    fn a_pin_is_forgotten_once() {
        let storage = Storage::start(sample());
        let url = "ws://10.0.0.7:8080";
        let said = forget(&storage.vars(), url).unwrap().text;
        assert!(said.contains("forgot") && said.contains(url), "{said}");

        let refused = forget(&storage.vars(), url).unwrap_err();
        assert_eq!(refused.exit, Exit::DataMissing);
        assert!(refused.text.contains(url) && refused.text.contains("relay peers"), "{refused}");
    }

    #[test]
    fn what_is_held_is_given_to_new_keys_or_it_is_said_why_not() {
        let storage = Storage::start(sample());
        let told = |reassigned| {
            storage.change(|answers| answers.reassigned = reassigned);
            reassign(&storage.vars(), id(1), id(2))
        };
        let said = told(ReassignPeerReply { blobs: 1200, ..ReassignPeerReply::default() }).unwrap().text;
        assert!(said.starts_with("1,200 blobs of the old identity belong to the new one"), "{said}");
        for (reassigned, why) in [
            (
                ReassignPeerReply { from_is_connected: true, ..ReassignPeerReply::default() },
                "old identity is connected",
            ),
            (
                ReassignPeerReply { to_is_unknown: true, ..ReassignPeerReply::default() },
                "no relay with the new identity",
            ),
        ] {
            let refused = told(reassigned).unwrap_err();
            assert_eq!(refused.exit, Exit::DataMissing);
            assert!(refused.text.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_key_behind_the_address_of_a_pin_does_not_matter() {
        let storage = Storage::start(sample());
        let url = format!("ws://10.0.0.7:8080#{}", NoiseKey::from_bytes([2; 32]).to_base64url());
        assert!(forget(&storage.vars(), &url).is_ok());
    }
}
