//! What request and response heads have in common: lines, fields, and what the fields say about the connection.
//!
//! Owns: where lines end, the grammar of a field, the meaning of the fields that frame a message.
//! Never: start lines (see `head` and `response`), bodies.
//! Invariants: a byte is looked at once for line ends, however many times the caller comes back with more; whether a
//! head is accepted, and why not, does not depend on how its bytes were cut.
//! Implements `spec/socketio.md` §2.2 and §2.3, on the stricter side wherever it allows both.

use std::fmt;
use std::ops::Range;

/// Bounds of one head. A head that does not fit is answered with 431.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Start line, fields and every line end together.
    pub head_bytes_max: u16,
    /// Number of fields. The reference server drops fields beyond 2,000 (S-1); we refuse the request far earlier.
    pub fields_max: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes_max: 16_384, fields_max: 200 }
    }
}

/// What the peer broke in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request line is not `method SP target SP version`, or the status line is malformed.
    StartLine,
    /// Not a method of [`super::Method`].
    Method,
    /// `CONNECT`: the connection is closed without a response.
    Connect,
    /// A target of none of the accepted forms, or with a byte that must be percent-encoded.
    Target,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A line ended by LF alone.
    BareLineFeed,
    /// CR without LF.
    BareCarriageReturn,
    /// A control character other than the horizontal tab.
    ControlCharacter,
    /// A field without colon, with an empty name, or with a name that is no token.
    FieldName,
    /// A line that continues the previous one (obsolete line folding).
    Folding,
    /// `Content-Length` is not a plain number.
    Length,
    /// More than one `Content-Length`.
    LengthRepeated,
    /// A `Transfer-Encoding` other than `chunked`, repeated, or in an HTTP/1.0 message.
    TransferCoding,
    /// Both `Content-Length` and `Transfer-Encoding`.
    FramingConflict,
    /// An HTTP/1.1 request without `Host`.
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// Longer than [`Limits::head_bytes_max`].
    TooLarge,
    /// More fields than [`Limits::fields_max`].
    TooManyFields,
}

impl Error {
    /// The status of the answer, `None` where the connection is closed without one.
    /// The complete answers are in [`super::encode::refusal`].
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        match self {
            Self::Connect => None,
            Self::TooLarge | Self::TooManyFields => Some(431),
            // 505 would be the standard's answer to a version; the reference server treats it as unparsable.
            Self::StartLine
            | Self::Method
            | Self::Target
            | Self::Version
            | Self::BareLineFeed
            | Self::BareCarriageReturn
            | Self::ControlCharacter
            | Self::FieldName
            | Self::Folding
            | Self::Length
            | Self::LengthRepeated
            | Self::TransferCoding
            | Self::FramingConflict
            | Self::HostMissing
            | Self::HostRepeated => Some(400),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartLine => "malformed start line",
            Self::Method => "unknown method",
            Self::Connect => "CONNECT is not served",
            Self::Target => "invalid request target",
            Self::Version => "unsupported HTTP version",
            Self::BareLineFeed => "line ended by a bare LF",
            Self::BareCarriageReturn => "CR not followed by LF",
            Self::ControlCharacter => "control character in a head",
            Self::FieldName => "invalid field name",
            Self::Folding => "obsolete line folding",
            Self::Length => "invalid Content-Length",
            Self::LengthRepeated => "repeated Content-Length",
            Self::TransferCoding => "unsupported Transfer-Encoding",
            Self::FramingConflict => "both Content-Length and Transfer-Encoding",
            Self::HostMissing => "missing Host",
            Self::HostRepeated => "repeated Host",
            Self::TooLarge => "head too large",
            Self::TooManyFields => "too many fields",
        })
    }
}

impl std::error::Error for Error {}

/// The versions we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        match text {
            b"HTTP/1.1" => Ok(Self::Http11),
            b"HTTP/1.0" => Ok(Self::Http10),
            _ => Err(Error::Version),
        }
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// This many bytes follow.
    Length(u64),
    /// Chunks follow.
    Chunked,
}

/// What an `Expect` field asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing.
    None,
    /// `100-continue`: an interim answer before the body is sent.
    Continue,
    /// Anything else, to be answered with 417.
    Unsupported,
}

/// Finds the lines of a head in bytes that arrive in pieces. Six bytes of memory between the pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    line_start: u16,
    scanned: u16,
    /// Whether bytes outside ASCII have been seen. They may belong to what follows the head.
    wide: bool,
}

