//! Encryption of columns at rest: AES-256-GCM packages under keys of the column tree (vectors §2, §7).
//!
//! Invariant: a package is `0x00 ‖ nonce (12) ‖ ciphertext ‖ tag (16)`, without associated data; every sealing draws a
//! fresh nonce.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};

use crate::crypto::derive::{LateKey, Usage, tree_key};
use crate::crypto::random;

const FORMAT_VERSION: u8 = 0;
const NONCE_BYTES: usize = 12;
/// What a package adds to its plaintext: version, nonce and tag.
pub const OVERHEAD_BYTES: usize = 1 + NONCE_BYTES + 16;

/// The root of the column keys. Its derivation is late: `warm_up`, or the first use.
#[derive(Clone, Debug)]
pub struct ColumnKeys(LateKey);

impl ColumnKeys {
    pub fn new(secret: &str) -> Self {
        Self(LateKey::new(secret, Usage::Columns))
    }

    /// Derives the root. Blocks until that is done.
    pub fn warm_up(&self) {
        self.0.get();
    }

    /// The key of one column of one row, such as `["user", account, "vendors", "openai", "token"]`.
    pub fn at(&self, path: &[&str]) -> Result<ColumnKey, Error> {
        column_key(self.0.get(), path)
    }
}

fn column_key(root: &[u8; 64], path: &[&str]) -> Result<ColumnKey, Error> {
    let key = tree_key(root, path).ok_or(Error::ReservedPath)?;
    Ok(ColumnKey(Aes256Gcm::new(&key.into())))
}

/// Seals and opens the values of one column of one row.
pub struct ColumnKey(Aes256Gcm);

impl ColumnKey {
    pub fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        self.seal_with(random::bytes(), plaintext)
    }

    fn seal_with(&self, nonce: [u8; NONCE_BYTES], plaintext: &[u8]) -> Vec<u8> {
        let nonce = Nonce::from(nonce);
        // The cipher refuses only plaintexts beyond 64 GiB.
        let sealed = self.0.encrypt(&nonce, plaintext).expect("a column fits the cipher");
        let mut package = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        package.push(FORMAT_VERSION);
        package.extend_from_slice(&nonce);
        package.extend_from_slice(&sealed);
        package
    }

    pub fn open(&self, package: &[u8]) -> Result<Vec<u8>, Error> {
        let (version, rest) = package.split_first().ok_or(Error::Malformed)?;
        if *version != FORMAT_VERSION {
            return Err(Error::Malformed);
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Error::Malformed)?;
        self.0.decrypt(&Nonce::from(*nonce), sealed).map_err(|_| Error::Forged)
    }

    /// Opens a package that holds text: invalid sequences become U+FFFD, one leading byte order mark is dropped.
    pub fn open_text(&self, package: &[u8]) -> Result<String, Error> {
        let plaintext = self.open(package)?;
        let text = plaintext.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&plaintext);
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

impl fmt::Debug for ColumnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ColumnKey")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A path element begins with `#`.
    ReservedPath,
    /// Too short for a package, or of another format version.
    Malformed,
    /// The tag does not verify: another key, or a changed package.
    Forged,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedPath => "an element of a key path may not begin with #",
            Self::Malformed => "not an encrypted value",
            Self::Forged => "an encrypted value does not verify under its key",
        })
    }
}

impl std::error::Error for Error {}

/// 1 version byte, 32 of an ephemeral key, 24 of a nonce, 16 of an authenticator.
const WRAPPED_KEY_BYTES_MIN: usize = 1 + 32 + 24 + 16;

/// Whether the bytes can be the wrapped key of a direct share, which is all the server can tell about it.
pub fn is_wrapped_data_key(bytes: &[u8]) -> bool {
    bytes.len() >= WRAPPED_KEY_BYTES_MIN && bytes.first() == Some(&0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;

    use super::*;
    use crate::crypto::derive::derive;
    use crate::crypto::vectors;

    fn key(root: [u8; 64], vector: &Value) -> ColumnKey {
        let path: Vec<_> = vector["path"].as_array().unwrap().iter().map(|e| e.as_str().unwrap()).collect();
        column_key(&root, &path).unwrap()
    }

    fn root(vector: &Value) -> [u8; 64] {
        vectors::hex(vector, "masterHex").try_into().unwrap()
    }

    /// Roots by secret, as the first list of the file gives them.
    fn roots() -> HashMap<String, [u8; 64]> {
        let vectors = vectors::list("key-tree.json", "/vectors");
        vectors.iter().map(|vector| (vectors::text(vector, "secret").to_owned(), root(vector))).collect()
    }

    #[test]
    fn packages_open_and_seal_exactly() {
        for vector in vectors::list("key-tree.json", "/vectors") {
            let key = key(root(&vector), &vector);
            for package in vector["packages"].as_array().unwrap() {
                let sealed = vectors::hex(package, "packageHex");
                let plaintext = vectors::text(package, "plaintext");
                assert_eq!(key.open_text(&sealed).unwrap(), plaintext);
                let nonce = vectors::hex(package, "nonceHex").try_into().unwrap();
                assert_eq!(key.seal_with(nonce, plaintext.as_bytes()), sealed);
                assert_eq!(sealed.len(), plaintext.len() + OVERHEAD_BYTES);
            }
        }
    }

    #[test]
    fn forged_and_malformed_packages_do_not_open() {
        let roots = roots();
        for vector in vectors::list("key-tree.json", "/mustFail") {
            let key = key(roots[vectors::text(&vector, "secret")], &vector);
            assert!(key.open(&vectors::hex(&vector, "packageHex")).is_err(), "{}", vectors::text(&vector, "why"));
        }
    }

    #[test]
    fn text_is_decoded_leniently() {
        let roots = roots();
        for vector in vectors::list("key-tree.json", "/stringDecoding") {
            let key = key(roots[vectors::text(&vector, "secret")], &vector);
            let package = vectors::hex(&vector, "packageHex");
            assert_eq!(key.open(&package).unwrap(), vectors::hex(&vector, "plaintextBytesHex"));
            assert_eq!(key.open_text(&package).unwrap(), vectors::text(&vector, "decodedString"));
        }
    }

    #[test]
    fn sealing_draws_a_new_nonce_and_round_trips() {
        let keys = ColumnKeys::new("x");
        let key = keys.at(&["user", "a", "github", "token"]).unwrap();
        let (first, second) = (key.seal(b"gho_"), key.seal(b"gho_"));
        assert_ne!(first, second);
        assert_eq!(key.open(&first).unwrap(), b"gho_");
        assert_eq!(
            column_key(&derive("x", Usage::Columns), &["user", "a", "github", "token"]).unwrap().open(&second).unwrap(),
            b"gho_"
        );
        assert_eq!(keys.at(&["#aes256"]).unwrap_err(), Error::ReservedPath);
        assert_eq!(key.open(&[]), Err(Error::Malformed));
        assert_eq!(key.open(&[0; 12]), Err(Error::Malformed));
        assert_eq!(key.open(&[0; 29]), Err(Error::Forged));
    }

    #[test]
    fn wrapped_data_keys() {
        for vector in vectors::list("share-encrypted-data-key.json", "/vectors") {
            let bytes = protocol::base64::decode_lenient(vectors::text(&vector, "encryptedDataKey"));
            assert_eq!(i64::try_from(bytes.len()).unwrap(), vectors::number(&vector, "lengthBytes"));
            assert_eq!(is_wrapped_data_key(&bytes), vector["accepted"].as_bool().unwrap());
        }
    }
}
