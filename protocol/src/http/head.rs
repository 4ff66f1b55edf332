//! Request heads: from the first byte of a request to the empty line.
//!
//! Owns: the request line and what a complete request head must contain.
//! Never: reads a body, looks at the application's fields, decodes the target (see `uri`).
//! Invariants: a line is parsed once, when its end arrives; nothing of a refused head is handed out; any cut of the
//! same bytes gives the same head or the same error.
//! Implements `spec/socketio.md` §2.1 to §2.3.

use std::fmt;

pub use super::fields::{Error, Expectation, Framing, Limits, Version};
use super::fields::{Field, FieldTable, Lines, Semantics, offset};
use super::method::Method;

/// Room for the fields of an ordinary request; more only cost a second allocation.
const FIELDS_EXPECTED: usize = 16;

/// Parses the heads of one connection, one after the other.
///
/// Call [`parse`](Self::parse) with everything received since the end of the previous message, again and again as it
/// grows. After a complete head the parser is as new.
#[derive(Debug, Default)]
pub struct HeadParser {
    lines: Lines,
    request_line: Option<RequestLine>,
    semantics: Semantics,
    fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug)]
struct RequestLine {
    method: Method,
    version: Version,
    target_start: u16,
    target_end: u16,
}

impl HeadParser {
    /// A parser at the beginning of a head. Allocates nothing before the first complete line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The head at the beginning of `input` and its length in bytes, or `None` if more bytes are needed.
    ///
    /// `input` must be what the previous call got, possibly with more behind it.
    ///
    /// # Errors
    /// The request is refused and the connection cannot be used any further.
    pub fn parse(&mut self, input: &[u8], limits: &Limits) -> Result<Option<(RequestHead, usize)>, Error> {
        // What lies behind the limit is not looked at, so that the verdict is the same for every cut.
        let window = input.get(..usize::from(limits.head_bytes_max)).unwrap_or(input);
        while let Some((start, line)) = self.next_line(window)? {
            let Some(request_line) = self.request_line else {
                // Empty lines before a request are skipped; they count towards the limit.
                if !line.is_empty() {
                    self.request_line = Some(RequestLine::parse(start, line)?);
                    self.fields.reserve_exact(FIELDS_EXPECTED.min(usize::from(limits.fields_max)));
                }
                continue;
            };
            if line.is_empty() {
                return self.complete(request_line, window).map(Some);
            }
            if self.fields.len() >= usize::from(limits.fields_max) {
                return Err(Error::TooManyFields);
            }
            let (field, name, value) = Field::parse(start, line)?;
            self.semantics.note(name, value)?;
            self.fields.push(field);
        }
        if input.len() >= usize::from(limits.head_bytes_max) {
            return Err(Error::TooLarge);
        }
        Ok(None)
    }

    /// Whether nothing but empty lines of a next request has arrived: such a connection is idle, not in a request.
    #[must_use]
    pub fn is_idle(&self, input: &[u8]) -> bool {
        self.request_line.is_none() && input.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    fn next_line<'w>(&mut self, window: &'w [u8]) -> Result<Option<(u16, &'w [u8])>, Error> {
        if self.request_line.is_none() {
            // No method begins otherwise: refuse TLS and other foreign protocols before a line end arrives, if ever.
            let first = window.get(usize::from(self.lines.position()));
            if first.is_some_and(|byte| !byte.is_ascii_uppercase() && !matches!(byte, b'\r' | b'\n')) {
                return Err(Error::Method);
            }
        }
        self.lines.next(window)
    }

    fn complete(&mut self, line: RequestLine, window: &[u8]) -> Result<(RequestHead, usize), Error> {
        let semantics = self.semantics;
        match line.version {
            Version::Http11 if !semantics.host => return Err(Error::HostMissing),
            // A sender of HTTP/1.0 cannot mean chunks: some party between us has misunderstood the message.
            Version::Http10 if semantics.chunked => return Err(Error::TransferCoding),
            Version::Http11 | Version::Http10 => {}
        }
        let consumed = usize::from(self.lines.position());
        let parser = std::mem::take(self);
        let table = parser.lines.table(window, parser.fields)?;
        Ok((RequestHead { table, line, semantics }, consumed))
    }
}

impl RequestLine {
    fn parse(start: u16, line: &[u8]) -> Result<Self, Error> {
        let mut words = line.splitn(3, |&byte| byte == b' ');
        let (name, target, version) = (words.next(), words.next(), words.next());
        // The method comes first: whoever speaks another protocol is told so, and CONNECT needs no valid target.
        let name = name.and_then(|name| std::str::from_utf8(name).ok()).ok_or(Error::Method)?;
        let method = Method::parse(name).ok_or(Error::Method)?;
        if method == Method::Connect {
            return Err(Error::Connect);
        }
        let (Some(target), Some(version)) = (target, version) else { return Err(Error::StartLine) };
        if !is_target(target) {
            return Err(Error::Target);
        }
        let version = Version::parse(version)?;
        let target_start = start.saturating_add(offset(name.len())).saturating_add(1);
        let target_end = target_start.saturating_add(offset(target.len()));
        Ok(Self { method, version, target_start, target_end })
    }
}

/// Origin form, absolute form or `*`, of visible ASCII characters only.
fn is_target(target: &[u8]) -> bool {
    if !target.iter().all(u8::is_ascii_graphic) {
        return false;
    }
    match target {
        [b'/', ..] | b"*" => true,
        _ => {
            let scheme = target.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            scheme > 0 && target.get(scheme..).is_some_and(|rest| rest.starts_with(b"://"))
        }
    }
}

/// A complete request head: one copy of its bytes, and where the fields are in it.
///
/// A byte outside ASCII in a value reads as the character of that number (ISO 8859-1).
#[derive(Clone)]
pub struct RequestHead {
    table: FieldTable,
    line: RequestLine,
    semantics: Semantics,
}

impl RequestHead {
    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.line.method
    }

    /// The target exactly as sent; [`super::uri::split`] takes it apart.
    #[must_use]
    pub fn target(&self) -> &str {
        self.table.text(usize::from(self.line.target_start)..usize::from(self.line.target_end))
    }

    /// The version of the request.
    #[must_use]
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// The first field of this name, whatever the case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.table.first(name)
    }

    /// Every field of this name, in order.
    pub fn header_all<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h str> {
        self.table.all(name)
    }

    /// All fields as sent, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.table.iter()
    }

    /// How the end of the body is found. A declared length of zero is no body.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.semantics.framing()
    }

    /// Whether the connection stays open after the answer.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.semantics.persists(self.line.version)
    }

    /// The `Upgrade` field, if `Connection` says that it is meant for us.
    #[must_use]
    pub fn upgrade(&self) -> Option<&str> {
        if !self.semantics.upgrade {
            return None;
        }
        self.header("upgrade")
    }

    /// What the sender expects before it sends the body. HTTP/1.0 knows no expectations.
    #[must_use]
    pub fn expectation(&self) -> Expectation {
        match self.line.version {
            Version::Http10 => Expectation::None,
            Version::Http11 if self.semantics.expects_other => Expectation::Unsupported,
            Version::Http11 if self.semantics.expects_continue => Expectation::Continue,
            Version::Http11 => Expectation::None,
        }
    }

    /// Whether the sender waits for `100 Continue` before it sends the body.
    #[must_use]
    pub fn expect_continue(&self) -> bool {
        self.expectation() == Expectation::Continue
    }
}

/// Prints no values: they carry tokens.
impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method())
            .field("path", &super::uri::split(self.target()).path)
            .field("fields", &self.table.len())
            .finish_non_exhaustive()
    }
}
