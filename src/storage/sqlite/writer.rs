//! The one thread that writes, and group commit.
//!
//! Everything queued when the writer looks runs in one transaction with one flush, up to [`BATCH_MAX`] requests; while
//! it is flushed the next batch queues up. So the flush costs each of many concurrent writers a fraction, and a lone
//! writer never waits for company.
//! Invariant: no request is answered with success before the commit succeeded. When SQLite gives the whole transaction
//! up (a full disk), every request of the batch fails.

use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::convert;
use crate::observe::metrics::CoreMetrics;
use crate::storage::error::Error;

/// Requests per commit. A batch of this size takes a few milliseconds, which the first of it has to wait.
const BATCH_MAX: usize = 256;

/// Requests that wait. At some ten thousand a second this is a second and a half; then callers are refused.
pub(crate) const WAITING_MAX: usize = 1 << 14;

/// A request: runs inside the open transaction and leaves the answer to be given once the commit is decided.
/// A request that fails has to undo its own part.
pub(crate) type Job = Box<dyn FnOnce(&Connection) -> Answer + Send>;
/// Gives the answer: what the request found, or the error of the commit.
pub(crate) type Answer = Box<dyn FnOnce(Result<(), Error>)>;

pub(super) struct Writer {
    /// `None` only while ending.
    queue: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    metrics: Metrics,
}

/// Where the sizes of batches are counted, once that is known.
type Metrics = Arc<OnceLock<Arc<CoreMetrics>>>;

impl Writer {
    #[allow(clippy::disallowed_methods, reason = "the database's own thread")]
    pub(super) fn start(connection: Connection) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::sync_channel(WAITING_MAX);
        let metrics = Metrics::default();
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn({
                let metrics = Metrics::clone(&metrics);
                move || work(&connection, &jobs, &metrics)
            })
            .map_err(|error| Error::Unavailable(format!("cannot start the writer: {error}")))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), metrics })
    }

    pub(super) fn count_in(&self, metrics: &Arc<CoreMetrics>) {
        let _ = self.metrics.set(Arc::clone(metrics));
    }

    pub(super) fn push(&self, job: Job) {
        if let Some(queue) = &self.queue {
            // A job that cannot wait is dropped, which tells its caller. So it is when the thread has ended.
            let _ = queue.try_send(job);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(connection: &Connection, jobs: &mpsc::Receiver<Job>, metrics: &Metrics) {
    while let Ok(first) = jobs.recv() {
        let batch = std::iter::once(first).chain(jobs.try_iter()).take(BATCH_MAX);
        let size = commit(connection, batch);
        if let Some(metrics) = metrics.get() {
            metrics.database_batch(size);
        }
    }
}

/// Runs a batch in one transaction and answers it. Gives the number of requests.
fn commit(connection: &Connection, jobs: impl Iterator<Item = Job>) -> usize {
    let mut answers = Vec::new();
    let mut outcome = connection.execute_batch("BEGIN IMMEDIATE").map_err(convert::error);
    for job in jobs {
        if outcome.is_err() {
            // Dropping a request that did not run tells its caller that the database is not available.
            continue;
        }
        answers.push(job(connection));
        if connection.is_autocommit() {
            outcome = Err(Error::Unavailable("the database gave the transaction up".into()));
        }
    }
    if outcome.is_ok() {
        outcome = connection.execute_batch("COMMIT").map_err(convert::error);
    }
    if let Err(error) = &outcome {
        log::error!("a batch of {} writes was not committed: {error}", answers.len());
        if !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
    }
    let size = answers.len();
    for answer in answers {
        answer(outcome.clone());
    }
    size
}
