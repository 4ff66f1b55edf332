//! Digests, their text forms, and the signature of GitHub webhooks (vectors §6, §10).

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// SHA-256. A public link is stored as the digest of its token's text, exactly as given.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// `0-9a-f`, as in webhook signatures and migration checksums.
pub fn hex_lower(bytes: &[u8]) -> String {
    hex(bytes, b"0123456789abcdef")
}

/// `0-9A-F`, the form of stored public keys.
pub fn hex_upper(bytes: &[u8]) -> String {
    hex(bytes, b"0123456789ABCDEF")
}

fn hex(bytes: &[u8], digits: &[u8; 16]) -> String {
    let digit = |value: u8| char::from(digits[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The text GitHub sends in `x-hub-signature-256` for a webhook with this raw body.
pub fn webhook_signature(secret: &str, body: &[u8]) -> String {
    let mac = webhook_mac(secret, body).finalize().into_bytes();
    format!("sha256={}", hex_lower(&mac))
}

/// Whether `signature` is what GitHub, knowing `secret`, sends with `body`.
pub fn webhook_signature_matches(secret: &str, body: &[u8], signature: &str) -> bool {
    constant_time_eq(webhook_signature(secret, body).as_bytes(), signature.as_bytes())
}

fn webhook_mac(secret: &str, body: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length is fine");
    mac.update(body);
    mac
}

/// Compares without telling by its duration where the first difference is. Lengths are not secret.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let difference = left.iter().zip(right).fold(0u8, |sum, (l, r)| std::hint::black_box(sum | (l ^ r)));
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors;

    #[test]
    fn public_share_token_hashes() {
        for vector in vectors::list("public-share-token-hash.json", "/vectors") {
            let digest = sha256(vectors::text(&vector, "token").as_bytes());
            assert_eq!(hex_lower(&digest), vectors::text(&vector, "tokenHashHex"));
        }
    }

    #[test]
    fn webhook_signatures() {
        for vector in vectors::list("github-webhook-signature.json", "/vectors") {
            let (secret, body) = (vectors::text(&vector, "secret"), vectors::text(&vector, "body").as_bytes().to_vec());
            let signature = vectors::text(&vector, "signature");
            assert_eq!(webhook_signature(secret, &body), signature);
            assert!(webhook_signature_matches(secret, &body, signature));
            for wrong in ["", "sha256=", &signature[7..], &signature.to_uppercase(), &format!("{signature} ")] {
                assert!(!webhook_signature_matches(secret, &body, wrong), "{wrong}");
            }
            assert!(!webhook_signature_matches("another secret", &body, signature));
        }
    }

    #[test]
    fn hex_in_both_cases() {
        assert_eq!(hex_lower(&[]), "");
        assert_eq!(hex_lower(&[0, 0x0f, 0xa9, 0xff]), "000fa9ff");
        assert_eq!(hex_upper(&[0, 0x0f, 0xa9, 0xff]), "000FA9FF");
    }

    #[test]
    fn constant_time_comparison_compares() {
        let table: [(&[u8], &[u8], bool); 6] = [
            (b"", b"", true),
            (b"a", b"", false),
            (b"abc", b"abc", true),
            (b"abc", b"abd", false),
            (b"xbc", b"abc", false),
            (b"abc", b"abcd", false),
        ];
        for (left, right, equal) in table {
            assert_eq!(constant_time_eq(left, right), equal, "{left:?} {right:?}");
        }
    }
}
