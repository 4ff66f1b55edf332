//! Voice: whether an account may talk to a voice agent, as far as that can be told without asking other services.
//!
//! Owns: the order of the checks. Never: calls to other services (`vendors`).
//! Implements checks 1 and 3 of `spec/http.md` §15.7.

use super::Context;

/// What the settings and the request alone say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The account's subscription cannot be looked up without the public key of the store.
    PublicKeyRequired,
    /// The subscription has to be looked up.
    AskForSubscription,
    /// The server has no key of the voice vendor.
    VendorKeyMissing,
    /// The vendor has to be asked for a conversation token.
    AskForToken,
}

/// Judges a request for a conversation token. In development no subscription is needed.
pub fn judge(ctx: &Context, revenue_cat_public_key: Option<&str>) -> Verdict {
    let voice = &ctx.settings.voice;
    if !voice.is_development {
        let is_given = revenue_cat_public_key.is_some_and(|key| !key.is_empty());
        return if is_given { Verdict::AskForSubscription } else { Verdict::PublicKeyRequired };
    }
    if voice.elevenlabs_api_key.is_some() { Verdict::AskForToken } else { Verdict::VendorKeyMissing }
}
