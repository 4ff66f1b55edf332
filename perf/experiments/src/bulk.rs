//! The epoll loop of `epoll.rs`, whose reads and writes are handed to the kernel together: all reads of a turn in one
//! submission to an io_uring, then all writes. They carry `MSG_DONTWAIT`, so they complete while they are submitted.

use std::net::TcpListener;

use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};

use crate::epoll::{Connection, LISTENER, accept, listen};
use crate::{ANSWERS, READ_BYTES, fd};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Both,
    Sends,
}

const CALLS_MAX: usize = 64;

pub fn serve(listener: TcpListener, builder: &io_uring::Builder, way: Way) {
    let mut ring: IoUring = builder.build(CALLS_MAX as u32).expect("io_uring");
    let epoll = listen(&listener);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events: Vec<libc::epoll_event> = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
    let mut buffers = vec![0; READ_BYTES * CALLS_MAX];
    let mut ready: Vec<usize> = Vec::new();
    let mut answers: Vec<(i32, usize)> = Vec::new();
    loop {
        // SAFETY: the array is valid for its length.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 1024, -1) };
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            if event.u64 == LISTENER {
                accept(&listener, epoll, &mut connections, &mut free);
                continue;
            }
            ready.push(event.u64 as usize);
        }
        let mut over = Vec::new();
        for some in ready.chunks(CALLS_MAX) {
            let mut received = [0i32; CALLS_MAX];
            if way == Way::Both {
                for (slot, index) in some.iter().enumerate() {
                    let Some(connection) = &connections[*index] else { continue };
                    let buffer = buffers[slot * READ_BYTES..].as_mut_ptr();
                    let entry =
                        opcode::Recv::new(Fd(connection.fd), buffer, READ_BYTES as u32).flags(libc::MSG_DONTWAIT);
                    push(&mut ring, &entry.build().user_data(slot as u64));
                }
                ring.submit().expect("submit");
                for completion in ring.completion() {
                    received[completion.user_data() as usize] = completion.result();
                }
            }
            for (slot, index) in some.iter().enumerate() {
                let Some(connection) = &mut connections[*index] else { continue };
                if way == Way::Sends {
                    received[slot] = match fd::receive(connection.fd, &mut buffers[..READ_BYTES]) {
                        None => -libc::EAGAIN,
                        Some(count) => count as i32,
                    };
                }
                match received[slot] {
                    count if count > 0 => {
                        let answer = connection.machine.take(count as usize);
                        if answer > 0 {
                            answers.push((connection.fd, answer));
                        }
                    }
                    error if error == -libc::EAGAIN => {}
                    _ => over.push(*index),
                }
            }
        }
        ready.clear();
        for some in answers.chunks(CALLS_MAX) {
            for (fd, length) in some {
                let entry = opcode::Send::new(Fd(*fd), ANSWERS.as_ptr(), *length as u32)
                    .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
                push(&mut ring, &entry.build());
            }
            ring.submit().expect("submit");
            ring.completion().for_each(drop);
        }
        answers.clear();
        for index in over {
            if let Some(connection) = connections[index].take() {
                fd::close(connection.fd);
                free.push(index);
            }
        }
    }
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) {
    // SAFETY: the operation completes during the submission that follows, and its buffer outlives that.
    unsafe { ring.submission().push(entry) }.expect("room for all");
}
