//! What is read of a body, and what spoils it.

use super::*;
use proptest::prelude::*;
use serde_json::json;

/// A body with a field of each kind.
#[derive(serde::Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    text: Field<Cow<'a, str>>,
    number: Field<u64>,
    list: Field<List<Cow<'a, str>>>,
    entries: Field<List<Entry>>,
    optional: Option<Field<u64>>,
}

#[derive(Debug, PartialEq, serde::Deserialize, JsonSchema)]
struct Entry {
    data: Field<u64>,
}

impl Described for Entry {
    type Schema = Self;
}

impl<'de> Value<'de> for Entry {
    fn of_object<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        object(map)
    }
}

/// What every field makes of one value.
#[derive(Debug, PartialEq)]
struct Said {
    text: Option<String>,
    number: Option<u64>,
    list: Option<Vec<Option<String>>>,
    entries: Option<Vec<Option<Option<u64>>>>,
    optional: Option<Option<u64>>,
}

const NOTHING: Said = Said { text: None, number: None, list: None, entries: None, optional: Some(None) };

fn said(json: &serde_json::Value) -> Said {
    let body = json!({
        "before": [{}], "text": json, "number": json, "list": json, "entries": json, "optional": json, "after": null,
    });
    let body = body.to_string();
    let Body { text, number, list, entries, optional } = read(body.as_bytes()).unwrap();
    let list = list.0.map(|List(list)| list.into_iter().map(|entry| entry.0.map(Cow::into_owned)).collect());
    let entries = entries.0.map(|List(list)| list.into_iter().map(|it| it.0.map(|it| it.data.0)).collect());
    Said {
        text: text.0.map(Cow::into_owned),
        number: number.0,
        list,
        entries,
        optional: optional.map(|field| field.0),
    }
}

#[test]
fn each_field_takes_its_own_kind_of_value() {
    assert_eq!(said(&json!("a\"b")), Said { text: Some("a\"b".into()), ..NOTHING });
    let number = Some(u64::MAX);
    assert_eq!(said(&json!(u64::MAX)), Said { number, optional: Some(number), ..NOTHING });
    let list = Some(vec![Some("a".into()), None, None]);
    assert_eq!(said(&json!(["a", 1, null])), Said { list, entries: Some(vec![None; 3]), ..NOTHING });
    assert_eq!(said(&json!(null)), Said { optional: None, ..NOTHING });
    for wrong in [json!(-1), json!(1.5), json!(true), json!({}), json!({ "deep": ["er"] })] {
        assert_eq!(said(&wrong), NOTHING, "{wrong}");
    }
    let Body { text, number, list, entries, optional } = read(b"{}").unwrap();
    assert!(text.0.is_none() && number.0.is_none() && list.0.is_none() && entries.0.is_none());
    assert!(optional.is_none());
}

#[test]
fn an_object_in_a_list_is_read_as_a_body_is() {
    let good = json!([{ "data": 5 }, { "more": { "data": 1 }, "data": 7 }]);
    assert_eq!(said(&good).entries, Some(vec![Some(Some(5)), Some(Some(7))]));
    let wrong = json!([{}, { "data": "5" }, { "data": null }, { "data": [5] }, { "Data": 5 }]);
    assert_eq!(said(&wrong).entries, Some(vec![Some(None); 5]));
    assert_eq!(said(&json!(["a", 1, null, ["a"], [{ "data": 5 }]])).entries, Some(vec![None; 5]));
}

#[test]
fn objects_in_a_list_are_read_as_strictly_as_fields() {
    let fault = |body: String| read::<Body<'_>>(body.as_bytes()).map(drop).unwrap_err().fault;
    for entry in [
        "{\"data\":1,\"data\":1}",
        "{\"data\":}",
        "{\"data\":\"\\ud800\"}",
        "{\"data\"}",
        "{\"x\":\"\\ud800\"}",
    ] {
        assert_eq!(fault(format!("{{\"entries\":[{entry}]}}")), ErrorCode::NotJson, "{entry}");
    }
    for open in ["[{\"data\":", "[{\"x\":", "[["] {
        assert_eq!(fault(format!("{{\"entries\":{}", open.repeat(100_000))), ErrorCode::NotJson);
    }
}

