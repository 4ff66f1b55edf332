//! Tokens of other services that clients leave here.
//!
//! Owns: sealing and opening them. Never: using them.
//! Invariant: a token is stored sealed under a key of its account and vendor (`spec/data.md` §9).
//! Implements `spec/http.md` §15.6.

use super::Context;
use crate::crypto::seal;
use crate::model::ids::{AccountId, cuid};
use crate::model::time::now_ms;
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement};

/// Vendors whose tokens are kept.
pub const VENDORS: [&str; 3] = ["openai", "anthropic", "gemini"];

/// Stores the token of a vendor, in place of an earlier one.
pub async fn register_token(ctx: &Context, account: &AccountId, vendor: &str, token: &str) -> Result<(), Error> {
    let sealed = token_key(ctx, account, vendor)?.seal(token.as_bytes());
    let params = vec![cuid().into(), account.as_str().into(), vendor.into(), sealed.into(), Value::Time(now_ms())];
    ctx.db.execute(&STORE_TOKEN, params).await.map(drop)
}

/// The token of a vendor.
pub async fn token(ctx: &Context, account: &AccountId, vendor: &str) -> Result<Option<String>, Error> {
    let row = ctx.db.query_opt(&READ_TOKEN, vec![account.as_str().into(), vendor.into()]).await?;
    row.map(|row| open_token(ctx, account, vendor, row.bytes(0))).transpose()
}

/// All tokens of an account with their vendors.
pub async fn tokens(ctx: &Context, account: &AccountId) -> Result<Vec<(String, String)>, Error> {
    let rows = ctx.db.query(&READ_TOKENS, vec![account.as_str().into()]).await?;
    let pair = |mut row: Row| {
        let vendor = row.take_text(0);
        let token = open_token(ctx, account, &vendor, row.bytes(1))?;
        Ok((vendor, token))
    };
    rows.into_iter().map(pair).collect()
}

/// Forgets the token of a vendor; false if there was none.
pub async fn forget_token(ctx: &Context, account: &AccountId, vendor: &str) -> Result<bool, Error> {
    Ok(ctx.db.execute(&FORGET_TOKEN, vec![account.as_str().into(), vendor.into()]).await? > 0)
}

fn token_key(ctx: &Context, account: &AccountId, vendor: &str) -> Result<seal::ColumnKey, Error> {
    let path = ["user", account.as_str(), "vendors", vendor, "token"];
    ctx.settings.column_keys.at(&path).map_err(|error| Error::Internal(error.to_string()))
}

fn open_token(ctx: &Context, account: &AccountId, vendor: &str, sealed: &[u8]) -> Result<String, Error> {
    token_key(ctx, account, vendor)?.open_text(sealed).map_err(|error| Error::Internal(error.to_string()))
}

static STORE_TOKEN: Statement = Statement::portable(
    r#"INSERT INTO "ServiceAccountToken" ("id", "accountId", "vendor", "token", "createdAt", "updatedAt")
       VALUES ($1, $2, $3, $4, $5, $5)
       ON CONFLICT ("accountId", "vendor") DO UPDATE SET
         "token" = excluded."token", "updatedAt" = excluded."updatedAt""#,
);

static READ_TOKEN: Statement =
    Statement::portable(r#"SELECT "token" FROM "ServiceAccountToken" WHERE "accountId" = $1 AND "vendor" = $2"#);

static READ_TOKENS: Statement = Statement::portable(
    r#"SELECT "vendor", "token" FROM "ServiceAccountToken" WHERE "accountId" = $1 ORDER BY "vendor""#,
);

static FORGET_TOKEN: Statement =
    Statement::portable(r#"DELETE FROM "ServiceAccountToken" WHERE "accountId" = $1 AND "vendor" = $2"#);
