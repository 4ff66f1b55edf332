//! The key-value store.

use std::rc::Rc;

use happier_server::realtime::event::Audience::UserScoped;
use happier_server::storage::{Statement, Value};
use serde_json::{Value as Json, json};

use crate::server::{Account, Answer, Server};
use crate::tell::{changes, invalid, one_update, refused, silence};

async fn mutate(server: &Server, account: &Account, mutations: &[(&str, Json, Json)]) -> Answer {
    let mutation = |(key, value, version): &(&str, Json, Json)| json!({"key": key, "value": value, "version": version});
    let mutations: Vec<Json> = mutations.iter().map(mutation).collect();
    server.call(account, "POST", "/v1/kv", Some(json!({ "mutations": mutations }))).await
}

fn stored(versions: &[(&str, i64)]) -> Json {
    let result = |(key, version): &(&str, i64)| json!({"key": key, "version": version});
    json!({"success": true, "results": versions.iter().map(result).collect::<Vec<_>>()})
}

fn conflict(mismatches: &[(&str, i64, Json)]) -> Json {
    let error = |(key, version, value): &(&str, i64, Json)| json!({"key": key, "error": "version-mismatch", "version": version, "value": value});
    json!({"success": false, "errors": mismatches.iter().map(error).collect::<Vec<_>>()})
}

pub async fn versions_and_conflicts(server: Rc<Server>) {
    let alice = server.account().await;
    let first = mutate(&server, &alice, &[("theme", json!("ZGFyaw=="), json!(-1))]).await;
    assert_eq!((first.status, first.body), (200, stored(&[("theme", 0)])));
    let changes_of = |list: Json| json!({"t": "kv-batch-update", "changes": list});
    let change = json!([{"key": "theme", "value": "ZGFyaw==", "version": 0}]);
    assert_eq!(one_update(&server, &alice, &UserScoped), (1, changes_of(change)));
    let batch =
        [("theme", json!("bGlnaHQ="), json!(0)), ("lang", json!("ZW4="), json!(-1)), ("zeta", json!("AQI"), json!(-1))];
    assert_eq!(mutate(&server, &alice, &batch).await.body, stored(&[("theme", 1), ("lang", 0), ("zeta", 0)]));
    let change = json!([{"key": "theme", "value": "bGlnaHQ=", "version": 1},
        {"key": "lang", "value": "ZW4=", "version": 0}, {"key": "zeta", "value": "AQI", "version": 0}]);
    assert_eq!(one_update(&server, &alice, &UserScoped), (2, changes_of(change)));

    let light = || json!("bGlnaHQ=");
    for (batch, mismatches) in [
        (vec![("theme", json!("eA=="), json!(0))], vec![("theme", 1, light())]),
        (vec![("theme", json!("eA=="), json!(-1))], vec![("theme", 1, light())]),
        (vec![("absent", json!("eA=="), json!(3))], vec![("absent", -1, json!(null))]),
        (
            vec![
                ("lang", json!("eA=="), json!(0)),
                ("theme", json!("eA=="), json!(0)),
                ("absent", json!(null), json!(0)),
            ],
            vec![("theme", 1, light()), ("absent", -1, json!(null))],
        ),
        (vec![("lang", json!("eA=="), json!(0.5))], vec![("lang", 0, json!("ZW4="))]),
        (vec![("lang", json!("eA=="), json!(1e20))], vec![("lang", 0, json!("ZW4="))]),
    ] {
        let answer = mutate(&server, &alice, &batch).await;
        assert_eq!((answer.status, answer.body), (409, conflict(&mismatches)));
    }
    silence(&server);
    assert_eq!(server.get(&alice, "/v1/kv/lang").await, json!({"key": "lang", "value": "ZW4=", "version": 0}));
    let log = changes(&server, &alice).await;
    assert_eq!(log, [("kv".to_string(), "self".to_string(), 2, json!({"keys": ["theme", "lang", "zeta"]}))]);
    mutate(&server, &alice, &[(" ", json!(null), json!(-1))]).await;
    assert_eq!(changes(&server, &alice).await[0].3, json!({"full": true}), "a blank key is not listed");
}

