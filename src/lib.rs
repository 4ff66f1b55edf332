//! Happier Server.

pub mod config;
pub mod crypto;
pub mod domain;
pub mod model;
pub mod runtime;
pub mod storage;
