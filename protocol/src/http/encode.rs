//! Writing heads: responses, and the fixed answers to what is no HTTP.
//!
//! Owns: reason phrases, the fields that every response of a kept connection has, the raw refusals of the parser.
//! Never: writes bodies, chooses statuses, formats the date (it is the same for a second, so the caller keeps it).
//! Invariant: no field value can end its line. A value that tries reads as if it had spaces there.
//! Implements `spec/http.md` §1 and `spec/socketio.md` §2.1.

use super::fields::Error;
use super::method::Method;

/// How long an idle connection is kept, as announced to clients.
pub const KEEP_ALIVE_TIMEOUT_S: u64 = 72;

/// What the response says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It is kept for the next request.
    KeepAlive,
    /// It is closed after this response.
    Close,
}

/// The fields of a response that are not the application's.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status code.
    pub status: u16,
    /// The current date as [`super::date::format`] writes it; absent on the bare answers of the parser.
    pub date: Option<&'a [u8; 29]>,
    /// The length of the body, also of the body a `HEAD` does not get.
    pub content_length: Option<u64>,
    /// Whether the connection is kept.
    pub connection: Connection,
}

/// Appends a complete response head, the empty line included.
pub fn response_head<'h>(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_>,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    append_decimal(out, u64::from(head.status));
    out.push(b' ');
    out.extend_from_slice(reason(head.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        append_field(out, name, value);
    }
    if let Some(date) = head.date {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(length) = head.content_length {
        out.extend_from_slice(b"Content-Length: ");
        append_decimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
    match head.connection {
        Connection::KeepAlive => {
            out.extend_from_slice(b"Connection: keep-alive\r\nKeep-Alive: timeout=");
            append_decimal(out, KEEP_ALIVE_TIMEOUT_S);
            out.extend_from_slice(b"\r\n\r\n");
        }
        Connection::Close => out.extend_from_slice(b"Connection: close\r\n\r\n"),
    }
}

/// Appends a complete request head, for clients. `headers` has to contain `Host` and what frames the body.
pub fn request_head<'h>(
    out: &mut Vec<u8>,
    method: Method,
    target: &str,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers {
        append_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// The interim answer to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The answer to what cannot be parsed, head or chunked body. The connection is closed after it.
pub const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 65\r\nContent-Type: application/json\r\n\r\n\
{\"error\":\"Bad Request\",\"message\":\"Client Error\",\"statusCode\":400}";

/// The answer to a head that did not arrive in time. The connection is closed after it.
pub const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 71\r\nContent-Type: application/json\r\n\r\n\
{\"error\":\"Request Timeout\",\"message\":\"Client Timeout\",\"statusCode\":408}";

/// The answer to a head beyond its limits. The connection is closed after it.
pub const HEAD_TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 114\r\nContent-Type: application/json\r\n\r\n\
{\"error\":\"Request Header Fields Too Large\",\"message\":\"Exceeded maximum allowed HTTP header size\",\"statusCode\":431}";

/// The answer to an HTTP/1.1 request without `Host`: an empty body, framed as the reference server frames it.
pub const HOST_MISSING: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

/// Everything that is sent to a peer whose head was refused, before the connection is closed. Nothing for `CONNECT`.
#[must_use]
pub fn refusal(error: Error) -> &'static [u8] {
    match (error, error.status()) {
        (Error::HostMissing, _) => HOST_MISSING,
        (_, None) => b"",
        (_, Some(431)) => HEAD_TOO_LARGE,
        (_, Some(_)) => BAD_REQUEST,
    }
}

/// The reason phrase of a status.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Entity",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

/// Appends one field line.
pub(crate) fn append_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let start = out.len();
    out.extend_from_slice(value.as_bytes());
    // Values may carry what a peer once sent, such as the place of a redirect.
    for byte in out.get_mut(start..).unwrap_or_default() {
        if byte.is_ascii_control() && *byte != b'\t' {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a number without allocating.
pub(crate) fn append_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; 20];
    let mut used = 0_usize;
    for slot in digits.iter_mut().rev() {
        // The remainder of a division by ten is a digit.
        *slot = b'0'.wrapping_add(u8::try_from(value % 10).unwrap_or(0));
        value /= 10;
        used = used.wrapping_add(1);
        if value == 0 {
            break;
        }
    }
    let (_, digits) = digits.split_at_checked(digits.len().saturating_sub(used)).unwrap_or_default();
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::http::date;
    use crate::http::fields::{Framing, Limits};
    use crate::http::response::ResponseParser;
    use proptest::prelude::*;

    #[test]
    fn a_kept_and_a_closed_response() {
        let date = date::format(784_111_777);
        let mut out = Vec::new();
        let head =
            ResponseHead { status: 200, date: Some(&date), content_length: Some(2), connection: Connection::KeepAlive };
        response_head(&mut out, &head, [("Content-Type", "text/html")]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\
             Connection: keep-alive\r\nKeep-Alive: timeout=72\r\n\r\n"
        );
        let mut out = Vec::new();
        let head = ResponseHead { status: 503, date: None, content_length: None, connection: Connection::Close };
        response_head(&mut out, &head, []);
        assert_eq!(out, b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn values_cannot_end_their_line() {
        let mut out = Vec::new();
        append_field(&mut out, "Location", "/a\r\nSet-Cookie: x\0\tb");
        assert_eq!(out, b"Location: /a  Set-Cookie: x \tb\r\n");
    }

    #[test]
    fn fixed_answers_are_framed_rightly() {
        for answer in [BAD_REQUEST, REQUEST_TIMEOUT, HEAD_TOO_LARGE] {
            let (head, consumed) = ResponseParser::new().parse(answer, &Limits::default()).unwrap().unwrap();
            let body = answer.get(consumed..).unwrap();
            assert_eq!(head.framing(Method::Get), Some(Framing::Length(u64::try_from(body.len()).unwrap())));
            let body: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(body.get("statusCode").unwrap().as_u64(), Some(u64::from(head.status())));
        }
        let (head, _) = ResponseParser::new().parse(HOST_MISSING, &Limits::default()).unwrap().unwrap();
        assert_eq!((head.status(), head.keep_alive(), head.framing(Method::Get)), (400, false, Some(Framing::Chunked)));
    }

    #[test]
    fn refusals_follow_the_status() {
        assert_eq!(refusal(Error::Connect), b"");
        assert_eq!(refusal(Error::HostMissing), HOST_MISSING);
        assert_eq!(refusal(Error::TooLarge), HEAD_TOO_LARGE);
        assert_eq!(refusal(Error::TooManyFields), HEAD_TOO_LARGE);
        assert_eq!(refusal(Error::Version), BAD_REQUEST);
        assert_eq!(refusal(Error::HostRepeated), BAD_REQUEST);
    }

    proptest! {
        #[test]
        fn decimals_are_those_of_the_standard_library(value in prop_oneof![0..2000_u64, any::<u64>()]) {
            let mut out = Vec::new();
            append_decimal(&mut out, value);
            prop_assert_eq!(out, value.to_string().into_bytes());
        }
    }
}
