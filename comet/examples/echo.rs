//! Sends every WebSocket message back, for conformance suites.
//!
//! `cargo run -p halley-comet --features conformance-echo --example echo -- 127.0.0.1:9001`

use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let listener = TcpListener::bind(&address).await?;
    halley_comet::conformance::echo(listener).await
}
