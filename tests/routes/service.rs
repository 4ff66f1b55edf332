//! What concerns every route: the order of checks, unknown routes, preflights.

use std::rc::Rc;

use happier_server::api::Admission;
use serde_json::json;

use crate::server::{Server, parse};

pub(crate) async fn what_it_says_about_itself(server: Rc<Server>) {
    let root = server.send(None, "GET", "/", None).await;
    assert_eq!((root.status, root.response.content_type), (200, Some("text/plain; charset=utf-8")));
    assert_eq!(root.body, "Welcome to Happier Server!");
    let health = server.send(None, "GET", "/health", None).await;
    assert_eq!(
        (health.status, &health.body["status"], &health.body["service"]),
        (200, &json!("ok"), &json!("happy-server"))
    );
    let timestamp = health.body["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{timestamp}");
    let features = json!({"features": {"sessionSharing": true, "publicSharing": true, "contentKeys": true}});
    assert_eq!(server.send(None, "GET", "/v1/features?a=b&a=c&%zz", None).await.body, features);
    assert_eq!(server.send(None, "GET", "http://other.example/v1/features", None).await.body, features);
    assert_eq!(server.send(None, "HEAD", "/v1/features", None).await.body, features, "net leaves the body out");
    let version = async |platform: &str, version: &str| {
        let body = json!({"platform": platform, "version": version, "app_id": "x"});
        server.send(None, "POST", "/v1/version", Some(body)).await.body["updateUrl"].is_null()
    };
    assert!(version("iOS", "2.0.0").await && version("android", "0.0.1").await);
    assert!(!version("ios", "1.4.0").await && !version("ios", "newest").await);
}

pub(crate) async fn unknown_routes_and_bad_paths(server: Rc<Server>) {
    for (method, target) in
        [("GET", "/v1/nowhere?x=%20"), ("POST", "/v1/features"), ("GET", "/v1/features/"), ("HEAD", "/v1/auth")]
    {
        let answer = server.send(None, method, target, None).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.body, json!({"error": "Not found", "path": target, "method": method}));
    }
    let head = "POST /v1/nowhere HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(server.raw(head, b"{").await.status, 400);
    let head = "POST /v1/nowhere HTTP/1.1\r\nHost: x\r\nContent-Type: application/xml\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(server.raw(head, b"x").await.status, 404);

    let answer = server.raw("GET /v1/kv/%zz?a HTTP/1.1\r\nHost: x\r\n\r\n", b"").await;
    let message = "'/v1/kv/%zz?a' is not a valid url component";
    let expected = json!({"error": "Bad Request", "code": "FST_ERR_BAD_URL", "message": message, "statusCode": 400});
    assert_eq!((answer.status, answer.body), (400, expected));
    assert_eq!(answer.response.header("Access-Control-Allow-Origin"), None, "O-43");
    assert_eq!(answer.response.content_type, Some("application/json"));
}

pub(crate) async fn how_much_strangers_may_send(server: Rc<Server>) {
    let admitted = |method: &str, target: &str, length: u64| {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        match server.api.admit(&parse(head.as_bytes())) {
            Admission::ReadBody { open_bytes_max, .. } => open_bytes_max,
            Admission::Respond(_) => panic!("it is not read"),
        }
    };
    const MIB: u64 = 1 << 20;
    const WEBHOOK: &str = "/v1/connect/github/webhook";
    assert_eq!(admitted("POST", "/v1/auth", 2 * MIB), MIB);
    assert_eq!(admitted("POST", WEBHOOK, 2 * MIB), 25 * MIB);
    assert_eq!(admitted("GET", WEBHOOK, 2 * MIB), MIB);
    assert_eq!(admitted("POST", "/v1/%zz", 2 * MIB), MIB);
}

pub(crate) async fn preflights(server: Rc<Server>) {
    let head = "OPTIONS /nowhere HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nAccess-Control-Request-Method: ANY\r\n\r\n";
    let answer = server.raw(head, b"").await;
    assert_eq!((answer.status, answer.response.body.len()), (204, 0));
    assert_eq!(answer.response.header("Access-Control-Allow-Origin"), Some("*"));
    let methods = answer.response.header("Access-Control-Allow-Methods").unwrap();
    assert!(methods.contains("PUT") && methods.contains("PATCH"));
    assert!(answer.response.header("Access-Control-Allow-Headers").unwrap().contains("Authorization"));
    let answer = server.send(None, "OPTIONS", "/v1/sessions", None).await;
    assert_eq!((answer.status, answer.body), (400, json!("Invalid Preflight Request")));
}

pub(crate) async fn bodies(server: Rc<Server>) {
    let post = async |fields: &str, body: &[u8]| {
        let head = format!("POST /v1/version HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        server.raw(&head, body).await
    };
    let answer = post("Content-Type: application/json\r\n", b"{\"platform\":").await;
    assert_eq!((answer.status, &answer.body["error"], answer.response.close), (400, &json!("SyntaxError"), true));
    let answer = post("Content-Type: application/json\r\n", "[".repeat(1_000_000).as_bytes()).await;
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("SyntaxError")));
    let answer = post("Content-Type: application/json\r\n", b"\"\xff\"").await;
    assert_eq!(answer.body["message"], "Request body size did not match Content-Length");
    let answer = post("Content-Type: text/html\r\n", b"x").await;
    let message = "Unsupported Media Type: text/html";
    assert_eq!(answer.body, json!({"error": "FastifyError", "message": message, "statusCode": 415}));
    assert_eq!((answer.status, answer.response.close), (415, false));
    let answer = post("Content-Type: application/json\r\n", b"").await;
    let message = "body/platform Required, body/version Required, body/app_id Required";
    assert_eq!(answer.body, json!({"error": "Error", "message": message, "statusCode": 400}));
    let answer = post("", b"").await;
    assert_eq!(answer.body["message"], "body/ Expected object, received null");
}

pub(crate) async fn who_calls(server: Rc<Server>) {
    let alice = server.account().await;
    let ask = async |header: Option<&str>| {
        let answer = server.send(header, "GET", "/v2/cursor", None).await;
        (answer.status, answer.body["error"].as_str().unwrap_or_default().to_string())
    };
    let missing = (401, "Missing authorization header".to_string());
    let invalid = (401, "Invalid token".to_string());
    let token = alice.token.as_str();
    assert_eq!(ask(Some(&format!("Bearer {token}"))).await, (200, String::new()));
    let forms = [format!("bearer {token}"), format!("Basic {token}"), token.to_string(), "Bearer".to_string()];
    for header in forms.iter().map(|header| Some(header.as_str())).chain([None]) {
        assert_eq!(ask(header).await, missing, "{header:?}");
    }
    let cut = &token[..token.len() - 4];
    for header in
        [format!("Bearer  {token}"), "Bearer x".to_string(), "Bearer a.b.c".to_string(), format!("Bearer {cut}")]
    {
        assert_eq!(ask(Some(&header)).await, invalid, "{header}");
    }
    // What is malformed is answered before who calls is asked.
    assert_eq!(server.send(None, "POST", "/v1/sessions", Some(json!({}))).await.status, 400);
    assert_eq!(server.send(Some("Bearer x"), "GET", "/v2/changes?limit=0", None).await.status, 400);
    assert_eq!(server.send(None, "GET", "/v1/sessions", None).await.status, 401);
}
