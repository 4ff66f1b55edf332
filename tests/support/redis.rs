//! A private Redis for one test: a free port, a directory of its own, gone when dropped.
//!
//! A test that cannot start one fails and says which package is missing; it never skips.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "ports.rs"]
mod ports;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY: &str = "Ready to accept connections";

pub struct Redis {
    directory: PathBuf,
    port: u16,
    server: Option<Child>,
}

impl Redis {
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("happier-redis-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let port = ports::free_port();
        let mut redis = Self { directory, port, server: None };
        redis.resume();
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Starts again, on the same port and with nothing in it.
    pub fn resume(&mut self) {
        let mut server = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is needed: install the Debian package redis-server, or run scripts/prerequisites");
        let log = BufReader::new(server.stdout.take().unwrap());
        self.server = Some(server);
        let (ready, readiness) = channel();
        // It goes on to talk, and nobody may make it wait.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains(READY) {
                    let _ = ready.send(());
                }
            }
        });
        readiness.recv_timeout(READY_TIMEOUT).expect("Redis gets ready");
    }

    /// Ends it at once; what was in it is lost.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
