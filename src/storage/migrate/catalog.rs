//! What a PostgreSQL schema consists of, as lines of text that can be compared.

use std::collections::BTreeSet;

use super::refusal;
use crate::storage::error::Error;
use crate::storage::postgres::{Connection, Fault};

/// Tables with their columns, indexes, constraints and enums of the current schema, without what this server and the
/// reference tooling keep for themselves. Positions of columns do not count.
const DESCRIBE: &str = r#"
WITH ours AS (
    SELECT c.oid, c.relname FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v')
      AND c.relname NOT IN ('happier_migrations', '_prisma_migrations')
)
SELECT 'column ' || ours.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
       || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM ours JOIN pg_attribute a ON a.attrelid = ours.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
UNION ALL
SELECT 'index ' || regexp_replace(pg_get_indexdef(i.indexrelid), ' ON (ONLY )?.*? USING ', ' ON ' || ours.relname || ' USING ')
FROM ours JOIN pg_index i ON i.indrelid = ours.oid
UNION ALL
SELECT 'constraint ' || ours.relname || '.' || k.conname || ' ' || regexp_replace(pg_get_constraintdef(k.oid), 'REFERENCES [^(]*\.', 'REFERENCES ')
FROM ours JOIN pg_constraint k ON k.conrelid = ours.oid
UNION ALL
SELECT 'enum ' || t.typname || ' ' || string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder)
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
WHERE t.typnamespace = current_schema()::regnamespace
GROUP BY t.oid, t.typname
"#;

/// The name of the schema in which the expected state is built for comparison, and undone.
const SCRATCH: &str = "happier_scratch";

pub(super) async fn describe(connection: &Connection) -> Result<BTreeSet<String>, Fault> {
    let rows = connection.query(DESCRIBE, &[]).await?;
    Ok(rows.iter().map(|row| row.text(0).replace(&format!("{SCRATCH}."), "")).collect())
}

/// Compares the current schema with what `script` would make. Call it inside a transaction, which it leaves as it was.
pub(super) async fn compare(connection: &Connection, schema: &str, script: &str) -> Result<(), Error> {
    let run = async || -> Result<(BTreeSet<String>, BTreeSet<String>), Fault> {
        let found = describe(connection).await?;
        connection
            .batch(&format!("SAVEPOINT compare; CREATE SCHEMA {SCRATCH}; SET LOCAL search_path TO {SCRATCH}"))
            .await?;
        connection.batch(script).await?;
        let expected = describe(connection).await?;
        connection.batch("ROLLBACK TO compare; RELEASE compare").await?;
        Ok((found, expected))
    };
    let (found, expected) = run().await.map_err(|fault| fault.error)?;
    // Types of the schema may be written with its name.
    let prefix = format!("{schema}.");
    let quoted = format!("\"{schema}\".");
    let found: BTreeSet<_> = found.iter().map(|line| line.replace(&prefix, "").replace(&quoted, "")).collect();
    let missing = expected.difference(&found).map(|line| format!("missing: {line}"));
    let unknown = found.difference(&expected).map(|line| format!("not expected: {line}"));
    let differences: Vec<_> = unknown.chain(missing).collect();
    if differences.is_empty() {
        return Ok(());
    }
    const SHOWN: usize = 20;
    let more = differences.len().saturating_sub(SHOWN);
    let mut text = differences.into_iter().take(SHOWN).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    Err(refusal(format!("it has tables but no migration history, and they differ from the reference server's: {text}")))
}
