//! The door of `domain::users` (`spec/http.md` §16.1–16.3).

use std::rc::Rc;

use protocol::base64;
use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::accounts::AvatarWithUrl;
use crate::domain::users::{self, Found, UserProfile, WILDCARD_QUERY_BYTES_MAX};
use crate::domain::{Context, Settings};
use crate::model::ids::AccountId;

/// A user profile as clients see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fields {
    id: AccountId,
    first_name: String,
    last_name: Option<String>,
    avatar: Option<AvatarWithUrl>,
    username: String,
    bio: Option<String>,
    status: &'static str,
    public_key: String,
    content_public_key: Option<String>,
    content_public_key_sig: Option<String>,
}

impl Fields {
    pub(super) fn of(profile: UserProfile, settings: &Settings) -> Self {
        Self {
            id: profile.id,
            first_name: profile.first_name.unwrap_or_default(),
            last_name: profile.last_name,
            avatar: profile.avatar.map(|avatar| avatar.with_url(settings)),
            username: profile.username.unwrap_or_default(),
            bio: profile.bio,
            status: profile.status.as_str(),
            public_key: profile.public_key,
            content_public_key: profile.content_public_key.as_deref().map(base64::encode),
            content_public_key_sig: profile.content_public_key_sig.as_deref().map(base64::encode),
        }
    }
}

pub struct Named {
    user: AccountId,
}

impl FromRequest for Named {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { user: parts.params().text("id").into() }
    }
}

pub async fn get(ctx: Rc<Context>, caller: AccountId, named: Named) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        user: Fields,
    }
    let profile = users::profile(&ctx, &caller, &named.user).await?;
    let profile = profile.ok_or(Error::refused(404, "User not found"))?;
    Ok(Response::ok(&Body { user: Fields::of(profile, &ctx.settings) }))
}

pub struct Search {
    text: String,
}

impl FromRequest for Search {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { text: parts.query().text("query") }
    }
}

pub async fn search(ctx: Rc<Context>, caller: AccountId, input: Search) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        users: Vec<Fields>,
    }
    match users::search(&ctx, &caller, &input.text).await? {
        Found::Users(users) => {
            let users = users.into_iter().map(|user| Fields::of(user, &ctx.settings)).collect();
            Ok(Response::ok(&Body { users }))
        }
        // O-21
        Found::TextTooLong => Ok(Response::error(
            400,
            &format!("query may have at most {WILDCARD_QUERY_BYTES_MAX} bytes if it contains %"),
        )),
    }
}
