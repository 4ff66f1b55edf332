//! Happier Server.

pub mod config;
pub mod crypto;
pub mod model;
