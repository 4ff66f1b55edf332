//! The wire protocols of Happier Server as sans-io codecs and state machines.
//!
//! This crate owns bytes and rules, nothing else. It performs no I/O, is not async, reads no clock, draws no random
//! numbers and writes no logs; time and randomness arrive as arguments. Two kinds of type, never mixed:
//!
//! * *codecs* turn bytes into values and back (`decode`, `encode`);
//! * *sessions* are state machines: `handle_*` takes what arrived, `poll_*` hands out what to send and report.

pub mod adapter;
pub mod base64;
pub mod engineio;
pub mod http;
pub mod json;
pub mod socketio;
pub mod websocket;
