//! Files of the web UI: a directory, read by a thread of its own.
//!
//! Owns: which paths lie in the directory, the index with its banner. Never: a core's thread inside a file system call,
//! a large file in memory as a whole.
//! Limits: [`PIECE_BYTES_MAX`] of a file are in memory for each client that is sent it, [`INDEX_BYTES_MAX`] for the
//! index. The queue of the thread needs none: a connection waits for at most one answer.
//! Symbolic links are followed as long as they stay inside. Implements `spec/http.md` §11.4.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::SystemTime;

use crate::runtime::post::CorePost;
use crate::runtime::reply::{Sender, reply};

/// What is read of a file at a time.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// A larger index is treated as missing.
pub const INDEX_BYTES_MAX: u64 = 8 << 20;

/// Ends the index, so that a client can tell whose it is.
const BANNER: &[u8] = b"\n<!-- Welcome to Happier Server! -->\n";

const INDEX: &str = "index.html";

enum Request {
    Index(Sender<Option<Arc<[u8]>>>),
    Open(PathBuf, Sender<Option<Opened>>),
    Next(File, Sender<Option<(File, Vec<u8>)>>),
}

/// A file with its beginning.
struct Opened {
    first: Vec<u8>,
    /// The file, if there is more of it, and how much more.
    rest: Option<(File, u64)>,
}

/// The directory and its thread, shared by all cores.
pub struct StaticDirectory {
    requests: std::sync::mpsc::Sender<Request>,
}

impl StaticDirectory {
    /// Starts the thread. The directory need not exist yet: it is looked at with every request.
    #[allow(clippy::disallowed_methods, reason = "the one thread that touches the web UI")]
    pub fn open(root: &Path) -> io::Result<Arc<Self>> {
        let (requests, queue) = channel();
        let root = root.to_path_buf();
        std::thread::Builder::new().name("ui".into()).spawn(move || answer(&root, &queue))?;
        Ok(Arc::new(Self { requests }))
    }
}

fn answer(root: &Path, queue: &Receiver<Request>) {
    let mut index = Index::default();
    for request in queue {
        match request {
            Request::Index(answer) => answer.send(index.read(root).ok()),
            Request::Open(path, answer) => answer.send(open(root, &path).ok()),
            Request::Next(mut file, answer) => {
                let piece = read_piece(&mut file).ok();
                answer.send(piece.map(|piece| (file, piece)));
            }
        }
    }
}

/// The index with its banner, kept until the file changes.
#[derive(Default)]
struct Index(Option<(SystemTime, u64, Arc<[u8]>)>);

impl Index {
    fn read(&mut self, root: &Path) -> io::Result<Arc<[u8]>> {
        let (file, length) = open_inside(root, Path::new(INDEX))?;
        let changed = file.metadata()?.modified()?;
        match &self.0 {
            Some((known, known_length, bytes)) if (*known, *known_length) == (changed, length) => {
                return Ok(Arc::clone(bytes));
            }
            _ => {}
        }
        if length > INDEX_BYTES_MAX {
            log::warn!("the index of the web UI has {length} bytes and is not served; the limit is {INDEX_BYTES_MAX}");
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        file.take(INDEX_BYTES_MAX).read_to_end(&mut bytes)?;
        bytes.extend_from_slice(BANNER);
        let bytes: Arc<[u8]> = bytes.into();
        self.0 = Some((changed, length, Arc::clone(&bytes)));
        Ok(bytes)
    }
}

fn open(root: &Path, path: &Path) -> io::Result<Opened> {
    let (mut file, length) = open_inside(root, path)?;
    let first = read_piece(&mut file)?;
    let left = length.saturating_sub(first.len() as u64);
    Ok(Opened { first, rest: (left > 0).then_some((file, left)) })
}

/// Opens a plain file whose real place is inside the directory. The directory itself may be a link, as deployments
/// like to switch it, so its real place is looked up each time.
fn open_inside(root: &Path, path: &Path) -> io::Result<(File, u64)> {
    let root = root.canonicalize()?;
    let real = root.join(path).canonicalize()?;
    if !real.starts_with(&root) {
        log::warn!("{} leads out of the web UI's directory and is not served", path.display());
        return Err(io::ErrorKind::NotFound.into());
    }
    // Asked before it is opened: opening a pipe waits for its other end.
    if !real.metadata()?.is_file() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let file = File::open(&real)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn read_piece(file: &mut File) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE_BYTES_MAX);
    file.take(PIECE_BYTES_MAX as u64).read_to_end(&mut piece)?;
    piece.shrink_to_fit();
    Ok(piece)
}

