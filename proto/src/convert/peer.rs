//! Messages between relays.

use super::{bytes_of, identifier};
use crate::bounds;
use crate::limits::{MAX_CARRIED_BLOBS, MAX_CLIENT_URL, MAX_LISTED_BLOBS};
use crate::mail::BlobName;
use crate::peer::{Body, Hello, Hops, Message, OfferedBlob, Room};
use crate::peer_wire as wire;
use crate::transfer::{CarriedBlob, NameSum, verdict};
use crate::wire::CarriedBlob as Carried;
use crate::wire::{BlobName as StorageName, HeldBlob, Listing};
use crate::{Malformed, Refusal, UnixSeconds};
use bytes::Bytes;
use prost::Message as _;
use wire::message::Body as WireBody;

/// Longest name of a relay, in characters.
const MAX_RELAY_ID: usize = 64;

pub(crate) fn encode(message: Message) -> Vec<u8> {
    let Message { request, body } = message;
    wire::Message { request, body: body.map(write_body) }.encode_to_vec()
}

pub(crate) fn decode(bytes: Bytes) -> Result<Message, Malformed> {
    let wire::Message { request, body } = bounds::decode(bytes).map_err(|_| Malformed)?;
    let body = body.map(read_body).transpose().map_err(|_| Malformed)?;
    Ok(Message { request, body })
}

fn write_body(body: Body) -> WireBody {
    match body {
        Body::Hello(hello) => {
            let (version, identity, signature, about) = hello_parts(hello);
            WireBody::Hello(wire::Hello { version, identity, signature, about })
        }
        Body::HelloAck(hello) => {
            let (version, identity, signature, about) = hello_parts(hello);
            WireBody::HelloAck(wire::HelloAck { version, identity, signature, about })
        }
        Body::Capacity(room) => WireBody::Capacity(write_room(room)),
        Body::Offload { home, blobs } => {
            WireBody::Offload(wire::Offload { home, blobs: blobs.into_iter().map(write_blob).collect() })
        }
        Body::OffloadAck { verdicts, room } => WireBody::OffloadAck(wire::OffloadAck {
            verdicts: verdicts.into_iter().map(i32::from).collect(),
            capacity: Some(write_room(room)),
        }),
        Body::Recall(names) => WireBody::Recall(wire::Recall { names: write_names(names) }),
        Body::RecallAck { blobs, missing } => WireBody::RecallAck(wire::RecallAck {
            blobs: blobs.into_iter().map(write_blob).collect(),
            missing: write_names(missing),
        }),
        Body::Forget(names) => WireBody::Forget(wire::Forget { names: write_names(names) }),
        Body::ForgetAck(done) => WireBody::ForgetAck(wire::ForgetAck { done }),
        Body::Drain => WireBody::Drain(wire::Drain {}),
        Body::DrainAck => WireBody::DrainAck(wire::DrainAck {}),
        Body::Inventory { after, names } => {
            WireBody::Inventory(wire::Inventory { after: after.map(write_name), names })
        }
        Body::InventoryAck(listing) => WireBody::InventoryAck(write_listing(listing)),
    }
}

fn read_body(body: WireBody) -> Result<Body, Refusal> {
    Ok(match body {
        WireBody::Hello(wire::Hello { version, identity, signature, about }) => {
            Body::Hello(read_hello(version, &identity, &signature, about)?)
        }
        WireBody::HelloAck(wire::HelloAck { version, identity, signature, about }) => {
            Body::HelloAck(read_hello(version, &identity, &signature, about)?)
        }
        WireBody::Capacity(room) => Body::Capacity(read_room(room)),
        WireBody::Offload(wire::Offload { blobs, home }) => Body::Offload { home, blobs: read_blobs(blobs)? },
        WireBody::OffloadAck(wire::OffloadAck { verdicts, capacity }) => Body::OffloadAck {
            verdicts: verdicts
                .into_iter()
                .map(|number| verdict("verdicts", number))
                .collect::<Result<_, _>>()?,
            room: read_room(super::required("capacity", capacity)?),
        },
        WireBody::Recall(wire::Recall { names }) => Body::Recall(read_names(&names)?),
        WireBody::RecallAck(wire::RecallAck { blobs, missing }) => {
            Body::RecallAck { blobs: read_blobs(blobs)?, missing: read_names(&missing)? }
        }
        WireBody::Forget(wire::Forget { names }) => Body::Forget(read_names(&names)?),
        WireBody::ForgetAck(wire::ForgetAck { done }) => Body::ForgetAck(done),
        WireBody::Drain(wire::Drain {}) => Body::Drain,
        WireBody::DrainAck(wire::DrainAck {}) => Body::DrainAck,
        WireBody::Inventory(wire::Inventory { after, names }) => {
            Body::Inventory { after: after.as_ref().map(read_name).transpose()?, names }
        }
        WireBody::InventoryAck(listing) => Body::InventoryAck(read_listing(listing)?),
    })
}

