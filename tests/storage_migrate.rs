//! Migrations: empty databases, databases of the reference server in every state, and many processes at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/storage.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use happier_server::storage::postgres::Settings;
use happier_server::storage::sqlite::Sqlite;
use happier_server::storage::{Error, migrate};
use postgres::Postgres;
use support::{Directory, fresh_name, settings, shared_server};

/// Everything a schema consists of, except what migrations keep for themselves.
const DESCRIBE: &str = r#"
SELECT 'column ' || table_name || '.' || column_name || ' ' || udt_name || ' ' || is_nullable || ' '
    || coalesce(column_default, '-') || ' ' || coalesce(datetime_precision::text, '-')
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name NOT IN ('_prisma_migrations', 'happier_migrations')
UNION ALL
SELECT 'index ' || indexdef FROM pg_indexes
WHERE schemaname = 'public' AND tablename NOT IN ('_prisma_migrations', 'happier_migrations')
UNION ALL
SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    AND conrelid::regclass::text NOT IN ('_prisma_migrations', 'happier_migrations')
UNION ALL
SELECT 'enum ' || t.typname || ' ' || string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder)
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid GROUP BY t.typname
UNION ALL
SELECT 'function ' || proname || ' ' || md5(prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY 1"#;

const HISTORY: &str = r#"SELECT migration_name, checksum, finished_at IS NOT NULL, applied_steps_count
FROM "_prisma_migrations" ORDER BY started_at"#;

const REFERENCE_TABLE: &str = r#"CREATE TABLE "_prisma_migrations" (
    id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMPTZ,
    migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(), applied_steps_count INTEGER NOT NULL DEFAULT 0)"#;

/// A database with one name and the settings to reach it.
struct Database {
    server: std::sync::Arc<Postgres>,
    name: String,
    settings: Settings,
}

impl Database {
    fn empty() -> Self {
        let server = shared_server();
        let name = fresh_name();
        server.create_database(&name);
        let settings = settings(&server, &name);
        Self { server, name, settings }
    }

    /// As the reference server leaves it after its first `steps` migrations.
    fn of_reference(steps: usize) -> Self {
        let database = Self::empty();
        let mut sql = format!("{REFERENCE_TABLE};\n");
        for script in &reference_scripts()[..steps] {
            sql.push_str(&std::fs::read_to_string(script).unwrap());
        }
        database.psql(&sql);
        for script in &reference_scripts()[..steps] {
            database.record(&name_of(script), "now()", "NULL");
        }
        database
    }

    fn record(&self, name: &str, finished_at: &str, rolled_back_at: &str) {
        self.psql(&format!(
            r#"INSERT INTO "_prisma_migrations" (id, checksum, migration_name, started_at, finished_at, rolled_back_at, applied_steps_count)
            VALUES (gen_random_uuid()::text, 'as it was', '{name}', clock_timestamp(), {finished_at}, {rolled_back_at}, 1)"#
        ));
    }

    fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.name, sql)
    }

    fn migrate(&self) -> Result<(), Error> {
        migrate::postgres(self.settings.clone())
    }

    fn refuses(&self, expected: &[&str]) {
        let before = self.everything();
        let text = self.migrate().unwrap_err().to_string();
        for expected in expected {
            assert!(text.contains(expected), "{text}");
        }
        assert_eq!(self.everything(), before, "a refusal changes nothing");
    }

    fn everything(&self) -> String {
        let tables = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2";
        self.psql(DESCRIBE) + &self.psql(tables)
    }
}

/// Keeps what is logged, by all tests together.
struct Kept(Mutex<Vec<String>>);

impl log::Log for Kept {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

/// What is logged while `f` runs and mentions `what`, which nothing else mentions.
fn logged_about(what: &str, f: impl FnOnce()) -> Vec<String> {
    static KEPT: Kept = Kept(Mutex::new(Vec::new()));
    // Another test may have been faster.
    let _ = log::set_logger(&KEPT);
    log::set_max_level(log::LevelFilter::Info);
    let about = || {
        KEPT.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|line| line.contains(what))
            .cloned()
            .collect::<Vec<_>>()
    };
    let before = about().len();
    f();
    about().split_off(before)
}

/// The scripts of the reference server's steps, in order.
fn reference_scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres/reference");
    let mut scripts: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert_eq!(scripts.len(), 44);
    scripts
}

fn name_of(script: &Path) -> String {
    script.file_stem().unwrap().to_str().unwrap()[3..].into()
}

