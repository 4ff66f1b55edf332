//! The door of `domain::changes` (`spec/http.md` §13.4–13.5).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::changes::{self, Since};
use crate::domain::{Context, RawJson};
use crate::model::ids::AccountId;
use crate::observe::metrics::Counter;

const NO_ACCOUNT: &str = "account-not-found";

pub async fn cursor(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        cursor: i64,
        changes_floor: i64,
    }
    let Some(position) = changes::position(&ctx.db, &caller).await? else {
        ctx.metrics.inc(Counter::ChangesRequest(NO_ACCOUNT));
        return Err(Error::refused(404, NO_ACCOUNT));
    };
    Ok(Response::ok(&Body { cursor: position.cursor, changes_floor: position.floor }))
}

pub struct Page {
    after: i64,
    limit: i64,
}

impl FromRequest for Page {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut query = parts.query();
        Self { after: query.integer_or("after", 0.., 0), limit: query.integer_or("limit", 1..=500, 200) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    cursor: i64,
    kind: String,
    entity_id: String,
    changed_at: i64,
    hint: Option<RawJson>,
}

pub async fn list(ctx: Rc<Context>, caller: AccountId, page: Page) -> Result<Response, Error> {
    let (result, response) = match changes::since(&ctx.db, &caller, page.after, page.limit).await? {
        Since::AccountNotFound => (NO_ACCOUNT, Response::error(404, NO_ACCOUNT)),
        Since::CursorGone { current } => {
            #[derive(Serialize)]
            #[serde(rename_all = "camelCase")]
            struct Body {
                error: &'static str,
                current_cursor: i64,
            }
            ("cursor-gone", Response::json(410, &Body { error: "cursor-gone", current_cursor: current }))
        }
        Since::Changes(changes) => {
            #[derive(Serialize)]
            #[serde(rename_all = "camelCase")]
            struct Body {
                changes: Vec<Change>,
                next_cursor: i64,
            }
            ctx.metrics.add(Counter::ChangesReturned, changes.len() as u64);
            let next_cursor = changes.last().map_or(page.after, |last| last.cursor);
            let change = |change: changes::Change| Change {
                cursor: change.cursor,
                kind: change.kind,
                entity_id: change.entity,
                changed_at: change.changed_at,
                hint: change.hint.map(RawJson),
            };
            let changes = changes.into_iter().map(change).collect();
            ("ok", Response::ok(&Body { changes, next_cursor }))
        }
    };
    ctx.metrics.inc(Counter::ChangesRequest(result));
    Ok(response)
}
