//! Presence of sessions and machines: who may report, what is written, who is told.
//!
//! Owns: the columns `active` and `lastActiveAt` as far as reports, ends and silence change them, and the ephemerals
//! `activity` and `machine-activity`. Never: when to write (`realtime::presence` keeps what waits, `worker` writes it).
//! Nothing here allocates a cursor. Rows are locked in the order of their ids, as everywhere.
//! Implements `spec/realtime.md` §7.4–7.5, §8.1, §10 and `spec/data.md` §7.6.

use serde::Serialize;

use super::Context;
use crate::model::ids::{AccountId, MachineId, SessionId};
use crate::model::time::now_ms;
use crate::realtime::event::Audience;
use crate::realtime::presence::{SILENCE_MS, Seen, Standing};
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement};

/// Rows that one statement writes.
const ROWS_MAX: usize = 5_000;

/// What the row of a session says, if the account has any access to it.
pub async fn session(ctx: &Context, account: &AccountId, session: &SessionId) -> Result<Option<Standing>, Error> {
    let row = ctx.db.query_opt(&SESSION, vec![account.as_str().into(), session.as_str().into()]).await?;
    Ok(row.map(|row| standing(&row)))
}

/// What the row of a machine says, if it is the account's.
pub async fn machine(ctx: &Context, account: &AccountId, machine: &MachineId) -> Result<Option<Standing>, Error> {
    let row = ctx.db.query_opt(&MACHINE, vec![account.as_str().into(), machine.as_str().into()]).await?;
    Ok(row.map(|row| standing(&row)))
}

fn standing(row: &Row) -> Standing {
    Standing { last_active_at: row.time(0), active: row.bool(1) }
}

/// Ends a session, if it is the account's, and tells its owner. `false`: it is not.
pub async fn end_session(ctx: &Context, account: &AccountId, session: &SessionId, at: i64) -> Result<bool, Error> {
    let params = vec![Value::Time(at), Value::Time(now_ms()), session.as_str().into(), account.as_str().into()];
    let ended = ctx.db.execute(&END_SESSION, params).await? > 0;
    if ended {
        announce_session(ctx, account, session, Activity { active: false, at, thinking: false });
    }
    Ok(ended)
}

/// Writes when sessions were last heard of. Of several reports for one session the latest counts, if its account may
/// report; in slices of [`ROWS_MAX`], so those of one session come in the order of their times.
pub async fn store_sessions(ctx: &Context, seen: &[Seen<SessionId>]) -> Result<(), Error> {
    store(ctx, &STORE_SESSIONS, seen.iter().map(|seen| (seen.id.as_str(), seen.account.as_str(), seen.at))).await
}

/// Writes when machines were last heard of.
pub async fn store_machines(ctx: &Context, seen: &[Seen<MachineId>]) -> Result<(), Error> {
    store(ctx, &STORE_MACHINES, seen.iter().map(|seen| (seen.id.as_str(), seen.account.as_str(), seen.at))).await
}

async fn store<'a>(
    ctx: &Context,
    statement: &'static Statement,
    rows: impl Iterator<Item = (&'a str, &'a str, i64)>,
) -> Result<(), Error> {
    let rows: Vec<_> = rows.collect();
    for rows in rows.chunks(ROWS_MAX) {
        let json = sonic_rs::to_string(rows).map_err(|error| Error::Internal(error.to_string()))?;
        ctx.db.execute(statement, vec![Value::Json(json), Value::Time(now_ms())]).await?;
    }
    Ok(())
}

/// Marks sessions that have been silent for too long as inactive, and tells their owners.
pub async fn expire_sessions(ctx: &Context, now: i64) -> Result<(), Error> {
    while {
        let rows = expire(ctx, &EXPIRE_SESSIONS, now).await?;
        for row in &rows {
            let (session, account) = (SessionId::from(row.text(0)), AccountId::from(row.text(1)));
            announce_session(ctx, &account, &session, Activity { active: false, at: row.time(2), thinking: false });
        }
        rows.len() == EXPIRED_MAX
    } {}
    Ok(())
}

