//! What the peer answers: a function of the question, what it holds, and how it behaves.

use super::{Desk, elsewhere, fault, stranger};
use crate::peer::conduct::{OnForget, OnInventory, OnOffload, OnRecall};
use crate::peer::message::{
    About, Blob, BlobName, Body, Capacity, Drain, ForgetAck, HeldBlob, Inventory, InventoryAck, Message,
    Names, Offload, OffloadAck, RecallAck, Verdict,
};

/// The room that an answer to an offload tells of, if it is not told otherwise.
const ROOM: Capacity = Capacity { free_bytes: 1 << 30, accepting: true };

/// What the peer does about a message.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) messages: Vec<Message>,
    pub(super) cut: bool,
}

impl Reply {
    fn say(request: u64, body: Body) -> Self {
        Self { messages: vec![Message::new(request, body)], cut: false }
    }

    fn silence() -> Self {
        Self::default()
    }

    fn cut() -> Self {
        Self { messages: Vec::new(), cut: true }
    }
}

/// Answers a message on a channel, or names the rule that it breaks.
pub(super) fn to(channel: usize, message: Message, desk: &mut Desk) -> Result<Reply, &'static str> {
    desk.heard.push(message.clone());
    let request = message.request;
    match message.body {
        Some(Body::Offload(offload)) => on_offload(request, offload, desk),
        Some(Body::Recall(names)) => Ok(on_recall(request, &names, desk)),
        Some(Body::Forget(names)) => Ok(on_forget(request, &names, desk)),
        Some(Body::Inventory(asked)) => Ok(on_inventory(request, &asked, desk)),
        Some(Body::Drain(_)) if desk.conduct.ignores_drain => Ok(Reply::silence()),
        Some(Body::Drain(_)) => Ok(Reply::say(request, Body::DrainAck(Drain {}))),
        Some(Body::Capacity(capacity)) => {
            note_room(desk, capacity);
            Ok(Reply::silence())
        }
        Some(answer) => {
            if let Body::OffloadAck(OffloadAck { capacity: Some(capacity), .. }) = answer {
                note_room(desk, capacity);
            }
            let waits = desk
                .waiting
                .remove(&(channel, request))
                .ok_or("an answer to what was not asked, or a second one")?;
            // Who asked may have given up.
            drop(waits.send(answer));
            Ok(Reply::silence())
        }
        None => Err("a message without a body"),
    }
}

fn note_room(desk: &mut Desk, capacity: Capacity) {
    let about = desk.relay.get_or_insert_with(About::default);
    about.capacity = Some(capacity);
}

