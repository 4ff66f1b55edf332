//! Sessions: creation, lists, deletion, metadata and state.

use std::rc::Rc;

use happier_server::domain::sessions::{self as domain, Edit, Edits};
use happier_server::model::ids::{SessionId, SocketId};
use happier_server::realtime::event::Audience;
use happier_server::storage::{Statement, Value};
use serde_json::{Value as Json, json};

use crate::server::{Account, Server, body, text};

async fn create(server: &Server, account: &Account, body: Json) -> Json {
    server.ok(account, "POST", "/v1/sessions", Some(body)).await["session"].clone()
}

pub(crate) async fn creation(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let request = json!({"tag": "one", "metadata": "m", "agentState": "ignored", "dataEncryptionKey": "AA-_ !8*"});
    let session = create(&server, &alice, request).await;
    let id = text(&session["id"]);
    let now = session["createdAt"].as_i64().unwrap();
    let expected = json!({"id": id, "seq": 0, "metadata": "m", "metadataVersion": 0, "agentState": null,
        "agentStateVersion": 0, "dataEncryptionKey": "AA+/", "active": true, "activeAt": now, "createdAt": now,
        "updatedAt": now, "lastMessage": null});
    assert_eq!(session, expected);
    let events = server.updates();
    assert_eq!((events.len(), events[0].seq, &events[0].audience), (1, 1, &Audience::UserScoped));
    let mut expected = expected;
    expected.as_object_mut().unwrap().remove("lastMessage");
    expected["t"] = json!("new-session");
    expected["sid"] = json!(id);
    assert_eq!(body(&events[0]), expected);

    let again = create(&server, &alice, json!({"tag": "one", "metadata": "other"})).await;
    assert_eq!((&again["id"], &again["metadata"]), (&json!(id), &json!("m")));
    assert!(server.updates().is_empty());
    let foreign = create(&server, &bob, json!({"tag": "one", "metadata": "of bob"})).await;
    assert_ne!(foreign["id"], json!(id));
    let bare = create(&server, &alice, json!({"tag": "", "metadata": "", "dataEncryptionKey": ""})).await;
    assert_eq!(bare["dataEncryptionKey"], json!(null));
    let answer = server.call(&alice, "POST", "/v1/sessions", Some(json!({"tag": 1, "metadata": {}}))).await;
    let message = "body/tag Expected string, received number, body/metadata Expected string, received object";
    assert_eq!((answer.status, &answer.body["message"]), (400, &json!(message)));
    server.updates();
}

pub(crate) async fn simultaneous_creation(server: Rc<Server>) {
    let alice = server.account().await;
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (server, alice) = (Rc::clone(&server), alice.clone());
            monoio::spawn(async move { create(&server, &alice, json!({"tag": "same", "metadata": "m"})).await })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(text(&task.await["id"]));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "O-17");
    assert_eq!(server.updates().len(), 1);
    assert_eq!(server.get(&alice, "/v2/cursor").await["cursor"], 1);
}

fn ids(list: &Json) -> Vec<String> {
    list["sessions"].as_array().unwrap().iter().map(|session| text(&session["id"])).collect()
}

