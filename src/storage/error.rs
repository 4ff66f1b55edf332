//! What a database answers when it does not do what was asked.

use std::fmt;

/// Why a statement or transaction had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A unique index or primary key has this value already. The name is the same on both databases.
    UniqueViolation { constraint: String },
    /// A row that is referred to does not exist, or is still referred to.
    ForeignKey,
    /// A value the column cannot hold: U+0000 in text, an integer out of range, a wrong type, NULL where none may be.
    Invalid(String),
    /// Concurrent transactions were in the way for longer than retries last.
    Conflict(String),
    /// The database cannot be reached, or was lost while it worked. Of a write it is unknown whether it took place.
    Unavailable(String),
    /// A limit on waiting ran out. Of a write it is unknown whether it took place.
    Timeout(String),
    /// Our mistake or the database's: a statement that does not fit the schema, a damaged file.
    Internal(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UniqueViolation { constraint } => write!(f, "the value is taken already ({constraint})"),
            Self::ForeignKey => f.write_str("a row that is referred to is missing, or is still referred to"),
            Self::Invalid(text) => write!(f, "the value cannot be stored: {text}"),
            Self::Conflict(text) => write!(f, "concurrent writes were in the way: {text}"),
            Self::Unavailable(text) => write!(f, "the database is not available: {text}"),
            Self::Timeout(text) => write!(f, "the database took too long: {text}"),
            Self::Internal(text) => write!(f, "database error: {text}"),
        }
    }
}

impl std::error::Error for Error {}
