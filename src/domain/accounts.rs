//! What an account says about itself: profile and settings (`spec/http.md` §13.1–13.3, §16.1).

use serde::{Deserialize, Serialize};

use crate::domain::changes::{self, Kind};
use crate::domain::{Context, RawJson, Settings, user_update};
use crate::model::ids::AccountId;
use crate::model::time::now_ms;
use crate::storage::{self, Row, Statement, Tx, Value};

/// The stored image of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Avatar {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbhash: Option<String>,
}

impl Avatar {
    /// Reads the stored JSON. One that cannot be read is none: it must not make a whole list fail.
    pub fn from_json(text: Option<String>) -> Option<Self> {
        let text = text?;
        sonic_rs::from_str(&text).map_err(|error| log::error!("a stored avatar cannot be read: {error}")).ok()
    }

    pub fn with_url(self, settings: &Settings) -> AvatarWithUrl {
        let url = settings.files.url(&self.path);
        AvatarWithUrl { avatar: self, url }
    }
}

/// The image as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AvatarWithUrl {
    #[serde(flatten)]
    avatar: Avatar,
    url: String,
}

/// How an account is shown to those it shares with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShortProfile {
    pub id: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub username: Option<String>,
    /// The URL of the image.
    pub avatar: Option<String>,
}

impl ShortProfile {
    /// From the columns `id`, `firstName`, `lastName`, `username`, `avatar`, which begin at `first`.
    pub fn from_row(row: &mut Row, first: usize, settings: &Settings) -> Self {
        Self {
            id: row.take_text(first),
            first_name: row.opt_text(first + 1),
            last_name: row.opt_text(first + 2),
            username: row.opt_text(first + 3),
            avatar: Avatar::from_json(row.opt_json(first + 4)).map(|avatar| settings.files.url(&avatar.path)),
        }
    }
}

/// An account as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub username: Option<String>,
    pub avatar: Option<Avatar>,
    /// The stored GitHub profile, verbatim.
    pub github: Option<RawJson>,
    pub connected_services: Vec<String>,
}

static PROFILE: Statement = Statement::portable(
    r#"SELECT a."firstName", a."lastName", a."username", a."avatar", g."profile"
       FROM "Account" a LEFT JOIN "GithubUser" g ON g."id" = a."githubUserId" WHERE a."id" = $1"#,
);

static CONNECTED_SERVICES: Statement = Statement::portable(
    r#"SELECT DISTINCT "vendor" FROM "ServiceAccountToken" WHERE "accountId" = $1 ORDER BY "vendor""#,
);

/// The caller's own profile; `None` if there is no such account.
pub async fn profile(ctx: &Context, account: &AccountId) -> Result<Option<Profile>, storage::Error> {
    let Some(row) = ctx.db.query_opt(&PROFILE, vec![account.as_str().into()]).await? else { return Ok(None) };
    let services = ctx.db.query(&CONNECTED_SERVICES, vec![account.as_str().into()]).await?;
    Ok(Some(Profile {
        first_name: row.opt_text(0),
        last_name: row.opt_text(1),
        username: row.opt_text(2),
        avatar: Avatar::from_json(row.opt_json(3)),
        github: row.opt_json(4).map(RawJson),
        connected_services: services.into_iter().map(|mut row| row.take_text(0)).collect(),
    }))
}

/// Opaque text of the client, with its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionedSettings {
    pub value: Option<String>,
    pub version: i64,
}

static SETTINGS: Statement =
    Statement::portable(r#"SELECT "settings", "settingsVersion" FROM "Account" WHERE "id" = $1"#);

/// The account's settings; `None` if there is no such account.
pub async fn settings(ctx: &Context, account: &AccountId) -> Result<Option<VersionedSettings>, storage::Error> {
    let row = ctx.db.query_opt(&SETTINGS, vec![account.as_str().into()]).await?;
    Ok(row.map(|row| VersionedSettings { value: row.opt_text(0), version: row.int(1) }))
}

/// What became of new settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsUpdate {
    Stored { version: i64 },
    VersionMismatch(VersionedSettings),
    AccountNotFound,
}

static LOCK_SETTINGS: Statement =
    Statement::portable(r#"SELECT "settings", "settingsVersion" FROM "Account" WHERE "id" = $1 FOR NO KEY UPDATE"#);

static STORE_SETTINGS: Statement = Statement::portable(
    r#"UPDATE "Account" SET "settings" = $1, "settingsVersion" = $2, "updatedAt" = $3 WHERE "id" = $4"#,
);

/// Replaces the settings if they still have the version the client has seen.
pub async fn update_settings(
    ctx: &Context,
    account: &AccountId,
    settings: Option<String>,
    expected_version: i64,
) -> Result<SettingsUpdate, storage::Error> {
    let (id, value, now) = (account.clone(), settings.clone(), now_ms());
    let store = async move |tx: &mut Tx<'_>| -> Result<_, storage::Error> {
        let Some(row) = tx.query_opt(&LOCK_SETTINGS, vec![id.as_str().into()]).await? else {
            return Ok((SettingsUpdate::AccountNotFound, 0));
        };
        let stored = VersionedSettings { value: row.opt_text(0), version: row.int(1) };
        if stored.version != expected_version {
            return Ok((SettingsUpdate::VersionMismatch(stored), 0));
        }
        let version = stored.version + 1;
        let params = vec![value.clone().into(), version.into(), Value::Time(now), id.as_str().into()];
        tx.execute(&STORE_SETTINGS, params).await?;
        let hint = format!(r#"{{"settingsVersion":{version}}}"#);
        let cursor = changes::mark(tx, &id, Kind::Account, changes::SELF, Some(hint), now).await?;
        Ok((SettingsUpdate::Stored { version }, cursor))
    };
    let (outcome, cursor) = ctx.transaction(account, store).await?;
    if let SettingsUpdate::Stored { version } = outcome {
        #[derive(Serialize)]
        struct Body<'a> {
            t: &'static str,
            id: &'a str,
            settings: VersionedSettings,
        }
        let settings = VersionedSettings { value: settings, version };
        let body = Body { t: "update-account", id: account.as_str(), settings };
        ctx.events.publish(user_update(account, cursor, &body));
    }
    Ok(outcome)
}
