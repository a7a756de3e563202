//! Who may call, and from where.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::{constant_time, digest};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::nodes::Network;

const FORWARDED_FOR: &str = "x-forwarded-for";
const SCHEME: &str = "bearer ";

/// The bearer keys that open a part of the API; none means open to all.
pub(super) struct Keys(Vec<digest::Digest>);

impl Keys {
    pub(super) fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(keys.into_iter().map(digest_of).collect())
    }

    /// Whether the request carries one of the keys.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let Some(key) = bearer(headers) else {
            return false;
        };
        // Digests have one length, and every key is compared in full, so that
        // the time taken tells nothing about the keys.
        let given = digest_of(key);
        self.0.iter().fold(false, |found, key| {
            found | constant_time::verify_slices_are_equal(key.as_ref(), given.as_ref()).is_ok()
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// The address of the client: the peer's, unless the peer is a trusted proxy;
/// then the last address that no trusted proxy added.
pub(super) fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[Network]) -> IpAddr {
    let mut client = peer.to_canonical();
    let is_trusted = |address| trusted_proxies.iter().any(|proxy| proxy.contains(address));
    let forwarded = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .rev()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','));
    for address in forwarded {
        if !is_trusted(client) {
            break;
        }
        let Ok(address) = address.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
    }
    client
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(key.trim())
}

fn digest_of(key: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(keys: &[&str], authorization: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        Keys::new(keys.iter().copied()).admit(&headers)
    }

    fn ip_of(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted: Vec<Network> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        client_ip(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn no_keys_admit_everyone() {
        assert!(admits(&[], None));
    }

    #[test]
    fn any_of_the_keys_is_admitted() {
        assert!(admits(&["one", "two"], Some("Bearer two")));
        assert!(admits(&["one", "two"], Some("bearer one")));
    }

    #[test]
    fn everything_else_is_refused() {
        for value in [
            None,
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer on"),
            Some("Basic one"),
            Some("one"),
        ] {
            assert!(!admits(&["one"], value), "{value:?}");
        }
    }

    #[test]
    fn a_forwarded_address_is_believed_from_trusted_proxies_only() {
        assert_eq!(ip_of("9.9.9.9", &["1.1.1.1"], &[]), "9.9.9.9");
        assert_eq!(ip_of("9.9.9.9", &["1.1.1.1"], &["10.0.0.0/8"]), "9.9.9.9");
        assert_eq!(ip_of("10.0.0.1", &["1.1.1.1"], &["10.0.0.0/8"]), "1.1.1.1");
    }

    #[test]
    fn what_clients_put_in_front_is_not_believed() {
        assert_eq!(
            ip_of("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], &["10.0.0.0/8"]),
            "1.1.1.1"
        );
        assert_eq!(
            ip_of("10.0.0.1", &["6.6.6.6", "1.1.1.1"], &["10.0.0.0/8"]),
            "1.1.1.1"
        );
        assert_eq!(
            ip_of("10.0.0.1", &["6.6.6.6, nonsense"], &["10.0.0.0/8"]),
            "10.0.0.1"
        );
    }

    #[test]
    fn mapped_peers_are_ipv4() {
        assert_eq!(ip_of("::ffff:9.9.9.9", &[], &[]), "9.9.9.9");
    }
}
