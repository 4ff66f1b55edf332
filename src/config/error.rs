//! Why the settings do not make a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

#[derive(Debug)]
pub enum Error {
    /// A setting has a value it cannot have. `found` is absent where the value may hold a secret.
    Invalid { name: &'static str, found: Option<String>, expected: &'static str },
    /// A setting without default is not there; the text says when it is needed.
    Missing { name: &'static str, needed: &'static str },
    /// A required setting of the object storage is not there; worded as the reference server does.
    MissingStorage { name: &'static str },
    /// A setting of the object storage has a value it cannot have; begins as the reference server's text does.
    InvalidStorage { name: &'static str, found: String, expected: &'static str },
    /// The settings contradict each other.
    Conflict(&'static str),
    /// A file or directory that the settings name cannot be used.
    File { path: PathBuf, action: &'static str, source: io::Error },
    /// The file of the master secret exists and holds none.
    EmptySecretFile(PathBuf),
    /// The directory holds the reference server's database, and none of ours.
    ReferenceDatabase(PathBuf),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { name, found: Some(found), expected } => {
                write!(f, "{name} is {found:?}; expected {expected}")
            }
            Self::Invalid { name, found: None, expected } => {
                write!(f, "{name} cannot be understood; expected {expected}")
            }
            Self::Missing { name, needed } => write!(f, "{name} is not set; {needed}"),
            Self::MissingStorage { name } => write!(f, "Missing required env var: {name}"),
            Self::InvalidStorage { name, found, expected } => {
                write!(f, "Invalid {name}: {found}; expected {expected}")
            }
            Self::Conflict(text) => f.write_str(text),
            Self::File { path, action, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            Self::EmptySecretFile(path) => {
                write!(f, "handy-master-secret.txt exists but is empty: {}", path.display())
            }
            Self::ReferenceDatabase(path) => write!(
                f,
                "{} holds the database of a reference server (PGlite), which cannot be read here, and there is no \
                 happier.sqlite3 to go on with; expected HAPPY_SERVER_LIGHT_DATA_DIR and HAPPY_SERVER_LIGHT_DB_DIR to \
                 name directories without it. To take its data along, see docs/deploy.md (the light flavor's data); to \
                 start with no data, set HAPPY_SERVER_LIGHT_DB_DIR to an empty directory",
                path.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}
