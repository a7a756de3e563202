//! Comet over real sockets, with a logic that does as the test says.

mod support;

mod accepting;
mod bad_input;
mod delivery;
mod drain;
mod held_rooms;
mod login;
mod renewals;
mod rooms;
mod slow_clients;
mod streams;
mod tls;
mod trust;
mod websocket;
