//! The door of `domain::sessions` (`spec/http.md` §14.3–14.8, §14.11).

use std::rc::Rc;

use protocol::base64;
use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::domain::accounts::ShortProfile;
use crate::domain::sessions::{self, Edit, Edits, Session, Share, Updated, Versioned};
use crate::model::ids::{AccountId, SessionId};

/// What page cursors begin with; the rest is a session id.
const CURSOR_PREFIX: &str = "cursor_v1_";

/// Fields common to all listings (§14.2).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    id: String,
    seq: i64,
    created_at: i64,
    updated_at: i64,
    active: bool,
    active_at: i64,
    metadata: String,
    metadata_version: i64,
    agent_state: Option<String>,
    agent_state_version: i64,
    data_encryption_key: Option<String>,
}

impl From<Session> for Fields {
    fn from(session: Session) -> Self {
        Self {
            id: session.id,
            seq: session.seq,
            created_at: session.created_at,
            updated_at: session.updated_at,
            active: session.active,
            active_at: session.last_active_at,
            metadata: session.metadata,
            metadata_version: session.metadata_version,
            agent_state: session.agent_state,
            agent_state_version: session.agent_state_version,
            data_encryption_key: session.data_encryption_key.as_deref().map(base64::encode),
        }
    }
}

#[derive(Serialize)]
struct Sessions<T> {
    sessions: Vec<T>,
}

/// A session of the first version: `lastMessage` is there and always null.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WithLastMessage {
    #[serde(flatten)]
    fields: Fields,
    last_message: (),
    #[serde(flatten)]
    shared: Option<Shared>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shared {
    owner: String,
    owner_profile: ShortProfile,
    #[serde(flatten)]
    share: Share,
}

pub async fn list_recent(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    let items = sessions::list_recent(&ctx, &caller).await?;
    let item = |item: sessions::RecentItem| WithLastMessage {
        fields: item.session.into(),
        last_message: (),
        shared: item.share.map(|(share, profile)| Shared { owner: profile.id.clone(), owner_profile: profile, share }),
    };
    Ok(Response::ok(&Sessions { sessions: items.into_iter().map(item).collect() }))
}

pub struct ActiveQuery {
    limit: i64,
}

impl FromRequest for ActiveQuery {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { limit: parts.query().integer_or("limit", 1..=500, 150) }
    }
}

pub async fn list_active(ctx: Rc<Context>, caller: AccountId, query: ActiveQuery) -> Result<Response, Error> {
    let sessions = sessions::list_active(&ctx, &caller, query.limit).await?;
    Ok(Response::ok(&Sessions { sessions: sessions.into_iter().map(Fields::from).collect() }))
}

/// A session of the second version.
#[derive(Serialize)]
struct WithShare {
    #[serde(flatten)]
    fields: Fields,
    share: Option<Share>,
}

impl From<sessions::Item> for WithShare {
    fn from(item: sessions::Item) -> Self {
        Self { fields: item.session.into(), share: item.share }
    }
}

pub struct ListQuery {
    cursor: Option<String>,
    limit: i64,
}

impl FromRequest for ListQuery {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut query = parts.query();
        Self { cursor: query.text_opt("cursor"), limit: query.integer_or("limit", 1..=200, 50) }
    }
}

pub async fn list(ctx: Rc<Context>, caller: AccountId, query: ListQuery) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        sessions: Vec<WithShare>,
        next_cursor: Option<String>,
        has_next: bool,
    }
    let below = match query.cursor.as_deref() {
        None | Some("") => None,
        Some(cursor) => {
            Some(cursor.strip_prefix(CURSOR_PREFIX).ok_or_else(|| Error::refused(400, "Invalid cursor format"))?)
        }
    };
    let limit = usize::try_from(query.limit).unwrap_or_default();
    let page = sessions::list(&ctx, &caller, below, limit).await?;
    let last = page.items.last().filter(|_| page.has_next);
    Ok(Response::ok(&Body {
        next_cursor: last.map(|item| format!("{CURSOR_PREFIX}{}", item.session.id)),
        has_next: page.has_next,
        sessions: page.items.into_iter().map(WithShare::from).collect(),
    }))
}

