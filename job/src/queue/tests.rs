use halley_proto::goim::logic::PushMsg;

use super::*;
use crate::testing::{metrics, part};

#[tokio::test]
async fn what_is_taken_out_fits_or_is_one_part() {
    let metrics = metrics();
    let bounds = Bounds {
        parts_max: 10,
        bytes_max: 1000,
    };
    let (inlet, outlet) = queue("comet-1".into(), bounds, Gauge::default());
    for _ in 0..6 {
        let msg = PushMsg {
            msg: vec![0; 10].into(),
            ..PushMsg::default()
        };
        let part = part(msg, Target::Room, &metrics);
        assert!(inlet.queue().offer(part).is_ok());
    }

    let take = |parts, bytes| outlet.take_within(parts, bytes).len();

    assert_eq!(take(10, 25), 2);
    assert_eq!(take(1, 25), 1);
    assert_eq!(take(10, 5), 1, "however large it is");
    assert_eq!(take(10, 20), 2);
    assert_eq!(take(10, 20), 0);
}
