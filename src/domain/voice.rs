//! Voice: whether an account may talk to a voice agent, and the token with which it does.
//!
//! Owns: the order of the checks. Never: the wire (`vendors`).
//! Implements `spec/http.md` §15.7.

use super::lines::NoTurn;
use super::{Context, encode_component};
use crate::model::ids::AccountId;
use crate::vendors;

/// What becomes of a request for a conversation token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The account's subscription cannot be looked up without the public key of the store.
    PublicKeyRequired,
    NoSubscription,
    /// The server has no key of the voice vendor.
    VendorKeyMissing,
    VendorRefuses,
    /// The vendor's answer may lack a token.
    Allowed {
        token: Option<String>,
    },
}

/// Why a request could not be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Too many calls are waiting already, of everybody or of this account.
    Busy,
    Failed(vendors::Error),
}

impl From<NoTurn> for Error {
    fn from(_: NoTurn) -> Self {
        Self::Busy
    }
}

impl From<vendors::Error> for Error {
    fn from(error: vendors::Error) -> Self {
        if error == vendors::Error::Busy { Self::Busy } else { Self::Failed(error) }
    }
}

/// Judges a request for a conversation with `agent`. In development no subscription is needed.
pub async fn conversation(
    ctx: &Context,
    account: &AccountId,
    agent: &str,
    revenue_cat_public_key: Option<&str>,
) -> Result<Verdict, Error> {
    let voice = &ctx.settings.voice;
    let _turn = ctx.turn_to_call(account).await?;
    if !voice.is_development {
        let Some(key) = revenue_cat_public_key.filter(|key| !key.is_empty()) else {
            return Ok(Verdict::PublicKeyRequired);
        };
        if !ctx.vendors.has_pro_entitlement(account.as_str(), key).await? {
            return Ok(Verdict::NoSubscription);
        }
    }
    let Some(api_key) = &voice.elevenlabs_api_key else { return Ok(Verdict::VendorKeyMissing) };
    // O-28: the reference server does not encode it, so that a client could add parameters to a call with our key.
    let token = ctx.vendors.conversation_token(&encode_component(agent), api_key).await?;
    Ok(token.map_or(Verdict::VendorRefuses, |token| Verdict::Allowed { token }))
}
