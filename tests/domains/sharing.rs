//! Direct shares of sessions.

use std::rc::Rc;

use happier_server::realtime::event::Audience::All;
use happier_server::realtime::event::Event;
use protocol::base64;
use serde_json::{Value as Json, json};

use crate::server::{Account, Server, text};
use crate::tell::{befriend, changes, invalid, move_on, one_update, refused, silence, take_now};

fn wrapped_key(length: usize) -> String {
    let mut bytes = vec![7; length];
    bytes[0] = 0;
    base64::encode(&bytes)
}

fn grant(user: &str, level: &str, more: Json) -> Option<Json> {
    let mut body = json!({"userId": user, "accessLevel": level, "encryptedDataKey": wrapped_key(73)});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    Some(body)
}

pub async fn refusals(server: Rc<Server>) {
    move_on(&server);
    let (alice, bob, carol) = (server.account().await, server.account().await, server.account().await);
    befriend(&server, &alice, &bob).await;
    let session = server.session(&alice, "s").await;
    let path = format!("/v1/sessions/{session}/shares");
    let (of_alice, of_bob, of_carol) = (alice.id.as_str(), bob.id.as_str(), carol.id.as_str());
    let approval = json!({"canApprovePermissions": true});
    let no_more = || json!({});
    for (who, body, status, error) in [
        (&bob, grant(of_alice, "view", no_more()), 403, "Forbidden"),
        (&alice, grant(of_bob, "view", approval), 400, "Permission approvals require edit or admin access"),
        (&alice, grant(of_alice, "view", no_more()), 400, "Cannot share with yourself"),
        (&alice, grant("nothing-like-this", "view", no_more()), 404, "User not found"),
        (&alice, grant(of_carol, "view", no_more()), 403, "Can only share with friends"),
        (&alice, grant(of_bob, "view", json!({"encryptedDataKey": ""})), 400, "Invalid encryptedDataKey"),
        (&alice, grant(of_bob, "view", json!({"encryptedDataKey": wrapped_key(72)})), 400, "Invalid encryptedDataKey"),
        (
            &alice,
            grant(of_bob, "view", json!({"encryptedDataKey": base64::encode(&[1; 80])})),
            400,
            "Invalid encryptedDataKey",
        ),
    ] {
        refused(&server, who, "POST", &path, body, status, error).await;
    }
    let unknown = "/v1/sessions/nothing-like-this/shares";
    refused(&server, &alice, "POST", unknown, grant(of_bob, "view", no_more()), 404, "Session not found").await;
    for (who, path) in [(&bob, path.as_str()), (&alice, unknown)] {
        refused(&server, who, "GET", path, None, 403, "Forbidden").await;
    }
    for method in ["PATCH", "DELETE"] {
        let body = (method == "PATCH").then(|| json!({}));
        refused(&server, &alice, method, &format!("{path}/unknown"), body.clone(), 404, "Share not found").await;
        refused(&server, &bob, method, &format!("{path}/unknown"), body, 403, "Forbidden").await;
    }
    let message = "body/userId Expected string, received number, \
                   body/accessLevel Expected 'view' | 'edit' | 'admin', received null, \
                   body/canApprovePermissions Expected boolean, received string, \
                   body/encryptedDataKey Expected string, received array";
    let wrong = json!({"userId": 5, "accessLevel": null, "canApprovePermissions": "yes", "encryptedDataKey": []});
    invalid(&server, &alice, "POST", &path, Some(wrong), message).await;
    let message = "body/accessLevel Invalid enum value. Expected 'view' | 'edit' | 'admin', received 'owner'";
    invalid(&server, &alice, "POST", &path, grant(of_bob, "owner", no_more()), message).await;
    assert_eq!(server.get(&alice, &path).await, json!({"shares": []}));
    silence(&server);
}

