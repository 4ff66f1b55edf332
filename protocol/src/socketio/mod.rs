//! Socket.IO, protocol revision 5 (`spec/socketio.md` §9).

pub mod connection;
pub mod packet;
