//! Images of accounts: fetched once, described, stored as they are.
//!
//! Owns: which images are taken, their paths, their reuse. Never: pixels (`crate::images`), the wire (`vendors`).
//! Implements `spec/http.md` §15.3.

use std::fmt;

use super::Context;
use super::accounts::Avatar;
use crate::images::{self, Description};
use crate::model::ids::{AccountId, cuid, file_name_id};
use crate::model::time::now_ms;
use crate::runtime::pool::Busy;
use crate::storage::objects;
use crate::storage::{self, Statement, Value};
use crate::vendors;

/// Why an image was not stored.
#[derive(Debug)]
pub(super) enum Error {
    Vendor(vendors::Error),
    /// Too many images wait for being decoded.
    Busy,
    Image(images::Error),
    /// The full flavor has no object storage without its settings.
    NoStorage,
    File(objects::Error),
    Storage(storage::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendor(error) => error.fmt(f),
            Self::Busy => f.write_str("too many images are waiting already"),
            Self::Image(error) => error.fmt(f),
            Self::NoStorage => f.write_str("there is no storage for public files (S3_HOST and others are not set)"),
            Self::File(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self::Storage(error)
    }
}

/// Stores the picture of a GitHub user for an account, unless one from the same address is stored already, by whichever
/// account (O-25).
pub(super) async fn store_avatar(ctx: &Context, account: &AccountId, url: &str) -> Result<Avatar, Error> {
    let reuse_key = format!("image-url:{url}");
    if let Some(mut row) = ctx.db.query_opt(&REUSABLE, vec![reuse_key.as_str().into()]).await? {
        let (width, height) = (Some(row.int(1)), Some(row.int(2)));
        return Ok(Avatar { path: row.take_text(0), width, height, thumbhash: Some(row.take_text(3)) });
    }
    let files = ctx.files.as_ref().ok_or(Error::NoStorage)?;
    let bytes = ctx.vendors.github_avatar(url).await.map_err(Error::Vendor)?;
    let described = ctx.image_workers.run(move || (images::describe(&bytes), bytes)).await;
    let (described, bytes) = described.map_err(|Busy| Error::Busy)?;
    let Description { format, width, height, thumbhash } = described.map_err(Error::Image)?;
    let (name, extension) = (file_name_id(), format.extension());
    let path = format!("public/users/{account}/avatars/github_{name}.{extension}");
    files.write(path.clone(), bytes).await.map_err(Error::File)?;
    let params = vec![
        cuid().into(),
        account.as_str().into(),
        path.as_str().into(),
        reuse_key.into(),
        i64::from(width).into(),
        i64::from(height).into(),
        thumbhash.as_str().into(),
        Value::Time(now_ms()),
    ];
    ctx.db.execute(&RECORD, params).await?;
    let (width, height) = (Some(i64::from(width)), Some(i64::from(height)));
    Ok(Avatar { path, width, height, thumbhash: Some(thumbhash) })
}

// The oldest, so that all reuse the same one.
static REUSABLE: Statement = Statement::portable(
    r#"SELECT "path", "width", "height", "thumbhash" FROM "UploadedFile"
       WHERE "reuseKey" = $1 AND "width" <> 0 AND "height" <> 0 AND "thumbhash" <> ''
       ORDER BY "createdAt", "id" LIMIT 1"#,
);

static RECORD: Statement = Statement::portable(
    r#"INSERT INTO "UploadedFile" ("id", "accountId", "path", "reuseKey", "width", "height", "thumbhash", "createdAt",
         "updatedAt")
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)"#,
);
