//! MessagePack, as far as messages with binary values use it (`spec/cluster.md` §3.1).
//!
//! Written in the smallest forms: integers by size, other numbers as float64, texts as str, bytes as bin, members in
//! their order. Read in any standard form; extension values are read as nil, because that is how one writer spells
//! `undefined`. Limits on what is read: [`DEPTH_MAX`], [`VALUES_MAX`].

use crate::json;

/// Nesting that is read at most.
pub const DEPTH_MAX: u16 = 64;

/// Values that are read at most. A value takes 32 bytes and can come from one byte, so this bounds what an entry costs.
pub const VALUES_MAX: usize = 1 << 18;

/// A value that may hold bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// null, and undefined.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of at least 0.
    Unsigned(u64),
    /// A negative integer.
    Negative(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// An array.
    Array(Vec<Self>),
    /// An object, its members in order.
    Map(Vec<(String, Self)>),
}

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end inside the value.
    End,
    /// Something follows the value.
    Trailing,
    /// A byte that begins no value, or a key that is no text.
    Unexpected,
    /// More nesting than [`DEPTH_MAX`], or more values than [`VALUES_MAX`].
    TooLarge,
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::End => "the bytes end inside a value",
            Self::Trailing => "something follows the value",
            Self::Unexpected => "a byte that begins no value",
            Self::TooLarge => "nested too deeply, or too many values",
        })
    }
}

impl Value {
    /// Whether there are bytes anywhere in it.
    #[must_use]
    pub fn has_binary(&self) -> bool {
        match self {
            Self::Binary(_) => true,
            Self::Array(items) => items.iter().any(Self::has_binary),
            Self::Map(members) => members.iter().any(|(_, value)| value.has_binary()),
            _ => false,
        }
    }

    /// The member of an object.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Appends the value as JSON. Bytes become what `JSON.stringify` makes of a Node.js buffer.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Unsigned(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Negative(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Float(value) if value.is_finite() => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Float(_) => out.extend_from_slice(b"null"),
            Self::Text(text) => json::write_string(out, text),
            Self::Binary(bytes) => {
                out.extend_from_slice(br#"{"type":"Buffer","data":"#);
                list(out, b'[', b']', bytes, |out, byte| out.extend_from_slice(byte.to_string().as_bytes()));
                out.push(b'}');
            }
            Self::Array(items) => list(out, b'[', b']', items, |out, item| item.write_json(out)),
            Self::Map(members) => list(out, b'{', b'}', members, |out, (key, value)| {
                json::write_string(out, key);
                out.push(b':');
                value.write_json(out);
            }),
        }
    }
}

fn list<T>(out: &mut Vec<u8>, open: u8, close: u8, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(close);
}

// ---- writing ----------------------------------------------------------------------------------------------------

