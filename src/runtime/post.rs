//! The way back to a core: run this there.
//!
//! Owns: the trait through which threads of the back plane hand a core its answers, and an implementation for tests
//! and one-off tools. The cores of the server implement it with their mailbox.
//! Never: wakers across threads. monoio's wakers belong to their core, so an answer travels as a closure that runs on
//! the core and wakes there.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

/// Work for a core.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs on the one thread it stands for, in the order they were posted.
pub trait CorePost: Send + Sync {
    /// Leaves a job for the core. A core that has ended drops it.
    fn post(&self, job: Job);
}

/// A [`CorePost`] for the monoio runtime of the current thread: a queue and a pipe, read by a task.
struct Pipe {
    jobs: Mutex<Vec<Job>>,
    wake: UnixStream,
}

impl CorePost for Pipe {
    fn post(&self, job: Job) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let first = jobs.is_empty();
        jobs.push(job);
        drop(jobs);
        if first {
            // A full pipe means that a wake-up is waiting already.
            let _ = io::Write::write(&mut &self.wake, &[1]);
        }
    }
}

/// Starts a task on the current runtime that runs what is posted. The task ends when the last clone is dropped.
pub fn local() -> io::Result<Arc<dyn CorePost>> {
    use monoio::io::AsyncReadRent;

    let (wake, woken) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let mut woken = monoio::net::UnixStream::from_std(woken)?;
    let pipe = Arc::new(Pipe { jobs: Mutex::new(Vec::new()), wake });
    let weak = Arc::downgrade(&pipe);
    monoio::spawn(async move {
        let mut bytes = vec![0u8; 64];
        loop {
            let (read, back) = woken.read(bytes).await;
            bytes = back;
            if !matches!(read, Ok(1..)) {
                return;
            }
            let Some(pipe) = weak.upgrade() else { return };
            let jobs = std::mem::take(&mut *pipe.jobs.lock().unwrap_or_else(PoisonError::into_inner));
            drop(pipe);
            for job in jobs {
                job();
            }
        }
    });
    Ok(pipe)
}
