//! Shells around sockets: accept, read, write, and nothing in between.
//!
//! Owns: descriptors, read buffers, outboxes, HTTP connections, the byte side of websockets. Never: sessions, rooms,
//! rules, statuses of the application; those reach it as a [`service::Service`] given by `boot`.
//! Invariants: an idle socket lends no buffer; a socket is written at most once per turn; whatever a peer can make
//! grow has a limit here (head, body, outbox, idle time).

pub mod budget;
pub mod bulk;
pub mod fd;
pub mod frame;
pub mod http;
pub mod listener;
pub mod outbox;
pub mod reactor;
pub mod service;
pub mod turn;
pub mod websocket;
