//! From the bytes of a body to what validation sees (`spec/http.md` §4).

use protocol::http::head::RequestHead;
use protocol::http::{Framing, Method};
use protocol::json;

use super::error::Error;
use super::request::Body;

/// Brackets, keys and other values of a body. More cannot be meant for any route, and each takes its time.
const TOKENS_MAX: usize = 1_000_000;

/// A text that is shorter has fewer of them in any case.
const COUNTED_FROM_BYTES: usize = TOKENS_MAX;

/// Reads the body of a request.
pub fn read(head: &RequestHead, bytes: Vec<u8>) -> Result<Body, Error> {
    if !has_body(head.method()) {
        return Ok(Body::Absent);
    }
    let announced = !matches!(head.framing(), Framing::None | Framing::Length(0));
    let Some(content_type) = head.header("content-type") else {
        return if announced { Err(Error::UnsupportedMediaType("undefined".to_string())) } else { Ok(Body::Absent) };
    };
    match media_type(content_type) {
        MediaType::Json => read_json(text(head, bytes)?),
        MediaType::Text => Ok(Body::Text(text(head, bytes)?)),
        MediaType::Other(name) => Err(Error::UnsupportedMediaType(name)),
    }
}

/// Methods whose bodies are looked at; with the others a body is read and ignored.
fn has_body(method: Method) -> bool {
    matches!(method, Method::Post | Method::Put | Method::Patch | Method::Delete)
}

enum MediaType {
    Json,
    Text,
    Other(String),
}

fn media_type(content_type: &str) -> MediaType {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => MediaType::Json,
        "text/plain" => MediaType::Text,
        _ if is_media_type(&essence) => MediaType::Other(essence),
        // O-4: the reference server forgets to fill in the name of what it cannot parse.
        _ => MediaType::Other("%s".to_string()),
    }
}

fn is_media_type(essence: &str) -> bool {
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// The reference server replaces invalid bytes and then notices that the length is wrong; without a length it does not.
fn text(head: &RequestHead, bytes: Vec<u8>) -> Result<String, Error> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if head.framing() == Framing::Chunked => Ok(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        Err(_) => Err(Error::NotUtf8),
    }
}

fn read_json(text: String) -> Result<Body, Error> {
    if text.trim().is_empty() {
        return Ok(Body::Empty);
    }
    if text.len() > COUNTED_FROM_BYTES && json::tokens(&text).nth(TOKENS_MAX).is_some() {
        return Err(Error::MalformedJson(format!("The body has more than {TOKENS_MAX} values")));
    }
    match json::validate(&text, json::DEPTH_MAX) {
        Ok(()) => Ok(Body::Json(text)),
        Err(error) => Err(Error::MalformedJson(format!("The body is not valid JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing;

    /// What becomes of a body: the value validation sees, or the message of the refusal.
    fn check(method: &str, fields: &str, bytes: &[u8]) -> Result<Body, String> {
        let head = testing::head(&format!("{method} / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        read(&head, bytes.to_vec()).map_err(|error| match error {
            Error::UnsupportedMediaType(name) => format!("415 {name}"),
            Error::MalformedJson(_) => "malformed".to_string(),
            Error::NotUtf8 => "not UTF-8".to_string(),
            other => format!("{other:?}"),
        })
    }

    fn sized(content_type: &str, bytes: &[u8]) -> Result<Body, String> {
        check("POST", &format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", bytes.len()), bytes)
    }

    #[test]
    fn media_types() {
        let json = Ok(Body::Json("{}".to_string()));
        for content_type in [
            "application/json",
            "application/json; charset=utf-8",
            "application/json;charset=latin1",
            "Application/JSON",
        ] {
            assert_eq!(sized(content_type, b"{}"), json, "{content_type}");
        }
        assert_eq!(sized("text/plain", b"{}"), Ok(Body::Text("{}".to_string())));
        for (content_type, named) in [
            ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
            ("application/vnd.api+json", "application/vnd.api+json"),
            ("application/jsonx", "application/jsonx"),
            ("image/png; x=y", "image/png"),
            ("foo", "%s"),
            ("a/b/c", "%s"),
        ] {
            assert_eq!(sized(content_type, b"{}"), Err(format!("415 {named}")), "{content_type}");
        }
    }

    #[test]
    fn nothing_sent() {
        assert_eq!(check("POST", "", b""), Ok(Body::Absent));
        assert_eq!(check("POST", "Content-Length: 0\r\n", b""), Ok(Body::Absent));
        assert_eq!(check("POST", "Content-Length: 2\r\n", b"{}"), Err("415 undefined".to_string()));
        assert_eq!(check("POST", "Transfer-Encoding: chunked\r\n", b""), Err("415 undefined".to_string()));
        for bytes in [&b""[..], b"  \n "] {
            assert_eq!(sized("application/json", bytes), Ok(Body::Empty));
        }
        assert_eq!(check("POST", "Content-Type: application/json\r\n", b""), Ok(Body::Empty));
    }

    #[test]
    fn malformed_json() {
        for text in
            [r#"{"a":"#, "{'a':1}", r#"{"a":1,}"#, "{} x", "\u{feff}{}", "{\"a\":\"\u{1}\"}", "NaN", "01", "[1 2]"]
        {
            assert_eq!(sized("application/json", text.as_bytes()), Err("malformed".to_string()), "{text}");
        }
        let deep = "[".repeat(1_000_000);
        assert_eq!(sized("application/json", deep.as_bytes()), Err("malformed".to_string()));
        assert!(matches!(sized("application/json", b" {\"a\":1}\r\n"), Ok(Body::Json(_))));
    }

    #[test]
    fn a_body_has_a_bounded_number_of_values_and_strings_of_any_length() {
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
        // Two of them are the brackets.
        assert!(matches!(sized("application/json", list(TOKENS_MAX - 2).as_bytes()), Ok(Body::Json(_))));
        assert_eq!(sized("application/json", list(TOKENS_MAX).as_bytes()), Err("malformed".to_string()));
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(4 * TOKENS_MAX));
        assert!(matches!(sized("application/json", long.as_bytes()), Ok(Body::Json(_))));
    }

    #[test]
    fn bytes_that_are_not_utf8() {
        let bytes = b"{\"a\":\"\xff\xfe\"}";
        assert_eq!(sized("application/json", bytes), Err("not UTF-8".to_string()));
        let chunked = check("POST", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", bytes);
        assert_eq!(chunked, Ok(Body::Json("{\"a\":\"\u{fffd}\u{fffd}\"}".to_string())));
    }

    #[test]
    fn routes_without_body_schema() {
        assert_eq!(check("GET", "Content-Type: application/xml\r\nContent-Length: 1\r\n", b"x"), Ok(Body::Absent));
        assert_eq!(check("DELETE", "Content-Type: application/json\r\n", b""), Ok(Body::Empty));
        assert_eq!(check("DELETE", "", b""), Ok(Body::Absent));
        let delete = |content_type: &str, bytes: &[u8]| {
            check("DELETE", &format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", bytes.len()), bytes)
        };
        assert_eq!(delete("application/json", b"{\"any\":"), Err("malformed".to_string()));
        assert_eq!(delete("application/xml", b"x"), Err("415 application/xml".to_string()));
    }
}
