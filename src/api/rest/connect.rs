//! The doors of `domain::connect` and `domain::github` (`spec/http.md` §15.1, §15.2, §15.5, §15.6).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::domain::connect::{self, VENDORS};
use crate::domain::encode_component;
use crate::domain::github::{self, Callback, Delivery};
use crate::model::ids::AccountId;

pub struct Vendor {
    vendor: &'static str,
}

impl FromRequest for Vendor {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { vendor: parts.params().one_of("vendor", &VENDORS) }
    }
}

pub struct Register {
    vendor: &'static str,
    token: String,
}

impl FromRequest for Register {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let vendor = parts.params().one_of("vendor", &VENDORS);
        Self { vendor, token: parts.body().text("token") }
    }
}

pub async fn register(ctx: Rc<Context>, caller: AccountId, input: Register) -> Result<Response, Error> {
    connect::register_token(&ctx, &caller, input.vendor, &input.token).await?;
    Ok(Response::success())
}

pub async fn token(ctx: Rc<Context>, caller: AccountId, of: Vendor) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        token: Option<String>,
    }
    let token = connect::token(&ctx, &caller, of.vendor).await?;
    Ok(Response::ok(&Body { token }))
}

pub async fn tokens(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        tokens: Vec<Fields>,
    }
    #[derive(Serialize)]
    struct Fields {
        vendor: String,
        token: String,
    }
    let tokens = connect::tokens(&ctx, &caller).await?;
    let tokens = tokens.into_iter().map(|(vendor, token)| Fields { vendor, token }).collect();
    Ok(Response::ok(&Body { tokens }))
}

pub async fn forget(ctx: Rc<Context>, caller: AccountId, of: Vendor) -> Result<Response, Error> {
    if connect::forget_token(&ctx, &caller, of.vendor).await? {
        Ok(Response::success())
    } else {
        // O-27: the reference server answers with a G500.
        Err(Error::refused(404, "Token not found"))
    }
}

pub async fn github_params(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        url: String,
    }
    let url = github::authorization_url(&ctx, &caller);
    let url = url.ok_or(Error::refused(400, "GitHub OAuth not configured"))?;
    Ok(Response::ok(&Body { url }))
}

pub struct GithubCallback {
    /// What GitHub wants back for an access token.
    code: String,
    state: String,
}

impl FromRequest for GithubCallback {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut query = parts.query();
        Self { code: query.text("code"), state: query.text("state") }
    }
}

/// A browser waits for the answer, so every outcome is a page of the app.
pub async fn github_callback(ctx: Rc<Context>, input: GithubCallback) -> Result<Response, Error> {
    let failed = |error: &str| format!("error={error}");
    let query = match github::complete_authorization(&ctx, &input.code, &input.state).await {
        Callback::InvalidState => failed("invalid_state"),
        Callback::NotConfigured => failed("server_config"),
        Callback::Refused(error) => failed(&encode_component(&error)),
        Callback::NoUser => failed("github_user_fetch_failed"),
        Callback::Failed => failed("server_error"),
        Callback::Connected { login } => format!("github=connected&user={}", encode_component(&login)),
    };
    Ok(Response::redirect(format!("https://app.happier.dev?{query}")))
}

pub async fn disconnect_github(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    let disconnected = github::disconnect(&ctx, &caller).await;
    disconnected.map_err(Error::failure("Failed to disconnect GitHub account"))?;
    Ok(Response::success())
}

pub struct GithubWebhook {
    signature: String,
    event: String,
    /// The bytes that are signed. Missing if they are not sent as JSON.
    body: Option<Vec<u8>>,
}

impl FromRequest for GithubWebhook {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let body = parts.request().json_bytes().map(<[u8]>::to_vec);
        let mut headers = parts.headers();
        Self { signature: headers.text("x-hub-signature-256"), event: headers.text("x-github-event"), body }
    }
}

pub async fn github_webhook(ctx: Rc<Context>, input: GithubWebhook) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        received: bool,
    }
    let body = input.body.ok_or(Error::refused(500, "Server configuration error"))?;
    match github::judge_delivery(&ctx, &body, &input.signature, &input.event) {
        Delivery::Genuine => Ok(Response::ok(&Body { received: true })),
        Delivery::NotConfigured => Err(Error::refused(500, "Webhooks not configured")),
        // O-26: the reference server answers with a 500.
        Delivery::WrongSignature => Err(Error::refused(401, "Invalid signature")),
    }
}
