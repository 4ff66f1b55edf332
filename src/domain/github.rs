//! The connection of an account to GitHub: authorisation, connecting, disconnecting, webhooks.
//!
//! Owns: the order of the steps and what each failure comes to. Never: the wire (`vendors`), pictures (`images`).
//! Invariants: a GitHub user belongs to one account, the last that connected it; connecting and taking it from another
//! account are one transaction; access tokens are stored sealed under a key of their account (`spec/data.md` §9).
//! Implements `spec/http.md` §15.1, §15.2, §15.4 and §15.5.

use std::fmt;

use serde::Serialize;

use super::accounts::AvatarWithUrl;
use super::changes::{self, Kind};
use super::images;
use super::locks::lock_accounts;
use super::{Context, Github, RawJson, encode_component};
use crate::crypto::hash;
use crate::model::ids::AccountId;
use crate::model::time::now_ms;
use crate::realtime::event::Audience;
use crate::storage::{self, Statement, Tx, Value};
use crate::vendors;
use crate::vendors::github::{Exchange, User};

/// Where to send an account that wants to connect GitHub; `None` if that is not configured.
pub fn authorization_url(ctx: &Context, account: &AccountId) -> Option<String> {
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
    Some(format!("{}/login/oauth/authorize?{}", ctx.vendors.addresses.github, fields.join("&")))
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

/// What an answer of GitHub's authorisation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callback {
    /// The state token is not ours, or is older than five minutes.
    InvalidState,
    NotConfigured,
    /// GitHub does not take the code; its name for the reason.
    Refused(String),
    /// GitHub does not say whom the code stands for.
    NoUser,
    /// The reason is in the log.
    Failed,
    Connected {
        login: String,
    },
}

/// Connects the account that `state` names with the GitHub user that `code` stands for. The state may be used again
/// until it expires (O-24).
pub async fn complete_authorization(ctx: &Context, code: &str, state: &str) -> Callback {
    let Some(account) = ctx.tokens.verify_ephemeral(state, now_ms()) else { return Callback::InvalidState };
    let Github { client_id, client_secret, .. } = &ctx.settings.github;
    let (Some(id), Some(secret)) = (client_id, client_secret) else { return Callback::NotConfigured };
    // Calls and images need more room than the rest of a request.
    Box::pin(exchange_and_connect(ctx, &account, (id, secret), code)).await.unwrap_or_else(|error| {
        log::error!("an account could not be connected with GitHub: {error}");
        Callback::Failed
    })
}

async fn exchange_and_connect(
    ctx: &Context,
    account: &AccountId,
    (id, secret): (&str, &str),
    code: &str,
) -> Result<Callback, Error> {
    let _turn = ctx.turn_to_call(account).await.map_err(|_| Error::Vendor(vendors::Error::Busy))?;
    let token = match ctx.vendors.exchange_github_code(id, secret, code).await? {
        Exchange::Refused(reason) => return Ok(Callback::Refused(reason)),
        Exchange::Token(token) => token,
    };
    let Some(user) = ctx.vendors.github_user(&token).await? else { return Ok(Callback::NoUser) };
    connect(ctx, account, &user, &token).await?;
    Ok(Callback::Connected { login: user.login })
}

