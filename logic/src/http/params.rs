//! Query parameters, read and refused as goim's binder does.
//!
//! goim answers with the texts of Go's `strconv` and of its validator, and
//! clients show or match them, so they are part of the contract: the first
//! number that does not parse is the whole message; otherwise every missing
//! field is a line of it, in the order of the fields.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::go;

/// A request's query was refused; the text is goim's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub(crate) struct BindError(pub(crate) String);

/// Reads the fields of one request from its query string.
#[derive(Debug)]
pub(crate) struct Binder<'a> {
    /// In their order.
    pairs: Vec<Pair<'a>>,
    missing: String,
}

/// A name and its value, without escapes.
type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

impl<'a> Binder<'a> {
    pub(crate) fn new(query: &'a str) -> Self {
        Self {
            pairs: pairs(query).collect(),
            missing: String::new(),
        }
    }

    /// The first value of `name`; empty when there is none. Not necessarily
    /// UTF-8.
    pub(crate) fn text(&self, name: &str) -> Cow<'a, [u8]> {
        self.values(name).next().cloned().unwrap_or_default()
    }

    /// The first value of `name` as a 32-bit number; 0 when empty or absent.
    pub(crate) fn int32(&self, name: &str) -> Result<i32, BindError> {
        self.int(name, 32)
            .map(|number| i32::try_from(number).expect("invariant: parsed within 32 bits"))
    }

    /// The first value of `name` as a 64-bit number; 0 when empty or absent.
    pub(crate) fn int64(&self, name: &str) -> Result<i64, BindError> {
        self.int(name, 64)
    }

    /// Every value of `name`; what is not UTF-8 is replaced by U+FFFD.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.values(name)
            .map(|value| match str::from_utf8(value) {
                Ok(text) => text.to_owned(),
                Err(_) => String::from_utf8_lossy(value).into_owned(),
            })
            .collect()
    }

    /// Every value of `name` as 64-bit numbers; an empty one is 0.
    pub(crate) fn int64s(&self, name: &str) -> Result<Vec<i64>, BindError> {
        self.values(name).map(|value| number(value, 64)).collect()
    }

    /// Notes that the field `name` had to be present and not zero.
    pub(crate) fn require(&mut self, name: &str, is_present: bool) {
        if is_present {
            return;
        }
        if !self.missing.is_empty() {
            self.missing.push('\n');
        }
        let _ = write!(
            self.missing,
            "Key: '{name}' Error:Field validation for '{name}' failed on the 'required' tag"
        );
    }

    /// Refuses the request when a required field was missing.
    pub(crate) fn finish(self) -> Result<(), BindError> {
        if self.missing.is_empty() {
            Ok(())
        } else {
            Err(BindError(self.missing))
        }
    }

    fn int(&self, name: &str, bits: u32) -> Result<i64, BindError> {
        self.values(name)
            .next()
            .map_or(Ok(0), |value| number(value, bits))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &Cow<'a, [u8]>> {
        self.pairs
            .iter()
            .filter(move |(key, _)| **key == *name.as_bytes())
            .map(|(_, value)| value)
    }
}

/// Names and values by the rules of Go's `url.ParseQuery` with its error ignored:
/// a pair that holds a `;` or a broken escape is left out.
fn pairs(query: &str) -> impl Iterator<Item = Pair<'_>> {
    query
        .as_bytes()
        .split(|&byte| byte == b'&')
        .filter_map(|pair| {
            if pair.contains(&b';') {
                return None;
            }
            let (key, value) = match pair.iter().position(|&byte| byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            Some((unescape(key)?, unescape(value)?))
        })
}

