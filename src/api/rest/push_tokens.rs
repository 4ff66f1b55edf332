//! The door of `domain::push_tokens` (`spec/http.md` §14.18).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::domain::push_tokens::{self, PushToken};
use crate::model::ids::AccountId;

pub struct Register {
    token: String,
}

impl FromRequest for Register {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { token: parts.body().text("token") }
    }
}

pub async fn register(ctx: Rc<Context>, caller: AccountId, input: Register) -> Result<Response, Error> {
    let registered = push_tokens::register(&ctx, &caller, input.token).await;
    registered.map_err(Error::failure("Failed to register push token"))?;
    Ok(Response::success())
}

pub async fn list(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        tokens: Vec<Fields>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        id: String,
        token: String,
        created_at: i64,
        updated_at: i64,
    }
    let fields = |token: PushToken| Fields {
        id: token.id,
        token: token.token,
        created_at: token.created_at,
        updated_at: token.updated_at,
    };
    let tokens = push_tokens::list(&ctx, &caller).await.map_err(Error::failure("Failed to get push tokens"))?;
    Ok(Response::ok(&Body { tokens: tokens.into_iter().map(fields).collect() }))
}

pub struct Named {
    token: String,
}

impl FromRequest for Named {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { token: parts.params().text("token") }
    }
}

pub async fn delete(ctx: Rc<Context>, caller: AccountId, named: Named) -> Result<Response, Error> {
    let forgotten = push_tokens::forget(&ctx, &caller, &named.token).await;
    forgotten.map_err(Error::failure("Failed to delete push token"))?;
    Ok(Response::success())
}
