//! Response heads, for the client side: the load generator and tests.
//!
//! Owns: the status line and how the body of a response is framed.
//! Never: follows redirects, decodes content codings.
//! As strict as the request side, so that a test also proves that our own answers are well-formed.

use std::fmt;

use super::fields::{Error, Field, FieldTable, Framing, Limits, Lines, Semantics, Version};
use super::method::Method;

/// Parses the response heads of one connection, one after the other, like [`super::head::HeadParser`].
#[derive(Debug, Default)]
pub struct ResponseParser {
    lines: Lines,
    status_line: Option<StatusLine>,
    semantics: Semantics,
    fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug)]
struct StatusLine {
    status: u16,
    version: Version,
}

impl ResponseParser {
    /// A parser at the beginning of a head.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The head at the beginning of `input` and its length in bytes, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// The response is malformed.
    pub fn parse(&mut self, input: &[u8], limits: &Limits) -> Result<Option<(ResponseHead, usize)>, Error> {
        let window = input.get(..usize::from(limits.head_bytes_max)).unwrap_or(input);
        while let Some((start, line)) = self.lines.next(window)? {
            let Some(status_line) = self.status_line else {
                self.status_line = Some(StatusLine::parse(line)?);
                continue;
            };
            if line.is_empty() {
                let consumed = usize::from(self.lines.position());
                let parser = std::mem::take(self);
                let table = parser.lines.table(window, parser.fields)?;
                return Ok(Some((ResponseHead { table, line: status_line, semantics: parser.semantics }, consumed)));
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
}

impl StatusLine {
    fn parse(line: &[u8]) -> Result<Self, Error> {
        let (version, rest) = line.split_at_checked(8).ok_or(Error::StartLine)?;
        let version = Version::parse(version)?;
        let [b' ', digits @ ..] = rest else { return Err(Error::StartLine) };
        let (digits, reason) = digits.split_at_checked(3).ok_or(Error::StartLine)?;
        if !reason.is_empty() && !reason.starts_with(b" ") {
            return Err(Error::StartLine);
        }
        let status = digits.iter().try_fold(0_u16, |status, &byte| {
            let digit = byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'))?;
            status.checked_mul(10)?.checked_add(u16::from(digit))
        });
        match status {
            Some(status @ 100..) => Ok(Self { status, version }),
            Some(_) | None => Err(Error::StartLine),
        }
    }
}

/// A complete response head.
#[derive(Clone)]
pub struct ResponseHead {
    table: FieldTable,
    line: StatusLine,
    semantics: Semantics,
}

impl ResponseHead {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.line.status
    }

    /// The version of the response.
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

    /// How the end of the body is found, given the method of the request. `None`: it lasts until the connection ends.
    #[must_use]
    pub fn framing(&self, method: Method) -> Option<Framing> {
        let never_a_body = method == Method::Head || matches!(self.line.status, 100..=199 | 204 | 304);
        if never_a_body {
            return Some(Framing::None);
        }
        (self.semantics.chunked || self.semantics.length.is_some()).then(|| self.semantics.framing())
    }

    /// Whether the server keeps the connection open.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.semantics.persists(self.line.version)
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.line.status)
            .field("fields", &self.table.len())
            .finish_non_exhaustive()
    }
}
