//! Other services, played by a server of the tests, and what a core needs to call them.

#![allow(dead_code, clippy::disallowed_methods)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use happier_server::runtime::pool::{Pool, Workers};
use happier_server::runtime::post;
use happier_server::vendors::https::{Client, Https};
use happier_server::vendors::{Addresses, Vendors};

/// Threads of the current core's back plane.
pub fn workers() -> Workers {
    threads(2)
}

fn threads(count: usize) -> Workers {
    Workers::new(Pool::start("test", count, 64).unwrap(), post::local().unwrap(), Arc::default())
}

/// All services at one address.
pub fn at(base: &str) -> Vendors {
    within(base, Duration::from_secs(60))
}

pub fn within(base: &str, timeout: Duration) -> Vendors {
    over(base, timeout, workers())
}

/// As [`at`], with so many threads that wait for them.
pub fn with_threads(base: &str, count: usize) -> Vendors {
    over(base, Duration::from_secs(60), threads(count))
}

fn over(base: &str, timeout: Duration, workers: Workers) -> Vendors {
    let base = base.to_owned();
    let addresses =
        Addresses { github: base.clone(), github_api: base.clone(), revenuecat: base.clone(), elevenlabs: base };
    Vendors { https: Https::new(Arc::new(Client::default()), workers, timeout), addresses }
}

/// A request as a service sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET /path?query`.
    pub line: String,
    /// Names are lower-case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What it answers: bytes of a whole HTTP answer, or none at all, ever.
pub type Reply = Option<Vec<u8>>;

pub fn reply(status: u16, body: impl AsRef<[u8]>) -> Reply {
    reply_with(status, "", body)
}

/// `headers` are lines, each with its CRLF.
pub fn reply_with(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    bytes.extend(body);
    Some(bytes)
}

/// A server that answers as a function says, for the rest of the process.
pub struct Service {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                thread::spawn(move || serve(stream, &*answer, &seen));
            }
        });
        Self { url, asked }
    }

    /// The requests since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn serve(stream: TcpStream, answer: &dyn Fn(&Asked) -> Reply, seen: &Mutex<Vec<Asked>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = line.trim().trim_end_matches(" HTTP/1.1").to_owned();
    let asked = Asked { line, headers, body };
    seen.lock().unwrap().push(asked.clone());
    match answer(&asked) {
        Some(bytes) => (&stream).write_all(&bytes).ok()?,
        // Until the caller gives up.
        None => drop(reader.read(&mut [0; 1])),
    }
    Some(())
}
