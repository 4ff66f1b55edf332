//! A request as handlers see it: routed, its body read, its query split (`spec/http.md` §2, §4).

use std::net::IpAddr;

use protocol::http::head::RequestHead;

/// A complete request to a known route.
pub struct Request {
    pub head: RequestHead,
    pub params: Params,
    pub query: Query,
    pub body: Body,
    pub peer: IpAddr,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The bytes of a JSON body as they arrived; nothing if there were none or they were not announced as JSON.
    pub fn json_bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Json(text) => Some(text.as_bytes()),
            Body::Absent | Body::Empty | Body::Text(_) => None,
        }
    }
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// None at all: validation sees `null`.
    Absent,
    /// Announced as JSON, but nothing or only white space: validation sees `{}`.
    Empty,
    /// A JSON text: exactly one value, valid, of bounded depth.
    Json(String),
    /// `text/plain`: validation sees a string.
    Text(String),
}

/// Decoded path parameters, by their names in the template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(pub Vec<(&'static str, String)>);

impl Params {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }
}

/// Decoded query parameters, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
