//! Receives from many sockets, or sends to them, in one system call.
//!
//! A ring of the core's own, used for nothing but this: each call is one submission of operations that carry
//! `MSG_DONTWAIT`, so the kernel finishes all of them while it takes them in. [`super::fd`] has the same two calls for a
//! single socket. What a call costs, and how much of it this saves, is in `perf/results/2026-11-26-bulk.md`.
//! Owns: the ring. Never: waits for a peer, keeps a buffer or a descriptor beyond a call.
//! Limit: [`CALLS_MAX`] sockets at a time.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::fd::{self, Received};
use crate::runtime::cores::Driver;

/// Sockets served by one call: enough to make the system call itself a small part, few enough that what they brought is
/// still in the cache when it is looked at.
pub const CALLS_MAX: usize = 32;

/// One place for each socket; some may be empty.
pub type Calls<T> = [Option<T>; CALLS_MAX];

/// The results, in the same places. Where there is none the socket was not touched.
pub type Results<T> = [Option<io::Result<T>>; CALLS_MAX];

/// See the module.
pub struct Bulk(IoUring);

impl Bulk {
    /// None where the threads do not run on io_uring. Call on the core's own thread.
    pub fn on(driver: Driver) -> io::Result<Option<Self>> {
        let Some(builder) = driver.ring() else { return Ok(None) };
        Ok(Some(Self(builder.build(u32::try_from(CALLS_MAX).expect("a few"))?)))
    }

