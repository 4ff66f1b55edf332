//! Usage reports.

use std::rc::Rc;

use happier_server::domain::usage::{self, Bucket, Queried, Query};
use happier_server::storage::{Statement, Value};
use serde_json::{Value as Json, json};

use crate::server::{Account, Server};
use crate::tell::{befriend, invalid, one_ephemeral, refused, silence, take_now};

fn report(session: &str, key: &str, tokens: Json, cost: Json) -> Option<Json> {
    Some(json!({"key": key, "sessionId": session, "tokens": tokens, "cost": cost}))
}

pub async fn reports(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    befriend(&server, &alice, &bob).await;
    let session = server.session(&alice, "s").await;
    server.share(&session, &alice, &bob, "admin").await;
    let path = "/v2/usage-reports";
    let tokens = json!({"total": 10, "input": 4, "output": 6.5});
    let cost = json!({"total": 0.5, "\"odd\"": 1e-7});
    let mut first = server.ok(&alice, "POST", path, report(&session, "claude", tokens.clone(), cost.clone())).await;
    let mut told = one_ephemeral(&server, &alice);
    take_now(&mut told, "timestamp");
    let expected = json!({"type": "usage", "id": session, "key": "claude", "tokens": tokens, "cost": cost,
        "timestamp": null});
    assert_eq!(told, expected);
    let at = take_now(&mut first, "createdAt");
    assert_eq!((first["success"].take(), take_now(&mut first, "updatedAt")), (json!(true), at));
    let again = server.ok(&alice, "POST", path, report(&session, "claude", json!({"total": 12}), cost.clone())).await;
    assert_eq!((&again["reportId"], &again["createdAt"]), (&first["reportId"], &json!(at)));
    assert_eq!(one_ephemeral(&server, &alice)["tokens"], json!({"total": 12}));

    let total = || json!({"total": 1});
    refused(&server, &alice, "POST", path, report(&session, "", total(), total()), 400, "Invalid parameters").await;
    refused(&server, &alice, "POST", path, report("unknown", "k", total(), total()), 404, "Session not found").await;
    refused(&server, &bob, "POST", path, report(&session, "k", total(), total()), 404, "Session not found").await;
    let failed = "Failed to save usage report";
    refused(&server, &alice, "POST", path, report(&session, "\0", total(), total()), 500, failed).await;
    for (body, message) in [
        (report(&session, "k", json!({"input": 1}), total()), "body/tokens/total Required"),
        (report(&session, "k", total(), json!(null)), "body/cost Expected object, received null"),
        (
            report(&session, "k", json!({"total": 1, "x": "much"}), json!({"total": []})),
            "body/tokens/x Expected number, received string, body/cost/total Expected number, received array",
        ),
        (Some(json!({})), "body/key Required, body/sessionId Required, body/tokens Required, body/cost Required"),
    ] {
        invalid(&server, &alice, "POST", path, body, message).await;
    }
    let amounts = |count: usize| {
        let others = (1..count).map(|n| (format!("n{n}"), json!(n)));
        Json::Object(std::iter::once(("total".to_owned(), json!(1))).chain(others).collect())
    };
    let mut long = amounts(1);
    long["x".repeat(65_536)] = json!(1);
    for (tokens, cost) in [(amounts(1001), total()), (total(), long)] {
        refused(&server, &alice, "POST", path, report(&session, "k", tokens, cost), 400, usage::TOO_LARGE).await;
    }
    silence(&server);
    assert_eq!(server.get(&alice, "/v2/cursor").await["cursor"].as_i64().unwrap() - 1, 3, "no cursors");
}

/// A core that sums up many large reports has something else to do in between.
pub async fn large_queries(server: Rc<Server>) {
    const REPORTS: usize = 24;
    let alice = server.account().await;
    let session = server.session(&alice, "s").await;
    for n in 0..REPORTS {
        let others = (1..20_000).map(|name| (format!("{n} {name}"), json!(1)));
        let tokens = Json::Object(others.chain([("total".to_owned(), json!(2))]).collect());
        report_at(&server, &alice, &session, &format!("k{n}"), 1000, json!({"tokens": tokens, "cost": {}})).await;
    }
    let query = Query { session: None, start_time: None, end_time: None, group_by: Bucket::Day };
    let mut turns = 0;
    let mut sums = std::pin::pin!(usage::query(&server.ctx, &alice.id, &query));
    let sums = std::future::poll_fn(|cx| {
        turns += 1;
        sums.as_mut().poll(cx)
    });
    let Queried::Sums { sums, total_reports } = sums.await.unwrap() else { panic!("it is her session") };
    assert_eq!((total_reports, sums.len()), (REPORTS as u64, 1));
    assert_eq!(sums[0].tokens["total"], 2.0 * REPORTS as f64);
    assert_eq!(sums[0].tokens.len(), 200_001, "no more names than an answer may have");
    assert!(turns > REPORTS / 2, "{turns}");
}

