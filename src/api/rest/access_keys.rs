//! The door of `domain::access_keys` (`spec/http.md` §14.15).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::domain::access_keys::{self, AccessKey, Created, Place, Read, Replaced};
use crate::model::ids::AccountId;

const NOT_OWNED: &str = "Session or machine not found";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    data: String,
    data_version: i64,
    created_at: i64,
    updated_at: i64,
}

impl From<AccessKey> for Fields {
    fn from(key: AccessKey) -> Self {
        Self { data: key.data, data_version: key.data_version, created_at: key.created_at, updated_at: key.updated_at }
    }
}

fn place(parts: &mut Parts<'_>) -> Place {
    let mut params = parts.params();
    Place { session: params.text("sessionId").into(), machine: params.text("machineId").into() }
}

pub struct Named(Place);

impl FromRequest for Named {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self(place(parts))
    }
}

pub async fn get(ctx: Rc<Context>, caller: AccountId, Named(place): Named) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        access_key: Option<Fields>,
    }
    let read = access_keys::read(&ctx, &caller, &place).await;
    match read.map_err(Error::failure("Failed to get access key"))? {
        Read::Found(key) => Ok(Response::ok(&Body { access_key: Some(key.into()) })),
        Read::Absent => Ok(Response::ok(&Body { access_key: None })),
        Read::NotOwned => Err(Error::refused(404, NOT_OWNED)),
    }
}

pub struct Create {
    place: Place,
    data: String,
}

impl FromRequest for Create {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { place: place(parts), data: parts.body().text("data") }
    }
}

pub async fn create(ctx: Rc<Context>, caller: AccountId, input: Create) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        success: bool,
        access_key: Fields,
    }
    let created = access_keys::create(&ctx, &caller, &input.place, input.data).await;
    match created.map_err(Error::failure("Failed to create access key"))? {
        Created::Created(key) => Ok(Response::ok(&Body { success: true, access_key: key.into() })),
        Created::Exists => Err(Error::refused(409, "Access key already exists")),
        Created::NotOwned => Err(Error::refused(404, NOT_OWNED)),
    }
}

pub struct Replace {
    place: Place,
    data: String,
    expected_version: i64,
}

impl FromRequest for Replace {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let place = place(parts);
        let mut body = parts.body();
        Self { place, data: body.text("data"), expected_version: body.integer("expectedVersion", 0..) }
    }
}

pub async fn replace(ctx: Rc<Context>, caller: AccountId, input: Replace) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Done {
        success: bool,
        version: i64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Mismatch {
        success: bool,
        error: &'static str,
        current_version: i64,
        current_data: String,
    }
    #[derive(Serialize)]
    struct Failure {
        success: bool,
        error: &'static str,
    }
    match access_keys::replace(&ctx, &caller, &input.place, input.data, input.expected_version).await {
        Ok(Replaced::Done { version }) => Ok(Response::ok(&Done { success: true, version })),
        Ok(Replaced::Mismatch { version, data }) => Ok(Response::ok(&Mismatch {
            success: false,
            error: "version-mismatch",
            current_version: version,
            current_data: data,
        })),
        Ok(Replaced::NotFound) => Err(Error::refused(404, "Access key not found")),
        Err(error) => {
            let answer = Response::json(500, &Failure { success: false, error: "Failed to update access key" });
            Err(Error::Failure(answer, error.to_string()))
        }
    }
}
