//! JSON as text: a scanner that validates and finds, and a writer of strings. No document is ever built.
//!
//! Accepts exactly what JavaScript's `JSON.parse` accepts, with a bound on nesting: the scanner does not recurse, but
//! what reads the text afterwards may. An escape for half of a surrogate pair is valid JSON; it fails in [`unescape`],
//! because no Rust string can hold it.

use std::borrow::Cow;

/// Nesting that is accepted at most, whatever a caller asks for: open brackets are the bits of one integer, so that
/// scanning allocates nothing. Real documents stay below ten.
pub const DEPTH_MAX: u16 = 128;

const _: () = assert!(DEPTH_MAX as u32 <= u128::BITS, "one bit for every open bracket");

/// Why a text is not the JSON that was asked for. `at` is a byte offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The text ends inside a value, or is empty.
    End,
    /// A byte that cannot stand where it stands.
    Unexpected {
        /// Offset of the byte.
        at: usize,
    },
    /// More nesting than the limit.
    TooDeep {
        /// Offset of the bracket that is one too many.
        at: usize,
    },
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::End => f.write_str("the text ends inside a value"),
            Self::Unexpected { at } => write!(f, "unexpected character at byte {at}"),
            Self::TooDeep { at } => write!(f, "nested too deeply at byte {at}"),
        }
    }
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// The type of a valid value, from its first character.
pub fn kind(raw: &str) -> Kind {
    match raw.trim_start_matches(WHITE_SPACE).as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Checks that the text is exactly one value, white space around it aside.
pub fn validate(text: &str, depth_max: u16) -> Result<(), Error> {
    let end = skip_value(text.as_bytes(), 0, depth_max)?;
    let at = skip_space(text.as_bytes(), end);
    if at == text.len() { Ok(()) } else { Err(Error::Unexpected { at }) }
}

fn skip_space(input: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = input.get(at) {
        at = at.saturating_add(1);
    }
    at
}

/// Skips white space and one value that begins at or after `at`; returns the offset behind it. `input` must be UTF-8.
pub fn skip_value(input: &[u8], at: usize, depth_max: u16) -> Result<usize, Error> {
    let mut scanner = Scanner::new(input, at, depth_max);
    scanner.value()?;
    Ok(scanner.at)
}

struct Scanner<'a> {
    input: &'a [u8],
    at: usize,
    /// Open brackets, the innermost in the lowest bit: 1 for an object, 0 for an array.
    open: u128,
    depth: u16,
    depth_max: u16,
}

impl<'a> Scanner<'a> {
    fn new(input: &'a [u8], at: usize, depth_max: u16) -> Self {
        Self { input, at, open: 0, depth: 0, depth_max: depth_max.min(DEPTH_MAX) }
    }

    fn space(&mut self) {
        self.at = skip_space(self.input, self.at);
    }

