//! Prunes the change log: entries of sessions, shares, machines and artifacts that no longer exist (`spec/data.md` §7.3,
//! `spec/realtime.md` §11).
//!
//! Invariant: the entries of an account go in the same transaction that raises its floor, so nobody who asks for changes
//! is given an incomplete log (closes D-1). The account is locked first, as by everybody who writes to its log.

use crate::domain::Context;
use crate::storage::{Error, Statement, Tx};

/// Accounts that are looked up at a time; each is a transaction of its own.
const ACCOUNTS_MAX: i64 = 500;

pub async fn pass(ctx: &Context) -> Result<(), Error> {
    let mut pruned = 0;
    let mut after = String::new();
    loop {
        let rows = ctx.db.query(&AFFECTED, vec![after.as_str().into(), ACCOUNTS_MAX.into()]).await?;
        for row in &rows {
            let account = row.text(0).to_string();
            let owner = account.clone();
            pruned += ctx.db.transaction(async move |tx| prune(tx, &owner).await).await?;
            after = account;
        }
        if rows.is_empty() {
            break;
        }
    }
    if pruned > 0 {
        log::info!("{pruned} entries of deleted entities left the change log");
    }
    Ok(())
}

/// Prunes the log of one account; gives the number of entries that went.
async fn prune(tx: &mut Tx<'_>, account: &str) -> Result<usize, Error> {
    tx.query_opt(&LOCK, vec![account.into()]).await?;
    let rows = tx.query(&DELETE, vec![account.into()]).await?;
    if let Some(floor) = rows.iter().map(|row| row.int(0)).max() {
        tx.execute(&RAISE, vec![floor.into(), account.into()]).await?;
    }
    Ok(rows.len())
}

/// Whether the entity of an entry is gone. Entries of other kinds stay for ever.
macro_rules! orphaned {
    () => {
        r#"(("kind" IN ('session', 'share')
              AND NOT EXISTS (SELECT 1 FROM "Session" e WHERE e."id" = "AccountChange"."entityId"))
         OR ("kind" = 'machine' AND NOT EXISTS (SELECT 1 FROM "Machine" e WHERE e."id" = "AccountChange"."entityId"))
         OR ("kind" = 'artifact' AND NOT EXISTS (SELECT 1 FROM "Artifact" e WHERE e."id" = "AccountChange"."entityId")))"#
    };
}

static AFFECTED: Statement = Statement::portable(concat!(
    r#"SELECT DISTINCT "accountId" FROM "AccountChange" WHERE "accountId" > $1 AND "#,
    orphaned!(),
    r#" ORDER BY "accountId" LIMIT $2"#
));

static LOCK: Statement = Statement::portable(r#"SELECT "seq" FROM "Account" WHERE "id" = $1 FOR NO KEY UPDATE"#);

static DELETE: Statement = Statement::portable(concat!(
    r#"DELETE FROM "AccountChange" WHERE "accountId" = $1 AND "#,
    orphaned!(),
    r#" RETURNING "cursor""#
));

/// The one change of an account that leaves its `updatedAt` alone (`spec/data.md` §6): nobody did anything.
static RAISE: Statement =
    Statement::portable(r#"UPDATE "Account" SET "changesFloor" = $1 WHERE "id" = $2 AND "changesFloor" < $1"#);
