//! Happier Server.

pub mod crypto;
pub mod model;
