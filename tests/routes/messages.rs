//! Messages of a session.

use std::rc::Rc;

use happier_server::domain::messages as domain;
use happier_server::model::ids::{SessionId, SocketId};
use happier_server::realtime::event::{Audience, Event};
use serde_json::{Value as Json, json};

use crate::server::{Account, Answer, Server, body, text};

async fn post(server: &Server, account: &Account, session: &str, body: Json) -> Answer {
    server.call(account, "POST", &format!("/v2/sessions/{session}/messages"), Some(body)).await
}

pub(crate) async fn numbering_and_local_ids(server: Rc<Server>) {
    let alice = server.account().await;
    let session = server.session(&alice, "session").await;
    let first = post(&server, &alice, &session, json!({"ciphertext": "first"})).await;
    let message = &first.body["message"];
    assert_eq!((first.status, &message["seq"], &message["localId"]), (200, &json!(1), &json!(null)));
    let events = server.updates();
    assert_eq!((events.len(), events[0].seq, events[0].skip), (1, 2, None));
    assert_eq!(events[0].audience, Audience::Session(SessionId::from(session.as_str())));
    let created = &message["createdAt"];
    let expected = json!({"t": "new-message", "sid": session, "id": session, "message": {"id": message["id"], "seq": 1,
        "content": {"t": "encrypted", "c": "first"}, "localId": null, "createdAt": created, "updatedAt": created}});
    assert_eq!(body(&events[0]), expected);

    let second = post(&server, &alice, &session, json!({"ciphertext": "second \"\u{1}ü", "localId": "l"})).await;
    let repeated = post(&server, &alice, &session, json!({"ciphertext": "other", "localId": "l"})).await;
    assert_eq!((second.status, &second.body), (200, &repeated.body));
    assert_eq!(server.updates().len(), 1);
    let head = |local_id: &str, body: &str| {
        format!(
            "POST /v2/sessions/{session}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Idempotency-Key: {local_id}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            alice.token,
            body.len()
        )
    };
    let plain = r#"{"ciphertext":"third"}"#;
    let third = server.raw(head("h", plain), plain.as_bytes()).await;
    assert_eq!(third.body["message"]["localId"], "h");
    assert_eq!(server.raw(head("h", plain), plain.as_bytes()).await.body, third.body);
    let both = r#"{"ciphertext":"fourth","localId":"b"}"#;
    assert_eq!(server.raw(head("h", both), both.as_bytes()).await.body["message"]["localId"], "b");
    for _ in 0..2 {
        let empty = post(&server, &alice, &session, json!({"ciphertext": "no local id", "localId": ""})).await;
        assert_eq!(empty.status, 200, "O-18: {}", empty.body);
    }
    let list = server.get(&alice, &format!("/v1/sessions/{session}/messages?afterSeq=0")).await;
    let contents: Vec<String> =
        list["messages"].as_array().unwrap().iter().map(|message| text(&message["content"]["c"])).collect();
    assert_eq!(contents, ["first", "second \"\u{1}ü", "third", "fourth", "no local id", "no local id"]);
    assert_eq!(list["messages"][0]["id"], message["id"]);
    let item = server.get(&alice, &format!("/v2/sessions/{session}")).await;
    assert_eq!(item["session"]["seq"], 6);
    let changes = server.get(&alice, "/v2/changes?after=6").await;
    assert_eq!(changes["changes"][0]["hint"]["lastMessageSeq"], 6);
    // Bytes outside ASCII, as browsers and proxies send them: no two keys become one.
    let mut accented = Vec::new();
    for key in ["k-\u{e9}", "k-\u{e8}"] {
        let head: Vec<u8> = head(key, plain).chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let answer = server.raw(head, plain.as_bytes()).await;
        assert_eq!((answer.status, &answer.body["message"]["localId"]), (200, &json!(key)));
        accented.push(text(&answer.body["message"]["id"]));
    }
    assert_ne!(accented[0], accented[1]);
}

pub(crate) async fn refusals(server: Rc<Server>) {
    let (alice, viewer, stranger) = (server.account().await, server.account().await, server.account().await);
    let session = server.session(&alice, "session").await;
    server.share(&session, &alice, &viewer, "view").await;
    let message = || json!({"ciphertext": "x"});
    for (account, session, request, status, error) in [
        (&alice, session.as_str(), json!({"ciphertext": ""}), 400, "Invalid parameters"),
        (&alice, "", message(), 400, "Invalid parameters"),
        (&alice, "nothing-like-this", message(), 404, "Session not found"),
        (&viewer, &session, message(), 403, "Forbidden"),
        (&stranger, &session, message(), 403, "Forbidden"),
        (&alice, &session, json!({"ciphertext": "\u{0}"}), 500, "Failed to create message"),
    ] {
        let answer = post(&server, account, session, request).await;
        assert_eq!((answer.status, answer.body), (status, json!({"error": error})));
    }
    let answer = post(&server, &alice, &session, json!({"ciphertext": 5})).await;
    assert_eq!(
        (answer.status, &answer.body["message"]),
        (400, &json!("body/ciphertext Expected string, received number"))
    );
    assert!(server.updates().is_empty());
    assert_eq!(post(&server, &alice, &session, message()).await.body["message"]["seq"], 1, "no gap");
    let target = format!("/v1/sessions/{session}/messages");
    assert_eq!(server.get(&viewer, &target).await["messages"].as_array().unwrap().len(), 1);
    let answer = server.call(&stranger, "GET", &target, None).await;
    assert_eq!((answer.status, answer.body), (404, json!({"error": "Session not found"})));
    server.updates();
}

