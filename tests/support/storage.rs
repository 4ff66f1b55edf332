//! Both databases for tests of the storage layer and the rules: each test body runs on SQLite and on PostgreSQL.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use happier_server::runtime::post;
use happier_server::storage::postgres::{Host, Settings, TlsMode};
use happier_server::storage::sqlite::Sqlite;
use happier_server::storage::{Db, migrate, postgres};

use super::postgres::{Fsync, Postgres};

/// The server that the tests of one binary share while any of them runs; each test has its own database in it.
pub fn shared_server() -> Arc<Postgres> {
    static SERVER: OnceLock<Mutex<Weak<Postgres>>> = OnceLock::new();
    let mut server = SERVER.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Postgres::start(Fsync::Off));
        *server = Arc::downgrade(&started);
        started
    })
}

/// A name no other test uses.
pub fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

pub fn settings(server: &Postgres, database: &str) -> Settings {
    Settings {
        host: Host::Unix(server.socket_directory().to_owned()),
        port: server.port(),
        database: database.into(),
        tls: TlsMode::Disable,
        connection_limit: 8,
        ..Settings::default()
    }
}

/// Runs a future on a monoio runtime of its own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().enable_timer().build().unwrap();
    runtime.block_on(future)
}

/// A directory that is removed when dropped.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("happier-{}-{}", std::process::id(), fresh_name()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a test body on a fresh SQLite database.
pub fn on_sqlite<T>(body: impl AsyncFn(Db) -> T) -> T {
    let directory = Directory::new();
    block_on(async {
        let sqlite = Sqlite::open(&directory.path().join("happier.sqlite3")).unwrap();
        body(Db::sqlite(sqlite, post::local().unwrap())).await
    })
}

/// Runs a test body on a fresh PostgreSQL database.
pub fn on_postgres<T>(body: impl AsyncFn(Db) -> T) -> T {
    let server = shared_server();
    let database = fresh_name();
    server.create_database(&database);
    let settings = settings(&server, &database);
    migrate::postgres(settings.clone()).unwrap();
    block_on(async { body(connect(&settings)).await })
}

/// A handle for the current runtime.
pub fn connect(settings: &Settings) -> Db {
    let connections = settings.connection_limit;
    Db::postgres(postgres::Postgres::new(settings.clone(), connections, post::local().unwrap()).unwrap())
}

/// Runs a test body on both, and on PostgreSQL in each of the ways it can be reached.
pub fn on_both(body: impl AsyncFn(Db)) {
    on_sqlite(&body);
    on_postgres(&body);
    // As a pooler in transaction mode wants it.
    on_postgres_with(|_, settings| settings.prepare = false, &body);
    // With one connection for everything.
    on_postgres_with(|_, settings| settings.connection_limit = 1, &body);
}

/// Runs a test body on a fresh PostgreSQL database that is reached as `change` says.
pub fn on_postgres_with<T>(change: impl FnOnce(&Postgres, &mut Settings), body: impl AsyncFn(Db) -> T) -> T {
    let server = shared_server();
    let database = fresh_name();
    server.create_database(&database);
    let mut settings = settings(&server, &database);
    migrate::postgres(settings.clone()).unwrap();
    change(&server, &mut settings);
    block_on(async { body(connect(&settings)).await })
}
