//! Reads the fields of a JSON request, leniently in form and strictly in bounds.
//!
//! A field of the wrong type is a wrong value of that field, not a parser's error: every field answers with
//! its own fixed text, and no parser's message, which would repeat the input, ever reaches a client. What
//! spoils the whole body is broken JSON, text that is not UTF-8, a field said twice, and nesting beyond
//! serde_json's limit, which holds inside unknown fields too.

use super::error::{ApiError, ErrorCode};
use relay_proto::limits::MAX_MAILBOXES;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Entries of a list that are kept: one more than any list may have, so that too many stay too many.
const LIST_BOUND: usize = MAX_MAILBOXES + 1;

/// What a request says in one field.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Field<'a> {
    /// Nothing: absent, or `null`.
    #[default]
    Missing,
    /// Text, borrowed from the body unless it has escapes.
    Text(Cow<'a, str>),
    /// A whole number that is not negative.
    Number(u64),
    /// A list; an entry that is not text is `None`.
    List(Vec<Option<Cow<'a, str>>>),
    /// Anything else.
    Wrong,
}

impl<'a> Field<'a> {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Parses the text; anything but text that parses is the given fault.
    pub(crate) fn parse<T, E>(
        &self,
        parse: impl Fn(&str) -> Result<T, E>,
        fault: ErrorCode,
    ) -> Result<T, ApiError> {
        self.text().and_then(|text| parse(text).ok()).ok_or(fault.into())
    }

    /// The number; anything else is the given fault.
    pub(crate) fn number(&self, fault: ErrorCode) -> Result<u64, ApiError> {
        match self {
            Self::Number(number) => Ok(*number),
            _ => Err(fault.into()),
        }
    }

    /// The list; anything else is the given fault.
    pub(crate) fn list(self, fault: ErrorCode) -> Result<Vec<Option<Cow<'a, str>>>, ApiError> {
        match self {
            Self::List(entries) => Ok(entries),
            _ => Err(fault.into()),
        }
    }

    /// Whether the request says anything here.
    pub(crate) const fn is_given(&self) -> bool {
        !matches!(self, Self::Missing)
    }
}

/// Reads the named fields of a JSON object.
///
/// # Errors
/// [`ErrorCode::NotJson`].
pub(crate) fn read<'a, const N: usize>(
    body: &'a [u8],
    names: [&'static str; N],
) -> Result<[Field<'a>; N], ApiError> {
    read_as(body, Object { names, wish: Expected::Any })
}

/// As [`read`], where lists are lists of objects: an entry is the text that its object has under `member`,
/// and `None` if it is no object or has no such text.
///
/// # Errors
/// [`ErrorCode::NotJson`].
pub(crate) fn read_lists_of<'a, const N: usize>(
    member: &'static str,
    body: &'a [u8],
    names: [&'static str; N],
) -> Result<[Field<'a>; N], ApiError> {
    read_as(body, Object { names, wish: Expected::ListOf(member) })
}

fn read_as<'a, const N: usize>(body: &'a [u8], object: Object<N>) -> Result<[Field<'a>; N], ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let fields = object.deserialize(&mut json);
    fields.and_then(|fields| json.end().map(|()| fields)).map_err(|_| ErrorCode::NotJson.into())
}

