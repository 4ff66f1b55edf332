//! The doors of `domain::public_shares`: managing the link of a session, and using it (`spec/http.md` §16.8–16.9).

use std::rc::Rc;

use protocol::base64;
use serde::Serialize;

use crate::api::error::Error;
use crate::api::request::Request;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, POSITIVE, Parts};
use crate::domain::accounts::ShortProfile;
use crate::domain::public_shares::visits::{self, Message, Shown, Visitor};
use crate::domain::public_shares::{self, Access, Block, PublicShare, Refusal, Wanted};
use crate::domain::{Context, RawJson};
use crate::model::ids::{AccountId, SessionId};

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let (status, error) = match refusal {
            Refusal::Forbidden => (403, "Forbidden"),
            Refusal::NoLink => (404, "Public share not found"),
            Refusal::TokenRequired => (400, "token required"),
            Refusal::KeyRequired => (400, "encryptedDataKey required"),
            Refusal::KeyRequiredForRotation => (400, "encryptedDataKey required when rotating token"),
        };
        Self::refused(status, error)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    id: String,
    /// The token of the request; the server itself does not know it.
    token: Option<String>,
    expires_at: Option<i64>,
    max_uses: Option<i64>,
    use_count: i64,
    is_consent_required: bool,
    created_at: i64,
    updated_at: i64,
}

impl Link {
    fn of(link: PublicShare, token: Option<String>) -> Self {
        Self {
            id: link.id,
            token,
            expires_at: link.expires_at,
            max_uses: link.max_uses,
            use_count: link.use_count,
            is_consent_required: link.is_consent_required,
            created_at: link.created_at,
            updated_at: link.updated_at,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinkBody {
    public_share: Option<Link>,
}

pub struct OfSession {
    session: SessionId,
}

impl FromRequest for OfSession {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { session: parts.params().text("sessionId").into() }
    }
}

pub struct Put {
    session: SessionId,
    token: Option<String>,
    encrypted_data_key: Option<String>,
    expires_at: Option<f64>,
    max_uses: Option<i64>,
    is_consent_required: Option<bool>,
}

impl FromRequest for Put {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let session = parts.params().text("sessionId").into();
        let mut body = parts.body();
        Self {
            session,
            token: body.text_opt("token"),
            encrypted_data_key: body.text_opt("encryptedDataKey"),
            expires_at: body.number_opt("expiresAt"),
            max_uses: body.integer_opt("maxUses", POSITIVE),
            is_consent_required: body.boolean_opt("isConsentRequired"),
        }
    }
}

pub async fn put(ctx: Rc<Context>, caller: AccountId, input: Put) -> Result<Response, Error> {
    let key = input.encrypted_data_key.filter(|key| !key.is_empty());
    let wanted = Wanted {
        token: input.token.clone(),
        encrypted_data_key: key.map(|key| base64::decode_lenient(&key)),
        expires_at: input.expires_at,
        max_uses: input.max_uses,
        is_consent_required: input.is_consent_required.unwrap_or_default(),
    };
    let link = public_shares::put(&ctx, &caller, &input.session, wanted).await??;
    Ok(Response::ok(&LinkBody { public_share: Some(Link::of(link, input.token)) }))
}

pub async fn get(ctx: Rc<Context>, caller: AccountId, of: OfSession) -> Result<Response, Error> {
    let link = public_shares::get(&ctx, &caller, &of.session).await??;
    Ok(Response::ok(&LinkBody { public_share: link.map(|link| Link::of(link, None)) }))
}

pub async fn delete(ctx: Rc<Context>, caller: AccountId, of: OfSession) -> Result<Response, Error> {
    match public_shares::delete(&ctx, &caller, &of.session).await? {
        Ok(()) => Ok(Response::success()),
        // Only this route calls a missing link a missing share.
        Err(Refusal::NoLink) => Err(Error::refused(404, "Share not found")),
        Err(refusal) => Err(refusal.into()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockFields {
    id: String,
    user: ShortProfile,
    reason: Option<String>,
    blocked_at: i64,
}

impl From<Block> for BlockFields {
    fn from(block: Block) -> Self {
        Self { id: block.id, user: block.user, reason: block.reason, blocked_at: block.blocked_at }
    }
}

pub async fn list_blocks(ctx: Rc<Context>, caller: AccountId, of: OfSession) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        blocked_users: Vec<BlockFields>,
    }
    let blocks = public_shares::blocks(&ctx, &caller, &of.session).await??;
    Ok(Response::ok(&Body { blocked_users: blocks.into_iter().map(BlockFields::from).collect() }))
}

pub struct NewBlock {
    session: SessionId,
    user: String,
    reason: Option<String>,
}

impl FromRequest for NewBlock {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let session = parts.params().text("sessionId").into();
        let mut body = parts.body();
        Self { session, user: body.text("userId"), reason: body.text_opt("reason") }
    }
}

pub async fn block(ctx: Rc<Context>, caller: AccountId, input: NewBlock) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        blocked_user: BlockFields,
    }
    let block = public_shares::block(&ctx, &caller, &input.session, &input.user.into(), input.reason).await??;
    Ok(Response::ok(&Body { blocked_user: block.into() }))
}

pub struct NamedBlock {
    session: SessionId,
    block: String,
}

impl FromRequest for NamedBlock {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut params = parts.params();
        Self { session: params.text("sessionId").into(), block: params.text("blockedUserId") }
    }
}

pub async fn unblock(ctx: Rc<Context>, caller: AccountId, named: NamedBlock) -> Result<Response, Error> {
    let is_lifted = public_shares::unblock(&ctx, &caller, &named.session, &named.block).await??;
    if is_lifted { Ok(Response::success()) } else { Err(Error::internal("no such block")) }
}

