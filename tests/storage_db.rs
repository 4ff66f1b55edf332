//! The database handle on both databases: values, errors, transactions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/storage.rs"]
mod support;

use happier_server::storage::postgres::Host;
use happier_server::storage::{Db, Error, Kind, Statement, Tx, Value};
use proxy::Proxy;
use support::on_both;

const NOW: i64 = 1_767_225_600_020;

static INSERT_ACCOUNT: Statement = Statement::portable(
    r#"INSERT INTO "Account" ("id", "publicKey", "createdAt", "updatedAt", "seq", "avatar", "contentPublicKey", "feedSeq")
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"#,
);
static SELECT_ACCOUNT: Statement = Statement::portable(
    r#"SELECT "id", "publicKey", "createdAt", "updatedAt", "seq", "avatar", "contentPublicKey", "feedSeq", "settings"
    FROM "Account" WHERE "id" = $1"#,
);
static COUNT_ACCOUNTS: Statement = Statement::portable(r#"SELECT count(*) FROM "Account""#);
static BUMP: Statement =
    Statement::portable(r#"UPDATE "Account" SET "seq" = "seq" + 1 WHERE "id" = $1 RETURNING "seq""#);
static LOCK: Statement = Statement::portable(r#"SELECT "seq" FROM "Account" WHERE "id" = $1 FOR UPDATE"#);
static SET_SEQ: Statement = Statement::portable(r#"UPDATE "Account" SET "seq" = $1 WHERE "id" = $2"#);

fn account(id: &str) -> Vec<Value> {
    vec![
        id.into(),
        format!("KEY{id}").into(),
        Value::Time(NOW),
        Value::Time(NOW),
        7.into(),
        Value::Json(r#"{"path":"a"}"#.into()),
        vec![0u8, 255, 1].into(),
        (1i64 << 40).into(),
    ]
}

#[test]
fn values_come_back_as_they_went() {
    on_both(async |db| {
        assert_eq!(db.execute(&INSERT_ACCOUNT, account("a1")).await, Ok(1));
        let row = db.query_opt(&SELECT_ACCOUNT, vec!["a1".into()]).await.unwrap().unwrap();
        assert_eq!(row.text(0), "a1");
        assert_eq!(row.text(1), "KEYa1");
        assert_eq!((row.time(2), row.time(3)), (NOW, NOW));
        assert_eq!(row.int(4), 7);
        assert_eq!(row.json(5).replace(' ', ""), r#"{"path":"a"}"#);
        assert_eq!(row.bytes(6), [0, 255, 1]);
        assert_eq!(row.int(7), 1 << 40);
        assert_eq!(row.opt_text(8), None);
        assert_eq!(db.query_opt(&SELECT_ACCOUNT, vec!["none".into()]).await, Ok(None));
    });
}

/// Clients choose times, of a link's end for example, as far away as their numbers go.
#[test]
fn times_of_all_ages_come_back() {
    on_both(async |db| {
        for time in [0, 253_402_300_799_999, 253_402_300_800_000, 8_640_000_000_000_000, -62_135_596_800_001, -1 << 47]
        {
            let id = format!("at {time}");
            let mut params = account(&id);
            params[2] = Value::Time(time);
            assert_eq!(db.execute(&INSERT_ACCOUNT, params).await, Ok(1), "{time}");
            let row = db.query_opt(&SELECT_ACCOUNT, vec![id.as_str().into()]).await.unwrap().unwrap();
            assert_eq!(row.time(2), time);
        }
        for beyond in [i64::MIN, -1 << 53, 9_224_318_016_000_000, i64::MAX] {
            let mut params = account("beyond");
            params[2] = Value::Time(beyond);
            let result = db.execute(&INSERT_ACCOUNT, params).await;
            assert!(db.kind() == Kind::Sqlite || matches!(result, Err(Error::Invalid(_))), "{beyond}: {result:?}");
            db.execute(&DELETE_ACCOUNT, vec!["beyond".into()]).await.unwrap();
        }
    });
}

static INSERT_MINIMAL: Statement =
    Statement::portable(r#"INSERT INTO "Account" ("id", "publicKey", "updatedAt") VALUES ($1, $2, $3)"#);
static INSERT_KV: Statement =
    Statement::portable(r#"INSERT INTO "UserKVStore" ("id", "accountId", "key", "updatedAt") VALUES ($1, $2, $3, $4)"#);
static INSERT_SHARE_LEVEL: Statement = Statement::portable(
    r#"INSERT INTO "UserRelationship" ("fromUserId", "toUserId", "status", "updatedAt") VALUES ($1, $2, $3, $4)"#,
);
static SELECT_STATUS: Statement =
    Statement::portable(r#"SELECT "status" FROM "UserRelationship" WHERE "fromUserId" = $1 AND "status" = $2"#);
static DELETE_ACCOUNT: Statement = Statement::portable(r#"DELETE FROM "Account" WHERE "id" = $1"#);
static ANY: Statement = Statement::two(
    r#"SELECT "id" FROM "Account" WHERE "id" = ANY($1) ORDER BY "id""#,
    r#"SELECT "id" FROM "Account" WHERE "id" IN (SELECT value FROM json_each($1)) ORDER BY "id""#,
);
static BOTH_ORDERS: Statement =
    Statement::portable(r#"SELECT "id" FROM "Account" WHERE "publicKey" = $2 AND "id" = $1"#);

fn minimal(id: &str) -> Vec<Value> {
    vec![id.into(), format!("KEY{id}").into(), Value::Time(NOW)]
}

/// Violates the primary key alone once `a1` is there. Which of several constraints is named is up to the database.
fn taken_id() -> Vec<Value> {
    vec!["a1".into(), "another key".into(), Value::Time(NOW)]
}

#[test]
fn what_a_column_cannot_hold_is_invalid_on_both() {
    on_both(async |db| {
        db.execute(&INSERT_MINIMAL, minimal("a1")).await.unwrap();
        let mut nul = minimal("a2");
        nul[1] = "KEY\0".into();
        let mut json = account("a3");
        json[5] = Value::Json(r#"{"path":"\u0000"}"#.into());
        let mut broken = account("a3");
        broken[5] = Value::Json("{".into());
        let mut large = account("a4");
        large[4] = (1i64 << 31).into();
        let mut small = account("a4");
        small[4] = (-(1i64 << 31) - 1).into();
        let mut mistyped = account("a5");
        mistyped[4] = "seven".into();
        let mut missing = minimal("a6");
        missing[1] = Value::Null;
        for (statement, params) in [
            (&INSERT_MINIMAL, nul),
            (&INSERT_ACCOUNT, json),
            (&INSERT_ACCOUNT, broken),
            (&INSERT_ACCOUNT, large),
            (&INSERT_ACCOUNT, small),
            (&INSERT_ACCOUNT, mistyped),
            (&INSERT_MINIMAL, missing),
            (&INSERT_SHARE_LEVEL, vec!["a1".into(), "a1".into(), "lover".into(), Value::Time(NOW)]),
        ] {
            let shown = format!("{params:?}");
            let result = db.execute(statement, params).await;
            assert!(matches!(result, Err(Error::Invalid(_))), "{:?} {shown}: {result:?}", db.kind());
        }
        assert_eq!(db.query(&COUNT_ACCOUNTS, vec![]).await.unwrap()[0].int(0), 1);
    });
}

#[test]
fn constraints_are_named_alike() {
    on_both(async |db| {
        db.execute(&INSERT_MINIMAL, minimal("a1")).await.unwrap();
        let unique = |name: &str| Err(Error::UniqueViolation { constraint: name.into() });
        let mut same_key = minimal("a2");
        same_key[1] = "KEYa1".into();
        assert_eq!(db.execute(&INSERT_MINIMAL, same_key).await, unique("Account_publicKey_key"));
        assert_eq!(db.execute(&INSERT_MINIMAL, taken_id()).await, unique("Account_pkey"));
        let kv = |id: &str, account: &str| vec![id.into(), account.into(), "k".into(), Value::Time(NOW)];
        assert_eq!(db.execute(&INSERT_KV, kv("k1", "a1")).await, Ok(1));
        assert_eq!(db.execute(&INSERT_KV, kv("k2", "a1")).await, unique("UserKVStore_accountId_key_key"));
        assert_eq!(db.execute(&INSERT_KV, kv("k3", "nobody")).await, Err(Error::ForeignKey));
    });
}

static INSERT_PUSH_TOKEN: Statement = Statement::portable(
    r#"INSERT INTO "AccountPushToken" ("id", "accountId", "token", "updatedAt") VALUES ($1, $2, $3, $4)"#,
);

#[test]
fn restricting_references_hold() {
    on_both(async |db| {
        db.execute(&INSERT_MINIMAL, minimal("a1")).await.unwrap();
        db.execute(&INSERT_PUSH_TOKEN, vec!["p".into(), "a1".into(), "t".into(), Value::Time(NOW)]).await.unwrap();
        assert_eq!(db.execute(&DELETE_ACCOUNT, vec!["a1".into()]).await, Err(Error::ForeignKey));
    });
}

#[test]
fn enums_lists_and_the_order_of_parameters() {
    on_both(async |db| {
        for id in ["a1", "a2", "a3"] {
            db.execute(&INSERT_MINIMAL, minimal(id)).await.unwrap();
        }
        let share = vec!["a1".into(), "a2".into(), "friend".into(), Value::Time(NOW)];
        assert_eq!(db.execute(&INSERT_SHARE_LEVEL, share).await, Ok(1));
        let row = db.query_opt(&SELECT_STATUS, vec!["a1".into(), "friend".into()]).await.unwrap().unwrap();
        assert_eq!(row.text(0), "friend");

        let wanted = Value::Texts(vec!["a3".into(), "a1".into(), "with \"quotes\" and \\".into()]);
        let rows = db.query(&ANY, vec![wanted]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.text(0)).collect::<Vec<_>>(), ["a1", "a3"]);
        assert_eq!(db.query(&ANY, vec![Value::Texts(vec![])]).await.unwrap().len(), 0);

        assert!(db.query_opt(&BOTH_ORDERS, vec!["a2".into(), "KEYa2".into()]).await.unwrap().is_some());
        assert!(matches!(db.query_opt(&COUNT_ACCOUNTS, vec![]).await, Ok(Some(_))));
        assert!(matches!(
            db.query_opt(&ANY, vec![Value::Texts(vec!["a1".into(), "a2".into()])]).await,
            Err(Error::Internal(_))
        ));
    });
}

#[test]
fn errors_do_not_contain_values() {
    static NO_ACCOUNT: Statement = Statement::portable(
        r#"INSERT INTO "Session" ("id", "tag", "accountId", "metadata", "createdAt", "updatedAt", "lastActiveAt")
        VALUES ('s', 'a-secret-tag', NULL, 'a-secret', $1, $1, $1)"#,
    );
    on_both(async |db| {
        let error = db.execute(&NO_ACCOUNT, vec![Value::Time(NOW)]).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("accountId") && !text.contains("secret"), "{text}");
    });
}

#[test]
fn a_transaction_commits_as_a_whole_or_not_at_all() {
    on_both(async |db| {
        let id = String::from("a1");
        let given = db
            .transaction(async move |tx: &mut Tx<'_>| {
                tx.execute(&INSERT_MINIMAL, minimal(&id)).await?;
                let row = tx.query_opt(&BUMP, vec![id.clone().into()]).await?.unwrap();
                Ok::<_, Error>(row.int(0))
            })
            .await;
        assert_eq!(given, Ok(1));

        // A refusal of the closure.
        #[derive(Debug, PartialEq)]
        enum Refusal {
            No,
            Storage(Error),
        }
        impl From<Error> for Refusal {
            fn from(error: Error) -> Self {
                Self::Storage(error)
            }
        }
        let refused: Result<(), Refusal> = db
            .transaction(async |tx: &mut Tx<'_>| {
                tx.execute(&INSERT_MINIMAL, minimal("a2")).await?;
                Err(Refusal::No)
            })
            .await;
        assert_eq!(refused, Err(Refusal::No));

        // An error of a statement, passed on.
        let failed: Result<(), Refusal> = db
            .transaction(async |tx: &mut Tx<'_>| {
                tx.execute(&INSERT_MINIMAL, minimal("a2")).await?;
                tx.execute(&INSERT_MINIMAL, taken_id()).await?;
                Ok(())
            })
            .await;
        let taken = Error::UniqueViolation { constraint: "Account_pkey".into() };
        assert_eq!(failed, Err(Refusal::Storage(taken.clone())));

        // An error of a statement, swallowed: the transaction fails all the same, and so does what comes after.
        let swallowed = db
            .transaction(async |tx: &mut Tx<'_>| {
                tx.execute(&INSERT_MINIMAL, minimal("a2")).await?;
                assert!(tx.execute(&INSERT_MINIMAL, taken_id()).await.is_err());
                assert!(tx.execute(&INSERT_MINIMAL, minimal("a3")).await.is_err());
                Ok::<_, Error>(())
            })
            .await;
        assert_eq!(swallowed, Err(taken));
        assert_eq!(db.query(&COUNT_ACCOUNTS, vec![]).await.unwrap()[0].int(0), 1);

        // And one that only reads.
        let seq = db
            .transaction(async |tx: &mut Tx<'_>| {
                Ok::<_, Error>(tx.query_opt(&LOCK, vec!["a1".into()]).await?.unwrap().int(0))
            })
            .await;
        assert_eq!(seq, Ok(1));
    });
}

#[test]
fn concurrent_transactions_lose_nothing() {
    on_both(async |db| {
        db.execute(&INSERT_MINIMAL, minimal("a1")).await.unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let db = db.clone();
                monoio::spawn(async move {
                    for _ in 0..10 {
                        db.transaction(async |tx: &mut Tx<'_>| {
                            let seq = tx.query_opt(&LOCK, vec!["a1".into()]).await?.unwrap().int(0);
                            tx.execute(&SET_SEQ, vec![(seq + 1).into(), "a1".into()]).await
                        })
                        .await
                        .unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(db.query_opt(&LOCK, vec!["a1".into()]).await.unwrap().unwrap().int(0), 200);
    });
}

/// Two transactions that lock two rows in opposite orders: PostgreSQL ends one of them, which runs again and succeeds.
#[test]
fn a_deadlock_is_run_again() {
    let body = async |db: Db| {
        for id in ["a1", "a2"] {
            db.execute(&INSERT_MINIMAL, minimal(id)).await.unwrap();
        }
        let attempts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let both = |first: &'static str, second: &'static str| {
            let (db, attempts) = (db.clone(), attempts.clone());
            monoio::spawn(async move {
                db.transaction(async move |tx: &mut Tx<'_>| {
                    attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tx.execute(&BUMP, vec![first.into()]).await?;
                    if tx.kind() == Kind::Postgres {
                        // Until the other one has its first row as well, if it is there.
                        tx.query(&PAUSE, vec![]).await?;
                    }
                    tx.execute(&BUMP, vec![second.into()]).await
                })
                .await
            })
        };
        let (one, other) = (both("a1", "a2"), both("a2", "a1"));
        assert_eq!((one.await, other.await), (Ok(1), Ok(1)));
        let attempts = attempts.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(attempts, if db.kind() == Kind::Postgres { 3 } else { 2 });
        for id in ["a1", "a2"] {
            assert_eq!(db.query_opt(&LOCK, vec![id.into()]).await.unwrap().unwrap().int(0), 2);
        }
    };
    support::on_sqlite(body);
    support::on_postgres(body);
}

static PAUSE: Statement = Statement::portable("SELECT pg_sleep(3)");

/// A caller that goes away in the middle leaves nothing behind: neither its writes nor its connection.
#[test]
fn an_abandoned_transaction_is_rolled_back() {
    support::on_postgres(async |db| {
        db.execute(&INSERT_MINIMAL, minimal("a1")).await.unwrap();
        for _ in 0..10 {
            let abandoned = db.transaction(async |tx: &mut Tx<'_>| {
                tx.execute(&BUMP, vec!["a1".into()]).await?;
                tx.query(&PAUSE, vec![]).await
            });
            let waited = monoio::time::timeout(std::time::Duration::from_millis(50), abandoned).await;
            assert!(waited.is_err());
        }
        let seq = db
            .transaction(async |tx: &mut Tx<'_>| {
                Ok::<_, Error>(tx.query_opt(&LOCK, vec!["a1".into()]).await?.unwrap().int(0))
            })
            .await;
        assert_eq!(seq, Ok(0));
    });
}

/// A transaction's closure that waits for something else is a mistake that must not stop the writer.
#[test]
fn a_closure_that_waits_is_refused_on_sqlite() {
    support::on_sqlite(async |db: Db| {
        let waited: Result<(), Error> = db
            .transaction(async |tx: &mut Tx<'_>| {
                tx.execute(&INSERT_MINIMAL, minimal("a1")).await?;
                std::future::pending().await
            })
            .await;
        assert!(matches!(waited, Err(Error::Internal(_))), "{waited:?}");
        assert_eq!(db.query(&COUNT_ACCOUNTS, vec![]).await.unwrap()[0].int(0), 0);
    });
}

static BUMP_ONCE: Statement = Statement::portable(r#"UPDATE "Account" SET "seq" = "seq" + 1 WHERE "id" = $1"#);
static TOUCH: Statement = Statement::portable(r#"UPDATE "Account" SET "seq" = 5 WHERE "id" = $1"#).repeatable();

/// What happens when the connection is lost after the server has done its part, but before its answer arrives.
#[test]
fn a_lost_answer_is_asked_for_again_only_where_that_is_safe() {
    let server = support::shared_server();
    let proxy = Proxy::start(server.port());
    support::on_postgres_with(
        |_, settings| {
            settings.host = Host::Tcp("127.0.0.1".into());
            settings.port = proxy.port();
            settings.connection_limit = 1;
        },
        async |db| {
            let seq = async || db.query_opt(&LOCK, vec!["a1".into()]).await.unwrap().unwrap().int(0);
            db.execute(&INSERT_MINIMAL, minimal("a1")).await.unwrap();
            assert_eq!(db.execute(&BUMP_ONCE, vec!["a1".into()]).await, Ok(1));
            assert_eq!(seq().await, 1);

            // A read is sent again.
            proxy.cut_answer(1);
            assert_eq!(seq().await, 1);
            assert!(proxy.has_cut());
            // A write is not; it took place.
            assert_eq!(db.execute(&BUMP_ONCE, vec!["a1".into()]).await, Ok(1));
            proxy.cut_answer(1);
            let unknown = db.execute(&BUMP_ONCE, vec!["a1".into()]).await;
            assert!(matches!(unknown, Err(Error::Unavailable(_))), "{unknown:?}");
            assert_eq!(seq().await, 3);
            // Unless it is declared to be the same twice.
            assert_eq!(db.execute(&TOUCH, vec!["a1".into()]).await, Ok(1));
            proxy.cut_answer(1);
            assert_eq!(db.execute(&TOUCH, vec!["a1".into()]).await, Ok(1));
            assert!(proxy.has_cut());

            let bump = async || {
                db.transaction(async |tx: &mut Tx<'_>| {
                    tx.execute(&BUMP_ONCE, vec!["a1".into()]).await?;
                    tx.execute(&BUMP_ONCE, vec!["a1".into()]).await
                })
                .await
            };
            assert_eq!(bump().await, Ok(1));
            assert_eq!(seq().await, 7);
            // A transaction that loses its connection before the commit runs again: the answers are to BEGIN with the
            // first statement, to the second, and to COMMIT.
            proxy.cut_answer(2);
            assert_eq!(bump().await, Ok(1));
            assert!(proxy.has_cut());
            assert_eq!(seq().await, 9);
            // One that loses it while it commits does not.
            assert_eq!(bump().await, Ok(1));
            let mut cut = false;
            for answers in [3, 4].into_iter().cycle().take(100) {
                // BEGIN and the first statement may be answered in one piece or in two, and another time otherwise.
                proxy.cut_answer(answers);
                let result = bump().await;
                if matches!(result, Err(Error::Unavailable(_))) {
                    cut = true;
                    break;
                }
                proxy.cut_answer(0);
            }
            assert!(cut);
            let seq = seq().await;
            assert!(seq % 2 == 1, "whole transactions only: {seq}");
        },
    );
}

static ENDLESS: Statement = Statement::portable(r#"SELECT count(*) FROM "Account" WHERE pg_sleep(3600) IS NULL"#);
static LIMIT: Statement = Statement::portable("SELECT current_setting('statement_timeout')");

/// A statement that takes too long ends on the server as well, where it would go on working for nobody.
#[test]
fn the_server_gives_up_what_nobody_waits_for() {
    let database = std::cell::OnceCell::new();
    support::on_postgres_with(
        |_, settings| {
            settings.socket_timeout = Some(std::time::Duration::from_secs(5));
            database.set(settings.database.clone()).unwrap();
        },
        async |db| {
            db.execute(&INSERT_MINIMAL, minimal("a1")).await.unwrap();
            let given_up = db.query(&ENDLESS, vec![]).await;
            assert!(matches!(given_up, Err(Error::Timeout(_))), "{given_up:?}");
            let server = support::shared_server();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%Account%pg_sleep(36%' \
                           AND pid <> pg_backend_pid() AND datname = current_database()";
            while server.psql(database.get().unwrap(), running) != "0" {
                assert!(std::time::Instant::now() < deadline, "it goes on");
            }
        },
    );
    // A limit of the operator's own stays.
    support::on_postgres_with(
        |_, settings| settings.options = Some("-c statement_timeout=7s".into()),
        async |db| assert_eq!(db.query(&LIMIT, vec![]).await.unwrap()[0].text(0), "7s"),
    );
}
