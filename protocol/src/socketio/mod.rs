//! Socket.IO, protocol revision 5 (`spec/socketio.md` §9).
//!
//! * [`packet`]: packets, read and written;
//! * [`attachments`]: events and acknowledgements whose binary parts follow in messages of their own;
//! * [`connection`]: the layer's state for one session: which namespaces are connected, and the time allowed until then.

pub mod attachments;
pub mod connection;
pub mod packet;
