//! Public links: managing and using them.

use std::rc::Rc;

use happier_server::model::ids::SessionId;
use happier_server::model::time::now_ms;
use happier_server::realtime::event::Audience::Session;
use happier_server::storage::{Statement, Value};
use serde_json::{Value as Json, json};

use crate::server::{Account, Answer, Server, text};
use crate::tell::{befriend, changes, fresh, internal, invalid, move_on, one_update, refused, silence, take_now};

const GONE: &str = "Public share not found or expired";

struct Place {
    owner: Account,
    session: String,
    path: String,
}

async fn place(server: &Server) -> Place {
    move_on(server);
    let owner = server.account().await;
    let session = server.session(&owner, "s").await;
    Place { path: format!("/v1/sessions/{session}/public-share"), owner, session }
}

impl Place {
    /// Gives the session a link with a new token.
    async fn link(&self, server: &Server, more: Json) -> String {
        let token = fresh("token").replace(' ', "-");
        let mut body = json!({"token": token, "encryptedDataKey": "AAECAwQF"});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        server.ok(&self.owner, "POST", &self.path, Some(body)).await;
        server.events();
        token
    }
}

async fn visit(server: &Server, token: &str, query: &str, account: Option<&Account>) -> Answer {
    let authorization = account.map(|account| format!("Bearer {}", account.token));
    move_on(server);
    server.send(authorization.as_deref(), "GET", &format!("/v1/public-share/{token}{query}"), None).await
}

pub async fn managing(server: Rc<Server>) {
    let here = place(&server).await;
    let Place { owner: alice, session, path } = &here;
    let bob = server.account().await;
    befriend(&server, alice, &bob).await;
    server.share(session, alice, &bob, "admin").await;
    assert_eq!(server.get(alice, path).await, json!({"publicShare": null}));
    refused(&server, alice, "DELETE", path, None, 404, "Share not found").await;
    for part in ["blocked-users", "access-logs"] {
        refused(&server, alice, "GET", &format!("{path}/{part}"), None, 404, "Public share not found").await;
    }
    for (body, error) in [
        (json!({}), "token required"),
        (json!({"token": "", "encryptedDataKey": "AAAA"}), "token required"),
        (json!({"token": "x"}), "encryptedDataKey required"),
        (json!({"token": "x", "encryptedDataKey": ""}), "encryptedDataKey required"),
        (json!({"expiresAt": 8.7e15}), "token required"),
    ] {
        refused(&server, alice, "POST", path, Some(body), 400, error).await;
    }
    move_on(&server);
    let unknown = "/v1/sessions/nothing-like-this/public-share";
    let link = || Some(json!({"token": "x", "encryptedDataKey": "AAAA"}));
    refused(&server, &bob, "POST", path, link(), 403, "Forbidden").await;
    let no_time = json!({"token": "x", "encryptedDataKey": "AAAA", "expiresAt": 8.7e15});
    refused(&server, &bob, "POST", path, Some(no_time), 403, "Forbidden").await;
    refused(&server, alice, "POST", unknown, link(), 403, "Forbidden").await;
    for (method, who, path) in [("GET", &bob, path.as_str()), ("DELETE", &bob, path), ("GET", alice, unknown)] {
        refused(&server, who, method, path, None, 403, "Forbidden").await;
    }
    let message = "body/token Expected string, received number, body/encryptedDataKey Expected string, received array, \
                   body/expiresAt Expected number, received string, body/maxUses Number must be greater than 0, \
                   body/isConsentRequired Expected boolean, received number";
    let wrong = json!({"token": 5, "encryptedDataKey": [], "expiresAt": "soon", "maxUses": 0, "isConsentRequired": 1});
    invalid(&server, alice, "POST", path, Some(wrong), message).await;
    silence(&server);

    move_on(&server);
    let audience = Session(SessionId::from(session.as_str()));
    let begun = server.get(alice, "/v2/cursor").await["cursor"].as_i64().unwrap();
    let token = fresh("token").replace(' ', "-");
    let body = json!({"token": token, "encryptedDataKey": "AAECAwQF"});
    let mut created = server.ok(alice, "POST", path, Some(body)).await["publicShare"].clone();
    let id = text(&created["id"]);
    let at = take_now(&mut created, "createdAt");
    assert_eq!(take_now(&mut created, "updatedAt"), at);
    let expected = json!({"id": id, "token": token, "expiresAt": null, "maxUses": null, "useCount": 0,
        "isConsentRequired": false, "createdAt": null, "updatedAt": null});
    assert_eq!(created, expected);
    let event = json!({"t": "public-share-created", "sessionId": session, "sid": session, "publicShareId": id,
        "token": token, "expiresAt": null, "maxUses": null, "isConsentRequired": false, "createdAt": at});
    assert_eq!(one_update(&server, alice, &audience), (begun + 2, event));
    assert_eq!(server.get(alice, path).await["publicShare"]["token"], json!(null));
    assert_eq!(visit(&server, &token, "", None).await.status, 200);

    let expires_at = now_ms() + 3_600_000;
    let limits = json!({"expiresAt": expires_at, "maxUses": 10, "isConsentRequired": true});
    let changed = server.ok(alice, "POST", path, Some(limits)).await["publicShare"].clone();
    let fields = ["expiresAt", "maxUses", "isConsentRequired", "useCount", "token"].map(|field| changed[field].clone());
    assert_eq!(fields, [json!(expires_at), json!(10), json!(true), json!(1), json!(null)]);
    let event = json!({"t": "public-share-updated", "sessionId": session, "sid": session, "publicShareId": id,
        "expiresAt": expires_at, "maxUses": 10, "isConsentRequired": true, "updatedAt": changed["updatedAt"]});
    assert_eq!(one_update(&server, alice, &audience), (begun + 4, event));
    let reset = server.ok(alice, "POST", path, Some(json!({"encryptedDataKey": "BBBB"}))).await["publicShare"].clone();
    let fields = ["expiresAt", "maxUses", "isConsentRequired", "useCount"].map(|field| reset[field].clone());
    assert_eq!(fields, [json!(null), json!(null), json!(false), json!(1)], "O-36");
    let seen = visit(&server, &token, "", None).await;
    assert_eq!(seen.body["encryptedDataKey"], "BBBB");
    server.events();

    let required = "encryptedDataKey required when rotating token";
    refused(&server, alice, "POST", path, Some(json!({"token": "new"})), 400, required).await;
    let rotated = here.link(&server, json!({"maxUses": 2})).await;
    assert_eq!(server.get(alice, path).await["publicShare"]["useCount"], 0);
    assert_eq!(visit(&server, &token, "", None).await.status, 404);
    assert_eq!(visit(&server, &rotated, "", None).await.status, 200);

    let other = server.session(alice, "other").await;
    let elsewhere = format!("/v1/sessions/{other}/public-share");
    let taken = json!({"token": rotated, "encryptedDataKey": "AAAA"});
    internal(&server, alice, "POST", &elsewhere, Some(taken)).await;
    for number in [json!({"maxUses": 2_147_483_648_i64}), json!({"expiresAt": 8.7e15})] {
        internal(&server, alice, "POST", path, Some(number)).await;
    }
    silence(&server);

    let before = server.get(alice, "/v2/cursor").await["cursor"].as_i64().unwrap();
    assert_eq!(server.ok(alice, "DELETE", path, None).await, json!({"success": true}));
    let event = json!({"t": "public-share-deleted", "sessionId": session, "sid": session});
    assert_eq!(one_update(&server, alice, &audience), (before + 2, event));
    refused(&server, alice, "DELETE", path, None, 404, "Share not found").await;
    assert_eq!(visit(&server, &rotated, "", None).await.status, 404);
    let log = changes(&server, alice).await;
    let last: Vec<_> = log.iter().rev().take(2).map(|(kind, entity, ..)| (kind.as_str(), entity)).collect();
    assert_eq!(last, [("session", session), ("share", session)]);
}

