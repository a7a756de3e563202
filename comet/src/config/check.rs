//! What the types of the keys cannot say.

use std::time::Duration;

use super::{Config, Delivery, Limits, LogicCalls, Rpc};

/// A value with which a comet could not serve; the operator must change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("comet.{key} {problem}")]
pub struct ConfigError {
    key: &'static str,
    problem: &'static str,
}

impl Config {
    /// Checks that no limit and no interval is nothing where that would stop
    /// the node.
    ///
    /// # Errors
    ///
    /// With the first key whose value cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        require(self.weight >= 0, "weight", "must be 0 or more")?;
        self.limits.check()?;
        self.delivery.check()?;
        self.rpc.check()?;
        self.logic.check()?;
        all_positive([
            ("socket.backlog", self.socket.backlog as usize),
            ("broadcast.queue_max", self.broadcast.queue_max),
            ("broadcast.paced_max", self.broadcast.paced_max),
            (
                "drain.connections_per_second",
                self.drain.connections_per_second,
            ),
        ])?;
        all_lasting([
            ("tls.reload_interval", self.tls.reload_interval),
            ("handshake.timeout", self.handshake.timeout),
        ])?;
        require(
            self.drain.reconnect_min <= self.drain.reconnect_max,
            "drain.reconnect_min",
            "must not be longer than comet.drain.reconnect_max",
        )
    }
}

impl Limits {
    fn check(&self) -> Result<(), ConfigError> {
        all_positive([
            ("limits.handshakes_max", self.handshakes_max),
            ("limits.body_bytes_max", self.body_bytes_max),
            ("limits.upgrade_bytes_max", self.upgrade_bytes_max),
            ("limits.fragments_max", self.fragments_max),
            ("limits.accepts_max", self.accepts_max),
            ("limits.room_name_bytes_max", self.room_name_bytes_max),
        ])
    }
}

impl Delivery {
    fn check(&self) -> Result<(), ConfigError> {
        all_positive([
            ("delivery.buckets", self.buckets),
            ("delivery.ring_bytes_max", self.ring_bytes_max),
            ("delivery.ring_frames_max", self.ring_frames_max),
            ("delivery.outbox_frames_max", self.outbox_frames_max),
            ("delivery.outbox_bytes_max", self.outbox_bytes_max),
            ("delivery.streams_max", self.streams_max),
            ("delivery.sessions_max", self.sessions_max),
            ("delivery.items_max", self.items_max),
            ("delivery.window_bytes", self.window_bytes),
            ("delivery.room_changes_max", self.room_changes_max),
        ])?;
        all_lasting([
            ("delivery.write_deadline", self.write_deadline),
            ("delivery.rooms_ack_timeout", self.rooms_ack_timeout),
        ])
    }
}

impl Rpc {
    fn check(&self) -> Result<(), ConfigError> {
        all_positive([
            ("rpc.message_bytes_max", self.message_bytes_max),
            ("rpc.streams_max", self.streams_max as usize),
        ])?;
        all_lasting([
            ("rpc.keepalive_interval", self.keepalive_interval),
            ("rpc.keepalive_timeout", self.keepalive_timeout),
        ])
    }
}

impl LogicCalls {
    fn check(&self) -> Result<(), ConfigError> {
        all_positive([
            ("logic.in_flight_max", self.in_flight_max),
            (
                "logic.reregister_per_second",
                self.reregister_per_second as usize,
            ),
        ])?;
        all_lasting([
            ("logic.deadline", self.deadline),
            ("logic.renew_interval", self.renew_interval),
            ("logic.online_interval", self.online_interval),
        ])
    }
}

fn all_positive<const N: usize>(keys: [(&'static str, usize); N]) -> Result<(), ConfigError> {
    keys.into_iter()
        .try_for_each(|(key, value)| require(value > 0, key, "must be above 0"))
}

fn all_lasting<const N: usize>(keys: [(&'static str, Duration); N]) -> Result<(), ConfigError> {
    keys.into_iter()
        .try_for_each(|(key, value)| require(!value.is_zero(), key, "must be longer than nothing"))
}

fn require(is_met: bool, key: &'static str, problem: &'static str) -> Result<(), ConfigError> {
    if is_met {
        Ok(())
    } else {
        Err(ConfigError { key, problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        Config::default().check().unwrap();
    }

    #[test]
    fn what_would_refuse_every_client_is_named() {
        assert_eq!(
            problem(|config| config.limits.handshakes_max = 0),
            "comet.limits.handshakes_max must be above 0"
        );
        assert_eq!(
            problem(|config| config.handshake.timeout = Duration::ZERO),
            "comet.handshake.timeout must be longer than nothing"
        );
        assert_eq!(
            problem(|config| config.drain.reconnect_min = Duration::from_mins(1)),
            "comet.drain.reconnect_min must not be longer than comet.drain.reconnect_max"
        );
    }

    #[test]
    fn what_may_be_nothing_is_let_pass() {
        let mut config = Config::default();
        config.limits.packets_before_auth_max = 0;
        config.delivery.window_max = Duration::ZERO;
        config.broadcast.wait = Duration::ZERO;
        config.drain.notice = Duration::ZERO;

        config.check().unwrap();
    }
}
