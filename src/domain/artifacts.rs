//! Artifacts: documents of an account in two separately versioned parts, header and body, opaque to the server.
//!
//! Owns: the rules for creating, reading, changing and deleting an artifact, its statements, and the events.
//! Never: base64 of the wire (texts are decoded at the door; an update carries its text along because the event
//! repeats it unchanged), statuses.
//! Invariants: an id belongs to at most one account at a time; an update changes all given parts or none.
//! Implements `spec/http.md` §14.16 and `spec/realtime.md` §8.4–8.7.

use std::sync::Arc;

use serde::Serialize;

use super::Context;
use super::changes::{self, Kind};
use super::events::Versioned;
use super::locks::lock_accounts;
use crate::model::ids::{AccountId, ArtifactId};
use crate::model::time::now_ms;
use crate::realtime::event::Audience;
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement, Tx};

/// What the list of artifacts shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub id: ArtifactId,
    pub header: Vec<u8>,
    pub header_version: i64,
    pub data_encryption_key: Vec<u8>,
    pub seq: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub info: Info,
    pub body: Vec<u8>,
    pub body_version: i64,
}

/// All artifacts of an account without their bodies, the most recently changed first.
pub async fn list(ctx: &Context, account: &AccountId) -> Result<Vec<Info>, Error> {
    let mut rows = ctx.db.query(&LIST, vec![account.as_str().into()]).await?;
    Ok(rows.iter_mut().map(info).collect())
}

pub async fn read(ctx: &Context, account: &AccountId, id: &ArtifactId) -> Result<Option<Artifact>, Error> {
    let row = ctx.db.query_opt(&READ, vec![id.as_str().into(), account.as_str().into()]).await?;
    Ok(row.map(|mut row| artifact(&mut row)))
}

pub struct Create {
    pub id: ArtifactId,
    pub header: Vec<u8>,
    pub body: Vec<u8>,
    pub data_encryption_key: Vec<u8>,
}

pub enum Created {
    /// Created now, or found as it was.
    Artifact(Artifact),
    /// The id is in use by another account.
    Foreign,
}

pub async fn create(ctx: &Context, account: &AccountId, input: Create) -> Result<Created, Error> {
    let now = now_ms();
    let owner = account.clone();
    let outcome = ctx.transaction(account, async move |tx| insert(tx, &owner, &input, now).await).await?;
    let (artifact, cursor) = match outcome {
        Inserted::Created(artifact, cursor) => (artifact, cursor),
        Inserted::Found(artifact) => return Ok(Created::Artifact(artifact)),
        Inserted::Foreign => return Ok(Created::Foreign),
    };
    ctx.publish_update(account, cursor, Audience::UserScoped, &NewArtifact::of(&artifact));
    Ok(Created::Artifact(artifact))
}

enum Inserted {
    Created(Artifact, i64),
    Found(Artifact),
    Foreign,
}

async fn insert(tx: &mut Tx<'_>, account: &AccountId, new: &Create, now: i64) -> Result<Inserted, Error> {
    lock_accounts(tx, &[account]).await?;
    let params = vec![
        new.id.as_str().into(),
        account.as_str().into(),
        new.header.clone().into(),
        new.body.clone().into(),
        new.data_encryption_key.clone().into(),
        Value::Time(now),
    ];
    if tx.execute(&INSERT, params).await? > 0 {
        let cursor = changes::mark(tx, account, Kind::Artifact, new.id.as_str(), None, now).await?;
        let info = Info {
            id: new.id.clone(),
            header: new.header.clone(),
            header_version: 1,
            data_encryption_key: new.data_encryption_key.clone(),
            seq: 0,
            created_at: now,
            updated_at: now,
        };
        return Ok(Inserted::Created(Artifact { info, body: new.body.clone(), body_version: 1 }, cursor));
    }
    let found = tx.query_opt(&READ, vec![new.id.as_str().into(), account.as_str().into()]).await?;
    Ok(found.map_or(Inserted::Foreign, |mut row| Inserted::Found(artifact(&mut row))))
}

