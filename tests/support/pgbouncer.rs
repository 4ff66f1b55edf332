//! A private PgBouncer in transaction mode, in front of a test's PostgreSQL server: a free port, a directory of its own,
//! gone when dropped.
//!
//! A test that cannot start one fails and says which package is missing; it never skips.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::postgres::{Postgres, ports};

pub struct PgBouncer {
    directory: PathBuf,
    port: u16,
    process: Child,
}

impl PgBouncer {
    /// Starts one that lends `connections` of each database to its clients, transaction by transaction. Anybody may come
    /// in as one of `users`.
    pub fn start(server: &Postgres, connections: usize, users: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("happier-pgbouncer-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Not the temporary directory of the environment, which may be closed to the user it runs as.
        let directory = PathBuf::from("/tmp").join(name);
        fs::create_dir(&directory).unwrap();
        let (port, path) = (ports::free_port(), directory.display());
        let config = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {path}/users\nlogfile = {path}/log\n\
             pool_mode = transaction\ndefault_pool_size = {connections}\n",
            server.socket_directory().display(),
            server.port()
        );
        fs::write(directory.join("config"), config).unwrap();
        let users: String = users.iter().map(|user| format!("\"{user}\" \"\"\n")).collect();
        fs::write(directory.join("users"), users).unwrap();
        let mut command = Command::new(binary());
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root.
            assert!(Command::new("chown").args(["-R", "postgres"]).arg(&directory).status().unwrap().success());
            command.args(["-u", "postgres"]);
        }
        command.arg("-q").arg(directory.join("config")).stdout(Stdio::null()).stderr(Stdio::null());
        let pooler = Self { directory, port, process: command.spawn().unwrap() };
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(pooler.directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "pgbouncer did not get ready:\n{}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        pooler
    }

    /// A `DATABASE_URL`.
    pub fn url(&self, user: &str, database: &str, parameters: &str) -> String {
        format!("postgresql://{user}@127.0.0.1:{}/{database}?{parameters}", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps it where only root looks.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|directory| directory.join("pgbouncer"))
        .find(|binary| binary.is_file())
        .expect("these tests need PgBouncer: install the package `pgbouncer` (Debian, Ubuntu)")
}
