//! The door of `domain::sharing` (`spec/http.md` §16.7).

use std::rc::Rc;

use protocol::base64;
use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::domain::accounts::ShortProfile;
use crate::domain::sharing::{self, Adjustment, Grant, Level, Refusal, Share};
use crate::model::ids::{AccountId, SessionId};

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let (status, error) = match refusal {
            Refusal::SessionNotFound => (404, "Session not found"),
            Refusal::Forbidden => (403, "Forbidden"),
            Refusal::ApprovalNeedsEdit => (400, "Permission approvals require edit or admin access"),
            Refusal::WithOneself => (400, "Cannot share with yourself"),
            Refusal::UserNotFound => (404, "User not found"),
            Refusal::NotFriends => (403, "Can only share with friends"),
            Refusal::InvalidKey => (400, "Invalid encryptedDataKey"),
            Refusal::ShareNotFound => (404, "Share not found"),
        };
        Self::refused(status, error)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    id: String,
    shared_with_user: ShortProfile,
    access_level: &'static str,
    can_approve_permissions: bool,
    created_at: i64,
    updated_at: i64,
}

impl From<Share> for Fields {
    fn from(share: Share) -> Self {
        Self {
            id: share.id,
            shared_with_user: share.shared_with,
            access_level: share.level.as_str(),
            can_approve_permissions: share.can_approve_permissions,
            created_at: share.created_at,
            updated_at: share.updated_at,
        }
    }
}

#[derive(Serialize)]
struct Body {
    share: Fields,
}

pub struct OfSession {
    session: SessionId,
}

impl FromRequest for OfSession {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { session: parts.params().text("sessionId").into() }
    }
}

pub async fn list(ctx: Rc<Context>, caller: AccountId, of: OfSession) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        shares: Vec<Fields>,
    }
    let shares = sharing::list(&ctx, &caller, &of.session).await??;
    Ok(Response::ok(&Body { shares: shares.into_iter().map(Fields::from).collect() }))
}

pub struct Create {
    session: SessionId,
    user: String,
    level: &'static str,
    can_approve_permissions: Option<bool>,
    encrypted_data_key: String,
}

impl FromRequest for Create {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let session = parts.params().text("sessionId").into();
        let mut body = parts.body();
        Self {
            session,
            user: body.text("userId"),
            level: body.one_of("accessLevel", &Level::ALL),
            can_approve_permissions: body.boolean_opt("canApprovePermissions"),
            encrypted_data_key: body.text("encryptedDataKey"),
        }
    }
}

pub async fn create(ctx: Rc<Context>, caller: AccountId, input: Create) -> Result<Response, Error> {
    let grant = Grant {
        user: input.user.into(),
        level: Level::from_name(input.level),
        can_approve_permissions: input.can_approve_permissions,
        encrypted_data_key: base64::decode_lenient(&input.encrypted_data_key),
    };
    let share = sharing::grant(&ctx, &caller, &input.session, grant).await??;
    Ok(Response::ok(&Body { share: share.into() }))
}

pub struct Update {
    share: Named,
    level: Option<&'static str>,
    can_approve_permissions: Option<bool>,
}

impl FromRequest for Update {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let share = Named::from_request(parts);
        let mut body = parts.body();
        Self {
            share,
            level: body.one_of_opt("accessLevel", &Level::ALL),
            can_approve_permissions: body.boolean_opt("canApprovePermissions"),
        }
    }
}

pub async fn update(ctx: Rc<Context>, caller: AccountId, input: Update) -> Result<Response, Error> {
    let Named { session, share } = input.share;
    let adjustment =
        Adjustment { level: input.level.map(Level::from_name), can_approve_permissions: input.can_approve_permissions };
    let share = sharing::adjust(&ctx, &caller, &session, &share, adjustment).await??;
    Ok(Response::ok(&Body { share: share.into() }))
}

pub struct Named {
    session: SessionId,
    share: String,
}

impl FromRequest for Named {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut params = parts.params();
        Self { session: params.text("sessionId").into(), share: params.text("shareId") }
    }
}

pub async fn delete(ctx: Rc<Context>, caller: AccountId, named: Named) -> Result<Response, Error> {
    sharing::revoke(&ctx, &caller, &named.session, &named.share).await??;
    Ok(Response::success())
}
