use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use toml::Table;

use super::reference::{REFERENCE, key_of, section_of};
use super::{Config, Loader};
use crate::process::Role;

/// Lets the gRPC ports leave loopback.
const SECRET: (&str, &str) = ("trust.secret", "0123456789abcdef");

/// Marks a value in the reference file that is not the default.
const EXAMPLE: &str = "# example";

fn set(sets: &[(&str, &str)]) -> anyhow::Result<Config> {
    load(None, &[], sets)
}

fn load(
    file: Option<&Path>,
    env: &[(&str, &str)],
    sets: &[(&str, &str)],
) -> anyhow::Result<Config> {
    let env = env
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let sets: Vec<_> = sets
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Config::load(file, env, &sets)
}

fn parse(text: &str) -> Config {
    Loader::new()
        .defaults(&Config::default())
        .text(text, Path::new("halley.toml"))
        .and_then(|loader| loader.load())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The reference file with its keys taken over: all, or those with a default.
fn uncommented(examples: bool) -> String {
    let uncomment = |line: &str| match key_of(line) {
        Some(_) if examples || !line.ends_with(EXAMPLE) => line[1..].to_owned(),
        Some(_) | None => line.to_owned(),
    };
    let lines: Vec<String> = REFERENCE.lines().map(uncomment).collect();
    lines.join("\n")
}

/// The path of every key in a table.
fn paths(table: &Table) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (key, value) in table {
        let inner = value.as_table().filter(|inner| !inner.is_empty());
        match inner {
            Some(inner) => {
                let inner = self::paths(inner).into_iter();
                paths.extend(inner.map(|path| format!("{key}.{path}")));
            }
            None => {
                paths.insert(key.clone());
            }
        }
    }
    paths
}

#[test]
fn the_reference_file_as_it_is_is_the_default() {
    assert_eq!(parse(REFERENCE).to_table(), Config::default().to_table());
}

#[test]
fn the_reference_file_names_every_default() {
    let file: Table = toml::from_str(&uncommented(false)).expect("valid TOML");
    let default = Config::default().to_table();

    assert_eq!(parse(&uncommented(false)).to_table(), default);
    // A section without keys of its own is a table that is not listed.
    let missing: Vec<_> = paths(&default).difference(&paths(&file)).cloned().collect();
    assert_eq!(missing, Vec::<String>::new(), "not in halley.toml");
}

#[test]
fn examples_in_the_reference_file_are_valid_keys() {
    let text = uncommented(true);
    let file: Table = toml::from_str(&text).expect("valid TOML");
    let config = parse(&text).to_table();

    let unknown: Vec<_> = paths(&file).difference(&paths(&config)).cloned().collect();
    assert_eq!(unknown, Vec::<String>::new(), "only in halley.toml");
}

#[test]
fn every_key_of_the_reference_file_is_explained() {
    let mut explained = false;
    for line in REFERENCE.lines() {
        if key_of(line).is_some() {
            assert!(explained, "{line} has no comment above it");
        }
        explained = line.starts_with("# ") || (explained && key_of(line).is_some());
    }
}

#[test]
fn what_is_printed_is_what_is_in_force() {
    let config = set(&[
        ("comet.tcp.bind", "127.0.0.1:1"),
        ("logic.nodes.regions", "{ north = ['10.1.0.0/16'] }"),
        (
            "registry.fixed.comets",
            "[{ server = 'a', addr = '10.0.0.1:3109' }]",
        ),
        ("logic.http.keys_file", "/etc/halley/keys"),
    ])
    .unwrap();

    let printed = config.render();

    assert_eq!(parse(&printed).to_table(), config.to_table());
    assert!(
        !printed
            .lines()
            .any(|line| key_of(line).is_some() && !line.ends_with(EXAMPLE)),
        "{printed}"
    );
    assert!(section_of("[comet.tcp]").is_some());
}

