//! The registry of methods: `rpc:<account>:<method>`, a hash with a lifetime (`spec/cluster.md` §7).
//!
//! Owns: the keys, the fields, the two scripts, which registrations are this process's and when they are refreshed.
//! Never: who may register or call.
//! Invariant: an entry that names another connection is never deleted or refreshed.

use std::collections::{HashMap, HashSet, VecDeque};

use protocol::adapter::Millis;
use redis::{Cmd, Pipeline, RedisResult, Value};

use super::Ticket;
use crate::model::ids::{AccountId, SocketId};

/// Lifetime of an entry in seconds.
const LIFETIME_S: u64 = 120;

/// How often entries are refreshed.
pub const REFRESH_MS: Millis = 60_000;

/// Refreshes of registrations that are over are kept until there are this many more of them than registrations.
const STALE_MAX: usize = 256;

/// Refreshes the entry of a connection and brings back one that is missing: a reference server deletes the entry of a
/// method whose call it has given up (C-9). Says 0 if the entry names another connection.
const REFRESH: &str = "\
local holder = redis.call('HGET', KEYS[1], 'socketId')
if holder and holder ~= '' and holder ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'instanceId', ARGV[2], 'socketId', ARGV[1], 'updatedAt', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1";

const DELETE: &str = "\
if redis.call('HGET', KEYS[1], 'socketId') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

fn key(account: &AccountId, method: &str) -> String {
    format!("rpc:{account}:{method}")
}

/// A change of the registry. All that wait go out in one pipeline, in order.
#[derive(Debug)]
pub enum Operation {
    Register {
        account: AccountId,
        method: String,
        socket: SocketId,
        ticket: Ticket,
    },
    Refresh {
        account: AccountId,
        method: String,
        socket: SocketId,
    },
    /// Deletes the entry if it names this connection, whose id may come from another server.
    Delete {
        account: AccountId,
        method: String,
        holder: String,
        ticket: Option<Ticket>,
    },
}

impl Operation {
    pub fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Register { ticket, .. } => Some(*ticket),
            Self::Refresh { .. } => None,
            Self::Delete { ticket, .. } => *ticket,
        }
    }

    /// Adds its commands; returns how many answers they have.
    pub fn add(&self, pipeline: &mut Pipeline, instance: &str, now_ms: i64) -> usize {
        match self {
            Self::Register { account, method, socket, .. } => {
                let key = key(account, method);
                pipeline.cmd("MULTI");
                pipeline.cmd("HSET").arg(&key).arg("instanceId").arg(instance);
                pipeline.arg("socketId").arg(socket.as_str()).arg("updatedAt").arg(now_ms);
                pipeline.cmd("EXPIRE").arg(&key).arg(LIFETIME_S);
                pipeline.cmd("EXEC");
                4
            }
            Self::Refresh { account, method, socket } => {
                pipeline.cmd("EVAL").arg(REFRESH).arg(1).arg(key(account, method));
                pipeline.arg(socket.as_str()).arg(instance).arg(now_ms).arg(LIFETIME_S);
                1
            }
            Self::Delete { account, method, holder, .. } => {
                pipeline.cmd("EVAL").arg(DELETE).arg(1).arg(key(account, method)).arg(holder);
                1
            }
        }
    }
}

/// The command that asks who holds a method.
pub fn look_up(account: &AccountId, method: &str) -> Cmd {
    let mut command = redis::cmd("HMGET");
    command.arg(key(account, method)).arg("socketId");
    command
}

/// The id of the connection that holds a method, from the answer.
pub fn holder_of(answer: Value) -> RedisResult<Option<String>> {
    let holder: Vec<Option<String>> = redis::from_owned_redis_value(answer)?;
    Ok(holder.into_iter().flatten().next().filter(|holder| !holder.is_empty()))
}

type Method = (AccountId, Box<str>);

struct Holder {
    socket: SocketId,
    /// Tells a registration from an earlier one of the same method, whose refresh may still be listed.
    number: u64,
}

/// The registrations of this process. Pure. How many there may be is checked at the homes of the accounts.
/// Invariant: of each registration one refresh is due. When one is added, at most [`STALE_MAX`] more than twice as many
/// are listed in all.
#[derive(Default)]
pub struct Registrations {
    next: u64,
    holders: HashMap<Method, Holder>,
    of_socket: HashMap<SocketId, HashSet<Method>>,
    /// When registrations are refreshed, in order, by their numbers; may name some that are over.
    due: VecDeque<(Millis, Method, u64)>,
}

impl Registrations {
    pub fn holder(&self, account: &AccountId, method: &str) -> Option<SocketId> {
        self.holders.get(&(account.clone(), method.into())).map(|holder| holder.socket)
    }

    /// The latest registration counts.
    pub fn insert(&mut self, account: &AccountId, method: &str, socket: SocketId, now: Millis) {
        let method = (account.clone(), Box::from(method));
        if self.is_held_by(&method, socket) {
            return;
        }
        self.forget(&method);
        self.of_socket.entry(socket).or_default().insert(method.clone());
        let number = self.next;
        self.next += 1;
        self.due.push_back((now + REFRESH_MS, method.clone(), number));
        self.holders.insert(method, Holder { socket, number });
        if self.due.len() > 2 * self.holders.len() + STALE_MAX {
            let holders = &self.holders;
            self.due.retain(|(_, method, number)| holders.get(method).is_some_and(|holder| holder.number == *number));
        }
    }

