//! Who is connected, and how a message reaches them.

pub mod event;
