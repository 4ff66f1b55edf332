//! Lines of accounts: what accounts share is given to a few requests of one account at a time.
//!
//! Owns: who of an account is at work, and who waits, in the order of their coming. Never: what the work is.
//! Transactions wait here before they wait for a connection, of which a core has very few. Those of one account are in
//! each other's way in any case, because nearly all take the lock of its row; in the line of the connections they would
//! be in everybody's.
//! An account that has nothing to wait for costs an entry while it is at work.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;

use super::Context;
use crate::model::ids::AccountId;
use crate::storage::{Error, Kind, Tx};

/// How long a line may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of one account at work at a time.
    pub at_work: usize,
    /// Of one account that wait for those.
    pub waiting: usize,
    /// How long one may wait.
    pub wait: Duration,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// Too many wait already.
    Full,
    /// Those before it have not been done in time.
    TooLate,
}

/// The lines of one core for one thing.
#[derive(Clone, Default)]
pub(super) struct Lines {
    lines: Rc<RefCell<HashMap<AccountId, Line>>>,
}

#[derive(Default)]
struct Line {
    at_work: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

impl Lines {
    /// Waits until it is the caller's turn, which ends when the turn is dropped.
    pub(super) async fn turn(&self, account: &AccountId, limits: Limits) -> Result<Turn, NoTurn> {
        let turn = match self.enter(account, limits)? {
            Entered::Now(turn) => return Ok(turn),
            Entered::Waiting(turn) => turn,
        };
        // A turn that comes too late is dropped with the channel, and so given to the next.
        match monoio::time::timeout(limits.wait, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(NoTurn::TooLate),
        }
    }

    fn enter(&self, account: &AccountId, limits: Limits) -> Result<Entered, NoTurn> {
        let mut lines = self.lines.borrow_mut();
        let Some(line) = lines.get_mut(account) else {
            lines.insert(account.clone(), Line { at_work: 1, waiting: VecDeque::new() });
            return Ok(Entered::Now(self.turn_of(account)));
        };
        if line.at_work < limits.at_work {
            line.at_work += 1;
            return Ok(Entered::Now(self.turn_of(account)));
        }
        if line.waiting.len() >= limits.waiting {
            line.waiting.retain(|waiting| !waiting.is_canceled());
        }
        if line.waiting.len() >= limits.waiting {
            return Err(NoTurn::Full);
        }
        let (sender, turn) = oneshot::channel();
        line.waiting.push_back(sender);
        Ok(Entered::Waiting(turn))
    }

    fn turn_of(&self, account: &AccountId) -> Turn {
        Turn { of: self.clone(), account: account.clone() }
    }

    /// Ends a turn: the next in the line has it, if there is one.
    fn leave(&self, account: &AccountId) {
        let mut lines = self.lines.borrow_mut();
        let Some(line) = lines.get_mut(account) else { return };
        let next = std::iter::from_fn(|| line.waiting.pop_front()).find(|waiting| !waiting.is_canceled());
        if let Some(next) = next {
            drop(lines);
            // Should it be gone all the same, the turn is dropped here and comes back.
            let _ = next.send(self.turn_of(account));
            return;
        }
        line.at_work -= 1;
        if line.at_work == 0 {
            lines.remove(account);
        }
    }
}

enum Entered {
    Now(Turn),
    Waiting(oneshot::Receiver<Turn>),
}

/// The right to work, until it is dropped.
pub(super) struct Turn {
    of: Lines,
    account: AccountId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.leave(&self.account);
    }
}

/// Transactions of one account that wait for those that run.
const WAITING_MAX: usize = 1_000;
/// How long one of them may wait, which is as long as the one before it may run.
const WAIT: Duration = Duration::from_secs(10);

/// How many transactions of one account run at a time, if all accounts together have so many. On PostgreSQL two: while
/// one commits, the other has its connection already and waits for the lock; but one connection is left to others. On
/// SQLite they share a commit, so they may be many.
fn at_work(kind: Kind, of_all: usize) -> usize {
    let most = match kind {
        Kind::Postgres => 2,
        Kind::Sqlite => 64,
    };
    of_all.saturating_sub(1).clamp(1, most)
}

#[derive(Default)]
struct TransactionLines(Lines);

