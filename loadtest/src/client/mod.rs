//! A lean client of the server's protocols, for many connections in one thread.
//!
//! Owns: sockets, HTTP exchanges, websocket frames, the socket.io packets that the scenarios need.
//! Never: retries, reconnects, validates what it does not use. A server that breaks a rule the client relies on ends
//! the connection with a `Failure`, which the report shows.
//!
//! Client to server: HTTP (spec http.md §1, §12.2, §14.7), websocket transport (socketio.md §4, §6, §8, §9).

pub(crate) mod http;
pub(crate) mod identity;
pub(crate) mod json;
pub(crate) mod sender;
pub(crate) mod socket;
mod source;
mod websocket;

use std::fmt;
use std::io;

pub(crate) use http::Http;
pub(crate) use identity::Account;
pub(crate) use sender::Sender;
pub(crate) use socket::{Packet, Reader};
pub(crate) use source::Sources;

/// Why an operation or a connection failed, in words for the report.
#[derive(Clone, Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Says what was being done.
    pub(crate) fn during(self, what: &str) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
