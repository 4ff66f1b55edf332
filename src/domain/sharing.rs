//! Sharing: direct shares of a session with other accounts.
//!
//! Owns: who may share with whom and at which level, the statements, the events `session-shared…`.
//! Never: the meaning of a wrapped key; only its version and length are looked at (`vectors/README.md` §7).
//! Invariants: one share per session and recipient; permission approvals never go with `view` when they are granted;
//! the session is locked before the accounts. The owner is not told when an admin acts (O-35, R-20).
//! Implements `spec/http.md` §16.7 and the share events of `spec/realtime.md` §3.

use std::sync::Arc;

use serde::Serialize;

use super::accounts::ShortProfile;
use super::changes::{self, Kind, Marks};
use super::locks::lock_accounts;
use super::{Context, RawJson, friends};
use crate::model::ids::{AccountId, SessionId, cuid};
use crate::model::time::now_ms;
use crate::realtime::event::{Audience, Event};
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement, Tx};

/// What a recipient may do, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    View,
    Edit,
    Admin,
}

impl Level {
    pub const ALL: [&'static str; 3] = ["view", "edit", "admin"];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Edit => "edit",
            Self::Admin => "admin",
        }
    }

    /// From the column or from validated input; there are no other texts.
    pub fn from_name(text: &str) -> Self {
        match text {
            "admin" => Self::Admin,
            "edit" => Self::Edit,
            _ => Self::View,
        }
    }
}

/// A share as those who manage the session see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub id: String,
    pub shared_with: ShortProfile,
    pub level: Level,
    pub can_approve_permissions: bool,
    pub created_at: i64,
    pub updated_at: i64,
}

/// Why sharing is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    SessionNotFound,
    Forbidden,
    /// Approving permissions needs a higher level than `view`.
    ApprovalNeedsEdit,
    WithOneself,
    UserNotFound,
    NotFriends,
    InvalidKey,
    ShareNotFound,
}

/// What the caller is to a session.
struct Standing {
    is_owner: bool,
    share: Option<(Level, bool)>,
}

impl Standing {
    fn may_manage(&self) -> bool {
        self.is_owner || self.share.is_some_and(|(level, _)| level == Level::Admin)
    }

    /// May hand on the right to approve permissions.
    fn may_delegate(&self) -> bool {
        self.is_owner || self.share == Some((Level::Admin, true))
    }

    fn from_row(row: &Row, caller: &AccountId) -> Self {
        let level = row.opt_text(1);
        let share = level.map(|level| (Level::from_name(&level), row.bool(2)));
        Self { is_owner: *caller == row.text(0), share }
    }
}

/// Locks a session and tells what the caller is to it; `None` if there is no such session.
async fn lock_session(tx: &mut Tx<'_>, session: &SessionId, caller: &AccountId) -> Result<Option<Standing>, Error> {
    let row = tx.query_opt(&LOCK_SESSION, vec![caller.as_str().into(), session.as_str().into()]).await?;
    Ok(row.map(|row| Standing::from_row(&row, caller)))
}

/// All shares of a session, newest first.
pub async fn list(
    ctx: &Context,
    caller: &AccountId,
    session: &SessionId,
) -> Result<Result<Vec<Share>, Refusal>, Error> {
    let params = vec![caller.as_str().into(), session.as_str().into()];
    let row = ctx.db.query_opt(&STANDING, params).await?;
    if !row.is_some_and(|row| Standing::from_row(&row, caller).may_manage()) {
        return Ok(Err(Refusal::Forbidden));
    }
    let mut rows = ctx.db.query(&LIST, vec![session.as_str().into()]).await?;
    Ok(Ok(rows.iter_mut().map(|row| share(ctx, row)).collect()))
}

/// Whom to share with, and how.
#[derive(Clone, Debug)]
pub struct Grant {
    pub user: AccountId,
    pub level: Level,
    /// Not given, an existing share keeps its flag (O-33).
    pub can_approve_permissions: Option<bool>,
    /// The session's data key, wrapped for the recipient.
    pub encrypted_data_key: Vec<u8>,
}

/// Version, ephemeral key, nonce and authenticator of a wrapped key.
const WRAPPED_KEY_BYTES_MIN: usize = 1 + 32 + 24 + 16;

