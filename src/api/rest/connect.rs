//! The doors of `domain::connect`: vendor tokens and GitHub (`spec/http.md` §15.1, §15.2, §15.5, §15.6).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::domain::connect::{self, Callback, Delivery, VENDORS};
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
    let url = connect::github_authorization_url(&ctx, &caller);
    let url = url.ok_or(Error::refused(400, "GitHub OAuth not configured"))?;
    Ok(Response::ok(&Body { url }))
}

pub struct GithubCallback {
    /// What GitHub wants back for an access token.
    _code: String,
    state: String,
}

impl FromRequest for GithubCallback {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut query = parts.query();
        Self { _code: query.text("code"), state: query.text("state") }
    }
}

pub async fn github_callback(ctx: Rc<Context>, input: GithubCallback) -> Result<Response, Error> {
    Ok(Response::redirect(match connect::github_callback(&ctx, &input.state) {
        Callback::InvalidState => "https://app.happier.dev?error=invalid_state",
        Callback::NotConfigured => "https://app.happier.dev?error=server_config",
        // Outgoing calls arrive with the vendors module; until then GitHub is out of reach.
        Callback::Account(_) => "https://app.happier.dev?error=server_error",
    }))
}

pub async fn disconnect_github(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    let disconnected = connect::disconnect_github(&ctx, &caller).await;
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
    match connect::judge_github_delivery(&ctx, &body, &input.signature, &input.event) {
        Delivery::Genuine => Ok(Response::ok(&Body { received: true })),
        Delivery::NotConfigured => Err(Error::refused(500, "Webhooks not configured")),
        // O-26: the reference server answers with a 500.
        Delivery::WrongSignature => Err(Error::refused(401, "Invalid signature")),
    }
}
