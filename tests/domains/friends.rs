//! Friends and the feed posts that go with them.

use std::rc::Rc;

use happier_server::realtime::event::Audience::UserScoped;
use happier_server::storage::Statement;
use serde_json::{Value as Json, json};

use crate::server::{Account, Server};
use crate::tell::{changes, invalid, one_update, silence, updates};

async fn act(server: &Server, who: &Account, action: &str, whom: &Account) -> Json {
    let body = Some(json!({"uid": whom.id.as_str()}));
    let answer = server.ok(who, "POST", &format!("/v1/friends/{action}"), body).await;
    assert_eq!(answer["user"]["id"], whom.id.as_str());
    answer["user"]["status"].clone()
}

/// The states as the friends list shows them: whose, and which.
async fn list(server: &Server, who: &Account) -> Vec<(String, String)> {
    let body = server.get(who, "/v1/friends").await;
    let text = |value: &Json| value.as_str().unwrap().to_string();
    let friends = body["friends"].as_array().unwrap().iter();
    friends.map(|friend| (text(&friend["id"]), text(&friend["status"]))).collect()
}

fn state(of: &Account, status: &str) -> Vec<(String, String)> {
    vec![(of.id.as_str().to_string(), status.to_string())]
}

fn assert_post(server: &Server, to: &Account, kind: &str, about: &Account, counter: i64, seq: i64) {
    let (cursor, mut event) = one_update(server, to, &UserScoped);
    assert!(event["id"].take().is_string() && event["createdAt"].take().is_i64());
    let body = json!({"kind": kind, "uid": about.id.as_str()});
    let post = format!("0-{counter}");
    let expected = json!({"t": "new-feed-post", "id": null, "body": body, "cursor": post, "createdAt": null});
    assert_eq!((cursor, event), (seq, expected));
}

