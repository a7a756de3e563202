//! What logic spends on a login: authentication and the binding of the key, in
//! process and with its state in memory.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark stops by panicking"
)]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use halley_backend::dedup::{DedupConfig, MemoryDedup};
use halley_backend::push_log::{MemoryConfig, MemoryPushLog};
use halley_backend::sessions::{MemorySessions, MemorySessionsConfig};
use halley_logic::config::AuthMode;
use halley_logic::{Config, Deps, Logic};
use halley_node::grpc::Trust;
use halley_node::{Readiness, SharedRegistry};
use halley_proto::goim::logic::ConnectReq;
use halley_proto::metadata;
use halley_wire::AuthBody;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::runtime::{Builder, Runtime};
use tonic::Request;

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
/// The year 2100.
const EXPIRES_S: u64 = 4_102_444_800;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn logic(configure: impl FnOnce(&mut Config)) -> Logic {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::default();
    config.http.bind = any;
    config.rpc.bind = any;
    configure(&mut config);
    let deps = Deps {
        push_log: Arc::new(MemoryPushLog::new(MemoryConfig::default())),
        push_log_service: None,
        sessions: Arc::new(MemorySessions::new(MemorySessionsConfig::default())),
        comets: None,
        kafka: None,
        dedup: Arc::new(MemoryDedup::new(DedupConfig::default())),
        trust: Trust::default(),
        registry: SharedRegistry::default(),
        readiness: Readiness::default(),
    };
    Logic::build(config, deps).unwrap()
}

fn body(token: Option<String>) -> Vec<u8> {
    let body = AuthBody {
        mid: 7,
        key: "phone".to_owned(),
        room_id: "live://1000".to_owned(),
        platform: "web".to_owned(),
        accepts: vec![1000, 1001, 1002],
        token,
    };
    body.to_json().into_bytes()
}

fn login(criterion: &mut Criterion) {
    let runtime = runtime();
    let _context = runtime.enter();
    let secret = NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SECRET).unwrap();
    let claims = json!({ "mid": 7, "rooms": ["live://*"], "exp": EXPIRES_S });
    let token = encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(SECRET),
    )
    .unwrap();
    let jwt = logic(|config| {
        config.auth.mode = AuthMode::Jwt;
        config.auth.jwt.key_file = Some(secret.path().to_owned());
    });
    let logins = [
        ("insecure", logic(|_| {}), body(None)),
        ("jwt HS256", jwt, body(Some(token))),
    ];
    let mut group = criterion.benchmark_group("login");
    group.throughput(Throughput::Elements(1));
    for (name, logic, token) in logins {
        let service = logic.service();
        let mut connection = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // Each login takes the key over from the one before.
                connection += 1;
                let mut request = Request::new(ConnectReq {
                    server: "comet-1".to_owned(),
                    cookie: String::new(),
                    token: token.clone().into(),
                });
                metadata::set_connection(request.metadata_mut(), connection);
                runtime
                    .block_on(service.connect(black_box(request)))
                    .unwrap()
            });
        });
    }
}

criterion_group!(benches, login);
criterion_main!(benches);
