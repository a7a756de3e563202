//! What the types of the keys cannot say.

use super::Config;

/// A value with which a job could not deliver; the operator must change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job.{key} {problem}")]
pub struct ConfigError {
    key: &'static str,
    problem: &'static str,
}

impl Config {
    /// Checks that no limit and no deadline is nothing.
    ///
    /// # Errors
    ///
    /// With the first key whose value cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let limits = [
            ("lanes", self.lanes as usize),
            ("lane_parts_max", self.lane_parts_max),
            ("link_parts_max", self.link_parts_max),
            ("link_bytes_max", self.link_bytes_max),
            ("merge_messages_max", self.merge_messages_max),
            ("merge_bytes_max", self.merge_bytes_max),
            ("keys_per_call_max", self.keys_per_call_max),
            ("goim_keys_per_call_max", self.goim_keys_per_call_max),
            ("in_flight_parts_max", self.in_flight_parts_max),
            ("in_flight_bytes_max", self.in_flight_bytes_max),
            ("rooms_known_max", self.rooms_known_max),
            ("unknown_server_parts_max", self.unknown_server_parts_max),
        ];
        let times = [
            ("push_deadline", self.push_deadline),
            ("call_timeout", self.call_timeout),
            ("stream_retry", self.stream_retry),
        ];
        if let Some((key, _)) = limits.into_iter().find(|(_, limit)| *limit == 0) {
            let problem = "must be above 0";
            return Err(ConfigError { key, problem });
        }
        if let Some((key, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            let problem = "must be longer than nothing";
            return Err(ConfigError { key, problem });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Config::default().check().unwrap();
    }

    #[test]
    fn what_would_stop_every_delivery_is_named() {
        let lanes = Config {
            lanes: 0,
            ..Config::default()
        };
        assert_eq!(
            lanes.check().unwrap_err().to_string(),
            "job.lanes must be above 0"
        );

        let deadline = Config {
            push_deadline: Duration::ZERO,
            ..Config::default()
        };
        assert_eq!(
            deadline.check().unwrap_err().to_string(),
            "job.push_deadline must be longer than nothing"
        );
    }

    #[test]
    fn what_may_be_nothing_is_let_pass() {
        let config = Config {
            queue_wait: Duration::ZERO,
            window_max: Duration::ZERO,
            stream_window_max: Duration::ZERO,
            unknown_server_grace: Duration::ZERO,
            absent_grace: Duration::ZERO,
            ..Config::default()
        };

        config.check().unwrap();
    }
}
