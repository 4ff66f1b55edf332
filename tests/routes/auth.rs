//! Login and pairing.

use std::rc::Rc;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use happier_server::crypto::random;
use happier_server::domain::{Context, Settings};
use happier_server::model::time::now_ms;
use happier_server::storage::{Statement, Value};
use happier_server::worker::pairings_cleanup;
use protocol::base64;
use serde_json::{Value as Json, json};

use crate::server::{Answer, Server, login_body, text};

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&random::bytes())
}

async fn login(server: &Server, body: Json) -> Answer {
    server.send(None, "POST", "/v1/auth", Some(body)).await
}

fn owner(server: &Server, token: &Json) -> String {
    server.ctx.tokens.verify_persistent(&text(token), now_ms()).expect("a valid token").as_str().to_string()
}

pub(crate) async fn logins(server: Rc<Server>) {
    let key = signing_key();
    let first = login(&server, login_body(&key)).await;
    let second = login(&server, login_body(&key)).await;
    assert_eq!((first.status, &first.body["success"]), (200, &json!(true)));
    assert_eq!(owner(&server, &first.body["token"]), owner(&server, &second.body["token"]));
    assert_ne!(first.body["token"], second.body["token"]);
    let mut empty = login_body(&key);
    empty["challenge"] = json!("");
    empty["signature"] = json!(base64::encode(&key.sign(b"").to_bytes()));
    assert_eq!(login(&server, empty).await.status, 200);
    let mut bare = login_body(&key);
    bare["publicKey"] = json!(text(&bare["publicKey"]).trim_end_matches('='));
    assert_eq!(owner(&server, &login(&server, bare).await.body["token"]), owner(&server, &first.body["token"]));
}

pub(crate) async fn refused_logins(server: Rc<Server>) {
    let key = signing_key();
    let with = |field: &str, value: Json| {
        let mut body = login_body(&key);
        body[field] = value;
        body
    };
    let encoded = |bytes: &[u8]| json!(base64::encode(bytes));
    for (body, status, error) in [
        (with("signature", encoded(&key.sign(b"other").to_bytes())), 401, "Invalid signature"),
        (with("signature", encoded(&[1; 63])), 401, "Invalid signature"),
        (with("publicKey", encoded(&[1; 31])), 401, "Invalid public key"),
        (with("publicKey", json!("")), 401, "Invalid public key"),
        (with("publicKey", json!("!!!!")), 400, "Invalid base64 in publicKey"),
        (with("challenge", json!("a b c d")), 400, "Invalid base64 in challenge"),
        (with("signature", json!("____")), 400, "Invalid base64 in signature"),
    ] {
        let answer = login(&server, body).await;
        assert_eq!((answer.status, answer.body), (status, json!({"error": error})));
    }
    let answer = login(&server, json!({"publicKey": 1, "challenge": null, "signature": ["x"]})).await;
    let message = "body/publicKey Expected string, received number, body/challenge Expected string, received null, \
                   body/signature Expected string, received array";
    assert_eq!(answer.body["message"], message);
}

pub(crate) async fn content_keys(server: Rc<Server>) {
    let key = signing_key();
    let content: [u8; 32] = random::bytes();
    let bound = [&b"Happy content key v1\0"[..], &content].concat();
    let with = |content_key: Option<&str>, signature: Option<&str>| {
        let mut body = login_body(&key);
        if let Some(content_key) = content_key {
            body["contentPublicKey"] = json!(content_key);
        }
        if let Some(signature) = signature {
            body["contentPublicKeySig"] = json!(signature);
        }
        body
    };
    let content_key = base64::encode(&content);
    let signature = base64::encode(&key.sign(&bound).to_bytes());
    let together = "body/ contentPublicKey and contentPublicKeySig must be provided together";
    for half in [with(Some(&content_key), None), with(None, Some(&signature))] {
        assert_eq!(login(&server, half).await.body["message"], together);
    }
    let unbound = base64::encode(&key.sign(&content).to_bytes());
    let short = base64::encode(&[3; 16]);
    for (body, error) in [
        (with(Some(&content_key), Some(&unbound)), "Invalid contentPublicKeySig"),
        (with(Some(&content_key), Some(&short)), "Invalid contentPublicKeySig"),
        (with(Some(&short), Some(&signature)), "Invalid contentPublicKey"),
        (with(Some("!!!!!"), Some(&signature)), "Invalid content key encoding"),
    ] {
        let answer = login(&server, body).await;
        assert_eq!((answer.status, answer.body), (400, json!({"error": error})));
    }
    for body in [with(Some(&content_key), Some(&signature)), with(Some(""), Some("anything")), with(None, None)] {
        assert_eq!(login(&server, body).await.status, 200);
    }
}

