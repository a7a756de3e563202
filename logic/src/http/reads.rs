//! `/goim/online/*`, `/goim/nodes/*`, and hot rooms.

use std::fmt::Write as _;
use std::net::IpAddr;

use halley_proto::goim::logic::{Backoff, NodesReply};

use super::params::{BindError, Binder};
use super::{Answer, envelope, go};
use crate::core::Core;
use crate::nodes::Instance;

/// Hot rooms that are told unless a limit is given.
const HOT_ROOMS_LIMIT: i64 = 10;
/// The name under which goim's comets register.
const COMET_APPID: &str = "goim.comet";

/// The rooms of a type with the most members.
pub(super) async fn online_top(core: &Core, query: &str) -> Answer {
    let (kind, limit) = match bind_top(query) {
        Ok(bound) => bound,
        Err(error) => return envelope::unbound(&error),
    };
    let Ok(limit) = usize::try_from(limit) else {
        return envelope::unbound(&BindError("limit is negative".to_owned()));
    };
    let tops = match core.online.top(&kind, limit).await {
        Ok(tops) => tops,
        Err(error) => return envelope::failed(envelope::CODE_SERVER, &error.to_string()),
    };
    let mut json = String::from("[");
    for top in tops {
        separate(&mut json);
        json.push_str(r#"{"room_id":"#);
        go::json_string(&mut json, &top.room);
        let _ = write!(json, r#","count":{}}}"#, top.count);
    }
    json.push(']');
    envelope::data(&json)
}

/// The members of rooms.
pub(super) async fn online_room(core: &Core, query: &str) -> Answer {
    let mut binder = Binder::new(query);
    let kind = lossy(&binder.text("type"));
    let rooms = binder.texts("rooms");
    binder.require("Type", !kind.is_empty());
    binder.require("Rooms", !rooms.is_empty());
    if let Err(error) = binder.finish() {
        return envelope::unbound(&error);
    }
    let counts = match core.online.room(&kind, rooms).await {
        Ok(counts) => counts,
        Err(error) => return envelope::failed(envelope::CODE_SERVER, &error.to_string()),
    };
    let mut json = String::from("{");
    for (room, count) in counts {
        separate(&mut json);
        go::json_string(&mut json, &room);
        let _ = write!(json, ":{count}");
    }
    json.push('}');
    envelope::data(&json)
}

/// Connections and client addresses of all nodes.
pub(super) fn online_total(core: &Core) -> Answer {
    let totals = core.nodes.totals();
    envelope::data(&format!(
        r#"{{"conn_count":{},"ip_count":{}}}"#,
        totals.connections, totals.ips
    ))
}

/// The rooms with the most deliveries of late.
pub(super) fn hot_rooms(core: &Core, query: &str) -> Answer {
    let limit = match Binder::new(query).int64("limit") {
        Ok(0) => HOT_ROOMS_LIMIT,
        Ok(limit) => limit,
        Err(error) => return envelope::unbound(&error),
    };
    let Ok(limit) = usize::try_from(limit) else {
        return envelope::unbound(&BindError("limit is negative".to_owned()));
    };
    let mut json = String::from("[");
    for hot in core.heat.hottest(limit) {
        separate(&mut json);
        json.push_str(r#"{"room":"#);
        go::json_string(&mut json, &hot.room);
        let _ = write!(
            json,
            r#","count":{},"messages_per_second":{:.1},"deliveries_per_second":{:.1}}}"#,
            hot.members, hot.messages_per_second, hot.deliveries_per_second,
        );
    }
    json.push(']');
    envelope::data(&json)
}

/// The nodes a client should connect to.
pub(super) fn nodes_weighted(core: &Core, query: &str, client: IpAddr) -> Answer {
    let platform = lossy(&Binder::new(query).text("platform"));
    let region = core.nodes.region_of(Some(client));
    envelope::data(&nodes_json(&core.nodes.weighted(&platform, region)))
}

/// The nodes as a service registry knows them; goim says `null` for none.
pub(super) fn nodes_instances(core: &Core) -> Answer {
    let instances = core.nodes.instances();
    if instances.is_empty() {
        return envelope::data("null");
    }
    let mut json = String::from("[");
    for instance in &instances {
        separate(&mut json);
        push_instance(&mut json, instance);
    }
    json.push(']');
    envelope::data(&json)
}

fn bind_top(query: &str) -> Result<(String, i64), BindError> {
    let mut binder = Binder::new(query);
    let kind = lossy(&binder.text("type"));
    let limit = binder.int64("limit")?;
    binder.require("Type", !kind.is_empty());
    binder.require("Limit", limit != 0);
    binder.finish()?;
    Ok((kind, limit))
}

/// The reply with its zero and empty fields left out, as goim's struct tags
/// have it.
fn nodes_json(reply: &NodesReply) -> String {
    let mut json = String::from("{");
    push_text(&mut json, "domain", &reply.domain);
    push_number(&mut json, "tcp_port", reply.tcp_port);
    push_number(&mut json, "ws_port", reply.ws_port);
    push_number(&mut json, "wss_port", reply.wss_port);
    push_number(&mut json, "heartbeat", reply.heartbeat);
    if !reply.nodes.is_empty() {
        push_name(&mut json, "nodes");
        push_texts(&mut json, &reply.nodes);
    }
    if let Some(backoff) = &reply.backoff {
        push_name(&mut json, "backoff");
        push_backoff(&mut json, backoff);
    }
    push_number(&mut json, "heartbeat_max", reply.heartbeat_max);
    json.push('}');
    json
}

fn push_backoff(json: &mut String, backoff: &Backoff) {
    json.push('{');
    push_number(json, "max_delay", backoff.max_delay);
    push_number(json, "base_delay", backoff.base_delay);
    push_float(json, "factor", backoff.factor);
    push_float(json, "jitter", backoff.jitter);
    json.push('}');
}

fn push_instance(json: &mut String, instance: &Instance) {
    let status = &instance.status;
    json.push('{');
    for (name, value) in [
        ("region", &*status.region),
        ("zone", &status.zone),
        ("env", &status.env),
        ("appid", COMET_APPID),
        ("hostname", &status.hostname),
    ] {
        push_name(json, name);
        go::json_string(json, value);
    }
    push_name(json, "addrs");
    match &*status.grpc {
        "" => json.push_str("[]"),
        _ => push_texts(json, std::slice::from_ref(&status.grpc)),
    }
    push_name(json, "version");
    json.push_str(r#""""#);
    push_name(json, "latest_timestamp");
    let _ = write!(json, "{}", instance.latest_timestamp_ns);
    push_name(json, "metadata");
    json.push('{');
    push_name(json, "addrs");
    go::json_string(json, &status.addrs.join(","));
    for (name, number) in [
        ("conn_count", status.conn_count),
        ("ip_count", status.ip_count),
    ] {
        push_name(json, name);
        let _ = write!(json, r#""{number}""#);
    }
    push_name(json, "offline");
    let _ = write!(json, r#""{}""#, status.draining);
    push_name(json, "weight");
    let _ = write!(json, r#""{}""#, status.weight);
    json.push_str("}}");
}

fn push_text(json: &mut String, name: &str, text: &str) {
    if !text.is_empty() {
        push_name(json, name);
        go::json_string(json, text);
    }
}

fn push_number(json: &mut String, name: &str, number: i32) {
    if number != 0 {
        push_name(json, name);
        let _ = write!(json, "{number}");
    }
}

/// Writes the shortest digits that give the same 32-bit number again.
fn push_float(json: &mut String, name: &str, number: f32) {
    if number != 0.0 && number.is_finite() {
        push_name(json, name);
        let _ = write!(json, "{number}");
    }
}

fn push_texts(json: &mut String, texts: &[String]) {
    json.push('[');
    for text in texts {
        separate(json);
        go::json_string(json, text);
    }
    json.push(']');
}

fn push_name(json: &mut String, name: &str) {
    separate(json);
    let _ = write!(json, r#""{name}":"#);
}

/// A comma, unless the object or list has just begun.
fn separate(json: &mut String) {
    if !json.ends_with(['{', '[']) {
        json.push(',');
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
