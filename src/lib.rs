//! Happier Server.

pub mod config;
pub mod crypto;
pub mod model;
pub mod observe;
