use std::time::Duration;

use halley_backend::backoff::Backoff;
use serde::{Deserialize, Serialize};

/// Limits of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Lanes of each comet: calls to it that may be under way at a time.
    pub lanes: u32,
    /// Parts of records that wait in one lane.
    pub lane_parts_max: usize,
    /// How long a full lane may keep the log from being read while there are
    /// other comets; what comes for it later, while it stays full, is dropped.
    /// The lanes of an only comet may do so until the push's deadline.
    #[serde(with = "humantime_serde")]
    pub lane_wait: Duration,
    /// Messages of one call.
    pub merge_messages_max: usize,
    /// Bytes of packets after which a call takes no further message.
    pub merge_bytes_max: usize,
    /// Keys of one call. A goim comet that fails to push to one key leaves out
    /// those after it: towards such comets 1 keeps what was already pushed
    /// from being pushed again.
    pub keys_per_call_max: usize,
    /// The longest that room messages wait for others to merge with.
    #[serde(with = "humantime_serde")]
    pub window_max: Duration,
    /// Age in which a push must be delivered; later it is expired.
    #[serde(with = "humantime_serde")]
    pub push_deadline: Duration,
    /// Time for a comet to answer a call.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// Pauses before a failed call is repeated.
    pub retry: Backoff,
    /// Pauses before a failed subscription to the log is repeated.
    pub subscribe_retry: Backoff,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lanes: 8,
            lane_parts_max: 4096,
            lane_wait: Duration::from_secs(1),
            merge_messages_max: 512,
            merge_bytes_max: 256 << 10,
            keys_per_call_max: 256,
            window_max: Duration::from_millis(10),
            push_deadline: Duration::from_secs(30),
            call_timeout: Duration::from_secs(5),
            retry: Backoff::default(),
            subscribe_retry: Backoff::default(),
        }
    }
}
