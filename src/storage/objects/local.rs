//! Public files of the light flavor: a directory.
//!
//! Owns: the directory, the rule which paths lie in it. Its functions block: they run on threads of a pool.
//! Limits: [`FILE_BYTES_MAX`] per file. Implements `spec/http.md` §11.3 and `spec/configuration.md` §3.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Larger files are not served. Avatars are far smaller.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// A directory with everything below it.
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Creates the directory where it is missing.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// The bytes of a file; `None` for a path that is not in the directory and for everything that is no file.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        read(&self.root.join(normalise(path)?)).ok()
    }

    /// Writes a new file, with its parents. It appears whole: who reads it meanwhile finds nothing.
    pub fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = normalise(path).ok_or(io::ErrorKind::InvalidInput)?;
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut draft = path.clone().into_os_string();
        draft.push(".tmp");
        let mut file = OpenOptions::new().write(true).create_new(true).open(&draft)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&draft, &path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
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

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let root = std::env::temp_dir().join(format!("happier-files-{}", crate::model::ids::file_name_id()));
        let directory = Directory::open(&root.join("with/parents")).unwrap();
        directory.write("public/users/a/b.png", b"bytes").unwrap();
        assert_eq!(directory.read("public//users/a/b.png").as_deref(), Some(&b"bytes"[..]));
        for path in ["public/users/a", "public/users/a/c.png", "../with/parents/public/users/a/b.png", ""] {
            assert_eq!(directory.read(path), None, "{path}");
        }
        for path in ["../b.png", "", "/b.png", "public/users/a/b.png/c"] {
            assert!(directory.write(path, b"").is_err(), "{path}");
        }
        let left: Vec<_> = fs::read_dir(root.join("with/parents/public/users/a")).unwrap().collect();
        assert_eq!(left.len(), 1, "no draft is left behind");
        fs::remove_dir_all(root).unwrap();
    }
}
