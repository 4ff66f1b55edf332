//! What a core has asked the cluster and has not been answered: registrations on their way to the registry, and calls
//! that look for their target or wait for another process. Pure: time is an argument.
//!
//! Invariant: a question leaves by exactly one of [`Questions::take`] and [`Questions::expire`].
//! Limit: [`QUESTIONS_MAX`].

use std::collections::{HashMap, VecDeque};

use super::{Call, Peer};
use crate::runtime::timer::Millis;

/// Questions of one core.
pub const QUESTIONS_MAX: usize = 65_536;

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
    /// Another process was asked.
    Call(Box<Call>),
}

#[derive(Default)]
pub struct Questions {
    next: u64,
    open: HashMap<u64, Question>,
    deadlines: VecDeque<(Millis, u64)>,
}

impl Questions {
    /// Notes a question that may take `extra_ms` longer than others; gives its number. `Err`: there are too many.
    pub fn ask(&mut self, question: Question, now: Millis, extra_ms: Millis) -> Result<u64, Question> {
        if self.open.len() >= QUESTIONS_MAX {
            return Err(question);
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number, question);
        self.deadlines.push_back((now + PATIENCE_MS + extra_ms, number));
        Ok(number)
    }

    pub fn take(&mut self, number: u64) -> Option<Question> {
        self.open.remove(&number)
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
            over.extend(self.open.remove(&number));
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
}
