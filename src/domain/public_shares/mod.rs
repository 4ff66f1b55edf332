//! Public links: one link per session, for whoever knows its token.
//!
//! Owns: the rules for creating, changing and deleting a link, who is blocked, the access log, and the events
//! `public-share-…`. Visiting a link is in [`visits`].
//! Never: the token itself; only its SHA-256 is stored, so a link cannot be shown again.
//! Invariants: only the owner of a session manages its link; the session is locked before the account.
//! Implements `spec/http.md` §16.8.

pub mod visits;

use std::sync::Arc;

use serde::Serialize;

use super::Context;
use super::accounts::ShortProfile;
use super::changes::{self, Kind, Marks};
use super::locks::lock_accounts;
use crate::crypto::hash;
use crate::model::ids::{AccountId, SessionId, cuid};
use crate::model::time::now_ms;
use crate::realtime::event::Audience;
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement, Tx};

/// A link as its owner sees it, without the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicShare {
    pub id: String,
    pub expires_at: Option<i64>,
    pub max_uses: Option<i64>,
    pub use_count: i64,
    pub is_consent_required: bool,
    pub created_at: i64,
    pub updated_at: i64,
}

/// Why the management of a link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller is not the owner, or there is no such session (O-44).
    Forbidden,
    NoLink,
    TokenRequired,
    KeyRequired,
    KeyRequiredForRotation,
}

/// The wanted state of a link. What is not given gets its default, also on an existing link (O-36).
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// A new token; an existing link is rotated. Empty counts as none.
    pub token: Option<String>,
    /// The data key of the session, encrypted for holders of the token.
    pub encrypted_data_key: Option<Vec<u8>>,
    /// Milliseconds since 1970, as they were sent: judged when everything else has been.
    pub expires_at: Option<f64>,
    pub max_uses: Option<i64>,
    pub is_consent_required: bool,
}

/// The latest time that JavaScript can express, in milliseconds.
const TIME_MAX: f64 = 8.64e15;

/// A time in whole milliseconds; 0 is none.
#[allow(clippy::cast_possible_truncation, reason = "fractions are dropped, and the range has been checked")]
fn expiry(at: f64) -> Result<Option<i64>, Error> {
    if at.abs() > TIME_MAX {
        return Err(Error::Invalid("expiresAt is no time".to_owned()));
    }
    Ok((at != 0.0).then_some(at as i64))
}

