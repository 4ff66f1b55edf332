//! Login tokens and OAuth state tokens: compact JSON Web Signatures with Ed25519 (vectors §3).
//!
//! Owns: their form, their keys, and the memory of login tokens that verified.
//! Never: the header a token travels in, or the question whether its account still exists.
//! Invariant: nothing of a token is interpreted before its signature verified, so no peer text reaches the JSON parser.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier};
use sonic_rs::{JsonValueTrait, Object, Value};

use crate::crypto::derive::{LateKey, Usage};
use crate::crypto::hash;
use crate::model::ids::{AccountId, uuid_v4};

const HEADER: &str = r#"{"alg":"EdDSA"}"#;
const PERSISTENT_ISSUER: &str = "handy";
const EPHEMERAL_ISSUER: &str = "github-happy";
/// How long an OAuth state token is good for.
const EPHEMERAL_LIFETIME_MS: i64 = 300_000;
/// Longer texts are no tokens of ours; a limit keeps the decoding of foreign ones cheap.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Issues and verifies the tokens of one master secret. Clones share the keys.
#[derive(Clone)]
pub struct Tokens(Arc<Keys>);

struct Keys {
    persistent: LateSigningKey,
    /// Only OAuth needs it, so nobody waits for it.
    ephemeral: LateSigningKey,
}

/// A key that is derived when it is first needed, or before that by somebody who has the time.
struct LateSigningKey {
    source: LateKey,
    key: OnceLock<SigningKey>,
}

impl LateSigningKey {
    fn new(secret: &str, usage: Usage) -> Self {
        Self { source: LateKey::new(secret, usage), key: OnceLock::new() }
    }

    fn get(&self) -> &SigningKey {
        self.key.get_or_init(|| signing_key(self.source.get()))
    }
}

impl Tokens {
    /// Derives nothing yet.
    pub fn new(secret: &str) -> Self {
        Self(Arc::new(Keys {
            persistent: LateSigningKey::new(secret, Usage::PersistentTokens),
            ephemeral: LateSigningKey::new(secret, Usage::EphemeralTokens),
        }))
    }

    /// With the key of the login tokens.
    pub fn derive(secret: &str) -> Self {
        let tokens = Self::new(secret);
        tokens.ready();
        tokens
    }

    /// Derives the key of the login tokens, which takes 65 to 100 ms, or waits for whoever is doing so.
    pub fn ready(&self) {
        self.0.persistent.get();
    }

    /// Derives the other key, likewise.
    pub fn warm_up(&self) {
        self.0.ephemeral.get();
    }

    /// A login token. `session` is the pairing request it answers, if it answers one.
    pub fn issue_persistent(&self, account: &AccountId, session: Option<&str>, now_ms: i64) -> String {
        let session = session.map(|session| ("session", json_text(session)));
        let payload = Payload { account, extras: session.as_slice(), expires_s: None, issuer: PERSISTENT_ISSUER };
        sign(self.0.persistent.get(), &payload.write(&uuid_v4(), now_ms))
    }

    /// An OAuth state token.
    pub fn issue_ephemeral(&self, account: &AccountId, now_ms: i64) -> String {
        let expires_s = Some((now_ms + EPHEMERAL_LIFETIME_MS).div_euclid(1000));
        // The state carries no purpose claim (V-1).
        let payload = Payload { account, extras: &[], expires_s, issuer: EPHEMERAL_ISSUER };
        sign(self.0.ephemeral.get(), &payload.write(&uuid_v4(), now_ms))
    }

    /// Whose login token this is, if it is one. Requests go through a `TokenCache` instead.
    pub fn verify_persistent(&self, token: &str, now_ms: i64) -> Option<AccountId> {
        verify(self.0.persistent.get(), PERSISTENT_ISSUER, token, now_ms)?.account()
    }

    /// Who started the OAuth flow with this state.
    pub fn verify_ephemeral(&self, token: &str, now_ms: i64) -> Option<AccountId> {
        verify(self.0.ephemeral.get(), EPHEMERAL_ISSUER, token, now_ms)?.account()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

fn signing_key(derived: &[u8; 64]) -> SigningKey {
    let (seed, _) = derived.split_first_chunk().expect("a derived key is longer than a seed");
    SigningKey::from_bytes(seed)
}

/// The claims of a token to be issued; extras are names with JSON values.
struct Payload<'a> {
    account: &'a AccountId,
    extras: &'a [(&'a str, String)],
    expires_s: Option<i64>,
    issuer: &'a str,
}

