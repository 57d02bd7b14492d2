use super::*;
use crate::limits::{MAX_CARRIED_BLOBS, MAX_WRITE_COMMANDS};
use crate::{messages, peer_messages};
use proptest::prelude::*;
use prost::Message as _;

/// A field with bytes in it: number, length, bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}

/// That many empty elements of a list, in two bytes each.
fn empties(number: u8, many: usize) -> Vec<u8> {
    [number << 3 | 2, 0].repeat(many)
}

#[test]
fn every_row_of_the_table_is_a_list_of_a_message_and_stands_once() {
    for (message, list, most) in most::table() {
        let shape = ALL.iter().find(|shape| shape.name == *message);
        let field = shape.and_then(|shape| shape.fields.iter().find(|field| field.name == *list));
        assert_eq!(field.map(|field| field.most), Some(*most), "{message}.{list}");
        let rows = most::table().iter().filter(|row| (row.0, row.1) == (*message, *list)).count();
        assert_eq!(rows, 1, "{message}.{list}");
    }
}

#[test]
fn no_message_contains_itself_or_has_more_fields_than_are_counted() {
    fn depth(shape: &Shape, above: usize) -> usize {
        assert!(above < 8, "{} is too deep, or contains itself", shape.name);
        let inner = shape.fields.iter().map(|field| match field.kind {
            Kind::Message(inner) => depth(inner, above + 1),
            _ => above,
        });
        inner.max().unwrap_or(above)
    }
    for shape in ALL {
        assert!(shape.fields.len() <= MOST_FIELDS, "{}", shape.name);
        depth(shape, 0);
    }
}

#[test]
fn ten_million_empty_blobs_are_refused_before_they_are_decoded() {
    let offload = field(5, &empties(1, 10 << 20));
    assert_eq!(
        decode::<peer_messages::Message>(offload.into()).unwrap_err(),
        Unbounded::TooMany("blobs"),
        "from a peer"
    );
    let write = Bytes::from(empties(1, 10 << 20));
    assert_eq!(decode::<messages::WriteRequest>(write).unwrap_err(), Unbounded::TooMany("commands"));
}

#[test]
fn the_bound_is_the_last_that_is_taken() {
    let write = |many| decode::<messages::WriteRequest>(empties(1, many).into()).map(|it| it.commands.len());
    assert_eq!(write(MAX_WRITE_COMMANDS), Ok(MAX_WRITE_COMMANDS));
    assert_eq!(write(MAX_WRITE_COMMANDS + 1), Err(Unbounded::TooMany("commands")));
}

#[test]
fn numbers_that_stand_together_are_counted() {
    let packed = |many: usize| field(1, &[0xff, 0x01].repeat(many));
    let delivered = |bytes: Vec<u8>| decode::<messages::DeliveredRequest>(bytes.into());
    assert_eq!(delivered(packed(MAX_CARRIED_BLOBS)).unwrap().numbers.len(), MAX_CARRIED_BLOBS);
    assert_eq!(delivered(packed(MAX_CARRIED_BLOBS + 1)).unwrap_err(), Unbounded::TooMany("numbers"));
    let halves = [packed(MAX_CARRIED_BLOBS), packed(1)].concat();
    assert_eq!(delivered(halves).unwrap_err(), Unbounded::TooMany("numbers"), "in two parts");
    let apart = [1 << 3, 5].repeat(MAX_CARRIED_BLOBS + 1);
    assert_eq!(delivered(apart).unwrap_err(), Unbounded::TooMany("numbers"), "one by one");
}

#[test]
fn a_message_that_comes_twice_is_not_merged() {
    let listing = field(4, &field(3, &[]));
    assert_eq!(
        decode::<messages::ReconcileRequest>(listing.clone().into()).unwrap().listing.unwrap().blobs.len(),
        1
    );
    let twice = listing.repeat(2);
    assert_eq!(
        decode::<messages::ReconcileRequest>(twice.into()).unwrap_err(),
        Unbounded::TooMany("listing")
    );
}

#[test]
fn what_a_newer_version_adds_is_skipped() {
    let known = messages::HintsRequest { blobs: vec![messages::MailboxBlob::default(); 3] };
    let mut bytes = known.encode_to_vec();
    bytes.extend(field(15, b"new"));
    bytes.extend([14 << 3, 200, 1]);
    bytes.extend([13 << 3 | 5, 1, 2, 3, 4, 12 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(decode::<messages::HintsRequest>(bytes.into()), Ok(known));
}

#[test]
fn what_is_no_message_is_malformed() {
    let eleven_bytes: &[u8] = &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    for bytes in
        [&[10, 5, 1][..], &[10], &[8], &[9, 1, 2], &[13, 1], &[11, 12], &[10, 255], eleven_bytes, &[8, 1]]
    {
        assert_eq!(check(messages::WriteRequest::SHAPE, bytes), Err(Unbounded::Malformed), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_is_decoded_keeps_its_bounds(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        if let Ok(message) = decode::<messages::FetchRequest>(bytes.clone()) {
            prop_assert_eq!(messages::FetchRequest::decode(bytes), Ok(message));
        }
    }
}

#[test]
fn a_reporter_cannot_make_storage_hold_more_families_and_series_than_there_are() {
    let families = |many| decode::<messages::Snapshot>(empties(2, many).into()).err();
    assert_eq!((families(256), families(257)), (None, Some(Unbounded::TooMany("families"))));
    let samples = |many| decode::<messages::Snapshot>(field(2, &empties(4, many)).into()).err();
    assert_eq!((samples(256), samples(257)), (None, Some(Unbounded::TooMany("samples"))));
}