pub(crate) async fn lists(server: Rc<Server>) {
    static TOUCH: Statement = Statement::portable(
        r#"UPDATE "Session" SET "updatedAt" = $1, "lastActiveAt" = $2, "active" = $3 WHERE "id" = $4"#,
    );
    let alice = server.account().await;
    let mut sessions = Vec::new();
    for n in 0..4 {
        sessions.push(server.session(&alice, &format!("session {n}")).await);
    }
    let now = happier_server::model::time::now_ms();
    let touch = async |n: usize, updated: i64, heard: i64, active: bool| {
        let params = vec![Value::Time(updated), Value::Time(heard), Value::Bool(active), sessions[n].as_str().into()];
        server.ctx.db.execute(&TOUCH, params).await.unwrap();
    };
    touch(0, now + 3, now - 1_000, true).await;
    touch(1, now + 1, now - 16 * 60_000, true).await;
    touch(2, now + 4, now, false).await;
    touch(3, now + 2, now - 500, true).await;
    let named = |order: &[usize]| -> Vec<String> { order.iter().map(|n| sessions[*n].clone()).collect() };
    assert_eq!(ids(&server.get(&alice, "/v1/sessions").await), named(&[2, 0, 3, 1]));
    let active = server.get(&alice, "/v2/sessions/active").await;
    assert_eq!(ids(&active), named(&[3, 0]));
    assert!(active["sessions"][0].get("lastMessage").is_none() && active["sessions"][0].get("share").is_none());
    assert_eq!(ids(&server.get(&alice, "/v2/sessions/active?limit=1").await), named(&[3]));
    let one = server.get(&alice, &format!("/v2/sessions/{}", sessions[2])).await;
    assert_eq!((&one["session"]["active"], &one["session"]["share"]), (&json!(false), &json!(null)));
    assert_eq!(one["session"]["activeAt"], json!(now));
    let answer = server.call(&alice, "GET", "/v2/sessions/nothing-like-this", None).await;
    assert_eq!((answer.status, answer.body), (404, json!({"error": "Session not found"})));
}

pub(crate) async fn pages(server: Rc<Server>) {
    let alice = server.account().await;
    let mut expected = Vec::new();
    for n in 0..7 {
        expected.push(server.session(&alice, &format!("session {n}")).await);
    }
    expected.sort();
    expected.reverse();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&alice, &format!("/v2/sessions?limit=3&cursor={cursor}")).await;
        seen.extend(ids(&page));
        if page["hasNext"] == json!(false) {
            assert_eq!(page["nextCursor"], json!(null));
            break;
        }
        cursor = text(&page["nextCursor"]);
        assert_eq!(cursor, format!("cursor_v1_{}", seen.last().unwrap()));
    }
    assert_eq!(seen, expected);
    let exact = server.get(&alice, "/v2/sessions?limit=7").await;
    assert_eq!((ids(&exact).len(), &exact["hasNext"]), (7, &json!(false)));
    assert!(ids(&server.get(&alice, "/v2/sessions?cursor=cursor_v1_0").await).is_empty());
    for cursor in ["somewhere", "cursor_v2_x"] {
        let answer = server.call(&alice, "GET", &format!("/v2/sessions?cursor={cursor}"), None).await;
        assert_eq!((answer.status, answer.body), (400, json!({"error": "Invalid cursor format"})));
    }
}

pub(crate) async fn shared_sessions(server: Rc<Server>) {
    let (alice, bob, carol) = (server.account().await, server.account().await, server.account().await);
    let session = server.session(&alice, "shared").await;
    server.share(&session, &alice, &bob, "edit").await;
    // O-34: an owner may have a share of the own session.
    server.share(&session, &bob, &alice, "view").await;
    let own = server.session(&bob, "own").await;
    let share = json!({"accessLevel": "edit", "canApprovePermissions": false});
    let page = server.get(&bob, "/v2/sessions").await;
    assert_eq!(ids(&page).len(), 2);
    let item = page["sessions"].as_array().unwrap().iter().find(|item| item["id"] == json!(session)).unwrap();
    assert_eq!((&item["share"], &item["dataEncryptionKey"]), (&share, &json!("AAEC")));
    let item = server.get(&bob, &format!("/v2/sessions/{session}")).await["session"].clone();
    assert_eq!((&item["share"], &item["dataEncryptionKey"]), (&share, &json!("AAEC")));
    let owned = server.get(&alice, "/v2/sessions").await;
    assert_eq!((ids(&owned).len(), &owned["sessions"][0]["share"]), (1, &json!(null)));
    assert_eq!(owned["sessions"][0]["dataEncryptionKey"], json!(null));

    let recent = server.get(&bob, "/v1/sessions").await;
    let recent = recent["sessions"].as_array().unwrap();
    let item = recent.iter().find(|item| item["id"] == json!(session)).unwrap();
    assert_eq!((&item["owner"], &item["lastMessage"]), (&json!(alice.id.as_str()), &json!(null)));
    let profile =
        json!({"id": alice.id.as_str(), "firstName": null, "lastName": null, "username": null, "avatar": null});
    assert_eq!((&item["ownerProfile"], &item["accessLevel"]), (&profile, &json!("edit")));
    assert_eq!(item["canApprovePermissions"], json!(false));
    let item = recent.iter().find(|item| item["id"] == json!(own)).unwrap();
    assert!(
        ["owner", "ownerProfile", "accessLevel", "canApprovePermissions"].iter().all(|key| item.get(key).is_none())
    );
    assert_eq!(ids(&server.get(&alice, "/v1/sessions").await).len(), 2, "listed twice (O-34)");
    assert!(ids(&server.get(&carol, "/v2/sessions").await).is_empty());
    assert_eq!(server.call(&carol, "GET", &format!("/v2/sessions/{session}"), None).await.status, 404);
}