fn on_offload(request: u64, offload: Offload, desk: &mut Desk) -> Result<Reply, &'static str> {
    if offload.blobs.is_empty() {
        return Err("an offload of nothing");
    }
    let faults: Vec<_> =
        offload.blobs.iter().map(|blob| if offload.home { blob.fault() } else { fault(blob) }).collect();
    if desk.conduct.refuses_unsound {
        return Ok(judge(request, offload, &faults, desk));
    }
    if let Some(fault) = faults.into_iter().flatten().next() {
        return Err(fault);
    }
    let conduct = desk.conduct.offload;
    let count = offload.blobs.len();
    let keeps = |index: usize| match conduct {
        OnOffload::Keep
        | OnOffload::KeepSilently
        | OnOffload::TooFew
        | OnOffload::TooMany
        | OnOffload::Twice
        | OnOffload::CutAfter => true,
        OnOffload::EverySecond => index.is_multiple_of(2),
        OnOffload::Silent
        | OnOffload::Forgetful
        | OnOffload::Say(_)
        | OnOffload::AnotherNumber
        | OnOffload::AnotherKind
        | OnOffload::CutBefore => false,
    };
    for (_, blob) in offload.blobs.into_iter().enumerate().filter(|(index, _)| keeps(*index)) {
        desk.held.insert(blob.name(), blob);
    }
    let capacity = Some(desk.conduct.room.unwrap_or(ROOM));
    let ack = |verdicts| Body::OffloadAck(OffloadAck { verdicts, capacity });
    let accepted = |count| vec![Verdict::Accepted as i32; count];
    let alternating = |index| if keeps(index) { Verdict::Accepted } else { Verdict::Refused };
    Ok(match conduct {
        OnOffload::Keep | OnOffload::Forgetful => Reply::say(request, ack(accepted(count))),
        OnOffload::Silent | OnOffload::KeepSilently => Reply::silence(),
        OnOffload::Say(number) => Reply::say(request, ack(vec![number; count])),
        OnOffload::EverySecond => {
            Reply::say(request, ack((0..count).map(|index| alternating(index) as i32).collect()))
        }
        OnOffload::TooFew => Reply::say(request, ack(accepted(count - 1))),
        OnOffload::TooMany => Reply::say(request, ack(accepted(count + 1))),
        OnOffload::AnotherNumber => Reply::say(request.wrapping_add(1 << 40), ack(accepted(count))),
        OnOffload::Twice => {
            let answer = Message::new(request, ack(accepted(count)));
            Reply { messages: vec![answer.clone(), answer], cut: false }
        }
        OnOffload::AnotherKind => Reply::say(request, Body::ForgetAck(ForgetAck { done: true })),
        OnOffload::CutBefore | OnOffload::CutAfter => Reply::cut(),
    })
}

/// Keeps what is sound and refuses the rest.
fn judge(request: u64, offload: Offload, faults: &[Option<&str>], desk: &mut Desk) -> Reply {
    let judge = |(blob, fault): (Blob, &Option<&str>)| {
        if fault.is_some() {
            return Verdict::Refused as i32;
        }
        desk.held.insert(blob.name(), blob);
        Verdict::Accepted as i32
    };
    let verdicts = offload.blobs.into_iter().zip(faults).map(judge).collect();
    let capacity = Some(desk.conduct.room.unwrap_or(ROOM));
    Reply::say(request, Body::OffloadAck(OffloadAck { verdicts, capacity }))
}

fn on_recall(request: u64, names: &Names, desk: &Desk) -> Reply {
    let found: Vec<Blob> = names.names.iter().filter_map(|name| desk.held.get(name)).cloned().collect();
    let lost = || names.names.iter().filter(|name| !desk.held.contains_key(name)).cloned().collect();
    let changed = |change: &dyn Fn(Blob) -> Blob| found.iter().cloned().map(change).collect();
    let ack = |blobs: Vec<Blob>, missing: Vec<BlobName>| {
        Reply::say(request, Body::RecallAck(RecallAck { blobs, missing }))
    };
    match desk.conduct.recall {
        OnRecall::Give => ack(found.clone(), lost()),
        OnRecall::Silent => Reply::silence(),
        OnRecall::Nothing => ack(Vec::new(), Vec::new()),
        OnRecall::Missing => ack(Vec::new(), names.names.clone()),
        OnRecall::OtherContent => {
            let other = |blob: Blob| Blob { ciphertext: stranger().ciphertext, ..blob };
            ack(changed(&other), lost())
        }
        OnRecall::OtherContentHashed => {
            let other = |blob: Blob| {
                let stranger = stranger();
                Blob { ciphertext: stranger.ciphertext, content_hash: stranger.content_hash, ..blob }
            };
            ack(changed(&other), lost())
        }
        OnRecall::Unasked => ack(names.names.iter().map(|_| stranger()).collect(), Vec::new()),
        OnRecall::OneMore => ack([&found[..], &[stranger()]].concat(), lost()),
        OnRecall::OtherMailbox => ack(changed(&|blob| elsewhere(&blob)), lost()),
        OnRecall::Both => ack(found.clone(), names.names.clone()),
        OnRecall::Twice => ack([&found[..], &found].concat(), lost()),
        OnRecall::Expired => ack(changed(&|blob| Blob { created_at: 1, expires_at: 2, ..blob }), lost()),
        OnRecall::Everlasting => {
            ack(changed(&|blob| Blob { expires_at: blob.expires_at + 31_557_600_000, ..blob }), lost())
        }
        OnRecall::Cut => Reply::cut(),
    }
}

