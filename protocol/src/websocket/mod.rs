//! The WebSocket protocol (RFC 6455) as `spec/socketio.md` §3.3, §6 and §10 want it, both sides of the wire.
//!
//! * [`handshake`]: from an HTTP request to the 101 response, or to the refusal;
//! * [`frame`]: frame headers, complete frames to send;
//! * [`message`]: the machine that turns received bytes into messages and control frames;
//! * [`close`]: status codes; [`mask`]: masking.
//!
//! No extensions. The order of use for one connection: [`handshake::check`] and its response, then
//! [`message::Decoder`] for every byte behind the request.

pub mod close;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod message;
mod sha1;

pub use frame::{Error, Opcode, Role};
pub use message::{Decoder, Event, Input};
