//! Identifiers: the newtypes of what clients and the database name, and the generators of new ones (data.md §5).
//!
//! Owns: the texts of ids, the per-process counter and fingerprint in a cuid.
//! Never: lookups, ownership, what an id stands for.
//! Invariants: an id compares, hashes and orders like its text; ids made by one process are ordered by the millisecond
//! of their creation even if the clock steps back.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering as Atomic};

use crate::crypto::random;
use crate::model::time::now_ms;

/// The length of a cuid. Texts of exactly this length are kept inline, since almost every id is one.
const CUID_LENGTH: usize = 25;

/// An id's text: inline when it is as long as a cuid, on the heap otherwise. The form follows from the length alone.
#[derive(Clone)]
enum Text {
    Inline([u8; CUID_LENGTH]),
    Heap(Box<str>),
}

impl Text {
    fn as_str(&self) -> &str {
        match self {
            // The bytes came from a string, so the fallback is never taken.
            Self::Inline(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
            Self::Heap(text) => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.as_bytes().try_into().map_or_else(|_| Self::Heap(text.into()), Self::Inline)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        text.as_bytes().try_into().map(Self::Inline).unwrap_or_else(|_| Self::Heap(text.into_boxed_str()))
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Text);

        impl $name {
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }

        impl Eq for $name {}

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.as_str().cmp(other.as_str())
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

text_id!(
    /// One person's account.
    AccountId
);
text_id!(
    /// One coding session.
    SessionId
);
text_id!(
    /// One machine; its id is chosen by the client.
    MachineId
);
text_id!(
    /// One artifact; its id is chosen by the client.
    ArtifactId
);

/// A connected socket's id: 20 random characters of `[A-Za-z0-9_-]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId([u8; Self::LENGTH]);

impl SocketId {
    pub const LENGTH: usize = 20;

    /// 120 random bits, so ids can neither collide nor be guessed.
    pub fn random() -> Self {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let random: [u8; Self::LENGTH] = random::bytes();
        Self(random.map(|byte| ALPHABET[usize::from(byte & 63)]))
    }

    /// The id with this text, if it has the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; Self::LENGTH] = text.as_bytes().try_into().ok()?;
        let well_formed = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        well_formed.then_some(Self(bytes))
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII gets in, so the fallback is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketId({})", self.as_str())
    }
}

/// A new database id in the classic cuid format: `c`, time, counter, fingerprint, random; 25 characters today.
pub fn cuid() -> String {
    static NEWEST_MS: AtomicI64 = AtomicI64::new(0);
    static COUNTER: AtomicU32 = AtomicU32::new(0);

    let now_ms = now_ms();
    // Paging by id relies on later ids being greater, so a clock that steps back must not make smaller ones.
    let time_ms = NEWEST_MS.fetch_max(now_ms, Atomic::Relaxed).max(now_ms);
    let counter = COUNTER.fetch_add(1, Atomic::Relaxed);
    cuid_of(time_ms.unsigned_abs(), counter, fingerprint(), u64::from_le_bytes(random::bytes()))
}

fn cuid_of(time_ms: u64, counter: u32, fingerprint: [u8; 4], random: u64) -> String {
    let mut id = String::with_capacity(CUID_LENGTH);
    id.push('c');
    let time_digits = (1..).find(|&digits| 36u64.checked_pow(digits).is_none_or(|bound| time_ms < bound)).unwrap_or(8);
    push_base36(&mut id, time_ms, time_digits);
    push_base36(&mut id, counter.into(), 4);
    id.extend(fingerprint.map(char::from));
    push_base36(&mut id, random, 8);
    id
}

/// Appends the lowest `digits` base-36 digits of `value`, with leading zeros; higher digits fall off.
fn push_base36(out: &mut String, value: u64, digits: u32) {
    for place in (0..digits).rev() {
        let digit = 36u64.checked_pow(place).map_or(0, |weight| value / weight % 36);
        out.push(u32::try_from(digit).ok().and_then(|digit| char::from_digit(digit, 36)).unwrap_or('0'));
    }
}

/// Two characters from the process id, two from the host name.
fn fingerprint() -> [u8; 4] {
    static FINGERPRINT: OnceLock<[u8; 4]> = OnceLock::new();
    *FINGERPRINT.get_or_init(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        fingerprint_of(std::process::id(), host.trim())
    })
}

fn fingerprint_of(process: u32, host: &str) -> [u8; 4] {
    let host_sum = host.bytes().fold(host.len() as u64 + 36, |sum, byte| sum + u64::from(byte));
    let mut text = String::with_capacity(4);
    push_base36(&mut text, process.into(), 2);
    push_base36(&mut text, host_sum, 2);
    text.as_bytes().try_into().unwrap_or([b'0'; 4])
}

/// The id of a feed event or update envelope: 12 characters of `[A-Za-z0-9]`.
pub fn event_id() -> String {
    alphanumeric(12)
}

/// A file name in public storage: 24 characters of `[A-Za-z0-9]`.
pub fn file_name_id() -> String {
    alphanumeric(24)
}

fn alphanumeric(length: usize) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // Six bits choose among 64 characters; two of them are not wanted, so all others stay equally likely.
        let random: [u8; 16] = random::bytes();
        let missing = length - text.len();
        text.extend(random.iter().filter_map(|byte| alphanumeric_digit(byte & 63)).take(missing));
    }
    text
}

