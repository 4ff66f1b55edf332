//! Public files of the light flavor (`spec/http.md` §11.3).

use std::rc::Rc;

use protocol::http::uri;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;

pub struct Read {
    path: String,
}

impl FromRequest for Read {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { path: parts.params().text("*") }
    }
}

/// Every failure is the same 404, but one of ours: files that are there must not be taken for missing.
pub async fn read(ctx: Rc<Context>, input: Read) -> Result<Response, Error> {
    let not_found = || Error::refused(404, "Not found");
    let files = ctx.files.as_ref().ok_or_else(not_found)?;
    // O-7: the path has been decoded once by the router.
    let path = uri::decode_segment(&input.path).map_err(|_| not_found())?;
    let bytes = files.read(&path).await.map_err(|error| if error.is_busy() { Error::BUSY } else { not_found() })?;
    let answer = Response::bytes(200, content_type(&path), bytes);
    Ok(answer.with("Cache-Control", "public, max-age=31536000, immutable"))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("gif") => "image/gif",
        _ => "application/octet-stream",
    }
}
