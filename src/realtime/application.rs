//! The application as a connection sees it: who may come in, and what its events mean.

use super::home::Class;
use super::rpc::Call;
use crate::model::ids::{AccountId, SocketId};
use crate::runtime::slab::Key;

/// A connection that has shown who it is.
#[derive(Clone, Debug)]
pub struct Admission {
    pub account: AccountId,
    pub class: Class,
}

/// The connection that an event came from.
pub struct Caller<'a> {
    pub key: Key,
    pub socket: SocketId,
    pub account: &'a AccountId,
}

/// An event as it arrived: raw JSON texts, already validated and bounded in depth.
pub struct Incoming<'a> {
    pub name: &'a str,
    /// The first argument; further ones are ignored (closes R-8).
    pub data: Option<&'a str>,
    /// The acknowledgement asked for.
    pub ack: Option<u64>,
}

/// Implemented by `api::socket`.
pub trait Application {
    /// Judges the auth payload of a CONNECT packet (raw JSON object, if any). The error is the text for the client
    /// (`spec/realtime.md` §1).
    fn admit(&self, auth: Option<&str>) -> Result<Admission, &'static str>;

    /// The connection has joined its rooms.
    fn joined(&self, caller: &Caller<'_>, class: &Class);

    /// Called in order of arrival; must not block. What takes longer goes into a task.
    fn event(&self, caller: &Caller<'_>, incoming: &Incoming<'_>);

    /// A call of another account has waited for its method, which is there now: whether it may still be made is asked
    /// again, and it is made or refused.
    fn reconsider(&self, call: Box<Call>);

    /// The connection has ended and has left its rooms.
    fn left(&self, caller: &Caller<'_>, class: &Class);
}
