//! A pooler in transaction mode (`pgbouncer=true`): every transaction may run on another server connection, which other
//! clients, of other schemas, use before and after it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/pgbouncer.rs"]
mod pgbouncer;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/storage.rs"]
mod support;

use std::sync::Arc;

use happier_server::config::postgres::Postgres as Url;
use happier_server::storage::postgres::Settings;
use happier_server::storage::{Db, Error, Statement, Value, migrate};
use pgbouncer::PgBouncer;
use postgres::Postgres;
use support::{block_on, connect, fresh_name, shared_server};

const NOW: i64 = 1_767_225_600_020;
/// `public` is what a URL without the parameter means.
const SCHEMAS: [&str; 3] = ["public", "a", "other \"name\""];
const USER: &str = "postgres";

static INSERT_ACCOUNT: Statement =
    Statement::portable(r#"INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES ($1, $2, $3)"#);
static BUMP: Statement =
    Statement::portable(r#"UPDATE "Account" SET "seq" = "seq" + 1 WHERE "id" = $1 RETURNING "seq""#);
static BEFRIEND: Statement = Statement::portable(
    r#"INSERT INTO "UserRelationship" ("fromUserId", "toUserId", "status", "updatedAt") VALUES ($1, $1, $2, $3)"#,
);
static STATUS: Statement =
    Statement::portable(r#"SELECT "status" FROM "UserRelationship" WHERE "fromUserId" = $1 AND "status" = $2"#);
static ACCOUNTS: Statement = Statement::portable(r#"SELECT "id" FROM "Account""#);
static LOCAL_TIME: Statement = Statement::portable("SELECT (to_timestamp(0)::timestamp)::text");

/// A database with several schemas, and the pooler in front of it.
struct Pooled {
    server: Arc<Postgres>,
    pooler: PgBouncer,
    database: String,
}

impl Pooled {
    fn start(connections: usize) -> Self {
        let server = shared_server();
        let database = fresh_name();
        server.create_database(&database);
        // A schema called as the user comes first where nothing else is said.
        server.psql(&database, &format!("CREATE SCHEMA {USER}"));
        server.psql("postgres", &format!("ALTER DATABASE \"{database}\" SET timezone TO 'Asia/Tokyo'"));
        let pooler = PgBouncer::start(&server, connections, &[USER]);
        Self { server, pooler, database }
    }

    fn settings(&self, schema: &str) -> Settings {
        let schema = schema.replace('"', "%22").replace(' ', "%20");
        let parameters = match schema.as_str() {
            "public" => "pgbouncer=true&connection_limit=4".to_owned(),
            schema => format!("pgbouncer=true&connection_limit=4&schema={schema}"),
        };
        let url = Url::parse(&self.pooler.url(USER, &self.database, &parameters)).unwrap();
        Settings::from(&url)
    }

    fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.database, sql)
    }

    /// All schemas at once, as so many deployments on one database.
    fn migrate(&self) {
        std::thread::scope(|scope| {
            let all = SCHEMAS.map(|schema| scope.spawn(|| migrate::postgres(self.settings(schema))));
            for one in all {
                assert_eq!(one.join().unwrap(), Ok(()));
            }
        });
    }

    /// What the tables of each schema hold, and that there are no others.
    fn assert_separate(&self) {
        let owners = "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
        assert_eq!(self.psql(owners), "a\nother \"name\"\npublic");
        for schema in SCHEMAS {
            let name = schema.replace('"', "\"\"");
            let count = format!(
                r#"SELECT (SELECT string_agg("id", ',') FROM "{name}"."Account"),
                (SELECT count(*) FROM "{name}".happier_migrations), (SELECT count(*) FROM "{name}"."_prisma_migrations"),
                (SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}')"#
            );
            let found = self.psql(&count);
            let tables = self.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
            assert_eq!(found, format!("{schema}|2|44|{tables}"));
        }
    }
}

/// Everything a rule does with its database, as the account that is called like the schema.
async fn work(db: &Db, schema: &'static str) {
    let time = || Value::Time(NOW);
    assert_eq!(db.execute(&INSERT_ACCOUNT, vec![schema.into(), schema.into(), time()]).await, Ok(1));
    // The same key of another schema is no conflict; this one is, and it ends its transaction.
    let again = db.execute(&INSERT_ACCOUNT, vec!["b".into(), schema.into(), time()]).await;
    assert_eq!(again, Err(Error::UniqueViolation { constraint: "Account_publicKey_key".into() }));
    for n in 1..=20 {
        let alone = db.query_opt(&BUMP, vec![schema.into()]).await.unwrap().unwrap();
        assert_eq!(alone.int(0), n * 2 - 1);
        let together = async move |tx: &mut happier_server::storage::Tx<'_>| {
            assert_eq!(tx.query(&ACCOUNTS, vec![]).await?.len(), 1);
            Ok::<_, Error>(tx.query_opt(&BUMP, vec![schema.into()]).await?.unwrap().int(0))
        };
        assert_eq!(db.transaction(together).await, Ok(n * 2));
    }
    // An enum of the schema, and a time that the server makes.
    assert_eq!(db.execute(&BEFRIEND, vec![schema.into(), "friend".into(), time()]).await, Ok(1));
    let row = db.query_opt(&STATUS, vec![schema.into(), "friend".into()]).await.unwrap().unwrap();
    assert_eq!(row.text(0), "friend");
    assert_eq!(db.query(&LOCAL_TIME, vec![]).await.unwrap()[0].text(0), "1970-01-01 00:00:00");
}

/// Runs [`work`] for all schemas at the same time, several statements of each under way.
fn work_side_by_side(pooled: &Pooled) {
    block_on(async {
        let tasks = SCHEMAS.map(|schema| {
            let db = connect(&pooled.settings(schema));
            monoio::spawn(async move {
                let others = (0..20).map(|_| {
                    let db = db.clone();
                    monoio::spawn(async move { db.query(&ACCOUNTS, vec![]).await.unwrap() })
                });
                let others: Vec<_> = others.collect();
                work(&db, schema).await;
                for other in others {
                    assert!(other.await.iter().all(|row| row.text(0) == schema));
                }
            })
        });
        for task in tasks {
            task.await;
        }
    });
}

#[test]
fn schemas_that_share_server_connections_do_not_meet() {
    for connections in [1, 3] {
        let pooled = Pooled::start(connections);
        pooled.migrate();
        pooled.migrate();
        work_side_by_side(&pooled);
        pooled.assert_separate();
    }
}

#[test]
fn nothing_is_left_for_the_next_client() {
    let pooled = Pooled::start(1);
    pooled.migrate();
    work_side_by_side(&pooled);
    // Through the pooler, as the next client of the one connection it has.
    let left = "SELECT current_setting('search_path'), current_setting('timezone'),
        (SELECT count(*) FROM pg_prepared_statements),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())";
    let found = pooled.server.psql_at(&pooled.pooler.url(USER, &pooled.database, ""), left);
    assert_eq!(found, "\"$user\", public|Asia/Tokyo|0|0");
}

#[test]
fn a_partial_history_of_the_reference_is_completed_where_it_is() {
    let pooled = Pooled::start(2);
    pooled.migrate();
    // Of one schema the tables of the last two steps and their records are taken away again.
    let forget = r#"SET search_path TO a; DROP TABLE happier_migrations; DROP TABLE "AccountChange";
        DROP FUNCTION happier_store_messages; ALTER TABLE "Account" DROP COLUMN "changesFloor";
        DELETE FROM "_prisma_migrations" WHERE migration_name >= '20260130094429'"#;
    pooled.psql(forget);
    pooled.migrate();
    work_side_by_side(&pooled);
    pooled.assert_separate();
}
