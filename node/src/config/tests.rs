use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Loader, Secret};

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    name: String,
    comet: Comet,
    auth: Auth,
    peers: Vec<Peer>,
    password: Secret,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Comet {
    tcp: Tcp,
    shards: u32,
    skip: bool,
    weight: f64,
}

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Tcp {
    bind: Vec<SocketAddr>,
    #[serde(with = "humantime_serde")]
    deadline: Option<Duration>,
    connections_max: Option<u64>,
}

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Auth {
    #[default]
    Insecure,
    Jwt {
        audience: String,
    },
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    server: String,
    order: Order,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    First,
    Last,
}

impl Default for Comet {
    fn default() -> Self {
        Self {
            tcp: Tcp::default(),
            shards: 32,
            skip: false,
            weight: 1.0,
        }
    }
}

fn toml(text: &str) -> Loader {
    Loader::new()
        .text(text, Path::new("halley.toml"))
        .expect("valid TOML")
}

fn env(loader: Loader, variables: &[(&str, &str)]) -> Loader {
    let variables = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    loader
        .env("HALLEY", &["HALLEY_CONFIG"], variables)
        .expect("valid environment")
}

fn error(loader: &Loader) -> String {
    loader.load::<Config>().expect_err("invalid").to_string()
}

#[test]
fn nothing_set_is_the_default() {
    assert_eq!(Loader::new().load::<Config>().unwrap(), Config::default());
}

#[test]
fn a_section_that_is_set_in_part_keeps_the_rest_of_its_defaults() {
    let defaults = Config {
        comet: Comet {
            shards: 7,
            ..Comet::default()
        },
        ..Config::default()
    };
    let loader = Loader::new().defaults(&defaults);
    let loader = env(loader, &[("HALLEY_COMET", "{ skip = true }")]);

    let config: Config = loader.load().unwrap();

    assert_eq!(config.comet.shards, 7);
    assert!(config.comet.skip);
}

#[test]
fn later_sources_win_key_by_key() {
    let loader =
        toml("name = 'file'\n[comet]\nshards = 1\nweight = 2\n[comet.tcp]\nbind = ['127.0.0.1:1']");
    let loader = env(
        loader,
        &[("HALLEY_COMET__SHARDS", "2"), ("HALLEY_NAME", "env")],
    );
    let loader = loader.set("name", "flag").unwrap();

    let config: Config = loader.load().unwrap();

    assert_eq!(config.name, "flag");
    assert_eq!(config.comet.shards, 2);
    assert!((config.comet.weight - 2.0).abs() < f64::EPSILON);
    assert_eq!(config.comet.tcp.bind, ["127.0.0.1:1".parse().unwrap()]);
}

#[test]
fn variables_are_read_as_their_key_asks() {
    let loader = toml("comet.tcp.connections_max = 5");
    let loader = env(
        loader,
        &[
            ("HALLEY_NAME", "5"),
            ("HALLEY_COMET__SKIP", "true"),
            ("HALLEY_COMET__WEIGHT", "0.5"),
            ("HALLEY_COMET__TCP__BIND", "127.0.0.1:1, [::1]:2"),
            ("HALLEY_COMET__TCP__DEADLINE", "8s"),
            ("HALLEY_COMET__TCP__CONNECTIONS_MAX", ""),
            ("HALLEY_PEERS", "[{ server = 'a', order = 'last' }]"),
            ("HALLEY_AUTH", "{ kind = 'jwt', audience = 'im' }"),
            ("HALLEY_PASSWORD", "open sesame"),
            ("HALLEY_CONFIG", "not a key"),
            ("HALLEYX", "not ours"),
        ],
    );

    let config: Config = loader.load().unwrap();

    assert_eq!(config.name, "5");
    assert!(config.comet.skip);
    assert!((config.comet.weight - 0.5).abs() < f64::EPSILON);
    assert_eq!(config.comet.tcp.bind.len(), 2);
    assert_eq!(config.comet.tcp.deadline, Some(Duration::from_secs(8)));
    assert_eq!(config.comet.tcp.connections_max, None);
    assert_eq!(config.peers[0].order, Order::Last);
    assert_eq!(
        config.auth,
        Auth::Jwt {
            audience: "im".to_owned()
        }
    );
    assert_eq!(config.password.expose(), "open sesame");
    assert!(!format!("{config:?}").contains("sesame"));
}

