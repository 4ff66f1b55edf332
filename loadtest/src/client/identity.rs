//! Accounts of the load: a key pair from a seed, key login, session creation (spec http.md §12.2, §14.7).

use ed25519_dalek::{Signer, SigningKey};

use crate::client::{Failure, Http, json};

/// A logged-in account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) token: String,
}

impl Account {
    /// Logs account `number` of the run's `seed` in; the first login creates it.
    pub(crate) async fn login(http: &mut Http, seed: u64, number: usize) -> Result<Self, Failure> {
        let body = login_body(seed, number as u64);
        let response = http.post("/v1/auth", None, &body).await.map_err(|failure| failure.during("login"))?;
        match json::string(response.text()?, "token") {
            Some(token) if response.status == 200 => Ok(Self { token: token.to_owned() }),
            _ => Err(response.unexpected("login")),
        }
    }

    /// Creates (or finds) the session with this tag and returns its id.
    pub(crate) async fn create_session(&self, http: &mut Http, tag: &str) -> Result<String, Failure> {
        let body = format!(r#"{{"tag":"{tag}","metadata":"bG9hZA==","agentState":null,"dataEncryptionKey":null}}"#);
        let response = http
            .post("/v1/sessions", Some(&self.token), &body)
            .await
            .map_err(|failure| failure.during("session creation"))?;
        match json::string(response.text()?, "id") {
            Some(id) if response.status == 200 => Ok(id.to_owned()),
            _ => Err(response.unexpected("session creation")),
        }
    }

    /// The session's `seq`: the number of the last message stored in it.
    pub(crate) async fn session_seq(&self, http: &mut Http, session: &str) -> Result<u64, Failure> {
        let response = http
            .get(&format!("/v2/sessions/{session}"), Some(&self.token))
            .await
            .map_err(|failure| failure.during("reading a session"))?;
        match json::integer(response.text()?, "seq") {
            Some(seq) if response.status == 200 => Ok(seq),
            _ => Err(response.unexpected("reading a session")),
        }
    }
}

fn login_body(seed: u64, number: u64) -> String {
    /// Chosen by the client; the server issues none.
    const CHALLENGE: &[u8] = b"happier-loadtest key login";
    let key = signing_key(seed, number);
    let signature = key.sign(CHALLENGE);
    format!(
        r#"{{"publicKey":"{}","challenge":"{}","signature":"{}"}}"#,
        base64(key.verifying_key().as_bytes()),
        base64(CHALLENGE),
        base64(&signature.to_bytes()),
    )
}

fn signing_key(seed: u64, number: u64) -> SigningKey {
    let mut secret = *b"happier-loadtest................";
    secret[16..24].copy_from_slice(&seed.to_be_bytes());
    secret[24..].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_bytes(&secret)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0_u8; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for position in 0..4 {
            let sextet = (group >> (18 - 6 * position)) & 0x3F;
            let letter = if position <= chunk.len() { ALPHABET[sextet as usize] } else { b'=' };
            text.push(char::from(letter));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{base64, login_body, signing_key};

    #[test]
    fn base64_pads() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xFE]), "+//+");
    }

    #[test]
    fn accounts_differ_by_seed_and_number() {
        assert_ne!(signing_key(1, 2).verifying_key(), signing_key(1, 3).verifying_key());
        assert_ne!(signing_key(1, 2).verifying_key(), signing_key(2, 2).verifying_key());
        assert_eq!(login_body(1, 2), login_body(1, 2));
    }
}
