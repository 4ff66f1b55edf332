//! Whose registrations a remote call is looked up in: approving permissions for a shared session is the only call that
//! crosses accounts.
//!
//! Owns: which method names mean it, and who may. The share is read for every call, so a right that is taken away is
//! gone at once. Never: registrations and calls (`realtime::rpc`). Without a registration of the owner the call is not
//! available; it does not fall back to the caller's own (closes R-12).
//! Implements `spec/realtime.md` §9.3.

use super::Context;
use super::sharing::Level;
use crate::model::ids::{AccountId, SessionId};
use crate::storage::{Error, Statement};

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// The account whose connections may have registered the method.
    Account(AccountId),
    Forbidden,
}

const SUFFIX: &str = "permission";

/// The session whose permissions a method is about, if it may belong to another account.
pub fn session_of(method: &str) -> Option<SessionId> {
    let (prefix, suffix) = method.rsplit_once(':')?;
    (suffix == SUFFIX && !prefix.is_empty() && prefix != SUFFIX).then(|| SessionId::from(prefix))
}

/// Finds out whom a permission call for `session` addresses.
pub async fn callee(ctx: &Context, caller: &AccountId, session: &SessionId) -> Result<Callee, Error> {
    let Some(row) = ctx.db.query_opt(&STANDING, vec![caller.as_str().into(), session.as_str().into()]).await? else {
        return Ok(Callee::Account(caller.clone()));
    };
    let owner = AccountId::from(row.text(0));
    if owner == *caller {
        return Ok(Callee::Account(owner));
    }
    let may = row.opt_text(1).is_some_and(|level| Level::from_name(&level) >= Level::Edit && row.bool(2));
    Ok(if may { Callee::Account(owner) } else { Callee::Forbidden })
}

static STANDING: Statement = Statement::portable(
    r#"SELECT s."accountId", h."accessLevel", h."canApprovePermissions"
       FROM "Session" s LEFT JOIN "SessionShare" h ON h."sessionId" = s."id" AND h."sharedWithUserId" = $1
       WHERE s."id" = $2"#,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_methods_are_about_permissions() {
        for (method, session) in [
            ("s1:permission", Some("s1")),
            ("a:b:permission", Some("a:b")),
            ("permission", None),
            (":permission", None),
            ("permission:permission", None),
            ("s1:Permission", None),
            ("s1:permission:", None),
            ("s1:permissions", None),
            ("s1:abort", None),
        ] {
            assert_eq!(session_of(method), session.map(SessionId::from), "{method}");
        }
    }
}