#[test]
fn lists_may_be_written_in_toml_too() {
    let loader = env(
        Loader::new(),
        &[("HALLEY_COMET__TCP__BIND", "['127.0.0.1:1']")],
    );
    let config: Config = loader.load().unwrap();
    assert_eq!(config.comet.tcp.bind.len(), 1);

    let config: Config = loader.set("comet.tcp.bind", "").unwrap().load().unwrap();
    assert!(config.comet.tcp.bind.is_empty());
}

#[test]
fn unknown_keys_name_file_line_and_nearest_key() {
    assert_eq!(
        error(&toml("name = 'a'\nnaem = 'b'")),
        "halley.toml:2: unknown key `naem`; did you mean `name`?"
    );
    assert_eq!(
        error(&toml("[comet.tcp]\n\nbnd = ['127.0.0.1:1']")),
        "halley.toml:3: unknown key `comet.tcp.bnd`; did you mean `comet.tcp.bind`?"
    );
    assert_eq!(
        error(&toml(
            "[[peers]]\nserver = 'a'\norder = 'last'\n[[peers]]\nsrver = 'b'"
        )),
        "halley.toml:5: unknown key `peers.1.srver`; did you mean `peers.1.server`?"
    );
    assert_eq!(
        error(&toml("[auth]\nkind = 'jwt'\naudienc = 'im'")),
        "halley.toml:3: unknown key `auth.audienc`; did you mean `auth.audience`?"
    );
    assert_eq!(
        error(&toml("zookeeper = 1")),
        "halley.toml:1: unknown key `zookeeper`; known here: name, comet, auth, peers, password"
    );
}

#[test]
fn unknown_variables_name_the_nearest_variable() {
    let loader = env(Loader::new(), &[("HALLEY_COMET__TCP__BND", "127.0.0.1:1")]);
    assert_eq!(
        error(&loader),
        "environment: unknown key `HALLEY_COMET__TCP__BND`; did you mean `HALLEY_COMET__TCP__BIND`?"
    );
}

#[test]
fn unknown_flags_name_the_nearest_key() {
    let loader = Loader::new().set("comet.shard", "1").unwrap();
    assert_eq!(
        error(&loader),
        "command line: unknown key `comet.shard`; did you mean `comet.shards`?"
    );
    let error = Loader::new().set("comet..shards", "1").unwrap_err();
    assert!(error.to_string().contains("comet..shards"), "{error}");
}

#[test]
fn invalid_values_name_their_source_and_key() {
    let text = error(&toml("[comet]\nshards = 1\nskip = 'maybe'"));
    assert!(
        text.starts_with("halley.toml:3: `comet.skip`: invalid type"),
        "{text}"
    );

    let loader = env(toml("comet.shards = 1"), &[("HALLEY_COMET__SHARDS", "-1")]);
    let text = error(&loader);
    assert!(
        text.starts_with("environment: `HALLEY_COMET__SHARDS`: invalid value"),
        "{text}"
    );

    let text = error(&toml(
        "[comet.tcp]\nbind = [\n  '127.0.0.1:1',\n  'here',\n]",
    ));
    assert!(
        text.starts_with("halley.toml:4: `comet.tcp.bind.1`: invalid socket address"),
        "{text}"
    );

    let text = error(&toml("[[peers]]\nserver = 'a'"));
    assert_eq!(text, "halley.toml:1: `peers.0`: missing field `order`");

    let text = error(&toml("[[peers]]\nserver = 'a'\norder = 'frist'"));
    assert_eq!(
        text,
        "halley.toml:3: `peers.0.order`: unknown choice `frist`, expected one of first, last; did you mean `first`?"
    );
}

#[test]
fn broken_syntax_names_file_and_place() {
    let error = Loader::new()
        .text("name = ", Path::new("halley.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("halley.toml: TOML parse error at line 1"),
        "{error}"
    );

    let error = Loader::new()
        .file(Path::new("/nowhere/halley.toml"))
        .unwrap_err();
    assert!(
        error.to_string().starts_with("read /nowhere/halley.toml: "),
        "{error}"
    );
}
