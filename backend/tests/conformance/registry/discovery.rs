//! A discovery that lives in this process. It does what bilibili's does with
//! the calls of goim's nodes: what it refuses, when it answers a poll, and which
//! changes a poll that comes later does not see.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::routing::{get, post};
use halley_backend::backoff::Backoff;
use halley_backend::registry::{DiscoveryConfig, DiscoveryRegistry, Registry};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{Announced, Engine};

const NOT_MODIFIED: i64 = -304;
const PARAMS: i64 = -400;
const NOTHING_FOUND: i64 = -404;
/// How long a poll is held that there is no news for.
const HOLD: Duration = Duration::from_millis(500);
/// A node that does not renew for this long is dropped.
const LEASE: Duration = Duration::from_secs(2);

/// The server, in a runtime of its own, so that it can be killed like a process.
pub(crate) struct FakeDiscovery {
    address: SocketAddr,
    memory: Arc<Memory>,
    runtime: Option<Runtime>,
}

#[derive(Debug, Default)]
struct Memory {
    apps: Mutex<HashMap<String, App>>,
    /// Counts what waiting polls are told of.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct App {
    latest_timestamp: i64,
    instances: BTreeMap<String, Instance>,
}

#[derive(Debug)]
struct Instance {
    params: Params,
    metadata: Value,
    renewed: Instant,
}

/// A form, whose names may come several times.
#[derive(Clone, Debug)]
struct Params(Vec<(String, String)>);

impl FakeDiscovery {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut fake = Self {
            address: listener.local_addr().unwrap(),
            memory: Arc::default(),
            runtime: None,
        };
        fake.serve(listener);
        fake
    }

    fn serve(&mut self, listener: TcpListener) {
        let listener = listener.into_std().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let router = Router::new()
            .route("/discovery/polls", get(polls))
            .route("/discovery/{call}", post(call))
            .with_state(Arc::clone(&self.memory));
        let memory = Arc::clone(&self.memory);
        runtime.handle().spawn(async move {
            loop {
                memory.evict();
                tokio::time::sleep(LEASE / 20).await;
            }
        });
        runtime.handle().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        self.runtime = Some(runtime);
    }
}

#[async_trait]
impl Engine for FakeDiscovery {
    async fn wipe(&mut self) {
        self.kill().await;
        self.restart().await;
    }

    async fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    async fn restart(&mut self) {
        self.memory = Arc::default();
        let bind = async {
            loop {
                if let Ok(listener) = TcpListener::bind(self.address).await {
                    return listener;
                }
                tokio::task::yield_now().await;
            }
        };
        let listener = timeout(super::PATIENCE, bind).await.unwrap();
        self.serve(listener);
    }
}

impl Drop for FakeDiscovery {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) async fn announced() -> Announced {
    let fake = FakeDiscovery::start().await;
    let address = fake.address;
    let make = move |renew_interval, set_interval| -> Arc<dyn Registry> {
        Arc::new(registry(address, renew_interval, set_interval))
    };
    Announced {
        engine: Box::new(fake),
        brisk: Box::new(move || make(Duration::from_millis(300), Duration::from_millis(100))),
        slow: Box::new(move || make(Duration::from_hours(1), Duration::from_hours(1))),
    }
}

/// A registry that asks a discovery which is not there first.
pub(crate) fn registry(
    address: SocketAddr,
    renew_interval: Duration,
    set_interval: Duration,
) -> DiscoveryRegistry {
    let config = DiscoveryConfig {
        nodes: vec!["127.0.0.1:9".to_owned(), address.to_string()],
        zone: "zone".to_owned(),
        env: "test".to_owned(),
        interval: Duration::from_millis(20),
        grace: Duration::from_secs(2),
        renew_interval,
        set_interval,
        ..DiscoveryConfig::default()
    };
    let backoff = Backoff {
        min: Duration::from_millis(10),
        max: Duration::from_millis(100),
    };
    DiscoveryRegistry::new(config, backoff).unwrap()
}

async fn call(State(memory): State<Arc<Memory>>, Path(call): Path<String>, form: String) -> String {
    let params = Params::parse(&form);
    let result = match &*call {
        "register" => memory.register(&params),
        "renew" => memory.renew(&params),
        "set" => memory.set(&params),
        "cancel" => memory.cancel(&params),
        call => panic!("no such call: {call}"),
    };
    answer(result.map(|()| Value::Null))
}

