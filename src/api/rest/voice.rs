//! The door of `domain::voice` (`spec/http.md` §15.7).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::domain::voice::{self, Verdict};
use crate::model::ids::AccountId;

pub struct Ask {
    /// The agent to talk to.
    _agent: String,
    revenue_cat_public_key: Option<String>,
}

impl FromRequest for Ask {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        Self { _agent: body.text("agentId"), revenue_cat_public_key: body.text_opt("revenueCatPublicKey") }
    }
}

pub async fn token(ctx: Rc<Context>, _caller: AccountId, ask: Ask) -> Result<Response, Error> {
    match voice::judge(&ctx, ask.revenue_cat_public_key.as_deref()) {
        Verdict::PublicKeyRequired => Ok(denial("RevenueCat public key required")),
        Verdict::VendorKeyMissing => Ok(denial("Missing 11Labs API key on the server")),
        // Outgoing calls arrive with the vendors module; until then the services are out of reach.
        Verdict::AskForSubscription | Verdict::AskForToken => Err(Error::Internal),
    }
}

fn denial(error: &str) -> Response {
    #[derive(Serialize)]
    struct Body<'a> {
        allowed: bool,
        error: &'a str,
    }
    Response::json(400, &Body { allowed: false, error })
}
