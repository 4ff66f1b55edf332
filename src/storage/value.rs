//! Values as they cross the seam to the database.
//!
//! Owns: the small set of types both databases have in common, and rows made of them.
//! Invariant: times are Unix milliseconds everywhere above the database, JSON is its text.
//!
//! The accessors of [`Row`] take what the statement promises. A column of another type is a mistake in the statement,
//! not in the data, so they panic on it with a text that says which.

/// A parameter or a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Text(String),
    Int(i64),
    Bytes(Vec<u8>),
    Bool(bool),
    /// Unix milliseconds.
    Time(i64),
    /// The text of a JSON value.
    Json(String),
    /// For `= ANY($n)` on PostgreSQL and `IN (SELECT value FROM json_each($n))` on SQLite.
    Texts(Vec<String>),
    /// As [`Value::Texts`], for integers.
    Ints(Vec<i64>),
}

macro_rules! from {
    ($($from:ty => $make:expr;)*) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                ($make)(value)
            }
        })*
    };
}

from! {
    String => Self::Text;
    &str => |text: &str| Self::Text(text.to_owned());
    &String => |text: &String| Self::Text(text.clone());
    i64 => Self::Int;
    i32 => |int| Self::Int(i64::from(int));
    u32 => |int| Self::Int(i64::from(int));
    bool => Self::Bool;
    Vec<u8> => Self::Bytes;
    &[u8] => |bytes: &[u8]| Self::Bytes(bytes.to_vec());
    Vec<String> => Self::Texts;
    Vec<i64> => Self::Ints;
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Text(_) => "text",
            Self::Int(_) => "an integer",
            Self::Bytes(_) => "bytes",
            Self::Bool(_) => "a boolean",
            Self::Time(_) => "a time",
            Self::Json(_) => "JSON",
            Self::Texts(_) => "texts",
            Self::Ints(_) => "integers",
        }
    }
}

/// A row of an answer; columns are counted from 0 in the order of the statement.
///
/// SQLite tells fewer types apart than PostgreSQL: a boolean or time arrives as an integer, JSON as text. The accessors
/// accept both forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(Vec<Value>);

impl Row {
    pub fn new(columns: Vec<Value>) -> Self {
        Self(columns)
    }

    pub fn columns(&self) -> &[Value] {
        &self.0
    }

    pub fn is_null(&self, i: usize) -> bool {
        matches!(self.column(i), Value::Null)
    }

    #[track_caller]
    pub fn text(&self, i: usize) -> &str {
        match self.column(i) {
            Value::Text(text) | Value::Json(text) => text,
            other => wrong(i, other, "text"),
        }
    }

    /// Moves the text out, leaving NULL.
    #[track_caller]
    pub fn take_text(&mut self, i: usize) -> String {
        match self.take(i) {
            Value::Text(text) | Value::Json(text) => text,
            other => wrong(i, &other, "text"),
        }
    }

    #[track_caller]
    pub fn opt_text(&self, i: usize) -> Option<String> {
        (!self.is_null(i)).then(|| self.text(i).to_owned())
    }

    #[track_caller]
    pub fn int(&self, i: usize) -> i64 {
        match self.column(i) {
            Value::Int(int) => *int,
            other => wrong(i, other, "an integer"),
        }
    }

    #[track_caller]
    pub fn opt_int(&self, i: usize) -> Option<i64> {
        (!self.is_null(i)).then(|| self.int(i))
    }

    #[track_caller]
    pub fn bool(&self, i: usize) -> bool {
        match self.column(i) {
            Value::Bool(bool) => *bool,
            Value::Int(int) => *int != 0,
            other => wrong(i, other, "a boolean"),
        }
    }

    /// Unix milliseconds.
    #[track_caller]
    pub fn time(&self, i: usize) -> i64 {
        match self.column(i) {
            Value::Time(ms) | Value::Int(ms) => *ms,
            other => wrong(i, other, "a time"),
        }
    }

    #[track_caller]
    pub fn opt_time(&self, i: usize) -> Option<i64> {
        (!self.is_null(i)).then(|| self.time(i))
    }

