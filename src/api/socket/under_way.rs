//! How much of one connection may be under way at once: the events whose answers wait for the database.
//!
//! Reading goes on while they wait, so without a limit one connection could fill the memory of the server and the queue
//! of its database. `message` and `usage-report` events wait in a line of their own ([`super::serial`]).
//! Limits: [`EVENTS_MAX`] events and [`BYTES_MAX`] bytes per connection; beyond them an event is refused at once. A
//! connection that has nothing under way costs nothing here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::serial::{Full, WAITING_BYTES_MAX, WAITING_MAX};
use crate::runtime::slab::Key;

pub const EVENTS_MAX: usize = WAITING_MAX;
pub const BYTES_MAX: usize = WAITING_BYTES_MAX;

#[derive(Clone, Copy, Default)]
struct Load {
    events: usize,
    bytes: usize,
}

/// The loads of all connections of a core.
#[derive(Clone, Default)]
pub struct UnderWay {
    loads: Rc<RefCell<HashMap<Key, Load>>>,
}

impl UnderWay {
    /// Takes in an event that holds on to `bytes` of input. It counts until its slot is dropped.
    pub fn enter(&self, key: Key, bytes: usize) -> Result<Slot, Full> {
        let mut loads = self.loads.borrow_mut();
        let Load { events, bytes: before } = loads.get(&key).copied().unwrap_or_default();
        if events >= EVENTS_MAX || before + bytes > BYTES_MAX {
            return Err(Full);
        }
        loads.insert(key, Load { events: events + 1, bytes: before + bytes });
        Ok(Slot { of: self.clone(), key, bytes })
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.loads.borrow().is_empty()
    }
}

/// The room that one event takes, until it is dropped.
pub struct Slot {
    of: UnderWay,
    key: Key,
    bytes: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut loads = self.of.loads.borrow_mut();
        let Some(load) = loads.get_mut(&self.key) else { return };
        load.events -= 1;
        load.bytes -= self.bytes;
        if load.events == 0 {
            debug_assert_eq!(load.bytes, 0);
            loads.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::slab::Slab;

    #[test]
    fn so_many_events_of_one_connection() {
        let mut slab = Slab::default();
        let (one, other) = (slab.insert(()), slab.insert(()));
        let under_way = UnderWay::default();
        let mut slots: Vec<_> = (0..EVENTS_MAX).map(|_| under_way.enter(one, 10).unwrap()).collect();
        assert_eq!(under_way.enter(one, 0).err(), Some(Full));
        drop(under_way.enter(other, 10).unwrap());
        slots.pop();
        slots.push(under_way.enter(one, 10).unwrap());
        assert_eq!(under_way.enter(one, 0).err(), Some(Full));
        drop(slots);
        assert!(under_way.is_empty());
    }

    #[test]
    fn so_many_bytes_of_one_connection() {
        let key = Slab::default().insert(());
        let under_way = UnderWay::default();
        let most = under_way.enter(key, BYTES_MAX - 5).unwrap();
        assert_eq!(under_way.enter(key, 6).err(), Some(Full));
        let rest = under_way.enter(key, 5).unwrap();
        assert_eq!(under_way.enter(key, 1).err(), Some(Full));
        drop(most);
        drop(under_way.enter(key, BYTES_MAX - 5).unwrap());
        drop(rest);
        assert!(under_way.is_empty());
    }
}
