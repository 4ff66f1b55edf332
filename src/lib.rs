//! Happier Server.
