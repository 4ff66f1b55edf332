//! Who is connected, and how a message reaches them.
//!
//! Owns: engine.io sessions and sockets of this core, the homes of the accounts that live here, what cores tell each
//! other. Never: why an event exists (that is `domain`), or how a byte leaves (that is `net`).
//! Invariants: a session and its socket live on exactly one core at any time; an account's members are listed on its
//! home core only; an event is encoded once per account and never per socket.
//! Implements `spec/realtime.md` §1–§2, §5, §9–§10, §12 and the server side of `spec/socketio.md`. See `LIFECYCLE.md`.

pub mod application;
pub mod client;
pub mod endpoint;
pub mod event;
pub mod home;
pub mod hub;
pub mod message;
pub mod presence;
mod replicas;
pub mod rpc;
pub mod sessions;
pub mod sids;

#[cfg(test)]
mod simulation;