    #[track_caller]
    pub fn bytes(&self, i: usize) -> &[u8] {
        match self.column(i) {
            Value::Bytes(bytes) => bytes,
            other => wrong(i, other, "bytes"),
        }
    }

    #[track_caller]
    pub fn opt_bytes(&self, i: usize) -> Option<Vec<u8>> {
        (!self.is_null(i)).then(|| self.bytes(i).to_vec())
    }

    /// The text of a JSON value. PostgreSQL normalises it: spaces and the order of members are its own.
    #[track_caller]
    pub fn json(&self, i: usize) -> String {
        self.text(i).to_owned()
    }

    #[track_caller]
    pub fn opt_json(&self, i: usize) -> Option<String> {
        self.opt_text(i)
    }

    /// An array on PostgreSQL, a JSON array of text on SQLite.
    #[track_caller]
    pub fn texts(&self, i: usize) -> Vec<String> {
        match self.column(i) {
            Value::Texts(texts) => texts.clone(),
            Value::Text(json) | Value::Json(json) => match sonic_rs::from_str(json) {
                Ok(texts) => texts,
                Err(_) => wrong(i, self.column(i), "texts"),
            },
            other => wrong(i, other, "texts"),
        }
    }

    #[track_caller]
    pub fn ints(&self, i: usize) -> &[i64] {
        match self.column(i) {
            Value::Ints(ints) => ints,
            other => wrong(i, other, "integers"),
        }
    }

    #[track_caller]
    fn column(&self, i: usize) -> &Value {
        match self.0.get(i) {
            Some(value) => value,
            None => panic!("column {i} was read from a row of {}", self.0.len()),
        }
    }

    #[track_caller]
    fn take(&mut self, i: usize) -> Value {
        self.column(i);
        std::mem::replace(&mut self.0[i], Value::Null)
    }
}

#[track_caller]
fn wrong(i: usize, found: &Value, expected: &str) -> ! {
    panic!("column {i} was read as {expected} but holds {}", found.kind())
}

impl Value {
    /// Refuses what PostgreSQL cannot store and SQLite would: U+0000 in text, and in JSON the escapes for it and for
    /// halves of surrogate pairs.
    pub(super) fn check(&self) -> Result<(), super::Error> {
        let nul = |text: &str| text.as_bytes().contains(&0);
        let invalid = match self {
            Self::Text(text) => nul(text),
            Self::Texts(texts) => texts.iter().any(|text| nul(text)),
            Self::Json(json) => nul(json) || json_escapes_are_bad(json.as_bytes()),
            _ => false,
        };
        if invalid { Err(super::Error::Invalid("U+0000 or half a surrogate pair in text".into())) } else { Ok(()) }
    }
}

fn json_escapes_are_bad(json: &[u8]) -> bool {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(json.get(at..at + 4)?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut at = 0;
    while at < json.len() {
        if json[at] != b'\\' {
            at += 1;
            continue;
        }
        if json.get(at + 1) != Some(&b'u') {
            at += 2;
            continue;
        }
        match unit(at + 2) {
            Some(0 | 0xdc00..=0xdfff) => return true,
            Some(0xd800..=0xdbff) => {
                let low = (json.get(at + 6..at + 8) == Some(b"\\u")).then(|| unit(at + 8)).flatten();
                if !matches!(low, Some(0xdc00..=0xdfff)) {
                    return true;
                }
                at += 12;
            }
            _ => at += 6,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_text_is_refused() {
        for (value, good) in [
            (Value::from("plain"), true),
            (Value::from("a\0b"), false),
            (Value::Texts(vec!["a".into(), "\0".into()]), false),
            (Value::Json(r#"{"a":"\u0000"}"#.into()), false),
            (Value::Json(r#"{"a":"\\u0000"}"#.into()), true),
            (Value::Json(r#"{"a":"\ud83d\ude00"}"#.into()), true),
            (Value::Json(r#"{"a":"\ud83d"}"#.into()), false),
            (Value::Json(r#"{"a":"\ude00\ud83d"}"#.into()), false),
            (Value::Json(r#""\u00"#.into()), true),
        ] {
            assert_eq!(value.check().is_ok(), good, "{value:?}");
        }
    }
}
