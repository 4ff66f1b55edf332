//! HTTP/1.1 as the contract wants it (`spec/socketio.md` §2, `spec/http.md` §1 to §3), both sides of the wire.
//!
//! * [`head`]: request heads as they arrive, with every defence against request smuggling;
//! * [`response`]: response heads, for clients of this crate (the load generator, tests);
//! * [`body`]: what follows a head, counted or in chunks;
//! * [`encode`]: response heads, and the fixed answers to what is no HTTP;
//! * [`uri`]: request targets, percent-decoding, query strings;
//! * [`date`]: the two date formats that leave the server.
//!
//! The order of use for one connection: [`head::HeadParser::parse`] until a head is complete, then
//! [`body::BodyDecoder`] made from [`head::RequestHead::framing`] until it is done, then the next head.

pub mod body;
pub mod date;
pub mod encode;
mod fields;
pub mod head;
pub mod method;
pub mod response;
pub mod uri;

pub(crate) use fields::is_token_byte;
pub use fields::{Error, Expectation, Framing, Limits, Version};
pub use method::Method;
