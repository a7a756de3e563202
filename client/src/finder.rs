//! Which server to try next.

use std::time::Duration;

use rand::seq::SliceRandom;
use tracing::debug;

use crate::backoff::Backoff;
use crate::endpoint::Endpoint;
use crate::nodes::{NodeList, NodesError};
use crate::options::{Options, Servers};

/// What goim's own clients use when nobody advises them.
const HEARTBEAT_DEFAULT: Duration = Duration::from_mins(4);

/// Hands out one server per attempt and remembers logic's last advice.
pub(crate) struct Finder {
    candidates: Vec<Endpoint>,
    next: usize,
    /// The server that asked the client to leave; passed over while there is another.
    avoid: Option<Endpoint>,
    advice: NodeList,
}

impl Finder {
    pub(crate) fn new(servers: &Servers) -> Self {
        let mut candidates = match servers {
            Servers::Fixed(endpoints) => endpoints.clone(),
            Servers::Nodes { .. } => Vec::new(),
        };
        candidates.shuffle(&mut rand::rng());
        Self {
            candidates,
            next: 0,
            avoid: None,
            advice: NodeList::default(),
        }
    }

    /// The server of the next attempt; `None` when the list is empty.
    ///
    /// A node list that cannot be fetched is an error only while there is no earlier one.
    pub(crate) async fn find(
        &mut self,
        servers: &Servers,
        timeout: Duration,
    ) -> Result<Option<Endpoint>, NodesError> {
        if let Servers::Nodes {
            base_url,
            transport,
            platform,
        } = servers
        {
            match NodeList::fetch(base_url, platform, timeout).await {
                Ok(list) => {
                    let candidates = list.endpoints(*transport);
                    // The order is logic's choice, so a fresh list starts over; a list that did not change goes on,
                    // so that a dead first node does not keep the others from being tried.
                    if candidates != self.candidates {
                        self.candidates = candidates;
                        self.next = 0;
                    }
                    self.advice = list;
                }
                Err(error) if self.candidates.is_empty() => return Err(error),
                Err(error) => debug!(%error, "keep the old node list"),
            }
        }
        Ok(self.pick())
    }

    /// Passes over this server in the next attempts.
    pub(crate) fn avoid(&mut self, endpoint: Endpoint) {
        self.avoid = Some(endpoint);
    }

    /// A login succeeded: stay with this server's turn on the next loss, and forgive the one that sent us away.
    pub(crate) fn settled(&mut self) {
        self.avoid = None;
    }

    pub(crate) fn backoff(&self, options: &Options) -> Backoff {
        options.backoff.or(self.advice.backoff).unwrap_or_default()
    }

    pub(crate) fn heartbeat(&self, options: &Options) -> Duration {
        let advised = match self.advice.heartbeat {
            0 => HEARTBEAT_DEFAULT,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        options
            .heartbeat
            .unwrap_or(advised)
            .max(Duration::from_millis(10))
    }

    fn pick(&mut self) -> Option<Endpoint> {
        for _ in 0..self.candidates.len() {
            let candidate = self.candidates[self.next % self.candidates.len()].clone();
            self.next = (self.next + 1) % self.candidates.len();
            if self.avoid.as_ref() != Some(&candidate) {
                return Some(candidate);
            }
        }
        self.candidates.first().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(texts: &[&str]) -> Finder {
        Finder::new(&Servers::Fixed(
            texts.iter().map(|text| text.parse().unwrap()).collect(),
        ))
    }

    #[test]
    fn takes_turns() {
        let mut finder = finder(&["tcp://a", "tcp://b", "tcp://c"]);
        let mut first: Vec<_> = (0..3).map(|_| finder.pick().unwrap().to_string()).collect();
        let again: Vec<_> = (0..3).map(|_| finder.pick().unwrap().to_string()).collect();
        assert_eq!(first, again);
        first.sort();
        assert_eq!(first, ["tcp://a:3101", "tcp://b:3101", "tcp://c:3101"]);
    }

    #[test]
    fn avoids_a_leaving_server_unless_it_is_the_only_one() {
        let mut pair = finder(&["tcp://a", "tcp://b"]);
        pair.avoid("tcp://a".parse().unwrap());
        for _ in 0..4 {
            assert_eq!(pair.pick().unwrap().host(), "b");
        }
        let mut single = finder(&["tcp://a"]);
        single.avoid("tcp://a".parse().unwrap());
        assert_eq!(single.pick().unwrap().host(), "a");
        assert_eq!(finder(&[]).pick(), None);
    }
}
