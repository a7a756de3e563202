//! Who may push, and who may ask how the node is.

use std::io::Write as _;
use std::net::SocketAddr;

use halley_node::grpc::{Client, ClientConfig, Config, Trust};
use halley_proto::goim::comet::RoomsReq;
use halley_proto::goim::comet::comet_client::CometClient;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::Node;
use crate::support::job::TestJob;

fn secret() -> Trust {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "sixteen-bytes-and-more").expect("written");
    let config = Config {
        secret_file: Some(file.path().to_owned()),
        ..Config::default()
    };
    Trust::load(&config).expect("a secret")
}

#[tokio::test]
async fn only_nodes_push_and_anyone_asks_for_health() {
    let trust = secret();
    let node = Node::try_start(&trust, |_| {}).await.expect("built");
    let address = node.addresses.grpc.expect("gRPC is served");

    let refused = TestJob::try_open(address, "job-1").await;
    assert_eq!(
        refused.err().map(|error| error.code()),
        Some(Code::Unauthenticated)
    );

    let connect = |trust: &Trust| {
        let client = Client::new(trust, &ClientConfig::default());
        client.connect(&address.to_string()).expect("an address")
    };
    let rooms = CometClient::new(connect(&trust)).rooms(RoomsReq {}).await;
    rooms.expect("a node is let in");

    let mut health = HealthClient::new(connect(&Trust::default()));
    for service in ["", "goim.comet.Comet", "halley.delivery.Delivery"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.expect("an answer");
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    }
}

#[tokio::test]
async fn a_node_open_to_strangers_is_not_built() {
    let everywhere = |config: &mut halley_comet::Config| {
        config.rpc.bind = SocketAddr::from(([0, 0, 0, 0], 0));
    };

    let refused = Node::try_start(&Trust::default(), everywhere).await;

    let error = refused.err().expect("it is refused");
    assert!(format!("{error:#}").contains("comet.rpc.bind"), "{error:#}");
    Node::try_start(&secret(), everywhere).await.expect("built");
}
