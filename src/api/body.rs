//! From the bytes of a body to what validation sees (`spec/http.md` §4).

use protocol::http::head::RequestHead;
use protocol::http::{Framing, Method};
use protocol::json;

use super::error::Error;
use super::request::Body;

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
        // A DELETE that has no body may say about it what it likes.
        MediaType::Other(_) if head.method() == Method::Delete && !announced => Ok(Body::Absent),
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
    match json::validate(&text, json::DEPTH_MAX) {
        Ok(()) => Ok(Body::Json(text)),
        Err(error) => Err(Error::MalformedJson(format!("The body is not valid JSON: {error}"))),
    }
}
