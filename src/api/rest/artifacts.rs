//! The door of `domain::artifacts` (`spec/http.md` §14.16).

use std::rc::Rc;

use protocol::base64;
use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{Fields, FromRequest, Parts};
use crate::domain::Context;
use crate::domain::artifacts::{self, Artifact, Created, Info, Part, Stored, Updated};
use crate::model::ids::{AccountId, ArtifactId};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InfoFields {
    id: ArtifactId,
    header: String,
    header_version: i64,
    data_encryption_key: String,
    seq: i64,
    created_at: i64,
    updated_at: i64,
}

impl From<Info> for InfoFields {
    fn from(info: Info) -> Self {
        Self {
            id: info.id,
            header: base64::encode(&info.header),
            header_version: info.header_version,
            data_encryption_key: base64::encode(&info.data_encryption_key),
            seq: info.seq,
            created_at: info.created_at,
            updated_at: info.updated_at,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactFields {
    #[serde(flatten)]
    info: InfoFields,
    body: String,
    body_version: i64,
}

impl From<Artifact> for ArtifactFields {
    fn from(artifact: Artifact) -> Self {
        let Artifact { info, body, body_version } = artifact;
        Self { info: info.into(), body: base64::encode(&body), body_version }
    }
}

pub async fn list(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    let artifacts = artifacts::list(&ctx, &caller).await.map_err(Error::failure("Failed to get artifacts"))?;
    Ok(Response::ok(&artifacts.into_iter().map(InfoFields::from).collect::<Vec<_>>()))
}

pub struct Named {
    artifact: ArtifactId,
}

impl FromRequest for Named {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { artifact: parts.params().text("id").into() }
    }
}

pub async fn get(ctx: Rc<Context>, caller: AccountId, named: Named) -> Result<Response, Error> {
    let artifact = artifacts::read(&ctx, &caller, &named.artifact).await;
    let artifact = artifact.map_err(Error::failure("Failed to get artifact"))?;
    let artifact = artifact.ok_or(Error::refused(404, "Artifact not found"))?;
    Ok(Response::ok(&ArtifactFields::from(artifact)))
}

pub struct Create {
    id: String,
    header: String,
    body: String,
    data_encryption_key: String,
}

impl FromRequest for Create {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        Self {
            id: body.uuid("id"),
            header: body.text("header"),
            body: body.text("body"),
            data_encryption_key: body.text("dataEncryptionKey"),
        }
    }
}

pub async fn create(ctx: Rc<Context>, caller: AccountId, input: Create) -> Result<Response, Error> {
    let input = artifacts::Create {
        id: input.id.into(),
        header: decode(&input.header, "Invalid base64 in header")?,
        body: decode(&input.body, "Invalid base64 in body")?,
        data_encryption_key: decode(&input.data_encryption_key, "Invalid base64 in dataEncryptionKey")?,
    };
    let created = artifacts::create(&ctx, &caller, input).await;
    match created.map_err(Error::failure("Failed to create artifact"))? {
        Created::Artifact(artifact) => Ok(Response::ok(&ArtifactFields::from(artifact))),
        Created::Foreign => Err(Error::refused(409, "Artifact with this ID already exists for another account")),
    }
}

/// O-42: the reference server answers undecodable base64 with a 500.
fn decode(text: &str, refusal: &'static str) -> Result<Vec<u8>, Error> {
    base64::decode_strict(text).map_err(|_| Error::refused(400, refusal))
}

/// A new content of a part, with the version it replaces. Without the one the other is nothing.
struct NewPart {
    text: Option<String>,
    expected_version: Option<i64>,
}

impl NewPart {
    fn read(body: &mut Fields<'_, '_>, text: &str, expected_version: &str) -> Self {
        Self { text: body.text_opt(text), expected_version: body.integer_opt(expected_version, 0..) }
    }

    fn decode(self, refusal: &'static str) -> Result<Option<Part>, Error> {
        let Some(text) = self.text else { return Ok(None) };
        let expected_version = self.expected_version.ok_or(Error::refused(400, "Invalid parameters"))?;
        Ok(Some(Part { bytes: decode(&text, refusal)?, text: text.into(), expected_version }))
    }
}

pub struct Update {
    artifact: ArtifactId,
    header: NewPart,
    body: NewPart,
}

impl FromRequest for Update {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let artifact = parts.params().text("id").into();
        let mut body = parts.body();
        Self {
            artifact,
            header: NewPart::read(&mut body, "header", "expectedHeaderVersion"),
            body: NewPart::read(&mut body, "body", "expectedBodyVersion"),
        }
    }
}

pub async fn update(ctx: Rc<Context>, caller: AccountId, input: Update) -> Result<Response, Error> {
    let parts = [&input.header, &input.body];
    let is_incomplete = parts.iter().any(|part| part.text.is_some() && part.expected_version.is_none());
    if is_incomplete || parts.iter().all(|part| part.text.is_none()) {
        return Err(Error::refused(400, "Invalid parameters"));
    }
    let update = artifacts::Update {
        header: input.header.decode("Invalid base64 in header")?,
        body: input.body.decode("Invalid base64 in body")?,
    };
    let updated = artifacts::update(&ctx, &caller, &input.artifact, update).await;
    match updated.map_err(Error::failure("Failed to update artifact"))? {
        Updated::Done { header_version, body_version } => {
            Ok(Response::ok(&Done { success: true, header_version, body_version }))
        }
        Updated::Mismatch { header, body } => Ok(Response::ok(&Mismatch::of(header, body))),
        Updated::NotFound => Err(Error::refused(404, "Artifact not found")),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    header_version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_version: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Mismatch {
    success: bool,
    error: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_header_version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_body_version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_body: Option<String>,
}

impl Mismatch {
    fn of(header: Option<Stored>, body: Option<Stored>) -> Self {
        let version = |part: &Option<Stored>| part.as_ref().map(|part| part.version);
        let text = |part: &Option<Stored>| part.as_ref().map(|part| base64::encode(&part.bytes));
        Self {
            success: false,
            error: "version-mismatch",
            current_header_version: version(&header),
            current_header: text(&header),
            current_body_version: version(&body),
            current_body: text(&body),
        }
    }
}

pub async fn delete(ctx: Rc<Context>, caller: AccountId, named: Named) -> Result<Response, Error> {
    let deleted = artifacts::delete(&ctx, &caller, &named.artifact).await;
    if deleted.map_err(Error::failure("Failed to delete artifact"))? {
        Ok(Response::success())
    } else {
        Err(Error::refused(404, "Artifact not found"))
    }
}
