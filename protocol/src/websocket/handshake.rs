//! The opening handshake, server side (RFC 6455 §4.2, `spec/socketio.md` §3.3).

use super::sha1;
use crate::base64;
use crate::http::Method;
use crate::http::head::RequestHead;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that may become a websocket.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    accept: String,
    protocol: Option<String>,
}

/// A request that may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refused {
    Method,
    Upgrade,
    Key,
    Version,
    Protocol,
}

/// The value of `Sec-WebSocket-Accept` for a key.
pub fn accept_key(key: &str) -> String {
    base64::encode(&sha1::digest(format!("{key}{GUID}").as_bytes()))
}

/// Judges an upgrade request.
pub fn accept(head: &RequestHead) -> Result<Accepted, Refused> {
    if head.method() != Method::Get {
        return Err(Refused::Method);
    }
    if !head.upgrade().is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        return Err(Refused::Upgrade);
    }
    let key = head.header("sec-websocket-key").filter(|key| is_key(key)).ok_or(Refused::Key)?;
    if !matches!(head.header("sec-websocket-version"), Some("13" | "8")) {
        return Err(Refused::Version);
    }
    let protocol = match head.header("sec-websocket-protocol") {
        Some(offer) => Some(first_protocol(offer).ok_or(Refused::Protocol)?.to_string()),
        None => None,
    };
    Ok(Accepted { accept: accept_key(key), protocol })
}

/// Twenty-two characters of base64 and two of padding: sixteen bytes.
fn is_key(key: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    key.strip_suffix("==").is_some_and(|digits| digits.len() == 22 && digits.bytes().all(is_digit))
}

/// The first of the subprotocols offered; `None` if the list is malformed or names one twice.
fn first_protocol(offer: &str) -> Option<&str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let mut seen: Vec<&str> = Vec::new();
    for name in offer.split(',').map(|name| name.trim_matches([' ', '\t'])) {
        if name.is_empty() || !name.bytes().all(is_token) || seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    seen.first().copied()
}

impl Accepted {
    /// The 101 response.
    pub fn response(&self) -> Vec<u8> {
        let mut out = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
            self.accept
        );
        if let Some(protocol) = &self.protocol {
            out.push_str("Sec-WebSocket-Protocol: ");
            out.push_str(protocol);
            out.push_str("\r\n");
        }
        out.push_str("Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\r\n");
        out.into_bytes()
    }
}

impl Refused {
    /// The whole response, after which the connection is closed.
    pub fn response(self) -> Vec<u8> {
        match self {
            Self::Method => plain_response("405 Method Not Allowed", "", "Invalid HTTP method"),
            Self::Upgrade => plain_response("400 Bad Request", "", "Invalid Upgrade header"),
            Self::Key => plain_response("400 Bad Request", "", "Missing or invalid Sec-WebSocket-Key header"),
            Self::Version => plain_response(
                "400 Bad Request",
                "Sec-WebSocket-Version: 13, 8\r\n",
                "Missing or invalid Sec-WebSocket-Version header",
            ),
            Self::Protocol => plain_response("400 Bad Request", "", "Invalid Sec-WebSocket-Protocol header"),
        }
    }
}

/// A refusal of an upgrade: raw, and without CORS fields (S-7).
pub fn plain_response(status: &str, fields: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    )
    .into_bytes()
}
