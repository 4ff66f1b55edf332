//! Why the server does not start. Each names the setting to look at.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::{cluster, config, storage};

#[derive(Debug)]
pub enum Error {
    Config(config::error::Error),
    Signals(io::Error),
    IoDriver(io::Error),
    Listen {
        address: SocketAddr,
        error: io::Error,
    },
    ListenMetrics {
        address: SocketAddr,
        error: io::Error,
    },
    Files {
        directory: PathBuf,
        error: io::Error,
    },
    UiPrefix {
        prefix: String,
        expected: &'static str,
    },
    BackPlane,
    /// A text that names the setting.
    ObjectStorage(String),
    Cores(io::Error),
    CoreEnded,
    Database(String),
    Cluster(cluster::Error),
    Runtime(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Signals(error) => write!(f, "cannot catch signals: {error}"),
            Self::IoDriver(error) => {
                write!(
                    f,
                    "HAPPIER_IO_DRIVER is uring, but io_uring is not available: {error}; expected a kernel and a seccomp profile that allow it, or HAPPIER_IO_DRIVER=auto"
                )
            }
            Self::BackPlane => f.write_str("starting the threads beside the cores failed"),
            Self::Listen { address, error } => {
                write!(
                    f,
                    "PORT is {}, but {address} cannot be listened on: {error}; expected a free port",
                    address.port()
                )
            }
            Self::ListenMetrics { address, error } => {
                write!(
                    f,
                    "METRICS_PORT is {}, but {address} cannot be listened on: {error}; expected a free port, or METRICS_ENABLED=false",
                    address.port()
                )
            }
            Self::Files { directory, error } => write!(
                f,
                "HAPPY_SERVER_LIGHT_FILES_DIR is {}, which cannot be used: {error}; expected a directory that can be written",
                directory.display()
            ),
            Self::UiPrefix { prefix, expected } => {
                write!(f, "HAPPY_SERVER_UI_PREFIX is {prefix:?}; expected {expected}")
            }
            Self::Cores(error) => write!(f, "cannot start the core threads: {error}"),
            Self::CoreEnded => f.write_str("a core thread ended while starting; the log says why"),
            Self::Database(text) | Self::ObjectStorage(text) => f.write_str(text),
            Self::Cluster(error) => error.fmt(f),
            Self::Runtime(error) => write!(f, "cannot start a runtime for the migrations: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<config::error::Error> for Error {
    fn from(error: config::error::Error) -> Self {
        Self::Config(error)
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self::Database(error.to_string())
    }
}