pub async fn deleting(server: Rc<Server>) {
    let alice = server.account().await;
    mutate(&server, &alice, &[("key", json!("AA=="), json!(-1))]).await;
    server.events();
    assert_eq!(mutate(&server, &alice, &[("key", json!(null), json!(0))]).await.body, stored(&[("key", 1)]));
    let change = json!([{"key": "key", "value": null, "version": 1}]);
    assert_eq!(one_update(&server, &alice, &UserScoped).1["changes"], change);
    refused(&server, &alice, "GET", "/v1/kv/key", None, 404, "Key not found").await;
    let answer = mutate(&server, &alice, &[("key", json!("AA=="), json!(-1))]).await;
    assert_eq!((answer.status, answer.body), (409, conflict(&[("key", 1, json!(null))])));
    assert_eq!(mutate(&server, &alice, &[("key", json!("AQ=="), json!(1))]).await.body, stored(&[("key", 2)]));
    server.events();
    mutate(&server, &alice, &[("key", json!(""), json!(2)), ("new", json!(""), json!(-1))]).await;
    let change = json!([{"key": "key", "value": "", "version": 3}, {"key": "new", "value": "", "version": 0}]);
    assert_eq!(one_update(&server, &alice, &UserScoped).1["changes"], change, "R-5");
    refused(&server, &alice, "GET", "/v1/kv/key", None, 404, "Key not found").await;
    assert_eq!(server.get(&alice, "/v1/kv").await, json!({"items": []}));
}

