//! What cores say to each other.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use protocol::engineio::sid::Sid;

use super::event::Event;
use super::home::{Member, Place};
use super::rpc::{self, Peer};
use crate::model::ids::{AccountId, SocketId};
use crate::net::websocket::Departure;
use crate::runtime::cores::CoreId;
use crate::runtime::slab::Key;

/// A message in a core's mailbox.
pub enum Message {
    /// To the home core of the account: tell its members.
    Publish(Event),
    /// To the home core: a connection has come, or gone.
    Join {
        account: AccountId,
        member: Member,
    },
    Leave {
        account: AccountId,
        place: Place,
    },
    /// A call, on one of its ways.
    Rpc(rpc::Post),
    /// From a home core: frames for connections here, all of one turn.
    Deliver(Vec<Delivery>),
    /// To a home core: pass this on behind the updates that were published before it.
    Relay {
        to: Peer,
        frame: Vec<u8>,
    },
    /// From a home core that has missed messages: its members have to come again.
    Overflowed(CoreId),
    /// An HTTP connection whose request concerns a session of this core.
    Adopt {
        descriptor: OwnedFd,
        unread: Vec<u8>,
        peer: SocketAddr,
    },
    /// A websocket session whose account lives here.
    Move(Box<Moved>),
    /// A session that began on this core and moved away has ended.
    Forget(Sid),
    /// Work of the back plane for this core (`runtime::post`).
    Job(Box<dyn FnOnce() + Send>),
    /// The process ends; see `boot`.
    Stop(Stop),
}

/// Phases of the end, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Accept nothing more, tell clients to reconnect elsewhere, let requests finish.
    Drain,
    /// End the loops.
    Leave,
}

/// One frame and who gets it. A session may be somebody else's connection by the time of the delivery, so its socket is
/// named, too.
pub struct Delivery {
    pub frame: Vec<u8>,
    pub to: Vec<(Key, SocketId)>,
}

/// A websocket session on its way to another core, right after its CONNECT packet has named the account.
pub struct Moved {
    /// With what was received behind the CONNECT packet.
    pub departure: Departure,
    pub sid: Sid,
    /// Milliseconds until the next ping is due.
    pub ping_in_ms: u64,
    pub admission: super::application::Admission,
}