pub(crate) async fn deletion(server: Rc<Server>) {
    static USAGE: Statement = Statement::portable(
        r#"INSERT INTO "UsageReport" ("id", "key", "accountId", "sessionId", "data", "updatedAt")
           VALUES ($1, $2, $3, $4, $5, $6)"#,
    );
    let (alice, bob) = (server.account().await, server.account().await);
    let session = server.session(&alice, "doomed").await;
    server.share(&session, &alice, &bob, "admin").await;
    let message = json!({"ciphertext": "x"});
    server.ok(&alice, "POST", &format!("/v2/sessions/{session}/messages"), Some(message)).await;
    let data = Value::Json(json!({"tokens": {"total": 1}, "cost": {"total": 1}}).to_string());
    let params = vec![
        session.as_str().into(),
        "k".into(),
        alice.id.as_str().into(),
        session.as_str().into(),
        data,
        Value::Time(1),
    ];
    server.ctx.db.execute(&USAGE, params).await.unwrap();
    server.updates();
    let target = format!("/v1/sessions/{session}");
    let missing = json!({"error": "Session not found or not owned by user"});
    for (account, target) in [(&bob, target.as_str()), (&alice, "/v1/sessions/nothing-like-this")] {
        let answer = server.call(account, "DELETE", target, None).await;
        assert_eq!((answer.status, &answer.body), (404, &missing));
    }
    assert!(server.updates().is_empty());
    assert_eq!(server.ok(&alice, "DELETE", &target, None).await, json!({"success": true}));
    let mut events = server.updates();
    events.sort_by_key(|event| event.seq);
    let told: Vec<_> = events.iter().map(|event| (event.account.clone(), event.seq, event.audience.clone())).collect();
    let expected = [(bob.id.clone(), 2, Audience::UserScoped), (alice.id.clone(), 3, Audience::UserScoped)];
    assert_eq!(told, expected);
    assert_eq!(body(&events[0]), json!({"t": "delete-session", "sid": session, "id": session}));
    assert_eq!(server.call(&alice, "DELETE", &target, None).await.status, 404);
    assert_eq!(server.call(&alice, "GET", &format!("{target}/messages"), None).await.status, 404);
    let changes = server.get(&alice, "/v2/changes").await;
    assert_eq!(
        (&changes["changes"][0]["cursor"], &changes["changes"][0]["hint"]["lastMessageSeq"]),
        (&json!(3), &json!(1))
    );
}

