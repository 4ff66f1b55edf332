//! Plain values that every layer speaks of: identifiers, versions, instants.
//!
//! Owns: their types, how new ones are made, how they print. Never: anything that waits, any rule about what they name.

pub mod ids;
pub mod time;
