//! Migrations on PostgreSQL, and the adoption of databases that the reference server made.
//!
//! Every step is one transaction that takes the advisory lock first and then looks where the database stands, so any
//! number of processes may start at once and a pooler in transaction mode does no harm. The lock is the reference
//! tooling's own, which keeps that out as well.
//!
//! A database that the reference server made is adopted without touching its rows; the missing end of a partial history
//! is applied first. `design.md` §6 would have us never write to `_prisma_migrations`; `data.md` §11.3 demands the rows
//! for a partial and for an empty database, because without them the reference tooling would refuse the database later.
//! We follow `data.md`: both servers can then run on it.

use std::sync::Arc;

use super::reference::{self, Recorded, Step};
use super::{Applied, MIGRATIONS, Migration, catalog, checksum, remaining};
use crate::runtime::post;
use crate::storage::error::Error;
use crate::storage::postgres::{Connection, Connector, Fault, Settings};
use crate::storage::value::Value;

/// Migrations rebuild indexes and wait for other processes' migrations.
const STATEMENT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3600);

const LOCK: &str = "SELECT pg_advisory_xact_lock(72707369)";

const TABLE: &str = "CREATE TABLE happier_migrations (
    number INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
)";

const REFERENCE_TABLE: &str = r#"CREATE TABLE IF NOT EXISTS "_prisma_migrations" (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    checksum VARCHAR(64) NOT NULL,
    finished_at TIMESTAMPTZ,
    migration_name VARCHAR(255) NOT NULL,
    logs TEXT,
    rolled_back_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
)"#;

/// Brings the schema up to date. Blocks; call it before the cores start.
#[allow(clippy::disallowed_methods, reason = "the caller may be inside another runtime")]
pub fn postgres(settings: Settings) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::Unavailable(format!("cannot run the migrations: {error}"));
    let run = move || {
        let mut runtime =
            monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().map_err(failed)?;
        runtime.block_on(async {
            let post = post::local().map_err(failed)?;
            let settings = Settings { socket_timeout: Some(STATEMENT_TIMEOUT), ..settings };
            Box::pin(migrate(settings, post)).await
        })
    };
    // A runtime of its own needs a thread of its own: the caller may be inside another.
    let thread = std::thread::Builder::new().name("migrate".into()).spawn(run).map_err(failed)?;
    thread.join().unwrap_or_else(|_| Err(Error::Internal("the migrations panicked".into())))
}

async fn migrate(settings: Settings, post: Arc<dyn post::CorePost>) -> Result<(), Error> {
    let schema = settings.schema.clone();
    let connection = Connector::new(settings, post)?.connect_patiently().await?;
    loop {
        let step = next(&connection, &schema).await?;
        apply(&connection, &step).await.map_err(|error| Error::Internal(format!("{}: {error}", step.name())))?;
        if matches!(step, Next::Nothing) {
            warn_of_reference(&connection).await;
            return Ok(());
        }
    }
}

