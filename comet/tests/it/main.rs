//! Comet over real sockets, with a logic that does as the test says.

mod support;

mod accepting;
mod bad_input;
mod delivery;
mod drain;
mod login;
mod rooms;
mod slow_clients;
mod tls;
mod websocket;
