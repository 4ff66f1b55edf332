//! Visiting a public link: whether it may be used, counting its uses, and what a visitor sees.
//!
//! Owns: the checks of a visit and the access log. Never: who the visitor claims to be; that has been verified.
//! Invariants: a link is never used more often than it allows, however many visit at once (O-40 is closed); what its owner
//! has changed, or whom blocked, before a use is counted decides about that use.
//! Implements `spec/http.md` §16.9.

use super::super::accounts::ShortProfile;
use super::super::{Context, RawJson};
use crate::crypto::hash;
use crate::model::ids::{AccountId, SessionId, cuid};
use crate::model::time::now_ms;
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement, Tx};

/// Who knocks, and how.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub token: String,
    pub account: Option<AccountId>,
    pub consents: bool,
    /// Recorded only if the link asks for consent.
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
}

/// Why a visitor is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such link, expired, used up, or the visitor is blocked.
    Unavailable,
    ConsentRequired {
        session: SessionId,
        owner: Option<ShortProfile>,
    },
    SessionNotFound,
}

/// The session behind a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub session: SessionId,
    pub seq: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub active: bool,
    pub active_at: i64,
    pub metadata: String,
    pub metadata_version: i64,
    pub agent_state: Option<String>,
    pub agent_state_version: i64,
    pub owner: ShortProfile,
    pub encrypted_data_key: Vec<u8>,
    pub is_consent_required: bool,
}

/// Opens a link, which counts as a use and is logged.
pub async fn open(ctx: &Context, visitor: Visitor) -> Result<Result<Shown, Refusal>, Error> {
    let now = now_ms();
    // Whoever is turned away locks nothing.
    let link = match look(ctx, &visitor, now).await? {
        Ok(link) => link,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // Not in the line of its owner, whom strangers must not hold up: visits of a link wait for each other alone.
    let line = AccountId::from(format!("link:{}", link.id));
    let outcome = ctx.transaction(&line, async move |tx| enter(tx, &visitor, now).await).await?;
    let (link, mut session) = match outcome {
        Ok(entered) => entered,
        Err(stopped) => return Ok(Err(stopped.into_refusal(ctx))),
    };
    Ok(Ok(Shown {
        session: session.take_text(0).into(),
        seq: session.int(1),
        created_at: session.time(2),
        updated_at: session.time(3),
        active: session.bool(4),
        active_at: session.time(5),
        metadata: session.take_text(6),
        metadata_version: session.int(7),
        agent_state: session.opt_text(8),
        agent_state_version: session.int(9),
        owner: ShortProfile::from_row(&mut session, 10, &ctx.settings),
        encrypted_data_key: link.encrypted_data_key,
        is_consent_required: link.is_consent_required,
    }))
}

/// A link that may be used.
struct Link {
    id: String,
    session: SessionId,
    encrypted_data_key: Vec<u8>,
    is_consent_required: bool,
}

/// Why a visit ended early, before the rows became answers.
enum Stopped {
    Unavailable,
    ConsentRequired(SessionId, Option<Row>),
    SessionNotFound,
}

impl Stopped {
    fn into_refusal(self, ctx: &Context) -> Refusal {
        match self {
            Self::Unavailable => Refusal::Unavailable,
            Self::SessionNotFound => Refusal::SessionNotFound,
            Self::ConsentRequired(session, owner) => {
                let owner = owner.map(|mut row| ShortProfile::from_row(&mut row, 0, &ctx.settings));
                Refusal::ConsentRequired { session, owner }
            }
        }
    }
}

async fn enter(tx: &mut Tx<'_>, visitor: &Visitor, now: i64) -> Result<Result<(Link, Row), Stopped>, Error> {
    // Locked before it is read: the owner may rotate or restrict the link, or block the visitor, and somebody else may be
    // about to take the last use.
    if tx.query_opt(&LOCK, vec![token_hash(visitor).into()]).await?.is_none() {
        return Ok(Err(Stopped::Unavailable));
    }
    let found = tx.query_opt(&FIND, find_params(visitor)).await?;
    let link = match judge(found, visitor, now) {
        Judged::Open(link) => link,
        Judged::Unavailable => return Ok(Err(Stopped::Unavailable)),
        Judged::NeedsConsent(session) => {
            let owner = tx.query_opt(&OWNER, vec![session.as_str().into()]).await?;
            return Ok(Err(Stopped::ConsentRequired(session, owner)));
        }
    };
    tx.execute(&COUNT, vec![Value::Time(now), link.id.as_str().into()]).await?;
    let recorded = |text: &Option<String>| text.clone().filter(|_| link.is_consent_required);
    let params = vec![
        cuid().into(),
        link.id.as_str().into(),
        visitor.account.as_ref().map(|account| account.as_str().to_owned()).into(),
        Value::Time(now),
        recorded(&visitor.ip_address).into(),
        recorded(&visitor.user_agent).into(),
    ];
    tx.execute(&LOG, params).await?;
    let session = tx.query_opt(&SESSION, vec![link.session.as_str().into()]).await?;
    Ok(session.map(|session| (link, session)).ok_or(Stopped::SessionNotFound))
}

/// A message of the session behind a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    pub seq: i64,
    pub content: RawJson,
    pub local_id: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
}