fn hello_parts(hello: Hello) -> (u32, Bytes, Bytes, Option<wire::About>) {
    let Hello {
        version,
        identity,
        signature,
        relay_id,
        client_url,
        messages_per_minute,
        room,
        time,
        keeps_secs,
        lists,
    } = hello;
    let (capacity, unix_time) = (Some(write_room(room)), time.map_or(0, UnixSeconds::get));
    let about =
        wire::About { relay_id, client_url, messages_per_minute, capacity, unix_time, keeps_secs, lists };
    (version, bytes_of(identity.as_bytes()), bytes_of(signature.as_bytes()), Some(about))
}

fn read_hello(
    version: u32,
    identity: &Bytes,
    signature: &Bytes,
    about: Option<wire::About>,
) -> Result<Hello, Refusal> {
    let wire::About { relay_id, client_url, messages_per_minute, capacity, unix_time, keeps_secs, lists } =
        super::required("about", about)?;
    // Shown to operators: nothing that a terminal would take for a command.
    if relay_id.len() > MAX_RELAY_ID || !relay_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refusal::invalid("relay_id"));
    }
    if !is_client_url(&client_url) {
        return Err(Refusal::invalid("client_url"));
    }
    Ok(Hello {
        version,
        identity: identifier("identity", identity)?,
        signature: identifier("signature", signature)?,
        relay_id,
        client_url,
        messages_per_minute,
        room: read_room(super::required("capacity", capacity)?),
        time: (unix_time > 0).then(|| UnixSeconds::new(unix_time)),
        keeps_secs,
        lists,
    })
}

/// Empty, or what clients may be sent to.
fn is_client_url(url: &str) -> bool {
    url.is_empty()
        || url.len() <= MAX_CLIENT_URL
            && (url.starts_with("https://") || url.starts_with("http://"))
            && url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'<' | b'>'))
}

const fn write_room(room: Room) -> wire::Capacity {
    let Room { free_bytes, accepting } = room;
    wire::Capacity { free_bytes, accepting }
}

const fn read_room(message: wire::Capacity) -> Room {
    let wire::Capacity { free_bytes, accepting } = message;
    Room { free_bytes, accepting }
}

fn write_names(names: Vec<BlobName>) -> Vec<wire::BlobName> {
    names.into_iter().map(write_name).collect()
}

fn write_name(BlobName { mailbox, blob_id }: BlobName) -> wire::BlobName {
    wire::BlobName { mailbox: bytes_of(mailbox.as_bytes()), blob_id: bytes_of(blob_id.as_bytes()) }
}

fn read_names(names: &[wire::BlobName]) -> Result<Vec<BlobName>, Refusal> {
    if names.len() > MAX_CARRIED_BLOBS {
        return Err(Refusal::invalid("names"));
    }
    names.iter().map(read_name).collect()
}

fn read_name(name: &wire::BlobName) -> Result<BlobName, Refusal> {
    let wire::BlobName { mailbox, blob_id } = name;
    Ok(BlobName { mailbox: identifier("mailbox", mailbox)?, blob_id: identifier("blob_id", blob_id)? })
}

fn write_listing(listing: Option<Listing>) -> wire::InventoryAck {
    let Some(Listing { count, ids, blobs, until }) = listing else {
        return wire::InventoryAck::default();
    };
    let write = |blob: HeldBlob| {
        let HeldBlob { name, size, created_at, expires_at } = blob;
        let StorageName { mailbox, blob_id } = name.unwrap_or_default();
        wire::HeldBlob { mailbox, blob_id, size, created_at, expires_at }
    };
    let until = until.map(|StorageName { mailbox, blob_id }| wire::BlobName { mailbox, blob_id });
    wire::InventoryAck { looked: true, count, ids, blobs: blobs.into_iter().map(write).collect(), until }
}

