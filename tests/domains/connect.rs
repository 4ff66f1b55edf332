//! Vendor tokens; GitHub and voice, with the services played by a server of the tests.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};
use std::task::Poll;
use std::time::Duration;

use happier_server::crypto::hash::webhook_signature;
use happier_server::domain::github::{self, Callback, Delivery, authorization_url, judge_delivery};
use happier_server::domain::voice::{self, Verdict};
use happier_server::domain::{Context, Github, Settings, Voice};
use happier_server::model::ids::file_name_id;
use happier_server::model::time::now_ms;
use happier_server::realtime::event::Audience::UserScoped;
use happier_server::storage::objects::local::Directory;
use happier_server::storage::objects::{self, Store};
use happier_server::storage::{Statement, Value};
use serde_json::{Value as Json, json};

use crate::server::services::{self, Asked, Reply, Service, reply, reply_with};
use crate::server::{Account, Server};
use crate::tell::{changes, internal, invalid, one_update, refused, silence, updates};

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

/// How long services may take that answer, and that do not.
const PATIENCE: Duration = Duration::from_secs(60);
const HASTE: Duration = Duration::from_millis(300);

fn with_settings(server: &Server, change: impl FnOnce(&mut Settings)) -> Context {
    let mut settings = Settings::clone(&server.ctx.settings);
    change(&mut settings);
    Context { settings: Arc::new(settings), ..Context::clone(&server.ctx) }
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
    let url = authorization_url(&configured, &alice.id).unwrap();
    let (fixed, state) = url.split_once("&state=").unwrap();
    let expected = "http://127.0.0.1:9/login/oauth/authorize?client_id=the+client\
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
    // GitHub may be set to send forms; whatever it sends is judged by the route itself (§15.5 rather than §4).
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/vnd.api+json", "foo"] {
        let sent = hook(&format!("Content-Type: {media_type}\r\n{signed}"), "{}").await;
        assert_eq!(sent, error("Server configuration error"), "{media_type}");
    }
    assert_eq!(hook(signed, "{}").await, error("Server configuration error"));
    assert_eq!(hook("Content-Type: application/x-www-form-urlencoded\r\n", "{}").await.0, 400);

    let body = br#"{"zen":"a"}"#;
    let signature = webhook_signature("whs", body);
    assert_eq!(judge_delivery(&configured, body, &signature, "ping"), Delivery::NotConfigured);
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
    assert_eq!(judge_delivery(&complete, body, &signature, "ping"), Delivery::Genuine);
    assert_eq!(judge_delivery(&complete, b"{}", &signature, "ping"), Delivery::WrongSignature);

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
    let service = Service::start(|asked| match asked.line.as_str() {
        line if line.starts_with("GET /v1/subscribers/") => match asked.header("authorization").unwrap() {
            "Bearer pro" => reply(200, r#"{"subscriber":{"entitlements":{"active":{"pro":{"expires_date":null}}}}}"#),
            "Bearer free" => reply(200, r#"{"subscriber":{"entitlements":{"active":{}}}}"#),
            "Bearer moved" => reply_with(302, "Location: /elsewhere\r\n", ""),
            "Bearer html" => reply(200, "<html>"),
            "Bearer huge" => reply(200, " ".repeat(2 << 20)),
            "Bearer never" => None,
            "Bearer noise" => Some(b"SSH-2.0-OpenSSH\r\n".to_vec()),
            _ => reply(401, r#"{"code":7225}"#),
        },
        line => match line.strip_prefix("GET /v1/convai/conversation/token?agent_id=") {
            Some("agent") => reply(200, r#"{"token":"conversation"}"#),
            Some("silent") => reply(200, "{}"),
            Some("html") => reply(200, "<html>"),
            Some("odd") => reply(200, r#"{"token":5}"#),
            Some("a%26xi_api_key%3D1%23%20%2F") => reply(200, r#"{"token":"encoded"}"#),
            _ => reply(404, "{}"),
        },
    });
    let judge = async |is_development, vendor_key: &str, agent: &str, key: Option<&str>| {
        let elevenlabs_api_key = given(vendor_key).filter(|key| !key.is_empty());
        let mut ctx = with_settings(&server, |settings| settings.voice = Voice { elevenlabs_api_key, is_development });
        // Only where nobody answers is it waited for.
        let patience = if key == Some("never") { HASTE } else { PATIENCE };
        ctx.vendors = services::within(&service.url, patience);
        let judged = voice::conversation(&ctx, &alice.id, agent, key).await;
        judged.map_err(|error| assert!(matches!(error, voice::Error::Failed(_)), "{error:?}"))
    };
    let allowed = |token: &str| Ok(Verdict::Allowed { token: Some(token.to_owned()) });
    for (key, expected) in [
        (None, Ok(Verdict::PublicKeyRequired)),
        (Some(""), Ok(Verdict::PublicKeyRequired)),
        (Some("pro"), allowed("conversation")),
        (Some("free"), Ok(Verdict::NoSubscription)),
        (Some("unknown"), Ok(Verdict::NoSubscription)),
        (Some("moved"), Ok(Verdict::NoSubscription)),
        (Some("html"), Err(())),
        (Some("huge"), Err(())),
        (Some("noise"), Err(())),
        (Some("never"), Err(())),
        (Some("two\r\nlines"), Err(())),
    ] {
        assert_eq!(judge(false, "11", "agent", key).await, expected, "{key:?}");
    }
    assert_eq!(judge(false, "", "agent", Some("pro")).await, Ok(Verdict::VendorKeyMissing));
    assert_eq!(judge(false, "", "agent", Some("free")).await, Ok(Verdict::NoSubscription));
    let asked = service.asked();
    let lines: BTreeSet<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let subscriber = format!("GET /v1/subscribers/{}", alice.id);
    assert_eq!(lines, BTreeSet::from([&*subscriber, "GET /v1/convai/conversation/token?agent_id=agent"]));
    let token = asked.iter().find(|asked| asked.line.contains("convai")).unwrap();
    assert_eq!((token.header("xi-api-key"), token.header("accept")), (Some("11"), Some("application/json")));

    for (agent, expected) in [
        ("agent", allowed("conversation")),
        ("silent", Ok(Verdict::Allowed { token: None })),
        ("unknown", Ok(Verdict::VendorRefuses)),
        ("html", Err(())),
        ("odd", Err(())),
        ("a&xi_api_key=1# /", allowed("encoded")),
    ] {
        assert_eq!(judge(true, "11", agent, None).await, expected, "{agent}");
    }
    assert_eq!(judge(true, "", "agent", None).await, Ok(Verdict::VendorKeyMissing));
    assert!(service.asked().iter().all(|asked| asked.line.contains("convai")), "no subscription in development");
}

/// However much one account asks for, a service that is slow does not keep it from others.
pub async fn calls_of_one_account(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (held, of_alice) = (Arc::clone(&gate), format!("GET /v1/subscribers/{}", alice.id));
    let service = Service::start(move |asked| {
        if asked.line == of_alice {
            drop(held.1.wait_while(held.0.lock().unwrap(), |open| !*open).unwrap());
        }
        reply(200, r#"{"subscriber":{"entitlements":{"active":{}}}}"#)
    });
    let mut ctx = Context::clone(&server.ctx);
    ctx.vendors = services::with_threads(&service.url, 3);
    let ask = |account: &Account| {
        let (ctx, account) = (ctx.clone(), account.id.clone());
        Box::pin(async move { voice::conversation(&ctx, &account, "agent", Some("key")).await })
    };
    let mut calls: Vec<_> = (0..11).map(|_| ask(&alice)).collect();
    let states = std::future::poll_fn(|cx| Poll::Ready(calls.iter_mut().map(|call| call.as_mut().poll(cx)).collect()));
    let mut states: Vec<Poll<_>> = states.await;
    assert_eq!(states.pop(), Some(Poll::Ready(Err(voice::Error::Busy))));
    assert!(states.iter().all(Poll::is_pending));
    calls.pop();
    for _ in 0..5 {
        assert_eq!(ask(&bob).await, Ok(Verdict::NoSubscription));
    }
    assert!(service.asked().iter().filter(|asked| asked.line.ends_with(alice.id.as_str())).count() <= 2);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for call in calls {
        assert_eq!(call.await, Ok(Verdict::NoSubscription));
    }
}

/// What the GitHub of the tests knows: the user behind the code that asks for it.
fn github_user(id: u64, login: &str, avatar: &str) -> Json {
    json!({"id": id, "login": login, "name": "Ada  Byron King", "avatar_url": avatar, "plan": {"name": "free"}})
}

/// An image of the contract, by the beginning of its name.
fn image(name: &str) -> Vec<u8> {
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/thumbhash.json")).unwrap();
    let file: Json = serde_json::from_str(&file).unwrap();
    let named = |image: &&Json| image["name"].as_str().unwrap().starts_with(name);
    let image = file["imageFiles"].as_array().unwrap().iter().find(named).unwrap();
    protocol::base64::decode_strict(image["fileBase64"].as_str().unwrap()).unwrap()
}

/// Codes are `user:<id>:<login>:<avatar>`; the access token is the code again.
fn play_github(asked: &Asked) -> Reply {
    let person = |text: &str| {
        let parts: Vec<&str> = text.split(':').collect();
        let host = asked.header("host").unwrap();
        github_user(parts[1].parse().unwrap(), parts[2], &format!("http://{host}/avatar/{}", parts[3])).to_string()
    };
    let bearer = asked.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    match asked.line.as_str() {
        "POST /login/oauth/access_token" => {
            let question: Json = serde_json::from_slice(&asked.body).unwrap();
            let code = question["code"].as_str().unwrap();
            assert_eq!((&question["client_id"], &question["client_secret"]), (&json!("client"), &json!("hunter2")));
            match code {
                "refused" => reply(200, r#"{"error":"bad_verification_code & more","access_token":"x"}"#),
                "html" => reply(200, "<html>"),
                "never" => None,
                "huge" => reply(200, " ".repeat(2 << 20)),
                "moved" => reply_with(307, "Location: /login/oauth/other\r\n", ""),
                "empty" => reply(200, "{}"),
                _ => reply(200, json!({"access_token": code, "token_type": "bearer"}).to_string()),
            }
        }
        "GET /user" => match bearer {
            "" => reply(401, "{}"),
            "forbidden" => reply(403, "{}"),
            "user-html" => reply(200, "<html>"),
            "user-moved" => reply_with(302, "Location: /user\r\n", ""),
            "user-odd" => reply(200, r#"{"id":"1","login":null}"#),
            text => reply(200, person(text)),
        },
        "GET /avatar/png" | "GET /avatar/other" => reply(200, image("png 130x78")),
        "GET /avatar/jpeg" => reply(404, image("jpeg")),
        "GET /avatar/moved" => reply_with(302, "Location: /avatar/png\r\n", ""),
        "GET /avatar/round" => reply_with(302, "Location: /avatar/round\r\n", ""),
        "GET /avatar/gif" => reply(200, "GIF89a"),
        "GET /avatar/cut" => reply(200, &image("png 130x78")[..3_000]),
        "GET /avatar/huge" => reply(200, [image("png 130x78"), vec![0; 9 << 20]].concat()),
        "GET /avatar/bomb" => reply(200, bomb()),
        _ => reply(500, ""),
    }
}

/// A PNG that promises 60,000 x 60,000 pixels.
fn bomb() -> Vec<u8> {
    let mut file = image("png 130x78");
    for at in [16, 20] {
        file[at..at + 4].copy_from_slice(&60_000u32.to_be_bytes());
    }
    file
}

struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub async fn github_connecting(server: Rc<Server>) {
    let root = Files(std::env::temp_dir().join(format!("happier-avatars-{}", file_name_id())));
    let service = Service::start(play_github);
    let mut ctx = with_settings(&server, |settings| {
        settings.github = Github { client_id: given("client"), client_secret: given("hunter2"), ..Github::default() };
    });
    let store = Store::Directory(Arc::new(Directory::open(&root.0).unwrap()));
    ctx.files = Some(objects::Files::new(store, services::workers()));
    ctx.vendors = services::within(&service.url, PATIENCE);
    let hasty = Context { vendors: services::within(&service.url, HASTE), ..Context::clone(&ctx) };
    let (alice, bob) = (server.account().await, server.account().await);
    let complete = async |account: &Account, code: &str| {
        let state = ctx.tokens.issue_ephemeral(&account.id, now_ms());
        github::complete_authorization(if code == "never" { &hasty } else { &ctx }, code, &state).await
    };
    // Unique in the database, which other cases use, too.
    let login = |name: &str| format!("{name}-{}", &alice.id.as_str()[15..]);
    let number = now_ms().unsigned_abs();
    let code = |id: u64, name: &str, avatar: &str| format!("user:{id}:{}:{avatar}", login(name));

    // Whatever fails changes nothing and tells nobody.
    for (code, expected) in [
        ("refused".to_owned(), Callback::Refused("bad_verification_code & more".into())),
        ("html".to_owned(), Callback::Failed),
        ("huge".to_owned(), Callback::Failed),
        ("moved".to_owned(), Callback::Failed),
        ("never".to_owned(), Callback::Failed),
        ("empty".to_owned(), Callback::NoUser),
        ("forbidden".to_owned(), Callback::NoUser),
        ("user-moved".to_owned(), Callback::NoUser),
        ("user-html".to_owned(), Callback::Failed),
        ("user-odd".to_owned(), Callback::Failed),
        ("two\r\nlines".to_owned(), Callback::Failed),
        (code(number, "ada", "gif"), Callback::Failed),
        (code(number, "ada", "cut"), Callback::Failed),
        (code(number, "ada", "huge"), Callback::Failed),
        (code(number, "ada", "bomb"), Callback::Failed),
        (code(number, "ada", "round"), Callback::Failed),
        (code(number, "ada", "none"), Callback::Failed),
    ] {
        assert_eq!(complete(&alice, &code).await, expected, "{code}");
    }
    silence(&server);
    assert_eq!(server.get(&alice, "/v2/cursor").await["cursor"], 0);

    // Everything at once.
    service.asked();
    let connected = Callback::Connected { login: login("ada") };
    assert_eq!(complete(&alice, &code(number, "ada", "moved")).await, connected);
    let asked = service.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let expected = ["POST /login/oauth/access_token", "GET /user", "GET /avatar/moved", "GET /avatar/png"];
    assert_eq!(lines, expected);
    for (asked, accept) in asked.iter().zip(["application/json", "application/vnd.github.v3+json"]) {
        assert_eq!(asked.header("accept"), Some(accept));
        assert!(asked.header("user-agent").unwrap().starts_with("happier-server/"));
    }
    assert_eq!(asked[0].header("content-type"), Some("application/json"));
    assert!(asked[2..].iter().all(|asked| asked.header("authorization").is_none()));

    let (seq, event) = one_update(&server, &alice, &UserScoped);
    let path = event["avatar"]["path"].as_str().unwrap().to_owned();
    let pattern = format!("public/users/{}/avatars/github_", alice.id);
    assert!(path.starts_with(&pattern) && path.ends_with(".png") && path.len() == pattern.len() + 24 + 4, "{path}");
    assert_eq!(ctx.files.as_ref().unwrap().read(&path).await, Ok(image("png 130x78")));
    let thumbhash = event["avatar"]["thumbhash"].as_str().unwrap().to_owned();
    let url = format!("http://files.example/files/{path}");
    let avatar = json!({"path": path, "width": 130, "height": 78, "thumbhash": thumbhash, "url": url});
    let avatar_url = format!("{}/avatar/moved", service.url);
    let profile = github_user(number, &login("ada"), &avatar_url);
    let expected = json!({"t": "update-account", "id": alice.id.as_str(), "github": profile, "username": login("ada"),
        "firstName": "Ada", "lastName": "Byron King", "avatar": avatar});
    assert_eq!((seq, event), (1, expected));
    let log = [("account".to_owned(), "self".to_owned(), 1, json!({"github": true}))];
    assert_eq!(changes(&server, &alice).await, log);
    let shown = server.get(&alice, "/v1/account/profile").await;
    assert_eq!((&shown["github"], &shown["avatar"]), (&profile, &avatar));
    assert_eq!((&shown["username"], &shown["lastName"]), (&json!(login("ada")), &json!("Byron King")));
    static TOKEN: Statement = Statement::portable(r#"SELECT "token" FROM "GithubUser" WHERE "id" = $1"#);
    let row = ctx.db.query_opt(&TOKEN, vec![number.to_string().into()]).await.unwrap().unwrap();
    let key = ctx.settings.column_keys.at(&["user", alice.id.as_str(), "github", "token"]).unwrap();
    assert_eq!(key.open_text(row.bytes(0)), Ok(code(number, "ada", "moved")));

    // The same user again: nothing is refreshed.
    assert_eq!(complete(&alice, &code(number, "ada2", "jpeg")).await, Callback::Connected { login: login("ada2") });
    silence(&server);

    // A login that another account has.
    assert_eq!(complete(&bob, &code(number + 1, "ada", "jpeg")).await, Callback::Failed);
    silence(&server);
    assert_eq!(server.get(&bob, "/v2/cursor").await["cursor"], 0);

    // The same GitHub user on another account: the first one loses it, and the image is stored once.
    service.asked();
    assert_eq!(complete(&bob, &code(number, "ada", "moved")).await, connected);
    assert!(service.asked().iter().all(|asked| !asked.line.contains("avatar")), "the image is there already");
    let mut told = updates(&server);
    assert_eq!(told.len(), 2, "{told:?}");
    let (to, seq, _, body) = told.remove(0);
    let gone = json!({"t": "update-account", "id": alice.id.as_str(), "github": null, "username": null});
    assert_eq!((to.as_str(), seq, body), (alice.id.as_str(), 2, gone));
    let (to, seq, _, body) = told.remove(0);
    assert_eq!((to.as_str(), seq, &body["username"]), (bob.id.as_str(), 1, &json!(login("ada"))));
    assert_eq!(body["avatar"]["path"], json!(path), "O-25: under the first account's directory");
    let shown = server.get(&alice, "/v1/account/profile").await;
    assert_eq!((&shown["github"], &shown["username"], &shown["firstName"]), (&Json::Null, &Json::Null, &json!("Ada")));

    // A JPEG, whatever the status of its answer says.
    let other = Callback::Connected { login: login("eve") };
    assert_eq!(complete(&alice, &code(number + 2, "eve", "jpeg")).await, other);
    let (_, event) = one_update(&server, &alice, &UserScoped);
    assert!(event["avatar"]["path"].as_str().unwrap().ends_with(".jpg"));

    // Without a place for files nobody is connected; what is stored already needs none.
    ctx_without_files(&ctx, &bob, &code(number + 3, "zoe", "other"), Callback::Failed).await;
    silence(&server);
}

async fn ctx_without_files(ctx: &Context, account: &Account, code: &str, expected: Callback) {
    let ctx = Context { files: None, ..Context::clone(ctx) };
    let state = ctx.tokens.issue_ephemeral(&account.id, now_ms());
    assert_eq!(github::complete_authorization(&ctx, code, &state).await, expected);
}
