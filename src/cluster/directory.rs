//! Which connections this process has, as far as the thread that reads the stream has to know: whether somebody of an
//! account is here at all, and on which core a connection is. Pure.
//!
//! Cores report every admission and every end in their order, and reports are taken before each batch of entries; so
//! an event that was published after a client saw its connection accepted finds it here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Place;
use crate::model::ids::{AccountId, SocketId};

#[derive(Default)]
pub struct Directory {
    sockets: HashMap<SocketId, (Place, AccountId)>,
    /// Connections of each account.
    accounts: HashMap<AccountId, u32>,
}

impl Directory {
    pub fn join(&mut self, account: AccountId, socket: SocketId, place: Place) {
        if self.sockets.insert(socket, (place, account.clone())).is_none() {
            *self.accounts.entry(account).or_default() += 1;
        }
    }

    pub fn leave(&mut self, socket: SocketId) {
        let Some((_, account)) = self.sockets.remove(&socket) else { return };
        if let Entry::Occupied(mut entry) = self.accounts.entry(account) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    pub fn has_account(&self, account: &AccountId) -> bool {
        self.accounts.contains_key(account)
    }

    pub fn place(&self, socket: &SocketId) -> Option<Place> {
        self.sockets.get(socket).map(|(place, _)| *place)
    }

    pub fn account(&self, socket: &SocketId) -> Option<&AccountId> {
        self.sockets.get(socket).map(|(_, account)| account)
    }

    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::cores::CoreId;
    use crate::runtime::slab::Slab;

    #[test]
    fn an_account_is_here_while_one_of_its_connections_is() {
        let mut slab = Slab::default();
        let mut directory = Directory::default();
        let account = AccountId::from("a");
        let sockets = [SocketId::random(), SocketId::random()];
        for socket in sockets {
            let place = Place { core: CoreId(1), key: slab.insert(()) };
            directory.join(account.clone(), socket, place);
            directory.join(account.clone(), socket, place);
            assert_eq!((directory.place(&socket), directory.account(&socket)), (Some(place), Some(&account)));
        }
        assert_eq!(directory.len(), 2);
        directory.leave(sockets[0]);
        directory.leave(sockets[0]);
        assert!(directory.has_account(&account));
        directory.leave(sockets[1]);
        assert!(!directory.has_account(&account) && directory.is_empty() && directory.accounts.is_empty());
    }
}