/// What the next transaction does.
enum Next {
    Nothing,
    /// One of our migrations.
    Apply(&'static Migration),
    /// An empty database: the whole schema, and the history the reference tooling expects.
    Create,
    /// A missing step of a partial history of the reference server.
    Complete(&'static Step),
    /// The schema is there already.
    Adopt,
}

impl Next {
    fn name(&self) -> String {
        match self {
            Self::Nothing => "migrations".into(),
            Self::Apply(migration) => format!("migration {}", migration.name),
            Self::Create | Self::Adopt => format!("migration {}", MIGRATIONS[0].name),
            Self::Complete(step) => format!("migration {} of the reference server", step.name),
        }
    }
}

/// Opens a transaction, takes the lock and finds out what is to be done.
async fn next(connection: &Connection, schema: &str) -> Result<Next, Error> {
    let error = |fault: Fault| fault.error;
    connection.batch(&format!("{}; {LOCK}", connection.begin())).await.map_err(error)?;
    ensure_schema(connection, schema).await?;
    let tables = connection.query(TABLES, &[]).await.map_err(error)?;
    let has = |name: &str| tables.iter().any(|row| row.text(0) == name);
    if has("happier_migrations") {
        let rows = connection.query(APPLIED, &[]).await.map_err(error)?;
        let applied: Vec<_> = rows
            .into_iter()
            .map(|mut row| Applied { number: row.int(0), name: row.take_text(1), sha256: row.take_text(2) })
            .collect();
        let remaining = remaining(&applied, |migration| migration.postgres)?;
        return Ok(remaining.first().map_or(Next::Nothing, Next::Apply));
    }
    let others = tables.iter().any(|row| row.text(0) != "_prisma_migrations");
    let recorded = if has("_prisma_migrations") { recorded(connection).await.map_err(error)? } else { Vec::new() };
    let steps = reference::remaining(&recorded)?;
    match steps {
        [] => Ok(Next::Adopt),
        [step, ..] if steps.len() < reference::STEPS.len() => Ok(Next::Complete(step)),
        _ if others => {
            catalog::compare(connection, schema, MIGRATIONS[0].postgres).await?;
            Ok(Next::Adopt)
        }
        _ => Ok(Next::Create),
    }
}

async fn recorded(connection: &Connection) -> Result<Vec<Recorded>, Fault> {
    let rows = connection.query(RECORDED, &[]).await?.into_iter();
    Ok(rows
        .map(|mut row| Recorded { name: row.take_text(0), finished: row.bool(1), rolled_back: row.bool(2) })
        .collect())
}

/// Says what the reference tooling did to the database after it was adopted. That is no reason not to start: what worked
/// until now may go on working, and a restart must not become an outage.
async fn warn_of_reference(connection: &Connection) {
    let read = async || -> Result<Vec<Recorded>, Fault> {
        connection.batch(connection.begin()).await?;
        let tables = connection.query(TABLES, &[]).await?;
        let is_there = tables.iter().any(|row| row.text(0) == "_prisma_migrations");
        let recorded = if is_there { recorded(connection).await? } else { Vec::new() };
        connection.batch("COMMIT").await?;
        Ok(recorded)
    };
    match read().await {
        Ok(recorded) => {
            for fault in reference::faults(&recorded) {
                log::warn!("the database may not be as this server needs it: {fault}");
            }
        }
        Err(fault) => log::warn!("the reference server's history of migrations cannot be read: {}", fault.error),
    }
}

/// Makes the schema of the URL if it is not there. It is looked for first: whoever owns a schema need not have the right to
/// make one, which the server asks for even where there is nothing to make.
async fn ensure_schema(connection: &Connection, schema: &str) -> Result<(), Error> {
    let found = connection.query(SCHEMA, &[schema.into()]).await.map_err(|fault| fault.error)?;
    if !found.is_empty() {
        return Ok(());
    }
    let name = schema.replace('"', "\"\"");
    connection.batch(&format!("CREATE SCHEMA \"{name}\"")).await.map_err(|fault| {
        let error = fault.error;
        Error::Internal(format!("DATABASE_URL: the schema {schema:?} is not there and cannot be made: {error}"))
    })
}

const SCHEMA: &str = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
const TABLES: &str = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()";
const APPLIED: &str = "SELECT number, name, sha256 FROM happier_migrations ORDER BY number";
const RECORDED: &str = r#"SELECT migration_name, finished_at IS NOT NULL, rolled_back_at IS NOT NULL
FROM "_prisma_migrations" ORDER BY started_at, finished_at"#;
const PUBLIC_LINKS: &str = r#"SELECT count(*) FROM "PublicSessionShare""#;
const RECORD_OURS: &str = "INSERT INTO happier_migrations (number, name, sha256) VALUES ($1, $2, $3)";
const RECORD_REFERENCE: &str = r#"INSERT INTO "_prisma_migrations"
(id, checksum, migration_name, started_at, finished_at, applied_steps_count)
VALUES (gen_random_uuid()::text, $1, $2, clock_timestamp(), clock_timestamp(), 1)"#;

/// Does it and commits.
async fn apply(connection: &Connection, next: &Next) -> Result<(), Error> {
    let run = async || -> Result<(), Fault> {
        match next {
            Next::Nothing => {}
            Next::Apply(migration) => {
                connection.batch(migration.postgres).await?;
                record(connection, migration).await?;
            }
            Next::Create => {
                connection.batch(TABLE).await?;
                connection.batch(MIGRATIONS[0].postgres).await?;
                record(connection, &MIGRATIONS[0]).await?;
                connection.batch(REFERENCE_TABLE).await?;
                for step in &reference::STEPS {
                    record_reference(connection, step).await?;
                }
            }
            Next::Complete(step) => {
                if step.name == reference::DELETES_PUBLIC_LINKS {
                    warn_of_public_links(connection).await?;
                }
                connection.batch(step.script).await?;
                record_reference(connection, step).await?;
            }
            Next::Adopt => {
                connection.batch(TABLE).await?;
                record(connection, &MIGRATIONS[0]).await?;
            }
        }
        connection.batch("COMMIT").await
    };
    run().await.map_err(|fault| fault.error)?;
    if !matches!(next, Next::Nothing) {
        log::info!("{}: {}", next.name(), if matches!(next, Next::Adopt) { "adopted" } else { "applied" });
    }
    Ok(())
}

/// Says how many links the step is about to end, before it does.
async fn warn_of_public_links(connection: &Connection) -> Result<(), Fault> {
    let count = connection.query(PUBLIC_LINKS, &[]).await?.first().map_or(0, |row| row.int(0));
    if count > 0 {
        log::warn!(
            "migration {} of the reference server deletes all public links, {count} of them, with their visits and \
             blocks; their owners have to make new ones",
            reference::DELETES_PUBLIC_LINKS
        );
    }
    Ok(())
}

async fn record(connection: &Connection, migration: &Migration) -> Result<(), Fault> {
    let params = [migration.number.into(), migration.name.into(), checksum(migration.postgres).into()];
    connection.execute(RECORD_OURS, &params).await.map(drop)
}

async fn record_reference(connection: &Connection, step: &Step) -> Result<(), Fault> {
    let params: [Value; 2] = [step.sha256.into(), step.name.into()];
    connection.execute(RECORD_REFERENCE, &params).await.map(drop)
}
