//! The door of `domain::accounts` (`spec/http.md` §13.1–13.3).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::accounts::{self, AvatarWithUrl, SettingsUpdate};
use crate::domain::{Context, RawJson};
use crate::model::ids::AccountId;
use crate::model::time::now_ms;

pub async fn profile(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        id: &'a str,
        timestamp: i64,
        first_name: Option<String>,
        last_name: Option<String>,
        username: Option<String>,
        avatar: Option<AvatarWithUrl>,
        github: Option<RawJson>,
        connected_services: Vec<String>,
    }
    let Some(profile) = accounts::profile(&ctx, &caller).await? else {
        return Err(Error::internal("the account does not exist any more"));
    };
    Ok(Response::ok(&Body {
        id: caller.as_str(),
        timestamp: now_ms(),
        first_name: profile.first_name,
        last_name: profile.last_name,
        username: profile.username,
        avatar: profile.avatar.map(|avatar| avatar.with_url(&ctx.settings)),
        github: profile.github,
        connected_services: profile.connected_services,
    }))
}

pub async fn settings(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    const FAILURE: &str = "Failed to get account settings";
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        settings: Option<String>,
        settings_version: i64,
    }
    let settings = accounts::settings(&ctx, &caller).await.map_err(Error::failure(FAILURE))?;
    let settings = settings.ok_or_else(|| Error::internal_as(FAILURE, "the account does not exist any more"))?;
    Ok(Response::ok(&Body { settings: settings.value, settings_version: settings.version }))
}

pub struct NewSettings {
    settings: Option<String>,
    expected_version: i64,
}

impl FromRequest for NewSettings {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        Self { settings: body.text_nullable("settings"), expected_version: body.integer("expectedVersion", 0..) }
    }
}

pub async fn update_settings(ctx: Rc<Context>, caller: AccountId, new: NewSettings) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Stored {
        success: bool,
        version: i64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Mismatch {
        success: bool,
        error: &'static str,
        current_version: i64,
        current_settings: Option<String>,
    }
    #[derive(Serialize)]
    struct Failure {
        success: bool,
        error: &'static str,
    }
    let failure = || Response::json(500, &Failure { success: false, error: "Failed to update account settings" });
    match accounts::update_settings(&ctx, &caller, new.settings, new.expected_version).await {
        Ok(SettingsUpdate::Stored { version }) => Ok(Response::ok(&Stored { success: true, version })),
        Ok(SettingsUpdate::VersionMismatch(stored)) => Ok(Response::ok(&Mismatch {
            success: false,
            error: "version-mismatch",
            current_version: stored.version,
            current_settings: stored.value,
        })),
        Ok(SettingsUpdate::AccountNotFound) => Ok(failure()),
        Err(error) => Err(Error::Failure(failure(), error.to_string())),
    }
}
