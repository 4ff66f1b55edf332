//! Machines.

use std::rc::Rc;

use happier_server::domain::machines::{Part, Updated, update};
use happier_server::model::ids::MachineId;
use happier_server::realtime::event::Audience;
use serde_json::json;

use crate::server::Server;
use crate::tell::{changes, fresh, invalid, one_update, refused, silence, take_now, updates};

pub async fn registering(server: Rc<Server>) {
    let alice = server.account().await;
    assert_eq!(server.get(&alice, "/v1/machines").await, json!([]));
    for (n, (input, state, state_version, key)) in [
        (json!({"metadata": "least"}), json!(null), 0, json!(null)),
        (json!({"metadata": "all", "daemonState": "on", "dataEncryptionKey": "AAEC"}), json!("on"), 1, json!("AAEC")),
        (json!({"metadata": "", "daemonState": "", "dataEncryptionKey": null}), json!(null), 0, json!(null)),
        (json!({"metadata": "loose", "dataEncryptionKey": "AA-_!"}), json!(null), 0, json!("AA+/")),
    ]
    .into_iter()
    .enumerate()
    {
        let id = fresh("machine");
        let mut input = input;
        input["id"] = json!(id);
        let mut body = server.ok(&alice, "POST", "/v1/machines", Some(input.clone())).await;
        let stored = body["machine"].clone();
        let machine = &mut body["machine"];
        let at = take_now(machine, "createdAt");
        assert_eq!((take_now(machine, "updatedAt"), take_now(machine, "activeAt")), (at, at));
        let mut expected = json!({
            "id": id, "metadata": input["metadata"], "metadataVersion": 1, "daemonState": state,
            "daemonStateVersion": state_version, "dataEncryptionKey": key, "active": false, "activeAt": null,
            "createdAt": null, "updatedAt": null,
        });
        assert_eq!(*machine, expected);

        let told = updates(&server);
        let seq = i64::try_from(n).unwrap() + 1;
        assert_eq!(told.len(), 2);
        let (account, cursor, audience, event) = &told[0];
        assert_eq!((account.as_str(), *cursor, audience), (alice.id.as_str(), seq, &Audience::UserScoped));
        expected["t"] = json!("new-machine");
        expected["machineId"] = expected.as_object_mut().unwrap().remove("id").unwrap();
        expected["seq"] = json!(0);
        for time in ["activeAt", "createdAt", "updatedAt"] {
            expected[time] = json!(at);
        }
        assert_eq!(*event, expected);
        let (_, cursor, audience, event) = &told[1];
        assert_eq!((*cursor, audience), (seq, &Audience::Machine(MachineId::from(id.as_str()))));
        let metadata = json!({"value": input["metadata"], "version": 1});
        assert_eq!(*event, json!({"t": "update-machine", "machineId": id, "metadata": metadata}));

        input["metadata"] = json!("changed");
        assert_eq!(server.ok(&alice, "POST", "/v1/machines", Some(input)).await["machine"], stored, "found again");
        silence(&server);
        let mut read = server.get(&alice, &format!("/v1/machines/{}", id.replace(' ', "%20"))).await;
        assert_eq!(read["machine"]["seq"].take(), 0);
        read["machine"].as_object_mut().unwrap().remove("seq");
        assert_eq!(read["machine"], stored);
    }
    let list = server.get(&alice, "/v1/machines").await;
    let times: Vec<i64> =
        list.as_array().unwrap().iter().map(|machine| machine["activeAt"].as_i64().unwrap()).collect();
    assert!(times.len() == 4 && times.is_sorted_by(|a, b| a >= b), "{times:?}");
    let log = changes(&server, &alice).await;
    assert!(log.len() == 4 && log.iter().all(|(kind, .., hint)| kind == "machine" && hint.is_null()), "{log:?}");
}

pub async fn foreign_ids(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let id = fresh("machine").replace(' ', "-");
    server.ok(&alice, "POST", "/v1/machines", Some(json!({"id": id, "metadata": "of alice"}))).await;
    server.events();
    let target = format!("/v1/machines/{id}");
    let body = json!({"id": id, "metadata": "mine"});
    let taken = "Machine with this ID already exists for another account";
    refused(&server, &bob, "POST", "/v1/machines", Some(body), 409, taken).await;
    refused(&server, &bob, "GET", &target, None, 404, "Machine not found").await;
    refused(&server, &alice, "GET", "/v1/machines/", None, 404, "Machine not found").await;
    assert_eq!(server.get(&bob, "/v1/machines").await, json!([]));
    invalid(&server, &alice, "POST", "/v1/machines", Some(json!({})), "body/id Required, body/metadata Required").await;
    let wrong = json!({"id": 5, "metadata": null, "daemonState": null, "dataEncryptionKey": 1});
    let message = "body/id Expected string, received number, body/metadata Expected string, received null, \
                   body/daemonState Expected string, received null, \
                   body/dataEncryptionKey Expected string, received number";
    invalid(&server, &alice, "POST", "/v1/machines", Some(wrong), message).await;
    silence(&server);
}

pub async fn versioned_texts(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let id = fresh("machine").replace(' ', "-");
    server.ok(&alice, "POST", "/v1/machines", Some(json!({"id": id, "metadata": "first"}))).await;
    server.events();
    let machine = MachineId::from(id.as_str());
    let audience = Audience::Machine(machine.clone());
    let write = async |account: &crate::server::Account, part, value: &str, expected| {
        update(&server.ctx, &account.id, &machine, part, value.into(), expected).await.unwrap()
    };
    assert_eq!(write(&alice, Part::Metadata, "second", 1).await, Updated::Done { version: 2 });
    let expected = json!({"t": "update-machine", "machineId": id, "metadata": {"value": "second", "version": 2}});
    assert_eq!(one_update(&server, &alice, &audience), (2, expected));
    for stale in [1, 3, -1, i64::MAX] {
        let stored = Updated::Mismatch { version: 2, value: Some("second".to_string()) };
        assert_eq!(write(&alice, Part::Metadata, "late", stale).await, stored);
    }
    assert_eq!(write(&alice, Part::DaemonState, "x", 1).await, Updated::Mismatch { version: 0, value: None });
    assert_eq!(write(&bob, Part::Metadata, "mine", 2).await, Updated::NotFound);
    silence(&server);
    assert_eq!(write(&alice, Part::DaemonState, "", 0).await, Updated::Done { version: 1 });
    let expected = json!({"t": "update-machine", "machineId": id, "daemonState": {"value": "", "version": 1}});
    assert_eq!(one_update(&server, &alice, &audience), (3, expected));
    let read = server.get(&alice, &format!("/v1/machines/{id}")).await;
    assert_eq!((&read["machine"]["active"], &read["machine"]["daemonState"]), (&json!(true), &json!("")));
    assert!(update(&server.ctx, &alice.id, &machine, Part::Metadata, "\0".into(), 2).await.is_err());
    assert_eq!(changes(&server, &alice).await, [("machine".to_string(), id, 3, json!(null))]);
}
