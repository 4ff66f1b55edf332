//! Connections to other services: tokens of vendors, and the connection to GitHub as far as it needs no call.
//!
//! Owns: sealing and opening vendor tokens, the start of the GitHub authorisation, disconnecting, and whether a
//! webhook is genuine. Never: calls to other services (`vendors`).
//! Invariant: a token is stored sealed under a key of its account and vendor (`spec/data.md` §9).
//! Implements `spec/http.md` §15.1, §15.2, §15.5 and §15.6.

use serde::Serialize;

use super::changes::{self, Kind};
use super::locks::lock_accounts;
use super::{Context, Github, encode_component};
use crate::crypto::{hash, seal};
use crate::model::ids::{AccountId, cuid};
use crate::model::time::now_ms;
use crate::realtime::event::Audience;
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement, Tx};

/// Vendors whose tokens are kept.
pub const VENDORS: [&str; 3] = ["openai", "anthropic", "gemini"];

/// Stores the token of a vendor, in place of an earlier one.
pub async fn register_token(ctx: &Context, account: &AccountId, vendor: &str, token: &str) -> Result<(), Error> {
    let sealed = token_key(ctx, account, vendor)?.seal(token.as_bytes());
    let params = vec![cuid().into(), account.as_str().into(), vendor.into(), sealed.into(), Value::Time(now_ms())];
    ctx.db.execute(&STORE_TOKEN, params).await.map(drop)
}

/// The token of a vendor.
pub async fn token(ctx: &Context, account: &AccountId, vendor: &str) -> Result<Option<String>, Error> {
    let row = ctx.db.query_opt(&READ_TOKEN, vec![account.as_str().into(), vendor.into()]).await?;
    row.map(|row| open_token(ctx, account, vendor, row.bytes(0))).transpose()
}

/// All tokens of an account with their vendors.
pub async fn tokens(ctx: &Context, account: &AccountId) -> Result<Vec<(String, String)>, Error> {
    let rows = ctx.db.query(&READ_TOKENS, vec![account.as_str().into()]).await?;
    let pair = |mut row: Row| {
        let vendor = row.take_text(0);
        let token = open_token(ctx, account, &vendor, row.bytes(1))?;
        Ok((vendor, token))
    };
    rows.into_iter().map(pair).collect()
}

/// Forgets the token of a vendor; false if there was none.
pub async fn forget_token(ctx: &Context, account: &AccountId, vendor: &str) -> Result<bool, Error> {
    Ok(ctx.db.execute(&FORGET_TOKEN, vec![account.as_str().into(), vendor.into()]).await? > 0)
}

fn token_key(ctx: &Context, account: &AccountId, vendor: &str) -> Result<seal::ColumnKey, Error> {
    let path = ["user", account.as_str(), "vendors", vendor, "token"];
    ctx.settings.column_keys.at(&path).map_err(|error| Error::Internal(error.to_string()))
}

fn open_token(ctx: &Context, account: &AccountId, vendor: &str, sealed: &[u8]) -> Result<String, Error> {
    token_key(ctx, account, vendor)?.open_text(sealed).map_err(|error| Error::Internal(error.to_string()))
}

/// Where to send an account that wants to connect GitHub; `None` if that is not configured.
pub fn github_authorization_url(ctx: &Context, account: &AccountId) -> Option<String> {
    let Github { client_id, redirect_url, .. } = &ctx.settings.github;
    let (client_id, redirect_url) = (client_id.as_deref()?, redirect_url.as_deref()?);
    let state = ctx.tokens.issue_ephemeral(account, now_ms());
    let fields = [
        ("client_id", client_id),
        ("redirect_uri", redirect_url),
        ("scope", "read:user,user:email,read:org,codespace"),
        ("state", &state),
    ];
    let fields = fields.map(|(name, value)| format!("{name}={}", form_encode(value)));
    Some(format!("https://github.com/login/oauth/authorize?{}", fields.join("&")))
}

/// As a field of `application/x-www-form-urlencoded`.
fn form_encode(text: &str) -> String {
    // The serialiser of forms keeps fewer characters than `encodeURIComponent`, and has a sign for the space.
    let mut encoded = encode_component(text).replace("%20", "+");
    for (character, escape) in [("!", "%21"), ("~", "%7E"), ("'", "%27"), ("(", "%28"), (")", "%29")] {
        encoded = encoded.replace(character, escape);
    }
    encoded
}

/// What an answer of GitHub's authorisation comes to, as far as it can be told without asking GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callback {
    /// The state token is not ours, or is older than five minutes.
    InvalidState,
    NotConfigured,
    /// To be completed with GitHub for this account.
    Account(AccountId),
}

