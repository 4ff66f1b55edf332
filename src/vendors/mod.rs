//! Services that we call: what is sent, what comes back, as types.
//!
//! Owns: one HTTP client with limits, the addresses and the wire forms of GitHub, RevenueCat and ElevenLabs. Never:
//! rules, storage, or a core's thread inside a call.
//! Invariants: every call has a time limit and a limit on the bytes of its answer; what carries a secret follows no
//! redirect; secrets and bodies appear in no message.

pub mod github;
pub mod https;
pub mod voice;

use https::Https;

/// Where the services are; tests put servers of their own there. No slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Pages and OAuth of GitHub.
    pub github: String,
    pub github_api: String,
    pub revenuecat: String,
    pub elevenlabs: String,
}

/// All services as one core sees them. Clones are the same.
#[derive(Clone)]
pub struct Vendors {
    pub https: Https,
    pub addresses: Addresses,
}

/// Why there is no answer to a call, or none that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Too many calls wait already.
    Busy,
    /// The call failed.
    Call(https::Error),
    /// The answer is not what the service's documentation promises; what is wrong with it.
    Unexpected(&'static str),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy => f.write_str("too many calls are waiting already"),
            Self::Call(error) => error.fmt(f),
            Self::Unexpected(what) => write!(f, "the answer cannot be used: {what}"),
        }
    }
}

impl From<https::Error> for Error {
    fn from(error: https::Error) -> Self {
        Self::Call(error)
    }
}

/// Nesting of a JSON answer.
const JSON_DEPTH_MAX: u16 = 64;

/// An answer that must be JSON. What cannot be read is not quoted: it may hold secrets.
fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // Bounds the nesting, too, which the parser does not.
    let text = std::str::from_utf8(bytes).map_err(|_| Error::Unexpected("it is not UTF-8"))?;
    protocol::json::validate(text, JSON_DEPTH_MAX).map_err(|_| Error::Unexpected("it is not JSON"))?;
    sonic_rs::from_slice(bytes).map_err(|_| Error::Unexpected("its members are not of the documented types"))
}
