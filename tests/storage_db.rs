//! The database handle on both databases: values, errors, transactions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/storage.rs"]
mod support;

use happier_server::storage::{Db, Error, Kind, Statement, Tx, Value};
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
