//! Engine.IO, protocol revision 4 (`spec/socketio.md` §3–§8).
//!
//! * [`packet`]: packets and polling payloads;
//! * [`handshake`]: the query of a request, the checks, the open packet;
//! * [`sid`]: session ids, which carry the core that opened the session;
//! * [`session`]: the machine of one session: heartbeat, polling, upgrade, close.

pub mod handshake;
pub mod packet;
mod polling;
pub mod session;
pub mod sid;
