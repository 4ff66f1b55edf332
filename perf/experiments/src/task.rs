//! One monoio task per connection.
//!
//! `Parked`: a read into an own buffer is always under way. `Ready`: wait for readiness, then a read into a lent buffer.
//! The forms called plain read and write by system calls that do not wait. `Switch`: parked into a lent buffer while
//! the connection is busy, readiness when it is not.

use std::cell::{Cell, RefCell};
use std::net::TcpListener as StdListener;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt, CancelableAsyncReadRent, Canceller};
use monoio::net::{TcpListener, TcpStream};

use crate::{ANSWERS, Machine, READ_BYTES, fd};

#[derive(Clone, Copy)]
pub enum Way {
    Parked,
    ParkedPlain,
    Ready,
    ReadyPlain,
    Switch,
}

const ENTRIES: u32 = 4096;
/// A connection is busy when it was read in this tick or the one before; parked reads older than that are cancelled.
const TICK: Duration = Duration::from_millis(100);

pub fn serve(listener: StdListener, builder: io_uring::Builder, way: Way) {
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .with_entries(ENTRIES)
        .uring_builder(builder)
        .enable_timer()
        .build()
        .expect("runtime");
    runtime.block_on(accept(listener, way));
}

/// The same on the runtime's epoll driver.
pub fn serve_legacy(listener: StdListener) {
    // The ring wants blocking descriptors, epoll the other kind.
    listener.set_nonblocking(true).expect("non-blocking mode");
    let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().expect("runtime");
    runtime.block_on(accept(listener, Way::ReadyPlain));
}

/// What the tasks of the thread share.
struct Thread {
    buffer: RefCell<Vec<u8>>,
    lent: RefCell<Vec<Vec<u8>>>,
    tick: Cell<u32>,
    parked: RefCell<Vec<Rc<Park>>>,
}

/// A connection's standing with the sweep.
struct Park {
    last_tick: Cell<u32>,
    canceller: RefCell<Option<Canceller>>,
    listed: Cell<bool>,
}

async fn accept(listener: StdListener, way: Way) {
    let listener = TcpListener::from_std(listener).expect("listener");
    let thread = Rc::new(Thread {
        buffer: RefCell::new(vec![0; READ_BYTES]),
        lent: RefCell::default(),
        tick: Cell::new(10),
        parked: RefCell::default(),
    });
    if matches!(way, Way::Switch) {
        monoio::spawn(sweep(Rc::clone(&thread)));
    }
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        match way {
            Way::Parked => drop(monoio::spawn(parked(stream))),
            Way::ParkedPlain => drop(monoio::spawn(parked_plain(stream))),
            Way::Ready => drop(monoio::spawn(ready(stream, Rc::clone(&thread)))),
            Way::ReadyPlain => drop(monoio::spawn(ready_plain(stream, Rc::clone(&thread)))),
            Way::Switch => drop(monoio::spawn(switch(stream, Rc::clone(&thread)))),
        }
    }
}

async fn parked(mut stream: TcpStream) {
    let (mut machine, mut buffer) = (Machine::default(), Vec::with_capacity(READ_BYTES));
    loop {
        let (read, returned) = stream.read(buffer).await;
        buffer = returned;
        let Ok(count @ 1..) = read else { return };
        let answer = machine.take(count);
        if stream.write_all(&ANSWERS[..answer]).await.0.is_err() {
            return;
        }
    }
}

async fn parked_plain(mut stream: TcpStream) {
    let (mut machine, mut buffer) = (Machine::default(), Vec::with_capacity(READ_BYTES));
    loop {
        let (read, returned) = stream.read(buffer).await;
        buffer = returned;
        let Ok(count @ 1..) = read else { return };
        if !fd::send(stream.as_raw_fd(), &ANSWERS[..machine.take(count)]) {
            return;
        }
    }
}

async fn ready(mut stream: TcpStream, thread: Rc<Thread>) {
    let mut machine = Machine::default();
    loop {
        if stream.readable(false).await.is_err() {
            return;
        }
        let buffer = thread.take_lent();
        let (read, buffer) = stream.read(buffer).await;
        thread.lent.borrow_mut().push(buffer);
        let Ok(count @ 1..) = read else { return };
        let answer = machine.take(count);
        if stream.write_all(&ANSWERS[..answer]).await.0.is_err() {
            return;
        }
    }
}

async fn ready_plain(stream: TcpStream, thread: Rc<Thread>) {
    let mut machine = Machine::default();
    loop {
        if stream.readable(false).await.is_err() {
            return;
        }
        if !thread.read_plain(&stream, &mut machine) {
            return;
        }
    }
}

async fn switch(mut stream: TcpStream, thread: Rc<Thread>) {
    let mut machine = Machine::default();
    let park = Rc::new(Park { last_tick: Cell::new(0), canceller: RefCell::default(), listed: Cell::new(false) });
    loop {
        if stream.readable(false).await.is_err() || !thread.read_plain(&stream, &mut machine) {
            return;
        }
        let busy = thread.tick.get() - park.last_tick.replace(thread.tick.get()) <= 1;
        if busy && !thread.read_parked(&mut stream, &mut machine, &park).await {
            return;
        }
    }
}

/// Cancels reads that have been parked for a whole tick.
async fn sweep(thread: Rc<Thread>) {
    loop {
        monoio::time::sleep(TICK).await;
        let tick = thread.tick.get() + 1;
        thread.tick.set(tick);
        thread.parked.borrow_mut().retain(|park| {
            if tick - park.last_tick.get() <= 1 {
                return true;
            }
            if let Some(canceller) = park.canceller.take() {
                canceller.cancel();
            }
            park.listed.set(false);
            false
        });
    }
}

impl Thread {
    fn take_lent(&self) -> Vec<u8> {
        self.lent.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(READ_BYTES))
    }

    /// Reads what is there and answers it; `false` at the end of the connection.
    fn read_plain(&self, stream: &TcpStream, machine: &mut Machine) -> bool {
        let fd = stream.as_raw_fd();
        match fd::receive(fd, &mut self.buffer.borrow_mut()) {
            None => true,
            Some(0) => false,
            Some(count) => fd::send(fd, &ANSWERS[..machine.take(count)]),
        }
    }

    /// Serves a busy connection; returns `true` when it has become idle, `false` at its end.
    async fn read_parked(self: &Rc<Self>, stream: &mut TcpStream, machine: &mut Machine, park: &Rc<Park>) -> bool {
        let canceller = Canceller::new();
        let handle = canceller.handle();
        *park.canceller.borrow_mut() = Some(canceller);
        if !park.listed.replace(true) {
            self.parked.borrow_mut().push(Rc::clone(park));
        }
        let mut buffer = self.take_lent();
        let alive = loop {
            let (read, returned) = stream.cancelable_read(buffer, handle.clone()).await;
            buffer = returned;
            match read {
                Ok(count @ 1..) => {
                    park.last_tick.set(self.tick.get());
                    if !fd::send(stream.as_raw_fd(), &ANSWERS[..machine.take(count)]) {
                        break false;
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => break true,
                _ => break false,
            }
        };
        self.lent.borrow_mut().push(buffer);
        alive
    }
}
