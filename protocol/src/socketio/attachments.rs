//! Packets whose binary parts follow in messages of their own (`spec/socketio.md` §9.1).
//!
//! Owns: the packet that waits, what has arrived of its attachments, the check of its placeholders.
//! Never: putting the bytes into the JSON; whoever wants them follows the placeholders.
//! Limits: [`ATTACHMENTS_MAX`] attachments of [`ATTACHMENTS_BYTES_MAX`] bytes together, if they are kept at all.

use super::packet::{self, ATTACHMENTS_MAX, Packet};
use crate::json::{self, Kind, Token};

/// Bytes of attachments kept for one packet; more is a violation.
pub const ATTACHMENTS_BYTES_MAX: usize = 4 << 20;

/// What becomes of the bytes of attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// They only count: the application uses no binary data.
    Nothing,
    /// They are handed out with the packet.
    Bytes,
}

/// A packet that waits for its attachments.
#[derive(Debug)]
pub struct Incomplete {
    text: String,
    announced: u8,
    missing: u8,
    keep: Keep,
    bytes: usize,
    attachments: Vec<Vec<u8>>,
}

/// A packet whose attachments have all arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    text: String,
    /// The attachments in order, if they were kept.
    pub attachments: Vec<Vec<u8>>,
}

/// The attachments do not fit their packet, or are too large. A violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;

impl Incomplete {
    /// A packet that has announced attachments; `text` is what it was read from.
    pub fn new(text: &str, packet: &Packet<'_>, keep: Keep) -> Self {
        debug_assert!((1..=ATTACHMENTS_MAX).contains(&packet.attachments));
        Self {
            text: text.to_string(),
            announced: packet.attachments,
            missing: packet.attachments,
            keep,
            bytes: 0,
            attachments: Vec::new(),
        }
    }

    /// The next attachment. `true`: it was the last.
    ///
    /// # Errors
    /// There is more of it than is kept.
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, Error> {
        if self.keep == Keep::Bytes {
            self.bytes = self.bytes.saturating_add(bytes.len());
            if self.bytes > ATTACHMENTS_BYTES_MAX {
                return Err(Error);
            }
            self.attachments.push(bytes.to_vec());
        }
        self.missing = self.missing.saturating_sub(1);
        Ok(self.missing == 0)
    }

    /// The whole packet.
    ///
    /// # Errors
    /// A placeholder names an attachment that was not announced.
    pub fn finish(self) -> Result<Complete, Error> {
        debug_assert_eq!(self.missing, 0);
        let complete = Complete { text: self.text, attachments: self.attachments };
        let fits = complete.packet().and_then(|packet| packet.data).is_none_or(|data| fit(data, self.announced));
        if fits { Ok(complete) } else { Err(Error) }
    }
}

impl Complete {
    /// The packet; it has been decoded before, so there always is one.
    pub fn packet(&self) -> Option<Packet<'_>> {
        packet::decode(&self.text).ok()
    }

    /// The attachment that a value is the placeholder of.
    pub fn attachment(&self, raw: &str) -> Option<&[u8]> {
        self.attachments.get(placeholder(raw)?).map(Vec::as_slice)
    }
}

/// The attachment that a value stands for, if it is a placeholder.
pub fn placeholder(raw: &str) -> Option<usize> {
    let member =
        |name| json::members(raw).filter(|(key, _)| json::literal_is(key, name)).map(|(_, value)| value).last();
    if member("_placeholder")? == "true" { index(member("num")?) } else { None }
}

/// A number as the reference server reads it: `1`, but also `1.0` and `1e0`.
fn index(raw: &str) -> Option<usize> {
    if json::kind(raw) != Kind::Number {
        return None;
    }
    let number = raw.parse::<f64>().ok()?;
    (0..usize::from(ATTACHMENTS_MAX)).find(|&index| u32::try_from(index).is_ok_and(|index| f64::from(index) == number))
}