/// The session named in the path.
pub struct Named {
    session: SessionId,
}

impl FromRequest for Named {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { session: SessionId::from(parts.params().text("sessionId")) }
    }
}

pub async fn get(ctx: Rc<Context>, caller: AccountId, named: Named) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        session: WithShare,
    }
    let item = sessions::get(&ctx, &caller, &named.session).await?;
    let item = item.ok_or_else(|| Error::refused(404, "Session not found"))?;
    Ok(Response::ok(&Body { session: item.into() }))
}

pub struct Create {
    tag: String,
    metadata: String,
    data_encryption_key: Option<String>,
}

impl FromRequest for Create {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        let (tag, metadata) = (body.text("tag"), body.text("metadata"));
        // O-16: accepted and ignored.
        body.text_nullish("agentState");
        Self { tag, metadata, data_encryption_key: body.text_nullish("dataEncryptionKey") }
    }
}

pub async fn create(ctx: Rc<Context>, caller: AccountId, create: Create) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        session: WithLastMessage,
    }
    let key = create.data_encryption_key.filter(|key| !key.is_empty());
    let input = sessions::Create {
        tag: create.tag,
        metadata: create.metadata,
        data_encryption_key: key.map(|key| base64::decode_lenient(&key)),
    };
    let session = sessions::create(&ctx, &caller, input).await?;
    let session = WithLastMessage { fields: session.into(), last_message: (), shared: None };
    Ok(Response::ok(&Body { session }))
}

pub async fn delete(ctx: Rc<Context>, caller: AccountId, named: Named) -> Result<Response, Error> {
    if sessions::delete(&ctx, &caller, &named.session).await? {
        Ok(Response::success())
    } else {
        Err(Error::refused(404, "Session not found or not owned by user"))
    }
}

pub struct Update {
    session: SessionId,
    edits: Edits,
}

impl FromRequest for Update {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let session = SessionId::from(parts.params().text("sessionId"));
        let mut body = parts.body();
        let metadata = body.object_opt("metadata", |fields| Edit {
            value: fields.text("ciphertext"),
            expected_version: fields.integer("expectedVersion", 0..),
        });
        let agent_state = body.object_opt("agentState", |fields| Edit {
            value: fields.text_nullable("ciphertext"),
            expected_version: fields.integer("expectedVersion", 0..),
        });
        Self { session, edits: Edits { metadata, agent_state } }
    }
}

pub async fn update(ctx: Rc<Context>, caller: AccountId, update: Update) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Version {
        version: i64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<M, A> {
        success: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<M>,
        #[serde(skip_serializing_if = "Option::is_none")]
        agent_state: Option<A>,
    }
    let Update { session, edits } = update;
    let is_empty = edits.metadata.is_none() && edits.agent_state.is_none();
    if is_empty || session.as_str().is_empty() {
        return Err(Error::refused(400, "Invalid parameters"));
    }
    let outcome = sessions::update(&ctx, &caller, &session, edits, None).await;
    match outcome.map_err(Error::failure("Failed to update session"))? {
        Updated::Stored(parts) => Ok(Response::ok(&Body {
            success: true,
            error: None,
            metadata: parts.metadata.map(|metadata| Version { version: metadata.version }),
            agent_state: parts.agent_state.map(|state| Version { version: state.version }),
        })),
        Updated::VersionMismatch(parts) => Ok(Response::ok(&Body::<Versioned<String>, Versioned<Option<String>>> {
            success: false,
            error: Some("version-mismatch"),
            metadata: parts.metadata,
            agent_state: parts.agent_state,
        })),
        Updated::SessionNotFound => Err(Error::refused(404, "Session not found")),
        Updated::Forbidden => Err(Error::refused(403, "Forbidden")),
    }
}
