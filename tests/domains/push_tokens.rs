//! Push tokens.

use std::rc::Rc;

use serde_json::json;

use crate::server::Server;
use crate::tell::{invalid, silence};

pub async fn tokens(server: Rc<Server>) {
    let (alice, bob) = (server.account().await, server.account().await);
    let register = async |who, token: &str| {
        let body = json!({ "token": token });
        assert_eq!(server.ok(who, "POST", "/v1/push-tokens", Some(body)).await, json!({"success": true}));
    };
    let list = async |who| server.get(who, "/v1/push-tokens").await["tokens"].as_array().unwrap().clone();
    assert!(list(&alice).await.is_empty());
    register(&alice, "Token[one]").await;
    let first = list(&alice).await.remove(0);
    assert_eq!((&first["token"], &first["createdAt"]), (&json!("Token[one]"), &first["updatedAt"]));
    register(&alice, "Token[two]").await;
    register(&alice, "Token[one]").await;
    let both = list(&alice).await;
    let touched = both.iter().find(|token| token["token"] == "Token[one]").unwrap();
    assert_eq!((both.len(), &touched["id"], &touched["createdAt"]), (2, &first["id"], &first["createdAt"]));
    assert!(touched["updatedAt"].as_i64() >= first["updatedAt"].as_i64());
    register(&bob, "Token[one]").await;
    register(&bob, "").await;
    let forget = async |who, target: &str| {
        assert_eq!(server.ok(who, "DELETE", target, None).await, json!({"success": true}));
    };
    for target in ["/v1/push-tokens/Token%5Bone%5D", "/v1/push-tokens/Token%5Bone%5D", "/v1/push-tokens/unknown"] {
        forget(&alice, target).await;
    }
    forget(&bob, "/v1/push-tokens/").await;
    assert_eq!((list(&alice).await.len(), list(&bob).await.len()), (1, 1));
    let long = "x".repeat(101);
    register(&alice, &long).await;
    assert_eq!(server.call(&alice, "DELETE", &format!("/v1/push-tokens/{long}"), None).await.status, 404);
    let message = "body/token Expected string, received number";
    invalid(&server, &alice, "POST", "/v1/push-tokens", Some(json!({"token": 5})), message).await;
    silence(&server);
}
