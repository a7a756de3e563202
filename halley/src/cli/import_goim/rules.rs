//! What becomes of each of goim's keys.

use std::net::SocketAddr;

use anyhow::Context as _;
use humantime_serde::re::humantime;
use toml::Value;

use super::Environment;
use super::import::Import;
use super::source::{Role, Source};

const UNUSED: &str = "goim reads it and does nothing with it";
const ALWAYS_TCP: &str = "it is TCP in any case";
const BETWEEN_NODES: &str = "connections between nodes are kept alive and bounded by [grpc.client] and by the sections called rpc";

/// Keys without a successor, and why.
const DROPPED: &[(Role, &[&str], &str)] = &[
    (
        Role::Comet,
        &["rpcserver.timeout", "rpcclient.timeout"],
        UNUSED,
    ),
    (Role::Comet, &["rpcserver.network"], ALWAYS_TCP),
    (Role::Comet, &["rpcserver", "rpcclient"], BETWEEN_NODES),
    (
        Role::Comet,
        &["debug"],
        "log.filter = \"debug\" is what comes nearest; no message is ever logged",
    ),
    (
        Role::Comet,
        &["whitelist"],
        "it names users whose packets are logged; no message is ever logged",
    ),
    (
        Role::Comet,
        &["env.offline"],
        "a comet that is to have no clients is drained, or not started",
    ),
    (
        Role::Comet,
        &["tcp.keepalive"],
        "clients that fall silent are probed: comet.socket.keepalive",
    ),
    (
        Role::Comet,
        &["tcp", "protocol.timer", "protocol.timersize"],
        "an idle connection holds no buffer and no timer, so there are no pools of them",
    ),
    (
        Role::Comet,
        &["protocol.svrproto", "protocol.cliproto"],
        "what waits for a connection is bounded by comet.delivery.outbox_frames_max and outbox_bytes_max",
    ),
    (
        Role::Comet,
        &["bucket"],
        "tables grow as needed, and a room has no queue of its own",
    ),
    (
        Role::Logic,
        &["httpserver.readtimeout", "httpserver.writetimeout"],
        UNUSED,
    ),
    (Role::Logic, &["rpcserver.timeout", "rpcclient"], UNUSED),
    (
        Role::Logic,
        &["httpserver.network", "rpcserver.network"],
        ALWAYS_TCP,
    ),
    (Role::Logic, &["rpcserver"], BETWEEN_NODES),
    (
        Role::Logic,
        &["regions"],
        "it has no effect in goim; logic.nodes.regions takes the networks of a region instead of its provinces",
    ),
    (
        Role::Logic,
        &["redis"],
        "one connection carries all commands; [redis] has its deadlines",
    ),
    (
        Role::Job,
        &["comet"],
        "what waits for a comet is bounded by job.link_parts_max and job.lane_parts_max",
    ),
    (
        Role::Job,
        &["room"],
        "messages of a room go out at once, and together while the comets are busy: job.merge_messages_max",
    ),
];

/// Moves everything in a file to the import.
pub(super) fn apply(
    mut source: Source,
    environment: &Environment,
    import: &mut Import,
) -> anyhow::Result<()> {
    registry(&mut source, environment, import)?;
    match source.role() {
        Role::Comet => comet(&mut source, import)?,
        Role::Logic => logic(&mut source, import)?,
        Role::Job => kafka(&mut source, import)?,
    }
    for (role, paths, reason) in DROPPED {
        if *role == source.role() {
            let keys: Vec<String> = paths
                .iter()
                .flat_map(|path| source.take_names(path))
                .collect();
            import.drop(source.name(), keys, reason);
        }
    }
    let file = source.name().to_owned();
    import.drop(&file, source.rest(), "goim has no such key");
    Ok(())
}

/// Notes what is still missing when all files are in.
pub(super) fn finish(import: &mut Import) {
    for path in ["region", "zone", "env"].map(|key| format!("registry.discovery.{key}")) {
        if !import.has(&path) {
            import.decide(format!(
                "{path}: goim was told by a flag or variable; run this command with the same, or set it"
            ));
        }
    }
}

