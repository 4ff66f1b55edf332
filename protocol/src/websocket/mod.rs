//! The WebSocket protocol, RFC 6455 (`spec/socketio.md` §3.3, §6, §10).

pub mod close;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod message;
mod sha1;