#[test]
fn an_empty_database_gets_the_schema_and_both_histories() {
    let database = Database::empty();
    database.migrate().unwrap();
    let history = database.psql(HISTORY);
    let lines: Vec<_> = history.lines().collect();
    assert_eq!(lines.len(), 44);
    assert_eq!(lines[0], "20250713002718_initial|afe7b15d5c7580c37fb167a46b53841fe084c16833986be9ac7326a4483e67ff|t|1");
    let last =
        "20260130190000_add_account_changes_floor|cbfe106f872f52a826eec3e3a436fc20b64b350728eea332cb59727bcfd8fc6d|t|1";
    assert_eq!(lines[43], last);
    for (line, script) in lines.iter().zip(reference_scripts()) {
        assert!(line.starts_with(&format!("{}|", name_of(&script))), "{line}");
    }
    let ours = "SELECT number, name, length(sha256) FROM happier_migrations ORDER BY number";
    assert_eq!(database.psql(ours), "1|0001_baseline|64\n2|0002_store_message|64");

    // Again: nothing to do.
    let before = database.psql(DESCRIBE);
    database.migrate().unwrap();
    assert_eq!(database.psql(DESCRIBE), before);
    assert_eq!(database.psql(HISTORY), history);
}

#[test]
fn a_partial_history_is_completed_to_the_same_schema() {
    let expected = {
        let database = Database::empty();
        database.migrate().unwrap();
        database.psql(DESCRIBE)
    };
    // Before and after every step that does more than add to what is there.
    for steps in [1, 2, 7, 11, 12, 14, 19, 28, 30, 31, 36, 37, 38, 39, 40, 41, 43] {
        let database = Database::of_reference(steps);
        database.migrate().unwrap();
        assert_eq!(database.psql(DESCRIBE), expected, "after {steps} steps");
        let history = database.psql(HISTORY);
        let names: Vec<_> = history.lines().map(|line| line.split('|').next().unwrap().to_owned()).collect();
        assert_eq!(names, reference_scripts().iter().map(|script| name_of(script)).collect::<Vec<_>>());
        assert_eq!(history.matches("as it was").count(), steps, "rows that were there stay");
    }
}