fn alphanumeric_digit(value: u8) -> Option<char> {
    let character = match value {
        0..26 => b'A' + value,
        26..52 => b'a' + (value - 26),
        52..62 => b'0' + (value - 52),
        _ => return None,
    };
    Some(char::from(character))
}

/// A random UUID (version 4) in its usual text form.
pub fn uuid_v4() -> String {
    let mut bytes: [u8; 16] = random::bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::crypto::hash::hex_lower(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn an_id_behaves_like_its_text_whatever_its_length() {
        let texts =
            ["", "x", "cmk2j4x9p0007z3x8q1w5e0ta", "twenty-five bytes: ü ü ü!", "a machine id of a client, long"];
        let mut map = HashMap::new();
        for text in texts {
            let id = MachineId::from(text);
            assert_eq!(id.as_str(), text);
            assert_eq!(id, MachineId::from(text.to_owned()));
            assert_eq!(id.to_string(), text);
            assert_eq!(String::from(id.clone()), text);
            map.insert(id, text);
        }
        for text in texts {
            assert_eq!(map.get(text), Some(&text), "lookup by text");
        }
        let mut ids: Vec<_> = texts.into_iter().map(SessionId::from).collect();
        ids.sort();
        let mut sorted = texts;
        sorted.sort_unstable();
        assert_eq!(ids, sorted);
        assert!(size_of::<AccountId>() <= 32);
    }

    #[test]
    fn ids_are_sent_between_threads_and_serialised_as_text() {
        fn sendable<T: Send + Sync + 'static>() {}
        sendable::<AccountId>();
        sendable::<SocketId>();
        assert_eq!(sonic_rs::to_string(&AccountId::from("a\"b")).unwrap(), r#""a\"b""#);
    }

    #[test]
    fn cuids_have_the_classic_form() {
        let id = cuid();
        assert_eq!(id.len(), CUID_LENGTH);
        assert!(id.starts_with('c') && id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()), "{id}");
        assert_eq!(id.as_bytes()[13..17], fingerprint());
    }

    #[test]
    fn cuid_parts_are_laid_out_and_padded() {
        let table = [
            // time, counter, random, id
            (1_767_225_600_000, 7, 0, "cmjuohs000007fpfp00000000"),
            (2_821_109_907_455, 36u32.pow(4) - 1, u64::MAX, "czzzzzzzzzzzzfpfp1264sgsf"),
            (2_821_109_907_456, 36u32.pow(4), 35, "c1000000000000fpfp0000000z"),
        ];
        for (time_ms, counter, random, expected) in table {
            assert_eq!(cuid_of(time_ms, counter, *b"fpfp", random), expected);
        }
    }

    #[test]
    fn cuids_are_unique_and_ordered_by_time() {
        let ids: Vec<_> = (0..5000).map(|_| cuid()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(ids.windows(2).all(|pair| pair[0][..9] <= pair[1][..9]));
    }

    #[test]
    fn fingerprints_come_from_process_and_host() {
        // "ab": 97 + 98 + length 2 + 36 = 233 = 6 * 36 + 17.
        assert_eq!(&fingerprint_of(36 * 36 + 35, "ab"), b"0z6h");
        assert_ne!(fingerprint_of(1, "host-a"), fingerprint_of(1, "host-b"));
    }

    #[test]
    fn random_texts_use_their_alphabet() {
        assert_eq!((event_id().len(), file_name_id().len()), (12, 24));
        let many: String = (0..200).map(|_| file_name_id()).collect();
        assert!(many.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(many.chars().collect::<HashSet<_>>().len(), 62);
    }

    #[test]
    fn socket_ids_parse_back_and_reject_other_texts() {
        let id = SocketId::random();
        assert_eq!(SocketId::parse(id.as_str()), Some(id));
        assert_ne!(id, SocketId::random());
        for text in ["", "short", "abcdefghijklmnopqrs!", "abcdefghijklmnopqrstu", "abcdefghijklmnopqré"] {
            assert_eq!(SocketId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn uuids_carry_version_and_variant() {
        let id = uuid_v4();
        assert_eq!(id.len(), 36);
        let dashes: Vec<_> = id.match_indices('-').map(|(at, _)| at).collect();
        assert_eq!(dashes, [8, 13, 18, 23]);
        assert_eq!(&id[14..15], "4");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
    }
}