fn pairing_key() -> String {
    base64::encode(&random::bytes::<32>())
}

pub(crate) async fn pairing_of_a_terminal(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let key = pairing_key();
    let request = async |supports_v2: Json| {
        let body = json!({"publicKey": key, "supportsV2": supports_v2});
        server.send(None, "POST", "/v1/auth/request", Some(body)).await.body
    };
    let status = async || {
        let target = format!("/v1/auth/request/status?publicKey={}", key.replace('+', "%2B"));
        server.send(None, "GET", &target, None).await.body
    };
    let answer = async |account, response: &str| {
        let body = json!({"publicKey": key, "response": response});
        server.call(account, "POST", "/v1/auth/response", Some(body)).await
    };
    assert_eq!(status().await, json!({"status": "not_found", "supportsV2": false}));
    assert_eq!(answer(&alice, "x").await.status, 404);
    assert_eq!(request(json!(true)).await, json!({"state": "requested"}));
    assert_eq!(request(json!(null)).await, json!({"state": "requested"}));
    assert_eq!(status().await, json!({"status": "pending", "supportsV2": true}), "the first flag stays");
    assert_eq!(answer(&alice, "").await.body, json!({"success": true}));
    assert_eq!(status().await["status"], "pending", "an empty response counts as none");
    assert_eq!(answer(&alice, "sealed").await.body, json!({"success": true}));
    assert_eq!(answer(&bob, "too late").await.body, json!({"success": true}));
    assert_eq!(status().await, json!({"status": "authorized", "supportsV2": false}));
    let granted = request(json!(true)).await;
    assert_eq!((&granted["state"], &granted["response"]), (&json!("authorized"), &json!("sealed")));
    assert_eq!(owner(&server, &granted["token"]), alice.id.as_str());

    let send = async |target: &str, public_key: &str| {
        let body = json!({"publicKey": public_key, "response": "x"});
        let answer = server.call(&alice, "POST", target, Some(body)).await;
        (answer.status, text(&answer.body["error"]))
    };
    for target in ["/v1/auth/request", "/v1/auth/response", "/v1/auth/account/request", "/v1/auth/account/response"] {
        assert_eq!(send(target, &base64::encode(&[1; 31])).await, (401, "Invalid public key".to_string()));
        assert_eq!(send(target, "!!!!").await, (400, "Invalid base64 in publicKey".to_string()));
    }
    let target = "/v1/auth/request/status?publicKey=AAAA";
    assert_eq!(server.send(None, "GET", target, None).await.body["status"], "not_found");
    assert_eq!(server.send(None, "GET", "/v1/auth/request/status", None).await.status, 400);
}

pub(crate) async fn pairing_of_an_app(server: Rc<Server>) {
    let alice = server.account().await;
    let body = json!({"publicKey": pairing_key(), "response": "sealed"});
    let request = async || server.send(None, "POST", "/v1/auth/account/request", Some(body.clone())).await.body;
    assert_eq!(request().await, json!({"state": "requested"}));
    server.ok(&alice, "POST", "/v1/auth/account/response", Some(body.clone())).await;
    let granted = request().await;
    assert_eq!((&granted["state"], &granted["response"]), (&json!("authorized"), &json!("sealed")));
    assert_eq!(owner(&server, &granted["token"]), alice.id.as_str());
}

pub(crate) async fn simultaneous_pairing_requests(server: Rc<Server>) {
    let key = pairing_key();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (server, body) = (Rc::clone(&server), json!({"publicKey": key}));
            monoio::spawn(async move { server.send(None, "POST", "/v1/auth/request", Some(body)).await })
        })
        .collect();
    for task in tasks {
        let answer = task.await;
        assert_eq!((answer.status, answer.body), (200, json!({"state": "requested"})), "O-45");
    }
}

pub(crate) async fn an_approval_lapses(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let hasty = Server::with_pairing_ttl(server.ctx.db.clone(), &server.ctx.tokens, -1);
    let body = json!({"publicKey": pairing_key(), "response": "of alice"});
    let request = async |server: &Server| server.send(None, "POST", "/v1/auth/request", Some(body.clone())).await.body;
    request(&server).await;
    server.ok(&alice, "POST", "/v1/auth/response", Some(body.clone())).await;
    assert_eq!(request(&server).await["state"], "authorized");
    assert_eq!(request(&hasty).await, json!({"state": "requested"}), "O-12");
    let again = json!({"publicKey": body["publicKey"], "response": "of bob"});
    hasty.ok(&bob, "POST", "/v1/auth/response", Some(again)).await;
    let granted = request(&server).await;
    assert_eq!(granted["response"], "of bob", "a lapsed approval may be given anew");
    assert_eq!(owner(&server, &granted["token"]), bob.id.as_str());
}