    /// Reads what is there, of each socket into a buffer of its own.
    #[allow(unsafe_code)]
    pub fn receive(&mut self, mut calls: Calls<(BorrowedFd<'_>, &mut [u8])>) -> Results<Received> {
        const FLAGS: i32 = RecvFlags::DONTWAIT.bits().cast_signed();
        let entries = calls.each_mut().map(|call| {
            let (socket, buffer) = call.as_mut()?;
            Some(opcode::Recv::new(Fd(socket.as_raw_fd()), buffer.as_mut_ptr(), length(buffer)).flags(FLAGS).build())
        });
        // SAFETY: what `calls` borrows is borrowed until this function returns.
        unsafe { self.submit(&entries) }.map(|result| result.map(fd::received))
    }

    /// Writes what the kernel takes now, 0 if it takes nothing.
    #[allow(unsafe_code)]
    pub fn send(&mut self, calls: Calls<(BorrowedFd<'_>, &[u8])>) -> Results<usize> {
        const FLAGS: i32 = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL).bits().cast_signed();
        let entries = calls.each_ref().map(|call| {
            let (socket, bytes) = call.as_ref()?;
            Some(opcode::Send::new(Fd(socket.as_raw_fd()), bytes.as_ptr(), length(bytes)).flags(FLAGS).build())
        });
        // SAFETY: what `calls` borrows is borrowed until this function returns.
        unsafe { self.submit(&entries) }.map(|result| result.map(fd::sent))
    }

    /// Submits operations and returns when all of them are complete.
    ///
    /// # Safety
    /// The buffers of the entries must be theirs until this returns.
    #[allow(unsafe_code)]
    unsafe fn submit(&mut self, entries: &Calls<squeue::Entry>) -> Calls<Result<usize, Errno>> {
        let mut results = [None; CALLS_MAX];
        let mut under_way = 0;
        for (index, entry) in entries.iter().enumerate() {
            if let Some(entry) = entry {
                let entry = entry.clone().user_data(index as u64);
                // SAFETY: as promised by the caller, because nothing below returns or unwinds before all are complete.
                let pushed = unsafe { self.0.submission().push(&entry) };
                under_way += usize::from(pushed.is_ok());
            }
        }
        let mut wanted = 0;
        while under_way > 0 {
            match self.0.submit_and_wait(wanted) {
                Ok(_) => {}
                Err(error)
                    if matches!(Errno::from_io_error(&error), Some(Errno::INTR | Errno::AGAIN | Errno::BUSY)) => {}
                Err(error) => {
                    log::error!("io_uring takes no operations any more: {error}");
                    std::process::abort();
                }
            }
            for completion in self.0.completion() {
                under_way -= 1;
                let index = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
                if let Some(result) = results.get_mut(index) {
                    let code = completion.result();
                    *result = Some(usize::try_from(code).map_err(|_| Errno::from_raw_os_error(-code)));
                }
            }
            // Not expected, but whatever is still under way uses memory that is only lent.
            wanted = under_way;
        }
        results
    }
}

/// A longer piece is written or read in several calls.
fn length(piece: &[u8]) -> u32 {
    u32::try_from(piece.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::runtime::cores::drivers;

    fn bulk() -> Option<Bulk> {
        drivers().into_iter().find_map(|driver| Bulk::on(driver).unwrap())
    }

    #[test]
    fn every_kind_of_result_is_in_its_place() {
        let Some(mut bulk) = bulk() else { return };
        let pairs: [_; CALLS_MAX] = std::array::from_fn(|_| UnixStream::pair().unwrap());
        let mut pairs = pairs.map(Some);
        for (n, pair) in pairs.iter_mut().enumerate() {
            let (_, far) = pair.as_mut().unwrap();
            match n % 4 {
                0 => far.write_all(&vec![b'x'; n + 1]).unwrap(),
                1 => {}
                2 => far.shutdown(std::net::Shutdown::Both).unwrap(),
                _ => *pair = None,
            }
        }
        // Twice: what one call leaves behind must not be in the way of the next.
        for round in 0..2 {
            let mut buffers = [[0; 64]; CALLS_MAX];
            let mut pieces = buffers.iter_mut();
            let results = bulk.receive(std::array::from_fn(|n| {
                let piece = &mut pieces.next()?[..];
                Some((pairs[n].as_ref()?.0.as_fd(), piece))
            }));
            for (n, result) in results.iter().enumerate() {
                match (n % 4, result) {
                    (0, Some(Ok(Received::Bytes(count)))) if round == 0 => {
                        assert_eq!(*count, n + 1);
                        assert_eq!(buffers[n][..n + 2], [&vec![b'x'; n + 1][..], &[0]].concat());
                    }
                    (0 | 1, Some(Ok(Received::Empty))) | (2, Some(Ok(Received::End))) | (3, None) => {}
                    other => panic!("{n}: {other:?}"),
                }
            }
        }
        let texts: [_; CALLS_MAX] = std::array::from_fn(|n| format!("to socket {n}"));
        let results = bulk.send(std::array::from_fn(|n| Some((pairs[n].as_ref()?.0.as_fd(), texts[n].as_bytes()))));
        for (n, (result, pair)) in results.iter().zip(&mut pairs).enumerate() {
            match (n % 4, result) {
                (0 | 1, Some(Ok(count))) => {
                    let mut got = vec![0; *count];
                    pair.as_mut().unwrap().1.read_exact(&mut got).unwrap();
                    assert_eq!(got, texts[n].as_bytes());
                }
                // No signal ends the process.
                (2, Some(Err(error))) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
                (3, None) => {}
                other => panic!("{n}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_full_socket_takes_what_fits_and_then_nothing() {
        let Some(mut bulk) = bulk() else { return };
        let (near, mut far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let bytes = vec![b'x'; 1 << 20];
        let mut calls = 0;
        let mut taken = 0;
        loop {
            let mut results = bulk.send(std::array::from_fn(|n| (n == 7).then_some((near.as_fd(), &bytes[..]))));
            match results[7].take() {
                Some(Ok(0)) => break,
                Some(Ok(count)) => taken += count,
                other => panic!("{other:?}"),
            }
            calls += 1;
            assert!(calls < 1_000, "it does not wait for the reader");
        }
        let mut got = Vec::new();
        let _ = far.read_to_end(&mut got);
        assert_eq!(got.len(), taken);
    }
}
