//! The door of `domain::auth` (`spec/http.md` §12).
//!
//! Undecodable base64 is answered with 400, where the reference server answers G500 (O-42).

use std::rc::Rc;

use protocol::base64;
use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::domain::auth::{self, ContentKey, LoginRefusal, PUBLIC_KEY_BYTES, Pairing, PairingState, PairingStatus};
use crate::model::ids::AccountId;

impl From<LoginRefusal> for Error {
    fn from(refusal: LoginRefusal) -> Self {
        match refusal {
            LoginRefusal::PublicKey => Self::refused(401, "Invalid public key"),
            LoginRefusal::Signature => Self::refused(401, "Invalid signature"),
            LoginRefusal::ContentKey => Self::refused(400, "Invalid contentPublicKey"),
            LoginRefusal::ContentSignature => Self::refused(400, "Invalid contentPublicKeySig"),
        }
    }
}

/// Strict base64 of a field, or a 400 that names it.
fn decode(text: &str, error: &'static str) -> Result<Vec<u8>, Error> {
    base64::decode_strict(text).map_err(|_| Error::refused(400, error))
}

// ---- login --------------------------------------------------------------------------------------------------------

pub struct Login {
    public_key: String,
    challenge: String,
    signature: String,
    content: Option<(String, String)>,
}

impl FromRequest for Login {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        let (public_key, challenge, signature) =
            (body.text("publicKey"), body.text("challenge"), body.text("signature"));
        let (key, key_signature) = (body.text_opt("contentPublicKey"), body.text_opt("contentPublicKeySig"));
        let is_pair = key.is_some() == key_signature.is_some();
        body.refine(is_pair, "contentPublicKey and contentPublicKeySig must be provided together");
        let content = key.zip(key_signature).filter(|(key, signature)| !key.is_empty() && !signature.is_empty());
        Self { public_key, challenge, signature, content }
    }
}

pub async fn login(ctx: Rc<Context>, login: Login) -> Result<Response, Error> {
    let public_key = decode(&login.public_key, "Invalid base64 in publicKey")?;
    let challenge = decode(&login.challenge, "Invalid base64 in challenge")?;
    let signature = decode(&login.signature, "Invalid base64 in signature")?;
    auth::verify_login(&public_key, &challenge, &signature)?;
    let content = match &login.content {
        Some((key, signature)) => {
            let key = decode(key, "Invalid content key encoding")?;
            let signature = decode(signature, "Invalid content key encoding")?;
            Some(ContentKey::bound(&public_key, key, signature)?)
        }
        None => None,
    };
    let auth::Login { token, is_new } = auth::login(&ctx, &public_key, content).await?;
    #[derive(Serialize)]
    struct Body {
        success: bool,
        token: String,
    }
    Ok(Response::ok(&Body { success: true, token }).creating(is_new))
}

// ---- pairing ------------------------------------------------------------------------------------------------------

/// Decodes the key of a pairing request.
fn pairing_key(text: &str) -> Result<Vec<u8>, Error> {
    let key = decode(text, "Invalid base64 in publicKey")?;
    if key.len() == PUBLIC_KEY_BYTES { Ok(key) } else { Err(Error::refused(401, "Invalid public key")) }
}

pub struct TerminalRequest {
    public_key: String,
    supports_v2: bool,
}

impl FromRequest for TerminalRequest {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        let public_key = body.text("publicKey");
        Self { public_key, supports_v2: body.boolean_nullish("supportsV2").unwrap_or(false) }
    }
}

pub async fn request_terminal(ctx: Rc<Context>, request: TerminalRequest) -> Result<Response, Error> {
    let key = pairing_key(&request.public_key)?;
    let state = auth::request_pairing(&ctx, Pairing::Terminal, &key, request.supports_v2).await?;
    Ok(pairing_state(state))
}

pub struct AccountRequest {
    public_key: String,
}

impl FromRequest for AccountRequest {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { public_key: parts.body().text("publicKey") }
    }
}

pub async fn request_account(ctx: Rc<Context>, request: AccountRequest) -> Result<Response, Error> {
    let key = pairing_key(&request.public_key)?;
    Ok(pairing_state(auth::request_pairing(&ctx, Pairing::Account, &key, false).await?))
}

fn pairing_state(state: PairingState) -> Response {
    #[derive(Serialize)]
    #[serde(tag = "state", rename_all = "camelCase")]
    enum Body {
        Requested,
        Authorized { token: String, response: String },
    }
    let (body, is_new) = match state {
        PairingState::Requested { is_new } => (Body::Requested, is_new),
        PairingState::Authorized { token, response } => (Body::Authorized { token, response }, false),
    };
    Response::ok(&body).creating(is_new)
}

pub struct StatusQuery {
    public_key: String,
}

impl FromRequest for StatusQuery {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { public_key: parts.query().text("publicKey") }
    }
}

pub async fn terminal_status(ctx: Rc<Context>, query: StatusQuery) -> Result<Response, Error> {
    let key = decode(&query.public_key, "Invalid base64 in publicKey")?;
    let status =
        if key.len() == PUBLIC_KEY_BYTES { auth::terminal_status(&ctx, &key).await? } else { PairingStatus::NotFound };
    let (status, supports_v2) = match status {
        PairingStatus::NotFound => ("not_found", false),
        PairingStatus::Pending { supports_v2 } => ("pending", supports_v2),
        // O-13: the stored flag is no longer told.
        PairingStatus::Authorized => ("authorized", false),
    };
    #[derive(Serialize)]
    struct Body {
        status: &'static str,
        #[serde(rename = "supportsV2")]
        supports_v2: bool,
    }
    Ok(Response::ok(&Body { status, supports_v2 }))
}

pub struct PairingAnswer {
    response: String,
    public_key: String,
}

impl FromRequest for PairingAnswer {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        Self { response: body.text("response"), public_key: body.text("publicKey") }
    }
}

pub async fn answer_terminal(ctx: Rc<Context>, caller: AccountId, answer: PairingAnswer) -> Result<Response, Error> {
    answer_pairing(&ctx, Pairing::Terminal, &caller, answer).await
}

pub async fn answer_account(ctx: Rc<Context>, caller: AccountId, answer: PairingAnswer) -> Result<Response, Error> {
    answer_pairing(&ctx, Pairing::Account, &caller, answer).await
}

async fn answer_pairing(
    ctx: &Context,
    pairing: Pairing,
    caller: &AccountId,
    answer: PairingAnswer,
) -> Result<Response, Error> {
    let key = pairing_key(&answer.public_key)?;
    if auth::answer_pairing(ctx, pairing, caller, &key, answer.response).await? {
        Ok(Response::success())
    } else {
        Err(Error::refused(404, "Request not found"))
    }
}
