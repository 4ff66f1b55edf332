//! Happier Server.

pub mod domain;
pub mod runtime;
pub mod storage;
