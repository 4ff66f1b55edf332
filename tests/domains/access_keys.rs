//! Access keys.

use std::rc::Rc;

use serde_json::json;

use crate::server::Server;
use crate::tell::{befriend, fresh, invalid, refused, silence, take_now};

async fn machine(server: &Server, of: &crate::server::Account) -> String {
    let id = fresh("machine").replace(' ', "-");
    server.ok(of, "POST", "/v1/machines", Some(json!({"id": id, "metadata": ""}))).await;
    server.events();
    id
}

pub async fn versions(server: Rc<Server>) {
    let alice = server.account().await;
    let path = format!("/v1/access-keys/{}/{}", server.session(&alice, "s").await, machine(&server, &alice).await);
    let put = |data: &str, version: i64| Some(json!({"data": data, "expectedVersion": version}));
    assert_eq!(server.get(&alice, &path).await, json!({"accessKey": null}));
    refused(&server, &alice, "PUT", &path, put("x", 0), 404, "Access key not found").await;
    let mut created = server.ok(&alice, "POST", &path, Some(json!({"data": "one"}))).await;
    let key = created["accessKey"].clone();
    let at = take_now(&mut created["accessKey"], "createdAt");
    assert_eq!(take_now(&mut created["accessKey"], "updatedAt"), at);
    let fields = json!({"data": "one", "dataVersion": 1, "createdAt": null, "updatedAt": null});
    assert_eq!(created, json!({"success": true, "accessKey": fields}));
    assert_eq!(server.get(&alice, &path).await, json!({"accessKey": key}));
    refused(&server, &alice, "POST", &path, Some(json!({"data": "two"})), 409, "Access key already exists").await;
    for (data, expected, body) in [
        ("two", 1, json!({"success": true, "version": 2})),
        ("late", 1, json!({"success": false, "error": "version-mismatch", "currentVersion": 2, "currentData": "two"})),
        ("", 2, json!({"success": true, "version": 3})),
        (
            "far",
            1 << 40,
            json!({"success": false, "error": "version-mismatch", "currentVersion": 3, "currentData": ""}),
        ),
        ("four", 3, json!({"success": true, "version": 4})),
    ] {
        assert_eq!(server.ok(&alice, "PUT", &path, put(data, expected)).await, body);
    }
    assert_eq!(server.get(&alice, &path).await["accessKey"]["data"], "four");
    let failed = json!({"success": false, "error": "Failed to update access key"});
    let answer = server.call(&alice, "PUT", &path, put("\0", 4)).await;
    assert_eq!((answer.status, answer.body), (500, failed));
    silence(&server);
    assert_eq!(server.get(&alice, "/v2/cursor").await["cursor"], 2, "access keys leave no trace");
}

pub async fn ownership(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    befriend(&server, &alice, &bob).await;
    let session = server.session(&alice, "s").await;
    server.share(&session, &alice, &bob, "admin").await;
    let (own, foreign) = (machine(&server, &alice).await, machine(&server, &bob).await);
    let path = format!("/v1/access-keys/{session}/{own}");
    server.ok(&alice, "POST", &path, Some(json!({"data": "secret"}))).await;
    let missing = "Session or machine not found";
    let data = || Some(json!({"data": "x"}));
    refused(&server, &bob, "GET", &path, None, 404, missing).await;
    refused(&server, &bob, "POST", &format!("/v1/access-keys/{session}/{foreign}"), data(), 404, missing).await;
    let put = Some(json!({"data": "x", "expectedVersion": 1}));
    refused(&server, &bob, "PUT", &path, put, 404, "Access key not found").await;
    refused(&server, &alice, "GET", &format!("/v1/access-keys/{session}/{foreign}"), None, 404, missing).await;
    refused(&server, &alice, "POST", &format!("/v1/access-keys/unknown/{own}"), data(), 404, missing).await;
    refused(&server, &alice, "GET", &format!("/v1/access-keys/{session}/unknown"), None, 404, missing).await;
    invalid(&server, &alice, "POST", &path, Some(json!({})), "body/data Required").await;
    let message = "body/data Expected string, received number, \
                   body/expectedVersion Number must be greater than or equal to 0";
    invalid(&server, &alice, "PUT", &path, Some(json!({"data": 5, "expectedVersion": -1})), message).await;
    server.ok(&alice, "DELETE", &format!("/v1/sessions/{session}"), None).await;
    refused(&server, &alice, "GET", &path, None, 404, missing).await;
}
