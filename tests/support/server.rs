//! The built server as a child process: started on a free port, asked over loopback, ended by signals.
//!
//! The binary is the one cargo built for this test, or what `HAPPIER_SERVER_BIN` names. It gets the settings listed here
//! and nothing of our own environment. A server that is dropped is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const END_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const LISTENING: &str = "listening on http://";

/// What a server is started with.
#[derive(Clone)]
pub struct Launch {
    pub subcommand: &'static str,
    pub settings: BTreeMap<String, String>,
    pub working_directory: PathBuf,
}

impl Launch {
    /// The light flavor on a data directory.
    pub fn light(data: &Path) -> Self {
        Self::new("light", data).with("HAPPY_SERVER_LIGHT_DATA_DIR", data.to_str().unwrap())
    }

    /// The full flavor on a Postgres database; `scratch` is only its working directory.
    pub fn full(database_url: &str, scratch: &Path) -> Self {
        Self::new("full", scratch)
            .with("DATABASE_URL", database_url)
            .with("HANDY_MASTER_SECRET", "the secret of the tests")
    }

    fn new(subcommand: &'static str, directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let launch = Self { subcommand, settings: BTreeMap::new(), working_directory: directory.to_owned() };
        launch
            .with("PORT", "0")
            .with("METRICS_ENABLED", "false")
            .with("HAPPIER_RATE_LIMITS", "off")
            .with("TZ", "UTC")
            .with("HAPPIER_SHUTDOWN_TIMEOUT_MS", "50000")
    }

    /// One more setting, or another value for one.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    fn spawn(&self) -> Child {
        let home = self.working_directory.to_str().unwrap();
        Command::new(binary())
            .arg(self.subcommand)
            .current_dir(&self.working_directory)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .envs(&self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts a server and waits until it listens.
    pub fn start(&self) -> Server {
        let mut child = self.spawn();
        let lines = collect(&mut child);
        let begun = Instant::now();
        let mut output = Vec::new();
        loop {
            match lines.recv_timeout(READY_TIMEOUT.saturating_sub(begun.elapsed())) {
                Ok(line) => {
                    let address =
                        line.split_once(LISTENING).map(|(_, rest)| rest.split_whitespace().next().unwrap_or_default());
                    let address = address.map(|text| text.replace("0.0.0.0", "127.0.0.1").parse().unwrap());
                    output.push(line);
                    if let Some(address) = address {
                        return Server { child, lines, output, address };
                    }
                }
                Err(why) => {
                    let _ = child.kill();
                    let what = if why == RecvTimeoutError::Timeout { "is not listening in time" } else { "ended" };
                    panic!("the server {what}; it said:\n{}", output.join("\n"));
                }
            }
        }
    }

    /// Runs a server that is expected to give up by itself: how it ended and what it said.
    pub fn fail(&self) -> (ExitStatus, String) {
        let mut child = self.spawn();
        let lines = collect(&mut child);
        let status = wait(&mut child);
        (status, lines.iter().collect::<Vec<_>>().join("\n"))
    }
}

/// A running server.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
    output: Vec<String>,
    pub address: SocketAddr,
}

impl Server {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said until now.
    pub fn output(&mut self) -> String {
        self.output.extend(self.lines.try_iter());
        self.output.join("\n")
    }

    /// Status and body of one request over a connection of its own.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path, &[], "")
    }

    /// SIGKILL: no chance to say or write anything.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: how it ended, how long that took, and everything it said.
    pub fn terminate(mut self) -> (ExitStatus, Duration, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let asked = Instant::now();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = wait(&mut self.child);
        let took = asked.elapsed();
        (status, took, self.output())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of its own that is removed when it is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("happier-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn binary() -> OsString {
    env::var_os("HAPPIER_SERVER_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_happier-server").into())
}

/// Reads the log in a thread of its own, so that a server never waits for us to read.
fn collect(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let stderr = child.stderr.take().unwrap();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > END_TIMEOUT {
            child.kill().unwrap();
            panic!("still running after {END_TIMEOUT:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}
