//! Feed: short posts to an account, numbered by its feed counter.
//!
//! Owns: reading pages, and posting inside the transaction of the rule that causes the post.
//! Invariants: of posts with one repeat key only the latest is kept; counters only grow.
//! Implements `spec/http.md` §16.5–16.6.

use serde::Serialize;

use super::changes::{self, Kind};
use super::{Context, RawJson};
use crate::model::ids::{AccountId, cuid};
use crate::realtime::event::Audience;
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement, Tx};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub id: String,
    /// JSON object with the member `kind`.
    pub body: RawJson,
    pub repeat_key: Option<String>,
    pub counter: i64,
    pub created_at: i64,
}

impl Item {
    pub fn cursor(&self) -> String {
        cursor(self.counter)
    }
}

/// The text form of a counter.
pub fn cursor(counter: i64) -> String {
    format!("0-{counter}")
}

/// Reads the text form of a counter. More digits than a counter can have are none.
pub fn parse_cursor(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("0-")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Newest,
    Below(i64),
    /// The newest page above a counter, not the one next to it (O-32).
    Above(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub items: Vec<Item>,
    pub has_more: bool,
}

pub async fn page(ctx: &Context, account: &AccountId, from: From, limit: usize) -> Result<Page, Error> {
    let (above, below) = match from {
        From::Newest => (i64::MIN, i64::MAX),
        From::Below(counter) => (i64::MIN, counter),
        From::Above(counter) => (counter, i64::MAX),
    };
    // One row more than asked for tells whether there are more.
    let fetched = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let params = vec![account.as_str().into(), above.into(), below.into(), fetched.into()];
    let rows = ctx.db.query(&PAGE, params).await?;
    let has_more = rows.len() > limit;
    Ok(Page { items: rows.into_iter().take(limit).map(item).collect(), has_more })
}

fn item(mut row: Row) -> Item {
    Item {
        id: row.take_text(0),
        counter: row.int(1),
        repeat_key: row.opt_text(2),
        body: RawJson(row.json(3)),
        created_at: row.time(4),
    }
}

/// A post that has been written, to be published after the commit.
pub struct Posted {
    account: AccountId,
    seq: i64,
    item: Item,
}

/// Writes a post. An earlier one with the same repeat key disappears.
pub async fn post(
    tx: &mut Tx<'_>,
    account: &AccountId,
    body: RawJson,
    repeat_key: String,
    now_ms: i64,
) -> Result<Posted, Error> {
    tx.execute(&FORGET_REPEATED, vec![account.as_str().into(), repeat_key.as_str().into()]).await?;
    let row = tx.query_opt(&NEXT_COUNTER, vec![Value::Time(now_ms), account.as_str().into()]).await?;
    let counter = row.ok_or_else(|| Error::Internal("the account does not exist".to_owned()))?.int(0);
    let item = Item { id: cuid(), body, repeat_key: Some(repeat_key), counter, created_at: now_ms };
    let params = vec![
        item.id.as_str().into(),
        account.as_str().into(),
        counter.into(),
        item.repeat_key.clone().into(),
        Value::Json(item.body.0.clone()),
        Value::Time(now_ms),
    ];
    tx.execute(&INSERT, params).await?;
    let hint = format!(r#"{{"cursor":"{}"}}"#, item.cursor());
    let seq = changes::mark(tx, account, Kind::Feed, changes::SELF, Some(hint), now_ms).await?;
    Ok(Posted { account: account.clone(), seq, item })
}

impl Posted {
    /// Tells the account; after the commit.
    pub fn publish(self, ctx: &Context) {
        let Self { account, seq, item } = self;
        let cursor = item.cursor();
        let Item { id, body, created_at, .. } = item;
        let event = NewFeedPost { t: "new-feed-post", id, body, cursor, created_at };
        ctx.publish_update(&account, seq, Audience::UserScoped, &event);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewFeedPost {
    t: &'static str,
    id: String,
    body: RawJson,
    cursor: String,
    created_at: i64,
}

static PAGE: Statement = Statement::portable(
    r#"SELECT "id", "counter", "repeatKey", "body", "createdAt" FROM "UserFeedItem"
       WHERE "userId" = $1 AND "counter" > $2 AND "counter" < $3
       ORDER BY "counter" DESC LIMIT $4"#,
);

static FORGET_REPEATED: Statement =
    Statement::portable(r#"DELETE FROM "UserFeedItem" WHERE "userId" = $1 AND "repeatKey" = $2"#);

static NEXT_COUNTER: Statement = Statement::portable(
    r#"UPDATE "Account" SET "feedSeq" = "feedSeq" + 1, "updatedAt" = $1 WHERE "id" = $2 RETURNING "feedSeq""#,
);

static INSERT: Statement = Statement::portable(
    r#"INSERT INTO "UserFeedItem" ("id", "userId", "counter", "repeatKey", "body", "createdAt", "updatedAt")
       VALUES ($1, $2, $3, $4, $5, $6, $6)"#,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_they_are_written() {
        for counter in [0, 1, 17, i64::MAX] {
            assert_eq!(parse_cursor(&cursor(counter)), Some(counter));
        }
        for text in ["", "4", "1-4", "0-", "0-x", "0--1", "0-+1", "0-1 ", "0-9223372036854775808"] {
            assert_eq!(parse_cursor(text), None, "{text}");
        }
    }
}
