//! The doors of the domains: parse, call, answer. One file per domain.
//!
//! Never: rules, statements. A handler turns a typed request into one call of `domain` and its outcome into a status
//! and a body.

pub mod access_keys;
pub mod accounts;
pub mod artifacts;
pub mod auth;
pub mod changes;
pub mod connect;
pub mod debug_log;
pub mod feed;
pub mod files;
pub mod friends;
pub mod kv;
pub mod machines;
pub mod messages;
pub mod public_shares;
pub mod push_tokens;
pub mod service;
pub mod sessions;
pub mod sharing;
pub mod usage;
pub mod users;
pub mod version;
pub mod voice;
