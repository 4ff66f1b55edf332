//! Everything the server derives, signs, seals and hashes (`tests/vectors/README.md` is the exact description).
//!
//! Owns: key material and the formats built on it. Never: storage, requests, the decision what to protect.
//! Invariant: nothing in here prints a secret; comparisons with secrets take the same time whatever they find.

pub mod derive;
pub mod hash;
pub mod random;
pub mod seal;
pub mod signature;
pub mod token;

#[cfg(test)]
pub(crate) mod vectors;
