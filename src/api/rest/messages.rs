//! The door of `domain::messages` (`spec/http.md` §14.9–14.10).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::messages::{self, Range, Refusal};
use crate::domain::{Context, RawJson};
use crate::model::ids::{AccountId, SessionId};
use crate::observe::metrics::Counter;

/// Sequence numbers have 32 bits. The reference server answers larger bounds with G500.
const SEQ_MAX: i64 = i32::MAX as i64;

pub struct List {
    session: SessionId,
    limit: i64,
    range: Range,
}

impl FromRequest for List {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let session = SessionId::from(parts.params().text("sessionId"));
        let mut query = parts.query();
        let limit = query.integer_or("limit", 1..=500, 150);
        let before = query.integer_opt("beforeSeq", 1..=SEQ_MAX);
        let after = query.integer_opt("afterSeq", 0..=SEQ_MAX);
        let is_one = before.is_none() || after.is_none();
        query.refine(is_one, "beforeSeq and afterSeq are mutually exclusive");
        let range = match (before, after) {
            (_, Some(after)) => Range::After(after),
            (Some(before), None) => Range::Before(before),
            (None, None) => Range::Newest,
        };
        Self { session, limit, range }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    seq: i64,
    content: RawJson,
    local_id: Option<String>,
    created_at: i64,
    updated_at: i64,
}

impl From<messages::Listed> for Listed {
    fn from(message: messages::Listed) -> Self {
        Self {
            id: message.id,
            seq: message.seq,
            content: message.content,
            local_id: message.local_id,
            created_at: message.created_at,
            updated_at: message.updated_at,
        }
    }
}

pub async fn list(ctx: Rc<Context>, caller: AccountId, list: List) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        messages: Vec<Listed>,
        has_more: bool,
        next_before_seq: Option<i64>,
        next_after_seq: Option<i64>,
    }
    let limit = usize::try_from(list.limit).unwrap_or_default();
    let page = messages::list(&ctx, &caller, &list.session, list.range, limit).await?;
    let page = page.ok_or_else(|| Error::refused(404, "Session not found"))?;
    let is_catching_up = matches!(list.range, Range::After(_));
    if is_catching_up {
        ctx.metrics.inc(Counter::CatchupFetch("session-messages-afterSeq"));
        ctx.metrics.add(Counter::CatchupReturned("session-messages-afterSeq"), page.messages.len() as u64);
    }
    let next = page.messages.last().map(|last| last.seq).filter(|_| page.has_more);
    Ok(Response::ok(&Body {
        has_more: page.has_more,
        next_before_seq: next.filter(|_| !is_catching_up),
        next_after_seq: next.filter(|_| is_catching_up),
        messages: page.messages.into_iter().map(Listed::from).collect(),
    }))
}

pub struct Send {
    session: SessionId,
    ciphertext: String,
    local_id: Option<String>,
}

impl FromRequest for Send {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let session = SessionId::from(parts.params().text("sessionId"));
        let mut body = parts.body();
        let (ciphertext, local_id) = (body.text("ciphertext"), body.text_opt("localId"));
        // An empty `localId` in the body counts as given.
        let idempotency_key = parts.headers().text_opt("idempotency-key");
        let local_id = local_id.or(idempotency_key);
        Self { session, ciphertext, local_id }
    }
}

pub async fn send(ctx: Rc<Context>, caller: AccountId, new: Send) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message {
        id: String,
        seq: i64,
        local_id: Option<String>,
        created_at: i64,
    }
    #[derive(Serialize)]
    struct Body {
        message: Message,
    }
    if new.ciphertext.is_empty() || new.session.as_str().is_empty() {
        return Err(Error::refused(400, "Invalid parameters"));
    }
    let sent = messages::send_and_publish(&ctx, &caller, &new.session, new.ciphertext, new.local_id).await;
    let message = sent.map_err(|refusal| match refusal {
        Refusal::SessionNotFound => Error::refused(404, "Session not found"),
        Refusal::Forbidden => Error::refused(403, "Forbidden"),
        Refusal::Storage(error) => Error::failure("Failed to create message")(error),
    })?;
    let message =
        Message { id: message.id, seq: message.seq, local_id: message.local_id, created_at: message.created_at };
    Ok(Response::ok(&Body { message }))
}
