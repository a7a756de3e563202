//! Who may log in: the ways to authenticate, through the whole gateway.

use std::time::{SystemTime, UNIX_EPOCH};

use halley_client::Transport;
use halley_wire::Op;

use crate::support::{Closed, Gateway};

mod jwt;
mod webhook;

/// Seconds since the Unix epoch.
fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// Expects that a login is refused.
async fn refused(gateway: &Gateway, login: &str) {
    turned_away(gateway, login, 4001).await;
}

/// Expects that a login fails: over TCP without a byte, over WebSocket with a
/// close code.
async fn turned_away(gateway: &Gateway, login: &str, code: u16) {
    for (transport, closed) in [
        (Transport::Tcp, Closed(None)),
        (Transport::TlsTcp, Closed(None)),
        (Transport::Websocket, Closed(Some(code))),
        (Transport::TlsWebsocket, Closed(Some(code))),
    ] {
        let mut client = gateway.connect(transport).await;
        client.send(Op::AUTH, login.to_owned()).await;
        assert_eq!(client.next().await, Err(closed), "{transport:?}");
    }
}
