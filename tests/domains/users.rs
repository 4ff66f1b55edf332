//! Users.

use std::rc::Rc;
use std::sync::Arc;

use happier_server::domain::users::{Found, search as find};
use happier_server::domain::{Context, Flavor, Settings};
use happier_server::storage::{Kind, Statement, Value};
use serde_json::{Value as Json, json};

use crate::server::{Account, Server};
use crate::tell::{invalid, refused};

async fn connect_github(server: &Server, account: &Account, username: Option<&str>, profile: Json) {
    static GITHUB: Statement = Statement::portable(
        r#"INSERT INTO "GithubUser" ("id", "profile", "createdAt", "updatedAt") VALUES ($1, $2, $3, $3)"#,
    );
    static CONNECT: Statement = Statement::portable(
        r#"UPDATE "Account" SET "githubUserId" = $1, "username" = $2, "firstName" = 'Ada', "avatar" = $3
           WHERE "id" = $4"#,
    );
    let id = account.id.as_str();
    let avatar = json!({"path": "public/a.png", "width": 1, "height": 2, "thumbhash": "t"}).to_string();
    let db = &server.ctx.db;
    db.execute(&GITHUB, vec![id.into(), Value::Json(profile.to_string()), Value::Time(1)]).await.unwrap();
    let params = vec![id.into(), username.into(), Value::Json(avatar), id.into()];
    db.execute(&CONNECT, params).await.unwrap();
}

pub async fn profiles(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let get = async |who, of: &Account| server.get(who, &format!("/v1/user/{}", of.id)).await["user"].clone();
    let key: String = bob.key.verifying_key().as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    let plain = json!({"id": bob.id.as_str(), "firstName": "", "lastName": null, "avatar": null, "username": "",
        "bio": null, "status": "none", "publicKey": key, "contentPublicKey": null, "contentPublicKeySig": null});
    assert_eq!(get(&alice, &bob).await, plain);
    static CONTENT: Statement = Statement::portable(
        r#"UPDATE "Account" SET "contentPublicKey" = $1, "contentPublicKeySig" = $2 WHERE "id" = $3"#,
    );
    let params = vec![Value::Bytes(vec![1, 2]), Value::Bytes(vec![3]), bob.id.as_str().into()];
    server.ctx.db.execute(&CONTENT, params).await.unwrap();
    for (profile, username, bio) in [
        (json!({"login": "octo", "bio": "writes\nlines"}), "octo", json!("writes\nlines")),
        (json!({"login": "octo", "bio": ""}), "octo", json!(null)),
        (json!({"login": 5, "bio": null}), "", json!(null)),
    ] {
        let carol = server.account().await;
        connect_github(&server, &carol, None, profile).await;
        let seen = get(&alice, &carol).await;
        assert_eq!((&seen["username"], &seen["bio"], &seen["firstName"]), (&json!(username), &bio, &json!("Ada")));
        let url = "http://files.example/files/public/a.png";
        let avatar = json!({"path": "public/a.png", "url": url, "width": 1, "height": 2, "thumbhash": "t"});
        assert_eq!(seen["avatar"], avatar);
    }
    let seen = get(&alice, &bob).await;
    assert_eq!((&seen["contentPublicKey"], &seen["contentPublicKeySig"]), (&json!("AQI="), &json!("Aw==")));
    for path in ["/v1/user/nothing-like-this", "/v1/user/"] {
        refused(&server, &alice, "GET", path, None, 404, "User not found").await;
    }
}

pub async fn search(server: Rc<Server>) {
    let alice = server.account().await;
    let mark = happier_server::model::ids::cuid();
    for name in ["Zed", "zed2", "z_x"] {
        let account = server.account().await;
        connect_github(&server, &account, Some(&format!("{mark}{name}")), json!({"login": "other"})).await;
    }
    let found = async |flavor, text: &str| {
        let settings = Settings { flavor, ..Settings::clone(&server.ctx.settings) };
        let ctx = Context { settings: Arc::new(settings), ..Context::clone(&server.ctx) };
        let Found::Users(users) = find(&ctx, &alice.id, text).await.unwrap() else { panic!("too long") };
        let names = users.into_iter().map(|user| user.username.unwrap_or_default().replace(&mark, ""));
        names.collect::<Vec<_>>()
    };
    for (flavor, text, expected) in [
        (Flavor::Light, format!("{mark}z"), vec!["z_x", "zed2"]),
        (Flavor::Light, format!("{mark}Z"), vec!["Zed"]),
        (Flavor::Full, format!("{mark}ZE"), vec!["Zed", "zed2"]),
        (Flavor::Full, format!("{mark}z_d"), vec!["Zed", "zed2"]),
        (Flavor::Light, format!("{mark}z\\_"), vec!["z_x"]),
        (Flavor::Light, format!("%{}zed", &mark[4..]), vec!["zed2"]),
        (Flavor::Full, format!("x{mark}"), vec![]),
    ] {
        assert_eq!(
            found(flavor, &text).await,
            expected,
            "{flavor:?} {text} {:?}",
            server.ctx.db.kind() == Kind::Sqlite
        );
    }
    let body = server.get(&alice, &format!("/v1/user/search?query={mark}Z")).await;
    assert_eq!(body["users"][0]["username"], json!(format!("{mark}Zed")));
    for n in 0..12 {
        let account = server.account().await;
        connect_github(&server, &account, Some(&format!("many{mark}{n:02}")), json!({})).await;
    }
    let users = server.get(&alice, &format!("/v1/user/search?query=many{mark}")).await["users"].clone();
    let names = users.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_string());
    assert!(names.eq((0..10).map(|n| format!("many{mark}{n:02}"))));
    let target = "/v1/user/search";
    invalid(&server, &alice, "GET", target, None, "querystring/query Required").await;
    let twice = "/v1/user/search?query=a&query=b";
    invalid(&server, &alice, "GET", twice, None, "querystring/query Expected string, received array").await;
    let long = format!("/v1/user/search?query=%25{}", "a".repeat(256));
    let message = "query may have at most 256 bytes if it contains %";
    refused(&server, &alice, "GET", &long, None, 400, message).await;
}