pub(crate) async fn metadata_and_state(server: Rc<Server>) {
    let alice = server.account().await;
    let session = server.session(&alice, "session").await;
    let target = format!("/v2/sessions/{session}");
    let patch = async |body: Json| server.call(&alice, "PATCH", &target, Some(body)).await;
    let edit = |value: Json, expected: i64| json!({"ciphertext": value, "expectedVersion": expected});
    let answer = patch(json!({"metadata": edit(json!("m 1"), 0)})).await;
    assert_eq!(answer.body, json!({"success": true, "metadata": {"version": 1}}));
    let both = json!({"metadata": edit(json!("m 2"), 1), "agentState": edit(json!("s 1"), 0)});
    let answer = patch(both).await;
    assert_eq!(answer.body, json!({"success": true, "metadata": {"version": 2}, "agentState": {"version": 1}}));
    let events = server.updates();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(events[1].audience, Audience::Session(SessionId::from(session.as_str())));
    let expected = json!({"t": "update-session", "id": session, "sid": session,
        "metadata": {"value": "m 2", "version": 2}, "agentState": {"value": "s 1", "version": 1}});
    assert_eq!(body(&events[1]), expected);
    assert_eq!(patch(json!({"agentState": edit(json!(null), 1)})).await.body["agentState"]["version"], 2);
    assert_eq!(body(&server.updates()[0])["agentState"], json!({"value": null, "version": 2}));

    let mismatch = patch(json!({"metadata": edit(json!("x"), 2), "agentState": edit(json!("x"), 0)})).await;
    let expected = json!({"success": false, "error": "version-mismatch",
        "metadata": {"version": 2, "value": "m 2"}, "agentState": {"version": 2, "value": null}});
    assert_eq!((mismatch.status, mismatch.body), (200, expected));
    assert_eq!(patch(json!({"metadata": edit(json!(""), 2)})).await.body["success"], true, "may be empty");
    server.updates();
    let mismatch = patch(json!({"metadata": edit(json!("x"), i64::from(i32::MAX) + 1)})).await;
    assert_eq!(mismatch.body["metadata"], json!({"version": 3, "value": ""}));
    assert!(mismatch.body.get("agentState").is_none());
    for (request, message) in [
        (json!({"metadata": null}), "body/metadata Expected object, received null"),
        (json!({"metadata": {"ciphertext": "x"}}), "body/metadata/expectedVersion Required"),
        (
            json!({"agentState": edit(json!("x"), -1)}),
            "body/agentState/expectedVersion Number must be greater than or equal to 0",
        ),
    ] {
        let answer = patch(request).await;
        assert_eq!((answer.status, &answer.body["message"]), (400, &json!(message)), "O-5");
    }
    let answer = patch(json!({})).await;
    assert_eq!((answer.status, answer.body), (400, json!({"error": "Invalid parameters"})));
    assert!(server.updates().is_empty());
}

pub(crate) async fn who_may_change_and_who_is_told(server: Rc<Server>) {
    let (alice, editor, viewer, stranger) =
        (server.account().await, server.account().await, server.account().await, server.account().await);
    let session = server.session(&alice, "session").await;
    server.share(&session, &alice, &editor, "edit").await;
    server.share(&session, &alice, &viewer, "view").await;
    let target = format!("/v2/sessions/{session}");
    let request = json!({"metadata": {"ciphertext": "x", "expectedVersion": 0}});
    for account in [&viewer, &stranger] {
        let answer = server.call(account, "PATCH", &target, Some(request.clone())).await;
        assert_eq!((answer.status, answer.body), (403, json!({"error": "Forbidden"})));
    }
    let answer = server.call(&alice, "PATCH", "/v2/sessions/nothing-like-this", Some(request)).await;
    assert_eq!((answer.status, answer.body), (404, json!({"error": "Session not found"})));
    assert!(server.updates().is_empty());

    let socket = SocketId::random();
    let edit = Edit { value: "by the editor".to_string(), expected_version: 0 };
    let edits = Edits { metadata: Some(edit), agent_state: None };
    let id = SessionId::from(session.as_str());
    let outcome = domain::update(&server.ctx, &editor.id, &id, edits, Some(socket)).await.unwrap();
    assert!(matches!(outcome, domain::Updated::Stored(_)));
    let events = server.updates();
    let seq_of = |account: &Account| events.iter().find(|event| event.account == account.id).unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!((seq_of(&alice).seq, seq_of(&alice).skip), (2, None));
    assert_eq!((seq_of(&editor).seq, seq_of(&editor).skip), (1, Some(socket)), "skipped for the sender's account only");
    assert_eq!((seq_of(&viewer).seq, seq_of(&viewer).skip), (1, None));
}
