//! A connection against a service that does nothing, on both drivers and under a clock that is moved by hand.

use std::any::Any;
use std::future::Future;
use std::os::fd::OwnedFd;

use rustix::net::RecvFlags;

use super::super::fd;
use super::*;
use crate::runtime::cores::{CoreId, Driver, drivers, spawn};

const LONG_BYTES: usize = 16 << 20;

struct Plain {
    bytes_max: u64,
    open_bytes_max: u64,
}

impl Service for Plain {
    fn admit(&self, _: &RequestHead) -> Admission {
        let (bytes_max, open_bytes_max) = (self.bytes_max, self.open_bytes_max);
        Admission::Body { bytes_max, open_bytes_max, ticket: None, cancel: None }
    }

    fn knows(&self, head: &RequestHead) -> bool {
        head.header("x-known").is_some()
    }

    fn refuse_body(&self, _: &RequestHead, _: Option<Box<dyn Any>>, why: BodyRefusal) -> Response {
        answer(if why == BodyRefusal::TooLarge { 413 } else { 503 }, Vec::new())
    }

    /// `/long` is answered with a long body, everything else with the number of bytes that came.
    fn handle(self: Rc<Self>, incoming: Incoming, _: Liveness) -> super::super::service::Answer {
        let body = match incoming.head.target() {
            "/long" => long(),
            _ => incoming.body.len().to_string().into_bytes(),
        };
        Box::pin(std::future::ready(Outcome::Respond(answer(200, body))))
    }

    fn hand_off(&self, _: CoreId, _: OwnedFd, _: Vec<u8>, _: SocketAddr) {
        unreachable!()
    }
}

fn long() -> Vec<u8> {
    (0..=250).cycle().take(LONG_BYTES).collect()
}

fn answer(status: u16, body: Vec<u8>) -> Response {
    Response { status, fields: Vec::new(), body, rest: None, close: false }
}

/// A core with a server on it, and the time there.
struct Core {
    clock: Rc<Cell<Millis>>,
    turn: Rc<Turn>,
    http: Rc<Http<Plain>>,
    listener: monoio::net::TcpListener,
}

fn on_each_driver<F: Future<Output = ()> + 'static>(test: fn(Core) -> F) {
    on_each_driver_with(usize::MAX, test);
}

fn on_each_driver_with<F: Future<Output = ()> + 'static>(bodies_bytes_max: usize, test: fn(Core) -> F) {
    for driver in drivers() {
        run(driver, bodies_bytes_max, test);
    }
}

fn run<F: Future<Output = ()> + 'static>(driver: Driver, bodies_bytes_max: usize, test: fn(Core) -> F) {
    let main = move || {
        let clock = Rc::new(Cell::new(0));
        let turn = Turn::with_clock(Rc::clone(&clock));
        let service = Rc::new(Plain { bytes_max: 4 << 20, open_bytes_max: 1 << 20 });
        let http = Http::new(service, Rc::clone(&turn), Budget::new(bodies_bytes_max));
        let listener = monoio::net::TcpListener::bind("127.0.0.1:0").unwrap();
        test(Core { clock, turn, http, listener })
    };
    spawn(CoreId(0), driver, main).unwrap().join().unwrap();
}

impl Core {
    /// A connection that is served; the client's end of it.
    async fn connect(&self) -> Client {
        let near = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = self.listener.accept().await.unwrap();
        monoio::spawn(Rc::clone(&self.http).serve(stream, peer, Vec::new()));
        Client { stream: near, received: Vec::new() }
    }

    fn pass(&self, ms: u64) {
        self.clock.set(self.clock.get() + ms);
        self.turn.fire(|_, _| {});
    }

