//! What happened, and who is told: the form in which an event leaves a rule.
//!
//! An event is made by `domain` after its transaction has committed and handed to [`Publish`]. Its body is JSON text
//! already; the container around an update (`id`, `seq`, `createdAt`) is written once per account when it is encoded
//! for the wire. Implements the vocabulary of `spec/realtime.md` §2–§4.

use std::ops::Deref;
use std::sync::Arc;

use crate::cluster::rooms::Room;
use crate::model::ids::{AccountId, MachineId, SessionId, SocketId};

/// Which connections of the account are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    UserScoped,
    /// Session-scoped connections bound to the session, and user-scoped ones.
    Session(SessionId),
    /// Machine-scoped connections bound to the machine, and user-scoped ones.
    Machine(MachineId),
    /// Every connection of the account, of any class.
    All,
}

impl Audience {
    /// The rooms by which other replicas know the same connections, in the order in which they are named there.
    pub fn rooms(&self, account: &AccountId) -> Vec<Room> {
        let user_scoped = Room::UserScoped(account.clone());
        match self {
            Self::UserScoped => vec![user_scoped],
            Self::Session(session) => vec![Room::Session(session.clone(), account.clone()), user_scoped],
            Self::Machine(machine) => vec![Room::Machine(machine.clone(), account.clone()), user_scoped],
            Self::All => vec![Room::User(account.clone())],
        }
    }
}

/// The JSON text of an update's `body`. It may be long: updates that tell several accounts of one change share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(Arc<String>);

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self(Arc::new(text))
    }
}

impl Deref for Body {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A durable change. `seq` is the account's cursor of that change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub account: AccountId,
    pub seq: i64,
    pub audience: Audience,
    pub body: Body,
    /// The connection that caused the change, if it is not to hear of it.
    pub skip: Option<SocketId>,
}

/// A transient state: it may be lost, and it has no place in the order of updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ephemeral {
    pub account: AccountId,
    pub audience: Audience,
    /// The JSON text of the whole argument.
    pub body: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Update(Update),
    /// Two updates about one change, with its one cursor: no other cursor comes between them.
    Pair(Box<[Update; 2]>),
    /// A cursor that was committed without an update of its own. Nobody is told; the updates behind it need not wait.
    Silent {
        account: AccountId,
        seq: i64,
    },
    /// With this cursor the account has lost a session: its share was revoked, or the session deleted. Updates about the
    /// session with lower cursors that are still under way are not delivered any more. Published before the update that
    /// tells of the loss; cursors from after a new share are higher, so they are delivered again.
    Withdrawn {
        account: AccountId,
        session: SessionId,
        seq: i64,
    },
    Ephemeral(Ephemeral),
}

impl Event {
    /// Whom it concerns.
    pub fn account(&self) -> &AccountId {
        match self {
            Self::Update(update) => &update.account,
            Self::Pair(pair) => &pair[0].account,
            Self::Silent { account, .. } | Self::Withdrawn { account, .. } => account,
            Self::Ephemeral(ephemeral) => &ephemeral.account,
        }
    }
}

/// Where events go. Never fails and never waits: delivery is the publisher's own business.
pub trait Publish {
    fn publish(&self, event: Event);

    /// Whether events reach the other replicas at the moment; nothing if this process has none.
    fn reaches_replicas(&self) -> Option<bool> {
        None
    }
}
