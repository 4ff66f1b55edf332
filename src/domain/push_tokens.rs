//! Push tokens: the addresses under which an account's devices want to be notified.
//!
//! Owns: storing, listing and forgetting them. Never: sending; the server only keeps them.
//! Implements `spec/http.md` §14.18.

use super::Context;
use crate::model::ids::{AccountId, cuid};
use crate::model::time::now_ms;
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushToken {
    pub id: String,
    pub token: String,
    pub created_at: i64,
    pub updated_at: i64,
}

/// Remembers a token, or touches it if the account already has it.
pub async fn register(ctx: &Context, account: &AccountId, token: String) -> Result<(), Error> {
    let params = vec![cuid().into(), account.as_str().into(), token.into(), Value::Time(now_ms())];
    ctx.db.execute(&REGISTER, params).await.map(drop)
}

/// The account's tokens, newest first.
pub async fn list(ctx: &Context, account: &AccountId) -> Result<Vec<PushToken>, Error> {
    let rows = ctx.db.query(&LIST, vec![account.as_str().into()]).await?;
    let token = |mut row: Row| PushToken {
        id: row.take_text(0),
        token: row.take_text(1),
        created_at: row.time(2),
        updated_at: row.time(3),
    };
    Ok(rows.into_iter().map(token).collect())
}

/// Forgets a token if it is there.
pub async fn forget(ctx: &Context, account: &AccountId, token: &str) -> Result<(), Error> {
    ctx.db.execute(&FORGET, vec![account.as_str().into(), token.into()]).await.map(drop)
}

static REGISTER: Statement = Statement::portable(
    r#"INSERT INTO "AccountPushToken" ("id", "accountId", "token", "createdAt", "updatedAt")
       VALUES ($1, $2, $3, $4, $4)
       ON CONFLICT ("accountId", "token") DO UPDATE SET "updatedAt" = excluded."updatedAt""#,
);

static LIST: Statement = Statement::portable(
    r#"SELECT "id", "token", "createdAt", "updatedAt" FROM "AccountPushToken"
       WHERE "accountId" = $1 ORDER BY "createdAt" DESC, "id" DESC"#,
);

static FORGET: Statement =
    Statement::portable(r#"DELETE FROM "AccountPushToken" WHERE "accountId" = $1 AND "token" = $2"#);