pub async fn reading(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let keys = ["app.theme", "app.lang", "App.x", "zeta", "100%", "a_b", r"back\slash", "sta*r", "gone"];
    for key in keys {
        mutate(&server, &alice, &[(key, json!("AA=="), json!(-1))]).await;
    }
    mutate(&server, &alice, &[("gone", json!(null), json!(0))]).await;
    let list = async |query: &str| {
        let body = server.get(&alice, &format!("/v1/kv{query}")).await;
        let keys = body["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap().to_string());
        keys.collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("?prefix=app.", vec!["app.lang", "app.theme"]),
        ("?prefix=App.", vec!["App.x"]),
        ("?prefix=nothing", vec![]),
        ("?prefix=%25eta", vec!["zeta"]),
        ("?prefix=a__.", vec!["app.lang", "app.theme"]),
        ("?prefix=a_b", vec!["a_b"]),
        (r"?prefix=100%5C%25", vec!["100%"]),
        (r"?prefix=a%5C_", vec!["a_b"]),
        (r"?prefix=back%5C%5C", vec![r"back\slash"]),
        (r"?prefix=100%5C", vec!["100%"]),
        ("?prefix=sta*", vec!["sta*r"]),
        ("?prefix=s*", vec![]),
        ("?prefix=zet%5Ba%5D", vec![]),
    ] {
        assert_eq!(list(query).await, expected, "{query}");
    }
    assert_eq!(list("").await.len(), keys.len() - 1);
    assert_eq!(list("?limit=3").await.len(), 3);
    assert_eq!(list(&format!("?prefix={}", "%25a".repeat(20))).await, Vec::<String>::new());
    assert_eq!(list("?prefix=%25a%25%25e%25").await, ["app.theme"]);
    let target = format!("/v1/kv?prefix=%25{}", "a".repeat(256));
    let message = "prefix may have at most 256 bytes if it contains %";
    refused(&server, &alice, "GET", &target, None, 400, message).await;
    assert_eq!(list(&format!("?prefix={}", "a".repeat(300))).await, Vec::<String>::new());

    let body = json!({"keys": ["zeta", "absent", "gone", "app.lang", "zeta"]});
    let mut values = server.ok(&alice, "POST", "/v1/kv/bulk", Some(body.clone())).await["values"].clone();
    values.as_array_mut().unwrap().sort_by_key(|value| value["key"].to_string());
    let item = |key: &str| json!({"key": key, "value": "AA==", "version": 0});
    assert_eq!(values, json!([item("app.lang"), item("zeta")]));
    assert_eq!(server.ok(&bob, "POST", "/v1/kv/bulk", Some(body)).await, json!({"values": []}));
    assert_eq!(server.get(&bob, "/v1/kv").await, json!({"items": []}));
    refused(&server, &bob, "GET", "/v1/kv/zeta", None, 404, "Key not found").await;
    refused(&server, &alice, "GET", "/v1/kv/", None, 404, "Key not found").await;
    mutate(&server, &alice, &[("", json!("AA=="), json!(-1))]).await;
    assert_eq!(server.get(&alice, "/v1/kv/").await, item(""));
    let too_many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    for (method, target, body, message) in [
        ("POST", "/v1/kv/bulk", Some(json!({"keys": []})), "body/keys Array must contain at least 1 element(s)"),
        ("POST", "/v1/kv/bulk", Some(json!({"keys": too_many})), "body/keys Array must contain at most 100 element(s)"),
        ("GET", "/v1/kv?limit=0", None, "querystring/limit Number must be greater than or equal to 1"),
        ("GET", "/v1/kv?limit=1001", None, "querystring/limit Number must be less than or equal to 1000"),
        (
            "POST",
            "/v1/kv",
            Some(json!({"mutations": [5, null, {"key": "a", "value": 5, "version": null}]})),
            "body/mutations/0 Expected object, received number, body/mutations/1 Expected object, received null, \
             body/mutations/2/value Expected string, received number, \
             body/mutations/2/version Expected number, received null",
        ),
    ] {
        invalid(&server, &alice, method, target, body, message).await;
    }
}

pub async fn encodings(server: Rc<Server>) {
    let alice = server.account().await;
    mutate(&server, &alice, &[("with space/slash?#%ü", json!("/+8="), json!(-1))]).await;
    let read = server.get(&alice, "/v1/kv/with%20space%2Fslash%3F%23%25%C3%BC").await;
    assert_eq!(read, json!({"key": "with space/slash?#%ü", "value": "/+8=", "version": 0}));
    mutate(&server, &alice, &[("loose", json!("AA-_!"), json!(-1))]).await;
    assert_eq!(server.get(&alice, "/v1/kv/loose").await["value"], "AA+/");
    server.events();
    let batch = [("fresh", json!("AA=="), json!(-1)), ("loose", json!("AA-_"), json!(0))];
    let answer = mutate(&server, &alice, &batch).await;
    assert_eq!((answer.status, answer.body), (400, json!({"error": "Invalid base64 in the value of loose"})), "O-22");
    refused(&server, &alice, "GET", "/v1/kv/fresh", None, 404, "Key not found").await;
    let answer =
        mutate(&server, &alice, &[("fine", json!("AA=="), json!(-1)), ("a\0b", json!("AA=="), json!(-1))]).await;
    assert_eq!((answer.status, answer.body), (500, json!({"error": "Failed to mutate values"})));
    refused(&server, &alice, "GET", "/v1/kv/fine", None, 404, "Key not found").await;
    silence(&server);
}

pub async fn many_keys(server: Rc<Server>) {
    let alice = server.account().await;
    let names: Vec<String> = (0..100).map(|n| format!("many.{n}")).collect();
    let batch: Vec<_> = names.iter().map(|name| (name.as_str(), json!("AA=="), json!(-1))).collect();
    let answer = mutate(&server, &alice, &batch).await;
    let expected: Vec<_> = names.iter().map(|name| (name.as_str(), 0)).collect();
    assert_eq!(answer.body, stored(&expected));
    let (_, event) = one_update(&server, &alice, &UserScoped);
    let told = event["changes"].as_array().unwrap().iter();
    assert!(told.map(|change| change["key"].as_str().unwrap()).eq(names.iter().map(String::as_str)));
    assert_eq!(changes(&server, &alice).await[0].3, json!({"full": true}));
    let fifty: Vec<_> = names[..50].iter().map(|name| (name.as_str(), json!("AQ=="), json!(0))).collect();
    assert_eq!(mutate(&server, &alice, &fifty).await.status, 200);
    assert_eq!(changes(&server, &alice).await[0].3, json!({"keys": names[..50]}));
    let too_many: Vec<_> = (0..101).map(|_| ("k", json!(null), json!(-1))).collect();
    let answer = mutate(&server, &alice, &too_many).await;
    assert_eq!(answer.body["message"], "body/mutations Array must contain at most 100 element(s)");
}

pub async fn equal_keys(server: Rc<Server>) {
    let alice = server.account().await;
    let twice = |version: i64| [("key", json!("AA=="), json!(version)), ("key", json!("AQ=="), json!(version))];
    let answer = mutate(&server, &alice, &twice(-1)).await;
    assert_eq!((answer.status, answer.body), (500, json!({"error": "Failed to mutate values"})));
    refused(&server, &alice, "GET", "/v1/kv/key", None, 404, "Key not found").await;
    silence(&server);
    mutate(&server, &alice, &twice(-1)[..1]).await;
    assert_eq!(mutate(&server, &alice, &twice(0)).await.body, stored(&[("key", 1), ("key", 1)]), "O-23");
    assert_eq!(server.get(&alice, "/v1/kv/key").await, json!({"key": "key", "value": "AQ==", "version": 1}));
    assert_eq!(changes(&server, &alice).await[0].3, json!({"keys": ["key"]}));
}

pub async fn simultaneous_writers(server: Rc<Server>) {
    let alice = server.account().await;
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (server, alice) = (Rc::clone(&server), alice.clone());
            monoio::spawn(async move { mutate(&server, &alice, &[("key", json!("AA=="), json!(-1))]).await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [&[200][..], &[409; 9]].concat());
    assert_eq!(one_update(&server, &alice, &UserScoped).0, 1);
}

pub async fn long_keys(server: Rc<Server>) {
    const MESSAGE: &str = "A key may have at most 2048 bytes";
    let alice = server.account().await;
    let longest = "é".repeat(1024);
    let ok = mutate(&server, &alice, &[(&longest, json!("AA=="), json!(-1))]).await;
    assert_eq!((ok.status, ok.body), (200, stored(&[(&longest, 0)])));
    let longer = format!("{longest}x");
    let batch = json!({"mutations": [{"key": "short", "value": "AA==", "version": -1}, {"key": longer, "value": "AA==", "version": -1}]});
    refused(&server, &alice, "POST", "/v1/kv", Some(batch), 400, MESSAGE).await;
    refused(&server, &alice, "GET", "/v1/kv/short", None, 404, "Key not found").await;

    // One that is there already stays usable.
    let old = "o".repeat(2600);
    let row = vec![alice.id.as_str().into(), old.as_str().into(), Value::Bytes(vec![0]), Value::Time(1)];
    server.ctx.db.execute(&OLD_KEY, row).await.unwrap();
    let changed = mutate(&server, &alice, &[(&old, json!("AQ=="), json!(4))]).await;
    assert_eq!((changed.status, changed.body), (200, stored(&[(&old, 5)])));
    assert_eq!(mutate(&server, &alice, &[(&old, json!(null), json!(5))]).await.body, stored(&[(&old, 6)]));
}

static OLD_KEY: Statement = Statement::portable(
    r#"INSERT INTO "UserKVStore" ("id", "accountId", "key", "value", "version", "createdAt", "updatedAt")
       VALUES ($1, $1, $2, $3, 4, $4, $4)"#,
);

/// What a pattern costs on the longest key it may be compared with: every `%` is followed by what the key is made of, and
/// nothing matches. A few thousand such rows are read here; exponential time would not end.
pub async fn costly_patterns(server: Rc<Server>) {
    let alice = server.account().await;
    for batch in 0..10 {
        let key = |n: i32| format!("{}{}", "a".repeat(2000), batch * 100 + n);
        let mutations: Vec<Json> = (0..100).map(|n| json!({"key": key(n), "value": "AA==", "version": -1})).collect();
        server.ok(&alice, "POST", "/v1/kv", Some(json!({ "mutations": mutations }))).await;
    }
    for piece in ["%25a", "%25aaaaaaa", "%25_a", "a%25"] {
        let fits = 250 / piece.replace("%25", "%").len();
        let listed = server.get(&alice, &format!("/v1/kv?prefix={}b", piece.repeat(fits))).await;
        assert_eq!(listed, json!({"items": []}), "{piece}");
    }
}