impl Context {
    /// Runs a transaction on behalf of an account, after those of the same account that came before. See
    /// [`Db::transaction`](crate::storage::Db::transaction).
    pub(super) async fn transaction<T, E, F>(&self, account: &AccountId, f: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let at_work = at_work(self.db.kind(), self.db.transactions());
        let limits = Limits { at_work, waiting: WAITING_MAX, wait: WAIT };
        let turn = self.db.local::<TransactionLines>().0.turn(account, limits).await;
        let _turn = turn.map_err(|reason| {
            Error::Unavailable(match reason {
                NoTurn::Full => format!("{} transactions of one account are waiting", limits.waiting),
                NoTurn::TooLate => format!("other transactions of the account took {:?}", limits.wait),
            })
        })?;
        self.db.transaction(f).await
    }
}

/// Calls to other services of one account at a time, from its first to its last step. Eight threads make those of all
/// accounts, and 256 more may wait for them.
const CALLS: Limits = Limits { at_work: 2, waiting: 8, wait: Duration::from_secs(10) };

#[derive(Default)]
struct CallLines(Lines);

impl Context {
    /// The turn of an account to have other services called.
    pub(super) async fn turn_to_call(&self, account: &AccountId) -> Result<Turn, NoTurn> {
        self.db.local::<CallLines>().0.turn(account, CALLS).await
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_connection_is_left_to_others() {
        for (connections, of_one) in [(1, 1), (2, 1), (3, 2), (4, 2), (40, 2)] {
            assert_eq!(at_work(Kind::Postgres, connections), of_one, "{connections}");
        }
        assert_eq!(at_work(Kind::Sqlite, 16_384), 64);
    }

    const LIMITS: Limits = Limits { at_work: 2, waiting: 3, wait: Duration::from_secs(60) };

    fn account(name: &str) -> AccountId {
        AccountId::from(name.to_owned())
    }

    fn now(lines: &Lines, account: &AccountId) -> Turn {
        match lines.enter(account, LIMITS) {
            Ok(Entered::Now(turn)) => turn,
            _ => panic!("it has to wait"),
        }
    }

    fn later(lines: &Lines, account: &AccountId) -> oneshot::Receiver<Turn> {
        match lines.enter(account, LIMITS) {
            Ok(Entered::Waiting(turn)) => turn,
            _ => panic!("it does not wait"),
        }
    }

    fn poll(turn: &mut oneshot::Receiver<Turn>) -> Option<Turn> {
        match Pin::new(turn).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => turn.ok(),
            Poll::Pending => None,
        }
    }

    #[test]
    fn so_many_at_a_time_in_the_order_of_their_coming() {
        let lines = Lines::default();
        let (alice, bob) = (account("alice"), account("bob"));
        let (first, second) = (now(&lines, &alice), now(&lines, &alice));
        let mut waiting: Vec<_> = (0..3).map(|_| later(&lines, &alice)).collect();
        assert!(matches!(lines.enter(&alice, LIMITS), Err(NoTurn::Full)));
        drop(now(&lines, &bob));
        assert!(waiting.iter_mut().all(|turn| poll(turn).is_none()));
        drop(second);
        let third = poll(&mut waiting[0]).expect("its turn");
        assert!(poll(&mut waiting[1]).is_none());
        waiting.push(later(&lines, &alice));
        drop((first, third));
        let others: Vec<_> = waiting.iter_mut().skip(1).filter_map(poll).collect();
        assert_eq!(others.len(), 2);
        assert!(poll(&mut waiting[3]).is_none());
        drop(others);
        drop(poll(&mut waiting[3]).expect("its turn"));
        assert!(lines.lines.borrow().is_empty());
    }

    #[test]
    fn a_turn_is_not_lost_with_whoever_waited_for_it() {
        let lines = Lines::default();
        let alice = account("alice");
        let (first, second) = (now(&lines, &alice), now(&lines, &alice));
        let (given_up, served, mut last) = (later(&lines, &alice), later(&lines, &alice), later(&lines, &alice));
        // One that has gone leaves its place in the line, too.
        drop(given_up);
        let mut another = later(&lines, &alice);
        drop(first);
        // It is served, and goes before it has noticed.
        drop(served);
        drop(poll(&mut last).expect("its turn"));
        drop(poll(&mut another).expect("its turn"));
        drop(second);
        assert!(lines.lines.borrow().is_empty());
    }

    #[test]
    fn nobody_waits_for_ever() {
        let mut runtime =
            monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().expect("a runtime");
        runtime.block_on(async {
            let lines = Lines::default();
            let alice = account("alice");
            let _turns = (now(&lines, &alice), now(&lines, &alice));
            let limits = Limits { wait: Duration::from_millis(1), ..LIMITS };
            let waiting = pin!(lines.turn(&alice, limits));
            assert_eq!(waiting.await.err(), Some(NoTurn::TooLate));
        });
    }
}