/// An object or array on the way through a value.
#[derive(Clone, Copy, Default)]
struct Level {
    is_placeholder: bool,
    /// Its `num` names an attachment that was announced.
    num_fits: bool,
    /// Something inside it does not fit.
    broken: bool,
}

/// What the value of the member just begun is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Placeholder,
    Num,
    Other,
}

/// Whether every placeholder in valid JSON names one of the attachments. One pass, whatever the nesting.
fn fit(data: &str, announced: u8) -> bool {
    let mut levels = vec![Level::default()];
    let mut member = Member::Other;
    for token in json::tokens(data) {
        let Some(level) = levels.last_mut() else { return true };
        // Of a member given twice the last value counts.
        match (token, member) {
            (Token::Key(key), _) => {
                member = match key {
                    key if json::literal_is(key, "_placeholder") => Member::Placeholder,
                    key if json::literal_is(key, "num") => Member::Num,
                    _ => Member::Other,
                };
                continue;
            }
            (Token::Scalar(value), Member::Placeholder) => level.is_placeholder = value == "true",
            (Token::Scalar(value), Member::Num) => {
                level.num_fits = index(value).is_some_and(|index| index < usize::from(announced));
            }
            (Token::Open(_), Member::Placeholder) => level.is_placeholder = false,
            (Token::Open(_), Member::Num) => level.num_fits = false,
            (Token::Scalar(_) | Token::Open(_) | Token::Close, _) => {}
        }
        member = Member::Other;
        match token {
            Token::Open(_) => levels.push(Level::default()),
            Token::Close => {
                let level = levels.pop().unwrap_or_default();
                // What is inside a placeholder is replaced with it.
                let broken = if level.is_placeholder { !level.num_fits } else { level.broken };
                if let Some(outer) = levels.last_mut() {
                    outer.broken |= broken;
                }
            }
            Token::Key(_) | Token::Scalar(_) => {}
        }
    }
    !levels.iter().any(|level| level.broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_that_fit() {
        let check =
            |data: &str, announced: u8, fits: bool| assert_eq!(fit(data, announced), fits, "{data} of {announced}");
        check(r#"["a"]"#, 1, true);
        check(r#"["a",{"_placeholder":true,"num":0}]"#, 1, true);
        check(r#"["a",{"_placeholder":true,"num":1}]"#, 1, false);
        check(r#"["a",{"_placeholder":true,"num":1.0}]"#, 2, true);
        check(r#"["a",{"_placeholder":true,"num":0.5}]"#, 2, false);
        check(r#"["a",{"_placeholder":true,"num":-1}]"#, 1, false);
        check(r#"["a",{"_placeholder":true,"num":"0"}]"#, 1, false);
        check(r#"["a",{"_placeholder":true,"num":[0]}]"#, 1, false);
        check(r#"["a",{"_placeholder":true}]"#, 1, false);
        check(r#"["a",{"_placeholder":false,"num":7}]"#, 1, true);
        check(r#"["a",{"_placeholder":[true],"num":7}]"#, 1, true);
        check(r#"["a",{"_placeholder":true,"num":7}]"#, 1, false);
        check(r#"["a",{"_placeholder":true,"_placeholder":1,"num":7}]"#, 1, true);
        check(r#"["a",{"_placeholder":true,"num":7,"num":0}]"#, 1, true);
        check(r#"["a",[{"x":[{"_placeholder":true,"num":7}]},1]]"#, 1, false);
        check(r#"["a",{"_placeholder":true,"num":0,"x":{"_placeholder":true,"num":7}}]"#, 1, true);
        check(r#"["a",["_placeholder",true,"num",7]]"#, 1, true);
    }

    #[test]
    fn deep_and_wide_values_are_walked_once() {
        let deep = format!("{}{}{}", "[".repeat(128), r#""x""#, "]".repeat(128));
        assert!(fit(&deep, 1));
        let wide = format!("[\"a\"{}]", ",{\"_placeholder\":true,\"num\":0}".repeat(20_000));
        assert!(fit(&wide, 1));
    }
}
