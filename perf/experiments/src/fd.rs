//! System calls that do not wait.

use std::os::fd::RawFd;

/// Bytes read; `None` when there are none now, `Some(0)` at the end or on error.
pub fn receive(fd: RawFd, buffer: &mut [u8]) -> Option<usize> {
    // SAFETY: the buffer is valid for its length.
    let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
    match usize::try_from(count) {
        Ok(count) => Some(count),
        Err(_) if std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock => None,
        Err(_) => Some(0),
    }
}

/// Answers are far smaller than a socket buffer and the generator reads what it asked for: a short write is an error.
pub fn send(fd: RawFd, bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    // SAFETY: the bytes are valid for their length.
    let count = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    usize::try_from(count) == Ok(bytes.len())
}

pub fn no_delay(fd: RawFd) {
    let on: libc::c_int = 1;
    // SAFETY: the option value is a live integer of the length given.
    unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), 4) };
}

pub fn close(fd: RawFd) {
    // SAFETY: the caller owns the descriptor and does not use it again.
    unsafe { libc::close(fd) };
}
