//! Artifacts.

use std::rc::Rc;

use happier_server::model::ids::uuid_v4;
use happier_server::realtime::event::Audience::UserScoped;
use serde_json::{Value as Json, json};

use crate::server::{Account, Server};
use crate::tell::{changes, internal, invalid, one_update, refused, silence, take_now};

async fn create(server: &Server, of: &Account) -> String {
    let id = uuid_v4();
    let body = json!({"id": id, "header": "aGVhZGVy", "body": "Ym9keQ==", "dataEncryptionKey": "a2V5"});
    server.ok(of, "POST", "/v1/artifacts", Some(body)).await;
    server.events();
    id
}

pub async fn creating_and_reading(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let id = uuid_v4();
    let input = json!({"id": id, "header": "aGVhZGVy", "body": "Ym9keQ", "dataEncryptionKey": ""});
    let created = server.ok(&alice, "POST", "/v1/artifacts", Some(input)).await;
    let mut fields = created.clone();
    let at = take_now(&mut fields, "createdAt");
    assert_eq!(take_now(&mut fields, "updatedAt"), at);
    let expected = json!({"id": id, "header": "aGVhZGVy", "headerVersion": 1, "body": "Ym9keQ==", "bodyVersion": 1,
        "dataEncryptionKey": "", "seq": 0, "createdAt": null, "updatedAt": null});
    assert_eq!(fields, expected);
    let (seq, mut event) = one_update(&server, &alice, &UserScoped);
    assert_eq!((seq, event["t"].take()), (1, json!("new-artifact")));
    event["id"] = event.as_object_mut().unwrap().remove("artifactId").unwrap();
    event.as_object_mut().unwrap().remove("t");
    assert_eq!(event, created);

    let again = json!({"id": id, "header": "AAAA", "body": "AAAA", "dataEncryptionKey": "AAAA"});
    assert_eq!(server.ok(&alice, "POST", "/v1/artifacts", Some(again.clone())).await, created);
    let taken = "Artifact with this ID already exists for another account";
    refused(&server, &bob, "POST", "/v1/artifacts", Some(again), 409, taken).await;
    silence(&server);

    let path = format!("/v1/artifacts/{id}");
    assert_eq!(server.get(&alice, &path).await, created);
    let mut info = created;
    info.as_object_mut().unwrap().retain(|key, _| !key.starts_with("body"));
    assert_eq!(server.get(&alice, "/v1/artifacts").await, json!([info]));
    assert_eq!(server.get(&bob, "/v1/artifacts").await, json!([]));
    for (who, path) in [(&bob, path.as_str()), (&alice, "/v1/artifacts/not-a-uuid"), (&alice, "/v1/artifacts/")] {
        refused(&server, who, "GET", path, None, 404, "Artifact not found").await;
    }
}

pub async fn updating(server: Rc<Server>) {
    let alice = server.account().await;
    let id = create(&server, &alice).await;
    let path = format!("/v1/artifacts/{id}");
    let mut seq = 1;
    for (input, answer, event) in [
        (
            json!({"header": "aGVhZGVyMg==", "expectedHeaderVersion": 1, "expectedBodyVersion": 99}),
            json!({"success": true, "headerVersion": 2}),
            json!({"header": {"value": "aGVhZGVyMg==", "version": 2}}),
        ),
        (
            json!({"body": "Ym9keTI", "expectedBodyVersion": 1}),
            json!({"success": true, "bodyVersion": 2}),
            json!({"body": {"value": "Ym9keTI", "version": 2}}),
        ),
        (
            json!({"header": "", "expectedHeaderVersion": 2, "body": "YjM=", "expectedBodyVersion": 2}),
            json!({"success": true, "headerVersion": 3, "bodyVersion": 3}),
            json!({"header": {"value": "", "version": 3}, "body": {"value": "YjM=", "version": 3}}),
        ),
    ] {
        assert_eq!(server.ok(&alice, "POST", &path, Some(input)).await, answer);
        seq += 1;
        let mut expected = event;
        expected["t"] = json!("update-artifact");
        expected["artifactId"] = json!(id);
        assert_eq!(one_update(&server, &alice, &UserScoped), (seq, expected));
    }
    let read = server.get(&alice, &path).await;
    assert_eq!((&read["header"], &read["body"], &read["seq"]), (&json!(""), &json!("YjM="), &json!(3)));
    let header = json!({"currentHeaderVersion": 3, "currentHeader": ""});
    let body = json!({"currentBodyVersion": 3, "currentBody": "YjM="});
    for (input, parts) in [
        (json!({"header": "AAAA", "expectedHeaderVersion": 1}), vec![&header]),
        (json!({"body": "AAAA", "expectedBodyVersion": 9}), vec![&body]),
        (
            json!({"header": "AAAA", "expectedHeaderVersion": 3, "body": "AAAA", "expectedBodyVersion": 1e15}),
            vec![&header, &body],
        ),
    ] {
        let mut expected = json!({"success": false, "error": "version-mismatch"});
        for (key, value) in parts.into_iter().flat_map(|part| part.as_object().unwrap()) {
            expected[key] = value.clone();
        }
        assert_eq!(server.ok(&alice, "POST", &path, Some(input)).await, expected);
    }
    silence(&server);
    assert_eq!(server.get(&alice, &path).await, read);
}

