//! The life of the process: start, signals, restarts on the same data, and refusals to start.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/server.rs"]
mod server;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use postgres::{Fsync, Postgres};
use server::{Launch, Scratch};

/// Far above what an orderly end takes; what does not end by itself is cut off later.
const SHUTDOWN_MAX: Duration = Duration::from_secs(25);
const SECRET_FILE: &str = "handy-master-secret.txt";

#[test]
fn starts_from_nothing_answers_and_ends_with_zero() {
    let scratch = Scratch::new("process");
    let data = scratch.path().join("new/data");
    let running = Launch::light(&data).start();
    let (status, body) = running.get("/health");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains(r#""status":"ok""#), "{body}");
    assert_eq!(running.get("/"), (200, "Welcome to Happier Server!".to_owned()));

    let (status, took, output) = running.terminate();
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(took < SHUTDOWN_MAX, "took {took:?}");
}

#[test]
fn keeps_its_master_secret_private_and_over_restarts() {
    let scratch = Scratch::new("process");
    let launch = Launch::light(scratch.path());
    launch.start().kill();
    let file = scratch.path().join(SECRET_FILE);
    let secret = fs::read_to_string(&file).unwrap();
    assert_eq!(secret.len(), 43);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    launch.start().kill();
    assert_eq!(fs::read_to_string(&file).unwrap(), secret);
}

#[test]
fn a_secret_from_outside_leaves_the_file_alone() {
    let scratch = Scratch::new("process");
    let running = Launch::light(scratch.path()).with("HANDY_MASTER_SECRET", "from outside").start();
    assert_eq!(running.get("/health").0, 200);
    assert!(!scratch.path().join(SECRET_FILE).exists());
}

#[test]
fn clients_write_to_the_debugging_log_only_where_it_is_asked_for() {
    const PATH: &str = "/logs-combined-from-cli-and-mobile-for-simple-ai-debugging";
    let scratch = Scratch::new("process");
    let line = |level: &str, message: &str| {
        format!(r#"{{"timestamp":"T","level":"{level}","message":"{message}","messageRawObject":[1],"source":"cli"}}"#)
    };
    let json = [("Content-Type", "application/json")];
    let running = Launch::light(scratch.path()).with("DANGEROUSLY_LOG_TO_SERVER_FOR_AI_AUTO_DEBUGGING", "").start();
    assert_eq!(running.request("POST", PATH, &json, &line("info", "nowhere")).0, 404);
    drop(running);

    let running = Launch::light(scratch.path()).with("DANGEROUSLY_LOG_TO_SERVER_FOR_AI_AUTO_DEBUGGING", "0").start();
    for (level, message) in [("WARNING", "one\\nline"), ("debug", "too quiet"), ("odd", "two")] {
        let answer = running.request("POST", PATH, &json, &line(level, message));
        assert_eq!(answer, (200, r#"{"success":true}"#.to_owned()));
    }
    let (status, body) = running.request("POST", PATH, &json, &line("info", "x").replace("cli", "web"));
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("body/source Invalid enum value. Expected 'mobile' | 'cli', received 'web'"), "{body}");
    let files: Vec<_> =
        fs::read_dir(scratch.path().join(".logs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = fs::read_to_string(&files[0]).unwrap();
    let entries: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_clients: Vec<_> = entries.iter().filter(|entry| entry["source"] == "cli").collect();
    let expected = [(40, "one\nline"), (30, "two")];
    assert_eq!(of_clients.len(), expected.len(), "{text}");
    for (entry, (level, message)) in of_clients.iter().zip(expected) {
        assert_eq!((&entry["level"], &entry["msg"]), (&level.into(), &message.into()));
        assert_eq!((&entry["timestamp"], entry.get("platform")), (&"T".into(), None));
        assert!(entry["time"].is_i64() && entry["pid"].is_i64() && entry["hostname"].is_string(), "{entry}");
    }
    assert!(entries.iter().any(|entry| entry["msg"].as_str().unwrap().starts_with("listening on")), "{text}");
}

#[test]
fn an_empty_secret_file_is_an_error_with_its_path() {
    let scratch = Scratch::new("process");
    let file = scratch.path().join(SECRET_FILE);
    fs::write(&file, "").unwrap();
    let (status, output) = Launch::light(scratch.path()).fail();
    assert!(!status.success());
    assert!(output.contains(file.to_str().unwrap()), "{output}");
}

#[test]
fn the_data_of_a_light_reference_server_is_not_passed_over() {
    let scratch = Scratch::new("process");
    let cluster = scratch.path().join("pglite");
    fs::create_dir_all(&cluster).unwrap();
    fs::write(cluster.join("PG_VERSION"), "17\n").unwrap();
    let launch = Launch::light(scratch.path());
    let (status, output) = launch.fail();
    assert_eq!(status.code(), Some(1), "{output}");
    for part in [cluster.to_str().unwrap(), "HAPPY_SERVER_LIGHT_DB_DIR", "docs/deploy.md"] {
        assert!(output.contains(part), "{output}");
    }
    assert!(!scratch.path().join(SECRET_FILE).exists() && !scratch.path().join("happier.sqlite3").exists());

    // To begin with nothing, on purpose.
    let elsewhere = scratch.path().join("new");
    let running = launch.with("HAPPY_SERVER_LIGHT_DB_DIR", elsewhere.to_str().unwrap()).start();
    assert_eq!(running.get("/health").0, 200);
    assert!(elsewhere.join("happier.sqlite3").exists());
}

#[test]
fn one_data_directory_serves_one_process() {
    let scratch = Scratch::new("process");
    let launch = Launch::light(scratch.path());
    let first = launch.start();
    let (status, output) = launch.fail();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&first.pid().to_string()), "who holds it: {output}");
    assert_eq!(first.get("/health").0, 200);

    first.kill();
    assert_eq!(launch.start().get("/health").0, 200, "a killed process holds nothing");
}

#[test]
fn reads_env_files_and_prefers_the_environment() {
    let scratch = Scratch::new("process");
    fs::write(scratch.path().join(".env"), "PORT=not-a-port\nHAPPIER_LOG=loudly\n").unwrap();
    let (status, output) = Launch::light(scratch.path()).fail();
    assert_eq!(status.code(), Some(1));
    assert!(output.contains("HAPPIER_LOG") && output.contains("loudly"), "{output}");
    assert!(!output.contains("not-a-port"), "PORT of the environment wins: {output}");
}

#[test]
fn serves_with_either_io_driver() {
    for driver in ["auto", "epoll"] {
        let scratch = Scratch::new("process");
        let running =
            Launch::light(scratch.path()).with("HAPPIER_IO_DRIVER", driver).with("HAPPIER_CORES", "1").start();
        assert_eq!(running.get("/health").0, 200, "{driver}");
    }
}

#[test]
fn full_serves_an_empty_database_and_finds_it_again() {
    let scratch = Scratch::new("process");
    let postgres = Postgres::start(Fsync::Off);
    postgres.create_database("happier");
    let launch = Launch::full(&postgres.url("happier"), scratch.path());
    for _ in 0..2 {
        let running = launch.start();
        assert_eq!(running.get("/health").0, 200);
        let (status, took, output) = running.terminate();
        assert_eq!(status.code(), Some(0), "{output}");
        assert!(took < SHUTDOWN_MAX, "took {took:?}");
    }
}

#[test]
fn replicas_that_start_at_once_agree_on_the_schema() {
    let scratch = Scratch::new("process");
    let postgres = Postgres::start(Fsync::Off);
    postgres.create_database("happier");
    let launch = Launch::full(&postgres.url("happier"), scratch.path()).with("HAPPIER_CORES", "1");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(launch.start().get("/health").0, 200));
        }
    });
}

#[test]
fn full_needs_a_master_secret_and_a_database() {
    let scratch = Scratch::new("process");
    let url = "postgresql://someone:hunter2@127.0.0.1/nowhere";
    for (name, value) in
        [("HANDY_MASTER_SECRET", ""), ("DATABASE_URL", ""), ("DATABASE_URL", "mysql://someone:hunter2@host/db")]
    {
        let (status, output) = Launch::full(url, scratch.path()).with(name, value).fail();
        assert_eq!(status.code(), Some(1), "{output}");
        assert!(output.contains(name), "{output}");
        assert!(!output.contains("hunter2"), "{output}");
    }
}
