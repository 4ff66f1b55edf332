//! Sessions: lists, creation by tag, deletion, versioned metadata and state (`spec/http.md` §14.1–14.8, §14.11,
//! `spec/realtime.md` §7.2–7.3).

use serde::Serialize;

use crate::domain::accounts::ShortProfile;
use crate::domain::changes::{self, Kind};
use crate::domain::{Context, event_body, user_update};
use crate::model::ids::{AccountId, SessionId, SocketId, cuid};
use crate::model::time::now_ms;
use crate::realtime::event::{Audience, Body, Event, Update};
use crate::storage::{self, Row, Statement, Tx, Value};

/// Sessions in the list of the first version.
const RECENT_MAX: u32 = 150;

/// A session counts as active if it was heard of so recently.
const ACTIVE_WITHIN_MS: i64 = 15 * 60 * 1000;

/// A row of the session table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: String,
    pub seq: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub active: bool,
    pub last_active_at: i64,
    pub metadata: String,
    pub metadata_version: i64,
    pub agent_state: Option<String>,
    pub agent_state_version: i64,
    /// For a recipient of a share: the recipient's wrapped key.
    pub data_encryption_key: Option<Vec<u8>>,
}

/// The columns of [`Session`], in the order in which [`Session::from_row`] reads them.
macro_rules! columns {
    () => {
        r#"s."id", s."seq", s."createdAt", s."updatedAt", s."active", s."lastActiveAt", s."metadata",
           s."metadataVersion", s."agentState", s."agentStateVersion""#
    };
}

/// The number of columns named by `columns!`; the key comes after them.
const KEY_COLUMN: usize = 10;

impl Session {
    fn from_row(row: &mut Row) -> Self {
        Self {
            id: row.take_text(0),
            seq: row.int(1),
            created_at: row.time(2),
            updated_at: row.time(3),
            active: row.bool(4),
            last_active_at: row.time(5),
            metadata: row.take_text(6),
            metadata_version: row.int(7),
            agent_state: row.opt_text(8),
            agent_state_version: row.int(9),
            data_encryption_key: row.opt_bytes(KEY_COLUMN),
        }
    }
}

/// What a recipient may do with somebody else's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    pub access_level: String,
    pub can_approve_permissions: bool,
}

impl Share {
    fn from_row(row: &mut Row) -> Self {
        Self { access_level: row.take_text(KEY_COLUMN + 1), can_approve_permissions: row.bool(KEY_COLUMN + 2) }
    }
}

/// Whether a share of this level allows changes.
pub fn can_edit(access_level: &str) -> bool {
    matches!(access_level, "edit" | "admin")
}

// ---- reading ------------------------------------------------------------------------------------------------------

/// A session of the caller, or one shared with the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub session: Session,
    pub share: Option<Share>,
}

/// A session in the list of the first version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentItem {
    pub session: Session,
    /// For shares: what is allowed, and who has created the share (O-15: not necessarily the session's owner).
    pub share: Option<(Share, ShortProfile)>,
}

static RECENT_OWNED: Statement = Statement::portable(concat!(
    "SELECT ",
    columns!(),
    r#", s."dataEncryptionKey" FROM "Session" s WHERE s."accountId" = $1 ORDER BY s."updatedAt" DESC LIMIT $2"#
));

static RECENT_SHARED: Statement = Statement::portable(concat!(
    "SELECT ",
    columns!(),
    r#", h."encryptedDataKey", h."accessLevel", h."canApprovePermissions",
         a."id", a."firstName", a."lastName", a."username", a."avatar"
       FROM "SessionShare" h
       JOIN "Session" s ON s."id" = h."sessionId"
       JOIN "Account" a ON a."id" = h."sharedByUserId"
       WHERE h."sharedWithUserId" = $1 ORDER BY s."updatedAt" DESC LIMIT $2"#
));

