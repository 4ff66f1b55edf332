//! A way to lose a connection at a chosen moment: a proxy in front of a server that can swallow an answer.

#![allow(clippy::disallowed_methods, reason = "a test has threads to itself")]
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Proxy {
    port: u16,
    answers_until_cut: Arc<AtomicUsize>,
}

impl Proxy {
    /// Stands in front of `server_port` of this host.
    pub fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers_until_cut = Arc::new(AtomicUsize::new(0));
        let countdown = Arc::clone(&answers_until_cut);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, countdown) = (client.unwrap(), Arc::clone(&countdown));
                let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)) else { continue };
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                std::thread::spawn(move || answers(server, client, &countdown));
            }
        });
        Self { port, answers_until_cut }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Swallows the answer after `count - 1` further ones, and cuts its connection.
    pub fn cut_answer(&self, count: usize) {
        self.answers_until_cut.store(count, Ordering::SeqCst);
    }

    /// Whether the cut has taken place.
    pub fn has_cut(&self) -> bool {
        self.answers_until_cut.load(Ordering::SeqCst) == 0
    }
}

fn answers(mut server: TcpStream, mut client: TcpStream, countdown: &AtomicUsize) {
    let mut bytes = [0; 65536];
    while let Ok(n @ 1..) = server.read(&mut bytes) {
        let left = countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1) || client.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