    /// Lets time pass until `condition`, which may need other tasks to run; at most `ms`.
    async fn pass_until(&self, ms: u64, condition: impl Fn() -> bool) {
        let end = self.clock.get() + ms;
        while !condition() {
            assert!(self.clock.get() < end, "not within {ms} ms");
            self.pass(200);
            monoio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    async fn send(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match fd::send(fd::borrow(&self.stream), bytes).unwrap() {
                0 => self.stream.writable(false).await.unwrap(),
                sent => bytes = &bytes[sent..],
            }
        }
    }

    /// Reads until the answer ends with `end`, or to the end of the connection (`false`).
    async fn read_until(&mut self, end: &[u8]) -> bool {
        let mut buffer = vec![0; 1 << 20];
        while !self.received.ends_with(end) || self.received.is_empty() {
            self.stream.readable(false).await.unwrap();
            match fd::receive(fd::borrow(&self.stream), &mut buffer) {
                Ok(Received::Bytes(n)) => self.received.extend_from_slice(&buffer[..n]),
                Ok(Received::Empty) => {}
                Ok(Received::End) | Err(_) => return false,
            }
        }
        true
    }

    fn has_answer(&self) -> bool {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        rustix::net::recv(fd::borrow(&self.stream), &mut [0; 1], flags).is_ok()
    }

    async fn status(&mut self) -> u16 {
        self.received.clear();
        self.read_until(b"").await;
        std::str::from_utf8(&self.received[9..12]).unwrap().parse().unwrap()
    }
}

/// A head with a body that is announced so.
fn post(framing: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n").into_bytes()
}

/// Whoever makes it larger pays for it with every connection, idle ones and polls that are held included.
#[test]
fn bytes_of_a_connection() {
    on_each_driver(|core| async move {
        let address = core.listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let connection = Rc::clone(&core.http).serve(stream, address, Vec::new());
        let bytes = size_of_val(&connection);
        assert!(bytes <= 1_700, "{bytes}");
    });
}

#[test]
fn a_body_that_stops_coming_is_given_up_and_nobody_waits_for_it() {
    on_each_driver(|core| async move {
        let mut client = core.connect().await;
        client.send(&post("Content-Length: 10")).await;
        client.send(b"123").await;
        // Pieces may be far apart, the whole may take any time.
        for piece in [b"4", b"5"] {
            monoio::time::sleep(std::time::Duration::from_millis(5)).await;
            core.pass(PROGRESS_TIMEOUT_MS - 10);
            client.send(piece).await;
        }
        monoio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert_eq!(core.http.active.get(), 0);
        core.pass_until(2 * PROGRESS_TIMEOUT_MS, || client.has_answer()).await;
        assert_eq!(client.status().await, 408);
    });
}

#[test]
fn an_answer_that_is_not_read_is_given_up_and_holds_up_nothing() {
    on_each_driver(|core| async move {
        let mut client = core.connect().await;
        client.send(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n").await;
        while core.http.active.get() == 0 {
            monoio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(core.turn.connections.get(), 1);
        core.pass_until(STALLED_MS + 500, || core.http.active.get() == 0).await;
        assert_eq!(core.turn.connections.get(), 1, "the client may still come back to it");
        core.pass_until(PROGRESS_TIMEOUT_MS, || core.turn.connections.get() == 0).await;
        assert_eq!(core.http.active.get(), 0);
        assert!(!client.read_until(b"never").await);
        assert!(client.received.len() < LONG_BYTES);
    });
}

#[test]
fn a_long_answer_arrives_whole_and_in_its_place() {
    on_each_driver(|core| async move {
        let mut client = core.connect().await;
        client.send(&[&post("Content-Length: 2")[..], b"ab", b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n"].concat()).await;
        client.send(&[&post("Connection: close\r\nContent-Length: 3")[..], b"abc"].concat()).await;
        assert!(!client.read_until(b"never").await);
        let received = client.received;
        let at = received.windows(5).position(|bytes| bytes == [0, 1, 2, 3, 4]).unwrap();
        assert!(received[at..].starts_with(&long()));
        assert!(received[..at].starts_with(b"HTTP/1.1 200 OK\r\n") && received.ends_with(b"\r\n\r\n3"));
        let heads = received.windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count();
        assert_eq!(heads, 3);
    });
}

#[test]
fn large_bodies_are_for_those_who_are_known() {
    on_each_driver(|core| async move {
        let mut client = core.connect().await;
        client.send(&post("Content-Length: 1048577")).await;
        assert_eq!(client.status().await, 413, "before it is sent");
        for (fields, status) in [("", 413), ("X-Known: yes\r\n", 200)] {
            let mut client = core.connect().await;
            client.send(&post(&format!("{fields}Transfer-Encoding: chunked"))).await;
            let chunk = [b"10000\r\n", &vec![b'x'; 0x10000][..], b"\r\n"].concat();
            for _ in 0..16 {
                client.send(&chunk).await;
            }
            client.send(b"1\r\nx\r\n0\r\n\r\n").await;
            assert_eq!(client.status().await, status);
        }
        let mut client = core.connect().await;
        client.send(&post("X-Known: yes\r\nContent-Length: 4194305")).await;
        assert_eq!(client.status().await, 413, "not even of them");
    });
}

#[test]
fn bodies_beyond_the_budget_are_refused_until_there_is_room() {
    on_each_driver_with(1 << 20, |core| async move {
        let part = vec![b'x'; 600_000];
        let mut first = core.connect().await;
        first.send(&post("X-Known: yes\r\nContent-Length: 600001")).await;
        first.send(&part).await;
        while core.http.bodies.taken() < 600_001 {
            monoio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let mut second = core.connect().await;
        second.send(&[&post("X-Known: yes\r\nContent-Length: 600001")[..], &part].concat()).await;
        let small = [&post("Content-Length: 5")[..], b"small"].concat();
        let mut third = core.connect().await;
        third.send(&small).await;
        assert_eq!(third.status().await, 200, "ordinary requests are not concerned");
        assert_eq!(second.status().await, 503);
        first.send(b"x").await;
        assert_eq!(first.status().await, 200);
        let mut fourth = core.connect().await;
        fourth.send(&[&post("X-Known: yes\r\nContent-Length: 600001")[..], &part, b"x"].concat()).await;
        assert_eq!(fourth.status().await, 200);
    });
}