/// The same for machines.
pub async fn expire_machines(ctx: &Context, now: i64) -> Result<(), Error> {
    while {
        let rows = expire(ctx, &EXPIRE_MACHINES, now).await?;
        for row in &rows {
            let (machine, account) = (MachineId::from(row.text(0)), AccountId::from(row.text(1)));
            announce_machine(ctx, &account, &machine, false, row.time(2));
        }
        rows.len() == EXPIRED_MAX
    } {}
    Ok(())
}

/// Rows that one statement expires; `LIMIT` in the statements below.
const EXPIRED_MAX: usize = 1_000;

async fn expire(ctx: &Context, statement: &'static Statement, now: i64) -> Result<Vec<Row>, Error> {
    ctx.db.query(statement, vec![Value::Time(now), Value::Time(now - SILENCE_MS)]).await
}

// ---- events -----------------------------------------------------------------------------------------------------

/// What is shown of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    pub active: bool,
    pub at: i64,
    pub thinking: bool,
}

/// Shows the activity of a session to user-scoped connections of one account: the one that reports it (R-6).
pub fn announce_session(ctx: &Context, account: &AccountId, session: &SessionId, activity: Activity) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        r#type: &'static str,
        id: &'a str,
        active: bool,
        active_at: i64,
        thinking: bool,
    }
    let Activity { active, at: active_at, thinking } = activity;
    let body = Body { r#type: "activity", id: session.as_str(), active, active_at, thinking };
    ctx.publish_ephemeral(account, Audience::UserScoped, &body);
}

/// Shows the activity of a machine.
pub fn announce_machine(ctx: &Context, account: &AccountId, machine: &MachineId, active: bool, at: i64) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        r#type: &'static str,
        id: &'a str,
        active: bool,
        active_at: i64,
    }
    let body = Body { r#type: "machine-activity", id: machine.as_str(), active, active_at: at };
    ctx.publish_ephemeral(account, Audience::UserScoped, &body);
}

// ---- statements -------------------------------------------------------------------------------------------------

static SESSION: Statement = Statement::portable(
    r#"SELECT s."lastActiveAt", s."active" FROM "Session" s
       WHERE s."id" = $2 AND (s."accountId" = $1 OR EXISTS
         (SELECT 1 FROM "SessionShare" h WHERE h."sessionId" = s."id" AND h."sharedWithUserId" = $1))"#,
);

static MACHINE: Statement =
    Statement::portable(r#"SELECT "lastActiveAt", "active" FROM "Machine" WHERE "accountId" = $1 AND "id" = $2"#);

static END_SESSION: Statement = Statement::portable(
    r#"UPDATE "Session" SET "lastActiveAt" = $1, "active" = FALSE, "updatedAt" = $2
       WHERE "id" = $3 AND "accountId" = $4"#,
)
.repeatable();

// All rows of a flush in one statement. A guest's report counts for the session as the owner's does, unless the share has
// been revoked since; one without an account comes from a replica that has judged it (`spec/realtime.md` §10.3). Of those
// that count the latest is written. A report may have waited on another core, replica or worker while its session was
// ended: one that is not newer than the end does not open the session again, whatever goes on after the end does.
static STORE_SESSIONS: Statement = Statement::two(
    r#"WITH seen AS (
         SELECT row->>0 AS "id", row->>1 AS "accountId",
                TIMESTAMP 'epoch' + (row->>2)::bigint * INTERVAL '1 millisecond' AS "at"
         FROM jsonb_array_elements($1::jsonb) AS row
       ), locked AS (
         SELECT s."id", s."accountId" FROM "Session" s
         WHERE s."id" IN (SELECT "id" FROM seen) ORDER BY s."id" FOR NO KEY UPDATE
       ), latest AS (
         SELECT locked."id", max(seen."at") AS "at" FROM locked JOIN seen ON seen."id" = locked."id"
         WHERE seen."accountId" IN ('', locked."accountId") OR EXISTS
           (SELECT 1 FROM "SessionShare" h WHERE h."sessionId" = seen."id" AND h."sharedWithUserId" = seen."accountId")
         GROUP BY locked."id"
       )
       UPDATE "Session" s SET "lastActiveAt" = latest."at", "active" = TRUE, "updatedAt" = $2
       FROM latest WHERE s."id" = latest."id" AND (s."active" OR s."lastActiveAt" < latest."at")"#,
    r#"UPDATE "Session" SET "lastActiveAt" = latest."at", "active" = TRUE, "updatedAt" = $2
       FROM (SELECT s."id", max(seen."at") AS "at"
             FROM (SELECT json_extract("value", '$[0]') AS "id", json_extract("value", '$[1]') AS "accountId",
                          json_extract("value", '$[2]') AS "at" FROM json_each($1)) seen
             JOIN "Session" s ON s."id" = seen."id"
             WHERE seen."accountId" IN ('', s."accountId") OR EXISTS
               (SELECT 1 FROM "SessionShare" h WHERE h."sessionId" = s."id" AND h."sharedWithUserId" = seen."accountId")
             GROUP BY s."id") latest
       WHERE "Session"."id" = latest."id" AND ("Session"."active" OR "Session"."lastActiveAt" < latest."at")"#,
)
.repeatable();