/// Undoes the escapes of a query component; `None` when one is broken.
fn unescape(input: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !input.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(input));
    }
    let mut output = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        output.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                hex_digit(digits[0])? << 4 | hex_digit(digits[1])?
            }
            other => other,
        });
    }
    Some(Cow::Owned(output))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn number(value: &[u8], bits: u32) -> Result<i64, BindError> {
    if value.is_empty() {
        return Ok(0);
    }
    go::parse_int(value, bits).map_err(|error| {
        let mut message = String::from("strconv.ParseInt: parsing ");
        go::quote(&mut message, value);
        message.push_str(": ");
        message.push_str(error.text());
        BindError(message)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(query: &str, name: &str) -> String {
        String::from_utf8_lossy(&Binder::new(query).text(name)).into_owned()
    }

    #[test]
    fn the_first_value_wins() {
        assert_eq!(text("a=1&a=2", "a"), "1");
        assert_eq!(text("a=&a=2", "a"), "");
        assert_eq!(text("b=1", "a"), "");
        assert_eq!(text("a", "a"), "");
        assert_eq!(text("a=b=c", "a"), "b=c");
    }

    #[test]
    fn escapes_are_undone_in_names_and_values() {
        assert_eq!(text("%61=x+y%2B%26", "a"), "x y+&");
        assert_eq!(text("a%20b=1", "a b"), "1");
    }

    #[test]
    fn broken_pairs_are_left_out() {
        assert_eq!(text("a=%zz&a=2", "a"), "2");
        assert_eq!(text("a=%4&a=3", "a"), "3");
        assert_eq!(text("a=1;b=2&a=4", "a"), "4");
        assert_eq!(text("%=1&a=5", "a"), "5");
    }

    #[test]
    fn lists_are_repeated_parameters() {
        let binder = Binder::new("keys=a,b&keys=c&keys=&keys=%ff");

        assert_eq!(binder.texts("keys"), ["a,b", "c", "", "\u{fffd}"]);
    }

    #[test]
    fn numbers_default_to_zero() {
        let binder = Binder::new("a=&b=-7&c=%2B5&d=+5");

        assert_eq!(binder.int32("a"), Ok(0));
        assert_eq!(binder.int32("missing"), Ok(0));
        assert_eq!(binder.int32("b"), Ok(-7));
        assert_eq!(binder.int32("c"), Ok(5));
        assert_eq!(
            binder.int32("d"),
            Err(BindError(
                "strconv.ParseInt: parsing \" 5\": invalid syntax".to_owned()
            ))
        );
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let binder = Binder::new("a=2147483648&b=99999999999999999999&mids=1&mids=1,2");

        assert_eq!(
            binder.int32("a"),
            Err(BindError(
                "strconv.ParseInt: parsing \"2147483648\": value out of range".to_owned()
            ))
        );
        assert_eq!(binder.int64("a"), Ok(2_147_483_648));
        assert_eq!(
            binder.int64("b"),
            Err(BindError(
                "strconv.ParseInt: parsing \"99999999999999999999\": value out of range".to_owned()
            ))
        );
        assert_eq!(
            binder.int64s("mids"),
            Err(BindError(
                "strconv.ParseInt: parsing \"1,2\": invalid syntax".to_owned()
            ))
        );
    }

    #[test]
    fn missing_fields_are_joined_in_order() {
        let mut binder = Binder::new("");
        binder.require("Op", false);
        binder.require("Type", true);
        binder.require("Room", false);

        assert_eq!(
            binder.finish(),
            Err(BindError(
                "Key: 'Op' Error:Field validation for 'Op' failed on the 'required' tag\n\
                 Key: 'Room' Error:Field validation for 'Room' failed on the 'required' tag"
                    .to_owned()
            ))
        );
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut query = String::from("x=1&a=");
            for byte in &value {
                let _ = write!(query, "%{byte:02x}");
            }

            prop_assert_eq!(&*Binder::new(&query).text("a"), &value[..]);
        }

        #[test]
        fn no_query_is_too_strange(query in ".{0,80}") {
            let binder = Binder::new(&query);

            let _ = (binder.text("a"), binder.texts("a"), binder.int32("a"), binder.int64s("a"));
        }
    }
}
