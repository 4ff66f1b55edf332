//! What the tests of this module share: requests made of text.

use std::net::{IpAddr, Ipv4Addr};

use protocol::http::head::{HeadParser, RequestHead};
use protocol::http::{Limits, uri};

use super::request::{Body, Params, Query, Request};

/// A parsed head.
pub(crate) fn head(text: &str) -> RequestHead {
    let parsed = HeadParser::new().parse(text.as_bytes(), &Limits::default()).expect("a valid head");
    parsed.expect("a complete head").0
}

/// A request without path parameters.
pub(crate) fn request(head_text: &str, body: Body) -> Request {
    let head = head(head_text);
    let query = uri::query(uri::split(head.target()).query);
    let query = Query(query.map(|(name, value)| (name.into_owned(), value.into_owned())).collect());
    Request { params: Params::default(), query, body, peer: IpAddr::V4(Ipv4Addr::LOCALHOST), head }
}