/// Shares a session, or replaces the share that the recipient already has.
pub async fn grant(
    ctx: &Context,
    caller: &AccountId,
    session: &SessionId,
    grant: Grant,
) -> Result<Result<Share, Refusal>, Error> {
    let now = now_ms();
    let grant = Arc::new(grant);
    let (actor, place, input) = (caller.clone(), session.clone(), Arc::clone(&grant));
    let outcome = ctx.transaction(caller, async move |tx| write_grant(tx, &actor, &place, &input, now).await).await?;
    let Granted { mut row, mut sharer, marks } = match outcome {
        Ok(granted) => granted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let share = share(ctx, &mut row);
    let event = SessionShared {
        t: "session-shared",
        session_id: session,
        sid: session,
        share_id: &share.id,
        shared_by: Sharer {
            id: sharer.take_text(0),
            first_name: sharer.opt_text(1),
            last_name: sharer.opt_text(2),
            username: sharer.opt_text(3),
            // The stored image, where the routes give a URL (R-4).
            avatar: sharer.opt_json(4).map(RawJson),
        },
        access_level: grant.level.as_str(),
        encrypted_data_key: protocol::base64::encode(&grant.encrypted_data_key),
        created_at: share.created_at,
    };
    marks.publish_silent(ctx);
    ctx.publish_update(&grant.user, marks.cursor, Audience::All, &event);
    Ok(Ok(share))
}

struct Granted {
    row: Row,
    /// The profile of the one who shares.
    sharer: Row,
    marks: Marks,
}

async fn write_grant(
    tx: &mut Tx<'_>,
    caller: &AccountId,
    session: &SessionId,
    grant: &Grant,
    now: i64,
) -> Result<Result<Granted, Refusal>, Error> {
    if let Err(refusal) = check_grant(tx, caller, session, grant).await? {
        return Ok(Err(refusal));
    }
    lock_accounts(tx, &[caller, &grant.user]).await?;
    let key = || vec![Value::from(session.as_str()), grant.user.as_str().into()];
    let mut params = vec![
        grant.level.as_str().into(),
        grant.encrypted_data_key.clone().into(),
        grant.can_approve_permissions.into(),
        Value::Time(now),
    ];
    params.extend(key());
    if tx.execute(&REPLACE, params).await? == 0 {
        let params = vec![
            cuid().into(),
            session.as_str().into(),
            caller.as_str().into(),
            grant.user.as_str().into(),
            grant.level.as_str().into(),
            grant.encrypted_data_key.clone().into(),
            grant.can_approve_permissions.unwrap_or_default().into(),
            Value::Time(now),
        ];
        tx.execute(&INSERT, params).await?;
    }
    let vanished = || Error::Internal("a row vanished inside a transaction".to_owned());
    let row = tx.query_opt(&FIND_BY_RECIPIENT, key()).await?.ok_or_else(vanished)?;
    let sharer = tx.query_opt(&SHARER, vec![caller.as_str().into()]).await?.ok_or_else(vanished)?;
    let marks = mark_change(tx, caller, &grant.user, session, now).await?;
    Ok(Ok(Granted { row, sharer, marks }))
}

async fn check_grant(
    tx: &mut Tx<'_>,
    caller: &AccountId,
    session: &SessionId,
    grant: &Grant,
) -> Result<Result<(), Refusal>, Error> {
    let Some(standing) = lock_session(tx, session, caller).await? else { return Ok(Err(Refusal::SessionNotFound)) };
    if !standing.may_manage() {
        return Ok(Err(Refusal::Forbidden));
    }
    if grant.can_approve_permissions == Some(true) {
        if grant.level == Level::View {
            return Ok(Err(Refusal::ApprovalNeedsEdit));
        }
        if !standing.may_delegate() {
            return Ok(Err(Refusal::Forbidden));
        }
    }
    if grant.user == *caller {
        return Ok(Err(Refusal::WithOneself));
    }
    if tx.query_opt(&SHARER, vec![grant.user.as_str().into()]).await?.is_none() {
        return Ok(Err(Refusal::UserNotFound));
    }
    if !friends::are_friends(tx, caller, &grant.user).await? {
        return Ok(Err(Refusal::NotFriends));
    }
    let key = &grant.encrypted_data_key;
    if key.len() < WRAPPED_KEY_BYTES_MIN || key.first() != Some(&0) {
        return Ok(Err(Refusal::InvalidKey));
    }
    Ok(Ok(()))
}

/// New values of a share.
#[derive(Clone, Copy, Debug, Default)]
pub struct Adjustment {
    pub level: Option<Level>,
    pub can_approve_permissions: Option<bool>,
}

/// Changes a share. Without new values its row stays as it is; the recipient is told all the same.
pub async fn adjust(
    ctx: &Context,
    caller: &AccountId,
    session: &SessionId,
    share_id: &str,
    adjustment: Adjustment,
) -> Result<Result<Share, Refusal>, Error> {
    let now = now_ms();
    let (actor, place, id) = (caller.clone(), session.clone(), share_id.to_owned());
    let outcome = ctx
        .transaction(caller, async move |tx| write_adjustment(tx, &actor, &place, &id, adjustment, now).await)
        .await?;
    let (mut row, marks) = match outcome {
        Ok(adjusted) => adjusted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let share = share(ctx, &mut row);
    let event = SessionShareUpdated {
        t: "session-share-updated",
        session_id: session,
        sid: session,
        share_id: &share.id,
        access_level: share.level.as_str(),
        updated_at: share.updated_at,
    };
    marks.publish_silent(ctx);
    ctx.publish_update(&share.shared_with.id.as_str().into(), marks.cursor, Audience::All, &event);
    Ok(Ok(share))
}

async fn write_adjustment(
    tx: &mut Tx<'_>,
    caller: &AccountId,
    session: &SessionId,
    share_id: &str,
    adjustment: Adjustment,
    now: i64,
) -> Result<Result<(Row, Marks), Refusal>, Error> {
    let standing = lock_session(tx, session, caller).await?;
    let Some(standing) = standing.filter(Standing::may_manage) else { return Ok(Err(Refusal::Forbidden)) };
    if adjustment.can_approve_permissions.is_some() && !standing.may_delegate() {
        return Ok(Err(Refusal::Forbidden));
    }
    let key = || vec![Value::from(share_id), session.as_str().into()];
    let Some(row) = tx.query_opt(&FIND, key()).await? else { return Ok(Err(Refusal::ShareNotFound)) };
    let level = adjustment.level.unwrap_or_else(|| Level::from_name(row.text(LEVEL_COLUMN)));
    let can_approve = adjustment.can_approve_permissions.unwrap_or_else(|| row.bool(LEVEL_COLUMN + 1));
    if can_approve && level == Level::View {
        return Ok(Err(Refusal::ApprovalNeedsEdit));
    }
    let recipient = AccountId::from(row.text(RECIPIENT_COLUMN));
    lock_accounts(tx, &[caller, &recipient]).await?;
    if adjustment.level.is_some() || adjustment.can_approve_permissions.is_some() {
        let params = vec![level.as_str().into(), can_approve.into(), Value::Time(now), share_id.into()];
        tx.execute(&ADJUST, params).await?;
    }
    let Some(row) = tx.query_opt(&FIND, key()).await? else { return Ok(Err(Refusal::ShareNotFound)) };
    let marks = mark_change(tx, caller, &recipient, session, now).await?;
    Ok(Ok((row, marks)))
}

/// Ends a share.
pub async fn revoke(
    ctx: &Context,
    caller: &AccountId,
    session: &SessionId,
    share_id: &str,
) -> Result<Result<(), Refusal>, Error> {
    let now = now_ms();
    let (actor, place, id) = (caller.clone(), session.clone(), share_id.to_owned());
    let outcome = ctx.transaction(caller, async move |tx| remove(tx, &actor, &place, &id, now).await).await?;
    let (recipient, marks) = match outcome {
        Ok(removed) => removed,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let (account, seq) = (recipient.clone(), marks.cursor);
    ctx.events.publish(Event::Withdrawn { account, session: session.clone(), seq });
    let event = SessionShareRevoked { t: "session-share-revoked", session_id: session, sid: session, share_id };
    marks.publish_silent(ctx);
    ctx.publish_update(&recipient, marks.cursor, Audience::All, &event);
    Ok(Ok(()))
}

async fn remove(
    tx: &mut Tx<'_>,
    caller: &AccountId,
    session: &SessionId,
    share_id: &str,
    now: i64,
) -> Result<Result<(AccountId, Marks), Refusal>, Error> {
    let standing = lock_session(tx, session, caller).await?;
    if !standing.is_some_and(|standing| standing.may_manage()) {
        return Ok(Err(Refusal::Forbidden));
    }
    let key = || vec![Value::from(share_id), session.as_str().into()];
    let Some(row) = tx.query_opt(&FIND, key()).await? else { return Ok(Err(Refusal::ShareNotFound)) };
    let recipient = AccountId::from(row.text(RECIPIENT_COLUMN));
    lock_accounts(tx, &[caller, &recipient]).await?;
    tx.execute(&DELETE, key()).await?;
    let marks = mark_change(tx, caller, &recipient, session, now).await?;
    Ok(Ok((recipient, marks)))
}

/// Marks a share for the one who acts and for the recipient, whose later cursor is returned.
async fn mark_change(
    tx: &mut Tx<'_>,
    caller: &AccountId,
    recipient: &AccountId,
    session: &SessionId,
    now: i64,
) -> Result<Marks, Error> {
    let acted = changes::mark(tx, caller, Kind::Share, session.as_str(), None, now).await?;
    let shared = changes::mark(tx, recipient, Kind::Share, session.as_str(), None, now).await?;
    let cursor = changes::mark(tx, recipient, Kind::Session, session.as_str(), None, now).await?;
    Ok(Marks { cursor, silent: vec![(caller.clone(), acted), (recipient.clone(), shared)] })
}

/// Columns of `FIND` and `FIND_BY_RECIPIENT`: id of the share, the recipient's profile, then these.
const RECIPIENT_COLUMN: usize = 1;
const LEVEL_COLUMN: usize = 6;

fn share(ctx: &Context, row: &mut Row) -> Share {
    Share {
        id: row.take_text(0),
        shared_with: ShortProfile::from_row(row, RECIPIENT_COLUMN, &ctx.settings),
        level: Level::from_name(row.text(LEVEL_COLUMN)),
        can_approve_permissions: row.bool(LEVEL_COLUMN + 1),
        created_at: row.time(LEVEL_COLUMN + 2),
        updated_at: row.time(LEVEL_COLUMN + 3),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionShared<'a> {
    t: &'static str,
    session_id: &'a SessionId,
    sid: &'a SessionId,
    share_id: &'a str,
    shared_by: Sharer,
    access_level: &'static str,
    encrypted_data_key: String,
    created_at: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sharer {
    id: String,
    first_name: Option<String>,
    last_name: Option<String>,
    username: Option<String>,
    avatar: Option<RawJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionShareUpdated<'a> {
    t: &'static str,
    session_id: &'a SessionId,
    sid: &'a SessionId,
    share_id: &'a str,
    access_level: &'static str,
    updated_at: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionShareRevoked<'a> {
    t: &'static str,
    session_id: &'a SessionId,
    sid: &'a SessionId,
    share_id: &'a str,
}

static STANDING: Statement = Statement::portable(
    r#"SELECT s."accountId", h."accessLevel", h."canApprovePermissions"
       FROM "Session" s
       LEFT JOIN "SessionShare" h ON h."sessionId" = s."id" AND h."sharedWithUserId" = $1
       WHERE s."id" = $2"#,
);

static LOCK_SESSION: Statement = Statement::two(
    r#"SELECT s."accountId", h."accessLevel", h."canApprovePermissions"
       FROM "Session" s
       LEFT JOIN "SessionShare" h ON h."sessionId" = s."id" AND h."sharedWithUserId" = $1
       WHERE s."id" = $2 FOR NO KEY UPDATE OF s"#,
    r#"SELECT s."accountId", h."accessLevel", h."canApprovePermissions"
       FROM "Session" s
       LEFT JOIN "SessionShare" h ON h."sessionId" = s."id" AND h."sharedWithUserId" = $1
       WHERE s."id" = $2"#,
);

static LIST: Statement = Statement::portable(
    r#"SELECT h."id", a."id", a."firstName", a."lastName", a."username", a."avatar", h."accessLevel",
              h."canApprovePermissions", h."createdAt", h."updatedAt"
       FROM "SessionShare" h JOIN "Account" a ON a."id" = h."sharedWithUserId"
       WHERE h."sessionId" = $1 ORDER BY h."createdAt" DESC, h."id" DESC"#,
);

static FIND: Statement = Statement::portable(
    r#"SELECT h."id", a."id", a."firstName", a."lastName", a."username", a."avatar", h."accessLevel",
              h."canApprovePermissions", h."createdAt", h."updatedAt"
       FROM "SessionShare" h JOIN "Account" a ON a."id" = h."sharedWithUserId"
       WHERE h."id" = $1 AND h."sessionId" = $2"#,
);

static FIND_BY_RECIPIENT: Statement = Statement::portable(
    r#"SELECT h."id", a."id", a."firstName", a."lastName", a."username", a."avatar", h."accessLevel",
              h."canApprovePermissions", h."createdAt", h."updatedAt"
       FROM "SessionShare" h JOIN "Account" a ON a."id" = h."sharedWithUserId"
       WHERE h."sessionId" = $1 AND h."sharedWithUserId" = $2"#,
);

static SHARER: Statement =
    Statement::portable(r#"SELECT "id", "firstName", "lastName", "username", "avatar" FROM "Account" WHERE "id" = $1"#);

static REPLACE: Statement = Statement::portable(
    r#"UPDATE "SessionShare" SET "accessLevel" = $1, "encryptedDataKey" = $2,
                                 "canApprovePermissions" = COALESCE($3, "canApprovePermissions"), "updatedAt" = $4
       WHERE "sessionId" = $5 AND "sharedWithUserId" = $6"#,
);

static INSERT: Statement = Statement::portable(
    r#"INSERT INTO "SessionShare" ("id", "sessionId", "sharedByUserId", "sharedWithUserId", "accessLevel",
                                   "encryptedDataKey", "canApprovePermissions", "createdAt", "updatedAt")
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)"#,
);

static ADJUST: Statement = Statement::portable(
    r#"UPDATE "SessionShare" SET "accessLevel" = $1, "canApprovePermissions" = $2, "updatedAt" = $3 WHERE "id" = $4"#,
);

static DELETE: Statement = Statement::portable(r#"DELETE FROM "SessionShare" WHERE "id" = $1 AND "sessionId" = $2"#);
