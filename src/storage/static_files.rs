//! Files of the web UI: a directory, read by threads of a pool.
//!
//! Owns: which paths lie in the directory, the index with its banner. Never: a core's thread inside a file system call,
//! a large file in memory as a whole.
//! Limits: [`PIECE_BYTES_MAX`] of a file are in memory for each client that is sent it, [`INDEX_BYTES_MAX`] for the
//! index of each core.
//! Symbolic links are followed as long as they stay inside. Implements `spec/http.md` §11.4.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use crate::runtime::pool::{Busy, Workers};

/// What is read of a file at a time.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// A larger index is treated as missing.
pub const INDEX_BYTES_MAX: u64 = 8 << 20;

/// Ends the index, so that a client can tell whose it is.
const BANNER: &[u8] = b"\n<!-- Welcome to Happier Server! -->\n";

const INDEX: &str = "index.html";

/// A file with its beginning.
struct Opened {
    first: Vec<u8>,
    /// The file, if there is more of it, and how much more.
    rest: Option<(File, u64)>,
}

/// The index with its banner, as it was when the file last changed.
#[derive(Clone)]
struct Index {
    changed: SystemTime,
    length: u64,
    bytes: Arc<[u8]>,
}

impl Index {
    /// Reads it, unless it is still the one that is known.
    fn read(root: &Path, known: Option<Self>) -> io::Result<Self> {
        let (file, length) = open_inside(root, Path::new(INDEX))?;
        let changed = file.metadata()?.modified()?;
        if let Some(known) = known.filter(|known| (known.changed, known.length) == (changed, length)) {
            return Ok(known);
        }
        if length > INDEX_BYTES_MAX {
            log::warn!("the index of the web UI has {length} bytes and is not served; the limit is {INDEX_BYTES_MAX}");
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        file.take(INDEX_BYTES_MAX).read_to_end(&mut bytes)?;
        bytes.extend_from_slice(BANNER);
        Ok(Self { changed, length, bytes: bytes.into() })
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
    root: Arc<Path>,
    workers: Workers,
    index: Rc<RefCell<Option<Index>>>,
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
    /// The directory need not exist yet: it is looked at with every request.
    pub fn new(root: Arc<Path>, workers: Workers) -> Self {
        Self { root, workers, index: Rc::default() }
    }

    /// The index with its banner, if there is one.
    pub async fn index(&self) -> Result<Option<Arc<[u8]>>, Busy> {
        let (root, known) = (Arc::clone(&self.root), self.index.borrow().clone());
        let Ok(index) = self.workers.run(move || Index::read(&root, known)).await? else { return Ok(None) };
        let bytes = Arc::clone(&index.bytes);
        self.index.replace(Some(index));
        Ok(Some(bytes))
    }

    /// The file that a decoded path names.
    pub async fn open(&self, path: &str) -> Result<Lookup, Busy> {
        let Some(path) = inside(path) else { return Ok(Lookup::Outside) };
        if path == Path::new(INDEX) {
            return Ok(Lookup::Index);
        }
        Ok(self.file(path).await?.map_or(Lookup::Missing, Lookup::File))
    }

    /// The file that a decoded path names, even if it is the index.
    pub async fn open_plain(&self, path: &str) -> Result<Option<StaticFile>, Busy> {
        match inside(path) {
            Some(path) => self.file(path).await,
            None => Ok(None),
        }
    }

    async fn file(&self, path: PathBuf) -> Result<Option<StaticFile>, Busy> {
        let root = Arc::clone(&self.root);
        let opened = self.workers.run(move || open(&root, &path)).await?;
        Ok(opened.ok().map(|Opened { first, rest }| {
            let workers = self.workers.clone();
            let rest = rest.map(|(file, length)| Rest { workers, file: RefCell::new(Some(file)), length });
            StaticFile { first, rest }
        }))
    }
}

/// The part of a file that has not been read yet.
pub struct Rest {
    workers: Workers,
    /// Away while a thread reads.
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
        let mut file = self.file.borrow_mut().take()?;
        let read = self.workers.run(move || read_piece(&mut file).map(|piece| (file, piece))).await;
        let (file, piece) = read.ok()?.ok()?;
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
