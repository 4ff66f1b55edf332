//! Readiness of many sockets of one core, without a task for any of them.
//!
//! A poller watches descriptors and reports those that have become ready, each by the key it was added with. It is
//! edge-triggered: a report says that something has changed since the last one, so whoever gets it reads until nothing is
//! left, or asks to be told again ([`Poller::remind`]). Reports may be spurious and a key may have died meanwhile.
//! Owns: one epoll descriptor, which the runtime waits for like for any socket; see `ARCHITECTURE.md` for why epoll.
//! Never: reads, writes, closes, or waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};

use super::slab::Key;

/// Reports of one call. More wait for the next, so that other tasks get their turn.
const REPORTS_MAX: usize = 512;

/// Everything there is to know about a stream, asked for once: writability is only reported after a write that was cut
/// short, so asking for it costs nothing while nobody waits for it.
const INTEREST: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// What a descriptor has become ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// The peer will send nothing more, or the connection is broken: reading finds the end, behind what came before it.
    pub ended: bool,
}

/// See the module.
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches a descriptor from now on; what it is ready for already is reported, too.
    pub fn add(&self, descriptor: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, descriptor, EventData::new_u64(key.to_bits()), INTEREST)?)
    }

    /// Reports again whatever the descriptor is ready for, behind everything that is ready now.
    pub fn remind(&self, descriptor: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, descriptor, EventData::new_u64(key.to_bits()), INTEREST)?)
    }

    /// Stops watching. Necessary although closing a descriptor does the same: its socket may live on in a duplicate.
    pub fn remove(&self, descriptor: BorrowedFd<'_>) {
        // Fails only for what was never added.
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Appends what is ready now to `reports`.
    pub fn take(&self, reports: &mut Vec<(Key, Readiness)>) {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = [const { std::mem::MaybeUninit::<Event>::uninit() }; REPORTS_MAX];
        // An interrupted call is repeated by the next wake-up: what is ready stays so.
        let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, Some(&NOW)) else { return };
        reports.extend(events.iter().filter_map(|event| {
            let (flags, broken) = (event.flags, EventFlags::HUP | EventFlags::ERR);
            let ended = flags.intersects(broken | EventFlags::RDHUP);
            let readiness = Readiness {
                readable: ended || flags.contains(EventFlags::IN),
                writable: flags.intersects(broken | EventFlags::OUT),
                ended,
            };
            Some((Key::from_bits(event.data.u64())?, readiness))
        }));
    }

    /// A stream of the runtime that is readable while there is something to take. Call on the core's own thread.
    pub fn wake_stream(&self) -> io::Result<monoio::net::UnixStream> {
        // The type only matters for reading and writing, which nobody does with it.
        monoio::net::UnixStream::from_std(UnixStream::from(self.epoll.as_fd().try_clone_to_owned()?))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::runtime::slab::Slab;

    fn reports(poller: &Poller) -> Vec<(Key, Readiness)> {
        let mut reports = Vec::new();
        poller.take(&mut reports);
        reports
    }

    #[test]
    fn reports_once_and_again_when_reminded() {
        let poller = Poller::new().unwrap();
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let key = Slab::default().insert(());
        poller.add(near.as_fd(), key).unwrap();
        let writable = Readiness { readable: false, writable: true, ended: false };
        assert_eq!(reports(&poller), [(key, writable)], "what it is ready for already");
        assert_eq!(reports(&poller), []);
        far.write_all(b"ab").unwrap();
        let readable = Readiness { readable: true, writable: true, ended: false };
        assert_eq!(reports(&poller), [(key, readable)]);
        near.read_exact(&mut [0]).unwrap();
        assert_eq!(reports(&poller), [], "nothing has changed");
        poller.remind(near.as_fd(), key).unwrap();
        assert_eq!(reports(&poller), [(key, readable)]);
        drop(far);
        assert!(matches!(reports(&poller)[..], [(_, Readiness { readable: true, ended: true, .. })]));
    }

    #[test]
    fn a_socket_that_lives_on_elsewhere_is_silent_here() {
        let poller = Poller::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        poller.add(near.as_fd(), Slab::default().insert(())).unwrap();
        let elsewhere = near.try_clone().unwrap();
        poller.remove(near.as_fd());
        drop(near);
        far.write_all(b"x").unwrap();
        assert_eq!(reports(&poller), []);
        drop(elsewhere);
    }
}