static STORE_MACHINES: Statement = Statement::two(
    r#"WITH seen AS (
         SELECT row->>0 AS "id", row->>1 AS "accountId",
                TIMESTAMP 'epoch' + (row->>2)::bigint * INTERVAL '1 millisecond' AS "at"
         FROM jsonb_array_elements($1::jsonb) AS row
       ), locked AS (
         SELECT m."id" FROM "Machine" m WHERE m."id" IN (SELECT "id" FROM seen) ORDER BY m."id" FOR NO KEY UPDATE
       )
       UPDATE "Machine" m SET "lastActiveAt" = seen."at", "active" = TRUE, "updatedAt" = $2
       FROM seen JOIN locked ON locked."id" = seen."id"
       WHERE m."id" = seen."id" AND m."accountId" = seen."accountId""#,
    r#"UPDATE "Machine" SET "lastActiveAt" = seen."at", "active" = TRUE, "updatedAt" = $2
       FROM (SELECT json_extract("value", '$[0]') AS "id", json_extract("value", '$[1]') AS "accountId",
                    json_extract("value", '$[2]') AS "at" FROM json_each($1)) seen
       WHERE "Machine"."id" = seen."id" AND "Machine"."accountId" = seen."accountId""#,
)
.repeatable();

// Whoever is heard of between the choice and the change stays active: the condition is checked again on the locked row.
// Each row is changed once, whatever the number of processes, so each expiry is announced once.
static EXPIRE_SESSIONS: Statement = Statement::two(
    r#"UPDATE "Session" SET "active" = FALSE, "updatedAt" = $1
       WHERE "active" = TRUE AND "lastActiveAt" <= $2 AND "id" IN
         (SELECT "id" FROM "Session" WHERE "active" = TRUE AND "lastActiveAt" <= $2
          ORDER BY "id" LIMIT 1000 FOR NO KEY UPDATE)
       RETURNING "id", "accountId", "lastActiveAt""#,
    r#"UPDATE "Session" SET "active" = FALSE, "updatedAt" = $1
       WHERE "id" IN (SELECT "id" FROM "Session" WHERE "active" = TRUE AND "lastActiveAt" <= $2 LIMIT 1000)
       RETURNING "id", "accountId", "lastActiveAt""#,
);

static EXPIRE_MACHINES: Statement = Statement::two(
    r#"UPDATE "Machine" SET "active" = FALSE, "updatedAt" = $1
       WHERE "active" = TRUE AND "lastActiveAt" <= $2 AND "id" IN
         (SELECT "id" FROM "Machine" WHERE "active" = TRUE AND "lastActiveAt" <= $2
          ORDER BY "id" LIMIT 1000 FOR NO KEY UPDATE)
       RETURNING "id", "accountId", "lastActiveAt""#,
    r#"UPDATE "Machine" SET "active" = FALSE, "updatedAt" = $1
       WHERE "id" IN (SELECT "id" FROM "Machine" WHERE "active" = TRUE AND "lastActiveAt" <= $2 LIMIT 1000)
       RETURNING "id", "accountId", "lastActiveAt""#,
);
