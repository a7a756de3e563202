use std::time::Duration;

use halley_backend::backoff::Backoff;
use serde::{Deserialize, Serialize};

mod check;

pub use check::ConfigError;

/// Limits of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Lanes of each comet that is delivered to by calls: calls to it that may
    /// be under way at a time, besides one for everyone.
    pub lanes: u32,
    /// Parts of records that wait in one lane, of a comet in this process.
    pub lane_parts_max: usize,
    /// Parts of records that wait for one comet in another process. With those in
    /// flight it is what a comet that hangs may keep from being acknowledged: a
    /// log that bounds what is under way must allow for more, or it stops.
    pub link_parts_max: usize,
    /// Bytes of messages in them.
    pub link_bytes_max: usize,
    /// How long a full queue may keep the log from being read while there are
    /// other comets; what comes for it later and finds no room, until it was less
    /// than half full, is dropped. That of an only comet may do so until the push's
    /// deadline, but not with broadcasts to a comet in this process.
    #[serde(with = "humantime_serde")]
    pub queue_wait: Duration,
    /// Messages of one call or item.
    pub merge_messages_max: usize,
    /// Bytes of packets after which a call or item takes no further message.
    pub merge_bytes_max: usize,
    /// Keys of one call to a comet in this process.
    pub keys_per_call_max: usize,
    /// Keys of one call to a comet that does not know the stream. A goim comet
    /// that fails to push to one key leaves out those after it: 1 keeps what was
    /// already pushed from being pushed again.
    pub goim_keys_per_call_max: usize,
    /// The longest that room messages wait for others to merge with, where a
    /// comet is delivered to by calls.
    #[serde(with = "humantime_serde")]
    pub window_max: Duration,
    /// The longest that pushes to a comet that has not reported all earlier ones
    /// wait for others to go with, where it is delivered to by a stream.
    #[serde(with = "humantime_serde")]
    pub stream_window_max: Duration,
    /// Parts of records that were sent to one comet over its stream, and that it
    /// has not reported. Where it is called, its lanes share as much.
    pub in_flight_parts_max: usize,
    /// Bytes of them; the comet may ask for less.
    pub in_flight_bytes_max: usize,
    /// Rooms that are remembered of one comet; one that holds more gets the
    /// messages of all rooms.
    pub rooms_known_max: usize,
    /// Age in which a push must be delivered; later it is expired.
    #[serde(with = "humantime_serde")]
    pub push_deadline: Duration,
    /// Time for a comet to answer a call, to open a stream, or to report
    /// something new on it.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// Pauses before a failed call is repeated.
    pub retry: Backoff,
    /// Pauses before a stream to a comet is opened again.
    pub reconnect: Backoff,
    /// How often a comet that did not know the stream is asked for it again.
    #[serde(with = "humantime_serde")]
    pub stream_retry: Duration,
    /// How long pushes to a server that no known comet is called wait for one:
    /// the registry may be behind.
    #[serde(with = "humantime_serde")]
    pub unknown_server_grace: Duration,
    /// Parts of records that wait for such servers.
    pub unknown_server_parts_max: usize,
    /// How long a comet that has left the registry without being drained is
    /// still delivered to: it may only be slow.
    #[serde(with = "humantime_serde")]
    pub absent_grace: Duration,
    /// Pauses before a failed subscription to the log is repeated.
    pub subscribe_retry: Backoff,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lanes: 8,
            lane_parts_max: 4096,
            link_parts_max: 8192,
            link_bytes_max: 4 << 20,
            queue_wait: Duration::from_secs(1),
            merge_messages_max: 512,
            merge_bytes_max: 256 << 10,
            keys_per_call_max: 256,
            goim_keys_per_call_max: 1,
            window_max: Duration::from_millis(10),
            stream_window_max: Duration::from_millis(1),
            in_flight_parts_max: 4096,
            in_flight_bytes_max: 2 << 20,
            rooms_known_max: 1_000_000,
            push_deadline: Duration::from_secs(30),
            call_timeout: Duration::from_secs(5),
            retry: Backoff::default(),
            reconnect: Backoff::default(),
            stream_retry: Duration::from_secs(10),
            unknown_server_grace: Duration::from_secs(5),
            unknown_server_parts_max: 4096,
            absent_grace: Duration::from_secs(30),
            subscribe_retry: Backoff::default(),
        }
    }
}
