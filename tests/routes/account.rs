//! Profile, settings, change log.

use std::rc::Rc;

use happier_server::model::time::now_ms;
use happier_server::realtime::event::Audience;
use happier_server::storage::{Statement, Value};
use serde_json::json;

use crate::server::{Account, Server, body};

/// An account that has a valid token and does not exist.
fn ghost(server: &Server, of: &Account) -> Account {
    let id = happier_server::model::ids::AccountId::from(happier_server::model::ids::cuid());
    let token = server.ctx.tokens.issue_persistent(&id, None, now_ms());
    Account { id, token, key: of.key.clone() }
}

pub(crate) async fn profile(server: Rc<Server>) {
    static DECORATE: Statement = Statement::portable(
        r#"UPDATE "Account" SET "firstName" = $1, "username" = $2, "avatar" = $3, "githubUserId" = $4 WHERE "id" = $5"#,
    );
    static GITHUB: Statement =
        Statement::portable(r#"INSERT INTO "GithubUser" ("id", "profile", "updatedAt") VALUES ($1, $2, $3)"#);
    static VENDOR: Statement = Statement::portable(
        r#"INSERT INTO "ServiceAccountToken" ("id", "accountId", "vendor", "token", "updatedAt")
           VALUES ($1, $2, $3, $4, $5)"#,
    );
    let alice = server.account().await;
    let mut plain = server.get(&alice, "/v1/account/profile").await;
    assert!((plain["timestamp"].take().as_i64().unwrap() - now_ms()).abs() < 60_000);
    let expected = json!({"id": alice.id.as_str(), "timestamp": null, "firstName": null, "lastName": null,
        "username": null, "avatar": null, "github": null, "connectedServices": []});
    assert_eq!(plain, expected);

    let github = alice.id.as_str();
    let avatar = json!({"path": "public/users/a b.png", "width": 100, "height": 80, "thumbhash": "x"});
    let profile = json!({"login": "alice", "nested": {"list": [1, 2.5, null]}, "text": "ü\n\""});
    let db = &server.ctx.db;
    db.execute(&GITHUB, vec![github.into(), Value::Json(profile.to_string()), Value::Time(1)]).await.unwrap();
    let username = format!("alice-{github}");
    let params =
        vec!["Alice".into(), username.as_str().into(), Value::Json(avatar.to_string()), github.into(), github.into()];
    db.execute(&DECORATE, params).await.unwrap();
    let params = vec![github.into(), github.into(), "openai".into(), Value::Bytes(vec![1]), Value::Time(1)];
    db.execute(&VENDOR, params).await.unwrap();
    let full = server.get(&alice, "/v1/account/profile").await;
    assert_eq!((&full["firstName"], &full["username"]), (&json!("Alice"), &json!(username)));
    assert_eq!(full["github"], profile);
    assert_eq!(full["connectedServices"], json!(["openai"]));
    let mut expected = avatar;
    expected["url"] = json!("http://files.example/files/public/users/a%20b.png");
    assert_eq!(full["avatar"], expected);

    let answer = server.call(&ghost(&server, &alice), "GET", "/v1/account/profile", None).await;
    let internal =
        json!({"error": "Internal Server Error", "message": "An unexpected error occurred", "statusCode": 500});
    assert_eq!((answer.status, answer.body), (500, internal));
}

pub(crate) async fn settings(server: Rc<Server>) {
    let alice = server.account().await;
    let write = async |account: &Account, settings: serde_json::Value, expected: serde_json::Value| {
        let body = json!({"settings": settings, "expectedVersion": expected});
        server.call(account, "POST", "/v1/account/settings", Some(body)).await
    };
    let read = async || server.get(&alice, "/v1/account/settings").await;
    assert_eq!(read().await, json!({"settings": null, "settingsVersion": 0}));
    assert_eq!(write(&alice, json!("first"), json!(0)).await.body, json!({"success": true, "version": 1}));
    let events = server.updates();
    assert_eq!((events.len(), events[0].seq, &events[0].audience), (1, 1, &Audience::UserScoped));
    assert_eq!((events[0].account.clone(), events[0].skip), (alice.id.clone(), None));
    let expected =
        json!({"t": "update-account", "id": alice.id.as_str(), "settings": {"value": "first", "version": 1}});
    assert_eq!(body(&events[0]), expected);

    for stale in [json!(0), json!(2), json!(2_147_483_648_u64), json!(1e20)] {
        let answer = write(&alice, json!("x"), stale).await;
        let mismatch =
            json!({"success": false, "error": "version-mismatch", "currentVersion": 1, "currentSettings": "first"});
        assert_eq!((answer.status, answer.body), (200, mismatch));
    }
    assert!(server.updates().is_empty());
    assert_eq!(write(&alice, json!(null), json!(1)).await.body["version"], 2);
    assert_eq!(write(&alice, json!(""), json!(2)).await.body["version"], 3);
    assert_eq!(read().await, json!({"settings": "", "settingsVersion": 3}));
    let changes = server.get(&alice, "/v2/changes").await;
    assert_eq!(changes["changes"].as_array().unwrap().len(), 1);
    assert_eq!(changes["changes"][0]["hint"], json!({"settingsVersion": 3}));
    assert_eq!((&changes["changes"][0]["entityId"], &changes["nextCursor"]), (&json!("self"), &json!(3)));

    let answer = write(&alice, json!("\u{0}"), json!(3)).await;
    let failed = json!({"success": false, "error": "Failed to update account settings"});
    assert_eq!((answer.status, answer.body), (500, failed.clone()), "U+0000 cannot be stored");
    let ghost = ghost(&server, &alice);
    let answer = write(&ghost, json!("x"), json!(0)).await;
    assert_eq!((answer.status, answer.body), (500, failed));
    let answer = server.call(&ghost, "GET", "/v1/account/settings", None).await;
    assert_eq!((answer.status, answer.body), (500, json!({"error": "Failed to get account settings"})));
}

pub(crate) async fn simultaneous_settings(server: Rc<Server>) {
    let alice = server.account().await;
    let tasks: Vec<_> = (0..10)
        .map(|n| {
            let (server, alice) = (Rc::clone(&server), alice.clone());
            monoio::spawn(async move {
                let body = json!({"settings": format!("of writer {n}"), "expectedVersion": 0});
                server.ok(&alice, "POST", "/v1/account/settings", Some(body)).await["success"] == true
            })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await);
    }
    assert_eq!(winners, 1);
    assert_eq!(server.get(&alice, "/v1/account/settings").await["settingsVersion"], 1);
    assert_eq!(server.get(&alice, "/v2/cursor").await["cursor"], 1);
}

pub(crate) async fn changes(server: Rc<Server>) {
    static RAISE_FLOOR: Statement = Statement::portable(r#"UPDATE "Account" SET "changesFloor" = $1 WHERE "id" = $2"#);
    let alice = server.account().await;
    assert_eq!(server.get(&alice, "/v2/cursor").await, json!({"cursor": 0, "changesFloor": 0}));
    let empty = json!({"changes": [], "nextCursor": 0});
    assert_eq!(server.get(&alice, "/v2/changes").await, empty);
    let first = server.session(&alice, "first").await;
    let second = server.session(&alice, "second").await;
    let metadata = json!({"metadata": {"ciphertext": "new", "expectedVersion": 0}});
    server.ok(&alice, "PATCH", &format!("/v2/sessions/{first}"), Some(metadata)).await;
    let page = server.get(&alice, "/v2/changes?after=0&limit=1").await;
    assert_eq!((&page["changes"][0]["entityId"], &page["nextCursor"]), (&json!(second), &json!(2)), "coalesced");
    let page = server.get(&alice, "/v2/changes?after=2").await;
    assert_eq!(page["changes"][0]["entityId"], json!(first));
    assert_eq!((&page["changes"][0]["kind"], &page["changes"][0]["hint"]), (&json!("session"), &json!(null)));
    assert!((page["changes"][0]["changedAt"].as_i64().unwrap() - now_ms()).abs() < 60_000);
    assert_eq!(server.get(&alice, "/v2/changes?after=3").await, json!({"changes": [], "nextCursor": 3}));
    let gone = json!({"error": "cursor-gone", "currentCursor": 3});
    for after in ["4", "2147483648", "1e300"] {
        let answer = server.call(&alice, "GET", &format!("/v2/changes?after={after}"), None).await;
        assert_eq!((answer.status, answer.body), (410, gone.clone()));
    }
    server.ctx.db.execute(&RAISE_FLOOR, vec![Value::Int(2), alice.id.as_str().into()]).await.unwrap();
    assert_eq!(server.call(&alice, "GET", "/v2/changes?after=1", None).await.status, 410);
    assert_eq!(server.call(&alice, "GET", "/v2/changes?after=2", None).await.status, 200);
    for target in ["/v2/changes", "/v2/cursor"] {
        let answer = server.call(&ghost(&server, &alice), "GET", target, None).await;
        assert_eq!((answer.status, answer.body), (404, json!({"error": "account-not-found"})));
    }
}
