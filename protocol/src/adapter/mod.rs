//! What servers say to each other through a Redis stream, in the format of the socket.io redis-streams adapter 0.2.x
//! (`spec/cluster.md` §3–§8, `docs/cluster.md`).
//!
//! *Codecs*: [`entry`] (the fields of an entry of the stream, and a look at its rooms without reading its payload),
//! [`message`] (the thirteen messages), [`msgpack`] (their form when they carry binary values).
//! *Sessions*: [`membership`] (who is there), [`requests`] (acknowledged broadcasts of ours), [`replies`] (those of
//! others). Time is an argument, in milliseconds.
//!
//! A Node.js server that reads a message with missing members never gets past it (C-3). So a [`message::Message`] can
//! only be made complete, and the JSON in it only of checked text.

pub mod entry;
pub mod membership;
pub mod message;
pub mod msgpack;
pub mod name;
pub mod replies;
pub mod requests;

/// Milliseconds on any clock that does not step back.
pub type Millis = u64;
