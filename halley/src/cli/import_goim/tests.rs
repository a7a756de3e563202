use std::path::Path;

use clap::Parser;

use tempfile::TempDir;
use toml::Table;

use super::*;
use crate::config::Config;
use crate::process::Role;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// Every key that goim's comet knows, in a case of its own.
const COMET: &str = r#"
debug = true
[env]
Region = "north"
Zone = "n1"
DeployEnv = "prod"
Host = "comet-7"
Weight = 20
Offline = false
Addrs = ["203.0.113.7"]
[discovery]
nodes = ["10.0.0.1:7171", "10.0.0.2:7171"]
[rpcServer]
network = "tcp"
addr = ":3109"
timeout = "1s"
idleTimeout = "1m"
[rpcClient]
dial = "1s"
timeout = "1s"
[TCP]
bind = [":3101", "10.0.0.7:3201", "comet:3101"]
sndbuf = 4096
rcvbuf = 8192
keepalive = false
readBufSize = 8192
[websocket]
bind = ["127.0.0.1:3102"]
tlsOpen = true
tlsBind = [":3103"]
certFile = "/etc/a.pem, b.pem"
privateFile = "/etc/a.key,b.key"
[protocol]
timer = 32
svrProto = 10
handshakeTimeout = "1m30s"
[bucket]
size = 64
routineAmount = 32
[whitelist]
Whitelist = [123]
[mine]
own = 1
"#;

const LOGIC: &str = r#"
[env]
weight = 30
[discovery]
nodes = ["10.0.0.1:7171", "10.0.0.2:7171"]
zone = "n2"
[regions]
north = ["a province"]
[node]
defaultDomain = "conn.example.org"
hostDomain = ".example.org"
heartbeat = "4m"
heartbeatMax = 3
tcpPort = 13101
wsPort = 13102
wssPort = 13103
regionWeight = 1.5
[backoff]
maxDelay = 200
baseDelay = 2
factor = 1.7
jitter = 0.2
[rpcServer]
addr = ":3119"
[httpServer]
addr = "10.0.0.3:3111"
readTimeout = "1s"
[kafka]
topic = "goim-push-topic"
brokers = ["10.0.0.4:9092"]
[redis]
network = "tcp"
addr = "10.0.0.5:6379"
auth = "hush"
active = 60000
expire = "30m"
"#;

const JOB: &str = r#"
[discovery]
nodes = ["10.0.0.1:7171", "10.0.0.2:7171"]
[kafka]
topic = "another-topic"
group = "goim-push-group-job"
brokers = ["10.0.0.4:9092"]
[room]
batch = 20
[comet]
routineChan = 1024
"#;

fn import(files: &[(&str, &str)], environment: &Environment) -> anyhow::Result<Import> {
    let sources = files
        .iter()
        .map(|(name, text)| Source::parse(name, text))
        .collect::<anyhow::Result<_>>()?;
    translate(sources, environment)
}

fn all() -> Import {
    let files = [
        ("job.toml", JOB),
        ("comet.toml", COMET),
        ("logic.toml", LOGIC),
    ];
    import(&files, &Environment::default()).unwrap()
}

fn table(import: &Import) -> Table {
    toml::from_str(&import.render()).unwrap()
}

#[test]
fn the_config_has_what_goim_had() {
    insta::assert_snapshot!(all().render());
}

#[test]
fn what_is_not_in_the_config_is_named() {
    insta::assert_snapshot!(all().report());
}

#[test]
fn every_role_can_start_with_the_config() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("halley.toml");
    fs::write(&file, all().render()).unwrap();

    // Where the others reach a node is left to decide; the certificates are elsewhere.
    let decided = [
        ("comet.rpc.advertise", "10.0.0.7:3109"),
        ("logic.rpc.advertise", "10.0.0.3:3119"),
        ("comet.tls.cert_files", ""),
        ("comet.tls.key_files", ""),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config = Config::load(Some(&file), [], &decided).unwrap();

    for role in [Role::Comet, Role::Logic, Role::Job] {
        config.check(role).unwrap();
    }
}

#[test]
fn goims_own_defaults_hold_where_a_file_is_silent() {
    let import = import(
        &[("comet.toml", "[whitelist]\nWhitelist = []")],
        &Environment::default(),
    );
    let table = table(&import.unwrap());

    let bind = |section: &str| table["comet"][section]["bind"].to_string();
    assert_eq!(bind("tcp"), r#"["[::]:3101"]"#);
    assert_eq!(bind("websocket"), r#"["[::]:3102"]"#);
    assert_eq!(bind("rpc"), r#""[::]:3109""#);
    assert!(table["comet"].get("tls").is_none());
}

#[test]
fn what_goim_was_told_at_its_start_counts_where_the_files_are_silent() {
    let environment = Environment {
        region: "south".to_owned(),
        zone: "s1".to_owned(),
        deploy_env: "test".to_owned(),
    };
    let table = table(&import(&[("logic.toml", LOGIC)], &environment).unwrap());

    let discovery = &table["registry"]["discovery"];
    assert_eq!(discovery["region"].as_str(), Some("south"));
    assert_eq!(discovery["zone"].as_str(), Some("n2"));
    assert_eq!(discovery["env"].as_str(), Some("test"));
}

#[test]
fn what_goim_told_each_process_alone_is_left_to_decide() {
    let comet = COMET.replace("Weight = 20\n", "");
    let logic = LOGIC.replace("weight = 30\n", "");
    let files = [("comet.toml", &*comet), ("logic.toml", &*logic)];

    let report = import(&files, &Environment::default()).unwrap().report();

    for decision in ["comet.addrs, comet.weight: ", "logic.weight: "] {
        assert!(report.contains(decision), "{decision}: {report}");
    }
}

#[test]
fn secrets_are_not_copied() {
    let import = all();
    assert!(!import.render().contains("hush") && !import.report().contains("hush"));
}

#[test]
fn two_files_of_one_role_are_refused() {
    let files = [("a.toml", JOB), ("b.toml", JOB)];
    let error = import(&files, &Environment::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a.toml and b.toml are both of goim's job"
    );
}

#[test]
fn a_file_is_written_once() {
    let dir = TempDir::new().unwrap();
    let job = dir.path().join("job.toml");
    let output = dir.path().join("halley.toml");
    fs::write(&job, JOB).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let line = [
        "import-goim".to_owned(),
        path(&job),
        "-o".to_owned(),
        path(&output),
    ];
    let run = || super::run(&Command::parse_from(&line).args);

    run().unwrap();
    let written = fs::read_to_string(&output).unwrap();
    assert!(written.contains("goim-push-group-job"), "{written}");

    let error = format!("{:#}", run().unwrap_err());
    assert!(error.starts_with("write "), "{error}");
    assert_eq!(fs::read_to_string(&output).unwrap(), written);
}
