//! A request as handlers see it: routed, its body read, its query split (`spec/http.md` §2, §4).

use std::net::{IpAddr, Ipv4Addr};

use protocol::http::Limits;
use protocol::http::head::{HeadParser, RequestHead};

use crate::config::network::Network;

/// A complete request to a known route.
pub struct Request {
    pub head: RequestHead,
    pub params: Params,
    pub query: Query,
    pub body: Body,
    pub peer: IpAddr,
}

impl Request {
    /// A request that brings nothing, for [`super::describe`].
    pub(super) fn blank() -> Self {
        const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let parsed = HeadParser::new().parse(HEAD, &Limits::default());
        let (head, _) = parsed.ok().flatten().expect("a complete head of our own");
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { head, params: Params::default(), query: Query::default(), body: Body::Empty, peer }
    }

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

/// The client's address: the peer, or what proxies that are trusted say about theirs, read from the nearest one on.
pub fn client_address(head: &RequestHead, peer: IpAddr, trusted_proxies: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted_proxies.iter().any(|network| network.contains(address));
    let mut client = peer;
    let mut forwarded: Vec<&str> =
        head.header_all("x-forwarded-for").flat_map(|value| value.split(',')).map(str::trim).collect();
    while is_trusted(client)
        && let Some(Ok(next)) = forwarded.pop().map(str::parse)
    {
        client = next;
    }
    client
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