impl Lines {
    /// The next complete line of `window` without its CRLF, and where it starts. `None`: it is not complete.
    /// `window` is everything received for this head, at most `u16::MAX` bytes.
    pub(super) fn next<'w>(&mut self, window: &'w [u8]) -> Result<Option<(u16, &'w [u8])>, Error> {
        loop {
            let unseen = window.get(usize::from(self.scanned)..).unwrap_or_default();
            let (clean, ascii) = printable_prefix(unseen);
            self.wide |= !ascii;
            let found = unseen.get(clean).copied();
            let stop = self.scanned.saturating_add(offset(clean));
            match found {
                None => {
                    self.scanned = stop;
                    return Ok(None);
                }
                Some(b'\r') => match unseen.get(clean.wrapping_add(1)) {
                    None => {
                        self.scanned = stop;
                        return Ok(None);
                    }
                    Some(b'\n') => {
                        let start = self.line_start;
                        self.line_start = stop.saturating_add(2);
                        self.scanned = self.line_start;
                        let line = window.get(usize::from(start)..usize::from(stop)).unwrap_or_default();
                        return Ok(Some((start, line)));
                    }
                    Some(_) => return Err(Error::BareCarriageReturn),
                },
                Some(b'\t') => self.scanned = stop.saturating_add(1),
                Some(b'\n') => return Err(Error::BareLineFeed),
                Some(_) => return Err(Error::ControlCharacter),
            }
        }
    }

    /// The text of a head that ends here, with its fields.
    ///
    /// # Errors
    /// [`Error::TooLarge`], only for heads near the limit of what a position can say.
    pub(super) fn table(self, window: &[u8], fields: Vec<Field>) -> Result<FieldTable, Error> {
        let head = window.get(..usize::from(self.position())).unwrap_or(window);
        if self.wide { FieldTable::widened(head, fields) } else { FieldTable::ascii(head, fields) }
    }

    /// Where the next line starts: after the empty line, the length of the head.
    pub(super) fn position(self) -> u16 {
        self.line_start
    }
}

/// A position in a head. Heads are at most `u16::MAX` bytes, so this never saturates.
pub(super) fn offset(position: usize) -> u16 {
    u16::try_from(position).unwrap_or(u16::MAX)
}

/// Length of the longest prefix without control characters (0x00 to 0x1f, 0x7f), eight bytes at a time. Also, whether all
/// bytes that were looked at are ASCII.
fn printable_prefix(bytes: &[u8]) -> (usize, bool) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut seen = 0;
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        seen |= word;
        let below_space = word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word;
        let delete = word ^ ONES.wrapping_mul(0x7f);
        let is_delete = delete.wrapping_sub(ONES) & !delete;
        let marks = (below_space | is_delete) & HIGHS;
        if marks != 0 {
            // A borrow can only mark bytes above one that is marked rightly, so the lowest mark is exact.
            let byte = usize::try_from(marks.trailing_zeros() / 8).unwrap_or(0);
            return (at.wrapping_mul(8).wrapping_add(byte), seen & HIGHS == 0);
        }
    }
    let tail = rest.iter().position(|&byte| byte < 0x20 || byte == 0x7f).unwrap_or(rest.len());
    (words.len().wrapping_mul(8).wrapping_add(tail), seen & HIGHS == 0 && rest.is_ascii())
}

/// Where the name and the value of a field are in the text of its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    name_start: u16,
    name_end: u16,
    value_start: u16,
    value_end: u16,
}

impl Field {
    fn name_range(self) -> Range<usize> {
        usize::from(self.name_start)..usize::from(self.name_end)
    }

    fn value_range(self) -> Range<usize> {
        usize::from(self.value_start)..usize::from(self.value_end)
    }

    /// Takes a line without its CRLF apart; `start` is where it begins in the head.
    pub(super) fn parse(start: u16, line: &[u8]) -> Result<(Self, &[u8], &[u8]), Error> {
        if let Some(b' ' | b'\t') = line.first() {
            return Err(Error::Folding);
        }
        let colon = line.iter().position(|&byte| !is_token_byte(byte)).ok_or(Error::FieldName)?;
        let (name, rest) = line.split_at_checked(colon).ok_or(Error::FieldName)?;
        let Some((b':', after)) = rest.split_first() else { return Err(Error::FieldName) };
        if name.is_empty() {
            return Err(Error::FieldName);
        }
        let value = trim_start(after);
        let value_start = line.len().saturating_sub(value.len());
        let value = trim_end(value);
        let field = Self {
            name_start: start,
            name_end: start.saturating_add(offset(colon)),
            value_start: start.saturating_add(offset(value_start)),
            value_end: start.saturating_add(offset(value_start.saturating_add(value.len()))),
        };
        Ok((field, name, value))
    }
}

/// The text of a head with its fields. Two allocations, whatever the number of fields.
#[derive(Clone)]
pub(super) struct FieldTable {
    text: Box<str>,
    fields: Vec<Field>,
}

