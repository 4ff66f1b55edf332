//! Engine.IO, protocol revision 4 (`spec/socketio.md` §3–§8).

pub mod handshake;
pub mod packet;
pub mod session;
pub mod sid;