/// Messages shown to a visitor.
const MESSAGES_MAX: i64 = 150;

/// The newest messages behind a link, newest first. Reading them is no use and is not logged (O-41).
pub async fn messages(ctx: &Context, visitor: Visitor) -> Result<Result<Vec<Message>, Refusal>, Error> {
    let link = match look(ctx, &visitor, now_ms()).await? {
        Ok(link) => link,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let rows = ctx.db.query(&MESSAGES, vec![link.session.as_str().into(), MESSAGES_MAX.into()]).await?;
    let message = |mut row: Row| Message {
        id: row.take_text(0),
        seq: row.int(1),
        content: RawJson(row.json(2)),
        local_id: row.opt_text(3),
        created_at: row.time(4),
        updated_at: row.time(5),
    };
    Ok(Ok(rows.into_iter().map(message).collect()))
}

/// The link, if the visitor may use it now.
async fn look(ctx: &Context, visitor: &Visitor, now: i64) -> Result<Result<Link, Refusal>, Error> {
    let found = ctx.db.query_opt(&FIND, find_params(visitor)).await?;
    Ok(match judge(found, visitor, now) {
        Judged::Open(link) => Ok(link),
        Judged::Unavailable => Err(Refusal::Unavailable),
        Judged::NeedsConsent(session) => {
            let owner = ctx.db.query_opt(&OWNER, vec![session.as_str().into()]).await?;
            Err(Stopped::ConsentRequired(session, owner).into_refusal(ctx))
        }
    })
}

fn find_params(visitor: &Visitor) -> Vec<Value> {
    let account = visitor.account.as_ref().map(|account| account.as_str().to_owned());
    vec![account.into(), token_hash(visitor).into()]
}

fn token_hash(visitor: &Visitor) -> Vec<u8> {
    hash::sha256(visitor.token.as_bytes()).to_vec()
}

enum Judged {
    Open(Link),
    Unavailable,
    NeedsConsent(SessionId),
}

/// Availability comes before consent.
fn judge(row: Option<Row>, visitor: &Visitor, now: i64) -> Judged {
    let Some(mut row) = row else { return Judged::Unavailable };
    let is_expired = row.opt_time(3).is_some_and(|expires_at| expires_at < now);
    let is_used_up = row.opt_int(4).is_some_and(|max_uses| row.int(5) >= max_uses);
    let is_blocked = row.opt_text(7).is_some();
    if is_expired || is_used_up || is_blocked {
        return Judged::Unavailable;
    }
    let link = Link {
        id: row.take_text(0),
        session: row.take_text(1).into(),
        encrypted_data_key: row.bytes(2).to_vec(),
        is_consent_required: row.bool(6),
    };
    if link.is_consent_required && !visitor.consents { Judged::NeedsConsent(link.session) } else { Judged::Open(link) }
}

// Not FOR NO KEY UPDATE: a block refers to its link, and must come either before this visit or after it.
static LOCK: Statement =
    Statement::portable(r#"SELECT "id" FROM "PublicSessionShare" WHERE "tokenHash" = $1 FOR UPDATE"#);

// The last column tells whether the visitor is blocked; an anonymous one never is.
static FIND: Statement = Statement::portable(
    r#"SELECT p."id", p."sessionId", p."encryptedDataKey", p."expiresAt", p."maxUses", p."useCount",
              p."isConsentRequired", b."id"
       FROM "PublicSessionShare" p
       LEFT JOIN "PublicShareBlockedUser" b ON b."publicShareId" = p."id" AND b."userId" = $1
       WHERE p."tokenHash" = $2"#,
);

static COUNT: Statement = Statement::portable(
    r#"UPDATE "PublicSessionShare" SET "useCount" = "useCount" + 1, "updatedAt" = $1 WHERE "id" = $2"#,
);

static LOG: Statement = Statement::portable(
    r#"INSERT INTO "PublicShareAccessLog" ("id", "publicShareId", "userId", "accessedAt", "ipAddress", "userAgent")
       VALUES ($1, $2, $3, $4, $5, $6)"#,
);

static OWNER: Statement = Statement::portable(
    r#"SELECT a."id", a."firstName", a."lastName", a."username", a."avatar"
       FROM "Session" s JOIN "Account" a ON a."id" = s."accountId" WHERE s."id" = $1"#,
);

static SESSION: Statement = Statement::portable(
    r#"SELECT s."id", s."seq", s."createdAt", s."updatedAt", s."active", s."lastActiveAt", s."metadata",
              s."metadataVersion", s."agentState", s."agentStateVersion",
              a."id", a."firstName", a."lastName", a."username", a."avatar"
       FROM "Session" s JOIN "Account" a ON a."id" = s."accountId" WHERE s."id" = $1"#,
);

// The newest messages are those with the highest numbers; only these few are sorted by time.
static MESSAGES: Statement = Statement::portable(
    r#"SELECT "id", "seq", "content", "localId", "createdAt", "updatedAt"
       FROM (SELECT "id", "seq", "content", "localId", "createdAt", "updatedAt" FROM "SessionMessage"
             WHERE "sessionId" = $1 ORDER BY "seq" DESC LIMIT $2) AS newest
       ORDER BY "createdAt" DESC, "seq" DESC"#,
);
