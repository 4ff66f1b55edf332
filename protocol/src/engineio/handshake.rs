//! Requests to the endpoint: their query, the checks, the open packet (`spec/socketio.md` §3).
//!
//! Owns: the order and the words of the checks of §3.3. Never: finding the session a `sid` names; that is the caller's.
//! The second check, characters in `Origin`, is made by the HTTP parser, which refuses them in any field.

use super::session::{Config, Transport};
use super::sid::Sid;
use crate::http::uri;

/// The parameters that matter. Of a repeated name the last value counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    revision: Option<String>,
    transport: Option<String>,
    sid: Option<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `transport` is missing or unknown.
    TransportUnknown,
    /// `sid` names no live session.
    SessionUnknown,
    /// A new session was not asked for with `GET`.
    BadHandshakeMethod,
    /// The request does not fit the session.
    BadRequest,
    /// `EIO` is not 4.
    UnsupportedRevision,
}

impl Refusal {
    /// The code in the JSON body.
    pub fn code(self) -> u8 {
        match self {
            Self::TransportUnknown => 0,
            Self::SessionUnknown => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest => 3,
            Self::UnsupportedRevision => 5,
        }
    }

    /// The text that goes with it.
    pub fn message(self) -> &'static str {
        match self {
            Self::TransportUnknown => "Transport unknown",
            Self::SessionUnknown => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::UnsupportedRevision => "Unsupported protocol version",
        }
    }

    /// The body for a plain request, sent with status 400.
    pub fn json(self) -> String {
        format!(r#"{{"code":{},"message":"{}"}}"#, self.code(), self.message())
    }

    /// The whole response to an upgrade request, after which the connection is closed.
    pub fn raw_response(self) -> Vec<u8> {
        let message = self.message();
        format!(
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-type: text/html\r\nContent-Length: {}\r\n\r\n{message}",
            message.len()
        )
        .into_bytes()
    }
}

impl Query {
    /// Reads the query of a request target.
    pub fn parse(target: &str) -> Self {
        let mut query = Self::default();
        for (name, value) in uri::query(uri::split(target).query) {
            let slot = match name.as_ref() {
                "EIO" => &mut query.revision,
                "transport" => &mut query.transport,
                "sid" => &mut query.sid,
                _ => continue,
            };
            *slot = Some(value.into_owned());
        }
        query
    }

    /// The session id; an empty value counts as missing.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref().filter(|sid| !sid.is_empty())
    }

    /// The transport named, if it is one that is offered.
    pub fn transport(&self) -> Option<Transport> {
        match self.transport.as_deref() {
            Some("polling") => Some(Transport::Polling),
            Some("websocket") => Some(Transport::WebSocket),
            _ => None,
        }
    }

    /// The check for a request with the `sid` of a live session, once the transport is known.
    ///
    /// # Errors
    /// The request does not fit the transport that the session uses now.
    pub fn check_session(&self, transport: Transport, current: Transport, is_upgrade: bool) -> Result<(), Refusal> {
        let fits = match transport {
            // The candidate of an upgrade. A plain request would never be answered (S-15).
            Transport::WebSocket => is_upgrade,
            // An upgrade to polling makes no sense (S-9).
            Transport::Polling => !is_upgrade && current == Transport::Polling,
        };
        if fits { Ok(()) } else { Err(Refusal::BadRequest) }
    }

    /// The checks for a request without `sid`, once the transport is known.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub fn check_open(&self, transport: Transport, is_get: bool, is_upgrade: bool) -> Result<(), Refusal> {
        if !is_get {
            return Err(Refusal::BadHandshakeMethod);
        }
        if (transport == Transport::WebSocket) != is_upgrade {
            // A plain request cannot become a websocket; an upgrade to polling makes no sense either (S-9).
            return Err(Refusal::BadRequest);
        }
        if self.revision.as_deref() != Some("4") {
            return Err(Refusal::UnsupportedRevision);
        }
        Ok(())
    }
}

/// The open packet, with exactly the five members that clients know.
pub fn open_packet(sid: &Sid, transport: Transport, config: &Config) -> String {
    let upgrades = match transport {
        Transport::Polling => r#""websocket""#,
        Transport::WebSocket => "",
    };
    format!(
        r#"0{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
        config.ping_interval_ms, config.ping_timeout_ms, config.payload_bytes_max
    )
}
