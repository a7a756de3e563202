//! Secrets that stand in the configuration itself.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list of secrets: written as a list, or as one text with commas between
/// them. Shown, it tells only how many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// What is shown in place of each. Everyone knows it, so it is refused as a
    /// secret.
    pub const HIDDEN: &'static str = "(hidden)";

    /// The secrets in the order given.
    pub fn iter(&self) -> std::slice::Iter<'_, String> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extend<String> for Secrets {
    fn extend<I: IntoIterator<Item = String>>(&mut self, secrets: I) {
        self.0
            .extend(secrets.into_iter().filter(|secret| !secret.is_empty()));
    }
}

impl<'a> IntoIterator for &'a Secrets {
    type Item = &'a String;
    type IntoIter = std::slice::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|_| Self::HIDDEN))
            .finish()
    }
}

impl Serialize for Secrets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|_| Self::HIDDEN))
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretsVisitor;

        impl<'de> Visitor<'de> for SecretsVisitor {
            type Value = Secrets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of secrets")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secrets, E> {
                let mut secrets = Secrets::default();
                secrets.extend(text.split(',').map(|secret| secret.trim().to_owned()));
                Ok(secrets)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Secrets, A::Error> {
                let mut secrets = Secrets::default();
                while let Some(secret) = list.next_element()? {
                    secrets.extend([secret]);
                }
                Ok(secrets)
            }
        }

        let secrets = deserializer.deserialize_any(SecretsVisitor)?;
        if secrets.iter().any(|secret| secret == Self::HIDDEN) {
            return Err(de::Error::custom(format_args!(
                "{:?} is what print-config shows in place of a secret: give the secret itself",
                Self::HIDDEN
            )));
        }
        Ok(secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Secrets {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_list_and_a_text_with_commas_are_the_same() {
        assert_eq!(parse(r#"["a","b"]"#), parse(r#""a, b""#));
        assert!(parse(r#""""#).is_empty());
        assert!(parse("[]").is_empty());
    }

    #[test]
    fn secrets_are_not_shown() {
        let secrets = parse(r#"["visible"]"#);

        assert_eq!(format!("{secrets:?}"), r#"["(hidden)"]"#);
        assert_eq!(serde_json::to_string(&secrets).unwrap(), r#"["(hidden)"]"#);
    }

    #[test]
    fn what_is_shown_in_place_of_a_secret_is_none() {
        for shown in [r#"["(hidden)"]"#, r#""own, (hidden)""#] {
            let refused = serde_json::from_str::<Secrets>(shown).unwrap_err();
            let text = refused.to_string();
            assert!(text.contains("give the secret itself"), "{text}");
        }
    }
}