impl FieldTable {
    fn ascii(head: &[u8], fields: Vec<Field>) -> Result<Self, Error> {
        match String::from_utf8(head.to_vec()) {
            Ok(text) => Ok(Self { text: text.into_boxed_str(), fields }),
            Err(_) => Self::widened(head, fields),
        }
    }

    /// Reads every byte as the character of that number (ISO 8859-1), as Node does: no two values become the same. Those
    /// outside ASCII take two bytes here.
    #[cold]
    fn widened(head: &[u8], mut fields: Vec<Field>) -> Result<Self, Error> {
        let mut positions = Widened { head, at: 0, shift: 0 };
        for field in &mut fields {
            for position in [&mut field.name_start, &mut field.name_end, &mut field.value_start, &mut field.value_end] {
                *position = positions.next(*position).ok_or(Error::TooLarge)?;
            }
        }
        let text: String = head.iter().copied().map(char::from).collect();
        Ok(Self { text: text.into_boxed_str(), fields })
    }

    pub(super) fn text(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|field| (self.text(field.name_range()), self.text(field.value_range())))
    }

    pub(super) fn all<'t>(&'t self, name: &str) -> impl Iterator<Item = &'t str> {
        let matching = move |field: &&'t Field| {
            let range = field.name_range();
            range.len() == name.len() && self.text(range).eq_ignore_ascii_case(name)
        };
        self.fields.iter().filter(matching).map(|field| self.text(field.value_range()))
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }
}

/// Where positions of a head are in its text. They have to be asked for in order.
struct Widened<'h> {
    head: &'h [u8],
    at: u16,
    /// Bytes outside ASCII before `at`.
    shift: u16,
}

impl Widened<'_> {
    fn next(&mut self, position: u16) -> Option<u16> {
        let between = self.head.get(usize::from(self.at)..usize::from(position))?;
        let wide = between.iter().filter(|byte| !byte.is_ascii()).count();
        self.shift = self.shift.checked_add(u16::try_from(wide).ok()?)?;
        self.at = position;
        position.checked_add(self.shift)
    }
}

/// What the fields say about the message and its connection, collected while they are parsed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Semantics {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) host: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    pub(super) expects_continue: bool,
    pub(super) expects_other: bool,
}

impl Semantics {
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        // The length of the name rules out nearly every field at the cost of one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host {
                    return Err(Error::HostRepeated);
                }
                self.host = true;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                if value.eq_ignore_ascii_case(b"100-continue") {
                    self.expects_continue = true;
                } else {
                    self.expects_other = true;
                }
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|&byte| byte == b',').map(trim) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(Error::LengthRepeated);
                }
                if self.chunked {
                    return Err(Error::FramingConflict);
                }
                self.length = Some(parse_decimal(value).ok_or(Error::Length)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Error::TransferCoding);
                }
                if self.length.is_some() {
                    return Err(Error::FramingConflict);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn framing(self) -> Framing {
        match (self.chunked, self.length) {
            (true, _) => Framing::Chunked,
            (false, Some(0) | None) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        }
    }

    pub(super) fn persists(self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }
}

/// Bytes of a token (RFC 9110 §5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

static TOKEN: [bool; 256] = token_table();

/// Built at compile time, where a mistake in an index is a compile error.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
}

/// 1*DIGIT that fits.
fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'))?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_are_those_of_the_standard() {
        let expected = "!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~";
        let actual: String = (0..=255).filter(|&byte| is_token_byte(byte)).map(char::from).collect();
        assert_eq!(actual, expected);
    }

    #[test]
    fn decimals() {
        assert_eq!(parse_decimal(b"0"), Some(0));
        assert_eq!(parse_decimal(b"007"), Some(7));
        assert_eq!(parse_decimal(b"18446744073709551615"), Some(u64::MAX));
        for refused in [&b""[..], b"18446744073709551616", b"+7", b"-7", b"7, 7", b"7 ", b"0x7", b"7.0"] {
            assert_eq!(parse_decimal(refused), None);
        }
    }

    proptest! {
        #[test]
        fn words_and_bytes_find_the_same_control_character(
            bytes in proptest::collection::vec(prop_oneof![20 => 0x20_u8..=0xff, 1 => any::<u8>()], 0..64)
        ) {
            let slow = bytes.iter().position(|&byte| byte < 0x20 || byte == 0x7f).unwrap_or(bytes.len());
            let (clean, ascii) = printable_prefix(&bytes);
            prop_assert_eq!(clean, slow);
            prop_assert!(!ascii || bytes.iter().take(clean).all(u8::is_ascii));
            prop_assert!(ascii || !bytes.is_ascii());
        }
    }
}