/// The most recently updated sessions, owned and shared.
pub async fn list_recent(ctx: &Context, account: &AccountId) -> Result<Vec<RecentItem>, storage::Error> {
    let params = || vec![account.as_str().into(), RECENT_MAX.into()];
    let owned = ctx.db.query(&RECENT_OWNED, params()).await?;
    let shared = ctx.db.query(&RECENT_SHARED, params()).await?;
    let owned = owned.into_iter().map(|mut row| RecentItem { session: Session::from_row(&mut row), share: None });
    let shared = shared.into_iter().map(|mut row| {
        let profile = ShortProfile::from_row(&mut row, KEY_COLUMN + 3, &ctx.settings);
        let share = Share::from_row(&mut row);
        RecentItem { session: Session::from_row(&mut row), share: Some((share, profile)) }
    });
    let mut items: Vec<RecentItem> = owned.chain(shared).collect();
    // Stable: owned ones come first on ties.
    items.sort_by_key(|item| std::cmp::Reverse(item.session.updated_at));
    items.truncate(RECENT_MAX as usize);
    Ok(items)
}

static ACTIVE: Statement = Statement::portable(concat!(
    "SELECT ",
    columns!(),
    r#", s."dataEncryptionKey" FROM "Session" s
       WHERE s."accountId" = $1 AND s."active" = $2 AND s."lastActiveAt" >= $3
       ORDER BY s."lastActiveAt" DESC LIMIT $4"#
));

/// The owned sessions that were heard of recently.
pub async fn list_active(ctx: &Context, account: &AccountId, limit: i64) -> Result<Vec<Session>, storage::Error> {
    let since = now_ms() - ACTIVE_WITHIN_MS;
    let params = vec![account.as_str().into(), Value::Bool(true), Value::Time(since), limit.into()];
    let rows = ctx.db.query(&ACTIVE, params).await?;
    Ok(rows.into_iter().map(|mut row| Session::from_row(&mut row)).collect())
}

/// One page of all sessions, by id, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub items: Vec<Item>,
    /// Whether sessions remain below the last one.
    pub has_next: bool,
}

static PAGE_OWNED: Statement = Statement::portable(concat!(
    "SELECT ",
    columns!(),
    r#", s."dataEncryptionKey" FROM "Session" s WHERE s."accountId" = $1 ORDER BY s."id" DESC LIMIT $2"#
));

static PAGE_OWNED_BELOW: Statement = Statement::portable(concat!(
    "SELECT ",
    columns!(),
    r#", s."dataEncryptionKey" FROM "Session" s
       WHERE s."accountId" = $1 AND s."id" < $2 ORDER BY s."id" DESC LIMIT $3"#
));

// A session that its own owner has a share of (O-34) is listed once, as owned.
static PAGE_SHARED: Statement = Statement::portable(concat!(
    "SELECT ",
    columns!(),
    r#", h."encryptedDataKey", h."accessLevel", h."canApprovePermissions"
       FROM "SessionShare" h JOIN "Session" s ON s."id" = h."sessionId"
       WHERE h."sharedWithUserId" = $1 AND s."accountId" <> h."sharedWithUserId" ORDER BY s."id" DESC LIMIT $2"#
));

static PAGE_SHARED_BELOW: Statement = Statement::portable(concat!(
    "SELECT ",
    columns!(),
    r#", h."encryptedDataKey", h."accessLevel", h."canApprovePermissions"
       FROM "SessionShare" h JOIN "Session" s ON s."id" = h."sessionId"
       WHERE h."sharedWithUserId" = $1 AND s."accountId" <> h."sharedWithUserId" AND s."id" < $2
       ORDER BY s."id" DESC LIMIT $3"#
));

