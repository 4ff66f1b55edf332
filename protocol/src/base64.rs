//! Base64 in the forms the contract knows: what we emit, and the decoders for what peers send.
//!
//! Owns: the two alphabets and the exact acceptance rules of `spec/vectors/README.md` §8.
//! Never: reports where an error is; callers only need to know that there is one.
//! Invariant: every decoder accepts what the encoder of the same alphabet emits, and gives the same bytes back.

use std::fmt;

/// Why a text is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Shorter than one group although not empty.
    TooShort,
    /// More than two `=` at the end.
    TooMuchPadding,
    /// A character outside the alphabet.
    InvalidCharacter,
    /// A last group of a single character, which cannot hold a byte (base64url only).
    IncompleteGroup,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "base64 text is too short",
            Self::TooMuchPadding => "base64 text has too much padding",
            Self::InvalidCharacter => "base64 text has a character outside the alphabet",
            Self::IncompleteGroup => "base64 text ends within a byte",
        })
    }
}

impl std::error::Error for Error {}

/// Standard alphabet, padded: the form of every binary value the server emits.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    append(&mut text, bytes, STANDARD, true);
    // The alphabet is ASCII, so the conversion cannot fail.
    String::from_utf8(text).unwrap_or_default()
}

/// URL-safe alphabet without padding: token parts.
#[must_use]
pub fn encode_url(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    append(&mut text, bytes, URL_SAFE, false);
    String::from_utf8(text).unwrap_or_default()
}

/// Standard alphabet, padded, appended to a buffer that already holds something.
pub fn append_encoded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len().div_ceil(3).saturating_mul(4));
    append(out, bytes, STANDARD, true);
}

/// The strict decoder of §8.1: padding may be missing or superfluous up to two, a last single character is dropped
/// unexamined, bits that do not fill a byte are ignored.
///
/// # Errors
/// What [`Error`] lists, except [`Error::IncompleteGroup`].
pub fn decode_strict(text: &str) -> Result<Vec<u8>, Error> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() < 4 {
        return Err(Error::TooShort);
    }
    decode(unpadded(text)?, &STANDARD_VALUES)
}

/// The URL-safe alphabet, with or without padding.
///
/// # Errors
/// What [`Error`] lists, except [`Error::TooShort`].
pub fn decode_url(text: &str) -> Result<Vec<u8>, Error> {
    let symbols = unpadded(text)?;
    if symbols.len() & 3 == 1 {
        return Err(Error::IncompleteGroup);
    }
    decode(symbols, &URL_SAFE_VALUES)
}

