//! What cores say to each other.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use protocol::engineio::sid::Sid;

use super::event::Event;
use super::home::{Member, Place};
use super::rpc::{self, Peer};
use crate::cluster::{Cores, Inbound};
use crate::model::ids::{AccountId, SocketId};
use crate::net::websocket::Departure;
use crate::runtime::cores::CoreId;
use crate::runtime::mailbox::Mailbox;
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
    /// From other processes.
    Cluster(Inbound),
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
    pub refusals: u8,
    pub admission: super::application::Admission,
}

/// The core of several on which an account's members are listed.
pub fn home_of(account: &AccountId, cores: usize) -> CoreId {
    let mut hasher = DefaultHasher::new();
    account.hash(&mut hasher);
    CoreId(u16::try_from(hasher.finish() % cores as u64).expect("fewer than 2^16 cores"))
}

/// The cores as the thread that talks to other processes sees them.
pub struct Mailboxes(pub Arc<[Arc<Mailbox<Message>>]>);

impl Cores for Mailboxes {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn home_of(&self, account: &AccountId) -> CoreId {
        home_of(account, self.0.len())
    }

    fn post(&self, core: CoreId, inbound: Inbound) -> bool {
        self.0[core.index()].send(Message::Cluster(inbound)).is_ok()
    }
}