/// What is new is counted, asking for it again is not.
pub(crate) async fn limited_creations(server: Rc<Server>) {
    const LIMIT: u32 = 600;
    server.peer.set("203.0.113.1".parse().unwrap());
    let ask = async |route: &str, key: &str| server.send(None, "POST", route, Some(json!({"publicKey": key}))).await;
    for route in ["/v1/auth/request", "/v1/auth/account/request"] {
        let waiting = pairing_key();
        for n in 0..LIMIT {
            let key = if n == 0 { waiting.clone() } else { pairing_key() };
            for key in [&waiting, &key] {
                let answer = ask(route, key).await;
                assert_eq!((answer.status, answer.response.header("x-ratelimit-limit")), (200, None), "{n}");
            }
        }
        let refused = ask(route, &pairing_key()).await;
        assert_eq!((refused.status, refused.response.header("x-ratelimit-remaining")), (429, Some("0")));
        assert!(refused.response.header("retry-after").is_some());
        assert_eq!(refused.body["message"], "Rate limit exceeded, retry in 1 minute");
    }
    let key = signing_key();
    assert_eq!(login(&server, login_body(&key)).await.status, 200);
    for _ in 0..LIMIT {
        assert_eq!(login(&server, login_body(&key)).await.status, 200, "only the first time it was new");
    }
    server.peer.set("203.0.113.2".parse().unwrap());
    assert_eq!(ask("/v1/auth/request", &pairing_key()).await.status, 200);
}

/// More than is looked at at a time.
pub(crate) async fn forgotten_pairings(server: Rc<Server>) {
    const OLD: i64 = 1_100;
    const DAY_MS: i64 = 24 * 3_600_000;
    macro_rules! old {
        ($table:literal) => {
            Statement::portable(concat!(
                r#"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
                   INSERT INTO ""#,
                $table,
                r#"" ("id", "publicKey", "createdAt", "updatedAt")
                   SELECT 'a' || i, 'OLD' || i, CAST($1 AS TIMESTAMP(3)), CAST($1 AS TIMESTAMP(3)) FROM n"#
            ))
        };
    }
    macro_rules! count {
        ($table:literal) => {
            Statement::portable(concat!(r#"SELECT count(*) FROM ""#, $table, r#"" WHERE "publicKey" LIKE 'OLD%'"#))
        };
    }
    static INSERT: [Statement; 2] = [old!("TerminalAuthRequest"), old!("AccountAuthRequest")];
    static COUNT: [Statement; 2] = [count!("TerminalAuthRequest"), count!("AccountAuthRequest")];
    static TOUCH: Statement =
        Statement::portable(r#"UPDATE "AccountAuthRequest" SET "updatedAt" = $1 WHERE "publicKey" = 'OLD7'"#);
    let alice = server.account().await;
    let (waiting, answered) = (pairing_key(), pairing_key());
    for key in [&waiting, &answered] {
        server.send(None, "POST", "/v1/auth/request", Some(json!({"publicKey": key}))).await;
    }
    let approval = json!({"publicKey": answered, "response": "sealed"});
    server.ok(&alice, "POST", "/v1/auth/response", Some(approval)).await;
    let db = &server.ctx.db;
    for insert in &INSERT {
        db.execute(insert, vec![Value::Time(now_ms() - 8 * DAY_MS)]).await.unwrap();
    }
    let old = async || {
        let mut counts = Vec::new();
        for count in &COUNT {
            counts.push(db.query_opt(count, vec![]).await.unwrap().unwrap().int(0));
        }
        counts
    };
    assert_eq!(old().await, [OLD, OLD]);
    // One that something happened to six days ago stays.
    db.execute(&TOUCH, vec![Value::Time(now_ms() - 6 * DAY_MS)]).await.unwrap();
    // While an approval counts, so does its request.
    let settings = Settings { pairing_ttl_ms: 9 * DAY_MS, ..Settings::clone(&server.ctx.settings) };
    let patient = Context { settings: Arc::new(settings), ..Context::clone(&server.ctx) };
    pairings_cleanup::pass(&patient).await.unwrap();
    assert_eq!(old().await, [OLD, OLD]);
    pairings_cleanup::pass(&server.ctx).await.unwrap();
    assert_eq!(old().await, [0, 1]);
    for (key, status) in [(waiting, "pending"), (answered, "authorized")] {
        let target = format!("/v1/auth/request/status?publicKey={}", key.replace('+', "%2B"));
        assert_eq!(server.send(None, "GET", &target, None).await.body["status"], status);
    }
}
