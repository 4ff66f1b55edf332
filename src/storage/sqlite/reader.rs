//! Threads that only read. Each has a connection of its own and sees the state of the last commit.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::storage::error::Error;

/// Reads that wait.
const WAITING_MAX: usize = 1 << 14;

/// A read, which answers by itself.
pub(crate) type Job = Box<dyn FnOnce(&Connection) + Send>;

pub(super) struct Readers {
    /// `None` only while ending.
    queue: Option<mpsc::SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    #[allow(clippy::disallowed_methods, reason = "the database's own threads")]
    pub(super) fn start(connections: Vec<Connection>) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::sync_channel::<Job>(WAITING_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::new();
        for connection in connections {
            let jobs = Arc::clone(&jobs);
            let thread = std::thread::Builder::new()
                .name("sqlite-reader".into())
                .spawn(move || {
                    loop {
                        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(job) = job else { return };
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
