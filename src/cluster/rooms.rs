//! The names of rooms, as servers write them in broadcasts (`spec/realtime.md` §2, `spec/cluster.md` §6). Pure.
//!
//! Nobody here is in a room: a broadcast names rooms, and the home of the account asks its members which of them hear
//! it. The account of a name is what follows its last colon. Account ids hold none, so a session or machine id that a
//! client has made up can never name the room of another account.

use std::fmt;

use crate::model::ids::{AccountId, MachineId, SessionId, SocketId};

/// Who is meant by a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// Every connection of the account.
    User(AccountId),
    UserScoped(AccountId),
    /// Session-scoped connections of the account that are bound to the session.
    Session(SessionId, AccountId),
    /// Machine-scoped connections of the account that are bound to the machine.
    Machine(MachineId, AccountId),
    /// One connection.
    Socket(SocketId),
}

impl Room {
    /// The room with this name; nothing for names in which nobody here can be. Among those is the room that all
    /// participants of a session share in the reference server: nothing is ever sent there.
    pub fn parse(name: &str) -> Option<Self> {
        let account = |text: &str| (!text.is_empty()).then(|| AccountId::from(text));
        if let Some(rest) = name.strip_prefix("user:") {
            return Some(Self::User(account(rest)?));
        }
        if let Some(rest) = name.strip_prefix("user-scoped:") {
            return Some(Self::UserScoped(account(rest)?));
        }
        if let Some(rest) = name.strip_prefix("session:") {
            let (session, owner) = rest.rsplit_once(':')?;
            return Some(Self::Session(SessionId::from(session), account(owner)?));
        }
        if let Some(rest) = name.strip_prefix("machine:") {
            let (machine, owner) = rest.rsplit_once(':')?;
            return Some(Self::Machine(MachineId::from(machine), account(owner)?));
        }
        SocketId::parse(name).map(Self::Socket)
    }

    /// The account whose home knows the members; nothing for a single connection.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::User(account) | Self::UserScoped(account) | Self::Session(_, account) | Self::Machine(_, account) => {
                Some(account)
            }
            Self::Socket(_) => None,
        }
    }
}

/// Whether members of an account can be in a room.
pub fn concern(room: &Room, account: &AccountId) -> bool {
    room.account().is_none_or(|of| of == account)
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(account) => write!(f, "user:{account}"),
            Self::UserScoped(account) => write!(f, "user-scoped:{account}"),
            Self::Session(session, account) => write!(f, "session:{session}:{account}"),
            Self::Machine(machine, account) => write!(f, "machine:{machine}:{account}"),
            Self::Socket(socket) => write!(f, "{socket}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let account = || AccountId::from("a1");
        let socket = SocketId::random();
        for (room, name) in [
            (Room::User(account()), "user:a1".to_string()),
            (Room::UserScoped(account()), "user-scoped:a1".to_string()),
            (Room::Session(SessionId::from("s1"), account()), "session:s1:a1".to_string()),
            (Room::Machine(MachineId::from("m:1"), account()), "machine:m:1:a1".to_string()),
            (Room::Socket(socket), socket.to_string()),
        ] {
            assert_eq!(room.to_string(), name);
            assert_eq!(Room::parse(&name), Some(room));
        }
        for name in ["", "user:", "user-scoped:", "session:s1", "session:s1:", "machine:m", "other", "session:"] {
            assert_eq!(Room::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_made_up_session_id_names_no_room_of_another_account() {
        // A client of account `b` that claims the session `s1:a1` is in this room of a reference server, …
        let claimed = Room::Session(SessionId::from("s1:a1"), AccountId::from("b")).to_string();
        assert_eq!(claimed, "session:s1:a1:b");
        // … which is `b`'s own, and not the one in which `a1` hears of `s1`.
        assert_eq!(Room::parse(&claimed).and_then(|room| room.account().cloned()), Some(AccountId::from("b")));
        let private = Room::parse("session:s1:a1").and_then(|room| room.account().cloned());
        assert_eq!(private, Some(AccountId::from("a1")));
    }
}