pub struct Accesses {
    session: SessionId,
    limit: i64,
}

impl FromRequest for Accesses {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let session = parts.params().text("sessionId").into();
        Self { session, limit: parts.query().integer_or("limit", 1..=100, 50) }
    }
}

pub async fn list_accesses(ctx: Rc<Context>, caller: AccountId, input: Accesses) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        logs: Vec<Fields>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        id: String,
        user: Option<ShortProfile>,
        accessed_at: i64,
        ip_address: Option<String>,
        user_agent: Option<String>,
    }
    let fields = |access: Access| Fields {
        id: access.id,
        user: access.user,
        accessed_at: access.accessed_at,
        ip_address: access.ip_address,
        user_agent: access.user_agent,
    };
    let accesses = public_shares::accesses(&ctx, &caller, &input.session, input.limit).await??;
    Ok(Response::ok(&Body { logs: accesses.into_iter().map(fields).collect() }))
}

pub struct Visit {
    token: String,
    consents: bool,
    ip_address: Option<String>,
    user_agent: Option<String>,
}

impl FromRequest for Visit {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let token = parts.params().text("token");
        let consent = parts.query().text_opt("consent").unwrap_or_default();
        let request = parts.request();
        Self {
            token,
            // O-39: for the reference server any text is a consent.
            consents: !matches!(consent.as_str(), "" | "0" | "false"),
            ip_address: client_address(request),
            user_agent: request.header("user-agent").filter(|agent| !agent.is_empty()).map(str::to_owned),
        }
    }
}

/// The visitor's address as proxies report it. The peer itself is never recorded.
fn client_address(request: &Request) -> Option<String> {
    let given = |name| request.header(name).filter(|text: &&str| !text.is_empty());
    let forwarded = given("x-forwarded-for").map(|list| list.split(',').next().unwrap_or_default().trim());
    forwarded.or_else(|| given("x-real-ip")).map(str::to_owned)
}

impl Visit {
    fn by(self, account: Option<AccountId>) -> Visitor {
        let Self { token, consents, ip_address, user_agent } = self;
        Visitor { token, account, consents, ip_address, user_agent }
    }
}

impl From<visits::Refusal> for Error {
    fn from(refusal: visits::Refusal) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ConsentRequired {
            error: &'static str,
            requires_consent: bool,
            session_id: SessionId,
            owner: Option<ShortProfile>,
        }
        match refusal {
            visits::Refusal::Unavailable => Self::refused(404, "Public share not found or expired"),
            visits::Refusal::SessionNotFound => Self::refused(404, "Session not found"),
            visits::Refusal::ConsentRequired { session, owner } => {
                let error = "Consent required";
                let body = ConsentRequired { error, requires_consent: true, session_id: session, owner };
                Self::Answer(Response::json(403, &body))
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownSession {
    id: SessionId,
    seq: i64,
    created_at: i64,
    updated_at: i64,
    active: bool,
    active_at: i64,
    metadata: String,
    metadata_version: i64,
    agent_state: Option<String>,
    agent_state_version: i64,
}

pub async fn open(ctx: Rc<Context>, caller: Option<AccountId>, visit: Visit) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        session: ShownSession,
        owner: ShortProfile,
        access_level: &'static str,
        encrypted_data_key: String,
        is_consent_required: bool,
    }
    let shown: Shown = visits::open(&ctx, visit.by(caller)).await??;
    Ok(Response::ok(&Body {
        session: ShownSession {
            id: shown.session,
            seq: shown.seq,
            created_at: shown.created_at,
            updated_at: shown.updated_at,
            active: shown.active,
            active_at: shown.active_at,
            metadata: shown.metadata,
            metadata_version: shown.metadata_version,
            agent_state: shown.agent_state,
            agent_state_version: shown.agent_state_version,
        },
        owner: shown.owner,
        access_level: "view",
        encrypted_data_key: base64::encode(&shown.encrypted_data_key),
        is_consent_required: shown.is_consent_required,
    }))
}

pub async fn messages(ctx: Rc<Context>, caller: Option<AccountId>, visit: Visit) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        messages: Vec<Fields>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        id: String,
        seq: i64,
        content: RawJson,
        local_id: Option<String>,
        created_at: i64,
        updated_at: i64,
    }
    let fields = |message: Message| Fields {
        id: message.id,
        seq: message.seq,
        content: message.content,
        local_id: message.local_id,
        created_at: message.created_at,
        updated_at: message.updated_at,
    };
    let messages = visits::messages(&ctx, visit.by(caller)).await??;
    Ok(Response::ok(&Body { messages: messages.into_iter().map(fields).collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request::Body;
    use crate::api::testing::request;

    #[test]
    fn client_addresses_follow_the_vectors() {
        let table = [
            ("X-Forwarded-For: 1.2.3.4\r\n", Some("1.2.3.4")),
            ("X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\n", Some("1.2.3.4")),
            ("X-Forwarded-For:  1.2.3.4 ,5.6.7.8\r\n", Some("1.2.3.4")),
            ("X-Forwarded-For: \r\nX-Real-IP: 9.9.9.9\r\n", Some("9.9.9.9")),
            ("X-Real-IP: 9.9.9.9\r\n", Some("9.9.9.9")),
            ("", None),
        ];
        for (headers, address) in table {
            let request = request(&format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n"), Body::Absent);
            assert_eq!(client_address(&request).as_deref(), address, "{headers}");
        }
    }
}