pub async fn granting_and_changing(server: Rc<Server>) {
    move_on(&server);
    let (alice, bob) = (server.account().await, server.account().await);
    befriend(&server, &alice, &bob).await;
    let session = server.session(&alice, "s").await;
    let path = format!("/v1/sessions/{session}/shares");
    let of_bob = bob.id.as_str();
    let begun = server.get(&bob, "/v2/cursor").await["cursor"].as_i64().unwrap();
    let mut created = server.ok(&alice, "POST", &path, grant(of_bob, "view", json!({}))).await["share"].clone();
    let stored = created.clone();
    let id = text(&created["id"]);
    let at = take_now(&mut created, "createdAt");
    assert_eq!(take_now(&mut created, "updatedAt"), at);
    let user = json!({"id": of_bob, "firstName": null, "lastName": null, "username": null, "avatar": null});
    let expected = json!({"id": id, "sharedWithUser": user, "accessLevel": "view", "canApprovePermissions": false,
        "createdAt": null, "updatedAt": null});
    assert_eq!(created, expected);
    let mut sharer = user.clone();
    sharer["id"] = json!(alice.id.as_str());
    let event = json!({"t": "session-shared", "sessionId": session, "sid": session, "shareId": id, "sharedBy": sharer,
        "accessLevel": "view", "encryptedDataKey": wrapped_key(73), "createdAt": at});
    assert_eq!(one_update(&server, &bob, &All), (begun + 2, event));
    assert_eq!(server.get(&alice, &path).await, json!({ "shares": [stored] }));
    let seen = server.get(&bob, &format!("/v2/sessions/{session}")).await;
    assert_eq!(seen["session"]["share"], json!({"accessLevel": "view", "canApprovePermissions": false}));

    let more = json!({"canApprovePermissions": true, "encryptedDataKey": wrapped_key(100)});
    let again = server.ok(&alice, "POST", &path, grant(of_bob, "edit", more)).await["share"].clone();
    assert_eq!((&again["id"], &again["createdAt"]), (&json!(id), &json!(at)));
    assert_eq!((&again["accessLevel"], &again["canApprovePermissions"]), (&json!("edit"), &json!(true)));
    let (seq, event) = one_update(&server, &bob, &All);
    assert_eq!(
        (seq, &event["t"], &event["encryptedDataKey"]),
        (begun + 4, &json!("session-shared"), &json!(wrapped_key(100)))
    );
    let kept = server.ok(&alice, "POST", &path, grant(of_bob, "view", json!({}))).await;
    assert_eq!(kept["share"]["canApprovePermissions"], true, "O-33");
    server.events();

    let share = format!("{path}/{id}");
    let mut seq = begun + 6;
    for (change, level, approves) in [
        (json!({"accessLevel": "admin"}), "admin", true),
        (json!({"canApprovePermissions": false}), "admin", false),
        (json!({}), "admin", false),
    ] {
        let is_empty = change == json!({});
        let before = server.get(&alice, &path).await["shares"][0].clone();
        let changed = server.ok(&alice, "PATCH", &share, Some(change)).await["share"].clone();
        assert_eq!((&changed["accessLevel"], &changed["canApprovePermissions"]), (&json!(level), &json!(approves)));
        if is_empty {
            assert_eq!(changed, before, "nothing is touched");
        }
        seq += 2;
        let event = json!({"t": "session-share-updated", "sessionId": session, "sid": session, "shareId": id,
            "accessLevel": level, "updatedAt": changed["updatedAt"]});
        assert_eq!(one_update(&server, &bob, &All), (seq, event));
    }
    let both = Some(json!({"accessLevel": "view", "canApprovePermissions": true}));
    let needs_edit = "Permission approvals require edit or admin access";
    refused(&server, &alice, "PATCH", &share, both, 400, needs_edit).await;
    let message = "body/accessLevel Invalid enum value. Expected 'view' | 'edit' | 'admin', received 'all'";
    invalid(&server, &alice, "PATCH", &share, Some(json!({"accessLevel": "all"})), message).await;
    silence(&server);

    let other = server.session(&alice, "other").await;
    let elsewhere = format!("/v1/sessions/{other}/shares/{id}");
    refused(&server, &alice, "DELETE", &elsewhere, None, 404, "Share not found").await;
    assert_eq!(server.ok(&alice, "DELETE", &share, None).await, json!({"success": true}));
    let event = json!({"t": "session-share-revoked", "sessionId": session, "sid": session, "shareId": id});
    assert_eq!(one_update(&server, &bob, &All), (seq + 2, event));
    refused(&server, &alice, "DELETE", &share, None, 404, "Share not found").await;
    let log = changes(&server, &bob).await;
    let last: Vec<_> =
        log.iter().rev().take(2).map(|(kind, entity, cursor, _)| (kind.as_str(), entity, *cursor)).collect();
    assert_eq!(last, [("session", &session, seq + 2), ("share", &session, seq + 1)]);
    let own = changes(&server, &alice).await;
    let share_changes: Vec<_> = own.iter().filter(|(kind, ..)| kind == "share").collect();
    assert_eq!(share_changes.len(), 1, "the one who acts is marked");
}

