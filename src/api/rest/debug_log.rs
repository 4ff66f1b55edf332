//! Log lines of clients, collected for debugging (`spec/http.md` §15.10). The route exists only where the operator has
//! asked for it: anybody may call it.

use std::rc::Rc;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::observe::log::{ClientEntry, client_entry};

pub struct Line {
    timestamp: String,
    level: String,
    message: String,
    source: &'static str,
    platform: Option<String>,
}

impl FromRequest for Line {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        let (timestamp, level, message) = (body.text("timestamp"), body.text("level"), body.text("message"));
        // Accepted and ignored.
        body.json("messageRawObject");
        let source = body.one_of("source", &["mobile", "cli"]);
        Self { timestamp, level, message, source, platform: body.text_opt("platform") }
    }
}

pub async fn append(_: Rc<Context>, line: Line) -> Result<Response, Error> {
    client_entry(&ClientEntry {
        level: &line.level,
        source: line.source,
        platform: line.platform.as_deref(),
        timestamp: &line.timestamp,
        message: &line.message,
    });
    Ok(Response::success())
}
