//! A private PostgreSQL server for one test: its own directory, socket and port, gone when dropped.
//!
//! A test that cannot start one fails and says which package is missing; it never skips.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "ports.rs"]
pub mod ports;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Whether commits are flushed to the disk. Tests that kill the server need it; the others are faster without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    On,
    Off,
}

/// A running server with trust authentication for the user `postgres`.
pub struct Postgres {
    directory: PathBuf,
    port: u16,
    fsync: Fsync,
    binaries: PathBuf,
    server: Option<Child>,
}

impl Postgres {
    /// Makes a cluster and starts its server.
    pub fn start(fsync: Fsync) -> Self {
        let mut postgres = Self::make(fsync);
        postgres.launch();
        postgres
    }

    /// As [`Postgres::start`], with TLS over TCP. Certificate and key are PEM text.
    pub fn start_with_tls(fsync: Fsync, certificate: &str, key: &str) -> Self {
        let mut postgres = Self::make(fsync);
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = postgres.data().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if rustix::process::geteuid().is_root() {
                run(Command::new("chown").arg("postgres").arg(&path));
            }
        }
        let config = postgres.data().join("postgresql.conf");
        fs::write(&config, fs::read_to_string(&config).unwrap() + "\nssl = on\n").unwrap();
        postgres.launch();
        postgres
    }

    fn make(fsync: Fsync) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let binaries = binaries();
        let name = format!("happier-pg-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Not the temporary directory of the environment: the path of a socket may have 107 bytes only.
        let directory = Path::new("/tmp").join(name);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        if rustix::process::geteuid().is_root() {
            // The server refuses to run as root.
            run(Command::new("chown").arg("postgres").arg(&directory));
        }
        let postgres = Self { directory, port: ports::free_port(), fsync, binaries, server: None };
        run(postgres
            .command("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(postgres.data()));
        postgres
    }

    /// The directory of the socket.
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A `DATABASE_URL` over TCP.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database.
    pub fn create_database(&self, name: &str) {
        self.psql("postgres", &format!("CREATE DATABASE \"{name}\""));
    }

    /// Runs SQL with psql and gives what it prints: a line per row, columns separated by `|`.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let directory = self.directory.display().to_string().replace('/', "%2F");
        self.psql_at(&format!("postgresql://postgres@{directory}:{}/{}", self.port, database.replace(' ', "%20")), sql)
    }

    /// As [`Postgres::psql`], over a URL that need not lead straight to this server.
    pub fn psql_at(&self, url: &str, sql: &str) -> String {
        let output = Command::new(self.binaries.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "psql: {}\n{sql}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Ends the server at once, as a crash would, and waits until it is gone.
    pub fn stop_immediately(&mut self) {
        self.stop("immediate");
    }

    /// Starts the server again on the same data and port.
    pub fn start_again(&mut self) {
        assert!(self.server.is_none(), "the server is running");
        self.launch();
    }

    fn stop(&mut self, mode: &str) {
        if let Some(mut server) = self.server.take() {
            let _ = self.command("pg_ctl").args(["stop", "-w", "-s", "-m", mode, "-D"]).arg(self.data()).status();
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a test has a thread to itself")]
    fn launch(&mut self) {
        let log = fs::File::create(self.directory.join("log")).unwrap();
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(&self.directory)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=100", "-c", "shared_buffers=32MB"])
            .args(["-c", if self.fsync == Fsync::On { "fsync=on" } else { "fsync=off" }])
            .stdout(Stdio::null())
            .stderr(log);
        self.server = Some(command.spawn().expect("postgres starts"));
        let deadline = Instant::now() + Duration::from_secs(60);
        let ready = || {
            let mut command = Command::new(self.binaries.join("psql"));
            command.args([
                "-X",
                "-q",
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-p",
                &self.port.to_string(),
                "-c",
                "SELECT 1",
                "-h",
            ]);
            command.arg(&self.directory).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        while !ready() {
            let log = || fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "postgres did not get ready:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// A program of PostgreSQL, as a user it accepts.
    fn command(&self, program: &str) -> Command {
        let program = self.binaries.join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.directory);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop("immediate");
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The newest installed version.
fn binaries() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, binaries)| binaries.join("initdb").exists())
        .collect();
    versions.sort();
    match versions.pop() {
        Some((_, binaries)) => binaries,
        None => panic!("these tests need a PostgreSQL server: install the package `postgresql` (Debian, Ubuntu)"),
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