    fn peek(&self) -> Result<u8, Error> {
        self.input.get(self.at).copied().ok_or(Error::End)
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn unexpected<T>(&self) -> Result<T, Error> {
        Err(if self.at >= self.input.len() { Error::End } else { Error::Unexpected { at: self.at } })
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek()? != byte {
            return self.unexpected();
        }
        self.step();
        Ok(())
    }

    /// One value; nested ones are kept track of in `open`, not on the call stack.
    fn value(&mut self) -> Result<(), Error> {
        loop {
            self.space();
            match self.peek()? {
                b'"' => self.string()?,
                b'{' => {
                    self.push(b'}')?;
                    if !self.closes_at_once(b'}')? {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.push(b']')?;
                    if !self.closes_at_once(b']')? {
                        continue;
                    }
                }
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => return self.unexpected(),
            }
            if !self.after_value()? {
                return Ok(());
            }
        }
    }

    fn push(&mut self, close: u8) -> Result<(), Error> {
        if self.depth >= self.depth_max {
            return Err(Error::TooDeep { at: self.at });
        }
        self.depth = self.depth.saturating_add(1);
        self.open = (self.open << 1) | u128::from(close == b'}');
        self.step();
        Ok(())
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.open >>= 1;
    }

    /// The bracket that closes what is open, if anything is.
    fn innermost(&self) -> Option<u8> {
        (self.depth > 0).then_some(if self.open & 1 == 1 { b'}' } else { b']' })
    }

    fn closes_at_once(&mut self, close: u8) -> Result<bool, Error> {
        self.space();
        if self.peek()? != close {
            return Ok(false);
        }
        self.step();
        self.pop();
        Ok(true)
    }

    /// Behind a value: closes what ends here. `true` if another value must follow.
    fn after_value(&mut self) -> Result<bool, Error> {
        while let Some(close) = self.innermost() {
            self.space();
            match self.peek()? {
                b',' => {
                    self.step();
                    if close == b'}' {
                        self.key()?;
                    }
                    return Ok(true);
                }
                byte if byte == close => {
                    self.step();
                    self.pop();
                }
                _ => return self.unexpected(),
            }
        }
        Ok(false)
    }

    fn key(&mut self) -> Result<(), Error> {
        self.space();
        if self.peek()? != b'"' {
            return self.unexpected();
        }
        self.string()?;
        self.space();
        self.expect(b':')
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Error> {
        for &byte in word {
            self.expect(byte)?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Error> {
        if !self.peek()?.is_ascii_digit() {
            return self.unexpected();
        }
        while let Some(b'0'..=b'9') = self.input.get(self.at) {
            self.step();
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Error> {
        if self.peek()? == b'-' {
            self.step();
        }
        if self.peek()? == b'0' {
            self.step()
        } else {
            self.digits()?
        }
        if self.input.get(self.at) == Some(&b'.') {
            self.step();
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.input.get(self.at) {
            self.step();
            if let Some(b'+' | b'-') = self.input.get(self.at) {
                self.step();
            }
            self.digits()?;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Error> {
        self.step();
        loop {
            self.plain();
            match self.peek()? {
                b'"' => {
                    self.step();
                    return Ok(());
                }
                b'\\' => {
                    self.step();
                    match self.peek()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.step(),
                        b'u' => {
                            self.step();
                            for _ in 0..4 {
                                if !self.peek()?.is_ascii_hexdigit() {
                                    return self.unexpected();
                                }
                                self.step();
                            }
                        }
                        _ => return self.unexpected(),
                    }
                }
                // Control characters must be escaped.
                _ => return self.unexpected(),
            }
        }
    }

    /// Skips what needs no attention inside a string.
    fn plain(&mut self) {
        let rest = self.input.get(self.at..).unwrap_or_default();
        self.at = self.at.saturating_add(plain_len(rest));
    }
}

/// Length of the beginning that a string literal can hold unescaped. Eight bytes at a time: this is where a message
/// spends most of its bytes.
fn plain_len(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut plain = 0_usize;
    for word in words {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            // The lowest mark is the first special byte.
            return plain.saturating_add((special.trailing_zeros() / 8) as usize);
        }
        plain = plain.saturating_add(8);
    }
    let more = tail.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\').unwrap_or(tail.len());
    plain.saturating_add(more)
}

/// Marks in the highest bit of each of eight bytes whether it is a control character, a quote or a backslash; bytes of
/// 0x80 and above never are. A borrow from a marked byte can mark the one above it wrongly, so only the lowest mark counts.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |w: u64| w.wrapping_sub(ONES) & !w;
    let quote = zero(word ^ ONES.wrapping_mul(b'"' as u64));
    let backslash = zero(word ^ ONES.wrapping_mul(b'\\' as u64));
    let control = word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word;
    (quote | backslash | control) & HIGH
}

/// The raw elements of a valid array; of anything else nothing.
pub fn elements(raw: &str) -> Elements<'_> {
    Elements { text: raw, at: start_of(raw, b'[') }
}

/// The raw members of a valid object, keys with their quotes; of anything else nothing.
pub fn members(raw: &str) -> Members<'_> {
    Members { text: raw, at: start_of(raw, b'{') }
}

fn start_of(raw: &str, bracket: u8) -> Option<usize> {
    let at = skip_space(raw.as_bytes(), 0);
    (raw.as_bytes().get(at) == Some(&bracket)).then(|| at.saturating_add(1))
}

/// Takes one value at `at` and moves behind it.
fn take<'a>(text: &'a str, at: &mut usize) -> Option<&'a str> {
    let start = skip_space(text.as_bytes(), *at);
    let end = skip_value(text.as_bytes(), start, DEPTH_MAX).ok()?;
    *at = skip_space(text.as_bytes(), end);
    text.get(start..end)
}

/// See [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    text: &'a str,
    at: Option<usize>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut at = self.at.take()?;
        let value = take(self.text, &mut at)?;
        if self.text.as_bytes().get(at) == Some(&b',') {
            self.at = Some(at.saturating_add(1));
        }
        Some(value)
    }
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    text: &'a str,
    at: Option<usize>,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let mut at = self.at.take()?;
        let key = take(self.text, &mut at)?;
        if self.text.as_bytes().get(at) != Some(&b':') {
            return None;
        }
        at = at.saturating_add(1);
        let value = take(self.text, &mut at)?;
        if self.text.as_bytes().get(at) == Some(&b',') {
            self.at = Some(at.saturating_add(1));
        }
        Some((key, value))
    }
}