async fn report_at(server: &Server, account: &Account, session: &str, key: &str, at: i64, data: Json) {
    static INSERT: Statement = Statement::portable(
        r#"INSERT INTO "UsageReport" ("id", "key", "accountId", "sessionId", "data", "createdAt", "updatedAt")
           VALUES ($1, $2, $3, $4, $5, $6, $6)"#,
    );
    let params = vec![
        happier_server::model::ids::cuid().into(),
        key.into(),
        account.id.as_str().into(),
        session.into(),
        Value::Json(data.to_string()),
        Value::Time(at),
    ];
    server.ctx.db.execute(&INSERT, params).await.unwrap();
}

pub async fn queries(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let (first, second) = (server.session(&alice, "first").await, server.session(&alice, "second").await);
    const DAY: i64 = 1_767_225_600;
    let data = |total: f64| json!({"tokens": {"total": total, "note": "skipped"}, "cost": {"total": 0.25}});
    report_at(&server, &alice, &first, "a", DAY * 1000, data(1.0)).await;
    report_at(&server, &alice, &first, "b", (DAY + 3599) * 1000 + 999, data(2.5)).await;
    report_at(&server, &alice, &second, "c", (DAY + 3600) * 1000, data(4.0)).await;
    report_at(&server, &alice, &second, "d", (DAY + 86_400) * 1000, json!({"tokens": 5, "cost": null})).await;
    let query = async |who, body: Json| server.ok(who, "POST", "/v1/usage/query", Some(body)).await;
    let bucket = |at: i64, tokens: f64, cost: f64, count: i64| {
        #[allow(clippy::cast_possible_truncation, reason = "whole numbers, and small")]
        let total = |sum: f64| if sum.fract() == 0.0 { json!({"total": sum as i64}) } else { json!({"total": sum}) };
        json!({"timestamp": at, "tokens": total(tokens), "cost": total(cost), "reportCount": count})
    };
    let empty = |at: i64| json!({"timestamp": at, "tokens": {}, "cost": {}, "reportCount": 1});
    let all = query(&alice, json!({})).await;
    let days = json!([bucket(DAY, 7.5, 0.75, 3), empty(DAY + 86_400)]);
    assert_eq!(all, json!({"usage": days, "groupBy": "day", "totalReports": 4}));
    let hours = json!([bucket(DAY, 3.5, 0.5, 2), bucket(DAY + 3600, 4.0, 0.25, 1), empty(DAY + 86_400)]);
    assert_eq!(query(&alice, json!({"groupBy": "hour", "sessionId": "", "startTime": null})).await["usage"], hours);
    let of_first = query(&alice, json!({"sessionId": first})).await;
    assert_eq!(of_first["usage"], json!([bucket(DAY, 3.5, 0.5, 2)]));
    let between = json!({"startTime": DAY, "endTime": DAY + 3600, "groupBy": null});
    assert_eq!(query(&alice, between).await["totalReports"], 3, "bounds are inclusive");
    assert_eq!(query(&alice, json!({"startTime": DAY + 3600, "sessionId": second})).await["totalReports"], 2);
    assert_eq!(query(&alice, json!({"endTime": 1})).await, json!({"usage": [], "groupBy": "day", "totalReports": 0}));
    assert_eq!(query(&alice, json!({"endTime": 8_640_000_000_000_i64})).await["totalReports"], 4);
    assert_eq!(query(&bob, json!({})).await["totalReports"], 0);
    let path = "/v1/usage/query";
    refused(&server, &bob, "POST", path, Some(json!({"sessionId": first})), 404, "Session not found").await;
    let failed = "Failed to query usage reports";
    refused(&server, &alice, "POST", path, Some(json!({"startTime": 8_640_000_000_001_i64})), 500, failed).await;
    for (body, message) in [
        (json!({"groupBy": "week"}), "body/groupBy Invalid enum value. Expected 'hour' | 'day', received 'week'"),
        (
            json!({"startTime": 0, "endTime": -1}),
            "body/startTime Number must be greater than 0, body/endTime Number must be greater than 0",
        ),
        (
            json!({"startTime": 1.5, "sessionId": 5}),
            "body/sessionId Expected string, received number, body/startTime Expected integer, received float",
        ),
    ] {
        invalid(&server, &alice, "POST", path, Some(body), message).await;
    }
    for n in 0..1100 {
        report_at(&server, &bob, &first, &format!("k{n}"), DAY * 1000, data(1.0)).await;
    }
    let many = query(&bob, json!({})).await;
    assert_eq!(many["usage"], json!([bucket(DAY, 1100.0, 275.0, 1100)]), "more than a page of one instant");
}
