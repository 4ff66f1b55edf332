//! The rules: what may happen to sessions, messages, machines and the rest.

pub mod messages;
