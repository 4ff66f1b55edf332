//! Row locks in the one order that all transactions keep: sessions by id, then accounts by id (`domain`).
//!
//! A rule that compares before it writes takes the locks first, so that it compares with what it will replace, and so
//! that the cursors it allocates at the end commit in their order. SQLite has one writer at a time and needs none.

use crate::model::ids::AccountId;
use crate::storage::value::Value;
use crate::storage::{self, Statement, Tx};

/// Takes the locks of these accounts and tells which of them exist, in the order of their ids.
pub(super) async fn lock_accounts(tx: &mut Tx<'_>, accounts: &[&AccountId]) -> Result<Vec<AccountId>, storage::Error> {
    let mut sorted = accounts.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut present = Vec::with_capacity(sorted.len());
    for account in sorted {
        if tx.query_opt(&LOCK_ACCOUNT, vec![Value::from(account.as_str())]).await?.is_some() {
            present.push(account.clone());
        }
    }
    Ok(present)
}

// Not FOR UPDATE: rows that refer to an account may be written meanwhile.
static LOCK_ACCOUNT: Statement = Statement::two(
    r#"SELECT "seq" FROM "Account" WHERE "id" = $1 FOR NO KEY UPDATE"#,
    r#"SELECT "seq" FROM "Account" WHERE "id" = $1"#,
);
