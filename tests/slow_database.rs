//! A request that waits for the database delays nobody else, with all connections on one core.
//!
//! Nothing is timed: the slow request is known to wait, others are sent after it and answered before it, and then it is
//! let go and answered as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/server.rs"]
mod server;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::Scope;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use happier_server::crypto::random;
use postgres::{Fsync, Postgres};
use protocol::base64;
use proxy::Proxy;
use serde_json::{Value as Json, json};
use server::{Launch, Scratch, Server};

/// Only for a test that fails: an answer that does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// One kept connection.
struct Client {
    stream: TcpStream,
    token: Option<String>,
}

impl Client {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, token: None }
    }

    /// A connection of a new account.
    fn account(server: &Server) -> Self {
        let key = SigningKey::from_bytes(&random::bytes());
        let challenge: [u8; 32] = random::bytes();
        let body = json!({
            "publicKey": base64::encode(key.verifying_key().as_bytes()),
            "challenge": base64::encode(&challenge),
            "signature": base64::encode(&key.sign(&challenge).to_bytes()),
        });
        let mut client = Self::connect(server);
        let (status, answer) = client.ask("POST", "/v1/auth", Some(&body));
        assert_eq!(status, 200, "{answer}");
        client.token = Some(answer["token"].as_str().unwrap().to_owned());
        client
    }

    /// Another connection of the same account.
    fn again(&self, server: &Server) -> Self {
        Self { token: self.token.clone(), ..Self::connect(server) }
    }

    fn send(&mut self, method: &str, target: &str, body: Option<&Json>) {
        let request = self.request(method, target, body);
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    fn request(&self, method: &str, target: &str, body: Option<&Json>) -> String {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n");
        if let Some(token) = &self.token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        let body = body.map(Json::to_string).unwrap_or_default();
        if !body.is_empty() {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        format!("{request}\r\n{body}")
    }

    fn answer(&mut self) -> (u16, Json) {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).expect("an answer");
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap();
        let length =
            head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    fn ask(&mut self, method: &str, target: &str, body: Option<&Json>) -> (u16, Json) {
        self.send(method, target, body);
        self.answer()
    }

    /// Whether the answer has not come yet.
    fn still_waits(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let seen = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        seen.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// What needs no database, over an old connection and over new ones.
fn ask_without_database(server: &Server, old: &mut Client, of_account: &Client) {
    assert_eq!(old.ask("GET", "/v1/features", None).0, 200);
    assert_eq!(old.ask("GET", "/v1/account/profile", None).0, 401);
    assert_eq!(old.ask("POST", "/v1/auth", Some(&json!({}))).0, 400);
    // Who calls is known without asking: the request is refused because of its parameter, by a route of accounts.
    assert_eq!(of_account.again(server).ask("GET", "/v2/changes?limit=0", None).0, 400);
    assert_eq!(Client::connect(server).ask("GET", "/nowhere", None).0, 404);
    let (status, opened) = Client::connect(server).ask("GET", "/v1/updates/?EIO=4&transport=polling", None);
    assert_eq!(status, 200, "{opened}");
    assert!(opened.as_str().unwrap().starts_with("0{\"sid\""), "{opened}");
}

fn one_core(launch: Launch) -> Server {
    launch.with("HAPPIER_CORES", "1").start()
}

fn full(postgres: &Postgres, port: u16, scratch: &Scratch) -> Server {
    postgres.create_database("slow");
    one_core(Launch::full(&format!("postgresql://postgres@127.0.0.1:{port}/slow"), scratch.path()))
}

#[test]
fn a_database_that_does_not_answer() {
    let (postgres, scratch) = (Postgres::start(Fsync::Off), Scratch::new("slow"));
    let proxy = Proxy::start(postgres.port());
    let server = full(&postgres, proxy.port(), &scratch);
    let (mut alice, mut other) = (Client::account(&server), Client::connect(&server));

    proxy.hold_answers();
    // Pipelined behind others in one write: their answers, which could leave together with this one, do not wait for it.
    let ready = alice.request("GET", "/v1/features", None);
    let slow = alice.request("GET", "/v1/account/profile", None);
    alice.stream.write_all(format!("{ready}{ready}{slow}{ready}").as_bytes()).unwrap();
    assert_eq!((alice.answer().0, alice.answer().0), (200, 200));
    proxy.wait_for_held_answer();
    ask_without_database(&server, &mut other, &alice);
    assert!(alice.still_waits());

    proxy.release_answers();
    assert!(alice.answer().1["id"].is_string());
    assert!(alice.answer().1["features"].is_object());
}

#[test]
fn a_row_that_somebody_has_locked() {
    let (postgres, scratch) = (Postgres::start(Fsync::Off), Scratch::new("slow"));
    let server = full(&postgres, postgres.port(), &scratch);
    let (mut alice, mut bob) = (Client::account(&server), Client::account(&server));
    let alice_id = alice.ask("GET", "/v1/account/profile", None).1["id"].as_str().unwrap().to_owned();
    let new = |version: u32| json!({"settings": "s", "expectedVersion": version});

    std::thread::scope(|scope| {
        lock(scope, &postgres, format!("\"Account\" WHERE \"id\" = '{alice_id}'"));
        alice.send("POST", "/v1/account/settings", Some(&new(0)));
        wait_until(&postgres, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted");

        // Bob reads and writes, over the same core and the same connections to the database.
        for version in 0..5 {
            assert_eq!(bob.ask("POST", "/v1/account/settings", Some(&new(version))).1["success"], true);
            assert_eq!(bob.ask("GET", "/v1/account/profile", None).0, 200);
            assert_eq!(bob.ask("GET", "/health", None).0, 200);
        }
        // So does Alice where she only reads.
        assert_eq!(alice.again(&server).ask("GET", "/v1/account/settings", None).1["settings"], Json::Null);
        assert!(alice.still_waits());

        unlock(&postgres);
        assert_eq!(alice.answer().1, json!({"success": true, "version": 1}));
    });
}

/// Requests of one account wait for each other, over however many connections, and leave others a way.
#[test]
fn an_account_that_wants_too_much() {
    let (postgres, scratch) = (Postgres::start(Fsync::Off), Scratch::new("slow"));
    postgres.create_database("slow");
    // Half of the connections are for transactions.
    let url = format!("postgresql://postgres@127.0.0.1:{}/slow?connection_limit=4", postgres.port());
    let server = one_core(Launch::full(&url, scratch.path()));
    let (mut alice, mut bob) = (Client::account(&server), Client::account(&server));
    let alice_id = alice.ask("GET", "/v1/account/profile", None).1["id"].as_str().unwrap().to_owned();
    let new = |version: u32| json!({"settings": "s", "expectedVersion": version});

    std::thread::scope(|scope| {
        lock(scope, &postgres, format!("\"Account\" WHERE \"id\" = '{alice_id}'"));
        let mut writers: Vec<Client> = (0..20).map(|_| alice.again(&server)).collect();
        for writer in &mut writers {
            writer.send("POST", "/v1/account/settings", Some(&new(0)));
        }
        wait_until(&postgres, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted");
        for version in 0..20 {
            assert_eq!(bob.ask("POST", "/v1/account/settings", Some(&new(version))).1["success"], true);
        }
        assert!(writers.iter().all(Client::still_waits));

        unlock(&postgres);
        let answers: Vec<Json> = writers.iter_mut().map(|writer| writer.answer().1).collect();
        assert_eq!(answers.iter().filter(|answer| answer["success"] == true).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer["success"] == true || answer["error"] == "version-mismatch"));
    });
}

/// As many statements wait for locks as a core has shared connections, and more.
#[test]
fn sessions_that_somebody_has_locked() {
    const LOCKED: usize = 3;
    let (postgres, scratch) = (Postgres::start(Fsync::Off), Scratch::new("slow"));
    let server = full(&postgres, postgres.port(), &scratch);
    let message = |n: usize| json!({"ciphertext": "AAAA", "localId": format!("l-{n}")});
    let mut writers: Vec<(Client, String)> = (0..=LOCKED)
        .map(|n| {
            let mut client = Client::account(&server);
            let new = json!({"tag": format!("t-{n}"), "metadata": "m", "agentState": null, "dataEncryptionKey": null});
            let (status, created) = client.ask("POST", "/v1/sessions", Some(&new));
            assert_eq!(status, 200, "{created}");
            let target = format!("/v2/sessions/{}/messages", created["session"]["id"].as_str().unwrap());
            (client, target)
        })
        .collect();
    let (mut bob, free) = writers.pop().unwrap();

    std::thread::scope(|scope| {
        lock(scope, &postgres, "\"Session\" WHERE \"tag\" IN ('t-0', 't-1', 't-2')".to_owned());
        for (at, (writer, target)) in writers.iter_mut().enumerate() {
            writer.send("POST", target, Some(&message(0)));
            wait_until(
                &postgres,
                &format!("SELECT count(*) > {at} FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
            );
        }
        for n in 0..20 {
            let (status, stored) = bob.ask("POST", &free, Some(&message(n)));
            assert_eq!((status, &stored["message"]["seq"]), (200, &json!(n + 1)), "{stored}");
            assert_eq!(bob.ask("GET", "/v1/account/profile", None).0, 200);
        }
        for (writer, _) in &writers {
            assert!(writer.still_waits());
        }
        unlock(&postgres);
        for (writer, _) in &mut writers {
            assert_eq!(writer.answer().1["message"]["seq"], 1);
        }
    });
}

#[test]
fn a_writer_that_is_busy() {
    let scratch = Scratch::new("slow");
    let server = one_core(Launch::light(scratch.path()));
    let (mut alice, mut bob, mut other) =
        (Client::account(&server), Client::account(&server), Client::connect(&server));

    // What a long job of the writer does to everybody behind it: the database takes no other write.
    let blocker = rusqlite::Connection::open(scratch.path().join("happier.sqlite3")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    alice.send("POST", "/v1/account/settings", Some(&json!({"settings": "s", "expectedVersion": 0})));
    for _ in 0..20 {
        assert_eq!(bob.ask("GET", "/v1/account/profile", None).0, 200);
        assert_eq!(bob.ask("GET", "/v1/sessions", None).1, json!({"sessions": []}));
    }
    ask_without_database(&server, &mut other, &alice);
    assert!(alice.still_waits());

    blocker.execute_batch("COMMIT").unwrap();
    assert_eq!(alice.answer().1, json!({"success": true, "version": 1}));
}

/// Holds rows until they are unlocked; returns when it has them.
#[allow(clippy::disallowed_methods, reason = "a test has threads to itself")]
fn lock<'scope>(scope: &'scope Scope<'scope, '_>, postgres: &'scope Postgres, rows: String) {
    postgres.psql("slow", "CREATE TABLE gate (open bool)");
    scope.spawn(move || {
        let lock = format!("PERFORM 1 FROM {rows} FOR UPDATE;");
        let wait = "FOR i IN 1..12000 LOOP EXIT WHEN EXISTS (SELECT FROM gate); PERFORM pg_sleep(0.01); END LOOP;";
        postgres.psql("slow", &format!("DO $$ BEGIN {lock} {wait} END $$"));
    });
    wait_until(postgres, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
}

fn unlock(postgres: &Postgres) {
    postgres.psql("slow", "INSERT INTO gate VALUES (true)");
}

#[allow(clippy::disallowed_methods, reason = "the database tells nobody that a session waits: it has to be asked")]
fn wait_until(postgres: &Postgres, condition: &str) {
    let begun = std::time::Instant::now();
    while postgres.psql("slow", condition) != "t" {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {condition}");
    }
}