    /// A connection gives a method up, or another one elsewhere has taken it.
    pub fn remove(&mut self, account: &AccountId, method: &str, socket: SocketId) {
        let method = (account.clone(), Box::from(method));
        if self.is_held_by(&method, socket) {
            self.forget(&method);
        }
    }

    fn is_held_by(&self, method: &Method, socket: SocketId) -> bool {
        self.holders.get(method).is_some_and(|holder| holder.socket == socket)
    }

    /// A connection has ended; what it held.
    pub fn leave(&mut self, socket: SocketId) -> Vec<(AccountId, String)> {
        let methods = self.of_socket.remove(&socket).unwrap_or_default();
        methods
            .into_iter()
            .map(|method| {
                self.holders.remove(&method);
                (method.0, method.1.into())
            })
            .collect()
    }

    /// Every registration with its connection.
    pub fn into_all(self) -> impl Iterator<Item = (AccountId, String, SocketId)> {
        self.holders.into_iter().map(|((account, method), holder)| (account, method.into(), holder.socket))
    }

    fn forget(&mut self, method: &Method) {
        let Some(Holder { socket, .. }) = self.holders.remove(method) else { return };
        if let Some(methods) = self.of_socket.get_mut(&socket) {
            methods.remove(method);
            if methods.is_empty() {
                self.of_socket.remove(&socket);
            }
        }
    }

    /// Registrations that are to be refreshed now, at most `max` of them.
    pub fn due(&mut self, now: Millis, max: usize) -> Vec<Operation> {
        let mut due = Vec::new();
        while due.len() < max && self.due.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, method, number)) = self.due.pop_front() else { break };
            let holder = self.holders.get(&method).filter(|holder| holder.number == number);
            if let Some(socket) = holder.map(|holder| holder.socket) {
                self.due.push_back((now + REFRESH_MS, method.clone(), number));
                due.push(Operation::Refresh { account: method.0, method: method.1.into(), socket });
            }
        }
        due
    }

    /// Redis was away and may have lost everything: all registrations are refreshed as soon as possible.
    pub fn refresh_all(&mut self) {
        for (at, ..) in &mut self.due {
            *at = 0;
        }
    }

    pub fn len(&self) -> usize {
        self.holders.len()
    }

    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(registrations: &mut Registrations, now: Millis) -> Vec<String> {
        let methods = registrations.due(now, 100).into_iter().map(|operation| match operation {
            Operation::Refresh { method, .. } => method,
            other => panic!("{other:?}"),
        });
        methods.collect()
    }

    #[test]
    fn the_latest_registration_counts_and_is_refreshed_every_minute() {
        let (account, first, second) = (AccountId::from("a"), SocketId::random(), SocketId::random());
        let mut registrations = Registrations::default();
        registrations.insert(&account, "m", first, 0);
        registrations.insert(&account, "m", second, 10);
        registrations.insert(&account, "n", first, 20);
        assert_eq!(registrations.holder(&account, "m"), Some(second));
        assert_eq!(due(&mut registrations, REFRESH_MS), [""; 0]);
        assert_eq!(due(&mut registrations, REFRESH_MS + 20), ["m", "n"]);
        assert_eq!(due(&mut registrations, REFRESH_MS + 20), [""; 0]);
        registrations.refresh_all();
        assert_eq!(due(&mut registrations, REFRESH_MS + 21).len(), 2);
        assert_eq!(registrations.leave(first), [(account.clone(), "n".to_string())]);
        registrations.remove(&account, "m", first);
        assert_eq!(registrations.len(), 1, "only the holder gives a method up");
        registrations.remove(&account, "m", second);
        assert!(registrations.is_empty() && registrations.of_socket.is_empty());
        assert_eq!(due(&mut registrations, Millis::MAX), [""; 0]);
        assert!(registrations.due.is_empty());
    }

    #[test]
    fn a_method_that_is_taken_and_given_up_again_and_again_is_refreshed_once_a_minute() {
        let (account, first, second) = (AccountId::from("a"), SocketId::random(), SocketId::random());
        let mut registrations = Registrations::default();
        registrations.insert(&account, "kept", first, 0);
        for _ in 0..10_000 {
            registrations.insert(&account, "m", first, 0);
            registrations.remove(&account, "m", first);
            registrations.insert(&account, "n", first, 0);
            registrations.insert(&account, "n", second, 0);
            assert!(registrations.due.len() <= 2 * registrations.len() + STALE_MAX + 1, "{}", registrations.due.len());
        }
        registrations.insert(&account, "m", first, 0);
        for minute in 1..=3 {
            let mut refreshed: Vec<String> = (0..)
                .map(|_| due(&mut registrations, minute * REFRESH_MS))
                .take_while(|some| !some.is_empty())
                .flatten()
                .collect();
            refreshed.sort_unstable();
            assert_eq!(refreshed, ["kept", "m", "n"]);
        }
        assert_eq!(registrations.due.len(), 3);
    }

    #[test]
    fn refreshes_go_out_in_portions() {
        let mut registrations = Registrations::default();
        for n in 0..10 {
            registrations.insert(&AccountId::from("a"), &n.to_string(), SocketId::random(), 0);
        }
        assert_eq!(registrations.due(REFRESH_MS, 4).len(), 4);
        assert_eq!(registrations.due(REFRESH_MS, 100).len(), 6);
    }
}
