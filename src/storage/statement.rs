//! A statement: its text for each database.

/// SQL text. Make it a `static`, so that it is prepared once per connection.
///
/// Parameters are written `$1`, `$2`, … A portable text may end in `FOR UPDATE` or `FOR NO KEY UPDATE`, which SQLite
/// does not know and does not need: its transactions that write run one after another.
#[derive(Debug)]
pub struct Statement {
    pub postgres: &'static str,
    pub sqlite: &'static str,
    effect: Effect,
}

/// Whether a statement is sent again when its connection is lost and nobody knows whether it took place.
#[derive(Clone, Copy, Debug)]
enum Effect {
    /// If its words say that it only reads.
    ByItsWords,
    /// Always: running it twice is the same as running it once.
    Repeatable,
    /// Never, although it looks like a read: it calls a function that writes.
    Once,
}

impl Statement {
    /// One text that both databases understand.
    pub const fn portable(sql: &'static str) -> Self {
        Self::two(sql, sql)
    }

    /// A text for each.
    pub const fn two(postgres: &'static str, sqlite: &'static str) -> Self {
        Self { postgres, sqlite, effect: Effect::ByItsWords }
    }

    /// Declares a write that may be sent again when it is unknown whether it took place.
    #[must_use]
    pub const fn repeatable(self) -> Self {
        Self { effect: Effect::Repeatable, ..self }
    }

    /// Declares a `SELECT` that writes.
    #[must_use]
    pub const fn once(self) -> Self {
        Self { effect: Effect::Once, ..self }
    }

    /// Whether it may be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        match self.effect {
            Effect::ByItsWords => only_reads(self.postgres),
            Effect::Repeatable => true,
            Effect::Once => false,
        }
    }
}

/// Whether the text only reads, judged by its words: `SELECT …`, or `WITH …` without a word that writes. Locking reads
/// (`FOR UPDATE`) count as reads.
pub(super) fn only_reads(sql: &str) -> bool {
    let mut words = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    match words.next() {
        Some(first) if first.eq_ignore_ascii_case("select") || first.eq_ignore_ascii_case("values") => true,
        Some(first) if first.eq_ignore_ascii_case("with") => {
            !words.any(|word| ["insert", "update", "delete"].iter().any(|write| word.eq_ignore_ascii_case(write)))
        }
        _ => false,
    }
}

/// The text as SQLite wants it: without a locking clause at the end.
pub(super) fn for_sqlite(sql: &'static str) -> &'static str {
    let sql = sql.trim_end();
    sql.strip_suffix("FOR UPDATE").or_else(|| sql.strip_suffix("FOR NO KEY UPDATE")).unwrap_or(sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_told_from_writes() {
        for (sql, reads) in [
            ("SELECT 1", true),
            ("  select \"seq\" FROM \"Session\" FOR UPDATE", true),
            ("WITH a AS (SELECT 1) SELECT * FROM a", true),
            ("WITH a AS (SELECT 1 AS \"updatedAt\") SELECT * FROM a", true),
            ("WITH a AS (DELETE FROM t RETURNING 1) SELECT * FROM a", false),
            ("INSERT INTO t VALUES (1)", false),
            ("UPDATE t SET a = 1 RETURNING a", false),
            ("", false),
        ] {
            assert_eq!(only_reads(sql), reads, "{sql}");
        }
    }

    #[test]
    fn locking_clauses_are_left_out_for_sqlite() {
        assert_eq!(for_sqlite("SELECT 1 FOR UPDATE\n"), "SELECT 1 ");
        assert_eq!(for_sqlite("SELECT 1 FOR NO KEY UPDATE"), "SELECT 1 ");
        assert_eq!(for_sqlite("SELECT 1"), "SELECT 1");
    }
}