/// Where nodes find each other.
fn registry(
    source: &mut Source,
    environment: &Environment,
    import: &mut Import,
) -> anyhow::Result<()> {
    let nodes: Vec<String> = source.take("discovery.nodes")?.unwrap_or_default();
    if nodes.is_empty() {
        import.decide("registry: goim's files name no discovery node; nodes have to find each other by another kind of registry");
    } else {
        import.set_and_say(
            "registry.kind",
            "discovery",
            "Needed as long as a node of goim runs; \"redis\" does without a further service.",
        );
        import.set("registry.discovery.nodes", nodes);
    }
    // goim registers with [env] and asks with [discovery]; both have the same defaults.
    for (key, aliases, told) in [
        (
            "region",
            ["env.region", "discovery.region"],
            &environment.region,
        ),
        ("zone", ["env.zone", "discovery.zone"], &environment.zone),
        (
            "env",
            ["env.deployenv", "discovery.env"],
            &environment.deploy_env,
        ),
    ] {
        let path = format!("registry.discovery.{key}");
        let mut value = Some(told.clone());
        for alias in aliases.into_iter().rev() {
            value = source.take(alias)?.or(value);
        }
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            continue;
        };
        if source.role() == Role::Comet {
            import.set(&format!("comet.{key}"), value.as_str());
        }
        import.set(&path, value);
    }
    import.set_and_say(
        "trust.allow_plaintext",
        true,
        "As long as a node of goim runs: it knows neither TLS nor a secret. After that, set one of these instead.",
    );
    let host: Option<String> = source.take("env.host")?.or(source.take("discovery.host")?);
    match source.role() {
        Role::Comet => import.set_some("comet.server", host),
        Role::Logic | Role::Job => {
            let keys = host.map(|_| "env.host".to_owned());
            import.drop(source.name(), keys, "only a comet's name has a meaning");
        }
    }
    Ok(())
}

fn comet(source: &mut Source, import: &mut Import) -> anyhow::Result<()> {
    let addrs: Option<Vec<String>> = source.take("env.addrs")?;
    let weight: Option<i64> = source.take("env.weight")?;
    if addrs.is_none() || weight.is_none() {
        import.decide(
            "comet.addrs, comet.weight: goim was told by flags or variables, each comet its own",
        );
    }
    import.set_some("comet.addrs", addrs);
    import.set_some("comet.weight", weight);

    let rpc: Option<String> = source.take("rpcserver.addr")?;
    listen("comet.rpc.bind", rpc.as_deref().unwrap_or(":3109"), import);
    import.decide("comet.rpc.advertise: the address under which the others reach each comet; goim took its first one that is not loopback");
    let tcp = source.take("tcp.bind")?;
    listen_all(
        "comet.tcp.bind",
        tcp.unwrap_or(vec![":3101".to_owned()]),
        import,
    );
    let websocket = source.take("websocket.bind")?;
    listen_all(
        "comet.websocket.bind",
        websocket.unwrap_or(vec![":3102".to_owned()]),
        import,
    );
    tls(source, import)?;
    for (path, key) in [
        ("tcp.sndbuf", "comet.socket.send_buffer_bytes"),
        ("tcp.rcvbuf", "comet.socket.receive_buffer_bytes"),
    ] {
        match source.take::<i64>(path)? {
            Some(4096) => import.drop(
                source.name(),
                [path.to_owned()],
                "4096 is goim's default; the system sizes the buffers of sockets by itself",
            ),
            bytes => import.set_some(key, bytes),
        }
    }
    let timeout = source.take_duration("protocol.handshaketimeout")?;
    import.set_some("comet.handshake.timeout", timeout.map(duration));
    import.set_some("comet.delivery.buckets", source.take::<i64>("bucket.size")?);
    Ok(())
}

fn tls(source: &mut Source, import: &mut Import) -> anyhow::Result<()> {
    let open: bool = source.take("websocket.tlsopen")?.unwrap_or_default();
    if !open {
        let keys = source.take_names("websocket");
        import.drop(source.name(), keys, "websocket.tlsOpen is false");
        return Ok(());
    }
    let list = |files: Option<String>| -> Vec<String> {
        let files = files.unwrap_or_default();
        files
            .split(',')
            .map(|file| file.trim().to_owned())
            .filter(|file| !file.is_empty())
            .collect()
    };
    let certificates = list(source.take("websocket.certfile")?);
    let keys = list(source.take("websocket.privatefile")?);
    let is_relative = |file: &String| !file.starts_with('/');
    if certificates.iter().chain(&keys).any(is_relative) {
        import
            .decide("comet.tls: relative paths start where halley is started, as they do in goim");
    }
    import.set("comet.tls.cert_files", certificates);
    import.set("comet.tls.key_files", keys);
    let binds = source.take("websocket.tlsbind")?.unwrap_or_default();
    listen_all("comet.tls.websocket_bind", binds, import);
    import.set_and_say(
        "comet.tls.tcp_bind",
        Value::Array(Vec::new()),
        "TCP in TLS, which goim has not; its port would be 3104.",
    );
    Ok(())
}

