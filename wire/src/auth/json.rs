//! Go's reading of JSON into a struct, as far as it differs from serde's.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{AuthBody, AuthError};

const NULL: &str = "null";

pub(super) fn parse(body: &[u8]) -> Result<AuthBody, AuthError> {
    let text = to_text(body);
    // The whole body has to be JSON before any field of it is believed.
    let value: &RawValue = serde_json::from_str(&text).map_err(AuthError::Syntax)?;
    let value = value.get();
    if value == NULL {
        return Ok(AuthBody::default());
    }
    if !value.starts_with('{') {
        return Err(AuthError::NotAnObject);
    }
    let mut deserializer = serde_json::Deserializer::from_str(value);
    deserializer
        .deserialize_map(Fields)
        .map_err(AuthError::Syntax)?
}

/// Go reads each byte that is not UTF-8 as U+FFFD. Outside of strings that is a
/// syntax error, as it is for Go.
fn to_text(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(body) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Result<AuthBody, AuthError>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut body = AuthBody::default();
        let mut result = Ok(());
        while let Some((name, value)) = map.next_entry::<GoString, &RawValue>()? {
            result = result.and_then(|()| set(&mut body, &name.0, value.get()));
        }
        Ok(result.map(|()| body))
    }
}

/// Sets the field of that name, if there is one.
fn set(body: &mut AuthBody, name: &str, value: &str) -> Result<(), AuthError> {
    let is = |field| is_name(name, field);
    if is("mid") {
        set_integer(&mut body.mid, value).ok_or(AuthError::Field("mid"))
    } else if is("key") {
        set_string(&mut body.key, value).ok_or(AuthError::Field("key"))
    } else if is("room_id") {
        set_string(&mut body.room_id, value).ok_or(AuthError::Field("room_id"))
    } else if is("platform") {
        set_string(&mut body.platform, value).ok_or(AuthError::Field("platform"))
    } else if is("accepts") {
        body.accepts = integers(value).ok_or(AuthError::Field("accepts"))?;
        Ok(())
    } else {
        if is("token") {
            body.token = string(value);
        }
        Ok(())
    }
}

/// Equality under Unicode's simple case folding, where two letters beyond ASCII
/// fold into it.
fn is_name(name: &str, field: &str) -> bool {
    let fold = |letter: char| match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    name.chars().map(fold).eq(field.chars())
}

fn set_integer(field: &mut i64, value: &str) -> Option<()> {
    if value != NULL {
        *field = value.parse().ok()?;
    }
    Some(())
}

fn set_string(field: &mut String, value: &str) -> Option<()> {
    if value != NULL {
        *field = string(value)?;
    }
    Some(())
}

fn string(value: &str) -> Option<String> {
    serde_json::from_str(value).ok().map(|GoString(text)| text)
}

fn integers(value: &str) -> Option<Vec<i32>> {
    if value == NULL {
        return Some(Vec::new());
    }
    let items: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    let item = |item: &&RawValue| match item.get() {
        NULL => Some(0),
        number => number.parse().ok(),
    };
    items.iter().map(item).collect()
}

/// A string in which half a surrogate pair reads as U+FFFD.
struct GoString(String);

