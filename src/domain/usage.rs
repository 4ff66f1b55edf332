//! Usage reports: what a session has cost, one row per key, and their sums over time.
//!
//! Owns: the rules for reports and queries, their statements, the ephemeral `usage`.
//! Never: cursors; a report is no durable change in the sense of the change log.
//! Invariant: a report belongs to a session that the account owns; shared sessions do not count.
//! Limits: [`AMOUNTS_MAX`] amounts and [`AMOUNTS_BYTES_MAX`] bytes of each kind in a report; of what is stored already,
//! [`ROW_AMOUNTS_MAX`] amounts of a kind are looked at, and an answer has room for [`ROOM`].
//! Implements `spec/http.md` §13.6–13.7 and `spec/realtime.md` §8.8.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

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

/// Amounts that `tokens`, or `cost`, of a report may have. Clients send a handful.
pub const AMOUNTS_MAX: usize = 1_000;
/// Bytes that `tokens`, or `cost`, of a report may have as JSON.
pub const AMOUNTS_BYTES_MAX: usize = 64 << 10;

/// The limits as clients are told.
pub const TOO_LARGE: &str = "tokens and cost may have at most 1000 entries and 65536 bytes each";

impl Report {
    fn is_within_limits(&self) -> bool {
        [&self.tokens, &self.cost].into_iter().all(|RawJson(amounts)| {
            amounts.len() <= AMOUNTS_BYTES_MAX && json::members(amounts).take(AMOUNTS_MAX + 1).count() <= AMOUNTS_MAX
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Reported {
    Stored {
        id: String,
        created_at: i64,
        updated_at: i64,
    },
    SessionNotFound,
    /// More than [`AMOUNTS_MAX`] or [`AMOUNTS_BYTES_MAX`] in one of the two objects.
    TooLarge,
}

/// Stores a report, replacing an earlier one with the same key, and shows it to the account's devices.
pub async fn report(ctx: &Context, account: &AccountId, report: Report) -> Result<Reported, Error> {
    if !report.is_within_limits() {
        return Ok(Reported::TooLarge);
    }
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

/// Reports read at a time, so that memory does not grow with their number. Some are of a time without limits and have a
/// megabyte.
const PAGE: i64 = 32;

/// After so many bytes of reports the others on this core have their turn, its timers included.
const BYTES_PER_TURN: usize = 256 << 10;

/// Amounts of one kind that are looked at in one report; more were never sent over HTTP.
const ROW_AMOUNTS_MAX: usize = 10_000;

/// What an answer may hold. A year by the hour with ten names has 175,200 amounts.
const ROOM: Room = Room { amounts: 200_000, name_bytes: 8 << 20 };

/// The amount that every report has. It is always in the sums.
const TOTAL: &str = "total";

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
    let mut sums = Sums { buckets: BTreeMap::new(), room: ROOM };
    let mut total_reports = 0;
    let mut bytes = 0;
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
            let data = row.json(2);
            sums.add(query.group_by, row.time(0), &data);
            bytes += data.len();
            if bytes > BYTES_PER_TURN {
                bytes = 0;
                monoio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if is_complete {
            break;
        }
    }
    Ok(Queried::Sums { sums: sums.buckets.into_values().collect(), total_reports })
}

/// The end of the year 9999.
const LATEST_SECOND: i64 = 253_402_300_799;

/// Sums in the making.
struct Sums {
    buckets: BTreeMap<i64, Sum>,
    room: Room,
}

/// How much more an answer may hold, beside the totals. Names for which there is no room are left out.
#[derive(Clone, Copy)]
struct Room {
    amounts: usize,
    name_bytes: usize,
}

impl Sums {
    fn add(&mut self, bucket: Bucket, created_at: i64, data: &str) {
        let start = created_at.div_euclid(1000).div_euclid(bucket.seconds()) * bucket.seconds();
        let sum = self.buckets.entry(start).or_insert_with(|| Sum { timestamp: start, ..Sum::default() });
        sum.report_count += 1;
        for (key, part) in json::members(data) {
            match key {
                r#""tokens""# => self.room.add_amounts(&mut sum.tokens, part),
                r#""cost""# => self.room.add_amounts(&mut sum.cost, part),
                _ => {}
            }
        }
    }
}

impl Room {
    /// Adds the numeric members of an object; anything else in it is not for sums.
    fn add_amounts(&mut self, sums: &mut BTreeMap<String, f64>, object: &str) {
        if json::kind(object) != Kind::Object {
            return;
        }
        let mut amounts: BTreeMap<Cow<'_, str>, Option<f64>> = BTreeMap::new();
        for (name, value) in json::members(object) {
            let Ok(name) = json::unescape(name) else { continue };
            let number = (json::kind(value) == Kind::Number).then(|| value.trim().parse::<f64>().ok()).flatten();
            // Of a member given twice the last counts.
            if let Some(earlier) = amounts.get_mut(&name) {
                *earlier = number;
            } else if amounts.len() < ROW_AMOUNTS_MAX || name == TOTAL {
                amounts.insert(name, number);
            }
        }
        for (name, number) in amounts {
            let Some(number) = number else { continue };
            if let Some(sum) = sums.get_mut(name.as_ref()) {
                *sum += number;
            } else if name == TOTAL || self.take(&name) {
                sums.insert(name.into_owned(), number);
            }
        }
    }

    /// Takes the room for one more amount, if there is as much.
    fn take(&mut self, name: &str) -> bool {
        let (Some(amounts), Some(bytes)) = (self.amounts.checked_sub(1), self.name_bytes.checked_sub(name.len()))
        else {
            return false;
        };
        *self = Self { amounts, name_bytes: bytes };
        true
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

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(count: usize) -> String {
        let amounts: Vec<String> = (0..count).map(|n| format!(r#""n{n}":1"#)).collect();
        format!("{{{}}}", amounts.join(","))
    }

    #[test]
    fn reports_have_limits() {
        let long = format!(r#"{{"total":1,"x":"{}"}}"#, "x".repeat(AMOUNTS_BYTES_MAX));
        for (tokens, is_within) in
            [(amounts(1), true), (amounts(AMOUNTS_MAX), true), (amounts(AMOUNTS_MAX + 1), false), (long, false)]
        {
            let report = |tokens: &str, cost: &str| Report {
                session: "s".to_owned().into(),
                key: "k".into(),
                tokens: RawJson(tokens.into()),
                cost: RawJson(cost.into()),
            };
            assert_eq!(report(&tokens, "{}").is_within_limits(), is_within, "{}", tokens.len());
            assert_eq!(report("{}", &tokens).is_within_limits(), is_within, "{}", tokens.len());
        }
    }

    #[test]
    fn sums_have_limits_and_totals_are_complete() {
        let mut sums = Sums { buckets: BTreeMap::new(), room: Room { amounts: 3, name_bytes: 5 } };
        let data = |tokens: &str| format!(r#"{{"tokens":{tokens},"cost":{{}}}}"#);
        sums.add(Bucket::Day, 0, &data(r#"{"a":1,"b":2,"total":3}"#));
        sums.add(Bucket::Day, 1, &data(r#"{"b":5,"long":1,"c":1,"d":1,"total":7}"#));
        sums.add(Bucket::Day, 86_400_000, &data(r#"{"a":1,"total":1}"#));
        let tokens = |at: i64| sums.buckets[&at].tokens.iter().map(|(name, n)| (name.as_str(), *n)).collect::<Vec<_>>();
        assert_eq!(tokens(0), [("a", 1.0), ("b", 7.0), ("c", 1.0), ("total", 10.0)]);
        assert_eq!(tokens(86_400), [("total", 1.0)]);
    }

    #[test]
    fn of_a_row_so_many_amounts_count() {
        let mut sums = Sums { buckets: BTreeMap::new(), room: ROOM };
        let many = amounts(ROW_AMOUNTS_MAX + 1).replace('}', r#","n0":2,"total":5}"#);
        sums.add(Bucket::Hour, 0, &format!(r#"{{"tokens":{many}}}"#));
        let tokens = &sums.buckets[&0].tokens;
        assert_eq!((tokens.len(), tokens["n0"], tokens[TOTAL]), (ROW_AMOUNTS_MAX + 1, 2.0, 5.0));
    }
}
