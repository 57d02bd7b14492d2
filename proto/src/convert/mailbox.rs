//! Messages of the mailbox service.

use super::{bytes_of, caller, caller_message, identifier, required};
use crate::limits::{MAX_CLIENT_URL, MAX_HINTS, MAX_MAILBOXES, MAX_MOVED_BLOBS, MAX_WRITE_COMMANDS};
use crate::mail::{
    BlobName, Fetch, Hint, LargerBlob, MailPage, MovedBlob, NewBlob, Ownership, Purge, Register, Registered,
    SignedHints, StoredBlob, WriteAction, WriteCommand, WriteOutcomes, Written,
};
use crate::{BlobId, Ciphertext, MailboxHash, OriginHint, Refusal, UnixSeconds, wire};
use bytes::Bytes;

/// Reads a write message. A command that cannot be read spoils itself only; a message over the limit, all.
pub(crate) fn write_commands(
    message: wire::WriteRequest,
) -> Result<Vec<Result<WriteCommand, Refusal>>, Refusal> {
    let wire::WriteRequest { commands } = message;
    if commands.len() > MAX_WRITE_COMMANDS {
        return Err(Refusal::invalid("commands"));
    }
    Ok(commands.into_iter().map(WriteCommand::try_from).collect())
}

/// Writes a write message.
pub(crate) fn write_request(commands: Vec<WriteCommand>) -> wire::WriteRequest {
    wire::WriteRequest { commands: commands.into_iter().map(wire::WriteCommand::from).collect() }
}

impl TryFrom<wire::WriteCommand> for WriteCommand {
    type Error = Refusal;

    fn try_from(message: wire::WriteCommand) -> Result<Self, Refusal> {
        use wire::write_command::Command;
        let wire::WriteCommand { caller: payer, command } = message;
        let action = match required("command", command)? {
            Command::Send(wire::Send { mailbox, ciphertext, origin_hint }) => WriteAction::Send(NewBlob {
                mailbox: identifier("mailbox", &mailbox)?,
                ciphertext: read_ciphertext(ciphertext)?,
                origin_hint: read_origin_hint(origin_hint)?,
            }),
            Command::Ack(wire::Ack { mailbox, blob_id }) => WriteAction::Ack {
                mailbox: identifier("mailbox", &mailbox)?,
                blob_id: identifier("blob_id", &blob_id)?,
            },
        };
        Ok(Self { caller: caller(payer)?, action })
    }
}

impl From<WriteCommand> for wire::WriteCommand {
    fn from(command: WriteCommand) -> Self {
        use wire::write_command::Command;
        let WriteCommand { caller, action } = command;
        let command = match action {
            WriteAction::Send(NewBlob { mailbox, ciphertext, origin_hint }) => Command::Send(wire::Send {
                mailbox: bytes_of(mailbox.as_bytes()),
                ciphertext: ciphertext.as_bytes().clone(),
                origin_hint: origin_hint.map(|hint| hint.as_bytes().clone()),
            }),
            WriteAction::Ack { mailbox, blob_id } => Command::Ack(wire::Ack {
                mailbox: bytes_of(mailbox.as_bytes()),
                blob_id: bytes_of(blob_id.as_bytes()),
            }),
        };
        Self { caller: caller_message(caller), command: Some(command) }
    }
}

fn read_ciphertext(bytes: Bytes) -> Result<Ciphertext, Refusal> {
    Ciphertext::try_from(bytes).map_err(|_| Refusal::invalid("ciphertext"))
}

fn read_origin_hint(bytes: Option<Bytes>) -> Result<Option<OriginHint>, Refusal> {
    bytes.map(OriginHint::try_from).transpose().map_err(|_| Refusal::invalid("origin_hint"))
}

pub(crate) fn write_reply(outcomes: WriteOutcomes) -> wire::WriteReply {
    use wire::write_outcome::Outcome;
    let outcomes = outcomes
        .into_iter()
        .map(|outcome| {
            let outcome = match outcome {
                Ok(Written::Stored(id)) => Outcome::Stored(bytes_of(id.as_bytes())),
                Ok(Written::Acknowledged(removed)) => Outcome::Acknowledged(removed),
                Err(refusal) => Outcome::Refused(refusal.into()),
            };
            wire::WriteOutcome { outcome: Some(outcome) }
        })
        .collect();
    wire::WriteReply { outcomes }
}

