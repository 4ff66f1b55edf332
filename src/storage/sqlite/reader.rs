//! Threads that only read. Each has a connection of its own and sees the state of the last commit.
//!
//! They are few, so a read may not take longer than a limit: SQLite gives it up, and its caller is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::storage::error::Error;

/// Reads that wait.
const WAITING_MAX: usize = 1 << 14;

/// How many steps of its virtual machine SQLite takes between two looks at the clock: some tens of microseconds, or a
/// hundred rows that are compared with a pattern.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;

/// A read, which answers by itself.
pub(crate) type Job = Box<dyn FnOnce(&Connection) + Send>;

pub(super) struct Readers {
    /// `None` only while ending.
    queue: Option<mpsc::SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    #[allow(clippy::disallowed_methods, reason = "the database's own threads")]
    pub(super) fn start(connections: Vec<Connection>, limit: Duration) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::sync_channel::<Job>(WAITING_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::new();
        for connection in connections {
            let jobs = Arc::clone(&jobs);
            let watch = Watch::over(&connection, limit);
            let thread = std::thread::Builder::new()
                .name("sqlite-reader".into())
                .spawn(move || {
                    loop {
                        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(job) = job else { return };
                        watch.begin();
                        job(&connection);
                    }
                })
                .map_err(|error| Error::Unavailable(format!("cannot start a reader: {error}")))?;
            threads.push(thread);
        }
        Ok(Self { queue: Some(queue), threads })
    }

    pub(super) fn push(&self, job: Job) {
        if let Some(queue) = &self.queue {
            // A job that cannot wait is dropped, which tells its caller.
            let _ = queue.try_send(job);
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Ends what one connection does once it has taken too long.
struct Watch {
    start: Instant,
    /// When the read began, in milliseconds after `start`.
    began_ms: Arc<AtomicU64>,
}

impl Watch {
    fn over(connection: &Connection, limit: Duration) -> Self {
        let watch = Self { start: Instant::now(), began_ms: Arc::default() };
        let (start, began_ms) = (watch.start, Arc::clone(&watch.began_ms));
        let is_over = move || {
            let began = Duration::from_millis(began_ms.load(Ordering::Relaxed));
            start.elapsed().saturating_sub(began) > limit
        };
        connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over));
        watch
    }

    fn begin(&self) {
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.began_ms.store(now_ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::convert;

    const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

    #[test]
    fn a_read_that_takes_too_long_is_given_up() {
        let readers = Readers::start(vec![Connection::open_in_memory().unwrap()], Duration::from_millis(20)).unwrap();
        let (sender, answers) = mpsc::channel();
        for sql in [ENDLESS, "SELECT 1", ENDLESS, "SELECT 1"] {
            let sender = sender.clone();
            readers.push(Box::new(move |connection| {
                sender.send(convert::run(connection, sql, &[]).map(|answer| answer.rows[0].int(0))).unwrap();
            }));
        }
        for _ in 0..2 {
            let answer = answers.recv().unwrap();
            assert!(matches!(answer, Err(Error::Timeout(_))), "{answer:?}");
            assert_eq!(answers.recv().unwrap(), Ok(1));
        }
    }
}
