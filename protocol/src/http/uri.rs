//! Request targets: path and query, percent-decoding, query parameters.
//!
//! Owns: where a path ends and how its parts read.
//! Never: matches routes, knows parameter names.
//! Implements `spec/http.md` §2.

use std::borrow::Cow;
use std::fmt;

/// A percent sequence that does not decode to UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a valid url component")
    }
}

impl std::error::Error for Undecodable {}

/// The parts of a request target, still encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'t> {
    /// From the first slash to the first `?` or `#`.
    pub path: &'t str,
    /// What follows that mark; empty without one.
    pub query: &'t str,
}

/// Takes a target apart. An absolute target is routed by its path, an empty path is `/`.
#[must_use]
pub fn split(target: &str) -> Target<'_> {
    let local = match target.split_once("://") {
        // A path may contain `://` as well.
        Some((scheme, rest)) if !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            rest.get(authority..).unwrap_or_default()
        }
        Some(_) | None => target,
    };
    let (path, query) = local.split_once(['?', '#']).unwrap_or((local, ""));
    Target { path: if path.is_empty() { "/" } else { path }, query }
}

/// Decodes one path segment. `+` is an ordinary character here.
///
/// # Errors
/// [`Undecodable`] for a `%` without two hexadecimal digits, and for bytes that are not UTF-8.
pub fn decode_segment(segment: &str) -> Result<Cow<'_, str>, Undecodable> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            decoded.push(byte);
            rest = tail;
            continue;
        }
        let ([high, low], tail) = tail.split_first_chunk::<2>().ok_or(Undecodable)?;
        decoded.push(hex_value(*high)? << 4 | hex_value(*low)?);
        rest = tail;
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| Undecodable)
}

fn hex_value(digit: u8) -> Result<u8, Undecodable> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or(Undecodable)
}

/// The parameters of a query, decoded, in order; repeated names come repeatedly.
///
/// `+` and `%20` are spaces. A name or value in which a percent sequence does not decode keeps all of them as sent.
#[must_use]
pub fn query(query: &str) -> Query<'_> {
    Query { rest: query }
}

/// Iterator over the parameters of a query, made by [`query`].
#[derive(Clone, Debug)]
pub struct Query<'q> {
    rest: &'q str,
}

impl<'q> Iterator for Query<'q> {
    type Item = (Cow<'q, str>, Cow<'q, str>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = self.rest.split_once('&').unwrap_or((self.rest, ""));
            self.rest = rest;
            if !pair.is_empty() {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                return Some((decode_parameter(name), decode_parameter(value)));
            }
        }
        None
    }
}

fn decode_parameter(text: &str) -> Cow<'_, str> {
    if !text.contains('+') {
        return decode_segment(text).unwrap_or(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    match decode_segment(&spaced) {
        Ok(Cow::Owned(decoded)) => Cow::Owned(decoded),
        Ok(Cow::Borrowed(_)) | Err(Undecodable) => Cow::Owned(spaced),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets() {
        let check = |target: &str, path: &str, query: &str| {
            assert_eq!(split(target), Target { path, query }, "{target}");
        };
        check("/", "/", "");
        check("/a/b?c=d&e", "/a/b", "c=d&e");
        check("/a#b", "/a", "b");
        check("/a#b?c", "/a", "b?c");
        check("/a?b#c", "/a", "b#c");
        check("/a;b//c/", "/a;b//c/", "");
        check("/?", "/", "");
        check("*", "*", "");
        check("http://host/v1/features?x=1", "/v1/features", "x=1");
        check("HTTP://user@host:80/v1", "/v1", "");
        check("http://host", "/", "");
        check("http://host?x=/y", "/", "x=/y");
        check("/redirect?to=http://host/path", "/redirect", "to=http://host/path");
        check("/http://host/path", "/http://host/path", "");
    }

    #[test]
    fn segments() {
        assert_eq!(decode_segment("").unwrap(), "");
        assert!(matches!(decode_segment("plain+text"), Ok(Cow::Borrowed("plain+text"))));
        assert_eq!(decode_segment("a%2Fb%2fc").unwrap(), "a/b/c");
        assert_eq!(decode_segment("%C3%BC%25").unwrap(), "ü%");
        assert_eq!(decode_segment("a%00b").unwrap(), "a\0b");
        for undecodable in ["%", "%2", "%zz", "a%", "%C3", "%ff", "%ED%A0%80", "%C0%80", "%+1", "%2\u{fc}"] {
            assert_eq!(decode_segment(undecodable), Err(Undecodable), "{undecodable}");
        }
    }

    #[test]
    fn queries() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let actual: Vec<_> = query(text).collect();
            let actual: Vec<_> = actual.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
            assert_eq!(actual, expected, "{text}");
        };
        check("", &[]);
        check("&&", &[]);
        check("a=b&a=c&%zz", &[("a", "b"), ("a", "c"), ("%zz", "")]);
        check("a=b=c", &[("a", "b=c")]);
        check("a", &[("a", "")]);
        check("a=", &[("a", "")]);
        check("=a", &[("", "a")]);
        check("limit=%202%20&q=a+b", &[("limit", " 2 "), ("q", "a b")]);
        check("q=%2B+%2B", &[("q", "+ +")]);
        check("q=%zz+%20", &[("q", "%zz %20")]);
        check("%61=%C3%BC", &[("a", "ü")]);
    }

    proptest! {
        #[test]
        fn encoded_segments_come_back(text in any::<String>()) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode_segment(&encoded).unwrap(), text.as_str());
            let pair = format!("{encoded}={encoded}");
            let (name, value) = query(&pair).next().unwrap();
            prop_assert_eq!((name.as_ref(), value.as_ref()), (text.as_str(), text.as_str()));
        }

        #[test]
        fn any_text_is_taken(text in any::<String>()) {
            let target = split(&text);
            let _ = decode_segment(target.path);
            prop_assert!(query(target.query).count() <= text.len());
        }
    }
}