pub async fn visiting(server: Rc<Server>) {
    let here = place(&server).await;
    let Place { owner: alice, session, path } = &here;
    static MESSAGE: Statement = Statement::portable(
        r#"INSERT INTO "SessionMessage" ("id", "sessionId", "seq", "content", "localId", "createdAt", "updatedAt")
           VALUES ($1, $2, $3, $4, $5, $6, $6)"#,
    );
    for seq in 1..=160_i64 {
        let content = json!({"t": "encrypted", "c": format!("message {seq}")});
        let local_id = (seq == 159).then(|| "local".to_string());
        let params = vec![
            happier_server::model::ids::cuid().into(),
            session.as_str().into(),
            seq.into(),
            Value::Json(content.to_string()),
            local_id.into(),
            Value::Time(seq),
        ];
        server.ctx.db.execute(&MESSAGE, params).await.unwrap();
    }
    let token = here.link(&server, json!({})).await;
    let seen = visit(&server, &token, "", None).await;
    let owner = json!({"id": alice.id.as_str(), "firstName": null, "lastName": null, "username": null, "avatar": null});
    let mut shown = server.get(alice, &format!("/v2/sessions/{session}")).await["session"].clone();
    shown.as_object_mut().unwrap().retain(|key, _| key != "share" && key != "dataEncryptionKey");
    let expected = json!({"session": shown, "owner": owner, "accessLevel": "view", "encryptedDataKey": "AAECAwQF",
        "isConsentRequired": false});
    assert_eq!((seen.status, seen.body), (200, expected));
    let read = visit(&server, &token, "/messages", None).await.body;
    let messages = read["messages"].as_array().unwrap();
    let seqs = messages.iter().map(|message| message["seq"].as_i64().unwrap());
    assert!(seqs.eq((11..=160).rev()));
    assert_eq!(messages[1]["localId"], "local");
    assert_eq!(messages[0]["content"], json!({"t": "encrypted", "c": "message 160"}));
    assert_eq!((&messages[0]["createdAt"], &messages[0]["updatedAt"]), (&json!(160), &json!(160)));
    let bad = server.send(Some("Bearer nonsense"), "GET", &format!("/v1/public-share/{token}"), None).await;
    assert_eq!(bad.status, 200, "counts as anonymous");
    assert_eq!(server.get(alice, path).await["publicShare"]["useCount"], 2);
    for part in ["", "/messages"] {
        let answer = visit(&server, &format!("unknown{part}"), "", None).await;
        assert_eq!((answer.status, answer.body), (404, json!({"error": GONE})));
    }

    let limited = here.link(&server, json!({"maxUses": 2})).await;
    for status in [200, 200, 404] {
        assert_eq!(visit(&server, &limited, "", None).await.status, status);
    }
    assert_eq!(visit(&server, &limited, "/messages", None).await.status, 404, "O-41");
    for (expires_at, status) in [(json!(now_ms() - 1), 404), (json!(now_ms() + 60_000), 200), (json!(0), 200)] {
        let token = here.link(&server, json!({ "expiresAt": expires_at })).await;
        assert_eq!(visit(&server, &token, "", None).await.status, status);
        assert_eq!(visit(&server, &token, "/messages", None).await.status, status);
    }
    let odd = json!({"token": "ünï code/+", "encryptedDataKey": "AAAA"});
    move_on(&server);
    server.ok(alice, "POST", path, Some(odd)).await;
    assert_eq!(visit(&server, "%C3%BCn%C3%AF%20code%2F+", "", None).await.status, 200);
    server.ok(alice, "DELETE", &format!("/v1/sessions/{session}"), None).await;
    assert_eq!(visit(&server, "%C3%BCn%C3%AF%20code%2F+", "", None).await.status, 404);
}