/// Reads the answer to a write message of `expected` commands.
pub(crate) fn write_outcomes(message: wire::WriteReply, expected: usize) -> Result<WriteOutcomes, Refusal> {
    use wire::write_outcome::Outcome;
    let wire::WriteReply { outcomes } = message;
    if outcomes.len() != expected {
        return Err(Refusal::invalid("outcomes"));
    }
    let read = |outcome: wire::WriteOutcome| match required("outcome", outcome.outcome)? {
        Outcome::Stored(id) => Ok(Written::Stored(identifier::<BlobId>("stored", &id)?)),
        Outcome::Acknowledged(removed) => Ok(Written::Acknowledged(removed)),
        Outcome::Refused(refusal) => Err(refusal.into()),
    };
    Ok(outcomes.into_iter().map(read).collect())
}

fn mailboxes(list: &[Bytes]) -> Result<Vec<MailboxHash>, Refusal> {
    if list.is_empty() || list.len() > MAX_MAILBOXES {
        return Err(Refusal::invalid("mailboxes"));
    }
    list.iter().map(|bytes| identifier("mailboxes", bytes)).collect()
}

fn mailbox_bytes(list: &[MailboxHash]) -> Vec<Bytes> {
    list.iter().map(|hash| bytes_of(hash.as_bytes())).collect()
}

impl TryFrom<wire::FetchRequest> for Fetch {
    type Error = Refusal;

    fn try_from(message: wire::FetchRequest) -> Result<Self, Refusal> {
        let wire::FetchRequest { caller: payer, mailboxes: list, sealed } = message;
        Ok(Self { caller: caller(payer)?, mailboxes: mailboxes(&list)?, sealed })
    }
}

impl From<Fetch> for wire::FetchRequest {
    fn from(fetch: Fetch) -> Self {
        let Fetch { caller, mailboxes, sealed } = fetch;
        Self { caller: caller_message(caller), mailboxes: mailbox_bytes(&mailboxes), sealed }
    }
}

impl From<MailPage> for wire::FetchReply {
    fn from(page: MailPage) -> Self {
        let MailPage { blobs, truncated, moved, oversized, larger } = page;
        let blobs = blobs.into_iter().map(wire::Blob::from).collect();
        let moved = moved.into_iter().map(wire::MovedBlob::from).collect();
        let larger = larger.map(|LargerBlob { mailbox_index, place, bytes }| wire::LargerBlob {
            mailbox_index: u32::try_from(mailbox_index).unwrap_or(u32::MAX),
            place,
            bytes,
        });
        Self { blobs, truncated, moved, oversized, larger }
    }
}

impl From<StoredBlob> for wire::Blob {
    fn from(blob: StoredBlob) -> Self {
        let StoredBlob { mailbox_index, blob_id, ciphertext, created_at, origin_hint, place } = blob;
        Self {
            mailbox_index: u32::try_from(mailbox_index).unwrap_or(u32::MAX),
            blob_id: bytes_of(blob_id.as_bytes()),
            ciphertext: ciphertext.as_bytes().clone(),
            created_at: created_at.get(),
            origin_hint: origin_hint.map(|hint| hint.as_bytes().clone()),
            place,
        }
    }
}

impl From<MovedBlob> for wire::MovedBlob {
    fn from(moved: MovedBlob) -> Self {
        let MovedBlob { mailbox_index, blob_id, created_at, place, peer, reachable } = moved;
        Self {
            mailbox_index: u32::try_from(mailbox_index).unwrap_or(u32::MAX),
            blob_id: bytes_of(blob_id.as_bytes()),
            created_at: created_at.get(),
            place,
            peer: bytes_of(peer.as_bytes()),
            reachable,
        }
    }
}

/// Reads a position among `asked` mailboxes.
fn mailbox_index(index: u32, asked: usize) -> Result<usize, Refusal> {
    usize::try_from(index).ok().filter(|index| *index < asked).ok_or(Refusal::invalid("mailbox_index"))
}