impl<'de> Deserialize<'de> for GoString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde_json refuses lone surrogates in text, and gives them as three bytes
        // each, beginning with 0xed, in what is asked for as bytes.
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = GoString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<GoString, E> {
                let mut text = String::with_capacity(bytes.len());
                for chunk in bytes.utf8_chunks() {
                    text.push_str(chunk.valid());
                    if chunk.invalid().first() == Some(&0xed) {
                        text.push(char::REPLACEMENT_CHARACTER);
                    }
                }
                Ok(GoString(text))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: impl AsRef<[u8]>) -> AuthBody {
        parse(body.as_ref()).unwrap()
    }

    fn field(body: &str) -> &'static str {
        match parse(body.as_bytes()) {
            Err(AuthError::Field(field)) => field,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let body = AuthBody {
            mid: i64::MIN,
            key: "dev-1 \"\\\u{1}直播\u{1f600}".to_owned(),
            room_id: "live://1000".to_owned(),
            platform: "web".to_owned(),
            accepts: vec![1000, i32::MIN],
            token: Some("secret".to_owned()),
        };
        assert_eq!(read(body.to_json()), body);
        assert!(!format!("{body:?}").contains("secret"));
    }

    #[test]
    fn null_and_an_empty_object_are_all_defaults() {
        for body in ["null", " null\n", "{}", "\t{ }\r\n"] {
            assert_eq!(read(body), AuthBody::default(), "{body:?}");
        }
        let nulls =
            r#"{"mid":null,"key":null,"room_id":null,"platform":null,"accepts":null,"token":null}"#;
        assert_eq!(read(nulls), AuthBody::default());
    }

    #[test]
    fn names_are_compared_without_case() {
        let body = read(r#"{"MID":123,"Key":"k","ROOM_id":"r","plAtform":"p","ACCEPTſ":[1]}"#);
        assert_eq!(
            (body.mid, body.key.as_str(), body.room_id.as_str()),
            (123, "k", "r")
        );
        assert_eq!((body.platform.as_str(), body.accepts), ("p", vec![1]));
        assert_eq!(read("{\"\u{212a}ey\":\"kelvin\"}").key, "kelvin");
        assert_eq!(read(r#"{"\u006bey":"escaped"}"#).key, "escaped");
    }

    #[test]
    fn unknown_names_are_skipped_with_whatever_they_hold() {
        assert_eq!(
            read(r#"{"midi":"x","a":{"mid":[1,{}]},"mid":5,"":null,"\ud800":1}"#).mid,
            5
        );
    }

    #[test]
    fn of_equal_names_the_last_counts_unless_it_is_null() {
        assert_eq!(read(r#"{"mid":1,"MID":2}"#).mid, 2);
        assert_eq!(read(r#"{"mid":1,"mid":null,"key":"a","key":null}"#).mid, 1);
        assert_eq!(
            read(r#"{"accepts":[1],"accepts":null}"#),
            AuthBody::default()
        );
    }

    #[test]
    fn integers_are_written_as_integers_and_fit() {
        assert_eq!(read(r#"{"mid":-0}"#).mid, 0);
        assert_eq!(read(r#"{"mid":-9223372036854775808}"#).mid, i64::MIN);
        for mid in [
            "\"123\"",
            "1.0",
            "1e3",
            "9223372036854775808",
            "true",
            "{}",
            "[]",
        ] {
            assert_eq!(field(&format!("{{\"mid\":{mid}}}")), "mid");
        }
        assert_eq!(
            read(r#"{"accepts":[ 1 , null,-2147483648]}"#).accepts,
            [1, 0, i32::MIN]
        );
        for accepts in [
            "[2147483648]",
            "[\"1\"]",
            "[1.5]",
            "[[1]]",
            "\"1\"",
            "1",
            "{}",
            "true",
        ] {
            assert_eq!(field(&format!("{{\"accepts\":{accepts}}}")), "accepts");
        }
    }

    #[test]
    fn strings_are_strings() {
        for name in ["key", "room_id", "platform"] {
            for value in ["1", "true", "{}", "[\"a\"]"] {
                assert_eq!(field(&format!("{{\"{name}\":{value}}}")), name);
            }
        }
    }

    #[test]
    fn a_token_of_another_type_is_none() {
        assert_eq!(read(r#"{"token":"a.b.c"}"#).token.as_deref(), Some("a.b.c"));
        assert_eq!(read(r#"{"token":17,"mid":1}"#).token, None);
    }

    #[test]
    fn what_is_no_text_reads_as_replacement_characters() {
        assert_eq!(
            read(b"{\"key\":\"a\xe2\x82z\xff\"}").key,
            "a\u{fffd}\u{fffd}z\u{fffd}"
        );
        assert_eq!(
            read(r#"{"key":"\ud800\u0041\udc00x"}"#).key,
            "\u{fffd}A\u{fffd}x"
        );
        assert_eq!(read(r#"{"key":"\ud83d\ude00"}"#).key, "\u{1f600}");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let bodies: [&[u8]; 14] = [
            b"",
            b" ",
            b"{",
            b"{\"mid\":1",
            b"{\"mid\":1}x",
            b"{\"mid\":01}",
            b"{\"mid\":+1}",
            b"{mid:1}",
            b"{\"mid\":1,}",
            b"nul",
            b"{\"key\":\"\n\"}",
            b"\xef\xbb\xbf{}",
            b"\xff{}",
            b"{\"key\":\"\\x\"}",
        ];
        for body in bodies {
            let result = parse(body);
            assert!(
                matches!(result, Err(AuthError::Syntax(_))),
                "{body:?}: {result:?}"
            );
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["[]", "1", "\"null\"", "true"] {
            assert!(
                matches!(parse(body.as_bytes()), Err(AuthError::NotAnObject)),
                "{body}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_no_danger() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(deep), AuthBody::default());
        let deep = format!("{{\"accepts\":{}", "[".repeat(100_000));
        assert!(parse(deep.as_bytes()).is_err());
    }
}
