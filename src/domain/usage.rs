//! Usage reports: what a session has cost, one row per key, and their sums over time.
//!
//! Owns: the rules for reports and queries, their statements, the ephemeral `usage`.
//! Never: cursors; a report is no durable change in the sense of the change log.
//! Invariant: a report belongs to a session that the account owns; shared sessions do not count.
//! Implements `spec/http.md` §13.6–13.7 and `spec/realtime.md` §8.8.

use std::collections::BTreeMap;

use protocol::json::{self, Kind};
use serde::Serialize;

use super::{Context, RawJson};
use crate::model::ids::{AccountId, SessionId, cuid};
use crate::model::time::now_ms;
use crate::realtime::event::Audience;
use crate::storage::value::Value;
use crate::storage::{Error, Statement};

/// A report as a client makes it. `tokens` and `cost` are the texts of JSON objects.
#[derive(Clone, Debug)]
pub struct Report {
    pub session: SessionId,
    pub key: String,
    pub tokens: RawJson,
    pub cost: RawJson,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Reported {
    Stored { id: String, created_at: i64, updated_at: i64 },
    SessionNotFound,
}

/// Stores a report, replacing an earlier one with the same key, and shows it to the account's devices.
pub async fn report(ctx: &Context, account: &AccountId, report: Report) -> Result<Reported, Error> {
    if !owns_session(ctx, account, &report.session).await? {
        return Ok(Reported::SessionNotFound);
    }
    let now = now_ms();
    let data = format!(r#"{{"tokens":{},"cost":{}}}"#, report.tokens.0, report.cost.0);
    let params = vec![
        cuid().into(),
        report.key.as_str().into(),
        account.as_str().into(),
        report.session.as_str().into(),
        Value::Json(data),
        Value::Time(now),
    ];
    let row = ctx.db.query_opt(&STORE, params).await?;
    let mut row = row.ok_or_else(|| Error::Internal("a stored report was not returned".to_owned()))?;
    let Report { session, key, tokens, cost } = report;
    let event = Usage { r#type: "usage", id: &session, key, tokens, cost, timestamp: now };
    ctx.publish_ephemeral(account, Audience::UserScoped, &event);
    Ok(Reported::Stored { id: row.take_text(0), created_at: row.time(1), updated_at: row.time(2) })
}

async fn owns_session(ctx: &Context, account: &AccountId, session: &SessionId) -> Result<bool, Error> {
    let row = ctx.db.query_opt(&OWNED_SESSION, vec![session.as_str().into(), account.as_str().into()]).await?;
    Ok(row.is_some())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    Hour,
    Day,
}

impl Bucket {
    fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }
}

/// Which reports to sum up, and how finely. Times are whole seconds, inclusive.
#[derive(Clone, Debug)]
pub struct Query {
    pub session: Option<SessionId>,
    pub start_time: Option<i64>,
    pub end_time: Option<i64>,
    pub group_by: Bucket,
}

/// The sums of one hour or day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    /// Beginning of the bucket in seconds. Buckets are cut in UTC (O-14).
    pub timestamp: i64,
    pub tokens: BTreeMap<String, f64>,
    pub cost: BTreeMap<String, f64>,
    pub report_count: u64,
}

#[derive(Debug, PartialEq)]
pub enum Queried {
    /// Oldest first.
    Sums {
        sums: Vec<Sum>,
        total_reports: u64,
    },
    SessionNotFound,
    /// A bound that is no date.
    OutOfRange,
}

/// The last second that JavaScript can express as a date.
const SECONDS_MAX: i64 = 8_640_000_000_000;

/// Reports read at a time, so that memory does not grow with their number.
const PAGE: i64 = 500;

/// Sums up the reports of an account.
pub async fn query(ctx: &Context, account: &AccountId, query: &Query) -> Result<Queried, Error> {
    if let Some(session) = &query.session
        && !owns_session(ctx, account, session).await?
    {
        return Ok(Queried::SessionNotFound);
    }
    let bounds = [query.start_time, query.end_time];
    if bounds.into_iter().flatten().any(|seconds| seconds > SECONDS_MAX) {
        return Ok(Queried::OutOfRange);
    }
    // What no stored time can exceed stands for "no bound"; both databases can express it.
    let from = query.start_time.map_or(0, |seconds| seconds * 1000);
    let to = query.end_time.unwrap_or(LATEST_SECOND).min(LATEST_SECOND) * 1000;
    let mut buckets = BTreeMap::new();
    let mut total_reports = 0;
    let mut after = (from, String::new());
    loop {
        let params = vec![
            account.as_str().into(),
            Value::Time(after.0),
            after.1.into(),
            Value::Time(to),
            query.session.as_ref().map(|session| session.as_str().to_owned()).into(),
            PAGE.into(),
        ];
        let rows = ctx.db.query(&READ_PAGE, params).await?;
        let Some(last) = rows.last() else { break };
        after = (last.time(0), last.text(1).to_owned());
        let is_complete = rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        for row in &rows {
            total_reports += 1;
            add(&mut buckets, query.group_by, row.time(0), &row.json(2));
        }
        if is_complete {
            break;
        }
    }
    Ok(Queried::Sums { sums: buckets.into_values().collect(), total_reports })
}

/// The end of the year 9999.
const LATEST_SECOND: i64 = 253_402_300_799;

fn add(buckets: &mut BTreeMap<i64, Sum>, bucket: Bucket, created_at: i64, data: &str) {
    let start = created_at.div_euclid(1000).div_euclid(bucket.seconds()) * bucket.seconds();
    let sum = buckets.entry(start).or_insert_with(|| Sum { timestamp: start, ..Sum::default() });
    sum.report_count += 1;
    for (key, part) in json::members(data) {
        match key {
            r#""tokens""# => add_numbers(&mut sum.tokens, part),
            r#""cost""# => add_numbers(&mut sum.cost, part),
            _ => {}
        }
    }
}

/// Adds the numeric members of an object; anything else in it is not for sums.
fn add_numbers(sums: &mut BTreeMap<String, f64>, object: &str) {
    if json::kind(object) != Kind::Object {
        return;
    }
    let mut numbers = BTreeMap::new();
    for (key, value) in json::members(object) {
        // Of a member given twice the last counts.
        if let Ok(key) = json::unescape(key) {
            let number = (json::kind(value) == Kind::Number).then(|| value.trim().parse::<f64>().ok()).flatten();
            numbers.insert(key.into_owned(), number);
        }
    }
    for (key, number) in numbers {
        if let Some(number) = number {
            *sums.entry(key).or_default() += number;
        }
    }
}

#[derive(Serialize)]
struct Usage<'a> {
    r#type: &'static str,
    id: &'a SessionId,
    key: String,
    tokens: RawJson,
    cost: RawJson,
    timestamp: i64,
}

static OWNED_SESSION: Statement =
    Statement::portable(r#"SELECT "id" FROM "Session" WHERE "id" = $1 AND "accountId" = $2"#);

static STORE: Statement = Statement::portable(
    r#"INSERT INTO "UsageReport" ("id", "key", "accountId", "sessionId", "data", "createdAt", "updatedAt")
       VALUES ($1, $2, $3, $4, $5, $6, $6)
       ON CONFLICT ("accountId", "sessionId", "key") DO UPDATE SET
         "data" = excluded."data", "updatedAt" = excluded."updatedAt"
       RETURNING "id", "createdAt", "updatedAt""#,
);

// A session that is NULL restricts nothing.
static READ_PAGE: Statement = Statement::portable(
    r#"SELECT "createdAt", "id", "data" FROM "UsageReport"
       WHERE "accountId" = $1 AND ("createdAt", "id") > ($2, $3) AND "createdAt" <= $4
         AND ("sessionId" = $5 OR $5 IS NULL)
       ORDER BY "createdAt", "id" LIMIT $6"#,
);