/// The directory as one core sees it.
#[derive(Clone)]
pub struct StaticFiles {
    directory: Arc<StaticDirectory>,
    post: Arc<dyn CorePost>,
}

/// A file that is there: its beginning, and the rest if it is long.
pub struct StaticFile {
    pub first: Vec<u8>,
    pub rest: Option<Rest>,
}

/// What a path means.
pub enum Lookup {
    File(StaticFile),
    /// The index, which is served with its banner.
    Index,
    /// Nothing, or no file.
    Missing,
    /// The path leaves the directory.
    Outside,
}

impl StaticFiles {
    /// `post` must stand for the core that uses the handle.
    pub fn new(directory: Arc<StaticDirectory>, post: Arc<dyn CorePost>) -> Self {
        Self { directory, post }
    }

    /// The index with its banner.
    pub async fn index(&self) -> Option<Arc<[u8]>> {
        let (answer, bytes) = reply(&self.post);
        self.directory.requests.send(Request::Index(answer)).ok()?;
        bytes.await.ok()?
    }

    /// The file that a decoded path names.
    pub async fn open(&self, path: &str) -> Lookup {
        let Some(path) = inside(path) else { return Lookup::Outside };
        if path == Path::new(INDEX) {
            return Lookup::Index;
        }
        match self.file(path).await {
            Some(file) => Lookup::File(file),
            None => Lookup::Missing,
        }
    }

    /// The file that a decoded path names, even if it is the index.
    pub async fn open_plain(&self, path: &str) -> Option<StaticFile> {
        self.file(inside(path)?).await
    }

    async fn file(&self, path: PathBuf) -> Option<StaticFile> {
        let (answer, opened) = reply(&self.post);
        self.directory.requests.send(Request::Open(path, answer)).ok()?;
        let Opened { first, rest } = opened.await.ok()??;
        let rest = rest.map(|(file, length)| Rest { files: self.clone(), file: RefCell::new(Some(file)), length });
        Some(StaticFile { first, rest })
    }
}

/// The part of a file that has not been read yet.
pub struct Rest {
    files: StaticFiles,
    /// Away while the thread reads.
    file: RefCell<Option<File>>,
    length: u64,
}

impl Rest {
    /// Bytes after the beginning, as the file was when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The next bytes; `None` if they cannot be read. Nothing at all means that the file has become shorter.
    pub async fn next(&self) -> Option<Vec<u8>> {
        let file = self.file.borrow_mut().take()?;
        let (answer, next) = reply(&self.files.post);
        self.files.directory.requests.send(Request::Next(file, answer)).ok()?;
        let (file, piece) = next.await.ok()??;
        *self.file.borrow_mut() = Some(file);
        Some(piece)
    }
}

/// The path below the directory, without `.` and `..`; `None` if it leaves the directory on its way.
fn inside(path: &str) -> Option<PathBuf> {
    if path.contains('\0') {
        return None;
    }
    let mut result = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => result.push(name),
            Component::CurDir => {}
            Component::ParentDir if result.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (path, expected) in [
            ("assets/a.js", Some("assets/a.js")),
            ("assets/../index.html", Some("index.html")),
            ("assets//./a.js", Some("assets/a.js")),
            ("a\\..\\b", Some("a\\..\\b")),
            ("..", None),
            ("assets/../../secret", None),
            ("/etc/passwd", None),
            ("a\0b", None),
            ("", Some("")),
            ("...", Some("...")),
        ] {
            assert_eq!(inside(path).as_deref(), expected.map(Path::new), "{path:?}");
        }
    }
}
