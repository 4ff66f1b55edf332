//! Session ids (`spec/socketio.md` §3.4).

use std::fmt;

const LENGTH: usize = 20;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Bytes of randomness in an id: 102 bits of it survive.
pub const RANDOM_BYTES: usize = 17;

/// Twenty characters: three for the core that opened the session, so that a request that arrives elsewhere finds it,
/// and seventeen random ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid([u8; LENGTH]);

impl Sid {
    /// An id for a session of `core`, from seventeen random bytes.
    pub fn new(core: u16, random: [u8; RANDOM_BYTES]) -> Self {
        let digit = |value: u16| ALPHABET.get(usize::from(value & 63)).copied().unwrap_or(b'A');
        let mut text = [digit(core >> 12), digit(core >> 6), digit(core)].into_iter();
        let mut random = random.into_iter();
        Self(std::array::from_fn(|_| match text.next() {
            Some(character) => character,
            None => digit(u16::from(random.next().unwrap_or(0))),
        }))
    }

    /// Reads an id as a client sent it. Anything that is not of the right form names no session.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| ALPHABET.contains(byte)).then_some(Self(bytes))
    }

    /// The core that opened the session.
    pub fn core(&self) -> u16 {
        self.0.iter().take(3).fold(0u16, |core, byte| {
            let digit = ALPHABET.iter().position(|character| character == byte).unwrap_or(0);
            (core << 6) | u16::try_from(digit).unwrap_or(0)
        })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Sid {
    /// The id is a secret of its client: only its core is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid(core {})", self.core())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_its_core() {
        for core in [0, 1, 63, 64, 4_095, 4_096, u16::MAX] {
            let sid = Sid::new(core, [0xa7; RANDOM_BYTES]);
            assert_eq!(sid.core(), core);
            assert_eq!(sid.as_str().len(), 20);
            assert_eq!(Sid::parse(sid.as_str()), Some(sid));
        }
        assert_eq!(Sid::parse(""), None);
        assert_eq!(Sid::parse("AAAAAAAAAAAAAAAAAAA"), None);
        assert_eq!(Sid::parse("AAAAAAAAAAAAAAAAAAA/"), None);
    }
}