#[test]
fn a_secret_that_is_not_shown_has_to_be_given() {
    let config = set(&[("logic.http.keys", "visible")]).unwrap();
    let printed = config.render();
    assert!(!printed.contains("visible"), "{printed}");
    let line = "\nkeys = [\"(hidden)\"]  # not shown: put the secret itself";
    assert!(printed.contains(line), "{printed}");

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("halley.toml");
    fs::write(&file, printed).unwrap();
    let refused = load(Some(&file), &[], &[]).unwrap_err().to_string();
    assert!(refused.contains("`logic.http.keys`: "), "{refused}");

    let env = [("HALLEY_LOGIC__HTTP__KEYS", "visible")];
    let given = load(Some(&file), &env, &[]).unwrap();
    assert_eq!(given.logic.http.keys, config.logic.http.keys);
}

#[test]
fn file_then_environment_then_flags() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("halley.toml");
    fs::write(
        &file,
        "log.filter = 'warn'\n[comet.delivery]\nbuckets = 1\noutbox_frames_max = 2\nring_frames_max = 4096",
    )
    .unwrap();
    let env = [
        ("HALLEY_COMET__DELIVERY__BUCKETS", "3"),
        ("HALLEY_LOG__FILTER", "error"),
        ("HALLEY_CONFIG", "elsewhere.toml"),
        ("HALLEY_ENGINES_DIR", "engines"),
        ("HALLEY_TOKEN", "a token"),
    ];

    let config = load(Some(&file), &env, &[("comet.delivery.buckets", "5")]).unwrap();

    assert_eq!(config.comet.delivery.ring_frames_max, 4096);
    assert_eq!(config.comet.delivery.outbox_frames_max, 2);
    assert_eq!(config.log.filter, "error");
    assert_eq!(config.comet.delivery.buckets, 5);
}

#[test]
fn unknown_keys_are_refused_wherever_they_are() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("halley.toml");
    fs::write(&file, "[comet.tcp]\nbnd = []").unwrap();
    let in_file = load(Some(&file), &[], &[]).unwrap_err().to_string();
    assert!(
        in_file.ends_with(
            "halley.toml:2: unknown key `comet.tcp.bnd`; did you mean `comet.tcp.bind`?"
        ),
        "{in_file}"
    );

    let in_env = load(None, &[("HALLEY_LOGIC__HTP__BIND", "x")], &[]).unwrap_err();
    assert_eq!(
        in_env.to_string(),
        "environment: unknown key `HALLEY_LOGIC__HTP`; did you mean `HALLEY_LOGIC__HTTP`?"
    );

    let in_flag = set(&[("job.lane", "1")]).unwrap_err();
    assert_eq!(
        in_flag.to_string(),
        "command line: unknown key `job.lane`; did you mean `job.lanes`?"
    );
}

#[test]
fn the_default_can_start_everything_and_logic() {
    let config = Config::default();
    config.check(Role::All).unwrap();
    config.check(Role::Logic).unwrap();
}

#[test]
fn insecure_authentication_is_refused_behind_every_public_listener() {
    for (key, value) in [
        ("comet.tcp.bind", "0.0.0.0:3101"),
        ("comet.websocket.bind", "127.0.0.1:3102, [::]:3102"),
        ("logic.http.bind", "10.0.0.1:3111"),
        ("logic.rpc.bind", "10.0.0.1:3119"),
    ] {
        let error = set(&[(key, value)]).unwrap().check(Role::All).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("logic.auth.mode"), "{key}: {text}");
        assert!(
            text.contains("logic.auth.insecure.allow_public = true"),
            "{key}: {text}"
        );

        let allowed = [
            (key, value),
            SECRET,
            ("logic.auth.insecure.allow_public", "true"),
        ];
        set(&allowed).unwrap().check(Role::All).unwrap();
    }
}

#[test]
fn tls_listeners_count_only_with_a_certificate() {
    let public = ("comet.tls.tcp_bind", "0.0.0.0:3104");
    set(&[public]).unwrap().check(Role::All).unwrap();

    let pair = Pair::new();
    let with_pair = [
        public,
        ("comet.tls.cert_files", &pair.cert),
        ("comet.tls.key_files", &pair.key),
    ];
    let error = error(&with_pair, Role::All);
    assert!(error.contains("logic.auth.mode"), "{error}");
}

/// A certificate and its key, in files.
struct Pair {
    cert: String,
    key: String,
    _dir: TempDir,
}

