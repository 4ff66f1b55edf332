//! Where data is kept: one handle for two databases, PostgreSQL (full flavor) and SQLite (light flavor).
//!
//! Owns: connections, transactions and their retries, the schema and its migrations.
//! Never: rules. Statements belong to the domains that mean something by them; here they are text and parameters.
//! Invariant: an answer is given after the commit it stands on, and only if that commit succeeded.
//!
//! A [`Db`] belongs to one core. PostgreSQL is driven on the core itself ([`postgres`]); SQLite lives on threads of its
//! own ([`sqlite`]) whose answers come back through [`crate::runtime::post::CorePost`]. Implements `design.md` §§5-6 and
//! `data.md`.

pub mod db;
pub mod error;
pub mod migrate;
pub mod objects;
pub mod postgres;
pub mod sqlite;
pub mod statement;
pub mod static_files;
pub mod value;

pub use db::{Db, Kind, Tx};
pub use error::Error;
pub use statement::Statement;
pub use value::{Row, Value};
