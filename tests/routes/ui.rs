//! The web UI of a real directory, at the root and under a prefix. It needs no database, so one will do.

use std::fs;
use std::path::Path;
use std::time::Duration;

use happier_server::api::ui::{Mount, Ui};
use happier_server::storage::static_files::{PIECE_BYTES_MAX, StaticFiles};
use serde_json::json;

use crate::server::services;
use crate::server::{Answer, Server};
use crate::support::{self, Directory};

const BANNER: &str = "\n<!-- Welcome to Happier Server! -->\n";
const FOREVER: &str = "public, max-age=31536000, immutable";

/// A built UI, with links inside and out of it, and a file beside it that must never be served.
fn build() -> Directory {
    let outer = Directory::new();
    let root = outer.path().join("ui");
    for directory in ["_expo/static", "assets", ".well-known", "assets/folder"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (path, text) in [
        ("index.html", "<html>one</html>"),
        ("robots.txt", "robots"),
        ("favicon.ico", "icon"),
        ("metadata.json", "{}"),
        ("_expo/static/entry.js", "js"),
        ("assets/a b.PNG", "png"),
        ("assets/100%.css", "css"),
        ("assets/page.html", "page"),
        ("assets/noextension", "raw"),
        (".well-known/security", "txt"),
        ("../secret.txt", "secret"),
    ] {
        fs::write(root.join(path), text).unwrap();
    }
    fs::write(root.join("assets/long.bin"), vec![7; 3 * PIECE_BYTES_MAX + 5]).unwrap();
    std::os::unix::fs::symlink("a b.PNG", root.join("assets/inner.png")).unwrap();
    std::os::unix::fs::symlink("../../secret.txt", root.join("assets/outer.txt")).unwrap();
    std::os::unix::fs::symlink("ui", outer.path().join("current")).unwrap();
    outer
}

fn with_ui(prefix: &str, body: impl AsyncFn(&Server, &Path)) {
    let outer = build();
    support::on_sqlite(async |db| {
        // As deployments switch releases: the configured directory is itself a link.
        let files = StaticFiles::new(outer.path().join("current").into(), services::workers());
        let ui = Ui { files, mount: Mount::at(prefix).unwrap() };
        body(&Server::with_ui(db, &Server::tokens(), ui), &outer.path().join("ui")).await;
    });
}

async fn get(server: &Server, target: &str) -> Answer {
    server.raw(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"), b"").await
}

fn is_index(answer: &Answer) -> bool {
    let is_html = answer.response.content_type == Some("text/html; charset=utf-8");
    answer.status == 200
        && is_html
        && answer.body == json!(format!("<html>one</html>{BANNER}"))
        && answer.response.header("Cache-Control") == Some("no-cache")
}

fn is_not_found(answer: &Answer) -> bool {
    (answer.status, &answer.body) == (404, &json!({"error": "Not found"}))
        && answer.response.header("Cache-Control").is_none()
}

/// What both ways to mount a UI have in common.
async fn root_files(server: &Server) {
    for (target, content_type, text, cache) in [
        ("/favicon.ico", "image/x-icon", "icon", FOREVER),
        ("/_expo/static/entry.js", "text/javascript; charset=utf-8", "js", FOREVER),
        ("/assets/a%20b.PNG", "image/png", "png", FOREVER),
        ("/assets/a%2520b.PNG?x", "image/png", "png", FOREVER),
        ("/assets/100%2525.css", "text/css; charset=utf-8", "css", FOREVER),
        ("/assets/inner.png", "image/png", "png", FOREVER),
        ("/assets/page.html", "text/html; charset=utf-8", "page", "no-cache"),
        ("/assets/noextension", "application/octet-stream", "raw", FOREVER),
        ("/.well-known/security", "application/octet-stream", "txt", FOREVER),
        ("/assets/..%2Findex.html", "text/html; charset=utf-8", "<html>one</html>", "no-cache"),
        ("/assets///a%20b.PNG", "image/png", "png", FOREVER),
        ("/assets/%2Fa%20b.PNG", "image/png", "png", FOREVER),
        ("http://elsewhere.example/favicon.ico", "image/x-icon", "icon", FOREVER),
    ] {
        let answer = get(server, target).await;
        let text = if content_type.starts_with("application/json") { json!({}) } else { json!(text) };
        assert_eq!((answer.status, answer.response.content_type), (200, Some(content_type)), "{target}");
        assert_eq!((&answer.body, answer.response.header("Cache-Control")), (&text, Some(cache)), "{target}");
        assert_eq!(answer.response.header("Access-Control-Allow-Origin"), Some("*"), "{target}");
    }
    let metadata = get(server, "/metadata.json").await;
    assert_eq!(metadata.response.content_type, Some("application/json; charset=utf-8"));
    for target in [
        "/canvaskit.wasm",
        "/favicon-active.ico",
        "/assets/",
        "/assets/folder",
        "/assets/missing.js",
        "/assets/100%25.css",
        "/assets/outer.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/..%2F..%2Fsecret.txt",
        "/assets/%252e%252e%252f%252e%252e%252fsecret.txt",
        "/assets/..%2F..%2Fcurrent%2Frobots.txt",
        "/_expo/%00",
    ] {
        assert!(is_not_found(&get(server, target).await), "{target}");
    }
    let long = get(server, "/assets/long.bin").await;
    let rest = long.response.rest.expect("the file is longer than one piece").0;
    assert_eq!((long.response.body.len(), rest.length()), (PIECE_BYTES_MAX, 2 * PIECE_BYTES_MAX as u64 + 5));
    let mut pieces = Vec::new();
    while let Some(piece) = rest.next().await.filter(|piece| !piece.is_empty()) {
        assert!(piece.iter().all(|byte| *byte == 7));
        pieces.push(piece.len());
    }
    assert_eq!(pieces, [PIECE_BYTES_MAX, PIECE_BYTES_MAX, 5]);
}

#[test]
fn mounted_at_the_root() {
    with_ui("", async |server, root| {
        root_files(server).await;
        for target in ["/", "/?a=b", "/session/1", "/robots.txt", "/v2/nowhere", "/v1?x=1", "/uix", "/ui2/a"] {
            let answer = get(server, target).await;
            assert!(is_index(&answer), "{target}: {}", answer.body);
        }
        for (method, target) in [
            ("GET", "/v1/nowhere"),
            ("GET", "/v1/kv/a/b?c"),
            ("GET", "/v1"),
            ("GET", "/metrics"),
            ("GET", "/metrics/x"),
            ("HEAD", "/session/1"),
            ("POST", "/session/1"),
            ("DELETE", "/"),
        ] {
            let answer = server.raw(&format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"), b"").await;
            let expected = json!({"error": "Not found", "path": target, "method": method});
            assert_eq!((answer.status, answer.body), (404, expected));
        }
        assert_eq!(get(server, "/v1/features").await.body["features"]["contentKeys"], true);
        assert_eq!(get(server, "/session/%zz").await.status, 400);
        let head = server.raw("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", b"").await;
        assert!(is_index(&head), "net leaves the body out");
        for (target, location) in [
            ("/ui", "/"),
            ("/ui/", "/"),
            ("/ui?a=b", "/?a=b"),
            ("/ui/session/1?a=b", "/session/1?a=b"),
            ("/ui/%2F%2Fevil.example", "/evil.example"),
            ("/ui/%5Cevil.example", "/%5Cevil.example"),
            ("/ui/a%250d%250aX:y", "/a%0D%0AX:y"),
        ] {
            let answer = get(server, target).await;
            assert_eq!((answer.status, answer.response.header("Location")), (302, Some(location)), "{target}");
            assert_eq!((answer.response.body.len(), answer.response.content_type), (0, None));
        }
        let undecodable = get(server, "/ui/%25zz").await;
        assert_eq!((undecodable.status, undecodable.body), (400, json!({"error": "Invalid path"})));
        index_changes(server, root).await;
    });
}

/// A new index is served as soon as it is there, and its absence is told.
async fn index_changes(server: &Server, root: &Path) {
    let index = root.join("index.html");
    fs::write(&index, "<html>two</html>").unwrap();
    let file = fs::File::options().write(true).open(&index).unwrap();
    // Of the same length: only the time tells.
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written + Duration::from_secs(10)).unwrap();
    assert_eq!(get(server, "/").await.body, json!(format!("<html>two</html>{BANNER}")));
    fs::remove_file(&index).unwrap();
    let missing = get(server, "/").await;
    assert_eq!((missing.status, &missing.body), (404, &json!({"error": "Not found"})));
    assert_eq!(missing.response.header("Cache-Control"), Some("no-cache"));
}

#[test]
fn mounted_under_a_prefix() {
    with_ui("/apps/ui", async |server, root| {
        root_files(server).await;
        assert_eq!(get(server, "/").await.body, json!("Welcome to Happier Server!"));
        let redirect = get(server, "/apps/ui").await;
        assert_eq!((redirect.status, redirect.response.header("Location")), (302, Some("/apps/ui/")));
        for target in
            ["/apps/ui/", "/apps/ui/index.html", "/apps/ui/session/1", "/apps/ui/assets", "/apps/ui/assets/outer.txt"]
        {
            assert!(is_index(&get(server, target).await), "{target}");
        }
        for (target, text) in [
            ("/apps/ui/robots.txt", "robots"),
            ("/apps/ui/assets/page.html", "page"),
            ("/apps/ui/assets/../robots.txt", "robots"),
            ("/apps/ui/%2Frobots.txt", "robots"),
        ] {
            let answer = get(server, target).await;
            assert_eq!((answer.status, answer.body), (200, json!(text)), "{target}");
        }
        for target in ["/apps/ui/../secret.txt", "/apps/ui/..%2Fsecret.txt", "/apps/ui/%252e%252e/secret.txt"] {
            assert!(is_not_found(&get(server, target).await), "{target}");
        }
        for target in ["/session/1", "/ui", "/ui/", "/apps", "/apps/uix", "/robots.txt", "/v2/nowhere"] {
            let answer = get(server, target).await;
            assert_eq!((answer.status, &answer.body["path"]), (404, &json!(target)), "{target}");
        }
        index_changes_under_prefix(server, root).await;
    });
}

async fn index_changes_under_prefix(server: &Server, root: &Path) {
    fs::remove_file(root.join("index.html")).unwrap();
    let missing = get(server, "/apps/ui/anything").await;
    assert_eq!((missing.status, missing.response.header("Cache-Control")), (404, Some("no-cache")));
}
