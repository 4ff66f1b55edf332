//! Public files: avatars and what else has a URL. Mechanism only.
//!
//! Owns: the two places they are kept in, a directory (light flavor) or an S3 bucket (full flavor), behind one handle.
//! Never: what a path means, or a core's thread in a system call or a call over the network.

pub mod local;
pub mod s3;
pub mod sigv4;

use std::fmt;
use std::sync::Arc;

use self::local::Directory;
use self::s3::Bucket;
use crate::runtime::pool::Workers;

/// Where public files are kept; shared by all cores.
#[derive(Clone)]
pub enum Store {
    Directory(Arc<Directory>),
    Bucket(Arc<Bucket>),
}

/// The public files as one core sees them.
#[derive(Clone)]
pub struct Files {
    store: Store,
    workers: Workers,
}

/// Why a file was not read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Too many files are being read and written already.
    Busy,
    /// The path leads out of the storage, or there is no such file.
    NotFound,
    Failed(String),
}

impl Error {
    /// Whether it is worth trying again a moment later.
    pub fn is_busy(&self) -> bool {
        *self == Self::Busy
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many files are being read and written already"),
            Self::NotFound => f.write_str("there is no such file"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl Files {
    /// `workers` must be those of the core that uses the handle.
    pub fn new(store: Store, workers: Workers) -> Self {
        Self { store, workers }
    }

    /// Whether this server itself answers requests for the files; those in a bucket have a server of their own.
    pub fn are_local(&self) -> bool {
        matches!(self.store, Store::Directory(_))
    }

    /// The bytes of a file of the directory.
    pub async fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let Store::Directory(directory) = &self.store else { return Err(Error::NotFound) };
        let (directory, path) = (Arc::clone(directory), path.to_owned());
        let bytes = self.workers.run(move || directory.read(&path)).await;
        bytes.map_err(|_| Error::Busy)?.ok_or(Error::NotFound)
    }

    /// Writes a new file, whole or not at all.
    pub async fn write(&self, path: String, bytes: Vec<u8>) -> Result<(), Error> {
        let store = self.store.clone();
        let written = self.workers.run(move || match store {
            Store::Directory(directory) => directory.write(&path, &bytes).map_err(|error| error.to_string()),
            Store::Bucket(bucket) => bucket.put(&path, bytes).map_err(|error| error.to_string()),
        });
        written.await.map_err(|_| Error::Busy)?.map_err(Error::Failed)
    }
}
