//! Keys from the master secret, and the tree of column keys below one of them (vectors §1, §2.1).
//!
//! Invariant: a key is derived at most once per process. One derivation takes 65 to 100 ms of a core, so all are made in the
//! background, one after the other, and only awaited by a caller who comes earlier.

use std::fmt;
use std::sync::{Arc, OnceLock};

use hmac::{Hmac, Mac};
use sha2::Sha512;

/// Fixed by every token and every encrypted column that exists.
const PBKDF2_ROUNDS: u32 = 210_000;

/// What a key is for; the text is the salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The root of the column encryption tree.
    Columns,
    /// The signing key of login tokens.
    PersistentTokens,
    /// The signing key of OAuth state tokens.
    EphemeralTokens,
}

impl Usage {
    fn salt(self) -> &'static str {
        match self {
            Self::Columns => "happy-server-tokens",
            Self::PersistentTokens => "handy Persistent Token",
            Self::EphemeralTokens => "github-happy Ephemeral Token",
        }
    }
}

/// `PBKDF2-HMAC-SHA512(secret, usage)`. The secret is used as its UTF-8 bytes, neither decoded nor trimmed.
pub fn derive(secret: &str, usage: Usage) -> [u8; 64] {
    let mut key = [0; 64];
    pbkdf2::pbkdf2_hmac::<Sha512>(secret.as_bytes(), usage.salt().as_bytes(), PBKDF2_ROUNDS, &mut key);
    key
}

/// A key that is derived when it is first needed, or before that in the background. Clones share the result.
#[derive(Clone)]
pub struct LateKey(Arc<Late>);

struct Late {
    secret: Box<str>,
    usage: Usage,
    key: OnceLock<[u8; 64]>,
}

impl LateKey {
    pub fn new(secret: &str, usage: Usage) -> Self {
        Self(Arc::new(Late { secret: secret.into(), usage, key: OnceLock::new() }))
    }

    /// The key; derives it, or waits for whoever is doing so.
    pub fn get(&self) -> &[u8; 64] {
        self.0.key.get_or_init(|| derive(&self.0.secret, self.0.usage))
    }
}

impl fmt::Debug for LateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LateKey({:?})", self.0.usage)
    }
}

/// Ends every path; elements of callers may not begin with its first character.
const LEAF: &str = "#aes256";

/// The key at a path below `root`, or `None` if an element begins with `#`, which is reserved.
///
/// The first step is keyed with all 64 bytes of the root, every later one with 32 (V-4).
pub(crate) fn tree_key(root: &[u8; 64], path: &[&str]) -> Option<[u8; 32]> {
    if path.iter().any(|element| element.starts_with('#')) {
        return None;
    }
    let mut key = [0; 32];
    let mut chain = [0; 32];
    for (depth, element) in path.iter().chain([&LEAF]).enumerate() {
        let state: &[u8] = if depth == 0 { root } else { &chain };
        let halves = tree_step(state, element);
        key.copy_from_slice(&halves[..32]);
        chain.copy_from_slice(&halves[32..]);
    }
    Some(key)
}

fn tree_step(state: &[u8], element: &str) -> [u8; 64] {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha512>::new_from_slice(state).expect("any key length is fine");
    mac.update(&[0]);
    mac.update(element.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::hash::hex_lower;
    use crate::crypto::vectors;

    #[test]
    fn derived_keys() {
        let vectors = vectors::list("key-derivation.json", "/vectors");
        let usages = [Usage::Columns, Usage::PersistentTokens, Usage::EphemeralTokens];
        std::thread::scope(|scope| {
            for vector in &vectors {
                scope.spawn(move || {
                    let salt = vectors::text(vector, "usage");
                    let usage = usages.into_iter().find(|usage| usage.salt() == salt).expect("a known usage");
                    let key = derive(vectors::text(vector, "secret"), usage);
                    assert_eq!(hex_lower(&key), vectors::text(vector, "derivedHex"), "{salt}");
                });
            }
        });
    }

    #[test]
    fn late_keys_are_shared_by_their_clones() {
        let late = LateKey::new("x", Usage::Columns);
        assert_eq!(late.clone().get(), late.get());
        assert!(std::ptr::eq(late.clone().get(), late.get()));
        assert_eq!(*late.get(), derive("x", Usage::Columns));
        assert_eq!(format!("{late:?}"), "LateKey(Columns)");
    }

    #[test]
    fn tree_keys_and_their_steps() {
        for vector in vectors::list("key-tree.json", "/vectors") {
            let root: [u8; 64] = vectors::hex(&vector, "masterHex").try_into().unwrap();
            let path: Vec<_> = vector["path"].as_array().unwrap().iter().map(|e| e.as_str().unwrap()).collect();
            let key = tree_key(&root, &path).unwrap();
            assert_eq!(hex_lower(&key), vectors::text(&vector, "symmetricKeyHex"), "{path:?}");

            let mut chain = root.to_vec();
            for step in vector["steps"].as_array().into_iter().flatten() {
                let halves = tree_step(&chain, vectors::text(step, "element"));
                assert_eq!(hex_lower(&halves[..32]), vectors::text(step, "keyHalfHex"));
                assert_eq!(hex_lower(&halves[32..]), vectors::text(step, "chainCodeHalfHex"));
                chain = halves[32..].to_vec();
            }
        }
    }

    #[test]
    fn reserved_elements_have_no_key() {
        assert_eq!(tree_key(&[7; 64], &["user", "#aes256"]), None);
        assert!(tree_key(&[7; 64], &["user", "a#"]).is_some());
        assert!(tree_key(&[7; 64], &[]).is_some());
    }
}