/// Judges the `state` that comes back from GitHub.
pub fn github_callback(ctx: &Context, state: &str) -> Callback {
    let Some(account) = ctx.tokens.verify_ephemeral(state, now_ms()) else { return Callback::InvalidState };
    let Github { client_id, client_secret, .. } = &ctx.settings.github;
    if client_id.is_none() || client_secret.is_none() {
        return Callback::NotConfigured;
    }
    Callback::Account(account)
}

/// Ends the connection to GitHub, if there is one. Names and image stay.
pub async fn disconnect_github(ctx: &Context, account: &AccountId) -> Result<(), Error> {
    let now = now_ms();
    let owner = account.clone();
    let cursor = ctx.db.transaction(async move |tx| detach_github(tx, &owner, now).await).await?;
    if let Some(cursor) = cursor {
        let event = GithubDisconnected { t: "update-account", id: account, github: None, username: None };
        ctx.publish_update(account, cursor, Audience::UserScoped, &event);
    }
    Ok(())
}

async fn detach_github(tx: &mut Tx<'_>, account: &AccountId, now: i64) -> Result<Option<i64>, Error> {
    lock_accounts(tx, &[account]).await?;
    let row = tx.query_opt(&GITHUB_ID, vec![account.as_str().into()]).await?;
    let Some(github) = row.and_then(|row| row.opt_text(0)) else { return Ok(None) };
    tx.execute(&DETACH_GITHUB, vec![Value::Time(now), account.as_str().into()]).await?;
    tx.execute(&DELETE_GITHUB_USER, vec![github.into()]).await?;
    let hint = r#"{"github":false}"#.to_owned();
    changes::mark(tx, account, Kind::Account, changes::SELF, Some(hint), now).await.map(Some)
}

/// What a delivery to the webhook is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Not all settings of the GitHub app are given.
    NotConfigured,
    WrongSignature,
    Genuine,
}

/// Judges a delivery by the signature over its bytes. Nothing is stored; genuine events are logged.
pub fn judge_github_delivery(ctx: &Context, body: &[u8], signature: &str, event: &str) -> Delivery {
    let github = &ctx.settings.github;
    let needed = [
        &github.app_id,
        &github.private_key,
        &github.client_id,
        &github.client_secret,
        &github.redirect_uri,
        &github.webhook_secret,
    ];
    let Some(secret) = github.webhook_secret.as_deref().filter(|_| needed.iter().all(|setting| setting.is_some()))
    else {
        return Delivery::NotConfigured;
    };
    if !hash::webhook_signature_matches(secret, body, signature) {
        return Delivery::WrongSignature;
    }
    log::info!("GitHub has sent the event {event:?}");
    Delivery::Genuine
}

#[derive(Serialize)]
struct GithubDisconnected<'a> {
    t: &'static str,
    id: &'a AccountId,
    github: Option<()>,
    username: Option<()>,
}

static STORE_TOKEN: Statement = Statement::portable(
    r#"INSERT INTO "ServiceAccountToken" ("id", "accountId", "vendor", "token", "createdAt", "updatedAt")
       VALUES ($1, $2, $3, $4, $5, $5)
       ON CONFLICT ("accountId", "vendor") DO UPDATE SET
         "token" = excluded."token", "updatedAt" = excluded."updatedAt""#,
);

static READ_TOKEN: Statement =
    Statement::portable(r#"SELECT "token" FROM "ServiceAccountToken" WHERE "accountId" = $1 AND "vendor" = $2"#);

static READ_TOKENS: Statement = Statement::portable(
    r#"SELECT "vendor", "token" FROM "ServiceAccountToken" WHERE "accountId" = $1 ORDER BY "vendor""#,
);

static FORGET_TOKEN: Statement =
    Statement::portable(r#"DELETE FROM "ServiceAccountToken" WHERE "accountId" = $1 AND "vendor" = $2"#);

static GITHUB_ID: Statement = Statement::portable(r#"SELECT "githubUserId" FROM "Account" WHERE "id" = $1"#);

static DETACH_GITHUB: Statement = Statement::portable(
    r#"UPDATE "Account" SET "githubUserId" = NULL, "username" = NULL, "updatedAt" = $1 WHERE "id" = $2"#,
);

static DELETE_GITHUB_USER: Statement = Statement::portable(r#"DELETE FROM "GithubUser" WHERE "id" = $1"#);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded_as_browsers_do() {
        let table = [
            ("read:user,user:email", "read%3Auser%2Cuser%3Aemail"),
            ("https://example.org/back?a=b c", "https%3A%2F%2Fexample.org%2Fback%3Fa%3Db+c"),
            ("*-._", "*-._"),
            ("~!'()+", "%7E%21%27%28%29%2B"),
            ("ü", "%C3%BC"),
        ];
        for (text, encoded) in table {
            assert_eq!(form_encode(text), encoded);
        }
    }
}
