//! Reading the data object of an event (`spec/realtime.md` §6).
//!
//! The texts have been validated when the packet was decoded, so members are found without building a document. As in
//! the reference, of a member given twice the last counts, and data of another type than object has no members.

use std::borrow::Cow;

use protocol::json::{self, Kind};

/// The first argument of an event.
#[derive(Clone, Copy)]
pub struct Data<'a>(Option<&'a str>);

impl<'a> Data<'a> {
    pub fn new(raw: Option<&'a str>) -> Self {
        Self(raw)
    }

    /// Missing or `null`: reading a member of it fails in the reference ("no data").
    pub fn is_missing(&self) -> bool {
        self.0.is_none_or(|raw| json::kind(raw) == Kind::Null)
    }

    /// The raw JSON text of a member.
    pub fn member(&self, name: &str) -> Option<&'a str> {
        let raw = self.0.filter(|raw| json::kind(raw) == Kind::Object)?;
        json::members(raw).filter(|(key, _)| key_is(key, name)).map(|(_, value)| value).last()
    }

    /// A member that is a string.
    pub fn text(&self, name: &str) -> Option<Result<String, Unstorable>> {
        let [text] = self.texts([name]);
        text
    }

    /// Several members that are strings, found in one pass over a text that may be long.
    pub fn texts<const N: usize>(&self, names: [&str; N]) -> [Option<Result<String, Unstorable>>; N] {
        let mut found = [None; N];
        if let Some(raw) = self.0.filter(|raw| json::kind(raw) == Kind::Object) {
            for (key, value) in json::members(raw) {
                for (name, last) in names.iter().zip(&mut found) {
                    if key_is(key, name) {
                        *last = Some(value);
                    }
                }
            }
        }
        found.map(|raw| {
            let raw = raw.filter(|raw| json::kind(raw) == Kind::String)?;
            Some(json::unescape(raw).map(Cow::into_owned).map_err(|_| Unstorable))
        })
    }

    /// A member that is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        let raw = self.member(name).filter(|raw| json::kind(raw) == Kind::Number)?;
        raw.trim().parse().ok()
    }

    /// A member that names something, if it is present. What is present but no string names nothing that a database
    /// knows; the reference fails there, as with a text that cannot be stored.
    pub fn identifier(&self, name: &str) -> Option<Result<String, Unstorable>> {
        let raw = self.member(name).filter(|raw| truthy(raw))?;
        Some(text(raw).ok_or(Unstorable))
    }

    /// A member that is the number of a version. Fractions and what no column holds become [`NEVER`].
    #[allow(clippy::cast_possible_truncation, reason = "whole and within the range of the column")]
    pub fn version(&self, name: &str) -> Option<i64> {
        let number = self.number(name)?;
        let is_possible = number.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&number);
        Some(if is_possible { number as i64 } else { NEVER })
    }
}

/// A version that no stored one equals.
pub const NEVER: i64 = -1;

/// A text with an unpaired surrogate: it is valid JSON, and no database stores it.
#[derive(Debug, PartialEq, Eq)]
pub struct Unstorable;

fn key_is(raw: &str, name: &str) -> bool {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if inner.contains('\\') { json::unescape(raw).is_ok_and(|key| key == name) } else { inner == name }
}

/// Whether JavaScript would take the value for true: *present* in the words of the contract.
pub fn truthy(raw: &str) -> bool {
    match json::kind(raw) {
        Kind::Null => false,
        Kind::Bool => raw.trim() == "true",
        Kind::String => raw.trim() != "\"\"",
        Kind::Number => raw.trim().parse::<f64>().is_ok_and(|number| number != 0.0),
        Kind::Array | Kind::Object => true,
    }
}

/// Whether a value is a string, storable or not.
pub fn is_text(raw: &str) -> bool {
    json::kind(raw) == Kind::String
}

/// A string value; nothing for other types and for texts that cannot exist.
pub fn text(raw: &str) -> Option<String> {
    (json::kind(raw) == Kind::String).then(|| json::unescape(raw).ok().map(Cow::into_owned)).flatten()
}

/// A present value as an identifier: strings as they are, everything else in its textual form.
pub fn textual(raw: &str) -> String {
    text(raw).unwrap_or_else(|| raw.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_their_types() {
        let data = Data::new(Some(r#"{"sid":"s","a\u0062":1,"n":1.5,"sid":"last","no":null,"bad":"\ud800"}"#));
        assert_eq!(data.text("sid"), Some(Ok("last".to_string())));
        assert_eq!(data.number("ab"), Some(1.0));
        assert_eq!(data.number("n"), Some(1.5));
        assert_eq!(data.text("n"), None);
        assert_eq!(data.member("no"), Some("null"));
        assert_eq!(data.text("bad"), Some(Err(Unstorable)));
        assert_eq!(data.texts(["bad", "sid", "n"]), [Some(Err(Unstorable)), Some(Ok("last".to_string())), None]);
        assert_eq!(data.member("none"), None);
        for other in ["[1]", "\"sid\"", "3", "true"] {
            assert_eq!(Data::new(Some(other)).member("sid"), None);
            assert!(!Data::new(Some(other)).is_missing());
        }
        assert!(Data::new(None).is_missing() && Data::new(Some("null")).is_missing());
    }

    #[test]
    fn presence_is_truthiness() {
        for raw in ["null", "false", "0", "-0", "0.0", "\"\""] {
            assert!(!truthy(raw), "{raw}");
        }
        for raw in ["true", "1", "-1", "\"0\"", "[]", "{}", "1e-3"] {
            assert!(truthy(raw), "{raw}");
        }
    }
}
