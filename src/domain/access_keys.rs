//! Access keys: one opaque, versioned text for a session on a machine of the same account.
//!
//! Owns: the rules for reading, creating and replacing such a text, and its statements.
//! Never: cursors or events; nobody is told about access keys.
//! Invariant: both the session and the machine belong to the account. Implements `spec/http.md` §14.15 and
//! `spec/realtime.md` §8.9.

use super::Context;
use crate::model::ids::{AccountId, MachineId, SessionId, cuid};
use crate::model::time::now_ms;
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    pub data: String,
    pub data_version: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

/// Which key is meant.
#[derive(Clone, Debug)]
pub struct Place {
    pub session: SessionId,
    pub machine: MachineId,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Found(AccessKey),
    /// Session and machine are the caller's, but no key is stored.
    Absent,
    /// The session or the machine is unknown or somebody else's.
    NotOwned,
}

pub async fn read(ctx: &Context, account: &AccountId, place: &Place) -> Result<Read, Error> {
    let params = vec![account.as_str().into(), place.session.as_str().into(), place.machine.as_str().into()];
    let Some(row) = ctx.db.query_opt(&READ_OWNED, params).await? else { return Ok(Read::NotOwned) };
    Ok(if row.opt_text(0).is_some() { Read::Found(access_key(&row)) } else { Read::Absent })
}

#[derive(Debug, PartialEq, Eq)]
pub enum Created {
    Created(AccessKey),
    Exists,
    NotOwned,
}

pub async fn create(ctx: &Context, account: &AccountId, place: &Place, data: String) -> Result<Created, Error> {
    match read(ctx, account, place).await? {
        Read::NotOwned => return Ok(Created::NotOwned),
        Read::Found(_) => return Ok(Created::Exists),
        Read::Absent => {}
    }
    let params = vec![
        cuid().into(),
        account.as_str().into(),
        place.machine.as_str().into(),
        place.session.as_str().into(),
        data.into(),
        Value::Time(now_ms()),
    ];
    let rows = ctx.db.query(&INSERT, params).await?;
    Ok(rows.first().map_or(Created::Exists, |row| Created::Created(access_key(row))))
}

#[derive(Debug, PartialEq, Eq)]
pub enum Replaced {
    Done { version: i64 },
    Mismatch { version: i64, data: String },
    NotFound,
}

/// Replaces the text if it still has the version that the writer has seen.
pub async fn replace(
    ctx: &Context,
    account: &AccountId,
    place: &Place,
    data: String,
    expected_version: i64,
) -> Result<Replaced, Error> {
    let key = || vec![Value::from(account.as_str()), place.machine.as_str().into(), place.session.as_str().into()];
    let Some(row) = ctx.db.query_opt(&READ_OWN, key()).await? else { return Ok(Replaced::NotFound) };
    let mismatch = |row: &Row| Replaced::Mismatch { version: row.int(1), data: row.text(0).to_owned() };
    if row.int(1) != expected_version {
        return Ok(mismatch(&row));
    }
    let version = expected_version + 1;
    let mut params = vec![data.into(), version.into(), Value::Time(now_ms())];
    params.extend(key());
    params.push(expected_version.into());
    if ctx.db.execute(&UPDATE, params).await? > 0 {
        return Ok(Replaced::Done { version });
    }
    // Lost a race against another writer, or against the deletion of the session.
    let row = ctx.db.query_opt(&READ_OWN, key()).await?;
    Ok(row.map_or(Replaced::NotFound, |row| mismatch(&row)))
}

fn access_key(row: &Row) -> AccessKey {
    AccessKey {
        data: row.text(0).to_owned(),
        data_version: row.int(1),
        created_at: row.time(2),
        updated_at: row.time(3),
    }
}

// One row if session and machine are the account's, with NULLs if no key is stored.
static READ_OWNED: Statement = Statement::portable(
    r#"SELECT k."data", k."dataVersion", k."createdAt", k."updatedAt"
       FROM "Session" s
       JOIN "Machine" m ON m."accountId" = s."accountId"
       LEFT JOIN "AccessKey" k
         ON k."accountId" = s."accountId" AND k."machineId" = m."id" AND k."sessionId" = s."id"
       WHERE s."accountId" = $1 AND s."id" = $2 AND m."id" = $3"#,
);

static READ_OWN: Statement = Statement::portable(
    r#"SELECT "data", "dataVersion" FROM "AccessKey"
       WHERE "accountId" = $1 AND "machineId" = $2 AND "sessionId" = $3"#,
);

static INSERT: Statement = Statement::portable(
    r#"INSERT INTO "AccessKey" ("id", "accountId", "machineId", "sessionId", "data", "dataVersion", "createdAt",
                                "updatedAt")
       VALUES ($1, $2, $3, $4, $5, 1, $6, $6)
       RETURNING "data", "dataVersion", "createdAt", "updatedAt""#,
);

static UPDATE: Statement = Statement::portable(
    r#"UPDATE "AccessKey" SET "data" = $1, "dataVersion" = $2, "updatedAt" = $3
       WHERE "accountId" = $4 AND "machineId" = $5 AND "sessionId" = $6 AND "dataVersion" = $7"#,
);
