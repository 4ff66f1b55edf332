//! Migrations on SQLite. The lock file keeps other processes out, so there is nobody to wait for.

use rusqlite::Connection;

use super::{Applied, checksum, remaining};
use crate::model::time::now_ms;
use crate::storage::error::Error;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS happier_migrations (
    number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT";

/// Brings the schema up to date.
pub(in crate::storage) fn sqlite(connection: &mut Connection) -> Result<(), Error> {
    connection.execute_batch(TABLE).map_err(failed)?;
    for migration in remaining(&applied(connection).map_err(failed)?, |migration| migration.sqlite)? {
        let step = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration.sqlite)?;
            transaction.execute(
                "INSERT INTO happier_migrations (number, name, sha256, applied_at) VALUES ($1, $2, $3, $4)",
                (migration.number, migration.name, checksum(migration.sqlite), now_ms()),
            )?;
            transaction.commit()
        };
        step(connection).map_err(|error| Error::Internal(format!("migration {}: {error}", migration.name)))?;
        log::info!("applied migration {}", migration.name);
    }
    Ok(())
}

fn applied(connection: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let mut statement = connection.prepare("SELECT number, name, sha256 FROM happier_migrations ORDER BY number")?;
    let rows =
        statement.query_map([], |row| Ok(Applied { number: row.get(0)?, name: row.get(1)?, sha256: row.get(2)? }))?;
    rows.collect()
}

fn failed(error: rusqlite::Error) -> Error {
    Error::Internal(format!("migrations: {error}"))
}
