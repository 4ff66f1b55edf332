//! Vendor tokens; GitHub and voice as far as they go without calls.

use std::rc::Rc;
use std::sync::Arc;

use happier_server::crypto::hash::webhook_signature;
use happier_server::domain::connect::{Delivery, github_authorization_url, judge_github_delivery};
use happier_server::domain::voice::{self, Verdict};
use happier_server::domain::{Context, Github, Settings, Voice};
use happier_server::model::time::now_ms;
use happier_server::realtime::event::Audience::UserScoped;
use happier_server::storage::{Statement, Value};
use serde_json::{Value as Json, json};

use crate::server::Server;
use crate::tell::{changes, internal, invalid, one_update, refused, silence};

pub async fn vendor_tokens(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let register = async |vendor: &str, token: &str| {
        let body = Some(json!({ "token": token }));
        server.ok(&alice, "POST", &format!("/v1/connect/{vendor}/register"), body).await
    };
    let token = async |who, vendor: &str| server.get(who, &format!("/v1/connect/{vendor}/token")).await;
    assert_eq!(token(&alice, "openai").await, json!({"token": null}));
    assert_eq!(register("openai", "sk-ünïcode {\"json\":true}").await, json!({"success": true}));
    assert_eq!(token(&alice, "openai").await, json!({"token": "sk-ünïcode {\"json\":true}"}));
    register("openai", "second").await;
    register("anthropic", "").await;
    let mut tokens = server.get(&alice, "/v1/connect/tokens").await["tokens"].as_array().unwrap().clone();
    tokens.sort_by_key(|token| token["vendor"].to_string());
    let pair = |vendor: &str, token: &str| json!({"vendor": vendor, "token": token});
    assert_eq!(tokens, [pair("anthropic", ""), pair("openai", "second")]);
    assert_eq!(token(&bob, "openai").await, json!({"token": null}));

    static SEALED: Statement = Statement::portable(
        r#"SELECT "token" FROM "ServiceAccountToken" WHERE "accountId" = $1 AND "vendor" = 'openai'"#,
    );
    static DAMAGE: Statement =
        Statement::portable(r#"UPDATE "ServiceAccountToken" SET "token" = $1 WHERE "accountId" = $2"#);
    let row = server.ctx.db.query_opt(&SEALED, vec![alice.id.as_str().into()]).await.unwrap().unwrap();
    assert!(!row.bytes(0).windows(6).any(|bytes| bytes == b"second"), "stored sealed");
    server.ctx.db.execute(&DAMAGE, vec![Value::Bytes(vec![0; 40]), alice.id.as_str().into()]).await.unwrap();
    internal(&server, &alice, "GET", "/v1/connect/openai/token", None).await;
    internal(&server, &alice, "GET", "/v1/connect/tokens", None).await;

    assert_eq!(server.ok(&alice, "DELETE", "/v1/connect/openai", None).await, json!({"success": true}));
    refused(&server, &alice, "DELETE", "/v1/connect/openai", None, 404, "Token not found").await;
    let unknown = |vendor: &str| {
        format!("params/vendor Invalid enum value. Expected 'openai' | 'anthropic' | 'gemini', received '{vendor}'")
    };
    invalid(&server, &alice, "GET", "/v1/connect/OpenAI/token", None, &unknown("OpenAI")).await;
    invalid(&server, &alice, "DELETE", "/v1/connect/mistral", None, &unknown("mistral")).await;
    invalid(&server, &alice, "POST", "/v1/connect/mistral/register", Some(json!({})), &unknown("mistral")).await;
    let missing = Some(json!({}));
    invalid(&server, &alice, "POST", "/v1/connect/openai/register", missing, "body/token Required").await;
    silence(&server);
    assert_eq!(server.get(&alice, "/v2/cursor").await["cursor"], 0);
}

fn with_settings(server: &Server, change: impl FnOnce(&mut Settings)) -> Context {
    let mut settings = Settings::clone(&server.ctx.settings);
    change(&mut settings);
    Context {
        db: server.ctx.db.clone(),
        events: Rc::clone(&server.ctx.events),
        tokens: Rc::clone(&server.ctx.tokens),
        metrics: Arc::clone(&server.ctx.metrics),
        settings: Arc::new(settings),
        files: None,
    }
}

fn given(text: &str) -> Option<String> {
    Some(text.to_string())
}

pub async fn github(server: Rc<Server>) {
    let alice = server.account().await;
    refused(&server, &alice, "GET", "/v1/connect/github/params", None, 400, "GitHub OAuth not configured").await;
    let configured = with_settings(&server, |settings| {
        settings.github = Github {
            client_id: given("the client"),
            redirect_url: given("https://example.org/back?a=b"),
            webhook_secret: given("whs"),
            ..Github::default()
        };
    });
    let url = github_authorization_url(&configured, &alice.id).unwrap();
    let (fixed, state) = url.split_once("&state=").unwrap();
    let expected = "https://github.com/login/oauth/authorize?client_id=the+client\
                    &redirect_uri=https%3A%2F%2Fexample.org%2Fback%3Fa%3Db\
                    &scope=read%3Auser%2Cuser%3Aemail%2Cread%3Aorg%2Ccodespace";
    assert_eq!(fixed, expected);
    assert_eq!(server.ctx.tokens.verify_ephemeral(state, now_ms()), Some(alice.id.clone()));

    for (state, location) in [
        ("nonsense", "https://app.happier.dev?error=invalid_state"),
        (alice.token.as_str(), "https://app.happier.dev?error=invalid_state"),
        (state, "https://app.happier.dev?error=server_config"),
    ] {
        let target = format!("/v1/connect/github/callback?code=x&state={state}");
        let answer = server.send(None, "GET", &target, None).await;
        assert_eq!((answer.status, answer.response.header("Location")), (302, Some(location)));
        assert!(answer.response.body.is_empty() && answer.response.content_type.is_none());
    }
    let answer = server.send(None, "GET", "/v1/connect/github/callback?code=x", None).await;
    assert_eq!((answer.status, &answer.body["message"]), (400, &json!("querystring/state Required")));

    let hook = async |headers: &str, body: &str| {
        let length = body.len();
        let head =
            format!("POST /v1/connect/github/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n");
        let answer = server.raw(&head, body.as_bytes()).await;
        (answer.status, answer.body)
    };
    let json_type = "Content-Type: application/json\r\n";
    let signed = "X-Hub-Signature-256: sha256=00\r\nX-GitHub-Event: push\r\n";
    let message = "headers/x-hub-signature-256 Required, headers/x-github-event Required";
    let issues = json!({"error": "Error", "message": message, "statusCode": 400});
    assert_eq!(hook(json_type, "{}").await, (400, issues));
    let error = |error: &str| (500, json!({ "error": error }));
    assert_eq!(hook(&format!("{json_type}{signed}"), "{}").await, error("Webhooks not configured"));
    assert_eq!(hook(&format!("{json_type}{signed}"), "").await, error("Server configuration error"));
    assert_eq!(hook(signed, "").await, error("Server configuration error"));
    assert_eq!(hook(&format!("Content-Type: text/plain\r\n{signed}"), "{}").await, error("Server configuration error"));

    let body = br#"{"zen":"a"}"#;
    let signature = webhook_signature("whs", body);
    assert_eq!(judge_github_delivery(&configured, body, &signature, "ping"), Delivery::NotConfigured);
    let complete = with_settings(&server, |settings| {
        settings.github = Github {
            app_id: given("1"),
            private_key: given("pem"),
            client_id: given("c"),
            client_secret: given("s"),
            redirect_url: None,
            redirect_uri: given("u"),
            webhook_secret: given("whs"),
        };
    });
    assert_eq!(judge_github_delivery(&complete, body, &signature, "ping"), Delivery::Genuine);
    assert_eq!(judge_github_delivery(&complete, b"{}", &signature, "ping"), Delivery::WrongSignature);

    assert_eq!(server.ok(&alice, "DELETE", "/v1/connect/github", None).await, json!({"success": true}));
    silence(&server);
    static GITHUB: Statement = Statement::portable(
        r#"INSERT INTO "GithubUser" ("id", "profile", "createdAt", "updatedAt") VALUES ($1, $2, $3, $3)"#,
    );
    static CONNECT: Statement = Statement::portable(
        r#"UPDATE "Account" SET "githubUserId" = $1, "username" = $2, "firstName" = 'Ada' WHERE "id" = $3"#,
    );
    let id = alice.id.as_str();
    let db = &server.ctx.db;
    db.execute(&GITHUB, vec![id.into(), Value::Json("{}".into()), Value::Time(1)]).await.unwrap();
    db.execute(&CONNECT, vec![id.into(), format!("login-{id}").into(), id.into()]).await.unwrap();
    server.ok(&alice, "DELETE", "/v1/connect/github", None).await;
    let event = json!({"t": "update-account", "id": id, "github": null, "username": null});
    assert_eq!(one_update(&server, &alice, &UserScoped), (1, event));
    let profile = server.get(&alice, "/v1/account/profile").await;
    assert_eq!((&profile["username"], &profile["firstName"]), (&Json::Null, &json!("Ada")));
    let log = changes(&server, &alice).await;
    assert_eq!(log, [("account".to_string(), "self".to_string(), 1, json!({"github": false}))]);
}

pub async fn voice(server: Rc<Server>) {
    let alice = server.account().await;
    let denied = json!({"allowed": false, "error": "RevenueCat public key required"});
    for body in [json!({"agentId": "a"}), json!({"agentId": "a", "revenueCatPublicKey": ""})] {
        let answer = server.call(&alice, "POST", "/v1/voice/token", Some(body)).await;
        assert_eq!((answer.status, answer.body), (400, denied.clone()));
    }
    invalid(&server, &alice, "POST", "/v1/voice/token", Some(json!({})), "body/agentId Required").await;
    let answer = server.send(None, "POST", "/v1/voice/token", Some(json!({"agentId": "a"}))).await;
    assert_eq!(answer.status, 401);
    for (is_development, key, vendor_key, verdict) in [
        (false, None, true, Verdict::PublicKeyRequired),
        (false, Some("key"), false, Verdict::AskForSubscription),
        (true, None, false, Verdict::VendorKeyMissing),
        (true, None, true, Verdict::AskForToken),
    ] {
        let elevenlabs_api_key = vendor_key.then(|| "key".to_string());
        let ctx = with_settings(&server, |settings| settings.voice = Voice { elevenlabs_api_key, is_development });
        assert_eq!(voice::judge(&ctx, key), verdict);
    }
}