fn logic(source: &mut Source, import: &mut Import) -> anyhow::Result<()> {
    kafka(source, import)?;
    redis(source, import)?;
    let weight: Option<i64> = source.take("env.weight")?;
    if weight.is_none() {
        import.decide("logic.weight: goim was told by a flag or variable, each logic its own");
    }
    import.set_some("logic.weight", weight);
    // goim cannot start without them.
    for (path, key) in [
        ("httpserver.addr", "logic.http.bind"),
        ("rpcserver.addr", "logic.rpc.bind"),
    ] {
        let address = source
            .take::<String>(path)?
            .with_context(|| format!("{}: {path} is missing", source.name()))?;
        listen(key, &address, import);
    }
    import.decide("logic.rpc.advertise: the address under which the others reach each logic; goim took its first one that is not loopback");
    import.decide(
        "logic.http.keys: whoever reaches the HTTP port may push, as in goim, until there are keys",
    );
    import.set_and_say(
        "logic.auth.mode",
        "insecure",
        "As in goim, clients are who they say they are. \"jwt\" and \"webhook\" find out.",
    );
    import.set("logic.auth.insecure.allow_public", true);
    import.decide("logic.auth.mode: goim authenticates nobody, and neither does this config: \"jwt\" or \"webhook\" do");

    for (path, key) in [
        ("node.defaultdomain", "logic.nodes.default_domain"),
        ("node.hostdomain", "logic.nodes.host_domain"),
    ] {
        import.set_some(key, source.take::<String>(path)?);
    }
    for (path, key) in [
        ("node.tcpport", "logic.nodes.tcp_port"),
        ("node.wsport", "logic.nodes.ws_port"),
        ("node.wssport", "logic.nodes.wss_port"),
        ("node.heartbeatmax", "logic.nodes.heartbeat_max"),
    ] {
        import.set_some(key, source.take::<i64>(path)?);
    }
    let heartbeat = source.take_duration("node.heartbeat")?;
    import.set_some("logic.nodes.heartbeat", heartbeat.map(duration));
    import.set_some(
        "logic.nodes.region_weight",
        source.take::<f64>("node.regionweight")?,
    );
    for (path, key) in [
        ("backoff.basedelay", "logic.nodes.backoff.base_delay"),
        ("backoff.maxdelay", "logic.nodes.backoff.max_delay"),
    ] {
        let seconds: Option<i64> = source.take(path)?;
        import.set_some(key, seconds.map(|seconds| format!("{seconds}s")));
    }
    for (path, key) in [
        ("backoff.factor", "logic.nodes.backoff.factor"),
        ("backoff.jitter", "logic.nodes.backoff.jitter"),
    ] {
        import.set_some(key, source.take::<f64>(path)?);
    }
    Ok(())
}

fn kafka(source: &mut Source, import: &mut Import) -> anyhow::Result<()> {
    let brokers: Option<Vec<String>> = source.take("kafka.brokers")?;
    if brokers.is_some() {
        import.set("push_log.kind", "kafka");
    }
    import.set_some("kafka.brokers", brokers);
    import.set_some(
        "push_log.kafka.topic",
        source.take::<String>("kafka.topic")?,
    );
    import.set_some(
        "push_log.kafka.consumer.group",
        source.take::<String>("kafka.group")?,
    );
    Ok(())
}

fn redis(source: &mut Source, import: &mut Import) -> anyhow::Result<()> {
    let Some(address): Option<String> = source.take("redis.addr")? else {
        return Ok(());
    };
    let network: Option<String> = source.take("redis.network")?;
    if network.is_some_and(|network| network != "tcp") {
        import.decide(
            "redis.urls: goim reached Redis over a socket of the file system; Halley does over TCP",
        );
        return Ok(());
    }
    // Go takes an address without a host for this machine.
    let host = if address.starts_with(':') {
        "127.0.0.1"
    } else {
        ""
    };
    let url = format!("redis://{host}{address}");
    import.set("redis.urls", vec![url]);
    let password: Option<String> = source.take("redis.auth")?;
    if password.is_some_and(|password| !password.is_empty()) {
        import.decide("redis.password_file: goim's redis.auth is not copied; put it into a file");
    }
    import.set("sessions.kind", "redis");
    let expire = source.take_duration("redis.expire")?;
    import.set_some("sessions.redis.expire", expire.map(duration));
    Ok(())
}

fn listen_all(key: &str, addresses: Vec<String>, import: &mut Import) {
    let mut binds: Vec<String> = Vec::with_capacity(addresses.len());
    for address in addresses {
        match bind(&address) {
            Some(bind) => binds.push(bind.to_string()),
            None => not_an_address(key, &address, import),
        }
    }
    import.set(key, binds);
}

fn listen(key: &str, address: &str, import: &mut Import) {
    match bind(address) {
        Some(bind) => import.set(key, bind.to_string()),
        None => not_an_address(key, address, import),
    }
}

fn not_an_address(key: &str, address: &str, import: &mut Import) {
    import.decide(format!(
        "{key}: {address:?} is not in the config; Halley listens on IP addresses, such as 10.0.0.1:3101"
    ));
}

/// Go's form of an address to listen on: without a host it means all, of IPv4
/// and IPv6.
fn bind(address: &str) -> Option<SocketAddr> {
    match address.strip_prefix(':') {
        Some(port) => format!("[::]:{port}").parse().ok(),
        None => address.parse().ok(),
    }
}

fn duration(duration: std::time::Duration) -> String {
    humantime::format_duration(duration).to_string()
}