/// A new content of one part.
#[derive(Clone, Debug)]
pub struct Part {
    pub bytes: Vec<u8>,
    /// The text the client sent for these bytes; events repeat it.
    pub text: Arc<str>,
    pub expected_version: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Update {
    pub header: Option<Part>,
    pub body: Option<Part>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Updated {
    /// The new versions of the given parts.
    Done {
        header_version: Option<i64>,
        body_version: Option<i64>,
    },
    /// What is stored now, of the given parts.
    Mismatch {
        header: Option<Stored>,
        body: Option<Stored>,
    },
    NotFound,
}

/// A stored part and its version.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    pub version: i64,
    pub bytes: Vec<u8>,
}

/// Replaces the given parts if all of them still have the versions that the writer has seen.
pub async fn update(ctx: &Context, account: &AccountId, id: &ArtifactId, input: Update) -> Result<Updated, Error> {
    let now = now_ms();
    let input = Arc::new(input);
    let (owner, artifact, new) = (account.clone(), id.clone(), Arc::clone(&input));
    let (updated, cursor) =
        ctx.transaction(account, async move |tx| write(tx, &owner, &artifact, &new, now).await).await?;
    if let (Updated::Done { header_version, body_version }, Some(cursor)) = (&updated, cursor) {
        let event = UpdateArtifact {
            t: "update-artifact",
            artifact_id: id,
            header: versioned(input.header.as_ref(), *header_version),
            body: versioned(input.body.as_ref(), *body_version),
        };
        ctx.publish_update(account, cursor, Audience::UserScoped, &event);
    }
    Ok(updated)
}

fn versioned(part: Option<&Part>, version: Option<i64>) -> Option<Versioned<'_>> {
    part.zip(version).map(|(part, version)| Versioned { value: &part.text, version })
}

async fn write(
    tx: &mut Tx<'_>,
    account: &AccountId,
    id: &ArtifactId,
    new: &Update,
    now: i64,
) -> Result<(Updated, Option<i64>), Error> {
    lock_accounts(tx, &[account]).await?;
    let key = || vec![Value::from(id.as_str()), account.as_str().into()];
    let Some(row) = tx.query_opt(&READ_VERSIONS, key()).await? else { return Ok((Updated::NotFound, None)) };
    let stored = (row.int(0), row.int(1));
    let agrees = |part: &Option<Part>, stored| part.as_ref().is_none_or(|part| part.expected_version == stored);
    if !agrees(&new.header, stored.0) || !agrees(&new.body, stored.1) {
        return Ok((mismatch(tx, new, key()).await?, None));
    }
    let header_version = new.header.as_ref().map(|_| stored.0 + 1);
    let body_version = new.body.as_ref().map(|_| stored.1 + 1);
    let params = vec![
        new.header.as_ref().map(|part| part.bytes.clone()).into(),
        header_version.unwrap_or(stored.0).into(),
        new.body.as_ref().map(|part| part.bytes.clone()).into(),
        body_version.unwrap_or(stored.1).into(),
        Value::Time(now),
        id.as_str().into(),
        account.as_str().into(),
        stored.0.into(),
        stored.1.into(),
    ];
    if tx.execute(&UPDATE, params).await? == 0 {
        return Ok((mismatch(tx, new, key()).await?, None));
    }
    let cursor = changes::mark(tx, account, Kind::Artifact, id.as_str(), None, now).await?;
    Ok((Updated::Done { header_version, body_version }, Some(cursor)))
}

async fn mismatch(tx: &mut Tx<'_>, new: &Update, key: Vec<Value>) -> Result<Updated, Error> {
    let Some(row) = tx.query_opt(&READ, key).await? else { return Ok(Updated::NotFound) };
    let Artifact { info, body, body_version } = artifact(&mut { row });
    let header = Stored { version: info.header_version, bytes: info.header };
    let body = Stored { version: body_version, bytes: body };
    Ok(Updated::Mismatch { header: new.header.as_ref().map(|_| header), body: new.body.as_ref().map(|_| body) })
}