/// What the accounts that lose a session still have under way is stopped before they are told of the loss.
fn lost_before_told(server: &Server, session: &str, accounts: &[&Account]) {
    let mut events = server.events();
    events.retain(|event| !matches!(event, Event::Silent { .. }));
    let (mut lost, mut told) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Withdrawn { account, session: which, seq } => {
                assert_eq!(which.as_str(), session);
                lost.push((account, seq));
            }
            Event::Update(update) => {
                assert!(lost.contains(&(update.account.clone(), update.seq)), "told before: {update:?}");
                told.push(update.account.as_str().to_string());
            }
            other => panic!("not expected: {other:?}"),
        }
    }
    let mut expected: Vec<_> = accounts.iter().map(|account| account.id.as_str().to_string()).collect();
    expected.sort();
    told.sort();
    assert_eq!(told, expected);
}

pub async fn deletion(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let session = server.session(&alice, "s").await;
    server.share(&session, &alice, &bob, "view").await;
    server.events();
    server.ok(&alice, "DELETE", &format!("/v1/sessions/{session}"), None).await;
    lost_before_told(&server, &session, &[&alice, &bob]);
}

pub async fn delegation(server: Rc<Server>) {
    move_on(&server);
    let (alice, admin, friend) = (server.account().await, server.account().await, server.account().await);
    for (one, other) in [(&alice, &admin), (&alice, &friend), (&admin, &friend)] {
        befriend(&server, one, other).await;
    }
    let session = server.session(&alice, "s").await;
    let path = format!("/v1/sessions/{session}/shares");
    let share = async |who: &Account, whom: &Account, level: &str, more: Json| {
        let answer = server.call(who, "POST", &path, grant(whom.id.as_str(), level, more)).await;
        (answer.status, answer.body)
    };
    let approve = |approves: bool| json!({"canApprovePermissions": approves});
    let of_admin = text(&share(&alice, &admin, "admin", json!({})).await.1["share"]["id"]);
    let forbidden = (403, json!({"error": "Forbidden"}));
    assert_eq!(share(&admin, &friend, "edit", approve(true)).await, forbidden);
    let given = share(&admin, &friend, "edit", json!({})).await;
    let of_friend = text(&given.1["share"]["id"]);
    let patch = async |who: &Account, share: &str, change: Json| {
        server.call(who, "PATCH", &format!("{path}/{share}"), Some(change)).await.status
    };
    assert_eq!(patch(&admin, &of_friend, approve(true)).await, 403);
    assert_eq!(patch(&admin, &of_friend, approve(false)).await, 403, "not even to take it away");
    assert_eq!(patch(&admin, &of_friend, json!({"accessLevel": "view"})).await, 200);
    assert_eq!(patch(&friend, &of_friend, json!({})).await, 403, "no admin");
    assert_eq!(patch(&alice, &of_admin, approve(true)).await, 200);
    assert_eq!(patch(&admin, &of_friend, approve(true)).await, 400, "not for view");
    let both = json!({"accessLevel": "edit", "canApprovePermissions": true});
    assert_eq!(patch(&admin, &of_friend, both).await, 200);
    assert_eq!(patch(&alice, &of_friend, json!({"accessLevel": "view"})).await, 400);
    server.events();

    let before = server.get(&admin, "/v2/cursor").await["cursor"].as_i64().unwrap();
    assert_eq!(patch(&admin, &of_admin, json!({"accessLevel": "admin"})).await, 200);
    assert_eq!(one_update(&server, &admin, &All).0, before + 3, "once as the one who acts, twice as the recipient");
    let owner_before = server.get(&alice, "/v2/cursor").await["cursor"].clone();
    assert_eq!(share(&admin, &alice, "edit", json!({})).await.0, 200, "O-34");
    assert_ne!(server.get(&alice, "/v2/cursor").await["cursor"], owner_before);
    assert_eq!(share(&admin, &admin, "view", json!({})).await.0, 400);
    let own = format!("{path}/{of_admin}");
    server.events();
    assert_eq!(server.ok(&admin, "DELETE", &own, None).await, json!({"success": true}));
    lost_before_told(&server, &session, &[&admin]);
    refused(&server, &admin, "GET", &path, None, 403, "Forbidden").await;
    assert_eq!(patch(&friend, &of_friend, json!({})).await, 403);
}