pub async fn consent_and_log(server: Rc<Server>) {
    let here = place(&server).await;
    let Place { owner: alice, session, path } = &here;
    let bob = server.account().await;
    let open = here.link(&server, json!({})).await;
    move_on(&server);
    let head = |token: &str, query: &str, more: &str| {
        format!("GET /v1/public-share/{token}{query} HTTP/1.1\r\nHost: x\r\n{more}\r\n")
    };
    let with_address = "X-Forwarded-For: 192.0.2.7, 198.51.100.1\r\nUser-Agent: browser\r\n";
    assert_eq!(server.raw(&head(&open, "", with_address), b"").await.status, 200);
    assert_eq!(visit(&server, &open, "", Some(&bob)).await.status, 200);
    let careful = here.link(&server, json!({"isConsentRequired": true})).await;
    let owner = json!({"id": alice.id.as_str(), "firstName": null, "lastName": null, "username": null, "avatar": null});
    let required = json!({"error": "Consent required", "requiresConsent": true, "sessionId": session, "owner": owner});
    for query in ["", "?consent=", "?consent=false", "?consent=0"] {
        let answer = visit(&server, &careful, query, None).await;
        assert_eq!((answer.status, &answer.body), (403, &required), "{query}");
        let answer = visit(&server, &careful, &format!("/messages{query}"), None).await;
        assert_eq!((answer.status, &answer.body), (403, &required), "{query}");
    }
    assert_eq!(server.get(alice, path).await["publicShare"]["useCount"], 0, "not counted");
    move_on(&server);
    assert_eq!(server.raw(&head(&careful, "?consent=true", with_address), b"").await.status, 200);
    let by_bob = format!("Authorization: Bearer {}\r\nX-Real-IP: 203.0.113.9\r\n", bob.token);
    assert_eq!(server.raw(&head(&careful, "?consent=1", &by_bob), b"").await.status, 200);
    assert_eq!(visit(&server, &careful, "/messages?consent=yes", None).await.status, 200);
    let logs = server.get(alice, &format!("{path}/access-logs")).await["logs"].as_array().unwrap().clone();
    let of_bob = json!({"id": bob.id.as_str(), "firstName": null, "lastName": null, "username": null, "avatar": null});
    let seen = |user: Json, address: Json, agent: Json| (user, address, agent);
    let mut rows: Vec<_> =
        logs.iter().map(|log| seen(log["user"].clone(), log["ipAddress"].clone(), log["userAgent"].clone())).collect();
    rows.sort_by_key(|row| format!("{row:?}"));
    let mut expected = vec![
        seen(of_bob.clone(), json!("203.0.113.9"), json!(null)),
        seen(json!(null), json!("192.0.2.7"), json!("browser")),
        seen(of_bob, json!(null), json!(null)),
        seen(json!(null), json!(null), json!(null)),
    ];
    expected.sort_by_key(|row| format!("{row:?}"));
    assert_eq!(rows, expected);
    assert!(logs.iter().map(|log| log["accessedAt"].as_i64().unwrap()).is_sorted_by(|a, b| a >= b));
    let one = server.get(alice, &format!("{path}/access-logs?limit=1")).await;
    assert_eq!(one["logs"].as_array().unwrap().len(), 1);
    let message = "querystring/limit Number must be less than or equal to 100";
    invalid(&server, alice, "GET", &format!("{path}/access-logs?limit=101"), None, message).await;
    refused(&server, &bob, "GET", &format!("{path}/access-logs"), None, 403, "Forbidden").await;
}