/// Reads the answer to a fetch of `asked` mailboxes.
pub(crate) fn mail_page(message: wire::FetchReply, asked: usize) -> Result<MailPage, Refusal> {
    let wire::FetchReply { blobs, truncated, moved, oversized, larger } = message;
    if moved.len() > MAX_MOVED_BLOBS {
        return Err(Refusal::invalid("moved"));
    }
    let read_moved = |blob: wire::MovedBlob| {
        let wire::MovedBlob { mailbox_index: index, blob_id, created_at, place, peer, reachable } = blob;
        Ok(MovedBlob {
            mailbox_index: mailbox_index(index, asked)?,
            blob_id: identifier("blob_id", &blob_id)?,
            created_at: UnixSeconds::new(created_at),
            place,
            peer: identifier("peer", &peer)?,
            reachable,
        })
    };
    let larger = larger.map(|wire::LargerBlob { mailbox_index: index, place, bytes }| {
        Ok::<_, Refusal>(LargerBlob { mailbox_index: mailbox_index(index, asked)?, place, bytes })
    });
    Ok(MailPage {
        blobs: blobs.into_iter().map(|blob| stored(blob, asked)).collect::<Result<_, Refusal>>()?,
        truncated,
        moved: moved.into_iter().map(read_moved).collect::<Result<_, Refusal>>()?,
        oversized,
        larger: larger.transpose()?,
    })
}

/// Reads a blob of one of `asked` mailboxes.
pub(crate) fn stored(blob: wire::Blob, asked: usize) -> Result<StoredBlob, Refusal> {
    let wire::Blob { mailbox_index: index, blob_id, ciphertext, created_at, origin_hint, place } = blob;
    Ok(StoredBlob {
        mailbox_index: mailbox_index(index, asked)?,
        blob_id: identifier("blob_id", &blob_id)?,
        ciphertext: read_ciphertext(ciphertext)?,
        created_at: UnixSeconds::new(created_at),
        origin_hint: read_origin_hint(origin_hint)?,
        place,
    })
}

/// Asks where blobs are.
pub(crate) fn hints_request(names: Vec<BlobName>) -> wire::HintsRequest {
    let write = |BlobName { mailbox, blob_id }: BlobName| wire::MailboxBlob {
        mailbox: bytes_of(mailbox.as_bytes()),
        blob_id: bytes_of(blob_id.as_bytes()),
    };
    wire::HintsRequest { blobs: names.into_iter().map(write).collect() }
}

/// Reads which blobs are asked for.
pub(crate) fn hinted_names(message: wire::HintsRequest) -> Result<Vec<BlobName>, Refusal> {
    let wire::HintsRequest { blobs } = message;
    if blobs.len() > MAX_HINTS {
        return Err(Refusal::invalid("blobs"));
    }
    let read = |blob: wire::MailboxBlob| {
        let wire::MailboxBlob { mailbox, blob_id } = blob;
        Ok(BlobName { mailbox: identifier("mailbox", &mailbox)?, blob_id: identifier("blob_id", &blob_id)? })
    };
    blobs.into_iter().map(read).collect()
}

impl From<SignedHints> for wire::SignedHints {
    fn from(signed: SignedHints) -> Self {
        let SignedHints { hints, signing_key, signature } = signed;
        let write = |Hint { blob_id, relay_url, expires_at }: Hint| wire::Hint {
            blob_id: bytes_of(blob_id.as_bytes()),
            relay_url,
            expires_at: expires_at.get(),
        };
        Self {
            hints: hints.into_iter().map(write).collect(),
            signing_key: bytes_of(signing_key.as_bytes()),
            signature: bytes_of(signature.as_bytes()),
        }
    }
}

impl TryFrom<wire::SignedHints> for SignedHints {
    type Error = Refusal;

