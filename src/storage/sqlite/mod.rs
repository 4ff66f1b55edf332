//! The embedded database of the light flavor: SQLite in WAL mode, flushed on every commit.
//!
//! Owns: the database file, the lock that keeps a second process out, one writer thread ([`writer`]) and a few reader
//! threads ([`reader`]).
//! Never: a core's thread inside SQLite. Requests travel over queues, answers come back as jobs for the core.
//! Invariants: a write is answered after the commit that contains it has been flushed; a read that starts after the
//! answer sees the write. Implements `design.md` §6.

mod convert;
mod reader;
mod writer;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::Error;
use super::migrate;
use crate::observe::metrics::CoreMetrics;
use crate::runtime::patience::patiently;

pub(super) use convert::{Answer, run};
pub(super) use writer::WAITING_MAX;

/// Readers beside the writer. They matter for long reads only; a point read takes some five microseconds.
const READERS: usize = 2;
/// The longest a read may take; then it fails, so that others get through. Nearly all take less than a millisecond.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements each connection keeps prepared. More than the server has.
const STATEMENTS_MAX: usize = 512;
/// How long SQLite itself waits for a lock of a tool that looks at the file, such as a backup.
const BUSY_TIMEOUT_MS: u64 = 5000;

/// The open database, shared by all cores. Dropping the last handle ends the threads and closes the file.
pub struct Sqlite {
    // In the order in which they have to end: nobody may use the file once the lock is given back.
    readers: reader::Readers,
    writer: writer::Writer,
    _lock: Lock,
}

impl Sqlite {
    /// Opens or creates the database at `path`, brings its schema up to date and starts its threads. Blocks.
    pub fn open(path: &Path) -> Result<Arc<Self>, Error> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .map_err(|error| Error::Unavailable(format!("cannot create {}: {error}", directory.display())))?;
        }
        let lock = Lock::acquire(path)?;
        let mut connection = connect(path)?;
        migrate::sqlite(&mut connection)?;
        let readers = (0..READERS).map(|_| {
            let connection = connect(path)?;
            connection.pragma_update(None, "query_only", true).map_err(convert::error)?;
            Ok(connection)
        });
        let readers = reader::Readers::start(readers.collect::<Result<_, Error>>()?, READ_TIMEOUT)?;
        let writer = writer::Writer::start(connection)?;
        Ok(Arc::new(Self { readers, writer, _lock: lock }))
    }

    /// Counts the sizes of commits from now on; the first call counts.
    pub(super) fn count_in(&self, metrics: &Arc<CoreMetrics>) {
        self.writer.count_in(metrics);
    }

    /// Queues a write; it shares its commit with what is queued around it.
    pub(super) fn write(&self, job: writer::Job) {
        self.writer.push(job);
    }

    /// Queues a read.
    pub(super) fn read(&self, job: reader::Job) {
        self.readers.push(job);
    }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| Error::Unavailable(format!("cannot open {}: {error}", path.display())))?;
    configure(&connection).map_err(convert::error)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // The log is cut back to this after a checkpoint; without a limit it keeps the size of the largest burst.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // Without it every new value of a LIMIT or of a GLOB has its statement compiled again, which costs three times what
    // running it costs. The price: a GLOB with a parameter reads all rows of its account, not those of its prefix.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(())
}

/// An exclusive lock on a file beside the database. SQLite itself would let a second process in.
struct Lock {
    _file: File,
}

impl Lock {
    fn acquire(database: &Path) -> Result<Self, Error> {
        let path = lock_path(database);
        let unavailable =
            |error: std::io::Error| Error::Unavailable(format!("cannot lock {}: {error}", path.display()));
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(unavailable)?;
        let held = |error: &Errno| *error == Errno::WOULDBLOCK;
        if patiently(|| flock(&file, FlockOperation::NonBlockingLockExclusive), held).is_err() {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder =
                if holder.trim().is_empty() { "another process" } else { &format!("process {}", holder.trim()) };
            return Err(Error::Unavailable(format!(
                "{} is in use by {holder} ({})",
                database.display(),
                path.display()
            )));
        }
        // The number is for people; the lock is the kernel's and ends with the process.
        file.set_len(0).and_then(|()| file.rewind()).map_err(unavailable)?;
        writeln!(file, "{}", std::process::id()).map_err(unavailable)?;
        Ok(Self { _file: file })
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
