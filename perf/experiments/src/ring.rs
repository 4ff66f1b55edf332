//! A slab of state machines driven by one bare io_uring loop.
//!
//! `Parked`: each connection owns a buffer into which a read is always submitted. `Multishot`: one standing read per
//! connection, buffers lent by the kernel from a shared ring at the moment data arrives. `ReadyPlain`: a poll request
//! per connection, then plain reads and writes.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::{ANSWERS, Machine, READ_BYTES, fd};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Parked,
    Multishot,
    ReadyPlain,
}

struct Connection {
    fd: RawFd,
    machine: Machine,
    buffer: Option<Box<[u8]>>,
}

const ENTRIES: u32 = 4096;
const ACCEPT: u64 = u64::MAX;
const SENT: u64 = u64::MAX - 1;
const GROUP: u16 = 7;
/// Buffers lent by the kernel; as many as completions may be waiting at a time.
const LENT: u16 = 4096;
const LENT_BYTES: usize = 512;

struct Server {
    ring: IoUring,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    way: Way,
    listener: TcpListener,
}

pub fn serve(listener: TcpListener, builder: &io_uring::Builder, way: Way) {
    let ring = builder.build(ENTRIES).expect("io_uring");
    let mut server = Server { ring, connections: Vec::new(), free: Vec::new(), way, listener };
    let mut lent = (way == Way::Multishot).then(|| Lent::new(&server.ring));
    server.push(&opcode::AcceptMulti::new(Fd(server.listener.as_raw_fd())).build().user_data(ACCEPT));
    let mut shared = vec![0; READ_BYTES];
    let mut batch: Vec<cqueue::Entry> = Vec::new();
    loop {
        server.ring.submit_and_wait(1).expect("wait");
        batch.extend(server.ring.completion());
        for completion in batch.drain(..) {
            match completion.user_data() {
                ACCEPT => server.accept(&completion),
                SENT => {}
                index => server.ready(index as usize, &completion, &mut shared, lent.as_mut()),
            }
        }
    }
}

impl Server {
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: buffers named by entries belong to the slab, the shared ring or statics and outlive the operation.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit().expect("submit");
        }
    }

    fn accept(&mut self, completion: &cqueue::Entry) {
        let fd = completion.result();
        if fd >= 0 {
            fd::no_delay(fd);
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let buffer = (self.way == Way::Parked).then(|| vec![0; READ_BYTES].into_boxed_slice());
            self.connections[index] = Some(Connection { fd, machine: Machine::default(), buffer });
            self.arm(index);
        }
        if !cqueue::more(completion.flags()) {
            self.push(&opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).build().user_data(ACCEPT));
        }
    }

    /// Asks for the connection's next input.
    fn arm(&mut self, index: usize) {
        let Some(connection) = self.connections[index].as_mut() else { return };
        let fd = Fd(connection.fd);
        let entry = match (self.way, connection.buffer.as_mut()) {
            (Way::Parked, Some(buffer)) => opcode::Recv::new(fd, buffer.as_mut_ptr(), READ_BYTES as u32).build(),
            (Way::Multishot, _) => opcode::RecvMulti::new(fd, GROUP).build(),
            _ => opcode::PollAdd::new(fd, libc::POLLIN as u32).build(),
        };
        self.push(&entry.user_data(index as u64));
    }

    fn ready(&mut self, index: usize, completion: &cqueue::Entry, shared: &mut [u8], lent: Option<&mut Lent>) {
        let Some(connection) = self.connections[index].as_mut() else { return };
        let (fd, more) = (connection.fd, cqueue::more(completion.flags()));
        if let (Some(lent), Some(id)) = (lent, cqueue::buffer_select(completion.flags())) {
            lent.give_back(id);
        }
        let received = match self.way {
            Way::ReadyPlain => fd::receive(fd, shared),
            _ if completion.result() == -libc::ENOBUFS => None,
            _ => Some(usize::try_from(completion.result()).unwrap_or(0)),
        };
        match received {
            Some(0) => {
                if !more {
                    fd::close(fd);
                    self.connections[index] = None;
                    self.free.push(index);
                }
                return;
            }
            Some(count) => {
                let answer = connection.machine.take(count);
                if self.way == Way::ReadyPlain {
                    fd::send(fd, &ANSWERS[..answer]);
                } else if answer > 0 {
                    let entry = opcode::Send::new(Fd(fd), ANSWERS.as_ptr(), answer as u32).build().user_data(SENT);
                    self.push(&entry);
                }
            }
            None => {}
        }
        if !more {
            self.arm(index);
        }
    }
}

/// Buffers that the kernel takes from when data arrives (a registered buffer ring).
struct Lent {
    ring: *mut io_uring::types::BufRingEntry,
    buffers: Vec<u8>,
    tail: u16,
}

impl Lent {
    fn new(ring: &IoUring) -> Self {
        let bytes = usize::from(LENT) * size_of::<io_uring::types::BufRingEntry>();
        // SAFETY: an anonymous mapping of our own, never unmapped.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_ANONYMOUS | libc::MAP_PRIVATE,
                -1,
                0,
            )
        };
        // SAFETY: the mapping is page-aligned, of the size registered, and lives as long as the process.
        unsafe { ring.submitter().register_buf_ring(memory as u64, LENT, GROUP) }.expect("buffer ring");
        let mut lent = Self { ring: memory.cast(), buffers: vec![0; usize::from(LENT) * LENT_BYTES], tail: 0 };
        for id in 0..LENT {
            lent.give_back(id);
        }
        lent
    }

    fn give_back(&mut self, id: u16) {
        // SAFETY: the index is within the ring by the mask, the tail is the ring's own field in its first entry, and the
        // kernel reads entries only after the tail has been published.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail & (LENT - 1)));
            entry.set_addr(self.buffers.as_mut_ptr().add(usize::from(id) * LENT_BYTES) as u64);
            entry.set_len(LENT_BYTES as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = io_uring::types::BufRingEntry::tail(self.ring).cast_mut();
            (*tail.cast::<std::sync::atomic::AtomicU16>()).store(self.tail, std::sync::atomic::Ordering::Release);
        }
    }
}