/// A step through a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// An array or object begins.
    Open(Kind),
    /// The innermost array or object ends.
    Close,
    /// The key of a member, with its quotes; the value follows.
    Key(&'a str),
    /// Any other value, as it is written.
    Scalar(&'a str),
}

/// Walks through a valid value once, in the order of the text. Of an invalid text it gives what it can.
pub fn tokens(raw: &str) -> Tokens<'_> {
    Tokens { text: raw, at: 0 }
}

/// See [`tokens`].
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let input = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') = input.get(self.at) {
            self.at = self.at.saturating_add(1);
        }
        let bracket = match input.get(self.at)? {
            b'[' => Some(Token::Open(Kind::Array)),
            b'{' => Some(Token::Open(Kind::Object)),
            b']' | b'}' => Some(Token::Close),
            _ => None,
        };
        if bracket.is_some() {
            self.at = self.at.saturating_add(1);
            return bracket;
        }
        let start = self.at;
        let Ok(end) = skip_value(input, start, 0) else {
            self.at = input.len();
            return None;
        };
        self.at = end;
        let scalar = self.text.get(start..end)?;
        let is_key = scalar.starts_with('"') && input.get(skip_space(input, end)) == Some(&b':');
        Some(if is_key { Token::Key(scalar) } else { Token::Scalar(scalar) })
    }
}

/// The text has half of a surrogate pair, which is no character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoneSurrogate;

/// The value of a valid string literal, quotes included in `raw`.
pub fn unescape(raw: &str) -> Result<Cow<'_, str>, LoneSurrogate> {
    // Nearly every literal comes without white space around it and without anything to unescape.
    let raw = if let [b'"', .., b'"'] = raw.as_bytes() { raw } else { raw.trim_matches(WHITE_SPACE) };
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).unwrap_or(raw);
    if plain_len(inner.as_bytes()) == inner.len() {
        return Ok(Cow::Borrowed(inner));
    }
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = escaped.chars();
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let (unit, behind) = hex4(chars.as_str()).ok_or(LoneSurrogate)?;
                rest = behind;
                out.push(match char::from_u32(u32::from(unit)) {
                    Some(character) => character,
                    None => {
                        let (low, behind) = rest.strip_prefix("\\u").and_then(hex4).ok_or(LoneSurrogate)?;
                        rest = behind;
                        let pair = char::decode_utf16([unit, low]).next();
                        pair.and_then(Result::ok).ok_or(LoneSurrogate)?
                    }
                });
                continue;
            }
            Some(character) => out.push(character),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// Whether a valid string literal, quotes included, has this value.
pub fn literal_is(raw: &str, value: &str) -> bool {
    unescape(raw).is_ok_and(|unescaped| unescaped == value)
}

fn hex4(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    // A sign would be read as part of the number.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

/// Appends a string literal as `JSON.stringify` writes it.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, tail) = rest.split_at_checked(plain_len(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((&byte, tail)) = tail.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = tail;
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bytes_in_a_word() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                let mut word = [b'a'; 8];
                if let Some(slot) = word.get_mut(at) {
                    *slot = byte;
                }
                let special = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(special_bytes(u64::from_le_bytes(word)) != 0, special, "{byte} at {at}");
                assert_eq!(plain_len(&word), if special { at } else { 8 }, "{byte} at {at}");
            }
        }
    }
}
