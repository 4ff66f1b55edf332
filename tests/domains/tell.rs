//! What the tests of events share.

use happier_server::realtime::event::{Audience, Event};
use serde_json::{Value as Json, json};

use crate::server::{Account, Server, body};

/// Takes a time out of a value, after checking that it is now.
pub fn take_now(value: &mut Json, member: &str) -> i64 {
    let time = value[member].take().as_i64().unwrap_or_else(|| panic!("{member} is no time in {value}"));
    let now = happier_server::model::time::now_ms();
    assert!((time - now).abs() < 60_000, "{member} is {time}");
    time
}

/// The updates since the last call: whose, with which cursor, to whom, with which body.
pub fn updates(server: &Server) -> Vec<(String, i64, Audience, Json)> {
    let updates = server.updates().into_iter();
    updates.map(|u| (u.account.as_str().to_string(), u.seq, u.audience.clone(), body(&u))).collect()
}

/// The only update since the last call, to this account and audience.
pub fn one_update(server: &Server, account: &Account, audience: &Audience) -> (i64, Json) {
    let mut updates = updates(server);
    assert_eq!(updates.len(), 1, "{updates:?}");
    let (to, seq, of, body) = updates.remove(0);
    assert_eq!((to.as_str(), &of), (account.id.as_str(), audience), "{body}");
    (seq, body)
}

/// The only event since the last call, which is an ephemeral.
pub fn one_ephemeral(server: &Server, account: &Account) -> Json {
    let mut events = server.events();
    assert_eq!(events.len(), 1, "{events:?}");
    let Event::Ephemeral(event) = events.remove(0) else { panic!("an update") };
    assert_eq!((&event.account, &event.audience), (&account.id, &Audience::UserScoped));
    serde_json::from_str(&event.body).expect("a JSON body")
}

pub fn silence(server: &Server) {
    let events = server.events();
    assert!(events.is_empty(), "{events:?}");
}

/// The change log: kind, entity, cursor, hint.
pub async fn changes(server: &Server, account: &Account) -> Vec<(String, String, i64, Json)> {
    let body = server.get(account, "/v2/changes").await;
    let change = |change: &Json| {
        let text = |member: &str| change[member].as_str().unwrap().to_string();
        (text("kind"), text("entityId"), change["cursor"].as_i64().unwrap(), change["hint"].clone())
    };
    body["changes"].as_array().unwrap().iter().map(change).collect()
}

/// A refusal: status and `{"error":…}`.
pub async fn refused(
    server: &Server,
    account: &Account,
    method: &str,
    target: &str,
    body: Option<Json>,
    status: u16,
    error: &str,
) {
    let answer = server.call(account, method, target, body).await;
    assert_eq!((answer.status, answer.body), (status, json!({ "error": error })), "{method} {target}");
}

/// A V400 with this message.
pub async fn invalid(
    server: &Server,
    account: &Account,
    method: &str,
    target: &str,
    body: Option<Json>,
    message: &str,
) {
    let answer = server.call(account, method, target, body).await;
    let expected = json!({"error": "Error", "message": message, "statusCode": 400});
    assert_eq!((answer.status, answer.body), (400, expected), "{method} {target}");
}

/// The generic internal error.
pub async fn internal(server: &Server, account: &Account, method: &str, target: &str, body: Option<Json>) {
    let answer = server.call(account, method, target, body).await;
    let expected =
        json!({"error": "Internal Server Error", "message": "An unexpected error occurred", "statusCode": 500});
    assert_eq!((answer.status, answer.body), (500, expected), "{method} {target}");
}

/// Makes two accounts friends, past all notifications.
pub async fn befriend(server: &Server, one: &Account, other: &Account) {
    for (from, to) in [(one, other), (other, one)] {
        server.ok(from, "POST", "/v1/friends/add", Some(json!({"uid": to.id.as_str()}))).await;
    }
    server.events();
}

/// An id that no test has used.
pub fn fresh(label: &str) -> String {
    format!("{label} {}", happier_server::model::ids::cuid())
}

/// Comes from another address from now on, so that limits start anew.
pub fn move_on(server: &Server) {
    let bits: [u8; 16] = happier_server::crypto::random::bytes();
    server.peer.set(std::net::IpAddr::V6(bits.into()));
}
