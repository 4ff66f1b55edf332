//! Names of servers and of requests: texts that are chosen by the server that uses them.

use std::borrow::Borrow;
use std::fmt;

/// Longest name that is taken from others; real ones have 16 characters.
pub const NAME_BYTES_MAX: usize = 64;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Box<str>);

        impl $type {
            /// A new name of 16 lower-case hexadecimal characters.
            #[must_use]
            pub fn from_random(random: u64) -> Self {
                Self(format!("{random:016x}").into_boxed_str())
            }

            /// A name that somebody else has chosen; not the empty one, and none of more than [`NAME_BYTES_MAX`] bytes.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                (1..=NAME_BYTES_MAX).contains(&text.len()).then(|| Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A server in the stream, from its start to its end.
    Uid
);
name!(
    /// An acknowledged broadcast, or another message that is answered.
    RequestId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_sixteen_characters_and_others_may_have_other_lengths() {
        assert_eq!(Uid::from_random(0x5eda).as_str(), "0000000000005eda");
        assert_eq!(RequestId::parse("x").map(|id| id.to_string()).as_deref(), Some("x"));
        assert_eq!(Uid::parse(""), None);
        assert!(Uid::parse(&"x".repeat(NAME_BYTES_MAX)).is_some());
        assert_eq!(Uid::parse(&"x".repeat(NAME_BYTES_MAX.saturating_add(1))), None);
    }
}
