//! What a job sends equals, byte for byte, what goim's sends.

use std::time::Duration;

use halley_job::Config;
use prost::Message;
use serde_json::Value;

use super::support::{Answer, Asked, FakeComet, start, to_everyone, to_keys, to_room};

fn vector(name: &str) -> Vec<u8> {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../../../wire/tests/goim-vectors.json")).unwrap();
    let vector = vectors.iter().find(|vector| vector["name"] == name);
    hex::decode(vector.unwrap()["hex"].as_str().unwrap()).unwrap()
}

fn bytes(asked: &Asked) -> Vec<u8> {
    match asked {
        Asked::Keys(request) => request.encode_to_vec(),
        Asked::Room(request) => request.encode_to_vec(),
        Asked::Everyone(request) => request.encode_to_vec(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_to_keys_equals_goims() {
    let comet = FakeComet::willing();
    let job = start(Config::default(), &[&comet]);

    job.publish([to_keys(&["dev-1"], r#"{"test":1}"#)]).await;
    job.acknowledged().await;

    let sent = bytes(&comet.taken()[0].asked);
    assert_eq!(
        hex::encode(sent),
        hex::encode(vector("grpc_comet_PushMsgReq"))
    );
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_equals_goims() {
    let comets = [FakeComet::willing(), FakeComet::willing()];
    let job = start(Config::default(), &comets.each_ref());

    job.publish([to_everyone(32, r#"{"test":1}"#)]).await;
    job.acknowledged().await;

    for comet in &comets {
        let sent = bytes(&comet.taken()[0].asked);
        assert_eq!(
            hex::encode(sent),
            hex::encode(vector("grpc_comet_BroadcastReq"))
        );
    }
    job.drained().await;
}

#[tokio::test(start_paused = true)]
async fn merged_room_messages_equal_goims() {
    let comet = FakeComet::new(|_, _| Answer::TakenAfter(Duration::from_millis(5)));
    let job = start(Config::default(), &[&comet]);

    job.publish([to_room("live://1000", "first")]).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut second = to_room("live://1000", r#"{"test":2}"#);
    second.operation = 1001;
    job.publish([to_room("live://1000", r#"{"test":1}"#), second])
        .await;
    job.acknowledged().await;

    let sent = bytes(&comet.taken()[1].asked);
    let expected = vector("grpc_comet_BroadcastRoomReq");
    assert_eq!(hex::encode(sent), hex::encode(expected));
    job.drained().await;
}
