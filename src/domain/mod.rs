//! What is allowed, and what it changes: the rules of every domain and their statements.
//!
//! A rule is an `async fn` that takes the [`Context`] and typed input, does its work in one statement or transaction,
//! and publishes its events after the commit. The REST door and the socket door call the same functions.
//! Never: statuses, headers, packets, or who is connected.
//! Invariant: in a transaction rows are locked in one order, session rows by id first, then account rows by id, so that
//! concurrent rules wait for each other instead of failing (O-19).

pub mod access_keys;
pub mod accounts;
pub mod approvals;
pub mod artifacts;
pub mod auth;
pub mod changes;
pub mod connect;
mod events;
pub mod feed;
pub mod friends;
pub mod github;
mod images;
pub mod kv;
mod like;
mod lines;
mod locks;
pub mod machines;
pub mod messages;
pub mod presence;
pub mod public_shares;
pub mod push_tokens;
pub mod sessions;
pub mod sharing;
pub mod usage;
pub mod users;
pub mod voice;

use std::rc::Rc;
use std::sync::Arc;

use serde::{Serialize, Serializer, ser};

use crate::crypto::seal::ColumnKeys;
use crate::crypto::token::Tokens;
use crate::model::ids::AccountId;
use crate::observe::metrics::CoreMetrics;
use crate::realtime::event::{Audience, Event, Publish, Update};
use crate::runtime::pool::Workers;
use crate::storage::Db;
use crate::storage::objects::Files;
use crate::vendors::Vendors;

/// What every rule may use; one per core. Clones share everything.
#[derive(Clone)]
pub struct Context {
    pub db: Db,
    pub events: Rc<dyn Publish>,
    pub tokens: Rc<Tokens>,
    pub metrics: Arc<CoreMetrics>,
    pub settings: Arc<Settings>,
    /// Public files; the full flavor may have none.
    pub files: Option<Files>,
    /// Services that are called.
    pub vendors: Vendors,
    /// Threads that decode images.
    pub image_workers: Workers,
}

/// What rules need from the configuration.
#[derive(Clone)]
pub struct Settings {
    pub flavor: Flavor,
    pub files: FileUrls,
    /// How long an approved pairing request hands out tokens (closes O-12).
    pub pairing_ttl_ms: i64,
    /// Keys of encrypted columns.
    pub column_keys: ColumnKeys,
    pub github: Github,
    pub voice: Voice,
}

/// Which of the two flavors this server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    Full,
    Light,
}

/// How a path in the public file storage becomes a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileUrls {
    /// The object store's public prefix; paths are appended as they are.
    Bucket(String),
    /// This server's own address; files are served below `/files/`.
    Local(String),
}

impl FileUrls {
    pub fn url(&self, path: &str) -> String {
        match self {
            Self::Bucket(prefix) => format!("{prefix}/{path}"),
            Self::Local(base) => {
                let segments: Vec<String> = path.split('/').map(encode_component).collect();
                format!("{base}/files/{}", segments.join("/"))
            }
        }
    }
}

/// As JavaScript's `encodeURIComponent`.
pub fn encode_component(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Settings of the GitHub connection, as they were given; empty ones are `None`.
#[derive(Clone, Default)]
pub struct Github {
    pub app_id: Option<String>,
    pub private_key: Option<String>,
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
    /// `GITHUB_REDIRECT_URL`, of the routes.
    pub redirect_url: Option<String>,
    /// `GITHUB_REDIRECT_URI`, of the webhook (C-1).
    pub redirect_uri: Option<String>,
    pub webhook_secret: Option<String>,
}

/// Settings of the voice vendor.
#[derive(Clone, Default)]
pub struct Voice {
    pub elevenlabs_api_key: Option<String>,
    /// Development mode asks for no subscription.
    pub is_development: bool,
}

/// A stored JSON text that becomes part of an answer or an event as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawJson(pub String);

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: sonic_rs::LazyValue<'_> = sonic_rs::from_str(&self.0).map_err(ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// The JSON text of an event body.
pub fn event_body(body: &impl Serialize) -> String {
    // Only a damaged stored JSON text can fail here. The change itself is committed: an empty body would mislead
    // clients, so they are told the least that is true.
    sonic_rs::to_string(body).unwrap_or_else(|error| {
        log::error!("an event could not be written as JSON: {error}");
        "{}".to_string()
    })
}

/// An update for user-scoped connections of an account, nobody skipped.
pub fn user_update(account: &AccountId, seq: i64, body: &impl Serialize) -> Event {
    Event::Update(Update {
        account: account.clone(),
        seq,
        audience: Audience::UserScoped,
        body: event_body(body).into(),
        skip: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_json_is_embedded_as_it_is() {
        #[derive(Serialize)]
        struct Outer {
            hint: Option<RawJson>,
            content: RawJson,
        }
        let content = RawJson(r#"{"t":"encrypted", "c":"a\u0041\"b"}"#.to_string());
        let text = sonic_rs::to_string(&Outer { hint: None, content }).expect("valid JSON");
        assert_eq!(text, r#"{"hint":null,"content":{"t":"encrypted", "c":"a\u0041\"b"}}"#);
        assert!(sonic_rs::to_string(&RawJson("{".to_string())).is_err());
    }

    #[test]
    fn urls_of_files() {
        let bucket = FileUrls::Bucket("https://files.example/bucket".to_string());
        assert_eq!(bucket.url("public/users/a/b c.png"), "https://files.example/bucket/public/users/a/b c.png");
        let local = FileUrls::Local("http://localhost:3005".to_string());
        assert_eq!(local.url("public/a b/ü+(1).png"), "http://localhost:3005/files/public/a%20b/%C3%BC%2B(1).png");
    }
}
