//! UTF-8 as it arrives: a mistake is found at the byte where it becomes one.

/// Where in a character the text stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Utf8 {
    /// Continuation bytes still to come.
    missing: u8,
    /// Bounds of the next one.
    low: u8,
    high: u8,
}

/// Not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

const CONTINUATION_MIN: u8 = 0x80;
const CONTINUATION_MAX: u8 = 0xbf;

impl Utf8 {
    pub(super) const START: Self = Self::expecting(0, CONTINUATION_MIN, CONTINUATION_MAX);

    const fn expecting(missing: u8, low: u8, high: u8) -> Self {
        Self { missing, low, high }
    }

    pub(super) fn feed(&mut self, bytes: impl IntoIterator<Item = u8>) -> Result<(), Invalid> {
        for byte in bytes {
            *self = self.after(byte)?;
        }
        Ok(())
    }

    /// Whether the text may end here.
    pub(super) fn is_boundary(self) -> bool {
        self.missing == 0
    }

    fn after(self, byte: u8) -> Result<Self, Invalid> {
        const MIN: u8 = CONTINUATION_MIN;
        const MAX: u8 = CONTINUATION_MAX;
        if self.missing > 0 {
            return if (self.low..=self.high).contains(&byte) {
                Ok(Self::expecting(self.missing - 1, MIN, MAX))
            } else {
                Err(Invalid)
            };
        }
        // The second byte's bounds leave out overlong forms, surrogates and what
        // lies above U+10FFFF.
        match byte {
            0x00..=0x7f => Ok(Self::START),
            0xc2..=0xdf => Ok(Self::expecting(1, MIN, MAX)),
            0xe0 => Ok(Self::expecting(2, 0xa0, MAX)),
            0xed => Ok(Self::expecting(2, MIN, 0x9f)),
            0xe1..=0xef => Ok(Self::expecting(2, MIN, MAX)),
            0xf0 => Ok(Self::expecting(3, 0x90, MAX)),
            0xf1..=0xf3 => Ok(Self::expecting(3, MIN, MAX)),
            0xf4 => Ok(Self::expecting(3, MIN, 0x8f)),
            0x80..=0xc1 | 0xf5..=0xff => Err(Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_text(bytes: &[u8]) -> bool {
        let mut utf8 = Utf8::START;
        utf8.feed(bytes.iter().copied()).is_ok() && utf8.is_boundary()
    }

    #[test]
    fn every_character_is_text() {
        for character in (0..=0x0010_ffff).filter_map(char::from_u32) {
            let mut bytes = [0; 4];
            assert!(
                is_text(character.encode_utf8(&mut bytes).as_bytes()),
                "{character:?}"
            );
        }
    }

    #[test]
    fn agrees_with_the_standard_library_on_every_three_bytes() {
        // Leading bytes and bounds of continuation bytes, and their neighbours.
        const EDGES: [u8; 26] = [
            0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0,
            0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff,
        ];
        for a in EDGES {
            for b in EDGES {
                for c in EDGES {
                    for d in EDGES {
                        let bytes = [a, b, c, d];
                        assert_eq!(
                            is_text(&bytes),
                            std::str::from_utf8(&bytes).is_ok(),
                            "{bytes:x?}"
                        );
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(bytes: Vec<u8>) {
            prop_assert_eq!(is_text(&bytes), std::str::from_utf8(&bytes).is_ok());
        }

        #[test]
        fn fails_no_later_than_the_standard_library(bytes: Vec<u8>) {
            let mut utf8 = Utf8::START;
            let fed = bytes.iter().position(|byte| utf8.feed([*byte]).is_err());
            // error_len is None where more bytes could still make it text.
            let known = std::str::from_utf8(&bytes).err().filter(|error| error.error_len().is_some());
            prop_assert_eq!(fed.is_some(), known.is_some());
            if let (Some(fed), Some(error)) = (fed, known) {
                prop_assert!(fed >= error.valid_up_to());
                prop_assert!(fed <= error.valid_up_to() + error.error_len().unwrap_or(0));
            }
        }
    }
}
