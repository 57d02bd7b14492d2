//! Bytes.

use crate::peer::assembly::Assembly;
use crate::peer::frame::{Data, Frame, HEADER, LARGEST_PIECE, LAST, SIZES, cut};
use crate::peer::message::{Blob, BlobName, Body, Capacity, Encoded as _, Message, Names, Offload};
use crate::peer::{greeting, noise};
use proptest::prelude::*;

fn frame() -> impl Strategy<Value = Frame> {
    let data =
        (any::<u32>(), any::<u32>(), 0..=LAST, any::<u32>(), prop::collection::vec(any::<u8>(), 0..5000));
    prop_oneof![
        any::<u8>().prop_map(|reason| Frame::Close { reason }),
        data.prop_map(|(stream, sequence, flags, total, bytes)| {
            Frame::Data(Data { stream, sequence, flags, total, bytes })
        }),
    ]
}

#[test]
fn a_data_frame_is_laid_out_as_the_text_says() {
    let frame =
        Frame::Data(Data { stream: 2, sequence: 3, flags: LAST, total: 0x0102, bytes: b"abc".to_vec() });
    let bytes = frame.encode();
    let parts: [&[u8]; 7] = [
        &[1],          // data
        &[0, 0, 0, 2], // stream
        &[0, 0, 0, 3], // sequence
        &[1],          // the last
        &[0, 0, 1, 2], // total
        &[0, 3],       // length
        b"abc",        // the piece
    ];
    let parts = parts.concat();
    assert_eq!(bytes[..parts.len()], parts);
    assert_eq!(bytes[parts.len()..], [0; 256 - 19]);
}

#[test]
fn a_close_frame_is_two_bytes_and_padding() {
    let mut bytes = vec![2, 4];
    bytes.resize(256, 0);
    assert_eq!(Frame::Close { reason: 4 }.encode(), bytes);
}

#[test]
fn a_frame_has_the_next_size() {
    for size in SIZES {
        let bytes = vec![7; size - HEADER];
        let frame = |bytes| Frame::Data(Data { stream: 1, sequence: 0, flags: 0, total: 9, bytes });
        assert_eq!(frame(bytes.clone()).encode().len(), size);
        let larger = frame([bytes, vec![7]].concat()).encode().len();
        let next = SIZES.into_iter().find(|&next| next > size);
        assert_eq!(larger, next.unwrap_or(size + 1));
    }
    assert_eq!(SIZES[4] + noise::TAG, noise::LARGEST);
    assert_eq!(LARGEST_PIECE, SIZES[4] - HEADER);
}

#[test]
fn the_prologue_has_both_numbers() {
    let numbers = [0, 0, 0xFF, 0xFF, 0x01, 0x40, 0, 0];
    assert_eq!(noise::prologue(), [&b"vauchi-federation-v1"[..], &numbers].concat());
}

#[test]
fn a_greeting_is_signed_over_label_role_identity_key_and_hash() {
    let text = greeting::signed_text(2, &[5; 32], &[6; 32], &[7; 32]);
    let parts: [&[u8]; 5] = [b"vauchi-federation-hello-v1", &[2], &[5; 32], &[6; 32], &[7; 32]];
    assert_eq!(text, parts.concat());
}

#[test]
fn messages_are_the_protobuf_of_the_schema() {
    let names = vec![BlobName { mailbox: vec![0xAA], blob_id: vec![0xBB] }];
    let recall = Message::new(300, Body::Recall(Names { names })).encode_to_vec();
    let parts: [&[u8]; 4] = [
        &[0x08, 0xAC, 0x02], // request: 300
        &[0x3A, 8],          // field 7, recall
        &[0x0A, 6],          // names
        &[0x0A, 1, 0xAA, 0x12, 1, 0xBB],
    ];
    assert_eq!(recall, parts.concat());
    // The whole schema, field by field, is held against the file by the peer in another language.
    let blob = Blob { origin_hint: Some(Vec::new()), hop_count: 1, ..Blob::default() };
    let offload = Body::Offload(Offload { blobs: vec![blob], home: true });
    assert_eq!(
        Message { request: 0, body: Some(offload) }.encode_to_vec(),
        [0x2A, 8, 0x0A, 4, 0x22, 0, 0x48, 1, 0x10, 1]
    );
}

#[test]
fn an_empty_message_takes_one_frame() {
    let frames = cut(1, &[], 10);
    assert_eq!(frames, [Data { stream: 1, sequence: 0, flags: LAST, total: 0, bytes: Vec::new() }]);
    assert_eq!(Assembly::default().take(frames[0].clone()), Ok(Some(Vec::new())));
}

proptest! {
    #[test]
    fn a_frame_comes_back_as_it_went(frame in frame()) {
        prop_assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
    }

    #[test]
    fn any_bytes_are_a_frame_or_not(bytes: Vec<u8>, kind in 0_u8..4) {
        drop(Frame::decode(&bytes));
        drop(Frame::decode(&[&[kind], &bytes[..]].concat()));
        drop(Message::decode(&bytes[..]));
    }

    #[test]
    fn a_perturbed_frame_is_that_frame_another_or_none(frame in frame(), at: prop::sample::Index, bit in 0_u32..8) {
        let mut bytes = frame.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(other) = Frame::decode(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn a_message_comes_together_from_its_frames(message: Vec<u8>, piece in 1_usize..50) {
        let mut assembly = Assembly::default();
        let mut frames = cut(1, &message, piece);
        let last = frames.pop();
        for frame in frames {
            prop_assert_eq!(assembly.take(frame), Ok(None));
        }
        prop_assert_eq!(last.map(|last| assembly.take(last)), Some(Ok(Some(message))));
    }

    #[test]
    fn any_frames_are_messages_or_a_fault(frames in prop::collection::vec((0_u32..8, 0_u32..4, 0..=LAST, 0_u32..40, 0_usize..30), 0..40)) {
        let mut assembly = Assembly::default();
        for (stream, sequence, flags, total, length) in frames {
            drop(assembly.take(Data { stream, sequence, flags, total, bytes: vec![1; length] }));
        }
    }

    #[test]
    fn a_perturbed_blob_is_seen(content: Vec<u8>, at: prop::sample::Index) {
        let sound = Blob::new(&[3; 32], &content);
        prop_assert_eq!(sound.fault(), None);
        for part in 0..4 {
            let mut blob = sound.clone();
            let field = match part {
                0 => &mut blob.mailbox,
                1 => &mut blob.blob_id,
                2 => &mut blob.content_hash,
                _ => &mut blob.ciphertext,
            };
            if !field.is_empty() {
                let at = at.index(field.len());
                field[at] ^= 1;
                prop_assert!(blob.fault().is_some());
            }
        }
    }
}

#[test]
fn a_notice_of_no_room_is_not_an_empty_message() {
    let none = Capacity { free_bytes: 0, accepting: false };
    let bytes = Message { request: 0, body: Some(Body::Capacity(none)) }.encode_to_vec();
    assert_eq!(bytes, [0x22, 0]);
    assert!(Message::decode(&bytes[..]).is_ok_and(|message| message.body.is_some()));
}
