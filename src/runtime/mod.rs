//! One thread per core.

pub mod post;