async fn polls(State(memory): State<Arc<Memory>>, RawQuery(query): RawQuery) -> String {
    let params = Params::parse(&query.unwrap_or_default());
    let mut news = memory.news.subscribe();
    let now = memory.poll(&params, |latest, since| since < latest);
    if now != Err(NOT_MODIFIED) {
        return answer(now);
    }
    match timeout(HOLD, news.changed()).await {
        Err(_) => answer(Err(NOT_MODIFIED)),
        // Whoever waits is told of everything.
        Ok(_) => answer(
            memory
                .poll(&params, |_, _| true)
                .or_else(|_| Ok(json!({ params.one("appid").unwrap(): null }))),
        ),
    }
}

fn answer(result: Result<Value, i64>) -> String {
    match result {
        Ok(data) => json!({ "code": 0, "data": data }),
        Err(code) => json!({ "code": code, "data": null }),
    }
    .to_string()
}

impl Memory {
    fn register(&self, params: &Params) -> Result<(), i64> {
        let (app, hostname) = params.node()?;
        if params.one("status")? != "1" || params.all("addrs").is_empty() {
            return Err(PARAMS);
        }
        let metadata = serde_json::from_str(params.one("metadata")?).map_err(|_| PARAMS)?;
        let mut apps = self.apps.lock();
        let app = apps.entry(app).or_default();
        app.latest_timestamp += 1;
        app.instances.insert(
            hostname,
            Instance {
                params: params.clone(),
                metadata,
                renewed: Instant::now(),
            },
        );
        self.tell();
        Ok(())
    }

    fn renew(&self, params: &Params) -> Result<(), i64> {
        let (app, hostname) = params.node()?;
        let mut apps = self.apps.lock();
        let app = apps.get_mut(&app).ok_or(NOTHING_FOUND)?;
        let instance = app.instances.get_mut(&hostname).ok_or(NOTHING_FOUND)?;
        instance.renewed = Instant::now();
        Ok(())
    }

    /// Leaves the timestamp of the application as it is.
    fn set(&self, params: &Params) -> Result<(), i64> {
        let (app, hostname) = params.node()?;
        let metadata = serde_json::from_str(params.one("metadata")?).map_err(|_| PARAMS)?;
        let mut apps = self.apps.lock();
        let app = apps.get_mut(&app).ok_or(PARAMS)?;
        app.instances.get_mut(&hostname).ok_or(PARAMS)?.metadata = metadata;
        self.tell();
        Ok(())
    }

    fn cancel(&self, params: &Params) -> Result<(), i64> {
        let (name, hostname) = params.node()?;
        self.remove(&name, &hostname)
    }

    fn remove(&self, name: &str, hostname: &str) -> Result<(), i64> {
        let mut apps = self.apps.lock();
        let app = apps.get_mut(name).ok_or(NOTHING_FOUND)?;
        app.instances.remove(hostname).ok_or(NOTHING_FOUND)?;
        app.latest_timestamp += 1;
        if app.instances.is_empty() {
            apps.remove(name);
        }
        self.tell();
        Ok(())
    }

    fn evict(&self) {
        let over: Vec<_> = {
            let apps = self.apps.lock();
            let instances = apps
                .iter()
                .flat_map(|(app, known)| known.instances.iter().map(move |of| (app, of)));
            instances
                .filter(|(_, (_, instance))| instance.renewed.elapsed() > LEASE)
                .map(|(app, (hostname, _))| (app.clone(), hostname.clone()))
                .collect()
        };
        for (app, hostname) in over {
            let _ = self.remove(&app, &hostname);
        }
    }

    /// The applications of which `is_news(latest, since)`.
    fn poll(&self, params: &Params, is_news: impl Fn(i64, i64) -> bool) -> Result<Value, i64> {
        let env = params.one("env")?;
        params.one("hostname")?;
        let appids = params.all("appid");
        let since = params.all("latest_timestamp");
        if appids.is_empty() || appids.len() != since.len() {
            return Err(PARAMS);
        }
        let apps = self.apps.lock();
        let mut data = serde_json::Map::new();
        for (appid, since) in appids.into_iter().zip(since) {
            let since = since.parse().map_err(|_| PARAMS)?;
            let app = apps.get(&format!("{appid}-{env}")).ok_or(NOTHING_FOUND)?;
            if is_news(app.latest_timestamp, since) {
                data.insert(appid.to_owned(), app.to_json());
            }
        }
        if data.is_empty() {
            return Err(NOT_MODIFIED);
        }
        Ok(Value::Object(data))
    }

    fn tell(&self) {
        self.news.send_modify(|news| *news += 1);
    }
}

