//! The Rust client of a goim-compatible gateway, over TCP, WebSocket and both inside TLS.
//!
//! There are two layers:
//!
//! - [`Connection`] is one link: it connects, sends and receives packets, and knows nothing of logins or heartbeats.
//!   Batches (op 9) come out as the packets they hold.
//! - [`Client`] keeps a user online: it logs in, sends heartbeats, changes rooms and subscriptions, and comes back
//!   after every disconnect with a jittered exponential [`Backoff`], on a node of the list that logic hands out or of a
//!   fixed one. What happens arrives as an [`Event`] from a bounded queue; when nobody takes events the client stops
//!   reading its socket, so the server sees a slow consumer instead of this process growing.
//!
//! Pushes are at most once across a reconnect: what the server sent while the client was away is not repeated.
//!
//! ```
//! use halley_client::{Client, Event, Options, Servers};
//! use halley_wire::{AuthBody, Op};
//! # use halley_wire::{Header, packet};
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! #
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let address = listener.local_addr()?;
//! # let server = async move {
//! #     let (mut socket, _) = listener.accept().await?;
//! #     let mut input = vec![0; 4096];
//! #     let mut filled = 0;
//! #     let seq = loop {
//! #         filled += socket.read(&mut input[filled..]).await?;
//! #         if let Ok(Some((auth, _))) = packet::decode(&input[..filled], 4096) {
//! #             break auth.header.seq;
//! #         }
//! #     };
//! #     let mut output = Vec::new();
//! #     packet::encode(&mut output, Header { ver: 1, op: Op::AUTH_REPLY, seq }, b"");
//! #     packet::encode(&mut output, Header { ver: 1, op: Op(1000), seq: 0 }, b"hello");
//! #     socket.write_all(&output).await?;
//! #     std::io::Result::Ok(socket)
//! # };
//! # let example = async move {
//! let auth = AuthBody {
//!     mid: 42,
//!     key: "42-phone".to_owned(),
//!     room_id: "live://1000".to_owned(),
//!     ..AuthBody::default()
//! };
//! let servers = Servers::Fixed(vec![format!("tcp://{address}").parse()?]);
//! let (client, mut events) = Client::start(Options::new(servers, auth));
//!
//! while let Some(event) = events.recv().await {
//!     match event {
//!         Event::Connected { endpoint } => println!("connected to {endpoint}"),
//!         Event::Message { op, body } => {
//!             assert_eq!((op, &body[..]), (Op(1000), &b"hello"[..]));
//!             break;
//!         }
//!         Event::Online(count) => println!("{count} in the room"),
//!         Event::Disconnected { reason, .. } => println!("disconnected: {reason}"),
//!         _ => {}
//!     }
//! }
//! client.close().await;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # };
//! # let (server, example) = tokio::join!(server, example);
//! # server?;
//! # example
//! # }
//! ```

mod backoff;
mod client;
mod connection;
mod driver;
mod endpoint;
mod error;
mod event;
mod finder;
mod link;
mod nodes;
mod options;
mod tls;

pub use self::backoff::Backoff;
pub use self::client::Client;
pub use self::connection::{Connection, ConnectionOptions, Reader, Writer, upgrade};
pub use self::endpoint::{Endpoint, InvalidEndpoint, Transport};
pub use self::error::{ConnectError, LinkError, RequestError};
pub use self::event::{Disconnect, Event, Events};
pub use self::nodes::{NodeList, NodesError};
pub use self::options::{Options, Servers};
pub use self::tls::{TlsError, TlsOptions};