/// The lenient decoder of §8.2: both alphabets, other characters skipped, ends at the first `=`, never fails.
#[must_use]
pub fn decode_lenient(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(decoded_len_max(rest.len()));
    // Whole groups first; the first oddity sends the remainder to the loop below.
    while let Some((group, tail)) = rest.split_first_chunk::<4>() {
        let Some(bytes) = decode_group(*group, &LENIENT_VALUES) else { break };
        out.extend_from_slice(&bytes);
        rest = tail;
    }
    let mut group = [0_u8; 4];
    let mut filled = 0_usize;
    for &byte in rest {
        if byte == b'=' {
            break;
        }
        let value = value_of(byte, &LENIENT_VALUES);
        if value == INVALID {
            continue;
        }
        if let Some(slot) = group.get_mut(filled) {
            *slot = value;
        }
        filled = filled.wrapping_add(1);
        if filled == 4 {
            out.extend_from_slice(&join(group));
            filled = 0;
        }
    }
    append_incomplete(&mut out, group, filled);
    out
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Marks a byte outside the alphabet; larger than every value.
const INVALID: u8 = 0xff;
static STANDARD_VALUES: [u8; 256] = values(&[STANDARD]);
static URL_SAFE_VALUES: [u8; 256] = values(&[URL_SAFE]);
static LENIENT_VALUES: [u8; 256] = values(&[STANDARD, URL_SAFE]);

/// Built at compile time, where a mistake in an index is a compile error.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
const fn values(alphabets: &[&[u8; 64]]) -> [u8; 256] {
    let mut table = [INVALID; 256];
    let mut alphabet = 0;
    while alphabet < alphabets.len() {
        let mut value = 0;
        while value < 64 {
            table[alphabets[alphabet][value] as usize] = value as u8;
            value += 1;
        }
        alphabet += 1;
    }
    table
}

fn value_of(symbol: u8, table: &[u8; 256]) -> u8 {
    table.get(usize::from(symbol)).copied().unwrap_or(INVALID)
}

fn symbol_of(value: u8, alphabet: &[u8; 64]) -> u8 {
    alphabet.get(usize::from(value & 63)).copied().unwrap_or(b'=')
}

fn append(out: &mut Vec<u8>, bytes: &[u8], alphabet: &[u8; 64], padded: bool) {
    let (groups, rest) = bytes.as_chunks::<3>();
    for &group in groups {
        out.extend_from_slice(&split(group).map(|value| symbol_of(value, alphabet)));
    }
    match *rest {
        [a] => {
            let [first, second, ..] = split([a, 0, 0]).map(|value| symbol_of(value, alphabet));
            out.extend_from_slice(&[first, second]);
            out.extend_from_slice(if padded { b"==" } else { b"" });
        }
        [a, b] => {
            let [first, second, third, _] = split([a, b, 0]).map(|value| symbol_of(value, alphabet));
            out.extend_from_slice(&[first, second, third]);
            out.extend_from_slice(if padded { b"=" } else { b"" });
        }
        _ => {}
    }
}

/// Three bytes as four values of six bits.
fn split([a, b, c]: [u8; 3]) -> [u8; 4] {
    [a >> 2, (a << 4 | b >> 4) & 63, (b << 2 | c >> 6) & 63, c & 63]
}

/// Four values of six bits as three bytes.
fn join([a, b, c, d]: [u8; 4]) -> [u8; 3] {
    [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]
}

fn unpadded(text: &str) -> Result<&[u8], Error> {
    let symbols = text.trim_end_matches('=').as_bytes();
    if text.len().saturating_sub(symbols.len()) > 2 {
        return Err(Error::TooMuchPadding);
    }
    Ok(symbols)
}

fn decode(symbols: &[u8], table: &[u8; 256]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(decoded_len_max(symbols.len()));
    let (groups, rest) = symbols.as_chunks::<4>();
    for &group in groups {
        out.extend_from_slice(&decode_group(group, table).ok_or(Error::InvalidCharacter)?);
    }
    // A single character left over is dropped without being looked at.
    if rest.len() >= 2 {
        let mut group = [0_u8; 4];
        for (slot, &symbol) in group.iter_mut().zip(rest) {
            *slot = value_of(symbol, table);
            if *slot == INVALID {
                return Err(Error::InvalidCharacter);
            }
        }
        append_incomplete(&mut out, group, rest.len());
    }
    Ok(out)
}

fn decode_group(group: [u8; 4], table: &[u8; 256]) -> Option<[u8; 3]> {
    let values = group.map(|symbol| value_of(symbol, table));
    let [a, b, c, d] = values;
    (a | b | c | d < 64).then(|| join(values))
}

/// The whole bytes of a group of which only `filled` values are known.
fn append_incomplete(out: &mut Vec<u8>, group: [u8; 4], filled: usize) {
    let [first, second, _] = join(group);
    match filled {
        2 => out.push(first),
        3 => out.extend_from_slice(&[first, second]),
        _ => {}
    }
}

fn decoded_len_max(symbols: usize) -> usize {
    symbols.div_ceil(4).saturating_mul(3)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD as ORACLE, URL_SAFE_NO_PAD as ORACLE_URL};
    use proptest::prelude::*;
    use serde_json::Value;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../tests/vectors/encodings.json")).unwrap()
    }

    fn text<'v>(case: &'v Value, name: &str) -> &'v str {
        case[name].as_str().unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn strict_vectors() {
        let vectors = vectors();
        let cases = vectors["strictBase64Decode"].as_array().unwrap();
        assert!(cases.len() >= 30);
        for case in cases {
            let decoded = decode_strict(text(case, "input"));
            match case["hex"].as_str() {
                Some(expected) => assert_eq!(decoded.map(|bytes| hex(&bytes)).as_deref(), Ok(expected), "{case}"),
                None => assert!(decoded.is_err(), "{case}"),
            }
        }
    }

    #[test]
    fn lenient_vectors() {
        let vectors = vectors();
        let cases = vectors["lenientBase64Decode"].as_array().unwrap();
        assert!(cases.len() >= 40);
        for case in cases {
            assert_eq!(hex(&decode_lenient(text(case, "input"))), text(case, "hex"), "{case}");
        }
    }

    #[test]
    fn encode_vectors() {
        let vectors = vectors();
        let cases = vectors["encode"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let bytes = unhex(text(case, "bytesHex"));
            assert_eq!(encode(&bytes), text(case, "base64"));
            assert_eq!(encode_url(&bytes), text(case, "base64urlUnpadded"));
        }
    }

    #[test]
    fn url_alphabet_rules() {
        assert_eq!(decode_url(""), Ok(vec![]));
        assert_eq!(decode_url("-_8"), Ok(vec![0xfb, 0xff]));
        assert_eq!(decode_url("-_8="), Ok(vec![0xfb, 0xff]));
        assert_eq!(decode_url("_w=="), Ok(vec![0xff]));
        assert_eq!(decode_url("_w==="), Err(Error::TooMuchPadding));
        assert_eq!(decode_url("+/8"), Err(Error::InvalidCharacter));
        assert_eq!(decode_url("AAAAA"), Err(Error::IncompleteGroup));
        assert_eq!(decode_url("AA AA"), Err(Error::IncompleteGroup));
        assert_eq!(decode_url("é"), Err(Error::InvalidCharacter));
    }

    proptest! {
        #[test]
        fn agrees_with_oracle(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(encode(&bytes), ORACLE.encode(&bytes));
            prop_assert_eq!(encode_url(&bytes), ORACLE_URL.encode(&bytes));
            prop_assert_eq!(&decode_strict(&encode(&bytes)).unwrap(), &bytes);
            prop_assert_eq!(&decode_url(&encode_url(&bytes)).unwrap(), &bytes);
            prop_assert_eq!(&decode_lenient(&encode(&bytes)), &bytes);
            prop_assert_eq!(&decode_lenient(&encode_url(&bytes)), &bytes);
            let mut appended = b"x".to_vec();
            append_encoded(&mut appended, &bytes);
            prop_assert_eq!(appended, format!("x{}", encode(&bytes)).into_bytes());
        }

        #[test]
        fn what_the_oracle_accepts_we_accept(text in "[A-Za-z0-9+/]{0,40}={0,2}") {
            if let Ok(bytes) = ORACLE.decode(&text) {
                prop_assert_eq!(decode_strict(&text), Ok(bytes));
            }
        }

        #[test]
        fn lenient_ignores_interspersed_noise(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            noise in proptest::collection::vec("[ \n!é{}]{0,3}", 0..100),
        ) {
            let mut noisy = String::new();
            for (at, symbol) in encode(&bytes).trim_end_matches('=').chars().enumerate() {
                noisy.push_str(noise.get(at).map_or("", String::as_str));
                noisy.push(symbol);
            }
            prop_assert_eq!(decode_lenient(&noisy), bytes);
        }

        #[test]
        fn decoders_take_any_text(text in any::<String>()) {
            let _ = decode_strict(&text);
            let _ = decode_url(&text);
            let _ = decode_lenient(&text);
        }
    }
}
