//! Public files of the light flavor: a directory, read and written by a thread of its own.
//!
//! Owns: the directory, the rule which paths lie in it. Never: a core's thread inside a file system call.
//! Limits: [`FILE_BYTES_MAX`] per file, [`WAITING_MAX`] requests in the queue. Implements `spec/http.md` §11.3.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use crate::runtime::post::CorePost;
use crate::storage::reply::{Sender, reply};

/// Larger files are not served. Avatars are far smaller.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Requests that may wait for the thread; beyond them a request fails at once.
pub const WAITING_MAX: usize = 1_024;

struct Request {
    path: PathBuf,
    answer: Sender<Option<Vec<u8>>>,
}

/// The directory and its thread, shared by all cores.
pub struct Directory {
    root: PathBuf,
    requests: SyncSender<Request>,
}

impl Directory {
    /// Creates the directory where it is missing, and starts the thread.
    #[allow(clippy::disallowed_methods, reason = "the one thread that touches public files")]
    pub fn open(root: &Path) -> io::Result<Arc<Self>> {
        std::fs::create_dir_all(root)?;
        let (requests, queue) = sync_channel::<Request>(WAITING_MAX);
        std::thread::Builder::new().name("files".into()).spawn(move || {
            for Request { path, answer } in queue {
                answer.send(read(&path).ok());
            }
        })?;
        Ok(Arc::new(Self { root: root.to_path_buf(), requests }))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if read as u64 > FILE_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// The directory as one core sees it.
#[derive(Clone)]
pub struct Files {
    directory: Arc<Directory>,
    post: Arc<dyn CorePost>,
}

impl Files {
    /// `post` must stand for the core that uses the handle.
    pub fn new(directory: Arc<Directory>, post: Arc<dyn CorePost>) -> Self {
        Self { directory, post }
    }

    /// The bytes of a file; `None` for a path that is not in the directory and for everything that is no file.
    pub async fn read(&self, path: &str) -> Option<Vec<u8>> {
        let path = self.directory.root.join(normalise(path)?);
        let (answer, bytes) = reply(&self.post);
        match self.directory.requests.try_send(Request { path, answer }) {
            Ok(()) => bytes.await.ok()?,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => None,
        }
    }
}

/// The path below the directory; `None` if it leaves it or could mean something to another system.
fn normalise(path: &str) -> Option<String> {
    let path = path.replace('\\', "/");
    if path.contains(['\0', ':']) || path.starts_with('/') {
        return None;
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    (!segments.is_empty() && !segments.contains(&"..")).then(|| segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (path, expected) in [
            ("a/b.png", Some("a/b.png")),
            ("a//./b", Some("a/b")),
            ("a\\b", Some("a/b")),
            ("..", None),
            ("a/../b", None),
            ("..\\secret", None),
            ("/etc/passwd", None),
            ("\\etc", None),
            ("C:/windows", None),
            ("a\0b", None),
            ("", None),
            (".", None),
            ("...", Some("...")),
        ] {
            assert_eq!(normalise(path).as_deref(), expected, "{path:?}");
        }
    }
}