impl Payload<'_> {
    /// The claims in the order every issued token has.
    fn write(&self, id: &str, now_ms: i64) -> String {
        let issued_s = now_ms.div_euclid(1000);
        let mut claims = format!("{{\"sub\":{}", json_text(self.account.as_str()));
        for (name, value) in self.extras {
            claims.push_str(&format!(",{}:{value}", json_text(name)));
        }
        claims.push_str(&format!(",\"iat\":{issued_s},\"nbf\":{issued_s}"));
        if let Some(expires_s) = self.expires_s {
            claims.push_str(&format!(",\"exp\":{expires_s}"));
        }
        claims.push_str(&format!(",\"iss\":\"{}\",\"jti\":{}}}", self.issuer, json_text(id)));
        claims
    }
}

fn json_text(text: &str) -> String {
    sonic_rs::to_string(text).expect("a text is always JSON")
}

fn sign(key: &SigningKey, payload: &str) -> String {
    let mut token = protocol::base64::encode_url(HEADER.as_bytes());
    token.push('.');
    token.push_str(&protocol::base64::encode_url(payload.as_bytes()));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    token.push_str(&protocol::base64::encode_url(&signature.to_bytes()));
    token
}

/// The claims of a token that verified.
struct Claims(Object);

impl Claims {
    /// The subject. The server issues no token without one.
    fn account(&self) -> Option<AccountId> {
        self.0.get(&"sub").and_then(|value| value.as_str()).map(AccountId::from)
    }

    /// Whether the token stops being valid at some time.
    fn expires(&self) -> bool {
        self.0.contains_key(&"exp")
    }
}

/// Rules 1 to 6 of vectors §3.1, the signature first. White space inside a token is refused, unlike by the reference
/// server: nothing depends on it.
fn verify(key: &SigningKey, issuer: &str, token: &str, now_ms: i64) -> Option<Claims> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    if payload.contains('.') {
        return None;
    }
    let signature = Signature::from_slice(&protocol::base64::decode_url(signature).ok()?).ok()?;
    key.verifying_key().verify(signed.as_bytes(), &signature).ok()?;

    let header = json_object(header)?;
    let algorithm = header.get(&"alg").and_then(|value| value.as_str())?;
    if !matches!(algorithm, "EdDSA" | "Ed25519") || header.contains_key(&"crit") {
        return None;
    }
    let payload = json_object(payload)?;
    let now_s = now_ms.div_euclid(1000) as f64;
    // There is no tolerance for clocks that differ (V-2).
    let begun = number_claim(&payload, "nbf")?.is_none_or(|not_before| not_before <= now_s);
    let live = number_claim(&payload, "exp")?.is_none_or(|expires| expires > now_s);
    number_claim(&payload, "iat")?;
    let ours = payload.get(&"iss").and_then(|value| value.as_str()) == Some(issuer);
    if !(begun && live && ours) {
        return None;
    }
    Some(Claims(payload))
}

fn json_object(part: &str) -> Option<Object> {
    let bytes = protocol::base64::decode_url(part).ok()?;
    sonic_rs::from_slice::<Value>(&bytes).ok()?.into_object()
}

/// `Some(None)` if the claim is absent, `None` if it is there and not a number.
fn number_claim(payload: &Object, name: &str) -> Option<Option<f64>> {
    payload.get(&name).map_or(Some(None), |value| value.as_f64().map(Some))
}

/// Entries of one generation; a core remembers at most two of them, about 3 MiB.
const CACHE_ENTRIES_MAX: usize = 16_384;

/// Login tokens that verified before, one cache per core: verifying costs about 50 µs, remembering less than one.
///
/// Keyed by the token's digest rather than its text: ten times smaller, and no bearer secrets lie in memory. When the
/// young generation is full it becomes the old one and the old one is forgotten, so what is in use stays.
#[derive(Debug)]
pub struct TokenCache {
    young: HashMap<[u8; 32], AccountId>,
    old: HashMap<[u8; 32], AccountId>,
    /// Of each generation.
    entries_max: usize,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self::with_entries_max(CACHE_ENTRIES_MAX)
    }
}

impl TokenCache {
    /// A cache that remembers at least the last `entries_max` tokens and at most twice as many.
    pub fn with_entries_max(entries_max: usize) -> Self {
        assert!(entries_max > 0, "a cache remembers something");
        Self { young: HashMap::new(), old: HashMap::new(), entries_max }
    }

    /// Whose login token this is, if it is one. A token that verified once is good until the process ends.
    pub fn verify(&mut self, tokens: &Tokens, token: &str, now_ms: i64) -> Option<AccountId> {
        let digest = hash::sha256(token.as_bytes());
        if let Some(account) = self.find(&digest) {
            return Some(account);
        }
        let claims = verify(tokens.0.persistent.get(), PERSISTENT_ISSUER, token, now_ms)?;
        let account = claims.account()?;
        if !claims.expires() {
            self.insert(digest, account.clone());
        }
        Some(account)
    }