impl Pair {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = TempDir::new().unwrap();
        let write = |name: &str, pem: String| {
            let path = dir.path().join(name);
            fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Self {
            cert: write("cert.pem", made.cert.pem()),
            key: write("key.pem", made.signing_key.serialize_pem()),
            _dir: dir,
        }
    }
}

fn error(sets: &[(&str, &str)], role: Role) -> String {
    let config = set(sets).unwrap();
    format!("{:#}", config.check(role).unwrap_err())
}

#[test]
fn a_role_alone_needs_its_peers() {
    let logic = ("registry.fixed.logics", "10.0.0.1:3119");

    assert!(error(&[], Role::Comet).starts_with("registry.fixed.logics is empty"));
    assert!(error(&[], Role::Job).starts_with("registry.fixed.logics is empty"));
    assert!(error(&[logic], Role::Job).starts_with("registry.fixed.comets is empty"));
    set(&[logic]).unwrap().check(Role::Comet).unwrap();

    let comets = (
        "registry.fixed.comets",
        "[{ server = 'a', addr = '10.0.0.2:3109' }]",
    );
    set(&[logic, comets]).unwrap().check(Role::Job).unwrap();

    let twice = "[{ server = 'a', addr = 'b:1' }, { server = 'a', addr = 'c:1' }]";
    assert_eq!(
        error(&[logic, ("registry.fixed.comets", twice)], Role::Job),
        "registry.fixed.comets lists \"a\" twice"
    );
    assert_eq!(
        error(&[("registry.fixed.logics", "10.0.0.1")], Role::Comet),
        "registry.fixed.logics has \"10.0.0.1\", which is not host:port"
    );
}

#[test]
fn keys_of_logic_are_named_from_the_top() {
    let config = set(&[("logic.push.targets_max", "0")]).unwrap();
    assert_eq!(
        config.check(Role::All).unwrap_err().to_string(),
        "logic.push.targets_max must be above 0"
    );
}

#[test]
fn zero_limits_of_every_role_are_named() {
    let logics = ("registry.fixed.logics", "10.0.0.1:3119");
    for (role, key, value, problem) in [
        (Role::Comet, "comet.limits.handshakes_max", "0", "above 0"),
        (Role::Comet, "comet.handshake.timeout", "0s", "longer"),
        (Role::Job, "job.lanes", "0", "above 0"),
        (Role::Job, "job.push_deadline", "0s", "longer"),
    ] {
        for role in [Role::All, role] {
            let error = error(&[logics, (key, value)], role);
            assert!(error.starts_with(key) && error.contains(problem), "{error}");
        }
    }
}