/// Why an account was not connected.
#[derive(Debug)]
enum Error {
    Vendor(vendors::Error),
    Image(images::Error),
    Storage(storage::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendor(error) => write!(f, "GitHub: {error}"),
            Self::Image(error) => write!(f, "the avatar: {error}"),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl From<vendors::Error> for Error {
    fn from(error: vendors::Error) -> Self {
        Self::Vendor(error)
    }
}

impl From<images::Error> for Error {
    fn from(error: images::Error) -> Self {
        Self::Image(error)
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self::Storage(error)
    }
}

async fn connect(ctx: &Context, account: &AccountId, user: &User, token: &str) -> Result<(), Error> {
    let row = ctx.db.query_opt(&GITHUB_ID, vec![account.as_str().into()]).await?;
    let row = row.ok_or_else(|| storage::Error::Internal("the account does not exist".to_owned()))?;
    if row.opt_text(0).as_deref() == Some(&user.id) {
        // Nothing is refreshed.
        return Ok(());
    }
    let avatar = images::store_avatar(ctx, account, &user.avatar_url).await?;
    let (first_name, last_name) = split_name(user.name.as_deref());
    let path = ["user", account.as_str(), "github", "token"];
    let key = ctx.settings.column_keys.at(&path).map_err(|error| storage::Error::Internal(error.to_string()))?;
    let connection = Connection {
        account: account.clone(),
        github: user.id.clone(),
        profile: user.profile.clone(),
        token: key.seal(token.as_bytes()),
        username: user.login.clone(),
        first_name: first_name.clone(),
        last_name: last_name.clone(),
        avatar: sonic_rs::to_string(&avatar).map_err(|error| storage::Error::Internal(error.to_string()))?,
        now: now_ms(),
    };
    let (cursor, former) = ctx.transaction(account, async move |tx| connection.store(tx).await).await?;
    if let Some((former, cursor)) = former {
        publish_disconnected(ctx, &former, cursor);
    }
    let event = Connected {
        t: "update-account",
        id: account,
        github: RawJson(user.profile.clone()),
        username: &user.login,
        first_name,
        last_name,
        avatar: avatar.with_url(&ctx.settings),
    };
    ctx.publish_update(account, cursor, Audience::UserScoped, &event);
    Ok(())
}

/// What is written when an account is connected.
struct Connection {
    account: AccountId,
    github: String,
    profile: String,
    token: Vec<u8>,
    username: String,
    first_name: Option<String>,
    last_name: Option<String>,
    /// JSON.
    avatar: String,
    now: i64,
}

/// Another account and the cursor of its change.
type Former = Option<(AccountId, i64)>;

impl Connection {
    /// Gives the account's cursor, and the account from which the GitHub user was taken, if it had one.
    async fn store(&self, tx: &mut Tx<'_>) -> Result<(i64, Former), storage::Error> {
        let former = self.former(tx).await?;
        let both: Vec<&AccountId> = [Some(&self.account), former.as_ref()].into_iter().flatten().collect();
        lock_accounts(tx, &both).await?;
        if self.former(tx).await? != former {
            return Err(storage::Error::Conflict("the GitHub user was connected elsewhere meanwhile".to_owned()));
        }
        let taken = match former {
            Some(former) => detach(tx, &former, self.now).await?.map(|cursor| (former, cursor)),
            None => None,
        };
        let profile = Value::Json(self.profile.clone());
        let params = vec![self.github.as_str().into(), profile, self.token.clone().into(), Value::Time(self.now)];
        tx.execute(&STORE_GITHUB_USER, params).await?;
        let params = vec![
            self.github.as_str().into(),
            self.username.as_str().into(),
            self.first_name.clone().into(),
            self.last_name.clone().into(),
            Value::Json(self.avatar.clone()),
            Value::Time(self.now),
            self.account.as_str().into(),
        ];
        tx.execute(&ATTACH_GITHUB, params).await?;
        let hint = r#"{"github":true}"#.to_owned();
        let cursor = changes::mark(tx, &self.account, Kind::Account, changes::SELF, Some(hint), self.now).await?;
        Ok((cursor, taken))
    }

    /// The other account that has the GitHub user.
    async fn former(&self, tx: &mut Tx<'_>) -> Result<Option<AccountId>, storage::Error> {
        let row = tx.query_opt(&ACCOUNT_OF_GITHUB_ID, vec![self.github.as_str().into()]).await?;
        Ok(row.map(|mut row| AccountId::from(row.take_text(0))).filter(|former| *former != self.account))
    }
}

/// First and last name: the first word, and the others joined by single spaces.
fn split_name(name: Option<&str>) -> (Option<String>, Option<String>) {
    // What JavaScript takes for white space, which has U+FEFF and not U+0085.
    let is_space = |c: char| (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}';
    let mut words = name.unwrap_or_default().split(is_space).filter(|word| !word.is_empty());
    let first = words.next().map(str::to_owned);
    let others = words.collect::<Vec<_>>().join(" ");
    (first, Some(others).filter(|others| !others.is_empty()))
}

/// Ends the connection to GitHub, if there is one. Names and image stay.
pub async fn disconnect(ctx: &Context, account: &AccountId) -> Result<(), storage::Error> {
    let now = now_ms();
    let owner = account.clone();
    let cursor = ctx.transaction(account, async move |tx| detach(tx, &owner, now).await).await?;
    if let Some(cursor) = cursor {
        publish_disconnected(ctx, account, cursor);
    }
    Ok(())
}

fn publish_disconnected(ctx: &Context, account: &AccountId, cursor: i64) {
    let event = Disconnected { t: "update-account", id: account, github: None, username: None };
    ctx.publish_update(account, cursor, Audience::UserScoped, &event);
}

async fn detach(tx: &mut Tx<'_>, account: &AccountId, now: i64) -> Result<Option<i64>, storage::Error> {
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
pub fn judge_delivery(ctx: &Context, body: &[u8], signature: &str, event: &str) -> Delivery {
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
#[serde(rename_all = "camelCase")]
struct Connected<'a> {
    t: &'static str,
    id: &'a AccountId,
    github: RawJson,
    username: &'a str,
    first_name: Option<String>,
    last_name: Option<String>,
    avatar: AvatarWithUrl,
}

#[derive(Serialize)]
struct Disconnected<'a> {
    t: &'static str,
    id: &'a AccountId,
    github: Option<()>,
    username: Option<()>,
}

static GITHUB_ID: Statement = Statement::portable(r#"SELECT "githubUserId" FROM "Account" WHERE "id" = $1"#);

static ACCOUNT_OF_GITHUB_ID: Statement = Statement::portable(r#"SELECT "id" FROM "Account" WHERE "githubUserId" = $1"#);

static STORE_GITHUB_USER: Statement = Statement::portable(
    r#"INSERT INTO "GithubUser" ("id", "profile", "token", "createdAt", "updatedAt")
       VALUES ($1, $2, $3, $4, $4)
       ON CONFLICT ("id") DO UPDATE SET
         "profile" = excluded."profile", "token" = excluded."token", "updatedAt" = excluded."updatedAt""#,
);

static ATTACH_GITHUB: Statement = Statement::portable(
    r#"UPDATE "Account" SET "githubUserId" = $1, "username" = $2, "firstName" = $3, "lastName" = $4, "avatar" = $5,
         "updatedAt" = $6
       WHERE "id" = $7"#,
);

static DETACH_GITHUB: Statement = Statement::portable(
    r#"UPDATE "Account" SET "githubUserId" = NULL, "username" = NULL, "updatedAt" = $1 WHERE "id" = $2"#,
);

static DELETE_GITHUB_USER: Statement = Statement::portable(r#"DELETE FROM "GithubUser" WHERE "id" = $1"#);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors;

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

    #[test]
    fn names_of_the_contract() {
        for vector in vectors::list("text-helpers.json", "/splitFullName") {
            let (first, last) = split_name(vector["input"].as_str());
            let found = (first.as_deref(), last.as_deref());
            assert_eq!(found, (vector["firstName"].as_str(), vector["lastName"].as_str()), "{vector}");
        }
    }
}