/// Deletes an artifact; false if the account has none with this id.
pub async fn delete(ctx: &Context, account: &AccountId, id: &ArtifactId) -> Result<bool, Error> {
    let now = now_ms();
    let (owner, artifact) = (account.clone(), id.clone());
    let cursor = ctx.transaction(account, async move |tx| remove(tx, &owner, &artifact, now).await).await?;
    if let Some(cursor) = cursor {
        let event = DeleteArtifact { t: "delete-artifact", artifact_id: id };
        ctx.publish_update(account, cursor, Audience::UserScoped, &event);
    }
    Ok(cursor.is_some())
}

async fn remove(tx: &mut Tx<'_>, account: &AccountId, id: &ArtifactId, now: i64) -> Result<Option<i64>, Error> {
    lock_accounts(tx, &[account]).await?;
    if tx.execute(&DELETE, vec![id.as_str().into(), account.as_str().into()]).await? == 0 {
        return Ok(None);
    }
    changes::mark(tx, account, Kind::Artifact, id.as_str(), None, now).await.map(Some)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewArtifact<'a> {
    t: &'static str,
    artifact_id: &'a ArtifactId,
    seq: i64,
    header: String,
    header_version: i64,
    body: String,
    body_version: i64,
    data_encryption_key: String,
    created_at: i64,
    updated_at: i64,
}

impl<'a> NewArtifact<'a> {
    fn of(artifact: &'a Artifact) -> Self {
        let info = &artifact.info;
        Self {
            t: "new-artifact",
            artifact_id: &info.id,
            seq: info.seq,
            header: protocol::base64::encode(&info.header),
            header_version: info.header_version,
            body: protocol::base64::encode(&artifact.body),
            body_version: artifact.body_version,
            data_encryption_key: protocol::base64::encode(&info.data_encryption_key),
            created_at: info.created_at,
            updated_at: info.updated_at,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdateArtifact<'a> {
    t: &'static str,
    artifact_id: &'a ArtifactId,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<Versioned<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Versioned<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteArtifact<'a> {
    t: &'static str,
    artifact_id: &'a ArtifactId,
}

fn info(row: &mut Row) -> Info {
    Info {
        id: row.take_text(0).into(),
        header: row.bytes(1).to_vec(),
        header_version: row.int(2),
        data_encryption_key: row.bytes(3).to_vec(),
        seq: row.int(4),
        created_at: row.time(5),
        updated_at: row.time(6),
    }
}

fn artifact(row: &mut Row) -> Artifact {
    Artifact { info: info(row), body: row.bytes(7).to_vec(), body_version: row.int(8) }
}

static LIST: Statement = Statement::portable(
    r#"SELECT "id", "header", "headerVersion", "dataEncryptionKey", "seq", "createdAt", "updatedAt"
       FROM "Artifact" WHERE "accountId" = $1 ORDER BY "updatedAt" DESC, "id""#,
);

static READ: Statement = Statement::portable(
    r#"SELECT "id", "header", "headerVersion", "dataEncryptionKey", "seq", "createdAt", "updatedAt", "body",
              "bodyVersion"
       FROM "Artifact" WHERE "id" = $1 AND "accountId" = $2"#,
);

static READ_VERSIONS: Statement = Statement::portable(
    r#"SELECT "headerVersion", "bodyVersion" FROM "Artifact" WHERE "id" = $1 AND "accountId" = $2"#,
);

static INSERT: Statement = Statement::portable(
    r#"INSERT INTO "Artifact" ("id", "accountId", "header", "headerVersion", "body", "bodyVersion",
                               "dataEncryptionKey", "seq", "createdAt", "updatedAt")
       VALUES ($1, $2, $3, 1, $4, 1, $5, 0, $6, $6)
       ON CONFLICT ("id") DO NOTHING"#,
);

// A part that is not given keeps its content, and its version is written as it was.
static UPDATE: Statement = Statement::portable(
    r#"UPDATE "Artifact" SET "header" = COALESCE($1, "header"), "headerVersion" = $2,
                             "body" = COALESCE($3, "body"), "bodyVersion" = $4,
                             "seq" = "seq" + 1, "updatedAt" = $5
       WHERE "id" = $6 AND "accountId" = $7 AND "headerVersion" = $8 AND "bodyVersion" = $9"#,
);

static DELETE: Statement = Statement::portable(r#"DELETE FROM "Artifact" WHERE "id" = $1 AND "accountId" = $2"#);
