//! How much of one account may be under way on a core at once: the events whose answers wait for the database.
//!
//! Reading goes on while they wait, so without a limit one account could fill the memory of the server and the queue of
//! its database, over one connection or many. `message` and `usage-report` events wait in lines of their connections
//! ([`super::serial`]); how much waits in all lines of an account is counted in the same way, with more room.
//! Beyond its limits an event is refused at once. An account that has nothing under way costs nothing here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::serial::{Full, WAITING_BYTES_MAX, WAITING_MAX};
use crate::model::ids::AccountId;

/// How many events of an account, and bytes of their input, may be under way.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub events_max: usize,
    pub bytes_max: usize,
}

/// For events that do not wait for each other.
pub const AT_ONCE: Limits = Limits { events_max: WAITING_MAX, bytes_max: WAITING_BYTES_MAX };
/// For those that wait in a line: as much as in the full lines of several connections.
pub const IN_LINES: Limits = Limits { events_max: 16 * WAITING_MAX, bytes_max: 4 * WAITING_BYTES_MAX };

#[derive(Clone, Copy, Default)]
struct Load {
    events: usize,
    bytes: usize,
}

/// The loads of all accounts of a core.
#[derive(Clone)]
pub struct UnderWay {
    loads: Rc<RefCell<HashMap<AccountId, Load>>>,
    limits: Limits,
}

impl UnderWay {
    pub fn new(limits: Limits) -> Self {
        Self { loads: Rc::default(), limits }
    }

    /// Takes in an event that holds on to `bytes` of input. It counts until its slot is dropped.
    pub fn enter(&self, account: &AccountId, bytes: usize) -> Result<Slot, Full> {
        let mut loads = self.loads.borrow_mut();
        let Load { events, bytes: before } = loads.get(account).copied().unwrap_or_default();
        // One event alone is never too large: what a message may have is a setting, and checked before.
        if events >= self.limits.events_max || (events > 0 && before + bytes > self.limits.bytes_max) {
            return Err(Full);
        }
        loads.insert(account.clone(), Load { events: events + 1, bytes: before + bytes });
        Ok(Slot { of: self.clone(), account: account.clone(), bytes })
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.loads.borrow().is_empty()
    }
}

/// The room that one event takes, until it is dropped.
pub struct Slot {
    of: UnderWay,
    account: AccountId,
    bytes: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut loads = self.of.loads.borrow_mut();
        let Some(load) = loads.get_mut(&self.account) else { return };
        load.events -= 1;
        load.bytes -= self.bytes;
        if load.events == 0 {
            debug_assert_eq!(load.bytes, 0);
            loads.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { events_max: 3, bytes_max: 100 };

    fn accounts() -> (AccountId, AccountId) {
        (AccountId::from("one".to_owned()), AccountId::from("other".to_owned()))
    }

    #[test]
    fn so_many_events_of_one_account() {
        let (one, other) = accounts();
        let under_way = UnderWay::new(LIMITS);
        let mut slots: Vec<_> = (0..3).map(|_| under_way.enter(&one, 10).unwrap()).collect();
        assert_eq!(under_way.enter(&one, 0).err(), Some(Full));
        drop(under_way.enter(&other, 10).unwrap());
        slots.pop();
        slots.push(under_way.enter(&one, 10).unwrap());
        assert_eq!(under_way.enter(&one, 0).err(), Some(Full));
        drop(slots);
        assert!(under_way.is_empty());
    }

    #[test]
    fn so_many_bytes_of_one_account() {
        let (one, other) = accounts();
        let under_way = UnderWay::new(LIMITS);
        let most = under_way.enter(&one, 95).unwrap();
        assert_eq!(under_way.enter(&one, 6).err(), Some(Full));
        let rest = under_way.enter(&one, 5).unwrap();
        assert_eq!(under_way.enter(&one, 1).err(), Some(Full));
        drop(under_way.enter(&other, 101).unwrap());
        drop(most);
        drop(under_way.enter(&one, 95).unwrap());
        drop(rest);
        assert!(under_way.is_empty());
    }
}