/// Appends a value.
pub fn encode(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(false) => out.push(0xc2),
        Value::Bool(true) => out.push(0xc3),
        Value::Unsigned(value) => encode_unsigned(out, *value),
        Value::Negative(value) => encode_negative(out, *value),
        Value::Float(value) => {
            out.push(0xcb);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Value::Text(text) => {
            head(out, text.len(), Some((0xa0, 31)), [Some(0xd9), Some(0xda), Some(0xdb)]);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Binary(bytes) => {
            head(out, bytes.len(), None, [Some(0xc4), Some(0xc5), Some(0xc6)]);
            out.extend_from_slice(bytes);
        }
        Value::Array(items) => {
            head(out, items.len(), Some((0x90, 15)), [None, Some(0xdc), Some(0xdd)]);
            items.iter().for_each(|item| encode(out, item));
        }
        Value::Map(members) => {
            head(out, members.len(), Some((0x80, 15)), [None, Some(0xde), Some(0xdf)]);
            for (key, value) in members {
                encode(out, &Value::Text(key.clone()));
                encode(out, value);
            }
        }
    }
}

fn encode_unsigned(out: &mut Vec<u8>, value: u64) {
    if let Ok(small) = u8::try_from(value) {
        if small >= 0x80 {
            out.push(0xcc);
        }
        out.push(small);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(0xcd);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(0xce);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn encode_negative(out: &mut Vec<u8>, value: i64) {
    if let Ok(value) = i8::try_from(value) {
        if value < -32 {
            out.push(0xd0);
        }
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xd1);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xd2);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// The type and length of something that has a length; `fixed` is the one-byte form and the longest it can express.
fn head(out: &mut Vec<u8>, length: usize, fixed: Option<(u8, u8)>, sized: [Option<u8>; 3]) {
    let [one, two, four] = sized;
    if let (Some((base, longest)), Ok(length)) = (fixed, u8::try_from(length))
        && length <= longest
    {
        out.push(base | length);
    } else if let (Some(code), Ok(length)) = (one, u8::try_from(length)) {
        out.extend_from_slice(&[code, length]);
    } else if let (Some(code), Ok(length)) = (two, u16::try_from(length)) {
        out.push(code);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.extend(four);
        // Nothing of 4 GiB gets here: what is encoded has come through limits of megabytes.
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
}

// ---- reading ----------------------------------------------------------------------------------------------------

/// Reads exactly one value.
///
/// # Errors
/// What [`Error`] lists.
pub fn decode(bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader { rest: bytes, values: 0 };
    let value = reader.value(0)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(Error::Trailing) }
}

struct Reader<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Error::End)?;
        self.rest = rest;
        Ok(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::End)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length in 1, 2 or 4 bytes.
    fn length(&mut self, width: u8) -> Result<usize, Error> {
        let length = match width {
            0 => u32::from(u8::from_be_bytes(self.bytes()?)),
            1 => u32::from(u16::from_be_bytes(self.bytes()?)),
            _ => u32::from_be_bytes(self.bytes()?),
        };
        usize::try_from(length).map_err(|_| Error::TooLarge)
    }

    fn value(&mut self, depth: u16) -> Result<Value, Error> {
        self.values = self.values.saturating_add(1);
        if depth > DEPTH_MAX || self.values > VALUES_MAX {
            return Err(Error::TooLarge);
        }
        let [code] = self.bytes()?;
        match code {
            0x00..=0x7f => Ok(Value::Unsigned(code.into())),
            0x80..=0x8f => self.map(usize::from(code & 0x0f), depth),
            0x90..=0x9f => self.array(usize::from(code & 0x0f), depth),
            0xa0..=0xbf => self.text(usize::from(code & 0x1f)),
            0xc0 => Ok(Value::Null),
            0xc1 => Err(Error::Unexpected),
            0xc2 => Ok(Value::Bool(false)),
            0xc3 => Ok(Value::Bool(true)),
            0xc4..=0xc6 => {
                let length = self.length(code & 3)?;
                Ok(Value::Binary(self.take(length)?.to_vec()))
            }
            // An extension: its length, its type, its bytes.
            0xc7..=0xc9 => {
                let length = self.length(code.wrapping_sub(0xc7))?;
                self.take(1)?;
                self.take(length)?;
                Ok(Value::Null)
            }
            0xca => Ok(Value::Float(f32::from_be_bytes(self.bytes()?).into())),
            0xcb => Ok(Value::Float(f64::from_be_bytes(self.bytes()?))),
            0xcc => Ok(Value::Unsigned(u8::from_be_bytes(self.bytes()?).into())),
            0xcd => Ok(Value::Unsigned(u16::from_be_bytes(self.bytes()?).into())),
            0xce => Ok(Value::Unsigned(u32::from_be_bytes(self.bytes()?).into())),
            0xcf => Ok(Value::Unsigned(u64::from_be_bytes(self.bytes()?))),
            0xd0 => Ok(integer(i8::from_be_bytes(self.bytes()?).into())),
            0xd1 => Ok(integer(i16::from_be_bytes(self.bytes()?).into())),
            0xd2 => Ok(integer(i32::from_be_bytes(self.bytes()?).into())),
            0xd3 => Ok(integer(i64::from_be_bytes(self.bytes()?))),
            // An extension of 1, 2, 4, 8 or 16 bytes behind its type.
            0xd4..=0xd8 => {
                self.take(1)?;
                self.take(1_usize << (code & 0x0f).saturating_sub(4))?;
                Ok(Value::Null)
            }
            0xd9..=0xdb => {
                let length = self.length(code.wrapping_sub(0xd9))?;
                self.text(length)
            }
            0xdc | 0xdd => {
                let length = self.length(code.wrapping_sub(0xdb))?;
                self.array(length, depth)
            }
            0xde | 0xdf => {
                let length = self.length(code.wrapping_sub(0xdd))?;
                self.map(length, depth)
            }
            0xe0..=0xff => Ok(integer(i8::from_be_bytes([code]).into())),
        }
    }

    fn text(&mut self, length: usize) -> Result<Value, Error> {
        let bytes = self.take(length)?;
        // Node.js writers turn half a surrogate pair into three bytes that are no UTF-8, and readers into the mark.
        Ok(Value::Text(String::from_utf8_lossy(bytes).into_owned()))
    }

    /// Whether so many values can follow at all; so nothing is allocated for a length that lies.
    fn check(&self, values: usize) -> Result<(), Error> {
        if values > self.rest.len() { Err(Error::End) } else { Ok(()) }
    }

    fn array(&mut self, length: usize, depth: u16) -> Result<Value, Error> {
        self.check(length)?;
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(self.value(depth.saturating_add(1))?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, length: usize, depth: u16) -> Result<Value, Error> {
        self.check(length)?;
        let mut members = Vec::new();
        for _ in 0..length {
            let Value::Text(key) = self.value(depth.saturating_add(1))? else { return Err(Error::Unexpected) };
            members.push((key, self.value(depth.saturating_add(1))?));
        }
        Ok(Value::Map(members))
    }
}

fn integer(value: i64) -> Value {
    u64::try_from(value).map_or(Value::Negative(value), Value::Unsigned)
}
