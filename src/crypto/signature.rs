//! Signatures of clients: the login challenge and the binding of a content key (vectors §4, §5).
//!
//! The verifier accepts what the reference server's does, with one exception: a scalar that is not reduced is refused
//! (V-3), which no client produces. Points of small order are accepted there and therefore here.

use std::fmt;

use ed25519_dalek::{Signature, Verifier, VerifyingKey};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The public key does not have 32 bytes.
    PublicKey,
    /// The signature does not belong to the key and message, or the key is not one.
    Signature,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PublicKey => "Invalid public key",
            Self::Signature => "Invalid signature",
        })
    }
}

impl std::error::Error for Error {}

/// Whether the holder of `public_key` signed the raw challenge, which may have any length.
pub fn verify_login(public_key: &[u8], challenge: &[u8], signature: &[u8]) -> Result<(), Error> {
    verify(public_key, challenge, signature)
}

/// Whether the holder of the account key vouches for this X25519 key.
pub fn verify_content_key(account_key: &[u8], content_key: &[u8; 32], signature: &[u8]) -> Result<(), Error> {
    verify(account_key, &content_key_message(content_key), signature)
}

const CONTENT_KEY_PREFIX: &[u8; 21] = b"Happy content key v1\0";

fn content_key_message(content_key: &[u8; 32]) -> [u8; 53] {
    let mut message = [0; 53];
    message[..CONTENT_KEY_PREFIX.len()].copy_from_slice(CONTENT_KEY_PREFIX);
    message[CONTENT_KEY_PREFIX.len()..].copy_from_slice(content_key);
    message
}

fn verify(public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Error> {
    let public_key = public_key.try_into().map_err(|_| Error::PublicKey)?;
    let signature = Signature::from_slice(signature).map_err(|_| Error::Signature)?;
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| Error::Signature)?;
    key.verify(message, &signature).map_err(|_| Error::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::hash::{hex_lower, hex_upper};
    use crate::crypto::vectors;

    #[test]
    fn valid_logins() {
        for vector in vectors::list("login-signatures.json", "/valid") {
            let request = &vector["request"];
            let public_key = vectors::base64(request, "publicKey");
            let (challenge, signature) = (vectors::base64(request, "challenge"), vectors::base64(request, "signature"));
            assert_eq!(verify_login(&public_key, &challenge, &signature), Ok(()));
            assert_eq!(hex_upper(&public_key), vectors::text(&vector, "accountPublicKeyHexUpper"));
        }
    }

    #[test]
    fn invalid_logins() {
        for vector in vectors::list("login-signatures.json", "/invalid") {
            let (why, expected) = (vectors::text(&vector, "why"), vectors::text(&vector, "expect"));
            let request = &vector["request"];
            let Ok(public_key) = protocol::base64::decode_strict(vectors::text(request, "publicKey")) else {
                assert_eq!(why, "public key is url-safe base64");
                continue;
            };
            let (challenge, signature) = (vectors::base64(request, "challenge"), vectors::base64(request, "signature"));
            let refusal = verify_login(&public_key, &challenge, &signature).expect_err(why);
            assert!(expected.contains(&refusal.to_string()), "{why}: {refusal}");
        }
    }

    #[test]
    fn content_key_bindings() {
        for vector in vectors::list("content-key-binding.json", "/vectors") {
            let account = vectors::base64(&vector, "accountPublicKeyBase64");
            let content: [u8; 32] = vectors::base64(&vector, "contentPublicKey").try_into().unwrap();
            let signature = vectors::base64(&vector, "contentPublicKeySig");
            assert_eq!(hex_lower(&content_key_message(&content)), vectors::text(&vector, "signedMessageHex"));
            assert_eq!(verify_content_key(&account, &content, &signature), Ok(()));

            let mut other = content;
            other[0] ^= 1;
            assert_eq!(verify_content_key(&account, &other, &signature), Err(Error::Signature));
            assert_eq!(verify_login(&account, &content, &signature), Err(Error::Signature));
        }
    }

    #[test]
    fn lengths_are_checked_before_anything_else() {
        assert_eq!(verify_login(&[1; 31], b"", &[0; 64]), Err(Error::PublicKey));
        assert_eq!(verify_login(&[1; 33], b"", &[0; 64]), Err(Error::PublicKey));
        assert_eq!(verify_login(&[1; 32], b"", &[0; 65]), Err(Error::Signature));
        assert_eq!(verify_login(&[], b"", &[]), Err(Error::PublicKey));
    }
}
