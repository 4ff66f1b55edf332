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
    agent: String,
    revenue_cat_public_key: Option<String>,
}

impl FromRequest for Ask {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        Self { agent: body.text("agentId"), revenue_cat_public_key: body.text_opt("revenueCatPublicKey") }
    }
}

/// Its members in the order of the documentation; those that are absent are left out.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a str>,
}

pub async fn token(ctx: Rc<Context>, caller: AccountId, ask: Ask) -> Result<Response, Error> {
    let verdict = voice::conversation(&ctx, &caller, &ask.agent, ask.revenue_cat_public_key.as_deref()).await;
    let denial = |error| Response::json(400, &Body { error: Some(error), ..Body::default() });
    let agent_id = Some(ask.agent.as_str());
    Ok(match verdict.map_err(failure)? {
        Verdict::PublicKeyRequired => denial("RevenueCat public key required"),
        Verdict::NoSubscription => Response::ok(&Body { agent_id, ..Body::default() }),
        Verdict::VendorKeyMissing => denial("Missing 11Labs API key on the server"),
        Verdict::VendorRefuses => denial(&format!("Failed to get 11Labs token for user {caller}")),
        Verdict::Allowed { token } => Response::ok(&Body { allowed: true, error: None, token, agent_id }),
    })
}

fn failure(error: voice::Error) -> Error {
    match error {
        voice::Error::Busy => Error::BUSY,
        voice::Error::Failed(cause) => Error::internal(cause),
    }
}
