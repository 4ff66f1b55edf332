//! LIKE patterns that come from clients, for both databases.
//!
//! A prefix given by a client is used as a LIKE pattern: `%` stands for any text, `_` for one character, `\` takes the
//! meaning from the next character (O-21 of `spec/http.md`). SQLite's LIKE ignores case and knows no escapes by
//! default, so there the pattern is translated to GLOB, which has the same expressive power and respects case.

use crate::storage::Kind;

/// Bytes of a client's text that has a `%` in it. Both databases try the piece behind a `%` at every place of what they
/// compare (and give up for good when the end is reached, so the number of `%` does not matter): a row costs the length
/// of its text times that of the pattern. Without a `%` it costs no more than the shorter of the two.
pub(super) const WILDCARD_TEXT_BYTES_MAX: usize = 256;

/// A pattern that matches what begins with a client's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    like: String,
}

impl Pattern {
    /// `None` if the text has a `%` and is too long for that.
    pub(super) fn prefix(text: &str) -> Option<Self> {
        let is_bounded = text.len() <= WILDCARD_TEXT_BYTES_MAX || !parts(text).any(|part| part == Part::AnyText);
        is_bounded.then(|| Self { like: format!("{text}%") })
    }

    /// The pattern in the notation of the operator that the statement for this database uses.
    pub(super) fn for_database(&self, kind: Kind) -> String {
        match kind {
            Kind::Postgres => self.like.clone(),
            Kind::Sqlite => self.glob(),
        }
    }

    fn glob(&self) -> String {
        let mut glob = String::with_capacity(self.like.len());
        for part in parts(&self.like) {
            match part {
                Part::AnyText => glob.push('*'),
                Part::AnyCharacter => glob.push('?'),
                Part::Literal(special @ ('*' | '?' | '[')) => glob.extend(['[', special, ']']),
                Part::Literal(character) => glob.push(character),
            }
        }
        glob
    }
}

#[derive(PartialEq, Eq)]
enum Part {
    AnyText,
    AnyCharacter,
    Literal(char),
}

fn parts(like: &str) -> impl Iterator<Item = Part> {
    let mut characters = like.chars();
    std::iter::from_fn(move || {
        Some(match characters.next()? {
            '%' => Part::AnyText,
            '_' => Part::AnyCharacter,
            // A prefix that ends with a backslash takes the meaning from the `%` that we have appended.
            '\\' => Part::Literal(characters.next().unwrap_or('\\')),
            character => Part::Literal(character),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_translated() {
        let table = [
            ("", "%", "*"),
            ("app.", "app.%", "app.*"),
            ("a_b", "a_b%", "a?b*"),
            ("%x", "%x%", "*x*"),
            (r"100\%", r"100\%%", "100%*"),
            (r"a\", r"a\%", "a%"),
            (r"\\", r"\\%", r"\*"),
            ("a*b?c[d]", "a*b?c[d]%", "a[*]b[?]c[[]d]*"),
            ("ü", "ü%", "ü*"),
        ];
        for (text, like, glob) in table {
            let pattern = Pattern::prefix(text).expect("few wildcards");
            assert_eq!(pattern.for_database(Kind::Postgres), like, "{text}");
            assert_eq!(pattern.for_database(Kind::Sqlite), glob, "{text}");
        }
    }

    #[test]
    fn texts_with_wildcards_are_short() {
        let half = WILDCARD_TEXT_BYTES_MAX / 2;
        assert!(Pattern::prefix(&"%a".repeat(half)).is_some());
        assert!(Pattern::prefix(&format!("{}b", "%a".repeat(half))).is_none());
        assert!(Pattern::prefix(&format!("%{}", "a".repeat(2 * half))).is_none());
        for without in [r"\%", "a", "_"] {
            assert!(Pattern::prefix(&without.repeat(2 * half + 1)).is_some(), "{without}");
        }
    }
}