pub async fn asking_and_accepting(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    assert!(list(&server, &alice).await.is_empty());
    assert_eq!(act(&server, &alice, "add", &bob).await, "requested");
    assert_post(&server, &bob, "friend_request", &alice, 1, 1);
    assert_eq!(
        (list(&server, &alice).await, list(&server, &bob).await),
        (state(&bob, "requested"), state(&alice, "pending"))
    );
    assert_eq!(act(&server, &alice, "add", &bob).await, "requested");
    silence(&server);
    assert_eq!(act(&server, &bob, "add", &alice).await, "friend");
    assert_post(&server, &alice, "friend_accepted", &bob, 1, 2);
    assert_eq!(
        (list(&server, &alice).await, list(&server, &bob).await),
        (state(&bob, "friend"), state(&alice, "friend"))
    );
    assert_eq!(act(&server, &alice, "add", &bob).await, "friend");
    silence(&server);
    let hint = json!({"cursor": "0-1"});
    let log = |feed: i64, friends: i64| {
        let entry = |kind: &str, cursor, hint: &Json| (kind.to_string(), "self".to_string(), cursor, hint.clone());
        vec![entry("feed", feed, &hint), entry("friends", friends, &json!(null))]
    };
    assert_eq!(changes(&server, &alice).await, log(2, 3));
    assert_eq!(changes(&server, &bob).await, log(1, 3));
    let feed = server.get(&bob, "/v1/feed").await;
    assert_eq!((&feed["hasMore"], feed["items"].as_array().unwrap().len()), (&json!(false), 1));
    let item = &feed["items"][0];
    assert_eq!(item["body"], json!({"kind": "friend_request", "uid": alice.id.as_str()}));
    assert_eq!((&item["cursor"], &item["repeatKey"]), (&json!("0-1"), &json!(format!("friend_request_{}", alice.id))));
    let seen = server.get(&alice, &format!("/v1/user/{}", bob.id)).await;
    assert_eq!(seen["user"]["status"], "friend");

    static ACCEPTED: Statement =
        Statement::portable(r#"SELECT "acceptedAt" FROM "UserRelationship" WHERE "fromUserId" = $1"#);
    let accepted_at = async || {
        let row = server.ctx.db.query_opt(&ACCEPTED, vec![alice.id.as_str().into()]).await.unwrap();
        row.unwrap().opt_time(0)
    };
    assert!(accepted_at().await.is_some());
    act(&server, &alice, "remove", &bob).await;
    assert_eq!(accepted_at().await, None);
}

pub async fn parting(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    crate::tell::befriend(&server, &alice, &bob).await;
    assert_eq!(act(&server, &alice, "remove", &bob).await, "requested", "O-29");
    assert_eq!(
        (list(&server, &alice).await, list(&server, &bob).await),
        (state(&bob, "pending"), state(&alice, "requested"))
    );
    assert_eq!(act(&server, &alice, "remove", &bob).await, "none");
    assert!(list(&server, &alice).await.is_empty() && list(&server, &bob).await.is_empty());
    silence(&server);
    let cursor = server.get(&bob, "/v2/cursor").await["cursor"].clone();
    assert_eq!(act(&server, &alice, "remove", &bob).await, "none");
    assert_eq!(server.get(&bob, "/v2/cursor").await["cursor"], cursor, "nothing has changed");
    assert_eq!(act(&server, &bob, "add", &alice).await, "requested");
}

pub async fn withdrawing_and_declining(server: Rc<Server>) {
    let (alice, carol) = (server.account().await, server.account().await);
    act(&server, &carol, "add", &alice).await;
    assert_post(&server, &alice, "friend_request", &carol, 1, 1);
    let cursor = async || server.get(&alice, "/v2/cursor").await["cursor"].clone();
    let before = cursor().await;
    assert_eq!(act(&server, &carol, "remove", &alice).await, "rejected");
    assert_eq!(cursor().await, before, "the target goes on waiting");
    assert!(list(&server, &carol).await.is_empty());
    assert_eq!(list(&server, &alice).await, state(&carol, "pending"));
    assert_eq!(act(&server, &carol, "add", &alice).await, "requested");
    silence(&server);
    static EARLIER: Statement = Statement::portable(
        r#"UPDATE "UserRelationship" SET "lastNotifiedAt" = $1 WHERE "fromUserId" = $2 AND "toUserId" = $3"#,
    );
    act(&server, &carol, "remove", &alice).await;
    let day_ago = happier_server::storage::Value::Time(happier_server::model::time::now_ms() - 86_400_000);
    let params = vec![day_ago, alice.id.as_str().into(), carol.id.as_str().into()];
    server.ctx.db.execute(&EARLIER, params).await.unwrap();
    act(&server, &carol, "add", &alice).await;
    let (_, event) = one_update(&server, &alice, &UserScoped);
    assert_eq!((&event["cursor"], &event["body"]["kind"]), (&json!("0-2"), &json!("friend_request")), "a day later");
    let feed = server.get(&alice, "/v1/feed").await;
    assert_eq!(feed["items"].as_array().unwrap().len(), 1, "the repeated post replaces the earlier one");

    let dave = server.account().await;
    act(&server, &dave, "add", &carol).await;
    server.events();
    assert_eq!(act(&server, &carol, "remove", &dave).await, "none");
    assert!(list(&server, &dave).await.is_empty());
    silence(&server);
}

pub async fn oneself_and_nobody(server: Rc<Server>) {
    let alice = server.account().await;
    let post = async |action: &str, uid: &str| {
        server.ok(&alice, "POST", &format!("/v1/friends/{action}"), Some(json!({ "uid": uid }))).await
    };
    assert_eq!(post("add", alice.id.as_str()).await, json!({"user": null}));
    let oneself = post("remove", alice.id.as_str()).await;
    assert_eq!((&oneself["user"]["id"], &oneself["user"]["status"]), (&json!(alice.id.as_str()), &json!("none")));
    for action in ["add", "remove"] {
        assert_eq!(post(action, "nothing-like-this").await, json!({"user": null}));
        let path = format!("/v1/friends/{action}");
        invalid(&server, &alice, "POST", &path, Some(json!({})), "body/uid Required").await;
        let message = "body/uid Expected string, received number";
        invalid(&server, &alice, "POST", &path, Some(json!({"uid": 7})), message).await;
    }
    assert_eq!(server.get(&alice, "/v2/cursor").await["cursor"], 0);
    silence(&server);
}

pub async fn feed_pages(server: Rc<Server>) {
    let alice = server.account().await;
    for _ in 0..6 {
        let sender = server.account().await;
        act(&server, &sender, "add", &alice).await;
    }
    server.events();
    for (query, cursors, has_more) in [
        ("", vec![6, 5, 4, 3, 2, 1], false),
        ("?limit=4", vec![6, 5, 4, 3], true),
        ("?limit=6", vec![6, 5, 4, 3, 2, 1], false),
        ("?limit=2&before=0-4", vec![3, 2], true),
        ("?limit=2&before=0-2", vec![1], false),
        ("?before=0-1", vec![], false),
        ("?limit=2&after=0-2", vec![6, 5], true),
        ("?after=0-6", vec![], false),
        ("?before=0-3&after=0-5", vec![2, 1], false),
        ("?limit=200", vec![6, 5, 4, 3, 2, 1], false),
    ] {
        let page = server.get(&alice, &format!("/v1/feed{query}")).await;
        let got: Vec<String> =
            page["items"].as_array().unwrap().iter().map(|item| item["cursor"].as_str().unwrap().to_string()).collect();
        let expected: Vec<String> = cursors.iter().map(|counter| format!("0-{counter}")).collect();
        assert_eq!((got, &page["hasMore"]), (expected, &json!(has_more)), "{query}");
    }
    for query in ["?before=4", "?before=1-4", "?after=0-x"] {
        crate::tell::refused(&server, &alice, "GET", &format!("/v1/feed{query}"), None, 400, "Invalid cursor format")
            .await;
    }
    let message = "querystring/limit Number must be less than or equal to 200";
    invalid(&server, &alice, "GET", "/v1/feed?limit=201", None, message).await;
}

/// Both ask at the same time: whoever comes second accepts, and nobody waits for ever.
pub async fn simultaneous_requests(server: Rc<Server>) {
    for _ in 0..5 {
        let (alice, bob) = (server.account().await, server.account().await);
        let ask = |who: &Account, whom: &Account| {
            let (server, who, whom) = (Rc::clone(&server), who.clone(), whom.clone());
            monoio::spawn(async move { act(&server, &who, "add", &whom).await })
        };
        let (first, second) = (ask(&alice, &bob), ask(&bob, &alice));
        let mut answers = [first.await, second.await].map(|status| status.as_str().unwrap().to_string());
        answers.sort();
        assert_eq!(answers, ["friend", "requested"]);
        assert_eq!(list(&server, &alice).await, state(&bob, "friend"));
        assert_eq!(list(&server, &bob).await, state(&alice, "friend"));
        assert_eq!(updates(&server).len(), 2);
    }
}
