//! Which connection of an account has registered which method. Pure.
//!
//! There is one live table per account, at its home core (closes R-13). Limits: [`METHODS_MAX`] methods of an account;
//! how long a name may be is checked where it comes in ([`METHOD_BYTES_MAX`]).

use std::collections::HashMap;

use super::Peer;
use crate::realtime::home::Place;

/// Methods that an account may have registered at once. Sessions and daemons register about ten each, so this is more
/// than a thousand of them connected at a time.
pub const METHODS_MAX: usize = 16_384;

/// Length of a method's name. The names in use are an id, a colon and a word.
pub const METHOD_BYTES_MAX: usize = 1_024;

/// The account has as many methods as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The registrations of one account. Most accounts have none and then own no table.
#[derive(Default)]
#[allow(
    clippy::box_collection,
    reason = "an empty map is six times the size of a pointer, and there is one per account"
)]
pub struct Methods(Option<Box<HashMap<Box<str>, Peer>>>);

impl Methods {
    /// The latest registration wins, without notice to the previous holder.
    pub fn register(&mut self, method: &str, by: Peer) -> Result<(), Full> {
        debug_assert!(method.len() <= METHOD_BYTES_MAX);
        let table = self.0.get_or_insert_default();
        if let Some(holder) = table.get_mut(method) {
            *holder = by;
            return Ok(());
        }
        if table.len() >= METHODS_MAX {
            return Err(Full);
        }
        table.insert(method.into(), by);
        Ok(())
    }

    /// Only the holder can take a method away.
    pub fn unregister(&mut self, method: &str, by: Peer) {
        if self.holder(method) == Some(by)
            && let Some(table) = &mut self.0
        {
            table.remove(method);
        }
        self.shrink();
    }

    pub fn holder(&self, method: &str) -> Option<Peer> {
        self.0.as_ref()?.get(method).copied()
    }

    /// A connection has gone. Who held its methods before is not reinstated.
    pub fn leave(&mut self, place: Place) {
        if let Some(table) = &mut self.0 {
            table.retain(|_, holder| holder.place != place);
        }
        self.shrink();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn holders(&self) -> impl Iterator<Item = Peer> {
        self.0.iter().flat_map(|table| table.values().copied())
    }

    fn shrink(&mut self) {
        if self.0.as_ref().is_some_and(|table| table.is_empty()) {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::SocketId;
    use crate::runtime::cores::CoreId;
    use crate::runtime::slab::Slab;

    fn peers() -> [Peer; 2] {
        let mut slab = Slab::default();
        [(); 2].map(|()| Peer { place: Place { core: CoreId(0), key: slab.insert(()) }, socket: SocketId::random() })
    }

    #[test]
    fn the_latest_registration_wins_and_only_the_holder_unregisters() {
        let [first, second] = peers();
        let mut methods = Methods::default();
        assert_eq!(methods.register("m", first), Ok(()));
        assert_eq!(methods.register("m", second), Ok(()));
        assert_eq!(methods.holder("m"), Some(second));
        methods.unregister("m", first);
        assert_eq!(methods.holder("m"), Some(second));
        methods.unregister("m", second);
        assert_eq!(methods.holder("m"), None);
        assert!(methods.is_empty());
    }

    #[test]
    fn a_connection_takes_its_entries_with_it() {
        let [first, second] = peers();
        let mut methods = Methods::default();
        for (method, by) in [("a", first), ("b", second), ("c", first), ("c", second)] {
            assert_eq!(methods.register(method, by), Ok(()));
        }
        methods.leave(first.place);
        assert_eq!((methods.holder("a"), methods.holder("b"), methods.holder("c")), (None, Some(second), Some(second)));
        methods.leave(second.place);
        assert!(methods.is_empty());
        // The table works on after it was empty.
        assert_eq!(methods.register("a", first), Ok(()));
        assert_eq!(methods.holder("a"), Some(first));
    }

    #[test]
    fn the_number_of_methods_is_limited() {
        let [first, second] = peers();
        let mut methods = Methods::default();
        for n in 0..METHODS_MAX {
            assert_eq!(methods.register(&n.to_string(), first), Ok(()));
        }
        assert_eq!(methods.register("one more", first), Err(Full));
        assert_eq!(methods.register("7", second), Ok(()), "a known one changes hands all the same");
        methods.unregister("8", first);
        assert_eq!(methods.register("one more", first), Ok(()));
    }
}