fn read_listing(message: wire::InventoryAck) -> Result<Option<Listing>, Refusal> {
    let wire::InventoryAck { looked, count, ids, blobs, until } = message;
    if !looked {
        return Ok(None);
    }
    if blobs.len() > MAX_LISTED_BLOBS {
        return Err(Refusal::invalid("blobs"));
    }
    NameSum::read(count, &ids)?;
    let read = |blob: wire::HeldBlob| {
        let wire::HeldBlob { mailbox, blob_id, size, created_at, expires_at } = blob;
        let name = read_name(&wire::BlobName { mailbox, blob_id })?;
        Ok(HeldBlob { name: Some(name.into()), size, created_at, expires_at })
    };
    let until = until.as_ref().map(read_name).transpose()?.map(StorageName::from);
    Ok(Some(Listing {
        count,
        ids,
        blobs: blobs.into_iter().map(read).collect::<Result<_, Refusal>>()?,
        until,
    }))
}

/// A blob is carried between relays with the fields that it has between a relay's own processes, and two more.
fn write_blob(offered: OfferedBlob) -> wire::Blob {
    let OfferedBlob { blob, content_hash, hops } = offered;
    let Carried { mailbox, blob_id, ciphertext, origin_hint, created_at, expires_at, owner } = blob.into();
    wire::Blob {
        mailbox,
        blob_id,
        ciphertext,
        origin_hint,
        created_at,
        expires_at,
        owner,
        content_hash: bytes_of(&content_hash),
        hop_count: hops.get(),
    }
}

fn read_blobs(blobs: Vec<wire::Blob>) -> Result<Vec<OfferedBlob>, Refusal> {
    if blobs.len() > MAX_CARRIED_BLOBS {
        return Err(Refusal::invalid("blobs"));
    }
    blobs.into_iter().map(read_blob).collect()
}

