//! How other threads talk to a core: a vector swapped whole, and one wake-up for everything in it.
//!
//! Senders push under a short lock; the one that finds the vector empty writes one byte to the core's wake pipe. The
//! core reads the pipe, swaps the vector and works through it. This is the only lock that cores share, and it is never
//! held while anything runs.
//! Limit: [`DEPTH_MAX`] messages. A core that is that far behind is told so by [`Inbox::take`] (`overflowed`); the
//! message is refused and the sender learns it.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{RecvFlags, SendFlags};

/// Messages that may wait for one core. At 10,000 events a second this is a core that has stood still for a minute.
pub const DEPTH_MAX: usize = 1 << 20;

/// The sending side, shared by all threads.
pub struct Mailbox<T> {
    queue: Mutex<Vec<T>>,
    depth_max: usize,
    depth: AtomicUsize,
    overflowed: AtomicBool,
    wake: UnixStream,
}

/// The receiving side, owned by one core.
pub struct Inbox<T> {
    mailbox: Arc<Mailbox<T>>,
    woken: UnixStream,
}

/// Makes a mailbox and the one inbox that may be drained from it.
pub fn mailbox<T>() -> io::Result<(Arc<Mailbox<T>>, Inbox<T>)> {
    mailbox_of(DEPTH_MAX)
}

/// The same for another number of messages.
pub fn mailbox_of<T>(depth_max: usize) -> io::Result<(Arc<Mailbox<T>>, Inbox<T>)> {
    let (wake, woken) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    let mailbox = Arc::new(Mailbox {
        queue: Mutex::new(Vec::new()),
        depth_max,
        depth: AtomicUsize::new(0),
        overflowed: AtomicBool::new(false),
        wake,
    });
    Ok((Arc::clone(&mailbox), Inbox { mailbox, woken }))
}

impl<T> Mailbox<T> {
    /// Leaves a message; gives it back if [`DEPTH_MAX`] messages are already waiting.
    pub fn send(&self, message: T) -> Result<(), T> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= self.depth_max {
            self.overflowed.store(true, Ordering::Release);
            return Err(message);
        }
        let first = queue.is_empty();
        queue.push(message);
        self.depth.store(queue.len(), Ordering::Relaxed);
        drop(queue);
        if first {
            // A full pipe means that the core has a wake-up waiting already; a closed one that it has ended.
            let _ = rustix::net::send(self.wake.as_fd(), &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
        Ok(())
    }

    /// How many messages wait, for the metrics.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }
}

impl<T> Inbox<T> {
    /// Splits off the descriptor to wait on. Call once, on the core's own thread.
    pub fn wake_stream(&self) -> io::Result<monoio::net::UnixStream> {
        monoio::net::UnixStream::from_std(self.woken.try_clone()?)
    }

    /// The same for a thread that is no core: the descriptor, which does not block.
    pub fn wake_std(&self) -> io::Result<UnixStream> {
        let woken = self.woken.try_clone()?;
        woken.set_nonblocking(true)?;
        Ok(woken)
    }

    /// Takes everything that waits. `into` must be empty and becomes the vector the senders fill next, so that two
    /// vectors go back and forth without being allocated again. Returns whether a message was refused since last time.
    pub fn take(&self, into: &mut Vec<T>) -> bool {
        debug_assert!(into.is_empty());
        let mut bytes = [0u8; 64];
        loop {
            // Wake-ups are consumed before the queue is taken, so a message that comes later brings its own.
            match rustix::net::recv(self.woken.as_fd(), &mut bytes, RecvFlags::DONTWAIT) {
                Ok((n, _)) if n == bytes.len() => {}
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let mut queue = self.mailbox.queue.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *queue, into);
        self.mailbox.depth.store(0, Ordering::Relaxed);
        drop(queue);
        self.mailbox.overflowed.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wake_up_for_a_batch() {
        let (mailbox, inbox) = mailbox().unwrap();
        for n in 0..3 {
            mailbox.send(n).unwrap();
        }
        let mut bytes = [0u8; 8];
        let (waiting, _) =
            rustix::net::recv(inbox.woken.as_fd(), &mut bytes, RecvFlags::DONTWAIT | RecvFlags::PEEK).unwrap();
        assert_eq!(waiting, 1);
        let mut got = Vec::new();
        assert!(!inbox.take(&mut got));
        assert_eq!(got, [0, 1, 2]);
        got.clear();
        mailbox.send(9).unwrap();
        inbox.take(&mut got);
        assert_eq!(got, [9]);
    }

    #[test]
    fn a_full_mailbox_refuses_and_says_so_once() {
        let (mailbox, inbox) = mailbox_of(1_000).unwrap();
        for _ in 0..1_000 {
            mailbox.send(()).unwrap();
        }
        assert_eq!(mailbox.send(()), Err(()));
        let mut got = Vec::new();
        assert!(inbox.take(&mut got));
        assert_eq!(got.len(), 1_000);
        got.clear();
        assert!(!inbox.take(&mut got));
    }

    #[test]
    fn every_message_of_many_threads_arrives() {
        let (mailbox, inbox) = mailbox().unwrap();
        std::thread::scope(|scope| {
            for t in 0..4u64 {
                let mailbox = &mailbox;
                scope.spawn(move || (0..1000).for_each(|n| mailbox.send(t * 1000 + n).unwrap()));
            }
        });
        let mut got = Vec::new();
        inbox.take(&mut got);
        got.sort_unstable();
        assert_eq!(got, (0..4000).collect::<Vec<_>>());
    }
}