/// Owned and shared sessions together, optionally below an id.
pub async fn list(
    ctx: &Context,
    account: &AccountId,
    below: Option<&str>,
    limit: usize,
) -> Result<Page, storage::Error> {
    // One more than asked for tells whether there is a next page.
    let count = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let (owned, shared) = match below {
        None => {
            let params = || vec![account.as_str().into(), count.into()];
            (ctx.db.query(&PAGE_OWNED, params()).await?, ctx.db.query(&PAGE_SHARED, params()).await?)
        }
        Some(below) => {
            let params = || vec![account.as_str().into(), below.into(), count.into()];
            (ctx.db.query(&PAGE_OWNED_BELOW, params()).await?, ctx.db.query(&PAGE_SHARED_BELOW, params()).await?)
        }
    };
    let owned = owned.into_iter().map(|mut row| Item { session: Session::from_row(&mut row), share: None });
    let shared = shared.into_iter().map(|mut row| {
        let share = Share::from_row(&mut row);
        Item { session: Session::from_row(&mut row), share: Some(share) }
    });
    let mut items: Vec<Item> = owned.chain(shared).collect();
    items.sort_by(|a, b| b.session.id.cmp(&a.session.id));
    let has_next = items.len() > limit;
    items.truncate(limit);
    Ok(Page { items, has_next })
}

static ONE: Statement = Statement::portable(concat!(
    "SELECT ",
    columns!(),
    r#", s."dataEncryptionKey", h."accessLevel", h."canApprovePermissions", h."encryptedDataKey", s."accountId"
       FROM "Session" s LEFT JOIN "SessionShare" h ON h."sessionId" = s."id" AND h."sharedWithUserId" = $1
       WHERE s."id" = $2"#
));

/// A session that the caller has any access to.
pub async fn get(ctx: &Context, account: &AccountId, session: &SessionId) -> Result<Option<Item>, storage::Error> {
    let params = vec![account.as_str().into(), session.as_str().into()];
    let Some(mut row) = ctx.db.query_opt(&ONE, params).await? else { return Ok(None) };
    let is_owner = row.text(KEY_COLUMN + 4) == account.as_str();
    if is_owner {
        return Ok(Some(Item { session: Session::from_row(&mut row), share: None }));
    }
    // Without a share the joined columns are NULL.
    let Some(key) = row.opt_bytes(KEY_COLUMN + 3) else { return Ok(None) };
    let share = Share::from_row(&mut row);
    Ok(Some(Item {
        session: Session { data_encryption_key: Some(key), ..Session::from_row(&mut row) },
        share: Some(share),
    }))
}

static ACCESS: Statement = Statement::portable(
    r#"SELECT s."accountId", h."accessLevel"
       FROM "Session" s LEFT JOIN "SessionShare" h ON h."sessionId" = s."id" AND h."sharedWithUserId" = $1
       WHERE s."id" = $2"#,
);

/// How far an account may go with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    View,
    Edit,
    Admin,
    Owner,
}

impl Access {
    fn of(caller: &AccountId, owner: &str, share: Option<&str>) -> Option<Self> {
        match share {
            _ if caller == owner => Some(Self::Owner),
            Some("admin") => Some(Self::Admin),
            Some("edit") => Some(Self::Edit),
            Some(_) => Some(Self::View),
            None => None,
        }
    }
}

/// The caller's access to a session; `None` if there is none, or no such session.
pub async fn access(ctx: &Context, account: &AccountId, session: &SessionId) -> Result<Option<Access>, storage::Error> {
    let params = vec![account.as_str().into(), session.as_str().into()];
    let row = ctx.db.query_opt(&ACCESS, params).await?;
    Ok(row.and_then(|row| Access::of(account, row.text(0), row.opt_text(1).as_deref())))
}

// ---- creating -----------------------------------------------------------------------------------------------------

/// A session to be found or created.
#[derive(Clone, Debug)]
pub struct Create {
    pub tag: String,
    pub metadata: String,
    pub data_encryption_key: Option<Vec<u8>>,
}

static BY_TAG: Statement = Statement::portable(concat!(
    "SELECT ",
    columns!(),
    r#", s."dataEncryptionKey" FROM "Session" s WHERE s."accountId" = $1 AND s."tag" = $2"#
));

static INSERT: Statement = Statement::portable(
    r#"INSERT INTO "Session" ("id", "accountId", "tag", "metadata", "dataEncryptionKey", "createdAt", "updatedAt",
                              "lastActiveAt", "active")
       VALUES ($1, $2, $3, $4, $5, $6, $6, $6, $7) ON CONFLICT ("accountId", "tag") DO NOTHING"#,
);

