//! A way to lose a connection at a chosen moment, or to make a server slow: a proxy that can swallow or hold answers.

#![allow(clippy::disallowed_methods, reason = "a test has threads to itself")]
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

pub struct Proxy {
    port: u16,
    answers_until_cut: Arc<AtomicUsize>,
    gate: Arc<Gate>,
}

/// Where answers wait while they are held.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    waiting: usize,
}

impl Gate {
    fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait_while(&self, condition: impl FnMut(&mut GateState) -> bool) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), condition).unwrap());
    }

    fn pass(&self) {
        self.change(|state| state.waiting += 1);
        self.wait_while(|state| state.closed);
        self.change(|state| state.waiting -= 1);
    }
}

impl Proxy {
    /// Stands in front of `server_port` of this host.
    pub fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers_until_cut = Arc::new(AtomicUsize::new(0));
        let countdown = Arc::clone(&answers_until_cut);
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, countdown, gate) = (client.unwrap(), Arc::clone(&countdown), Arc::clone(&held));
                let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)) else { continue };
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                std::thread::spawn(move || answers(server, client, &countdown, &gate));
            }
        });
        Self { port, answers_until_cut, gate }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Swallows the answer after `count - 1` further ones, and cuts its connection.
    pub fn cut_answer(&self, count: usize) {
        self.answers_until_cut.store(count, Ordering::SeqCst);
    }

    /// Keeps all answers back from now on.
    pub fn hold_answers(&self) {
        self.gate.change(|state| state.closed = true);
    }

    /// Waits until the server has answered something that is kept back.
    pub fn wait_for_held_answer(&self) {
        self.gate.wait_while(|state| state.waiting == 0);
    }

    /// Lets everything that was kept back go, and what follows.
    pub fn release_answers(&self) {
        self.gate.change(|state| state.closed = false);
    }

    /// Whether the cut has taken place.
    pub fn has_cut(&self) -> bool {
        self.answers_until_cut.load(Ordering::SeqCst) == 0
    }
}

fn answers(mut server: TcpStream, mut client: TcpStream, countdown: &AtomicUsize, gate: &Gate) {
    let mut bytes = [0; 65536];
    while let Ok(n @ 1..) = server.read(&mut bytes) {
        gate.pass();
        let left = countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1) || client.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