fn on_forget(request: u64, names: &Names, desk: &mut Desk) -> Reply {
    let conduct = desk.conduct.forget;
    if matches!(conduct, OnForget::Do | OnForget::CutAfter) {
        for name in &names.names {
            desk.held.remove(name);
        }
    }
    let say = |done| Reply::say(request, Body::ForgetAck(ForgetAck { done }));
    match conduct {
        OnForget::Do | OnForget::Lie => say(true),
        OnForget::NotDone => say(false),
        OnForget::Silent => Reply::silence(),
        OnForget::CutAfter => Reply::cut(),
    }
}

/// Blobs that one part may list.
const LISTED: usize = 1000;

fn on_inventory(request: u64, asked: &Inventory, desk: &Desk) -> Reply {
    let listed = |blobs: Vec<HeldBlob>, until: Option<BlobName>| {
        let mut ids = vec![0; 16];
        for blob in &blobs {
            ids.iter_mut().zip(&blob.blob_id).for_each(|(sum, byte)| *sum ^= byte);
        }
        let (looked, count) = (true, blobs.len() as u64);
        let blobs = if asked.names { blobs } else { Vec::new() };
        Reply::say(request, Body::InventoryAck(InventoryAck { looked, count, ids, blobs, until }))
    };
    let behind = desk.held.iter().filter(|(name, _)| asked.after.as_ref().is_none_or(|after| *name > after));
    let held: Vec<HeldBlob> = behind.take(LISTED).map(|(_, blob)| held_blob(blob)).collect();
    let last = |blobs: &[HeldBlob]| {
        blobs.last().map(|blob| BlobName { mailbox: blob.mailbox.clone(), blob_id: blob.blob_id.clone() })
    };
    match desk.conduct.inventory {
        OnInventory::List => {
            let until = if held.len() == LISTED { last(&held) } else { None };
            listed(held, until)
        }
        OnInventory::Silent => Reply::silence(),
        OnInventory::NotNow => Reply::say(request, Body::InventoryAck(InventoryAck::default())),
        OnInventory::Endless => {
            let bogus = bogus(asked.after.as_ref(), LISTED);
            let until = last(&bogus);
            listed(bogus, until)
        }
        OnInventory::Circles => {
            let until = desk.held.keys().next().cloned();
            listed(held, until)
        }
        OnInventory::TooMany => {
            let blobs = bogus(None, LISTED + 1);
            let ack = InventoryAck { looked: true, count: 1001, ids: vec![1; 16], blobs, until: None };
            Reply::say(request, Body::InventoryAck(ack))
        }
        OnInventory::AnotherKind => Reply::say(request, Body::ForgetAck(ForgetAck { done: true })),
    }
}

fn held_blob(blob: &Blob) -> HeldBlob {
    HeldBlob {
        mailbox: blob.mailbox.clone(),
        blob_id: blob.blob_id.clone(),
        size: (blob.ciphertext.len() + blob.origin_hint.as_ref().map_or(0, Vec::len)) as u64,
        created_at: blob.created_at,
        expires_at: blob.expires_at,
    }
}

/// Blobs that nobody ever had, in order, behind a name.
fn bogus(after: Option<&BlobName>, count: usize) -> Vec<HeldBlob> {
    let number = |name: &BlobName| u64::from_be_bytes(name.mailbox[..8].try_into().expect("eight bytes"));
    let first = after.map_or(0, number);
    let blob = |number: u64| {
        let mut mailbox = vec![7; 32];
        mailbox[..8].copy_from_slice(&number.to_be_bytes());
        HeldBlob { mailbox, ..held_blob(&stranger()) }
    };
    (first + 1..).take(count).map(blob).collect()
}