#[test]
fn rows_survive_the_completion() {
    let database = Database::of_reference(36);
    database.psql(
        r#"INSERT INTO "Account" ("id", "publicKey", "updatedAt", "seq") VALUES ('a1', 'K1', '2026-01-01', 5);
        INSERT INTO "Account" ("id", "publicKey", "updatedAt", "seq") VALUES ('a2', 'K2', '2026-01-01', 6);
        INSERT INTO "UserRelationship" ("fromUserId", "toUserId", "status", "updatedAt") VALUES ('a1', 'a2', 'friend', now());
        INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt") VALUES ('s1', 'a1', 't', 'm', now());"#,
    );
    database.migrate().unwrap();
    assert_eq!(database.psql(r#"SELECT "id", "seq", "changesFloor" FROM "Account" ORDER BY 1"#), "a1|5|0\na2|6|0");
    assert_eq!(database.psql(r#"SELECT "status" FROM "UserRelationship""#), "friend");
    assert_eq!(database.psql(r#"SELECT count(*) FROM "Session""#), "1");
}

#[test]
fn public_links_are_counted_before_they_are_deleted() {
    let database = Database::of_reference(40);
    database.psql(
        r#"INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES ('a1', 'K1', '2026-01-01');
        INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "updatedAt")
            VALUES ('s1', 'a1', 't1', 'm', now()), ('s2', 'a1', 't2', 'm', now());
        INSERT INTO "PublicSessionShare" ("id", "sessionId", "createdByUserId", "token", "encryptedDataKey", "updatedAt")
            VALUES ('p1', 's1', 'a1', 'one', '', now()), ('p2', 's2', 'a1', 'two', '', now())"#,
    );
    let what = "deletes all public links";
    let lines = logged_about(what, || database.migrate().unwrap());
    assert_eq!(lines.len(), 1, "{lines:?}");
    let named = "WARN migration 20260126120000_add_content_keys_and_public_share_token_hash of the reference server";
    assert!(lines[0].starts_with(named) && lines[0].contains(" 2 of them"), "{lines:?}");
    assert_eq!(database.psql(r#"SELECT count(*) FROM "PublicSessionShare""#), "0");
    assert!(logged_about(what, || database.migrate().unwrap()).is_empty());
}

#[test]
fn a_complete_database_is_adopted_as_it_is() {
    let database = Database::of_reference(44);
    database.psql(r#"INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES ('a1', 'K1', '2026-01-01')"#);
    let before = database.psql(r#"SELECT * FROM "_prisma_migrations" ORDER BY 1"#)
        + &database.psql(r#"SELECT * FROM "Account""#);
    database.migrate().unwrap();
    let after = database.psql(r#"SELECT * FROM "_prisma_migrations" ORDER BY 1"#)
        + &database.psql(r#"SELECT * FROM "Account""#);
    assert_eq!(after, before);
    assert_eq!(database.psql("SELECT name FROM happier_migrations ORDER BY 1"), "0001_baseline\n0002_store_message");
}

#[test]
fn histories_we_do_not_understand_are_refused() {
    let database = Database::of_reference(44);
    database.record("20270101000000_from_the_future", "now()", "NULL");
    database.refuses(&["20270101000000_from_the_future", "newer"]);

    let database = Database::of_reference(43);
    database.record("20260130190000_add_account_changes_floor", "NULL", "NULL");
    database.refuses(&["20260130190000_add_account_changes_floor", "failed"]);

    // A failed attempt that was rolled back does not count.
    let database = Database::of_reference(43);
    database.record("20260130190000_add_account_changes_floor", "NULL", "now()");
    database.migrate().unwrap();

    let database = Database::of_reference(44);
    database.psql(r#"DELETE FROM "_prisma_migrations" WHERE migration_name = '20250714030924_add_session_metadata'"#);
    database.refuses(&["20250714030924_add_session_metadata", "missing"]);
}

/// A restart must not become an outage.
#[test]
fn what_the_reference_tooling_did_after_the_adoption_is_warned_of() {
    let database = Database::of_reference(44);
    database.migrate().unwrap();
    for (name, finished_at, rolled_back_at, expected) in [
        ("20270101000000_after_the_adoption", "now()", "NULL", Some("is of a newer reference server")),
        ("20270102000000_failed_after_the_adoption", "NULL", "NULL", Some("has failed")),
        ("20270103000000_undone_after_the_adoption", "NULL", "now()", None),
    ] {
        database.record(name, finished_at, rolled_back_at);
        for _ in 0..2 {
            let lines = logged_about(name, || database.migrate().unwrap());
            match expected {
                Some(expected) => {
                    assert!(lines.iter().any(|line| line.starts_with("WARN ") && line.contains(expected)), "{lines:?}");
                }
                None => assert!(lines.is_empty(), "{lines:?}"),
            }
        }
    }
    // A history that cannot be read keeps nobody away, either.
    database.psql(r#"ALTER TABLE "_prisma_migrations" RENAME finished_at TO unreadable_after_the_adoption"#);
    let lines = logged_about("cannot be read", || database.migrate().unwrap());
    assert!(lines.iter().any(|line| line.starts_with("WARN ") && line.contains("finished_at")), "{lines:?}");
}

#[test]
fn tables_without_a_history_are_compared() {
    let database = Database::of_reference(44);
    database.psql(r#"DROP TABLE "_prisma_migrations""#);
    database.migrate().unwrap();
    assert_eq!(database.psql("SELECT name FROM happier_migrations ORDER BY 1"), "0001_baseline\n0002_store_message");

    let database = Database::of_reference(44);
    database.psql(
        r#"DROP TABLE "_prisma_migrations"; ALTER TABLE "Account" DROP COLUMN "feedSeq"; CREATE TABLE "Other" (x INTEGER)"#,
    );
    database.refuses(&["missing: column Account.feedSeq bigint", "not expected: column Other.x integer"]);

    let database = Database::empty();
    database.psql("CREATE TABLE somebody_elses (x INTEGER)");
    database.refuses(&["somebody_elses"]);
}

#[test]
fn our_own_history_is_checked() {
    let database = Database::empty();
    database.migrate().unwrap();
    database.psql("INSERT INTO happier_migrations (number, name, sha256) VALUES (3, '0003_later', '00')");
    database.refuses(&["0003_later", "newer"]);
    database.psql(
        "DELETE FROM happier_migrations WHERE number = 3; UPDATE happier_migrations SET sha256 = '00' WHERE number = 1",
    );
    database.refuses(&["0001_baseline", "another text"]);
}

#[test]
fn many_may_start_at_once() {
    for steps in [None, Some(40)] {
        let database = steps.map_or_else(Database::empty, Database::of_reference);
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| database.migrate())).collect();
            for one in all {
                assert_eq!(one.join().unwrap(), Ok(()));
            }
        });
        assert_eq!(database.psql("SELECT count(*) FROM happier_migrations"), "2");
        assert_eq!(database.psql(r#"SELECT count(*) FROM "_prisma_migrations""#), "44");
    }
}

#[test]
fn the_schema_of_the_url_is_used() {
    let mut database = Database::empty();
    database.settings.schema = "other \"name\"".into();
    database.migrate().unwrap();
    database.migrate().unwrap();
    assert_eq!(database.psql(r#"SELECT count(*) FROM "other ""name""".happier_migrations"#), "2");
    assert_eq!(database.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
}

#[test]
fn who_owns_the_schema_needs_no_right_on_the_database() {
    let mut database = Database::empty();
    let tenant = format!("tenant_of_{}", database.name);
    database.psql(&format!("CREATE ROLE {tenant} LOGIN; CREATE SCHEMA theirs AUTHORIZATION {tenant}"));
    database.settings.user = tenant;
    database.settings.schema = "theirs".into();
    database.migrate().unwrap();
    database.migrate().unwrap();
    assert_eq!(database.psql("SELECT count(*) FROM theirs.happier_migrations"), "2");

    // Where it would have to be made, the right is missed, and the schema named.
    database.settings.schema = "nobodys".into();
    let text = database.migrate().unwrap_err().to_string();
    for part in ["DATABASE_URL", "\"nobodys\"", "permission denied"] {
        assert!(text.contains(part), "{text}");
    }
    // A database may have lost even the usual one.
    let mut database = Database::empty();
    database.psql("DROP SCHEMA public");
    database.settings.schema = "public".into();
    database.migrate().unwrap();
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let mut database = Database::empty();
    database.settings.port = 1;
    database.settings.pool_timeout = std::time::Duration::from_millis(300);
    let text = database.migrate().unwrap_err().to_string();
    assert!(text.contains(".s.PGSQL.1"), "{text}");
    let mut database = Database::empty();
    database.settings.database = "no_such_database".into();
    let text = database.migrate().unwrap_err().to_string();
    assert!(text.contains("no_such_database"), "{text}");
}

/// Both databases have the same tables, columns, indexes and foreign keys.
#[test]
fn sqlite_has_the_same_schema() {
    let database = Database::empty();
    database.migrate().unwrap();
    let expected = database.psql(
        r#"SELECT 'column ' || table_name || '.' || column_name || ' ' || is_nullable FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name NOT IN ('_prisma_migrations', 'happier_migrations')
        UNION ALL
        SELECT 'index ' || indexname || CASE WHEN indexdef LIKE '%UNIQUE%' THEN ' unique' ELSE '' END
        FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%\_pkey'
        UNION ALL
        SELECT 'reference ' || conrelid::regclass || ' ' || confrelid::regclass || ' ' || confdeltype::text || confupdtype::text
        FROM pg_constraint WHERE contype = 'f'
        ORDER BY 1"#,
    );
    let directory = Directory::new();
    let path = directory.path().join("happier.sqlite3");
    drop(Sqlite::open(&path).unwrap());
    drop(Sqlite::open(&path).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    let mut statement = connection
        .prepare(
            r#"SELECT 'column ' || t.name || '.' || c.name || iif(c."notnull", ' NO', ' YES')
            FROM pragma_table_list t JOIN pragma_table_xinfo(t.name) c
            WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> 'happier_migrations' AND t.strict
            UNION ALL
            SELECT 'index ' || i.name || iif(i."unique", ' unique', '') FROM pragma_table_list t JOIN pragma_index_list(t.name) i
            WHERE t.schema = 'main' AND i.origin = 'c'
            UNION ALL
            SELECT 'reference "' || t.name || '" "' || f."table" || '" '
                || CASE f.on_delete WHEN 'CASCADE' THEN 'c' WHEN 'RESTRICT' THEN 'r' WHEN 'SET NULL' THEN 'n' END
                || CASE f.on_update WHEN 'CASCADE' THEN 'c' END
            FROM pragma_table_list t JOIN pragma_foreign_key_list(t.name) f WHERE t.schema = 'main' AND f.seq = 0"#,
        )
        .unwrap();
    let found = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut found: Vec<_> = found.map(Result::unwrap).collect();
    found.sort();
    let mut expected: Vec<_> = expected.lines().collect();
    expected.sort_unstable();
    assert!(expected.len() > 200);
    assert_eq!(found, expected);
}
