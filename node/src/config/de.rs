//! Turns an [`Entry`] into a program's type and keeps track of the key that is
//! being read, so that an error can say which source to correct.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::value::{Entry, Origin, Table, Value, guess};

/// What serde reports, on its way up to the root.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) problem: Problem,
    /// From the value that `origin` belongs to, the outermost key first.
    pub(super) path: Vec<String>,
    pub(super) origin: Option<Origin>,
}

#[derive(Debug)]
pub(super) enum Problem {
    /// The last segment of the path is no key.
    UnknownKey {
        known: &'static [&'static str],
    },
    UnknownChoice {
        choice: String,
        known: &'static [&'static str],
    },
    Other(String),
}

impl Error {
    fn new(problem: Problem, path: Vec<String>) -> Self {
        Self {
            problem,
            path,
            origin: None,
        }
    }

    /// Goes up one level: the value of `entry` is at `key` in its parent.
    fn below(mut self, key: &str, entry: &Entry) -> Self {
        if self.origin.is_none() {
            self.origin = Some(entry.origin_of(&self.path).clone());
        }
        self.path.insert(0, key.to_owned());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(Problem::Other(text.to_string()), Vec::new())
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { known }, vec![field.to_owned()])
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let choice = variant.to_owned();
        Self::new(Problem::UnknownChoice { choice, known }, Vec::new())
    }
}

impl<'de> Deserializer<'de> for &Entry {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(value) => visitor.visit_str(value),
            Value::Text(text) => visit_guessed(text, &self.origin, visitor),
            Value::Array(entries) => visitor.visit_seq(Elements {
                entries: entries.iter().enumerate(),
            }),
            Value::Table(table) => visitor.visit_map(Pairs::new(table)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(text) => visitor.visit_str(text),
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Table(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(text) if !text.trim_start().starts_with('[') => {
                let elements = split(text, &self.origin);
                visitor.visit_seq(Elements {
                    entries: elements.iter().enumerate(),
                })
            }
            Value::Text(_)
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Table(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Text(text) if text.is_empty() => visitor.visit_none(),
            Value::Text(_)
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Table(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::String(name) | Value::Text(name) => {
                visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(name.as_str()))
            }
            Value::Table(table) => match table.iter().next() {
                Some((name, entry)) if table.len() == 1 => {
                    visitor.visit_enum(Choice { name, entry })
                }
                Some(_) | None => Err(de::Error::invalid_type(Unexpected::Map, &"one choice")),
            },
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Array(_) => Err(
                de::Error::invalid_type(Unexpected::Other("another type"), &"the name of a choice"),
            ),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf
        unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

fn visit_guessed<'de, V: Visitor<'de>>(
    text: &str,
    origin: &Origin,
    visitor: V,
) -> Result<V::Value, Error> {
    match guess(text, origin) {
        Value::Bool(value) => visitor.visit_bool(value),
        Value::Integer(value) => visitor.visit_i64(value),
        Value::Float(value) => visitor.visit_f64(value),
        Value::String(value) | Value::Text(value) => visitor.visit_string(value),
        Value::Array(entries) => visitor.visit_seq(Elements {
            entries: entries.iter().enumerate(),
        }),
        Value::Table(table) => visitor.visit_map(Pairs::new(&table)),
    }
}

/// A list as one writes it in a variable: `a, b`.
fn split(text: &str, origin: &Origin) -> Vec<Entry> {
    text.split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty())
        .map(|element| Entry {
            value: Value::Text(element.to_owned()),
            origin: origin.clone(),
        })
        .collect()
}

struct Elements<'a> {
    entries: std::iter::Enumerate<std::slice::Iter<'a, Entry>>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some((index, entry)) = self.entries.next() else {
            return Ok(None);
        };
        seed.deserialize(entry)
            .map(Some)
            .map_err(|error| error.below(&index.to_string(), entry))
    }
}

struct Pairs<'a> {
    table: std::collections::btree_map::Iter<'a, String, Entry>,
    value: Option<(&'a str, &'a Entry)>,
}

impl<'a> Pairs<'a> {
    fn new(table: &'a Table) -> Self {
        Self {
            table: table.iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, entry)) = self.table.next() else {
            return Ok(None);
        };
        self.value = Some((key, entry));
        let key: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|mut error| {
            error.origin = Some(entry.origin.clone());
            error
        })
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let (key, entry) = self
            .value
            .take()
            .expect("invariant: serde asks for a value after its key");
        seed.deserialize(entry)
            .map_err(|error| error.below(key, entry))
    }
}

/// A choice with content: `{ name = content }`.
struct Choice<'a> {
    name: &'a str,
    entry: &'a Entry,
}

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        seed.deserialize(name).map(|value| (value, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Err(de::Error::invalid_type(
            Unexpected::NewtypeVariant,
            &"a choice without content",
        ))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.entry)
            .map_err(|error| error.below(self.name, self.entry))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.entry
            .deserialize_seq(visitor)
            .map_err(|error| error.below(self.name, self.entry))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.entry
            .deserialize_any(visitor)
            .map_err(|error| error.below(self.name, self.entry))
    }
}
