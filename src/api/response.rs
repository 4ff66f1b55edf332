//! An answer on its way out: status, fields, body (`spec/http.md` §6).

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use serde::Serialize;

use crate::net::service;

pub const JSON: &str = "application/json; charset=utf-8";
pub const TEXT: &str = "text/plain; charset=utf-8";

/// An answer without what the connection adds (date, length, connection fields).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    pub body: Vec<u8>,
    /// What follows `body`, if the whole is too long to be held in memory.
    pub rest: Option<Rest>,
    /// Close the connection after this answer.
    pub close: bool,
    /// The request has made a row of the database for somebody without a token, which its route may limit.
    pub creates: bool,
}

/// The rest of a long body. Equal to itself alone.
#[derive(Clone)]
pub struct Rest(pub Rc<dyn service::Rest>);

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} further bytes", self.0.length())
    }
}

impl PartialEq for Rest {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Rest {}

impl Response {
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            headers: Vec::new(),
            body: Vec::new(),
            rest: None,
            close: false,
            creates: false,
        }
    }

    pub fn bytes(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { content_type: Some(content_type), body, ..Self::empty(status) }
    }

    pub fn text(status: u16, text: &str) -> Self {
        Self::bytes(status, TEXT, text.as_bytes().to_vec())
    }

    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match sonic_rs::to_vec(body) {
            Ok(bytes) => Self::bytes(status, JSON, bytes),
            Err(error) => {
                // Our own values always serialise; a stored JSON text that does not is a damaged row.
                log::error!("an answer could not be written as JSON: {error}");
                Self::internal_error()
            }
        }
    }

    /// 200 with a JSON body.
    pub fn ok(body: &impl Serialize) -> Self {
        Self::json(200, body)
    }

    /// `{"success":true}`
    pub fn success() -> Self {
        Self::bytes(200, JSON, br#"{"success":true}"#.to_vec())
    }

    /// `{"error":…}`
    pub fn error(status: u16, error: &str) -> Self {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
        }
        Self::json(status, &Body { error })
    }

    /// The generic internal error, G500. Details never leave the server.
    pub fn internal_error() -> Self {
        const BODY: &[u8] =
            br#"{"error":"Internal Server Error","message":"An unexpected error occurred","statusCode":500}"#;
        Self::bytes(500, JSON, BODY.to_vec())
    }

    pub fn redirect(location: impl Into<Cow<'static, str>>) -> Self {
        Self::empty(302).with("Location", location)
    }

    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn creating(mut self, creates: bool) -> Self {
        self.creates = creates;
        self
    }

    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }
}