    fn try_from(message: wire::SignedHints) -> Result<Self, Refusal> {
        let wire::SignedHints { hints, signing_key, signature } = message;
        if hints.len() > MAX_HINTS {
            return Err(Refusal::invalid("hints"));
        }
        let read = |hint: wire::Hint| {
            let wire::Hint { blob_id, relay_url, expires_at } = hint;
            if relay_url.len() > MAX_CLIENT_URL {
                return Err(Refusal::invalid("relay_url"));
            }
            let blob_id = identifier("blob_id", &blob_id)?;
            Ok(Hint { blob_id, relay_url, expires_at: UnixSeconds::new(expires_at) })
        };
        Ok(Self {
            hints: hints.into_iter().map(read).collect::<Result<_, _>>()?,
            signing_key: identifier("signing_key", &signing_key)?,
            signature: identifier("signature", &signature)?,
        })
    }
}

impl TryFrom<wire::RegisterRequest> for Register {
    type Error = Refusal;

    fn try_from(message: wire::RegisterRequest) -> Result<Self, Refusal> {
        let wire::RegisterRequest { caller: payer, request_id, mailboxes: list, ownership } = message;
        Ok(Self {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            mailboxes: mailboxes(&list)?,
            ownership: ownership.map(Ownership::try_from).transpose()?,
        })
    }
}

impl From<Registered> for wire::RegisterReply {
    fn from(registered: Registered) -> Self {
        let Registered { registered, bound_elsewhere, waiting } = registered;
        Self { registered, bound_elsewhere, waiting }
    }
}

impl From<wire::RegisterReply> for Registered {
    fn from(message: wire::RegisterReply) -> Self {
        let wire::RegisterReply { registered, bound_elsewhere, waiting } = message;
        Self { registered, bound_elsewhere, waiting }
    }
}

impl From<Register> for wire::RegisterRequest {
    fn from(register: Register) -> Self {
        let Register { caller, request_id, mailboxes, ownership } = register;
        Self {
            caller: caller_message(caller),
            request_id: bytes_of(request_id.as_bytes()),
            mailboxes: mailbox_bytes(&mailboxes),
            ownership: ownership.map(wire::Ownership::from),
        }
    }
}

impl TryFrom<wire::Ownership> for Ownership {
    type Error = Refusal;

    fn try_from(message: wire::Ownership) -> Result<Self, Refusal> {
        let wire::Ownership { public_key, timestamp, signature, tokens_digest } = message;
        Ok(Self {
            public_key: identifier("public_key", &public_key)?,
            timestamp: UnixSeconds::new(timestamp),
            signature: identifier("signature", &signature)?,
            tokens_digest: identifier("tokens_digest", &tokens_digest)?,
        })
    }
}

impl From<Ownership> for wire::Ownership {
    fn from(ownership: Ownership) -> Self {
        let Ownership { public_key, timestamp, signature, tokens_digest } = ownership;
        Self {
            public_key: bytes_of(public_key.as_bytes()),
            timestamp: timestamp.get(),
            signature: bytes_of(signature.as_bytes()),
            tokens_digest: bytes_of(tokens_digest.as_bytes()),
        }
    }
}

impl TryFrom<wire::PurgeRequest> for Purge {
    type Error = Refusal;

    fn try_from(message: wire::PurgeRequest) -> Result<Self, Refusal> {
        let wire::PurgeRequest {
            caller: payer,
            request_id,
            mailbox,
            public_key,
            purge_token,
            timestamp,
            signature,
        } = message;
        Ok(Self {
            caller: caller(payer)?,
            request_id: identifier("request_id", &request_id)?,
            mailbox: identifier("mailbox", &mailbox)?,
            public_key: identifier("public_key", &public_key)?,
            purge_token: identifier("purge_token", &purge_token)?,
            timestamp: UnixSeconds::new(timestamp),
            signature: identifier("signature", &signature)?,
        })
    }
}

