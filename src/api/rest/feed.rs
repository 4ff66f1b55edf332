//! The door of `domain::feed` (`spec/http.md` §16.5).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::feed::{self, From, Item};
use crate::domain::{Context, RawJson};
use crate::model::ids::AccountId;

pub struct Page {
    before: Option<String>,
    after: Option<String>,
    limit: i64,
}

impl FromRequest for Page {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut query = parts.query();
        Self {
            before: query.text_opt("before"),
            after: query.text_opt("after"),
            limit: query.integer_or("limit", 1..=200, 50),
        }
    }
}

pub async fn page(ctx: Rc<Context>, caller: AccountId, input: Page) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        items: Vec<Fields>,
        has_more: bool,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        id: String,
        body: RawJson,
        repeat_key: Option<String>,
        cursor: String,
        created_at: i64,
    }
    // O-31: the reference server answers a malformed cursor with a G500.
    let counter = |text: &str| feed::parse_cursor(text).ok_or(Error::refused(400, "Invalid cursor format"));
    let from = match (given(&input.before), given(&input.after)) {
        (Some(before), _) => From::Below(counter(before)?),
        (None, Some(after)) => From::Above(counter(after)?),
        (None, None) => From::Newest,
    };
    let limit = usize::try_from(input.limit).unwrap_or_default();
    let page = feed::page(&ctx, &caller, from, limit).await?;
    let fields = |item: Item| Fields {
        cursor: item.cursor(),
        id: item.id,
        body: item.body,
        repeat_key: item.repeat_key,
        created_at: item.created_at,
    };
    Ok(Response::ok(&Body { items: page.items.into_iter().map(fields).collect(), has_more: page.has_more }))
}

/// An empty cursor counts as none.
fn given(cursor: &Option<String>) -> Option<&str> {
    cursor.as_deref().filter(|cursor| !cursor.is_empty())
}