pub async fn refusals(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let path = format!("/v1/artifacts/{}", create(&server, &alice).await);
    for input in [
        json!({}),
        json!({"header": "AAAA"}),
        json!({"expectedHeaderVersion": 1}),
        json!({"header": "AAAA", "expectedHeaderVersion": 1, "body": "?"}),
    ] {
        refused(&server, &alice, "POST", &path, Some(input), 400, "Invalid parameters").await;
    }
    let header = |header: Json, version: i64| Some(json!({"header": header, "expectedHeaderVersion": version}));
    refused(&server, &alice, "POST", &path, header(json!("?"), 1), 400, "Invalid base64 in header").await;
    refused(&server, &bob, "POST", &path, header(json!("AAAA"), 1), 404, "Artifact not found").await;
    let unknown = format!("/v1/artifacts/{}", uuid_v4());
    refused(&server, &alice, "POST", &unknown, header(json!("AAAA"), 1), 404, "Artifact not found").await;
    let message = "body/expectedHeaderVersion Number must be greater than or equal to 0";
    invalid(&server, &alice, "POST", &path, header(json!("AAAA"), -1), message).await;
    invalid(&server, &alice, "POST", &path, header(json!(5), 1), "body/header Expected string, received number").await;
    let create =
        |id: &str, header: Json| Some(json!({"id": id, "header": header, "body": "AAAA", "dataEncryptionKey": "AAAA"}));
    let target = "/v1/artifacts";
    invalid(&server, &alice, "POST", target, create("not-a-uuid", json!("AAAA")), "body/id Invalid uuid").await;
    let both = "body/id Invalid uuid, body/header Expected string, received null";
    invalid(&server, &alice, "POST", target, create("", json!(null)), both).await;
    refused(&server, &alice, "POST", target, create(&uuid_v4(), json!("A")), 400, "Invalid base64 in header").await;
    silence(&server);
    let ghost = Account { id: "ghost".into(), ..alice.clone() };
    let token = server.ctx.tokens.issue_persistent(&ghost.id, None, happier_server::model::time::now_ms());
    let ghost = Account { token, ..ghost };
    let failed = "Failed to create artifact";
    refused(&server, &ghost, "POST", target, create(&uuid_v4(), json!("AAAA")), 500, failed).await;
    internal(&server, &ghost, "POST", "/v1/machines", Some(json!({"id": uuid_v4(), "metadata": ""}))).await;
}

pub async fn deleting(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let id = create(&server, &alice).await;
    let path = format!("/v1/artifacts/{id}");
    refused(&server, &bob, "DELETE", &path, None, 404, "Artifact not found").await;
    assert_eq!(server.ok(&alice, "DELETE", &path, None).await, json!({"success": true}));
    let event = json!({"t": "delete-artifact", "artifactId": id});
    assert_eq!(one_update(&server, &alice, &UserScoped), (2, event));
    refused(&server, &alice, "DELETE", &path, None, 404, "Artifact not found").await;
    let body = json!({"id": id, "header": "AAAA", "body": "AAAA", "dataEncryptionKey": "AAAA"});
    server.ok(&bob, "POST", "/v1/artifacts", Some(body)).await;
    assert_eq!(one_update(&server, &bob, &UserScoped).0, 1, "the id is free again");
    assert_eq!(changes(&server, &alice).await, [("artifact".to_string(), id, 2, json!(null))]);
}

pub async fn simultaneous_updates(server: Rc<Server>) {
    let alice = server.account().await;
    let id = create(&server, &alice).await;
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (server, alice, path) = (Rc::clone(&server), alice.clone(), format!("/v1/artifacts/{id}"));
            let input = json!({"header": "AAAA", "expectedHeaderVersion": 1});
            monoio::spawn(async move { server.ok(&alice, "POST", &path, Some(input)).await["success"] == true })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await);
    }
    assert_eq!(winners, 1);
    assert_eq!(one_update(&server, &alice, &UserScoped).0, 2);
}
