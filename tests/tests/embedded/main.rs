//! Every role in one process, as a newcomer starts them, seen from outside:
//! clients, a backend that pushes, and an operator who reads the counts.

mod accounting;
mod auth;
mod burst;
mod drain;
mod hostile;
mod http_errors;
mod online;
mod order;
mod receipts;
mod reconnect;
mod support;
mod upstream;
