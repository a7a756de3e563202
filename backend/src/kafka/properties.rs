//! librdkafka's properties, as an operator writes them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const HIDDEN: &str = "(hidden)";
/// Parts of the names of properties whose values are secrets.
const SECRET: [&str; 6] = [
    "credential",
    "key.pem",
    "password",
    "secret",
    "sasl.jaas",
    "oauthbearer.config",
];

/// Names with their values. A name may be written as it is, or as the tables
/// that its dots make of it in TOML. Shown, values that are secrets are hidden.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The names.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        let shown = |(key, value)| (key, if is_secret(key) { HIDDEN } else { value });
        self.iter().map(shown)
    }
}

fn is_secret(key: &str) -> bool {
    SECRET.iter().any(|part| key.contains(part))
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(properties: I) -> Self {
        let owned = |(key, value): (K, V)| (key.into(), value.into());
        Self(properties.into_iter().map(owned).collect())
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.shown())
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut properties = BTreeMap::new();
        match Node::deserialize(deserializer)? {
            Node::Value(_) => return Err(de::Error::custom("expected a table of properties")),
            Node::Table(table) => flatten("", table, &mut properties),
        }
        let hidden = properties
            .iter()
            .find(|(key, value)| is_secret(key) && *value == HIDDEN);
        if let Some((key, _)) = hidden {
            return Err(de::Error::custom(format_args!(
                "{HIDDEN:?} is what is shown in place of {key}: give the secret itself"
            )));
        }
        Ok(Self(properties))
    }
}

enum Node {
    Value(String),
    Table(Vec<(String, Node)>),
}

fn flatten(prefix: &str, table: Vec<(String, Node)>, into: &mut BTreeMap<String, String>) {
    for (key, node) in table {
        let key = match prefix {
            "" => key,
            prefix => format!("{prefix}.{key}"),
        };
        match node {
            Node::Value(value) => {
                into.insert(key, value);
            }
            Node::Table(table) => flatten(&key, table, into),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true, false or a table of these")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Value(value.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Value(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut table = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    table.push(entry);
                }
                Ok(Node::Table(table))
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Properties {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_name_may_be_written_as_tables() {
        let flat = parse(r#"{"sasl.username": "halley", "socket.timeout.ms": 1000}"#);
        let nested =
            parse(r#"{"sasl": {"username": "halley"}, "socket": {"timeout": {"ms": 1000}}}"#);

        assert_eq!(flat, nested);
        assert_eq!(flat, parse(&serde_json::to_string(&flat).unwrap()));
    }

    #[test]
    fn what_is_shown_in_place_of_a_secret_is_none() {
        let read =
            |key: &str| serde_json::from_str::<Properties>(&format!(r#"{{"{key}": "(hidden)"}}"#));

        assert!(read("sasl.username").is_ok());
        let error = read("sasl.password").unwrap_err().to_string();
        assert!(error.contains("give the secret itself"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let secrets = [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.password",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.client.credentials.client.secret",
            "sasl.oauthbearer.config",
        ];
        let properties: Properties = secrets.iter().map(|key| (*key, "visible")).collect();

        for shown in [
            format!("{properties:?}"),
            serde_json::to_string(&properties).unwrap(),
        ] {
            assert!(!shown.contains("visible"), "{shown}");
        }
    }
}
