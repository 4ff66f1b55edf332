//! The change log of an account: what has changed since a cursor (`spec/data.md` §7.1, `spec/http.md` §13.4–13.5).
//!
//! [`mark`] is the only writer of cursors besides the statement that stores messages. It runs inside the transaction
//! of the change it describes and holds the account's row locked until that transaction ends, so cursors commit in
//! their own order.

use crate::domain::Context;
use crate::model::ids::AccountId;
use crate::realtime::event::Event;
use crate::storage::{self, Db, Row, Statement, Tx, Value};

/// What kind of thing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Account,
    Artifact,
    Feed,
    Friends,
    Kv,
    Machine,
    Session,
    Share,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Artifact => "artifact",
            Self::Feed => "feed",
            Self::Friends => "friends",
            Self::Kv => "kv",
            Self::Machine => "machine",
            Self::Session => "session",
            Self::Share => "share",
        }
    }
}

/// Entity of kinds of which an account has only one.
pub const SELF: &str = "self";

static NEXT_CURSOR: Statement =
    Statement::portable(r#"UPDATE "Account" SET "seq" = "seq" + 1, "updatedAt" = $1 WHERE "id" = $2 RETURNING "seq""#);

static RECORD: Statement = Statement::portable(
    r#"INSERT INTO "AccountChange" ("accountId", "kind", "entityId", "cursor", "changedAt", "hint")
       VALUES ($1, $2, $3, $4, $5, $6)
       ON CONFLICT ("accountId", "kind", "entityId") DO UPDATE SET
         "cursor" = excluded."cursor",
         "changedAt" = excluded."changedAt",
         "hint" = COALESCE(excluded."hint", "AccountChange"."hint")"#,
);

/// Records a change and returns its cursor, the `seq` of the update that tells of it. Without a hint a former hint of
/// the same entity stays. A missing account is an error.
///
/// Who marks several accounts does it in the order of their ids.
pub async fn mark(
    tx: &mut Tx<'_>,
    account: &AccountId,
    kind: Kind,
    entity: &str,
    hint: Option<String>,
    now_ms: i64,
) -> Result<i64, storage::Error> {
    let row = tx.query_opt(&NEXT_CURSOR, vec![Value::Time(now_ms), account.as_str().into()]).await?;
    let row = row.ok_or_else(|| storage::Error::Internal("the account does not exist".to_string()))?;
    let cursor = row.int(0);
    let hint = hint.map_or(Value::Null, Value::Json);
    let params =
        vec![account.as_str().into(), kind.as_str().into(), entity.into(), cursor.into(), Value::Time(now_ms), hint];
    tx.execute(&RECORD, params).await?;
    Ok(cursor)
}

/// Marks the same change for several accounts, in the order of their ids, and returns their cursors in that order.
pub async fn mark_all(
    tx: &mut Tx<'_>,
    accounts: &[AccountId],
    kind: Kind,
    entity: &str,
    now_ms: i64,
) -> Result<Vec<(AccountId, i64)>, storage::Error> {
    let mut sorted = accounts.to_vec();
    sorted.sort();
    sorted.dedup();
    let mut cursors = Vec::with_capacity(sorted.len());
    for account in sorted {
        let cursor = mark(tx, &account, kind, entity, None, now_ms).await?;
        cursors.push((account, cursor));
    }
    Ok(cursors)
}

/// Cursors of one transaction: one that an update tells of, and those that none does.
#[derive(Clone, Debug)]
pub struct Marks {
    /// The `seq` of the update.
    pub cursor: i64,
    pub silent: Vec<(AccountId, i64)>,
}

impl Marks {
    /// To be called after the commit, before the update is published.
    pub fn publish_silent(&self, ctx: &Context) {
        for (account, seq) in &self.silent {
            ctx.events.publish(Event::Silent { account: account.clone(), seq: *seq });
        }
    }
}

/// Where an account's log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub cursor: i64,
    /// The lowest cursor from which the log is still complete.
    pub floor: i64,
}

static POSITION: Statement = Statement::portable(r#"SELECT "seq", "changesFloor" FROM "Account" WHERE "id" = $1"#);

/// The end of an account's log; `None` if there is no such account.
pub async fn position(db: &Db, account: &AccountId) -> Result<Option<Position>, storage::Error> {
    let row = db.query_opt(&POSITION, vec![account.as_str().into()]).await?;
    Ok(row.map(|row| Position { cursor: row.int(0), floor: row.int(1) }))
}

/// One entry: an entity and its latest change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub cursor: i64,
    pub kind: String,
    pub entity: String,
    pub changed_at: i64,
    /// JSON text.
    pub hint: Option<String>,
}

/// What became of the question for changes after a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    Changes(Vec<Change>),
    /// The log does not reach back to the cursor, or the cursor is from the future: start over from snapshots.
    CursorGone {
        current: i64,
    },
    AccountNotFound,
}

static AFTER: Statement = Statement::portable(
    r#"SELECT "cursor", "kind", "entityId", "changedAt", "hint" FROM "AccountChange"
       WHERE "accountId" = $1 AND "cursor" > $2
       ORDER BY "cursor", "kind", "entityId" LIMIT $3"#,
);

/// The changes after a cursor, oldest first.
pub async fn since(db: &Db, account: &AccountId, after: i64, limit: i64) -> Result<Since, storage::Error> {
    // The rows first: if some of them have been pruned, the floor that is read afterwards says so (closes D-1).
    // A cursor that the column cannot hold is refused below, as any other that the account has not reached.
    let bound = after.clamp(0, i64::from(i32::MAX));
    let rows = db.query(&AFTER, vec![account.as_str().into(), bound.into(), limit.into()]).await?;
    let Some(position) = position(db, account).await? else { return Ok(Since::AccountNotFound) };
    if after > position.cursor || after < position.floor {
        return Ok(Since::CursorGone { current: position.cursor });
    }
    let change = |mut row: Row| Change {
        cursor: row.int(0),
        kind: row.take_text(1),
        entity: row.take_text(2),
        changed_at: row.time(3),
        hint: row.opt_json(4),
    };
    Ok(Since::Changes(rows.into_iter().map(change).collect()))
}
