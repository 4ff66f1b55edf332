//! Messages of a session.

pub mod store;
