//! A slab of state machines driven by one epoll loop: edge-triggered readiness, plain reads and writes.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use crate::{ANSWERS, Machine, READ_BYTES, fd};

pub struct Connection {
    pub fd: RawFd,
    pub machine: Machine,
}

pub const LISTENER: u64 = u64::MAX;

pub fn serve(listener: TcpListener) {
    let epoll = listen(&listener);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events: Vec<libc::epoll_event> = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
    let mut buffer = vec![0; READ_BYTES];
    loop {
        // SAFETY: the array is valid for its length.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 1024, -1) };
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            if event.u64 == LISTENER {
                accept(&listener, epoll, &mut connections, &mut free);
                continue;
            }
            let index = event.u64 as usize;
            let Some(connection) = connections[index].as_mut() else { continue };
            // A short read has emptied the socket; edge triggering reports whatever comes next.
            let alive = loop {
                match fd::receive(connection.fd, &mut buffer) {
                    None => break true,
                    Some(0) => break false,
                    Some(count) => {
                        let answer = connection.machine.take(count);
                        if !fd::send(connection.fd, &ANSWERS[..answer]) {
                            break false;
                        }
                        if count < READ_BYTES && event.events & libc::EPOLLRDHUP as u32 == 0 {
                            break true;
                        }
                    }
                }
            };
            if !alive {
                fd::close(connection.fd);
                connections[index] = None;
                free.push(index);
            }
        }
    }
}

/// Takes in everybody who waits.
pub fn accept(listener: &TcpListener, epoll: RawFd, connections: &mut Vec<Option<Connection>>, free: &mut Vec<usize>) {
    while let Ok((stream, _)) = listener.accept() {
        let fd = stream.into_raw_fd();
        fd::no_delay(fd);
        let index = free.pop().unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        connections[index] = Some(Connection { fd, machine: Machine::default() });
        watch(epoll, fd, (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32, index as u64);
    }
}

/// A new epoll descriptor that watches the listener.
pub fn listen(listener: &TcpListener) -> RawFd {
    listener.set_nonblocking(true).expect("nonblocking");
    // SAFETY: no memory is involved.
    let epoll = unsafe { libc::epoll_create1(0) };
    watch(epoll, listener.as_raw_fd(), libc::EPOLLIN as u32, LISTENER);
    epoll
}

fn watch(epoll: RawFd, fd: RawFd, events: u32, token: u64) {
    let mut event = libc::epoll_event { events, u64: token };
    // SAFETY: the event lives across the call.
    unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) };
}
