//! The door of `domain::usage` (`spec/http.md` §13.6–13.7).

use std::collections::BTreeMap;
use std::rc::Rc;

use protocol::json;
use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, POSITIVE, Parts};
use crate::domain::usage::{self, Bucket, Queried, Reported};
use crate::domain::{Context, RawJson};
use crate::model::ids::AccountId;

pub struct Report {
    key: String,
    session: String,
    tokens: Vec<(String, f64)>,
    cost: Vec<(String, f64)>,
}

impl FromRequest for Report {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        Self {
            key: body.text("key"),
            session: body.text("sessionId"),
            tokens: body.object("tokens", |tokens| tokens.numbers("total")),
            cost: body.object("cost", |cost| cost.numbers("total")),
        }
    }
}

pub async fn report(ctx: Rc<Context>, caller: AccountId, input: Report) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        success: bool,
        report_id: String,
        created_at: i64,
        updated_at: i64,
    }
    if input.key.is_empty() {
        return Err(Error::refused(400, "Invalid parameters"));
    }
    let report = usage::Report {
        session: input.session.into(),
        key: input.key,
        tokens: object(&input.tokens),
        cost: object(&input.cost),
    };
    let reported = usage::report(&ctx, &caller, report).await;
    match reported.map_err(Error::failure("Failed to save usage report"))? {
        Reported::Stored { id, created_at, updated_at } => {
            Ok(Response::ok(&Body { success: true, report_id: id, created_at, updated_at }))
        }
        Reported::TooLarge => Err(Error::refused(400, usage::TOO_LARGE)),
        Reported::SessionNotFound => Err(Error::refused(404, "Session not found")),
    }
}

/// The text of an object of numbers.
fn object(numbers: &[(String, f64)]) -> RawJson {
    let mut text = Vec::from(*b"{");
    for (i, (name, number)) in numbers.iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        json::write_string(&mut text, name);
        // A number too large for a float has become infinite, which JSON cannot express.
        let number = if number.is_finite() { number.to_string() } else { "null".to_owned() };
        text.push(b':');
        text.extend(number.bytes());
    }
    text.push(b'}');
    RawJson(String::from_utf8(text).unwrap_or_default())
}

pub struct Query {
    session: Option<String>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    group_by: &'static str,
}

const HOUR: &str = "hour";
const DAY: &str = "day";

impl FromRequest for Query {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        Self {
            session: body.text_nullish("sessionId"),
            start_time: body.integer_nullish("startTime", POSITIVE),
            end_time: body.integer_nullish("endTime", POSITIVE),
            group_by: body.one_of_nullish("groupBy", &[HOUR, DAY]).unwrap_or(DAY),
        }
    }
}

pub async fn query(ctx: Rc<Context>, caller: AccountId, input: Query) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        usage: Vec<Sum>,
        group_by: &'static str,
        total_reports: u64,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Sum {
        timestamp: i64,
        tokens: RawJson,
        cost: RawJson,
        report_count: u64,
    }
    const FAILURE: &str = "Failed to query usage reports";
    let question = usage::Query {
        session: input.session.filter(|session| !session.is_empty()).map(Into::into),
        start_time: input.start_time,
        end_time: input.end_time,
        group_by: if input.group_by == HOUR { Bucket::Hour } else { Bucket::Day },
    };
    let sums_of = |sums: BTreeMap<String, f64>| object(&sums.into_iter().collect::<Vec<_>>());
    match usage::query(&ctx, &caller, &question).await.map_err(Error::failure(FAILURE))? {
        Queried::Sums { sums, total_reports } => {
            let sum = |sum: usage::Sum| Sum {
                timestamp: sum.timestamp,
                tokens: sums_of(sum.tokens),
                cost: sums_of(sum.cost),
                report_count: sum.report_count,
            };
            let usage = sums.into_iter().map(sum).collect();
            Ok(Response::ok(&Body { usage, group_by: input.group_by, total_reports }))
        }
        Queried::SessionNotFound => Err(Error::refused(404, "Session not found")),
        Queried::OutOfRange => Err(Error::refused(500, FAILURE)),
    }
}
