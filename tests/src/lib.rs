//! Tests of the whole system; see the folder `tests` of this package.
//!
//! They start every role in one process, on free ports of the loopback
//! interface, and talk to it only over real sockets, as clients, backends and
//! operators do.
