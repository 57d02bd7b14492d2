//! Reads the body of a request into a struct that serde derives, leniently in form and strictly in bounds.
//!
//! A field of the wrong type is a wrong value of that field, not a parser's error: every field is refused with its own
//! fixed text, and no parser's message, which would repeat the input, ever reaches a client. What spoils the whole body
//! is broken JSON, text that is not UTF-8, a field said twice, and nesting beyond serde_json's limit. All of this holds
//! inside unknown fields too, where serde by itself accepts any depth and any bytes: see [`Strict`].

use super::error::{ApiError, ErrorCode};
use relay_proto::limits::MAX_MAILBOXES;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

/// Entries of a list that are kept: one more than any list may have, so that too many stay too many.
const LIST_BOUND: usize = MAX_MAILBOXES + 1;

/// Reads a body.
///
/// # Errors
/// [`ErrorCode::NotJson`].
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = T::deserialize(Strict(&mut json));
    read.and_then(|read| json.end().map(|()| read)).map_err(|_| ErrorCode::NotJson.into())
}

/// A kind of value, for the description of the API.
pub(crate) trait Described {
    type Schema: JsonSchema;
}

/// A kind of value that fields hold. Whatever a field says in another form is wrong.
pub(crate) trait Value<'de>: Described + Sized {
    fn of_text(_: Cow<'de, str>) -> Option<Self> {
        None
    }

    fn of_number(_: u64) -> Option<Self> {
        None
    }

    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<Field<Ignored>>()?.is_some() {}
        Ok(None)
    }

    fn of_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<Field<Ignored>, Field<Ignored>>()?.is_some() {}
        Ok(None)
    }
}

/// What a request says in one field; nothing, where the field is absent, `null` or wrong. A field that need not be there
/// is an `Option` of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<T>(Option<T>);

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Field<T> {
    /// The value; an error where there is none.
    pub(crate) fn or(self, error: ErrorCode) -> Result<T, ApiError> {
        self.0.ok_or(error.into())
    }
}

impl<T: Described> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::Schema::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::Schema::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::Schema::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::Schema::json_schema(generator)
    }
}

impl<'de, T: Value<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An absent field is an option that is none.
        deserializer.deserialize_option(FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

macro_rules! wrong {
    ($($visit:ident: $type:ty),*) => {$(
        fn $visit<E>(self, _: $type) -> Result<Field<T>, E> {
            Ok(Field(None))
        }
    )*};
}

impl<'de, T: Value<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_none<E>(self) -> Result<Field<T>, E> {
        Ok(Field(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field<T>, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_unit<E>(self) -> Result<Field<T>, E> {
        Ok(Field(None))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<T>, E> {
        Ok(Field(T::of_text(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<T>, E> {
        Ok(Field(T::of_text(Cow::Owned(text.to_owned()))))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field<T>, E> {
        Ok(Field(T::of_number(number)))
    }

    wrong!(visit_i64: i64, visit_f64: f64, visit_bool: bool);

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Field<T>, A::Error> {
        T::of_list(list).map(Field)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Field<T>, A::Error> {
        T::of_object(object).map(Field)
    }
}

/// A list, of which no more than [`LIST_BOUND`] entries are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T>(pub(crate) Vec<Field<T>>);

impl<T: Described> Described for List<T> {
    type Schema = Vec<T::Schema>;
}

impl<'de, T: Value<'de>> Value<'de> for List<T> {
    fn of_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            if entries.len() < LIST_BOUND {
                entries.push(entry);
            }
        }
        Ok(Some(Self(entries)))
    }
}

/// A value together with the text that it was read from, borrowed from the body unless it has escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spelled<'a, T> {
    pub(crate) value: T,
    pub(crate) spelling: Cow<'a, str>,
}

impl<T: Described> Described for Spelled<'_, T> {
    type Schema = T::Schema;
}

impl<'de: 'a, 'a, T: for<'t> Value<'t>> Value<'de> for Spelled<'a, T> {
    fn of_text(spelling: Cow<'de, str>) -> Option<Self> {
        Some(Self { value: T::of_text(Cow::Borrowed(&spelling))?, spelling })
    }
}

/// What a list names, each once.
#[derive(Debug)]
pub(crate) struct Distinct<'a, T> {
    pub(crate) values: Vec<T>,
    /// The values as the client wrote them, in the same order.
    pub(crate) spellings: Vec<Cow<'a, str>>,
    /// The values as the client sent them, repetitions included.
    pub(crate) given: Vec<T>,
}

impl<'a, T: Copy + Eq + Hash> Field<List<Spelled<'a, T>>> {
    /// Reads a list of 1 to `most` entries. The first spelling of a value stands.
    pub(crate) fn distinct(
        self,
        most: usize,
        [count, entry]: [ErrorCode; 2],
    ) -> Result<Distinct<'a, T>, ApiError> {
        let List(entries) = self.or(count)?;
        if entries.is_empty() || entries.len() > most {
            return Err(count.into());
        }
        let room = entries.len();
        let (mut values, mut spellings) = (Vec::with_capacity(room), Vec::with_capacity(room));
        let (mut given, mut seen) = (Vec::with_capacity(room), HashSet::with_capacity(room));
        for field in entries {
            let Spelled { value, spelling } = field.or(entry)?;
            given.push(value);
            if seen.insert(value) {
                values.push(value);
                spellings.push(spelling);
            }
        }
        Ok(Distinct { values, spellings, given })
    }
}

/// Reads an object in a list by the struct that it is.
pub(crate) fn object<'de, T: Deserialize<'de>, A: MapAccess<'de>>(object: A) -> Result<Option<T>, A::Error> {
    T::deserialize(MapAccessDeserializer::new(Strict(object))).map(Some)
}

/// What nobody asked for, read as carefully as the rest.
struct Ignored;

impl Described for Ignored {
    type Schema = ();
}

impl Value<'_> for Ignored {}

/// Reads a struct from an object, never from a list, and its unknown fields as [`Ignored`]: serde_json would skip them
/// without a look at their depth and text.
struct Strict<T>(T);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Strict(visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        Field::<Ignored>::deserialize(self.0)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(object))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(deserializer))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }
}

#[cfg(test)]
mod tests;
