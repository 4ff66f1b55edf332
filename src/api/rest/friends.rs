//! The door of `domain::friends` (`spec/http.md` §16.4).

use std::rc::Rc;

use serde::Serialize;

use super::users::Fields;
use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::users::UserProfile;
use crate::domain::{Context, friends};
use crate::model::ids::AccountId;

pub struct Target {
    user: AccountId,
}

impl FromRequest for Target {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { user: parts.body().text("uid").into() }
    }
}

pub async fn add(ctx: Rc<Context>, caller: AccountId, target: Target) -> Result<Response, Error> {
    let profile = friends::add(&ctx, &caller, &target.user).await?;
    Ok(answer(&ctx, profile))
}

pub async fn remove(ctx: Rc<Context>, caller: AccountId, target: Target) -> Result<Response, Error> {
    let profile = friends::remove(&ctx, &caller, &target.user).await?;
    Ok(answer(&ctx, profile))
}

fn answer(ctx: &Context, profile: Option<UserProfile>) -> Response {
    #[derive(Serialize)]
    struct Body {
        user: Option<Fields>,
    }
    Response::ok(&Body { user: profile.map(|profile| Fields::of(profile, &ctx.settings)) })
}

pub async fn list(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        friends: Vec<Fields>,
    }
    let profiles = friends::list(&ctx, &caller).await?;
    let friends = profiles.into_iter().map(|profile| Fields::of(profile, &ctx.settings)).collect();
    Ok(Response::ok(&Body { friends }))
}