/// Finds the caller's session with this tag or creates it. Who loses a race for a tag gets the winner's session
/// (closes O-17).
pub async fn create(ctx: &Context, account: &AccountId, input: Create) -> Result<Session, storage::Error> {
    if let Some(found) = by_tag(ctx, account, &input.tag).await? {
        return Ok(found);
    }
    let now = now_ms();
    let session = Session {
        id: cuid(),
        seq: 0,
        created_at: now,
        updated_at: now,
        active: true,
        last_active_at: now,
        metadata: input.metadata,
        metadata_version: 0,
        agent_state: None,
        agent_state_version: 0,
        data_encryption_key: input.data_encryption_key,
    };
    let (row, owner, tag) = (session.clone(), account.clone(), input.tag.clone());
    let insert = async move |tx: &mut Tx<'_>| -> Result<Option<i64>, storage::Error> {
        let params = vec![
            row.id.clone().into(),
            owner.as_str().into(),
            tag.clone().into(),
            row.metadata.clone().into(),
            row.data_encryption_key.clone().into(),
            Value::Time(now),
            Value::Bool(true),
        ];
        if tx.execute(&INSERT, params).await? == 0 {
            return Ok(None);
        }
        changes::mark(tx, &owner, Kind::Session, &row.id, None, now).await.map(Some)
    };
    let Some(cursor) = ctx.transaction(account, insert).await? else {
        let winner = by_tag(ctx, account, &input.tag).await?;
        return winner.ok_or_else(|| storage::Error::Internal("a session vanished while it was created".to_string()));
    };
    ctx.events.publish(user_update(account, cursor, &NewSession::from(&session)));
    Ok(session)
}