pub(crate) async fn pages(server: Rc<Server>) {
    let alice = server.account().await;
    let session = server.session(&alice, "session").await;
    for n in 1..=12 {
        post(&server, &alice, &session, json!({"ciphertext": format!("text {n}")})).await;
    }
    let page = async |query: &str| {
        let page = server.get(&alice, &format!("/v1/sessions/{session}/messages{query}")).await;
        let seqs: Vec<i64> =
            page["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_i64().unwrap()).collect();
        (seqs, page["hasMore"] == true, page["nextBeforeSeq"].as_i64(), page["nextAfterSeq"].as_i64())
    };
    let down = |from: i64, to: i64| (to..=from).rev().collect::<Vec<_>>();
    assert_eq!(page("").await, (down(12, 1), false, None, None));
    assert_eq!(page("?limit=5").await, (down(12, 8), true, Some(8), None));
    assert_eq!(page("?limit=5&beforeSeq=3").await, (down(2, 1), false, None, None));
    assert_eq!(page("?limit=12").await, (down(12, 1), false, None, None));
    assert_eq!(page("?beforeSeq=1").await, (vec![], false, None, None));
    assert_eq!(page("?afterSeq=0&limit=5").await, (vec![1, 2, 3, 4, 5], true, None, Some(5)));
    assert_eq!(page("?afterSeq=1e1").await, (vec![11, 12], false, None, None));
    assert_eq!(page("?afterSeq=2147483647").await, (vec![], false, None, None));
    let exclusive = "querystring/ beforeSeq and afterSeq are mutually exclusive";
    for (query, message) in [
        ("afterSeq=1&beforeSeq=5", exclusive.to_string()),
        ("limit=0", "querystring/limit Number must be greater than or equal to 1".to_string()),
        (
            "limit=0&beforeSeq=2&afterSeq=1",
            format!("querystring/limit Number must be greater than or equal to 1, {exclusive}"),
        ),
        ("afterSeq=2147483648", "querystring/afterSeq Number must be less than or equal to 2147483647".to_string()),
    ] {
        let answer = server.call(&alice, "GET", &format!("/v1/sessions/{session}/messages?{query}"), None).await;
        assert_eq!((answer.status, &answer.body["message"]), (400, &json!(message)));
    }
    server.updates();
}

pub(crate) async fn participants(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let session = server.session(&alice, "session").await;
    server.share(&session, &alice, &bob, "edit").await;
    let (socket, id) = (SocketId::random(), SessionId::from(session.as_str()));
    let sent = domain::send(&server.ctx, &bob.id, &id, "hello".to_string(), None, Some(socket)).await.unwrap();
    assert!(server.updates().is_empty(), "the events are the caller's to publish");
    let told: Vec<_> = sent
        .events
        .iter()
        .map(|event| match event {
            Event::Update(update) => (update.account.clone(), update.seq, update.skip),
            other => panic!("an update, not {other:?}"),
        })
        .collect();
    assert_eq!(told.len(), 2);
    assert!(told.contains(&(alice.id.clone(), 2, None)) && told.contains(&(bob.id.clone(), 1, Some(socket))));
}

pub(crate) async fn twenty_writers(server: Rc<Server>) {
    let alice = server.account().await;
    let session = server.session(&alice, "session").await;
    let tasks: Vec<_> = (0..20)
        .map(|writer| {
            let (server, alice, session) = (Rc::clone(&server), alice.clone(), session.clone());
            monoio::spawn(async move {
                let mut seqs = Vec::new();
                for n in 0..10 {
                    let request = json!({"ciphertext": "x", "localId": format!("{writer}-{n}")});
                    let answer = post(&server, &alice, &session, request).await;
                    assert_eq!(answer.status, 200, "O-19: {}", answer.body);
                    seqs.push(answer.body["message"]["seq"].as_i64().unwrap());
                }
                seqs
            })
        })
        .collect();
    let mut seqs = Vec::new();
    for task in tasks {
        seqs.extend(task.await);
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
    let mut cursors: Vec<i64> = server.updates().iter().map(|event| event.seq).collect();
    cursors.sort_unstable();
    assert_eq!(cursors, (2..=201).collect::<Vec<_>>());
}