pub async fn blocking(server: Rc<Server>) {
    let here = place(&server).await;
    let Place { owner: alice, path, .. } = &here;
    let (bob, carol) = (server.account().await, server.account().await);
    let blocks = format!("{path}/blocked-users");
    let body = |user: &Account| Some(json!({"userId": user.id.as_str(), "reason": "noise"}));
    refused(&server, alice, "POST", &blocks, body(&bob), 404, "Public share not found").await;
    let token = here.link(&server, json!({})).await;
    assert_eq!(server.get(alice, &blocks).await, json!({"blockedUsers": []}));
    let blocked = server.ok(alice, "POST", &blocks, body(&bob)).await["blockedUser"].clone();
    let mut fields = blocked.clone();
    take_now(&mut fields, "blockedAt");
    let user = json!({"id": bob.id.as_str(), "firstName": null, "lastName": null, "username": null, "avatar": null});
    assert_eq!(fields, json!({"id": blocked["id"], "user": user, "reason": "noise", "blockedAt": null}));
    let of_carol = Some(json!({"userId": carol.id.as_str()}));
    let second = server.ok(alice, "POST", &blocks, of_carol).await["blockedUser"].clone();
    assert_eq!(second["reason"], json!(null));
    assert_eq!(server.get(alice, &blocks).await["blockedUsers"].as_array().unwrap().len(), 2);
    for part in ["", "/messages"] {
        let target = format!("{token}{part}");
        for (who, status) in [(Some(&bob), 404), (None, 200), (Some(alice), 200)] {
            assert_eq!(visit(&server, &target, "", who).await.status, status);
        }
    }
    internal(&server, alice, "POST", &blocks, body(&bob)).await;
    internal(&server, alice, "POST", &blocks, Some(json!({"userId": "nothing-like-this"}))).await;
    invalid(&server, alice, "POST", &blocks, Some(json!({})), "body/userId Required").await;
    let block = format!("{blocks}/{}", text(&blocked["id"]));
    for (method, target) in [("GET", &blocks), ("DELETE", &block)] {
        refused(&server, &bob, method, target, None, 403, "Forbidden").await;
    }
    internal(&server, alice, "DELETE", &format!("{blocks}/nothing-like-this"), None).await;
    let elsewhere = place(&server).await;
    elsewhere.link(&server, json!({})).await;
    let foreign = format!("{}/blocked-users/{}", elsewhere.path, text(&blocked["id"]));
    internal(&server, &elsewhere.owner, "DELETE", &foreign, None).await;
    assert_eq!(visit(&server, &token, "", Some(&bob)).await.status, 404, "O-38 is closed");
    assert_eq!(server.ok(alice, "DELETE", &block, None).await, json!({"success": true}));
    assert_eq!(visit(&server, &token, "", Some(&bob)).await.status, 200);
    silence(&server);
    server.ok(alice, "DELETE", path, None).await;
    here.link(&server, json!({})).await;
    assert_eq!(server.get(alice, &blocks).await, json!({"blockedUsers": []}), "gone with the link");
}

/// Many visitors at once never use a link more often than it allows.
pub async fn last_use(server: Rc<Server>) {
    let here = place(&server).await;
    let token = here.link(&server, json!({"maxUses": 5})).await;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (server, token) = (Rc::clone(&server), token.clone());
            monoio::spawn(async move { visit(&server, &token, "", None).await.status })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += usize::from(task.await == 200);
    }
    assert_eq!(admitted, 5);
    assert_eq!(server.get(&here.owner, &here.path).await["publicShare"]["useCount"], 5);
    let logs = server.get(&here.owner, &format!("{}/access-logs", here.path)).await;
    assert_eq!(logs["logs"].as_array().unwrap().len(), 5);
}