#[test]
fn a_grpc_port_open_to_strangers_is_refused() {
    let logics = ("registry.fixed.logics", "10.0.0.1:3119");
    let public = ("logic.auth.insecure.allow_public", "true");
    for (role, key) in [
        (Role::Comet, "comet.rpc.bind"),
        (Role::Logic, "logic.rpc.bind"),
    ] {
        let open = [logics, public, (key, "10.0.0.1:3109")];
        for role in [Role::All, role] {
            let error = error(&open, role);
            assert!(error.starts_with(key), "{error}");
            assert!(error.contains("trust.allow_plaintext"), "{error}");
        }
        let known = [&open[..], &[SECRET]].concat();
        set(&known).unwrap().check(role).unwrap();
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let redis = ("sessions.kind", "redis");
    let logics = ("registry.fixed.logics", "10.0.0.1:3119");
    let cases: [(Role, &[(&str, &str)]); 6] = [
        (Role::Job, &[("trust.secret_file", "/missing")]),
        (
            Role::Comet,
            &[
                ("comet.tls.cert_files", "/missing"),
                ("comet.tls.key_files", "/missing"),
            ],
        ),
        (Role::Comet, &[redis, ("redis.password_file", "/missing")]),
        (Role::Logic, &[("logic.http.keys_file", "/missing")]),
        (
            Role::Logic,
            &[
                ("logic.auth.mode", "jwt"),
                ("logic.auth.jwt.key_file", "/missing"),
            ],
        ),
        (
            Role::Logic,
            &[
                ("logic.sink.mode", "webhook"),
                ("logic.sink.webhook.url", "http://127.0.0.1:1/"),
                ("logic.sink.webhook.secret_file", "/missing"),
            ],
        ),
    ];
    for (role, sets) in cases {
        let error = error(&[&[logics], sets].concat(), role);
        assert!(error.contains("/missing"), "{sets:?}: {error}");
    }
}

#[test]
fn an_address_that_stands_for_all_is_not_announced() {
    let redis = ("sessions.kind", "redis");
    let public = ("logic.auth.insecure.allow_public", "true");
    for (role, name) in [(Role::Comet, "comet"), (Role::Logic, "logic")] {
        let bind = format!("{name}.rpc.bind");
        let advertise = format!("{name}.rpc.advertise");
        for everywhere in ["0.0.0.0:3109", "[::]:3109"] {
            let open = [SECRET, public, redis, (&*bind, everywhere)];
            let error = error(&open, role);
            assert!(error.starts_with(&advertise), "{error}");

            let said = [&open[..], &[(&*advertise, "node-1:3109")]].concat();
            set(&said).unwrap().check(role).unwrap();
            let listed = ("registry.fixed.logics", "10.0.0.1:3119");
            let unannounced = [&open[..], &[listed]].concat();
            set(&unannounced).unwrap().check(role).unwrap();
        }
        let one = [SECRET, public, redis, (&*bind, "10.0.0.1:3109")];
        set(&one).unwrap().check(role).unwrap();
    }
}

#[test]
fn an_address_that_no_node_could_connect_to_is_refused() {
    let listed = ("registry.fixed.logics", "10.0.0.1:3119");
    for (address, is_right) in [
        ("10.0.0.21:3119", true),
        ("node_1.internal:3119", true),
        ("10.0.0.21", false),
        ("::1:3119", false),
        ("http://10.0.0.21:3119", false),
        ("grpc://10.0.0.21:3119", false),
    ] {
        let comets = format!("[{{ server = 'a', addr = '{address}' }}]");
        for (role, key, value) in [
            (Role::Comet, "registry.fixed.logics", address),
            (Role::Job, "registry.fixed.comets", &*comets),
            (Role::Comet, "comet.rpc.advertise", address),
            (Role::Logic, "logic.rpc.advertise", address),
        ] {
            let sets = [listed, (key, value)];
            if is_right {
                set(&sets).unwrap().check(role).unwrap();
                continue;
            }
            let error = error(&sets, role);
            let expected = format!("{key} has {address:?}, which is not host:port");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}

#[test]
fn sessions_outlast_the_pauses_between_renewals() {
    for (kind, key) in [
        ("memory", "sessions.memory.expire"),
        ("redis", "sessions.redis.expire"),
    ] {
        let sets = |expire: &'static str| {
            let renewal = ("comet.logic.renew_interval", "5m");
            [("sessions.kind", kind), (key, expire), renewal]
        };
        let refused = error(&sets("5m 500ms"), Role::All);
        assert!(refused.starts_with(key), "{refused}");
        assert!(refused.contains("comet.logic.renew_interval"), "{refused}");
        set(&sets("5m 1s")).unwrap().check(Role::All).unwrap();

        // A logic alone does not know how often comets renew.
        set(&sets("1s")).unwrap().check(Role::Logic).unwrap();
        let refused = error(&sets("999ms"), Role::Logic);
        assert_eq!(refused, format!("{key} must be at least 1s"));
    }
}

#[test]
fn times_that_must_last_are_named() {
    for key in [
        "drain.deadline",
        "trust.reload_interval",
        "trust.handshake_timeout",
        "grpc.client.connect_timeout",
        "grpc.client.keepalive_interval",
        "grpc.client.keepalive_timeout",
        "redis.reconnect.min",
        "registry.backoff.max",
        "push_log.remote.reconnect.min",
        "push_log.kafka.consumer.retry.max",
    ] {
        let expected = format!("{key} must be longer than nothing");
        assert_eq!(error(&[(key, "0s")], Role::All), expected);
    }
}
