//! The doors of the domains: parse, call, answer. One file per domain.
//!
//! Never: rules, statements. A handler turns a typed request into one call of `domain` and its outcome into a status
//! and a body.

pub mod accounts;
pub mod auth;
pub mod changes;
pub mod messages;
pub mod service;
pub mod sessions;
pub mod version;
