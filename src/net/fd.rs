//! Plain reads and writes on sockets of any kind.
//!
//! A socket that is mostly idle waits for readiness and is then read at once into a buffer lent for that one read;
//! measured against parked reads in `perf/results/`. So reads and writes here never wait: the runtime or the poller does.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use monoio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// What a read that does not wait found.
#[derive(Debug)]
pub enum Received {
    Bytes(usize),
    /// The peer will send nothing more.
    End,
    /// Nothing there now.
    Empty,
}

#[allow(unsafe_code)]
pub fn borrow(stream: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and the result borrows the stream, so it cannot be closed meanwhile.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

/// Reads what is there into `buffer`.
pub fn receive(stream: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    received(rustix::net::recv(stream, buffer, RecvFlags::DONTWAIT).map(|(n, _)| n))
}

/// What the result of a read means, whichever way the kernel was asked.
pub(super) fn received(result: Result<usize, Errno>) -> io::Result<Received> {
    match result {
        Ok(0) => Ok(Received::End),
        Ok(n) => Ok(Received::Bytes(n)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Empty),
        Err(error) => Err(error.into()),
    }
}

/// Whether the peer has gone or will send nothing more, without taking any bytes.
pub fn ended(stream: &TcpStream) -> bool {
    let mut byte = [0u8; 1];
    match rustix::net::recv(borrow(stream), &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
        Ok((n, _)) => n == 0,
        Err(Errno::AGAIN | Errno::INTR) => false,
        Err(_) => true,
    }
}

/// Writes what the kernel takes now; 0 if it takes nothing.
pub fn send(stream: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    sent(rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
}

/// What the result of a write means: 0 if the kernel takes nothing.
pub(super) fn sent(result: Result<usize, Errno>) -> io::Result<usize> {
    match result {
        Ok(n) => Ok(n),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// The same for several pieces at once.
pub fn send_vectored(stream: BorrowedFd<'_>, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sent(rustix::net::sendmsg(stream, pieces, &mut rustix::net::SendAncillaryBuffer::default(), flags))
}

/// Ends both directions; whoever waits for the stream wakes up and sees its end.
pub fn shutdown(stream: BorrowedFd<'_>, how: Shutdown) {
    let how = match how {
        Shutdown::Read => rustix::net::Shutdown::Read,
        Shutdown::Write => rustix::net::Shutdown::Write,
        Shutdown::Both => rustix::net::Shutdown::Both,
    };
    // Fails only if the connection is gone already.
    let _ = rustix::net::shutdown(stream, how);
}

/// A second descriptor of the same socket, free to leave this core. The runtime's own stays behind and is closed with
/// its last operation, which is why it cannot simply be taken out.
pub fn duplicate(stream: &TcpStream) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(borrow(stream), 3)?)
}

/// Takes over a descriptor that came from another core.
pub fn adopt(descriptor: OwnedFd) -> io::Result<TcpStream> {
    TcpStream::from_std(std::net::TcpStream::from(descriptor))
}