fn read_blob(message: wire::Blob) -> Result<OfferedBlob, Refusal> {
    let wire::Blob {
        mailbox,
        blob_id,
        ciphertext,
        origin_hint,
        created_at,
        expires_at,
        owner,
        content_hash,
        hop_count,
    } = message;
    let carried = Carried { mailbox, blob_id, ciphertext, origin_hint, created_at, expires_at, owner };
    let blob = CarriedBlob::try_from(carried)?;
    let content_hash = content_hash.as_ref().try_into().map_err(|_| Refusal::invalid("content_hash"))?;
    Ok(OfferedBlob { blob, content_hash, hops: Hops::said(hop_count) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::Verdict;
    use crate::{BlobId, Ciphertext, MailboxHash, OriginHint, OwnerHash, PeerId, Signature};
    use proptest::prelude::*;

    fn offered(content: &'static [u8]) -> OfferedBlob {
        let mailbox = MailboxHash::from_bytes([1; 32]);
        let blob = CarriedBlob {
            mailbox,
            blob_id: BlobId::derive(&mailbox, content),
            ciphertext: Ciphertext::try_from(Bytes::from_static(content)).unwrap(),
            origin_hint: Some(OriginHint::try_from(Bytes::from(vec![3; 74])).unwrap()),
            created_at: UnixSeconds::new(3600),
            expires_at: UnixSeconds::new(7200),
            owner: Some(OwnerHash::from_bytes([4; 32])),
        };
        OfferedBlob::new(blob, Hops::origin().next().unwrap())
    }

    fn hello() -> Hello {
        Hello {
            version: 1,
            identity: PeerId::from_bytes([5; 32]),
            signature: Signature::from_bytes([6; 64]),
            relay_id: "north".to_owned(),
            client_url: "https://relay.example".to_owned(),
            messages_per_minute: 300,
            room: Room { free_bytes: 7, accepting: true },
            time: Some(UnixSeconds::new(1_800_000_000)),
            keeps_secs: 86_400,
            lists: true,
        }
    }

    fn listing(blobs: usize) -> Listing {
        let name = offered(b"one").blob.name();
        let mut sum = NameSum::default();
        sum.add(&name.blob_id);
        let held = HeldBlob { name: Some(name.into()), size: 3, created_at: 3600, expires_at: 7200 };
        Listing { count: 1, ids: sum.ids(), blobs: vec![held; blobs], until: Some(name.into()) }
    }

    fn every_body() -> Vec<Body> {
        let name = offered(b"one").blob.name();
        let room = Room { free_bytes: 9, accepting: false };
        vec![
            Body::Hello(hello()),
            Body::HelloAck(hello()),
            Body::Capacity(room),
            Body::Offload { home: true, blobs: vec![offered(b"one"), offered(b"two")] },
            Body::OffloadAck { verdicts: vec![Verdict::Accepted, Verdict::Refused, Verdict::NotNow], room },
            Body::Recall(vec![name]),
            Body::RecallAck { blobs: vec![offered(b"one")], missing: vec![name] },
            Body::Forget(vec![name, name]),
            Body::ForgetAck(true),
            Body::Drain,
            Body::DrainAck,
            Body::Inventory { after: Some(name), names: true },
            Body::Inventory { after: None, names: false },
            Body::InventoryAck(Some(listing(2))),
            Body::InventoryAck(None),
        ]
    }

    fn reread(message: Message) -> Result<Message, Malformed> {
        Message::decode(Bytes::from(message.encode()))
    }

    #[test]
    fn every_message_survives_the_wire() {
        for (number, body) in (0..).zip(every_body()) {
            let message = Message::new(number, body);
            assert_eq!(reread(message.clone()), Ok(message));
        }
    }

    #[test]
    fn these_bytes_are_what_other_programs_send() {
        // Field 1, a number: 7. Field 10, a message of two bytes: field 1, a number: 1.
        let bytes = Bytes::from_static(&[0x08, 7, 0x52, 2, 0x08, 1]);
        assert_eq!(Message::decode(bytes), Ok(Message::new(7, Body::ForgetAck(true))));
    }

    #[test]
    fn a_message_that_is_not_known_is_no_message_and_no_fault() {
        // Field 99, which no version has.
        let bytes = Bytes::from_static(&[0x08, 7, 0x9a, 0x06, 1, 0]);
        assert_eq!(Message::decode(bytes), Ok(Message { request: 7, body: None }));
    }

    #[test]
    fn names_and_urls_of_peers_are_harmless_or_refused() {
        for (name, url, good) in [
            ("north", "https://relay.example/path", true),
            ("", "", true),
            ("no rth", "", false),
            ("\u{1b}[31m", "", false),
            ("north", "ftp://relay.example", false),
            ("north", "https://relay.example/\"", false),
            ("north", "https://relay .example", false),
        ] {
            let said = Hello { relay_id: name.to_owned(), client_url: url.to_owned(), ..hello() };
            let outcome = reread(Message::new(1, Body::Hello(said)));
            assert_eq!(outcome.is_ok(), good, "{name:?} {url:?}");
        }
        let long = Hello { client_url: format!("https://{}", "a".repeat(MAX_CLIENT_URL)), ..hello() };
        assert!(reread(Message::new(1, Body::Hello(long))).is_err());
        let long = Hello { relay_id: "a".repeat(65), ..hello() };
        assert!(reread(Message::new(1, Body::Hello(long))).is_err());
    }

    #[test]
    fn a_greeting_may_not_tell_the_time() {
        let silent = Message::new(1, Body::Hello(Hello { time: None, ..hello() }));
        assert_eq!(reread(silent.clone()), Ok(silent));
    }

    #[test]
    fn lists_are_bounded() {
        let name = offered(b"one").blob.name();
        for (count, good) in [(MAX_CARRIED_BLOBS, true), (MAX_CARRIED_BLOBS + 1, false)] {
            assert_eq!(reread(Message::new(1, Body::Recall(vec![name; count]))).is_ok(), good);
            let blobs = vec![offered(b"one"); count];
            assert_eq!(reread(Message::new(1, Body::Offload { home: false, blobs })).is_ok(), good);
        }
        for (count, good) in [(MAX_LISTED_BLOBS, true), (MAX_LISTED_BLOBS + 1, false)] {
            let listed = Body::InventoryAck(Some(listing(count)));
            assert_eq!(reread(Message::new(1, listed)).is_ok(), good);
        }
    }

    #[test]
    fn a_blob_that_changed_on_the_way_is_noticed() {
        assert!(offered(b"one").checked().is_some());
        let mut bent = offered(b"one");
        bent.content_hash[0] ^= 1;
        assert!(bent.checked().is_none());
        let mut renamed = offered(b"one");
        renamed.blob.blob_id = offered(b"two").blob.blob_id;
        assert!(renamed.checked().is_none());
    }

    #[test]
    fn a_blob_moves_once() {
        let once = Hops::origin().next().unwrap();
        assert_eq!((once.get(), once.next()), (1, None));
        assert!(once.is_allowed() && !Hops::said(2).is_allowed());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = Message::decode(Bytes::from(bytes)) {
                prop_assert_eq!(reread(message.clone()), Ok(message));
            }
        }

        #[test]
        fn perturbed_messages_never_panic(pick in 0_usize..15, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut bytes = Message::new(3, every_body().swap_remove(pick)).encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(message) = Message::decode(Bytes::from(bytes)) {
                prop_assert_eq!(reread(message.clone()), Ok(message));
            }
        }
    }
}