/// An object of which some fields are wanted, and how they are to be read.
struct Object<const N: usize> {
    names: [&'static str; N],
    wish: Expected,
}

impl<'de, const N: usize> DeserializeSeed<'de> for Object<N> {
    type Value = [Field<'de>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Object<N> {
    type Value = [Field<'de>; N];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = [const { None }; N];
        while let Some(Value(name)) = map.next_key_seed(Expected::Any)? {
            let Field::Text(name) = name else { return Err(A::Error::custom("a name is text")) };
            match self.names.iter().position(|wanted| *wanted == name) {
                Some(index) if fields[index].is_some() => return Err(A::Error::custom("a field twice")),
                Some(index) => fields[index] = Some(map.next_value_seed(self.wish)?.0),
                None => drop(map.next_value_seed(Expected::Any)?),
            }
        }
        Ok(fields.map(Option::unwrap_or_default))
    }
}

struct Value<'de>(Field<'de>);

/// How a value is read.
#[derive(Clone, Copy)]
enum Expected {
    /// As it comes. Unknown fields are read like this as well: [`IgnoredAny`] would accept any depth and any
    /// bytes.
    Any,
    /// As it comes, and if it is a list, its entries are objects that each stand for this member.
    ListOf(&'static str),
    /// An object that stands for this member.
    Member(&'static str),
}

impl Expected {
    /// What text is: text, except where an object should be.
    fn text(self, text: Cow<'_, str>) -> Field<'_> {
        if let Self::Member(_) = self { Field::Wrong } else { Field::Text(text) }
    }
}

impl<'de> DeserializeSeed<'de> for Expected {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self).map(Value)
    }
}

impl<'de> Visitor<'de> for Expected {
    type Value = Field<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(self.text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<'de>, E> {
        Ok(self.text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field<'de>, E> {
        Ok(Field::Wrong)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field<'de>, E> {
        Ok(Field::Wrong)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field<'de>, E> {
        Ok(Field::Wrong)
    }

    fn visit_unit<E>(self) -> Result<Field<'de>, E> {
        Ok(Field::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field<'de>, A::Error> {
        let wish = if let Self::ListOf(member) = self { Self::Member(member) } else { Self::Any };
        let mut entries = Vec::new();
        while let Some(Value(entry)) = list.next_element_seed(wish)? {
            if entries.len() < LIST_BOUND {
                entries.push(match entry {
                    Field::Text(text) => Some(text),
                    _ => None,
                });
            }
        }
        Ok(Field::List(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field<'de>, A::Error> {
        if let Self::Member(member) = self {
            let [field] = Object { names: [member], wish: Self::Any }.visit_map(map)?;
            return Ok(field);
        }
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Self::Any)?;
        }
        Ok(Field::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn one(json: &serde_json::Value) -> Field<'static> {
        let body = json!({ "before": [{}], "field": json, "after": null }).to_string();
        match read(body.as_bytes(), ["field"]).unwrap() {
            [Field::Text(text)] => Field::Text(Cow::Owned(text.into_owned())),
            [Field::List(entries)] => Field::List(
                entries.into_iter().map(|entry| entry.map(|text| Cow::Owned(text.into_owned()))).collect(),
            ),
            [Field::Missing] => Field::Missing,
            [Field::Number(number)] => Field::Number(number),
            [Field::Wrong] => Field::Wrong,
        }
    }

    #[test]
    fn values_are_taken_as_they_come() {
        assert_eq!(one(&json!("a\"b")), Field::Text("a\"b".into()));
        assert_eq!(one(&json!(u64::MAX)), Field::Number(u64::MAX));
        assert_eq!(one(&json!(["a", 1, null])), Field::List(vec![Some("a".into()), None, None]));
        assert_eq!(one(&json!(null)), Field::Missing);
        for wrong in [json!(-1), json!(1.5), json!(true), json!({}), json!({ "deep": ["er"] })] {
            assert_eq!(one(&wrong), Field::Wrong, "{wrong}");
        }
    }

    #[test]
    fn an_object_in_a_list_stands_for_its_member() {
        let entries = |list: serde_json::Value| {
            let body = json!({ "field": list, "other": ["ignored"] }).to_string();
            let [Field::List(entries)] = read_lists_of("data", body.as_bytes(), ["field"]).unwrap() else {
                panic!("not a list")
            };
            entries.into_iter().map(|entry| entry.map(Cow::into_owned)).collect::<Vec<_>>()
        };
        let text = |text: &str| Some(text.to_owned());
        let good = json!([{ "data": "a\"b" }, { "more": { "data": 1 }, "data": "c" }]);
        assert_eq!(entries(good), [text("a\"b"), text("c")]);
        let wrong = json!([
            {}, { "data": 5 }, { "data": null }, { "data": ["a"] }, { "data": { "data": "a" } }, { "Data": "a" },
            "a", 1, null, ["a"], [{ "data": "a" }],
        ]);
        assert_eq!(entries(wrong), vec![None; 11]);
        assert!(entries(json!([])).is_empty());
    }

    #[test]
    fn members_of_objects_in_a_list_are_read_as_strictly_as_fields() {
        for entry in
            ["{\"data\":\"a\",\"data\":\"a\"}", "{\"data\":}", "{\"data\":\"\\ud800\"}", "{\"data\"}"]
        {
            let body = format!("{{\"field\":[{entry}]}}");
            let refused = read_lists_of("data", body.as_bytes(), ["field"]).unwrap_err();
            assert_eq!(refused.fault, ErrorCode::NotJson, "{entry}");
        }
        let deep = "[{\"data\":".repeat(100_000);
        let body = format!("{{\"field\":{deep}");
        assert!(read_lists_of("data", body.as_bytes(), ["field"]).is_err());
        let long = format!("{{\"field\":[{}{{}}]}}", "{\"data\":\"\"},".repeat(100_000));
        let [Field::List(entries)] = read_lists_of("data", long.as_bytes(), ["field"]).unwrap() else {
            panic!("not a list")
        };
        assert_eq!(entries.len(), LIST_BOUND);
    }

    #[test]
    fn other_fields_are_the_same_beside_lists_of_objects() {
        let body = br#"{"text":"a","number":5,"object":{"data":"a"},"null":null}"#;
        let fields = read_lists_of("data", body, ["text", "number", "object", "null"]).unwrap();
        assert_eq!(fields, [Field::Text("a".into()), Field::Number(5), Field::Wrong, Field::Missing]);
    }

    #[test]
    fn plain_text_is_borrowed_from_the_body() {
        let [field] = read(br#"{"field":"text"}"#, ["field"]).unwrap();
        assert!(matches!(field, Field::Text(Cow::Borrowed("text"))));
    }

    #[test]
    fn what_is_not_one_json_object_is_refused() {
        let deep = |open: &str, close: &str| {
            format!("{{\"unknown\":{}{}}}", open.repeat(100_000), close.repeat(100_000)).into_bytes()
        };
        let bodies = [
            b"".to_vec(),
            b"null".to_vec(),
            b"[]".to_vec(),
            b"\"{}\"".to_vec(),
            b"{".to_vec(),
            b"{}{}".to_vec(),
            b"{} x".to_vec(),
            b"{\"a\":}".to_vec(),
            b"{\"field\":1,\"field\":1}".to_vec(),
            b"{\"field\":\"\xff\"}".to_vec(),
            b"{\"unknown\":\"\xff\"}".to_vec(),
            b"{\"\xff\":1}".to_vec(),
            b"{\"field\":\"\\ud800\"}".to_vec(),
            b"\xef\xbb\xbf{}".to_vec(),
            vec![b'['; 100_000],
            deep("[", "]"),
            deep("{\"a\":", "}"),
            b"{\"field\":1e999}".to_vec(),
            b"{\"field\":\"a\nb\"}".to_vec(),
        ];
        for body in bodies {
            let refused = read(&body, ["field"]).unwrap_err();
            assert_eq!(refused.fault, ErrorCode::NotJson, "{:?}", body.get(..20));
        }
    }

    #[test]
    fn a_list_that_is_too_long_stays_too_long_and_small() {
        let body = format!("{{\"field\":[{}1]}}", "1,".repeat(100_000));
        let [Field::List(entries)] = read(body.as_bytes(), ["field"]).unwrap() else { panic!("not a list") };
        assert_eq!(entries.len(), MAX_MAILBOXES + 1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            for parsed in [read(&body, ["field"]), read_lists_of("data", &body, ["field"])] {
                prop_assert!(parsed.is_err() || body.contains(&0x7b), "only an object has fields");
            }
        }

        #[test]
        fn a_changed_byte_never_panics(position in 0_usize..64, byte: u8) {
            let mut body = br#"{"field":["0011",2,{"a":null}],"other":"\u00e9","number":-1.5e3}"#.to_vec();
            body[position] = byte;
            for parsed in [read(&body, ["field"]), read_lists_of("a", &body, ["field"])] {
                prop_assert!(!matches!(parsed, Ok([Field::List(entries)]) if entries.len() > 64));
            }
        }
    }
}
