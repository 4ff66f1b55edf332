//! Stores messages.
