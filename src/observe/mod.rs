//! What the server tells about itself: counters for machines, log lines for people.
//!
//! Owns: their names, their form, what must not appear in them. Never: the decision what is worth telling.

pub mod log;
pub mod metrics;
pub mod redact;
