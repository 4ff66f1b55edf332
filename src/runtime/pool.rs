//! Threads for what blocks: calls to other services, files, images.
//!
//! Owns: the threads of a pool and the queue before them. Never: what the work is, or a core's thread inside it.
//! Limits: a pool has a fixed number of threads and of waiting pieces of work; beyond them [`Workers::run`] refuses at
//! once, so that a service that does not answer costs its callers an error and nobody else anything.
//! Invariant: the answer comes back to the core that asked, through its mailbox. Whoever stops waiting for it wastes
//! the work, which is run all the same: what has been begun is not half done.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::cores;
use super::post::{CorePost, Job};
use super::reply::reply;
use crate::observe::metrics::{CoreMetrics, Counter};

/// Shared by the threads of a pool and those who use it.
struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    name: &'static str,
    waiting_max: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Threads that have nothing to do.
    idle: usize,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece of work; `None` when the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        state.idle += 1;
        let mut state = self
            .arrived
            .wait_while(state, |state| state.waiting.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        state.waiting.pop_front()
    }
}

/// A fixed number of threads. They end when the last handle is dropped and what waited is done.
pub struct Pool(Arc<Queue>);

impl Pool {
    /// Starts `threads` threads called `name`, before which `waiting_max` pieces of work may wait.
    pub fn start(name: &'static str, threads: usize, waiting_max: usize) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Queue { state: Mutex::default(), arrived: Condvar::new(), name, waiting_max });
        let pool = Arc::new(Self(Arc::clone(&queue)));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            cores::background(name, move || {
                while let Some(job) = queue.next() {
                    job();
                }
            })?;
        }
        Ok(pool)
    }

    fn submit(&self, job: Job) -> Result<(), Busy> {
        let mut state = self.0.lock();
        // Work that an idle thread is about to take does not wait.
        if state.waiting.len() >= self.0.waiting_max + state.idle {
            return Err(Busy);
        }
        state.waiting.push_back(job);
        drop(state);
        self.0.arrived.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.arrived.notify_all();
    }
}

/// The queue of a pool is full, or its thread was lost at work: try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too much work of this kind is waiting already")
    }
}

/// A pool as one core sees it. Clones are the same handle.
#[derive(Clone)]
pub struct Workers {
    pool: Arc<Pool>,
    post: Arc<dyn CorePost>,
    metrics: Arc<CoreMetrics>,
}

impl Workers {
    /// `post` must stand for the core that uses the handle, `metrics` are its own.
    pub fn new(pool: Arc<Pool>, post: Arc<dyn CorePost>, metrics: Arc<CoreMetrics>) -> Self {
        Self { pool, post, metrics }
    }

    /// Runs something that blocks on a thread of the pool.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let (answer, value) = reply(&self.post);
        let submitted = self.pool.submit(Box::new(move || answer.send(work())));
        submitted.inspect_err(|Busy| self.metrics.inc(Counter::PoolRefused(self.pool.0.name)))?;
        value.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc::channel;
    use std::task::Poll;

    use super::*;
    use crate::runtime::post;

    fn on_a_core<F: Future<Output = ()>>(main: impl FnOnce() -> F) {
        let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().unwrap();
        runtime.block_on(async { main().await });
    }

    #[test]
    fn work_runs_elsewhere_and_its_answer_comes_back() {
        on_a_core(|| async {
            let workers = Workers::new(Pool::start("test", 2, 4).unwrap(), post::local().unwrap(), Arc::default());
            let here = std::thread::current().id();
            let there = workers.run(|| std::thread::current().id()).await.unwrap();
            assert_ne!(here, there);
        });
    }

    #[test]
    fn a_full_queue_refuses_and_recovers() {
        on_a_core(|| async {
            let workers = Workers::new(Pool::start("test", 1, 1).unwrap(), post::local().unwrap(), Arc::default());
            let (release, released) = channel::<()>();
            let (begun, has_begun) = futures_channel::oneshot::channel();
            let post = post::local().unwrap();
            let (begin, begins) = reply::<()>(&post);
            let busy = workers.clone();
            monoio::spawn(async move {
                let outcome = busy
                    .run(move || {
                        begin.send(());
                        released.recv().unwrap();
                    })
                    .await;
                let _ = begun.send(outcome);
            });
            begins.await.unwrap();
            // The thread is taken: one piece of work waits, the next is refused without waiting.
            let mut waits = std::pin::pin!(workers.run(|| 7));
            let is_waiting = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx).is_pending())).await;
            assert!(is_waiting);
            assert_eq!(workers.run(|| 8).await, Err(Busy));
            release.send(()).unwrap();
            assert_eq!(has_begun.await.unwrap(), Ok(()));
            assert_eq!(waits.await, Ok(7));
            assert_eq!(workers.run(|| 9).await, Ok(9));
        });
    }

    #[test]
    fn threads_end_with_their_pool_and_finish_what_waits() {
        let pool = Pool::start("test", 1, 8).unwrap();
        let (sender, receiver) = channel();
        for number in 0..5 {
            let sender = sender.clone();
            pool.submit(Box::new(move || sender.send(number).unwrap())).unwrap();
        }
        drop((pool, sender));
        // The channel closes when the thread has dropped the last piece of work.
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}