impl App {
    fn to_json(&self) -> Value {
        let mut zones = HashMap::<&str, Vec<Value>>::new();
        for (
            hostname,
            Instance {
                params, metadata, ..
            },
        ) in &self.instances
        {
            let one = |name| params.one(name).unwrap();
            zones.entry(one("zone")).or_default().push(json!({
                "region": params.all("region"). first(),
                "zone": one("zone"),
                "env": one("env"),
                "appid": one("appid"),
                "hostname": hostname,
                "addrs": params.all("addrs"),
                "version": "",
                "metadata": metadata,
                "status": 1,
                "latest_timestamp": 0,
            }));
        }
        json!({ "instances": zones, "latest_timestamp": self.latest_timestamp })
    }
}

impl Params {
    fn parse(form: &str) -> Self {
        let url = reqwest::Url::parse(&format!("http://form/?{form}")).unwrap();
        let pairs = url.query_pairs().into_owned();
        Self(pairs.collect())
    }

    fn all(&self, name: &str) -> Vec<&str> {
        let values = self.0.iter().filter(|(key, _)| key == name);
        values.map(|(_, value)| &**value).collect()
    }

    fn one(&self, name: &str) -> Result<&str, i64> {
        let value = self.all(name).first().copied().unwrap_or_default();
        if value.is_empty() {
            Err(PARAMS)
        } else {
            Ok(value)
        }
    }

    /// The application and the name of the node that a call is about.
    fn node(&self) -> Result<(String, String), i64> {
        self.one("zone")?;
        let app = format!("{}-{}", self.one("appid")?, self.one("env")?);
        Ok((app, self.one("hostname")?.to_owned()))
    }
}

#[tokio::test]
async fn what_goims_nodes_register_is_understood() {
    let fake = FakeDiscovery::start().await;
    let params = |hostname: &str, metadata: &str| {
        Params(
            [
                ("region", "sh"),
                ("zone", "sh001"),
                ("env", "test"),
                ("appid", "goim.comet"),
                ("hostname", hostname),
                ("addrs", "grpc://10.0.0.1:3109"),
                ("version", ""),
                ("status", "1"),
                ("metadata", metadata),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        )
    };
    let whole = r#"{"addrs":"192.0.2.1,192.0.2.2","conn_count":"7","ip_count":"5","offline":"false","weight":"10"}"#;
    let young = r#"{"addrs":"192.0.2.1","offline":"false","weight":"10"}"#;
    fake.memory.register(&params("old", whole)).unwrap();
    fake.memory.register(&params("young", young)).unwrap();

    let registry = registry(fake.address, Duration::from_secs(1), Duration::from_secs(1));
    let mut watch = registry.watch(halley_backend::registry::Role::Comet);
    let nodes = super::until(&mut watch, |nodes| nodes.len() == 2).await;

    let old = &nodes[0];
    assert_eq!(
        (&*old.region, &*old.zone, &*old.grpc),
        ("sh", "sh001", "grpc://10.0.0.1:3109")
    );
    assert_eq!(old.addrs, ["192.0.2.1", "192.0.2.2"]);
    assert_eq!((old.weight, old.conn_count, old.ip_count), (10, 7, 5));
    assert_eq!((old.draining, old.started_ms), (false, 0));
    assert!(nodes[1].draining, "it has not told its counts");
}

#[tokio::test]
async fn what_is_registered_is_understood_by_goims_nodes() {
    let fake = FakeDiscovery::start().await;
    let registry = registry(fake.address, Duration::from_secs(1), Duration::from_secs(1));
    let (_status, receiver) = watch::channel(halley_proto::halley::node::NodeStatus {
        zone: String::new(),
        ..super::node("comet", 3)
    });
    let _lease = registry
        .announce(halley_backend::registry::Role::Comet, receiver)
        .await;

    let apps = fake.memory.apps.lock();
    let instance = &apps["goim.comet-test"].instances["comet"];
    let Params(params) = &instance.params;
    let mut names: Vec<_> = params.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "addrs", "appid", "env", "hostname", "metadata", "region", "status", "version", "zone"
        ]
    );
    assert_eq!(instance.params.one("zone"), Ok("zone"));
    assert_eq!(instance.params.all("addrs"), ["grpc://comet.internal:3109"]);
    assert_eq!(
        instance.metadata,
        json!({
            "addrs": "192.0.2.1,192.0.2.2",
            "conn_count": "7",
            "ip_count": "5",
            "offline": "false",
            "started_ms": "3",
            "weight": "10",
        })
    );
}