    /// How many tokens are remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find(&mut self, digest: &[u8; 32]) -> Option<AccountId> {
        if let Some(account) = self.young.get(digest) {
            return Some(account.clone());
        }
        let account = self.old.remove(digest)?;
        self.insert(*digest, account.clone());
        Some(account)
    }

    fn insert(&mut self, digest: [u8; 32], account: AccountId) {
        if self.young.len() >= self.entries_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, account);
        debug_assert!(self.young.len() <= self.entries_max && self.old.len() <= self.entries_max);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Vector;
    use sonic_rs::JsonContainerTrait;

    use super::*;
    use crate::crypto::vectors;

    /// The keys of every secret in the two files, derived once for all tests, side by side.
    fn keys(secret: &str, usage: Usage) -> SigningKey {
        let vectors = vectors::list("key-derivation.json", "/vectors");
        let salt = match usage {
            Usage::EphemeralTokens => "github-happy Ephemeral Token",
            _ => "handy Persistent Token",
        };
        let of_both = |vector: &&Vector| vector["secret"] == secret && vector["usage"] == salt;
        let vector = vectors.iter().find(of_both).unwrap_or_else(|| panic!("no key of {secret:?} for {usage:?}"));
        let key = SigningKey::from_bytes(&vectors::hex(vector, "ed25519SeedHex").try_into().unwrap());
        assert_eq!(hash::hex_lower(key.verifying_key().as_bytes()), vectors::text(vector, "ed25519PublicKeyHex"));
        key
    }

    struct Family {
        file: &'static str,
        usage: Usage,
        issuer: &'static str,
        lifetime_ms: Option<i64>,
    }

    const FAMILIES: [Family; 2] = [
        Family {
            file: "persistent-tokens.json",
            usage: Usage::PersistentTokens,
            issuer: PERSISTENT_ISSUER,
            lifetime_ms: None,
        },
        Family {
            file: "ephemeral-tokens.json",
            usage: Usage::EphemeralTokens,
            issuer: EPHEMERAL_ISSUER,
            lifetime_ms: Some(EPHEMERAL_LIFETIME_MS),
        },
    ];

    fn check_verified(claims: &Claims, expected: &Vector) {
        assert_eq!(claims.account().as_ref().map(AccountId::as_str), expected["user"].as_str());
        assert_eq!(claims.0.get(&"jti").and_then(|id| id.as_str()), expected["uuid"].as_str());
        let named = ["iss", "sub", "aud", "jti", "nbf", "exp", "iat"];
        let extras = claims.0.iter().filter(|(name, _)| !named.contains(name));
        let extras = extras.map(|(name, value)| {
            (name.to_owned(), serde_json::from_str(&sonic_rs::to_string(value).unwrap()).unwrap())
        });
        assert_eq!(&Vector::Object(extras.collect()), &expected["extras"]);
    }

    #[test]
    fn issued_tokens_are_exact_and_verify() {
        for family in FAMILIES {
            for vector in vectors::list(family.file, "/issue") {
                let key = keys(vectors::text(&vector, "secret"), family.usage);
                let now_ms = vectors::number(&vector, "issuedAtUnixMs");
                // Through the other JSON library, which keeps the order of members.
                let extras: Value = sonic_rs::from_str(&vector["extras"].to_string()).unwrap();
                let mut extras: Vec<_> = extras
                    .as_object()
                    .into_iter()
                    .flat_map(Object::iter)
                    .map(|(name, value)| (name, sonic_rs::to_string(value).unwrap()))
                    .collect();
                let payload_json = vectors::text(&vector, "payloadJson");
                extras.sort_by_key(|(name, _)| payload_json.find(&format!("\"{name}\":")));
                let payload = Payload {
                    account: &vectors::text(&vector, "user").into(),
                    extras: &extras,
                    expires_s: family.lifetime_ms.map(|lifetime_ms| (now_ms + lifetime_ms) / 1000),
                    issuer: family.issuer,
                }
                .write(vectors::text(&vector, "jti"), now_ms);
                assert_eq!(payload, payload_json);
                assert_eq!(HEADER, vectors::text(&vector, "headerJson"));
                let token = sign(&key, &payload);
                assert_eq!(token, vectors::text(&vector, "token"));
                let claims = verify(&key, family.issuer, &token, vectors::number(&vector, "verifiedAtUnixMs"));
                check_verified(&claims.expect("verifies"), &vector["verified"]);
            }
        }
    }

    #[test]
    fn acceptance() {
        // Accepted by the reference server; refusing it is harmless.
        let lenient = "trailing space";
        for family in FAMILIES {
            let key = keys("test-master-secret-1", family.usage);
            for case in vectors::list(family.file, "/acceptance/cases") {
                let why = vectors::text(&case, "why");
                let now_ms = vectors::number(&case, "nowUnixMs");
                let claims = verify(&key, family.issuer, vectors::text(&case, "token"), now_ms);
                let expected = case["accepted"].as_bool().unwrap() && why != lenient;
                assert_eq!(claims.is_some(), expected, "{}: {why}", family.file);
                if let Some(claims) = claims {
                    check_verified(&claims, &case["verified"]);
                }
            }
        }
    }

    const NOW_MS: i64 = 1_767_225_600_250;

    fn known(secret: &str, usage: Usage) -> LateSigningKey {
        LateSigningKey { source: LateKey::new(secret, usage), key: keys(secret, usage).into() }
    }

    fn tokens(secret: &str) -> Tokens {
        Tokens(Arc::new(Keys {
            persistent: known(secret, Usage::PersistentTokens),
            ephemeral: known(secret, Usage::EphemeralTokens),
        }))
    }

    #[test]
    fn public_doors_issue_what_they_verify() {
        let derived = Tokens::derive("x");
        derived.warm_up();
        let known = tokens("x");
        let account = AccountId::from("cmwssj7dh00000z7d3b2nk8np");
        for (issuer, verifier) in [(&derived, &known), (&known, &derived)] {
            let token = issuer.issue_persistent(&account, Some("pairing \"1\""), NOW_MS);
            assert_eq!(verifier.verify_persistent(&token, NOW_MS), Some(account.clone()));
            assert_eq!(verifier.verify_persistent(&token, NOW_MS - 1000), None);
            assert_eq!(verifier.verify_ephemeral(&token, NOW_MS), None);
            let state = issuer.issue_ephemeral(&account, NOW_MS);
            assert_eq!(verifier.verify_ephemeral(&state, NOW_MS + 299_000), Some(account.clone()));
            assert_eq!(verifier.verify_ephemeral(&state, NOW_MS + 300_000), None);
            assert_eq!(verifier.verify_persistent(&state, NOW_MS), None);
        }
        assert_ne!(known.issue_persistent(&account, None, NOW_MS), known.issue_persistent(&account, None, NOW_MS));
    }

    #[test]
    fn oversized_and_shapeless_texts_are_no_tokens() {
        let tokens = tokens("x");
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        for text in ["", ".", "..", "...", "a.b.c", "é.é.é", &long, "\0"] {
            assert_eq!(tokens.verify_persistent(text, NOW_MS), None);
        }
    }

    #[test]
    fn the_cache_remembers_good_tokens_only() {
        let tokens = tokens("x");
        let mut cache = TokenCache::with_entries_max(2);
        let account = AccountId::from("a");
        let token = tokens.issue_persistent(&account, None, NOW_MS);
        assert_eq!(cache.verify(&tokens, &token, NOW_MS - 1000), None, "not valid yet");
        assert_eq!(cache.verify(&tokens, "nonsense", NOW_MS), None);
        assert!(cache.is_empty());
        assert_eq!(cache.verify(&tokens, &token, NOW_MS), Some(account.clone()));
        assert_eq!(cache.len(), 1);
        // A remembered token is not verified again: it stays good even if the clock steps back.
        assert_eq!(cache.verify(&tokens, &token, NOW_MS - 1000), Some(account));

        let expiring = Payload {
            account: &"b".into(),
            extras: &[],
            expires_s: Some(NOW_MS / 1000 + 10),
            issuer: PERSISTENT_ISSUER,
        };
        let expiring = sign(tokens.0.persistent.get(), &expiring.write("id", NOW_MS));
        assert_eq!(cache.verify(&tokens, &expiring, NOW_MS), Some("b".into()));
        assert_eq!(cache.verify(&tokens, &expiring, NOW_MS + 10_000), None, "expiry is checked every time");
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let tokens = tokens("x");
        let mut cache = TokenCache::with_entries_max(2);
        let used = tokens.issue_persistent(&"used".into(), None, NOW_MS);
        for round in 0..10 {
            assert_eq!(cache.verify(&tokens, &used, NOW_MS), Some("used".into()));
            let other = tokens.issue_persistent(&format!("{round}").into(), None, NOW_MS);
            assert!(cache.verify(&tokens, &other, NOW_MS).is_some());
            assert!(cache.len() <= 4);
        }
        // Still remembered: verifying it anew would fail at this time.
        assert_eq!(cache.verify(&tokens, &used, NOW_MS - 1000), Some("used".into()));
    }
}
