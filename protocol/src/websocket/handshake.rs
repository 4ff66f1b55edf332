//! The opening handshake: an HTTP/1.1 upgrade request becomes a 101 response or a refusal.
//!
//! Owns: the WebSocket fields of the request and every byte of the answers.
//! Never: looks at the query or at sessions; those checks come before (`spec/socketio.md` §3.3, first table).
//! Extensions are not negotiated: an offer is ignored.
//! Implements `spec/socketio.md` §3.2 (CORS on the 101 response) and §3.3, second table.

use std::fmt;

use super::sha1;
use crate::base64;
use crate::http::encode::{append_decimal, append_field, reason, request_head};
use crate::http::head::RequestHead;
use crate::http::method::Method;

/// Appended to the key before hashing (RFC 6455 §4.2.2).
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// More subprotocols than any client offers; bounds the search for duplicates.
const PROTOCOLS_MAX: usize = 64;

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a `GET` request.
    Method,
    /// No upgrade, or to something else.
    Upgrade,
    /// `Sec-WebSocket-Key` is missing or no 16 bytes in base64.
    Key,
    /// `Sec-WebSocket-Version` is neither 13 nor 8.
    Version,
    /// `Sec-WebSocket-Protocol` is no list of distinct tokens.
    Protocol,
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Upgrade | Self::Key | Self::Version | Self::Protocol => 400,
        }
    }

    /// The body of the answer.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Method => "Invalid HTTP method",
            Self::Upgrade => "Invalid Upgrade header",
            Self::Key => "Missing or invalid Sec-WebSocket-Key header",
            Self::Version => "Missing or invalid Sec-WebSocket-Version header",
            Self::Protocol => "Invalid Sec-WebSocket-Protocol header",
        }
    }

    /// Appends the complete answer. The connection is closed after it.
    pub fn append_response(self, out: &mut Vec<u8>) {
        match self {
            Self::Version => append_refusal_with(out, self, [("Sec-WebSocket-Version", "13, 8")]),
            Self::Method | Self::Upgrade | Self::Key | Self::Protocol => append_refusal_with(out, self, []),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Refusal {}

/// A request that may become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted<'h> {
    /// The proof that we understood the request.
    pub accept: [u8; 28],
    /// The first subprotocol the client offers, which is the one it gets.
    pub protocol: Option<&'h str>,
}

impl Accepted<'_> {
    /// Appends the 101 response. What the client sends behind its request is WebSocket data.
    pub fn append_response(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&self.accept);
        out.extend_from_slice(b"\r\n");
        if let Some(protocol) = self.protocol {
            append_field(out, "Sec-WebSocket-Protocol", protocol);
        }
        out.extend_from_slice(b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\r\n");
    }
}

/// Judges an upgrade request.
///
/// # Errors
/// The first refusal of the table that applies.
pub fn check(head: &RequestHead) -> Result<Accepted<'_>, Refusal> {
    if head.method() != Method::Get {
        return Err(Refusal::Method);
    }
    if !head.upgrade().is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        return Err(Refusal::Upgrade);
    }
    let key = head.header("sec-websocket-key").filter(|key| is_key(key)).ok_or(Refusal::Key)?;
    if !matches!(head.header("sec-websocket-version"), Some("13" | "8")) {
        return Err(Refusal::Version);
    }
    let protocol = first_protocol(head)?;
    Ok(Accepted { accept: accept_key(key), protocol })
}

/// The value of `Sec-WebSocket-Accept` for a key.
#[must_use]
pub fn accept_key(key: &str) -> [u8; 28] {
    let digest = sha1::digest(&[key.as_bytes(), ACCEPT_SUFFIX.as_bytes()].concat());
    // Twenty bytes are 28 characters.
    base64::encode(&digest).as_bytes().first_chunk::<28>().copied().unwrap_or([b'='; 28])
}

/// Appends a refusal of an upgrade request as the endpoint gives it: the reason as plain text, no CORS fields (S-7).
/// The connection is closed after it.
pub fn append_refusal(out: &mut Vec<u8>, status: u16, message: &str) {
    append_plain_answer(out, status, message, []);
}

/// Appends the upgrade request of a client. `key` comes from [`client_key`]; the server proves that it saw it by
/// answering with its [`accept_key`].
pub fn append_request<'h>(
    out: &mut Vec<u8>,
    host: &'h str,
    target: &str,
    key: &'h str,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) {
    let fixed = [
        ("Host", host),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    ];
    request_head(out, Method::Get, target, fixed.into_iter().chain(headers));
}

/// The value of `Sec-WebSocket-Key` for a nonce, which should be random.
#[must_use]
pub fn client_key(nonce: [u8; 16]) -> String {
    base64::encode(&nonce)
}

fn append_refusal_with<const N: usize>(out: &mut Vec<u8>, refusal: Refusal, headers: [(&str, &str); N]) {
    append_plain_answer(out, refusal.status(), refusal.message(), headers);
}

fn append_plain_answer<const N: usize>(out: &mut Vec<u8>, status: u16, message: &str, headers: [(&str, &str); N]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    append_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: ");
    append_decimal(out, u64::try_from(message.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        append_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(message.as_bytes());
}

/// 22 characters of base64 and `==`, which is what 16 bytes give. The bits that fill no byte are not examined.
fn is_key(key: &str) -> bool {
    let symbols = key.strip_suffix("==").unwrap_or_default();
    symbols.len() == 22 && symbols.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// The first of the offered subprotocols, if all of them are well-formed.
fn first_protocol(head: &RequestHead) -> Result<Option<&str>, Refusal> {
    let mut offered: Vec<&str> = Vec::new();
    for protocol in head.header_all("sec-websocket-protocol").flat_map(|value| value.split(',')) {
        let protocol = protocol.trim_matches([' ', '\t']);
        let well_formed = !protocol.is_empty() && protocol.bytes().all(crate::http::is_token_byte);
        if !well_formed || offered.contains(&protocol) || offered.len() >= PROTOCOLS_MAX {
            return Err(Refusal::Protocol);
        }
        offered.push(protocol);
    }
    Ok(offered.first().copied())
}