#[test]
fn plain_text_is_borrowed_from_the_body() {
    let body: Body<'_> = read(br#"{"text":"text"}"#).unwrap();
    assert!(matches!(body.text.0, Some(Cow::Borrowed("text"))));
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    let deep = |field: &str, open: &str, close: &str| {
        format!("{{\"{field}\":{}{}}}", open.repeat(100_000), close.repeat(100_000)).into_bytes()
    };
    let bodies = [
        b"".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"[\"a\",1,[],[]]".to_vec(),
        b"\"{}\"".to_vec(),
        b"{".to_vec(),
        b"{}{}".to_vec(),
        b"{} x".to_vec(),
        b"{\"a\":}".to_vec(),
        b"{\"text\":1,\"text\":1}".to_vec(),
        b"{\"text\":\"\xff\"}".to_vec(),
        b"{\"unknown\":\"\xff\"}".to_vec(),
        b"{\"unknown\":{\"\xff\":1}}".to_vec(),
        b"{\"unknown\":[[\"\\ud800\"]]}".to_vec(),
        b"{\"\xff\":1}".to_vec(),
        b"{\"text\":\"\\ud800\"}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        vec![b'['; 100_000],
        deep("unknown", "[", "]"),
        deep("unknown", "{\"a\":", "}"),
        deep("text", "[", "]"),
        b"{\"number\":1e999}".to_vec(),
        b"{\"unknown\":1e999}".to_vec(),
        b"{\"text\":\"a\nb\"}".to_vec(),
    ];
    for body in bodies {
        let refused = read::<Body<'_>>(&body).map(drop).unwrap_err();
        assert_eq!(refused.fault, ErrorCode::NotJson, "{:?}", body.get(..20));
    }
}

#[test]
fn a_list_that_is_too_long_stays_too_long_and_small() {
    let long = format!("[{}1]", "1,".repeat(100_000));
    let body = format!("{{\"list\":{long},\"entries\":[{}{{}}]}}", "{\"data\":1},".repeat(100_000));
    let body: Body<'_> = read(body.as_bytes()).unwrap();
    assert_eq!(body.list.0.unwrap().0.len(), LIST_BOUND);
    assert_eq!(body.entries.0.unwrap().0.len(), LIST_BOUND);
}

#[test]
fn a_value_counts_once_and_keeps_its_first_spelling() {
    let list = |spellings: &[&'static str]| {
        let entry = |spelling: &&'static str| Spelled::of_text(Cow::Borrowed(*spelling));
        Field(Some(List(spellings.iter().map(entry).map(Field).collect())))
    };
    let errors = [ErrorCode::TokenCount, ErrorCode::Token];
    const TOKEN: &str = "00000000000000000000000000000000000000000000000000000000000000aB";
    const SAME: &str = "00000000000000000000000000000000000000000000000000000000000000Ab";
    const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000001";
    let token = |text| relay_proto::MailboxToken::from_hex(text).unwrap();
    let tokens = list(&[TOKEN, OTHER, SAME]).distinct(3, errors).unwrap();
    assert_eq!(tokens.spellings, [TOKEN, OTHER]);
    assert_eq!(tokens.values, [token(TOKEN), token(OTHER)]);
    assert_eq!(tokens.given, [token(TOKEN), token(OTHER), token(TOKEN)]);
    let fault = |field: Field<List<Spelled<'_, relay_proto::MailboxToken>>>| {
        field.distinct(2, errors).map(drop).unwrap_err().fault
    };
    for field in [Field(None), list(&[]), list(&[TOKEN; 3])] {
        assert_eq!(fault(field), ErrorCode::TokenCount);
    }
    for entry in ["", "zz", &TOKEN[1..]] {
        assert_eq!(fault(list(&[TOKEN, entry])), ErrorCode::Token, "{entry:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let parsed = read::<Body<'_>>(&body);
        prop_assert!(parsed.is_err() || body.contains(&0x7b), "only an object has fields");
    }

    #[test]
    fn a_changed_byte_never_panics(position in 0_usize..76, byte: u8) {
        let mut body = br#"{"list":["0011",2,{"a":null}],"entries":[{"data":5}],"x":"\u00e9","number":-1.5e3}"#.to_vec();
        body[position] = byte;
        if let Ok(Body { list: Field(Some(List(entries))), .. }) = read(&body) {
            prop_assert!(entries.len() <= 64);
        }
    }
}
