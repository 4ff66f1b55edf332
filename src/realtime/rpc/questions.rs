//! What a core has asked the cluster and has not been answered: registrations on their way to the registry, and calls
//! that look for their target or wait for another process. Pure: time is an argument.
//!
//! Invariant: a question leaves by exactly one of [`Questions::take`] and [`Questions::expire`].
//! Limits: [`QUESTIONS_MAX`] and [`QUESTIONS_BYTES_MAX`].

use std::collections::{HashMap, VecDeque};

use super::{Call, Peer, calls};
use crate::runtime::timer::Millis;

/// Questions of one core.
pub const QUESTIONS_MAX: usize = 65_536;

/// Bytes of calls that look for their target. No registration is refused because of them: it may be what they wait for.
pub const QUESTIONS_BYTES_MAX: usize = 32 << 20;

/// Deadlines of questions that have been answered are kept until there are this many more of them than questions.
const STALE_MAX: usize = 256;

/// After this an answer does not come any more: longer than a call, a look-up and the time for which one waits for a
/// method. It happens only if the thread that answers is gone.
pub const PATIENCE_MS: Millis = 45_000;

#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    Register {
        method: String,
        by: Peer,
    },
    Unregister {
        method: String,
        by: Peer,
    },
    /// Who holds the method?
    Find(Box<Call>),
    /// Another process was asked. Its parameters are under way and not needed any more.
    Answer {
        caller: Peer,
        ack: Option<u64>,
    },
}

impl Question {
    fn bytes(&self) -> usize {
        match self {
            Self::Find(call) => calls::bytes(call),
            Self::Register { .. } | Self::Unregister { .. } | Self::Answer { .. } => 0,
        }
    }
}

#[derive(Default)]
pub struct Questions {
    next: u64,
    open: HashMap<u64, Question>,
    bytes: usize,
    /// May name questions that are over.
    deadlines: VecDeque<(Millis, u64)>,
}

impl Questions {
    /// Notes a question that may take `extra_ms` longer than others; gives its number. `Err`: there are too many.
    pub fn ask(&mut self, question: Question, now: Millis, extra_ms: Millis) -> Result<u64, Question> {
        let bytes = question.bytes();
        if self.open.len() >= QUESTIONS_MAX || (bytes > 0 && self.bytes + bytes > QUESTIONS_BYTES_MAX) {
            return Err(question);
        }
        self.bytes += bytes;
        let number = self.next;
        self.next += 1;
        self.open.insert(number, question);
        self.deadlines.push_back((now + PATIENCE_MS + extra_ms, number));
        if self.deadlines.len() > 2 * self.open.len() + STALE_MAX {
            let open = &self.open;
            self.deadlines.retain(|(_, number)| open.contains_key(number));
        }
        Ok(number)
    }

    pub fn take(&mut self, number: u64) -> Option<Question> {
        let question = self.open.remove(&number)?;
        self.bytes -= question.bytes();
        Some(question)
    }

    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    pub fn expire(&mut self, now: Millis) -> Vec<Question> {
        let mut over = Vec::new();
        while let Some((at, number)) = self.deadlines.front().copied() {
            if at > now && self.open.contains_key(&number) {
                break;
            }
            self.deadlines.pop_front();
            over.extend(self.take(number));
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::SocketId;
    use crate::realtime::home::Place;
    use crate::runtime::cores::CoreId;
    use crate::runtime::slab::Slab;

    fn question() -> Question {
        let place = Place { core: CoreId(0), key: Slab::default().insert(()) };
        Question::Register { method: "m".to_string(), by: Peer { place, socket: SocketId::random() } }
    }

    #[test]
    fn questions_are_answered_once_or_run_out() {
        let mut questions = Questions::default();
        let first = questions.ask(question(), 0, 0).unwrap();
        let second = questions.ask(question(), 10, 0).unwrap();
        assert!(questions.take(first).is_some());
        assert_eq!(questions.take(first), None);
        assert_eq!(questions.expire(PATIENCE_MS + 9), []);
        assert_eq!(questions.expire(PATIENCE_MS + 10).len(), 1);
        assert_eq!(questions.take(second), None);
        assert!(questions.is_empty());
        for _ in 0..QUESTIONS_MAX {
            questions.ask(question(), 0, 0).unwrap();
        }
        assert!(questions.ask(question(), 0, 0).is_err());
    }

    fn call(bytes: usize) -> Question {
        let place = Place { core: CoreId(0), key: Slab::default().insert(()) };
        let (method, params) = ("m".to_string(), Some("x".repeat(bytes - 1)));
        let caller = Peer { place, socket: SocketId::random() };
        Question::Find(Box::new(Call { account: "a".into(), method, on_behalf_of: None, params, caller, ack: Some(1) }))
    }

    #[test]
    fn their_bytes_are_limited_until_they_are_answered() {
        let mut questions = Questions::default();
        let first = questions.ask(call(QUESTIONS_BYTES_MAX - 10), 0, 0).unwrap();
        questions.ask(call(10), 1, 0).unwrap();
        assert!(questions.ask(call(1), 1, 0).is_err());
        let registration = questions.ask(question(), 1, 0).unwrap();
        assert!(questions.take(registration).is_some(), "it is taken all the same");
        questions.take(first).unwrap();
        questions.ask(call(QUESTIONS_BYTES_MAX - 10), 1, 0).unwrap();
        assert_eq!(questions.expire(1 + PATIENCE_MS).len(), 2);
        assert_eq!(questions.bytes, 0);
    }

    #[test]
    fn deadlines_of_answered_questions_are_forgotten() {
        let mut questions = Questions::default();
        let slow = questions.ask(question(), 0, 0).unwrap();
        for now in 0..10_000 {
            let number = questions.ask(question(), now, 0).unwrap();
            assert!(questions.take(number).is_some());
            assert!(questions.deadlines.len() <= 2 * 2 + STALE_MAX, "{}", questions.deadlines.len());
        }
        assert_eq!(questions.expire(PATIENCE_MS).len(), 1);
        assert_eq!(questions.take(slow), None);
        assert!(questions.is_empty());
    }
}
