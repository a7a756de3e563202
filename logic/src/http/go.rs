//! The few rules of Go's standard library that show in goim's answers.

use std::fmt::Write as _;

/// Why Go's `strconv.ParseInt` refuses a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParseIntError {
    Syntax,
    Range,
}

impl ParseIntError {
    /// Go's text.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Syntax => "invalid syntax",
            Self::Range => "value out of range",
        }
    }
}

/// Parses a decimal number of `bits` (32 or 64) as `strconv.ParseInt` does:
/// a number already too large for the unsigned range is out of range even when
/// what follows is no digit.
pub(crate) fn parse_int(input: &[u8], bits: u32) -> Result<i64, ParseIntError> {
    let (is_negative, digits) = match input.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, input),
    };
    if digits.is_empty() {
        return Err(ParseIntError::Syntax);
    }
    let unsigned_max = (1_u128 << bits) - 1;
    let mut number: u128 = 0;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return Err(ParseIntError::Syntax);
        }
        number = number * 10 + u128::from(byte - b'0');
        if number > unsigned_max {
            return Err(ParseIntError::Range);
        }
    }
    let limit = 1_u128 << (bits - 1);
    let magnitude = i128::try_from(number).map_err(|_| ParseIntError::Range)?;
    if is_negative && number <= limit {
        i64::try_from(-magnitude).map_err(|_| ParseIntError::Range)
    } else if !is_negative && number < limit {
        i64::try_from(magnitude).map_err(|_| ParseIntError::Range)
    } else {
        Err(ParseIntError::Range)
    }
}

/// Appends `input` as `strconv.Quote` writes it.
pub(crate) fn quote(output: &mut String, input: &[u8]) {
    output.push('"');
    for chunk in input.utf8_chunks() {
        for character in chunk.valid().chars() {
            quote_char(output, character);
        }
        for byte in chunk.invalid() {
            let _ = write!(output, "\\x{byte:02x}");
        }
    }
    output.push('"');
}

fn quote_char(output: &mut String, character: char) {
    match character {
        '"' => output.push_str("\\\""),
        '\\' => output.push_str("\\\\"),
        '\x07' => output.push_str("\\a"),
        '\x08' => output.push_str("\\b"),
        '\x0c' => output.push_str("\\f"),
        '\n' => output.push_str("\\n"),
        '\r' => output.push_str("\\r"),
        '\t' => output.push_str("\\t"),
        '\x0b' => output.push_str("\\v"),
        _ if is_printable(character) => output.push(character),
        _ => {
            let code = u32::from(character);
            let _ = match code {
                0..=0x7f => write!(output, "\\x{code:02x}"),
                0x80..=0xffff => write!(output, "\\u{code:04x}"),
                _ => write!(output, "\\U{code:08x}"),
            };
        }
    }
}

/// Nearly Go's `strconv.IsPrint`: the tables of two Unicode versions may differ
/// in a rare character.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return (' '..='~').contains(&character);
    }
    character.is_alphanumeric() || !character.escape_debug().to_string().starts_with("\\u")
}

/// Appends `input` as a JSON string as `encoding/json` writes it: what could
/// end a script or a line inside HTML is escaped.
pub(crate) fn json_string(output: &mut String, input: &str) {
    output.push('"');
    let mut plain = 0;
    for (at, character) in input.char_indices() {
        let escape = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\x00'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => "",
            _ => continue,
        };
        output.push_str(&input[plain..at]);
        plain = at + character.len_utf8();
        if escape.is_empty() {
            let _ = write!(output, "\\u{:04x}", u32::from(character));
        } else {
            output.push_str(escape);
        }
    }
    output.push_str(&input[plain..]);
    output.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(input: &[u8]) -> String {
        let mut output = String::new();
        quote(&mut output, input);
        output
    }

    fn json(input: &str) -> String {
        let mut output = String::new();
        json_string(&mut output, input);
        output
    }

    #[test]
    fn numbers_parse_up_to_their_limits() {
        assert_eq!(parse_int(b"2147483647", 32), Ok(2_147_483_647));
        assert_eq!(parse_int(b"-2147483648", 32), Ok(-2_147_483_648));
        assert_eq!(parse_int(b"2147483648", 32), Err(ParseIntError::Range));
        assert_eq!(parse_int(b"-2147483649", 32), Err(ParseIntError::Range));
        assert_eq!(parse_int(b"-9223372036854775808", 64), Ok(i64::MIN));
        assert_eq!(
            parse_int(b"-9223372036854775809", 64),
            Err(ParseIntError::Range)
        );
    }

    #[test]
    fn range_is_noticed_before_syntax() {
        assert_eq!(parse_int(b"4294967296x", 32), Err(ParseIntError::Range));
        assert_eq!(parse_int(b"4294967295x", 32), Err(ParseIntError::Syntax));
    }

    #[test]
    fn only_digits_make_a_number() {
        for input in ["", "-", "+", "1_000", "0x1", " 1", "1 ", "--1", "1.0"] {
            assert_eq!(
                parse_int(input.as_bytes(), 64),
                Err(ParseIntError::Syntax),
                "{input:?}"
            );
        }
    }

    #[test]
    fn quotes_are_those_of_go() {
        assert_eq!(quoted(b"abc"), r#""abc""#);
        assert_eq!(quoted(b"a\"\\\n\x07\x00\x7f"), r#""a\"\\\n\a\x00\x7f""#);
        assert_eq!(
            quoted("h\u{e9}\u{65e5}\u{1f600}".as_bytes()),
            "\"h\u{e9}\u{65e5}\u{1f600}\""
        );
        assert_eq!(quoted(b"\xff\xfe"), r#""\xff\xfe""#);
        assert_eq!(quoted("\u{200b}\u{a0}".as_bytes()), r#""\u200b\u00a0""#);
    }

    #[test]
    fn json_is_safe_inside_html() {
        assert_eq!(json("a<b>&c"), r#""a\u003cb\u003e\u0026c""#);
        assert_eq!(json("\u{2028}\x01\n\"\\"), r#""\u2028\u0001\n\"\\""#);
        assert_eq!(json("\u{e9}\x7f"), "\"\u{e9}\x7f\"");
    }

    proptest! {
        #[test]
        fn json_reads_back(input in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&json(&input)).unwrap(), input);
        }

        #[test]
        fn numbers_agree_with_rust(input in "[-+]?[0-9]{1,21}") {
            prop_assert_eq!(parse_int(input.as_bytes(), 64).ok(), input.parse::<i64>().ok());
            prop_assert_eq!(
                parse_int(input.as_bytes(), 32).ok(),
                input.parse::<i32>().ok().map(i64::from)
            );
        }
    }
}