impl From<Purge> for wire::PurgeRequest {
    fn from(purge: Purge) -> Self {
        let Purge { caller, request_id, mailbox, public_key, purge_token, timestamp, signature } = purge;
        Self {
            caller: caller_message(caller),
            request_id: bytes_of(request_id.as_bytes()),
            mailbox: bytes_of(mailbox.as_bytes()),
            public_key: bytes_of(public_key.as_bytes()),
            purge_token: bytes_of(purge_token.as_bytes()),
            timestamp: timestamp.get(),
            signature: bytes_of(signature.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AddressHash;
    use crate::caller::{Budget, Payer};

    const REQUEST_ID: crate::RequestId = crate::RequestId::from_bytes([1; 16]);

    fn send() -> WriteCommand {
        WriteCommand {
            caller: Some(Payer {
                network: AddressHash::from_bytes([9; 16]),
                ..Payer::new(Budget::Client, AddressHash::from_bytes([1; 16]))
            }),
            action: WriteAction::Send(NewBlob {
                mailbox: MailboxHash::from_bytes([2; 32]),
                ciphertext: Ciphertext::try_from(Bytes::from_static(b"sealed")).unwrap(),
                origin_hint: Some(OriginHint::try_from(Bytes::from(vec![3; 74])).unwrap()),
            }),
        }
    }

    #[test]
    fn a_send_survives_the_wire() {
        let read = WriteCommand::try_from(wire::WriteCommand::from(send())).unwrap();
        let (WriteAction::Send(before), WriteAction::Send(after)) = (send().action, read.action) else {
            panic!("not a send");
        };
        assert_eq!(read.caller, send().caller);
        assert_eq!(after.mailbox, before.mailbox);
        assert_eq!(after.ciphertext, before.ciphertext);
        assert_eq!(after.origin_hint, before.origin_hint);
    }

    #[test]
    fn a_wrong_field_is_named_and_spoils_its_own_command_only() {
        let good = wire::WriteCommand::from(send());
        let address = Bytes::from_static(&[1; 16]);
        let older = wire::Caller { budget: 1, address: address.clone(), network: Bytes::new() };
        let older = wire::WriteCommand { caller: Some(older), ..good.clone() };
        let payer = WriteCommand::try_from(older).unwrap().caller.unwrap();
        assert_eq!(payer, Payer::new(Budget::Client, AddressHash::from_bytes([1; 16])));
        let short = wire::Caller { budget: 1, address, network: Bytes::from_static(b"short") };
        let bad = wire::WriteCommand { caller: Some(short), ..good.clone() };
        let empty = wire::WriteCommand { command: None, ..good.clone() };
        let read = write_commands(wire::WriteRequest { commands: vec![good, bad, empty] }).unwrap();
        assert!(read[0].is_ok());
        assert_eq!(read[1].as_ref().unwrap_err(), &Refusal::invalid("caller"));
        assert_eq!(read[2].as_ref().unwrap_err(), &Refusal::invalid("command"));
    }

    #[test]
    fn a_message_over_the_limit_is_refused_whole() {
        let commands = vec![wire::WriteCommand::from(send()); MAX_WRITE_COMMANDS + 1];
        assert_eq!(
            write_commands(wire::WriteRequest { commands }).unwrap_err(),
            Refusal::invalid("commands")
        );
    }

    #[test]
    fn outcomes_survive_the_wire_and_must_match_in_number() {
        let outcomes: WriteOutcomes = vec![
            Ok(Written::Stored(BlobId::from_bytes([4; 16]))),
            Ok(Written::Acknowledged(false)),
            Err(Refusal::QuotaExceeded),
        ];
        assert_eq!(write_outcomes(write_reply(outcomes.clone()), 3).unwrap(), outcomes);
        assert_eq!(write_outcomes(write_reply(outcomes), 2).unwrap_err(), Refusal::invalid("outcomes"));
    }

    #[test]
    fn a_blob_of_a_mailbox_that_was_not_asked_for_is_refused() {
        let blob = StoredBlob {
            mailbox_index: 1,
            blob_id: BlobId::from_bytes([4; 16]),
            ciphertext: Ciphertext::try_from(Bytes::from_static(b"sealed")).unwrap(),
            created_at: UnixSeconds::new(7200),
            origin_hint: None,
            place: 3,
        };
        let moved = MovedBlob {
            mailbox_index: 1,
            blob_id: BlobId::from_bytes([5; 16]),
            created_at: UnixSeconds::new(7200),
            place: 4,
            peer: crate::PeerId::from_bytes([6; 32]),
            reachable: true,
        };
        let larger = Some(LargerBlob { mailbox_index: 1, place: 5, bytes: 1 << 20 });
        let page = MailPage { blobs: vec![blob], truncated: true, moved: vec![moved], oversized: 7, larger };
        let reply = wire::FetchReply::from(page.clone());
        assert_eq!(format!("{:?}", mail_page(reply.clone(), 2).unwrap()), format!("{page:?}"));
        assert_eq!(mail_page(reply, 1).unwrap_err(), Refusal::invalid("mailbox_index"));
        let moved = MailPage { blobs: Vec::new(), larger: None, ..page.clone() };
        let larger = MailPage { blobs: Vec::new(), moved: Vec::new(), ..page };
        for page in [moved, larger].map(wire::FetchReply::from) {
            assert_eq!(mail_page(page, 1).unwrap_err(), Refusal::invalid("mailbox_index"));
        }
    }

    #[test]
    fn hints_survive_the_wire_and_are_bounded() {
        let hint = Hint {
            blob_id: BlobId::from_bytes([4; 16]),
            relay_url: "https://relay.example".to_owned(),
            expires_at: UnixSeconds::new(258),
        };
        let mut message = vec![4; 16];
        message.extend_from_slice(b"https://relay.example\0\0\0\0\0\0\x01\x02");
        assert_eq!(SignedHints::message(std::slice::from_ref(&hint)), message);
        let signed = SignedHints {
            hints: vec![hint.clone()],
            signing_key: crate::PublicKey::from_bytes([5; 32]),
            signature: crate::Signature::from_bytes([6; 64]),
        };
        assert_eq!(SignedHints::try_from(wire::SignedHints::from(signed.clone())), Ok(signed.clone()));
        let many = SignedHints { hints: vec![hint; MAX_HINTS + 1], ..signed };
        assert!(SignedHints::try_from(wire::SignedHints::from(many)).is_err());
        let name =
            BlobName { mailbox: MailboxHash::from_bytes([2; 32]), blob_id: BlobId::from_bytes([4; 16]) };
        assert_eq!(hinted_names(hints_request(vec![name])), Ok(vec![name]));
        assert!(hinted_names(hints_request(vec![name; MAX_HINTS + 1])).is_err());
    }

    #[test]
    fn the_number_of_mailboxes_is_bounded() {
        for (count, accepted) in [(0, false), (1, true), (MAX_MAILBOXES, true), (MAX_MAILBOXES + 1, false)] {
            let message = wire::FetchRequest {
                caller: None,
                mailboxes: vec![Bytes::from(vec![5; 32]); count],
                sealed: true,
            };
            assert_eq!(Fetch::try_from(message).is_ok(), accepted, "{count}");
        }
    }

    #[test]
    fn purge_and_register_survive_the_wire() {
        let purge = Purge {
            caller: None,
            request_id: REQUEST_ID,
            mailbox: MailboxHash::from_bytes([2; 32]),
            public_key: crate::PublicKey::from_bytes([3; 32]),
            purge_token: crate::PurgeToken::from_bytes([4; 32]),
            timestamp: UnixSeconds::new(5),
            signature: crate::Signature::from_bytes([6; 64]),
        };
        let read = Purge::try_from(wire::PurgeRequest::from(purge.clone())).unwrap();
        assert_eq!(read.message(), purge.message());
        assert_eq!(read.signature, purge.signature);

        let register = Register {
            caller: None,
            request_id: REQUEST_ID,
            mailboxes: vec![MailboxHash::from_bytes([2; 32])],
            ownership: Some(Ownership {
                public_key: crate::PublicKey::from_bytes([3; 32]),
                timestamp: UnixSeconds::new(5),
                signature: crate::Signature::from_bytes([6; 64]),
                tokens_digest: crate::TokensDigest::from_bytes([7; 32]),
            }),
        };
        let read = Register::try_from(wire::RegisterRequest::from(register.clone())).unwrap();
        assert_eq!(read.mailboxes, register.mailboxes);
        assert_eq!(read.ownership.unwrap().message(), register.ownership.unwrap().message());
    }
}