/// Creates the link of a session, or changes it.
pub async fn put(
    ctx: &Context,
    caller: &AccountId,
    session: &SessionId,
    wanted: Wanted,
) -> Result<Result<PublicShare, Refusal>, Error> {
    let now = now_ms();
    let wanted = Arc::new(wanted);
    let (owner, place, input) = (caller.clone(), session.clone(), Arc::clone(&wanted));
    let outcome = ctx.transaction(caller, async move |tx| write(tx, &owner, &place, &input, now).await).await?;
    let Put { share, is_new, marks } = match outcome {
        Ok(put) => put,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let event = LinkEvent {
        t: if is_new { "public-share-created" } else { "public-share-updated" },
        session_id: session,
        sid: session,
        public_share_id: &share.id,
        token: wanted.token.as_deref().filter(|_| is_new),
        expires_at: share.expires_at,
        max_uses: share.max_uses,
        is_consent_required: share.is_consent_required,
        created_at: is_new.then_some(share.created_at),
        updated_at: (!is_new).then_some(share.updated_at),
    };
    marks.publish_silent(ctx);
    ctx.publish_update(caller, marks.cursor, Audience::Session(session.clone()), &event);
    Ok(Ok(share))
}

struct Put {
    share: PublicShare,
    is_new: bool,
    marks: Marks,
}

async fn write(
    tx: &mut Tx<'_>,
    caller: &AccountId,
    session: &SessionId,
    wanted: &Wanted,
    now: i64,
) -> Result<Result<Put, Refusal>, Error> {
    if !lock_owned_session(tx, caller, session).await? {
        return Ok(Err(Refusal::Forbidden));
    }
    let link = tx.query_opt(&LINK_OF_SESSION, vec![session.as_str().into()]).await?;
    let token = wanted.token.as_deref().filter(|token| !token.is_empty());
    let token_hash = token.map(|token| hash::sha256(token.as_bytes()).to_vec());
    let is_new = link.is_none();
    let key = wanted.encrypted_data_key.clone();
    match (is_new, &token_hash, &key) {
        (true, None, _) => return Ok(Err(Refusal::TokenRequired)),
        (true, Some(_), None) => return Ok(Err(Refusal::KeyRequired)),
        (false, Some(_), None) => return Ok(Err(Refusal::KeyRequiredForRotation)),
        _ => {}
    }
    let expires_at = wanted.expires_at.map(expiry).transpose()?.flatten();
    lock_accounts(tx, &[caller]).await?;
    let expires_at = expires_at.map_or(Value::Null, Value::Time);
    let limits = vec![expires_at, wanted.max_uses.into(), wanted.is_consent_required.into(), Value::Time(now)];
    let params = vec![token_hash.into(), key.into(), session.as_str().into()];
    let mut params: Vec<Value> = limits.into_iter().chain(params).collect();
    let statement = if is_new {
        params.extend([cuid().into(), caller.as_str().into()]);
        &INSERT
    } else {
        &UPDATE
    };
    let row = tx.query_opt(statement, params).await?;
    let share = public_share(&row.ok_or_else(|| Error::Internal("a stored link was not returned".to_owned()))?);
    let marks = mark_change(tx, caller, session, now).await?;
    Ok(Ok(Put { share, is_new, marks }))
}

async fn mark_change(tx: &mut Tx<'_>, owner: &AccountId, session: &SessionId, now: i64) -> Result<Marks, Error> {
    let shared = changes::mark(tx, owner, Kind::Share, session.as_str(), None, now).await?;
    let cursor = changes::mark(tx, owner, Kind::Session, session.as_str(), None, now).await?;
    Ok(Marks { cursor, silent: vec![(owner.clone(), shared)] })
}

/// Locks a session; false if there is none or the caller does not own it.
async fn lock_owned_session(tx: &mut Tx<'_>, caller: &AccountId, session: &SessionId) -> Result<bool, Error> {
    let row = tx.query_opt(&LOCK_OWNED, vec![session.as_str().into(), caller.as_str().into()]).await?;
    Ok(row.is_some())
}

/// The link of a session, if it has one.
pub async fn get(
    ctx: &Context,
    caller: &AccountId,
    session: &SessionId,
) -> Result<Result<Option<PublicShare>, Refusal>, Error> {
    if !owns(ctx, caller, session).await? {
        return Ok(Err(Refusal::Forbidden));
    }
    let row = ctx.db.query_opt(&LINK_OF_SESSION, vec![session.as_str().into()]).await?;
    Ok(Ok(row.as_ref().map(public_share)))
}

async fn owns(ctx: &Context, caller: &AccountId, session: &SessionId) -> Result<bool, Error> {
    let row = ctx.db.query_opt(&OWNED, vec![session.as_str().into(), caller.as_str().into()]).await?;
    Ok(row.is_some())
}

/// The id of the link of a session that the caller owns.
async fn owned_link(ctx: &Context, caller: &AccountId, session: &SessionId) -> Result<Result<String, Refusal>, Error> {
    Ok(match get(ctx, caller, session).await? {
        Ok(Some(link)) => Ok(link.id),
        Ok(None) => Err(Refusal::NoLink),
        Err(refusal) => Err(refusal),
    })
}

/// Deletes the link of a session, with its log and its blocks.
pub async fn delete(ctx: &Context, caller: &AccountId, session: &SessionId) -> Result<Result<(), Refusal>, Error> {
    let now = now_ms();
    let (owner, place) = (caller.clone(), session.clone());
    let outcome = ctx.transaction(caller, async move |tx| remove(tx, &owner, &place, now).await).await?;
    let marks = match outcome {
        Ok(marks) => marks,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let event = LinkDeleted { t: "public-share-deleted", session_id: session, sid: session };
    marks.publish_silent(ctx);
    ctx.publish_update(caller, marks.cursor, Audience::Session(session.clone()), &event);
    Ok(Ok(()))
}

async fn remove(
    tx: &mut Tx<'_>,
    caller: &AccountId,
    session: &SessionId,
    now: i64,
) -> Result<Result<Marks, Refusal>, Error> {
    if !lock_owned_session(tx, caller, session).await? {
        return Ok(Err(Refusal::Forbidden));
    }
    if tx.execute(&DELETE, vec![session.as_str().into()]).await? == 0 {
        return Ok(Err(Refusal::NoLink));
    }
    lock_accounts(tx, &[caller]).await?;
    Ok(Ok(mark_change(tx, caller, session, now).await?))
}

/// An account that may not use a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub id: String,
    pub user: ShortProfile,
    pub reason: Option<String>,
    pub blocked_at: i64,
}

/// Who is blocked, newest first.
pub async fn blocks(
    ctx: &Context,
    caller: &AccountId,
    session: &SessionId,
) -> Result<Result<Vec<Block>, Refusal>, Error> {
    let link = match owned_link(ctx, caller, session).await? {
        Ok(link) => link,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut rows = ctx.db.query(&BLOCKS, vec![link.into()]).await?;
    Ok(Ok(rows.iter_mut().map(|row| block_of(ctx, row)).collect()))
}

/// Blocks an account. Blocking twice, or an unknown account, is an error (O-37).
pub async fn block(
    ctx: &Context,
    caller: &AccountId,
    session: &SessionId,
    user: &AccountId,
    reason: Option<String>,
) -> Result<Result<Block, Refusal>, Error> {
    let link = match owned_link(ctx, caller, session).await? {
        Ok(link) => link,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let id = cuid();
    let params = vec![id.as_str().into(), link.into(), user.as_str().into(), Value::Time(now_ms()), reason.into()];
    ctx.db.execute(&INSERT_BLOCK, params).await?;
    let row = ctx.db.query_opt(&READ_BLOCK, vec![id.into()]).await?;
    let mut row = row.ok_or_else(|| Error::Internal("a block vanished while it was made".to_owned()))?;
    Ok(Ok(block_of(ctx, &mut row)))
}

/// Lifts a block of this session's link (O-38 is closed); false if it has no such block.
pub async fn unblock(
    ctx: &Context,
    caller: &AccountId,
    session: &SessionId,
    block: &str,
) -> Result<Result<bool, Refusal>, Error> {
    if !owns(ctx, caller, session).await? {
        return Ok(Err(Refusal::Forbidden));
    }
    let deleted = ctx.db.execute(&DELETE_BLOCK, vec![block.into(), session.as_str().into()]).await?;
    Ok(Ok(deleted > 0))
}

/// One visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub id: String,
    pub user: Option<ShortProfile>,
    pub accessed_at: i64,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
}

/// Who has visited a link, newest first.
pub async fn accesses(
    ctx: &Context,
    caller: &AccountId,
    session: &SessionId,
    limit: i64,
) -> Result<Result<Vec<Access>, Refusal>, Error> {
    let link = match owned_link(ctx, caller, session).await? {
        Ok(link) => link,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut rows = ctx.db.query(&ACCESSES, vec![link.into(), limit.into()]).await?;
    let access = |row: &mut Row| Access {
        id: row.take_text(0),
        accessed_at: row.time(1),
        ip_address: row.opt_text(2),
        user_agent: row.opt_text(3),
        user: row.opt_text(4).is_some().then(|| ShortProfile::from_row(row, 4, &ctx.settings)),
    };
    Ok(Ok(rows.iter_mut().map(access).collect()))
}

fn block_of(ctx: &Context, row: &mut Row) -> Block {
    Block {
        id: row.take_text(0),
        reason: row.opt_text(1),
        blocked_at: row.time(2),
        user: ShortProfile::from_row(row, 3, &ctx.settings),
    }
}

fn public_share(row: &Row) -> PublicShare {
    PublicShare {
        id: row.text(0).to_owned(),
        expires_at: row.opt_time(1),
        max_uses: row.opt_int(2),
        use_count: row.int(3),
        is_consent_required: row.bool(4),
        created_at: row.time(5),
        updated_at: row.time(6),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkEvent<'a> {
    t: &'static str,
    session_id: &'a SessionId,
    sid: &'a SessionId,
    public_share_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    expires_at: Option<i64>,
    max_uses: Option<i64>,
    is_consent_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkDeleted<'a> {
    t: &'static str,
    session_id: &'a SessionId,
    sid: &'a SessionId,
}

static OWNED: Statement = Statement::portable(r#"SELECT "id" FROM "Session" WHERE "id" = $1 AND "accountId" = $2"#);

static LOCK_OWNED: Statement = Statement::two(
    r#"SELECT "id" FROM "Session" WHERE "id" = $1 AND "accountId" = $2 FOR NO KEY UPDATE"#,
    r#"SELECT "id" FROM "Session" WHERE "id" = $1 AND "accountId" = $2"#,
);

static LINK_OF_SESSION: Statement = Statement::portable(
    r#"SELECT "id", "expiresAt", "maxUses", "useCount", "isConsentRequired", "createdAt", "updatedAt"
       FROM "PublicSessionShare" WHERE "sessionId" = $1"#,
);

static INSERT: Statement = Statement::portable(
    r#"INSERT INTO "PublicSessionShare" ("expiresAt", "maxUses", "isConsentRequired", "createdAt", "updatedAt",
                                         "tokenHash", "encryptedDataKey", "sessionId", "id", "createdByUserId",
                                         "useCount")
       VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8, $9, 0)
       RETURNING "id", "expiresAt", "maxUses", "useCount", "isConsentRequired", "createdAt", "updatedAt""#,
);

// A new token starts a new count.
static UPDATE: Statement = Statement::portable(
    r#"UPDATE "PublicSessionShare" SET
         "expiresAt" = $1, "maxUses" = $2, "isConsentRequired" = $3, "updatedAt" = $4,
         "tokenHash" = COALESCE($5, "tokenHash"),
         "useCount" = CASE WHEN $5 IS NULL THEN "useCount" ELSE 0 END,
         "encryptedDataKey" = COALESCE($6, "encryptedDataKey")
       WHERE "sessionId" = $7
       RETURNING "id", "expiresAt", "maxUses", "useCount", "isConsentRequired", "createdAt", "updatedAt""#,
);

static DELETE: Statement = Statement::portable(r#"DELETE FROM "PublicSessionShare" WHERE "sessionId" = $1"#);

static BLOCKS: Statement = Statement::portable(
    r#"SELECT b."id", b."reason", b."blockedAt", a."id", a."firstName", a."lastName", a."username", a."avatar"
       FROM "PublicShareBlockedUser" b JOIN "Account" a ON a."id" = b."userId"
       WHERE b."publicShareId" = $1 ORDER BY b."blockedAt" DESC, b."id" DESC"#,
);

static READ_BLOCK: Statement = Statement::portable(
    r#"SELECT b."id", b."reason", b."blockedAt", a."id", a."firstName", a."lastName", a."username", a."avatar"
       FROM "PublicShareBlockedUser" b JOIN "Account" a ON a."id" = b."userId"
       WHERE b."id" = $1"#,
);

static INSERT_BLOCK: Statement = Statement::portable(
    r#"INSERT INTO "PublicShareBlockedUser" ("id", "publicShareId", "userId", "blockedAt", "reason")
       VALUES ($1, $2, $3, $4, $5)"#,
);

static DELETE_BLOCK: Statement = Statement::portable(
    r#"DELETE FROM "PublicShareBlockedUser"
       WHERE "id" = $1 AND "publicShareId" IN (SELECT "id" FROM "PublicSessionShare" WHERE "sessionId" = $2)"#,
);

static ACCESSES: Statement = Statement::portable(
    r#"SELECT l."id", l."accessedAt", l."ipAddress", l."userAgent", a."id", a."firstName", a."lastName",
              a."username", a."avatar"
       FROM "PublicShareAccessLog" l LEFT JOIN "Account" a ON a."id" = l."userId"
       WHERE l."publicShareId" = $1 ORDER BY l."accessedAt" DESC, l."id" DESC LIMIT $2"#,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiries_are_whole_milliseconds() {
        for (at, expected) in
            [(0.0, None), (0.5, Some(0)), (1_767_225_600_000.9, Some(1_767_225_600_000)), (-1.5, Some(-1))]
        {
            assert_eq!(expiry(at), Ok(expected), "{at}");
        }
        assert!(expiry(8.641e15).is_err() && expiry(f64::INFINITY).is_err());
    }
}