async fn by_tag(ctx: &Context, account: &AccountId, tag: &str) -> Result<Option<Session>, storage::Error> {
    let row = ctx.db.query_opt(&BY_TAG, vec![account.as_str().into(), tag.into()]).await?;
    Ok(row.map(|mut row| Session::from_row(&mut row)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewSession<'a> {
    t: &'static str,
    id: &'a str,
    sid: &'a str,
    seq: i64,
    metadata: &'a str,
    metadata_version: i64,
    agent_state: Option<&'a str>,
    agent_state_version: i64,
    data_encryption_key: Option<String>,
    active: bool,
    active_at: i64,
    created_at: i64,
    updated_at: i64,
}

impl<'a> From<&'a Session> for NewSession<'a> {
    fn from(session: &'a Session) -> Self {
        Self {
            t: "new-session",
            id: &session.id,
            sid: &session.id,
            seq: session.seq,
            metadata: &session.metadata,
            metadata_version: session.metadata_version,
            agent_state: session.agent_state.as_deref(),
            agent_state_version: session.agent_state_version,
            data_encryption_key: session.data_encryption_key.as_deref().map(protocol::base64::encode),
            active: session.active,
            active_at: session.last_active_at,
            created_at: session.created_at,
            updated_at: session.updated_at,
        }
    }
}

// ---- deleting -----------------------------------------------------------------------------------------------------

static LOCK_OWNER: Statement = Statement::portable(r#"SELECT "accountId" FROM "Session" WHERE "id" = $1 FOR UPDATE"#);
static SHARED_WITH: Statement =
    Statement::portable(r#"SELECT "sharedWithUserId" FROM "SessionShare" WHERE "sessionId" = $1"#);
static DELETE_MESSAGES: Statement = Statement::portable(r#"DELETE FROM "SessionMessage" WHERE "sessionId" = $1"#);
static DELETE_USAGE: Statement = Statement::portable(r#"DELETE FROM "UsageReport" WHERE "sessionId" = $1"#);
static DELETE_KEYS: Statement = Statement::portable(r#"DELETE FROM "AccessKey" WHERE "sessionId" = $1"#);
static DELETE: Statement = Statement::portable(r#"DELETE FROM "Session" WHERE "id" = $1"#);

/// Owner and recipients of shares: those who are told of changes.
pub async fn participants(
    tx: &mut Tx<'_>,
    session: &SessionId,
    owner: AccountId,
) -> Result<Vec<AccountId>, storage::Error> {
    let rows = tx.query(&SHARED_WITH, vec![session.as_str().into()]).await?;
    let mut participants = vec![owner];
    for mut row in rows {
        let recipient = AccountId::from(row.take_text(0));
        if !participants.contains(&recipient) {
            participants.push(recipient);
        }
    }
    Ok(participants)
}

/// Deletes a session of the caller with everything in it. Returns whether there was one.
pub async fn delete(ctx: &Context, account: &AccountId, session: &SessionId) -> Result<bool, storage::Error> {
    let (id, caller, now) = (session.clone(), account.clone(), now_ms());
    let delete = async move |tx: &mut Tx<'_>| -> Result<Option<Vec<(AccountId, i64)>>, storage::Error> {
        let row = tx.query_opt(&LOCK_OWNER, vec![id.as_str().into()]).await?;
        let Some(owner) = row.map(|mut row| row.take_text(0)).filter(|owner| caller == owner.as_str()) else {
            return Ok(None);
        };
        let participants = participants(tx, &id, AccountId::from(owner)).await?;
        // The first three would keep the session from being deleted, or outlive it.
        for statement in [&DELETE_MESSAGES, &DELETE_USAGE, &DELETE_KEYS, &DELETE] {
            tx.execute(statement, vec![id.as_str().into()]).await?;
        }
        changes::mark_all(tx, &participants, Kind::Session, id.as_str(), now).await.map(Some)
    };
    let Some(cursors) = ctx.transaction(account, delete).await? else { return Ok(false) };
    #[derive(Serialize)]
    struct Body<'a> {
        t: &'static str,
        sid: &'a str,
        id: &'a str,
    }
    for (participant, cursor) in cursors {
        let body = Body { t: "delete-session", sid: session.as_str(), id: session.as_str() };
        let (account, seq) = (participant.clone(), cursor);
        ctx.events.publish(Event::Withdrawn { account, session: session.clone(), seq });
        ctx.events.publish(user_update(&participant, cursor, &body));
    }
    Ok(true)
}

// ---- changing -----------------------------------------------------------------------------------------------------

/// A new value for something that still has the version the client has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit<T> {
    pub value: T,
    pub expected_version: i64,
}

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Versioned<T> {
    pub value: T,
    pub version: i64,
}

/// Changes to a session; at least one of the two is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edits {
    pub metadata: Option<Edit<String>>,
    pub agent_state: Option<Edit<Option<String>>>,
}

/// The parts of a session that were given in [`Edits`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionedParts {
    pub metadata: Option<Versioned<String>>,
    pub agent_state: Option<Versioned<Option<String>>>,
}

/// What became of the changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Updated {
    /// As they are now.
    Stored(VersionedParts),
    /// As they are stored; nothing was written.
    VersionMismatch(VersionedParts),
    SessionNotFound,
    Forbidden,
}

static LOCK_PARTS: Statement = Statement::portable(
    r#"SELECT "accountId", "metadata", "metadataVersion", "agentState", "agentStateVersion" FROM "Session"
       WHERE "id" = $1 FOR NO KEY UPDATE"#,
);

static SHARE_LEVEL: Statement = Statement::portable(
    r#"SELECT "accessLevel" FROM "SessionShare" WHERE "sessionId" = $1 AND "sharedWithUserId" = $2"#,
);

static STORE_METADATA: Statement = Statement::portable(
    r#"UPDATE "Session" SET "metadata" = $1, "metadataVersion" = $2, "updatedAt" = $3 WHERE "id" = $4"#,
);

static STORE_AGENT_STATE: Statement = Statement::portable(
    r#"UPDATE "Session" SET "agentState" = $1, "agentStateVersion" = $2, "updatedAt" = $3 WHERE "id" = $4"#,
);

/// Changes metadata, state or both at once, and tells every participant. `skip` is the connection that asked for it.
pub async fn update(
    ctx: &Context,
    account: &AccountId,
    session: &SessionId,
    edits: Edits,
    skip: Option<SocketId>,
) -> Result<Updated, storage::Error> {
    let (id, caller, now) = (session.clone(), account.clone(), now_ms());
    let update = async move |tx: &mut Tx<'_>| apply(tx, &id, &caller, &edits, now).await;
    let (outcome, cursors) = ctx.transaction(account, update).await?;
    if let Updated::Stored(parts) = &outcome {
        let body = Body::from(update_body(session, parts));
        for (participant, seq) in cursors {
            ctx.events.publish(Event::Update(Update {
                seq,
                audience: Audience::Session(session.clone()),
                body: body.clone(),
                skip: skip.filter(|_| participant == *account),
                account: participant,
            }));
        }
    }
    Ok(outcome)
}

type Cursors = Vec<(AccountId, i64)>;

async fn apply(
    tx: &mut Tx<'_>,
    session: &SessionId,
    caller: &AccountId,
    edits: &Edits,
    now: i64,
) -> Result<(Updated, Cursors), storage::Error> {
    let nothing = |outcome| Ok((outcome, Vec::new()));
    let Some(mut row) = tx.query_opt(&LOCK_PARTS, vec![session.as_str().into()]).await? else {
        return nothing(Updated::SessionNotFound);
    };
    let owner = AccountId::from(row.take_text(0));
    if owner != *caller {
        let params = vec![session.as_str().into(), caller.as_str().into()];
        let share = tx.query_opt(&SHARE_LEVEL, params).await?;
        if !share.is_some_and(|share| can_edit(share.text(0))) {
            return nothing(Updated::Forbidden);
        }
    }
    // The row is locked: what is read here is still true when it is written below.
    let (metadata_version, agent_state_version) = (row.int(2), row.int(4));
    let is_as_expected = edits.metadata.as_ref().is_none_or(|edit| edit.expected_version == metadata_version)
        && edits.agent_state.as_ref().is_none_or(|edit| edit.expected_version == agent_state_version);
    if !is_as_expected {
        let metadata = Versioned { value: row.take_text(1), version: metadata_version };
        let agent_state = Versioned { value: row.opt_text(3), version: agent_state_version };
        return nothing(Updated::VersionMismatch(VersionedParts {
            metadata: edits.metadata.as_ref().map(|_| metadata),
            agent_state: edits.agent_state.as_ref().map(|_| agent_state),
        }));
    }
    let mut stored = VersionedParts::default();
    if let Some(edit) = &edits.metadata {
        let version = metadata_version + 1;
        let params = vec![edit.value.clone().into(), version.into(), Value::Time(now), session.as_str().into()];
        tx.execute(&STORE_METADATA, params).await?;
        stored.metadata = Some(Versioned { value: edit.value.clone(), version });
    }
    if let Some(edit) = &edits.agent_state {
        let version = agent_state_version + 1;
        let params = vec![edit.value.clone().into(), version.into(), Value::Time(now), session.as_str().into()];
        tx.execute(&STORE_AGENT_STATE, params).await?;
        stored.agent_state = Some(Versioned { value: edit.value.clone(), version });
    }
    let participants = participants(tx, session, owner).await?;
    let cursors = changes::mark_all(tx, &participants, Kind::Session, session.as_str(), now).await?;
    Ok((Updated::Stored(stored), cursors))
}

fn update_body(session: &SessionId, parts: &VersionedParts) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        t: &'static str,
        id: &'a str,
        sid: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<&'a Versioned<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        agent_state: Option<&'a Versioned<Option<String>>>,
    }
    event_body(&Body {
        t: "update-session",
        id: session.as_str(),
        sid: session.as_str(),
        metadata: parts.metadata.as_ref(),
        agent_state: parts.agent_state.as_ref(),
    })
}
