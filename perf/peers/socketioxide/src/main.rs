//! A peer to compare with: the same rooms and events as the product, over socketioxide, on one thread.
//!
//! It answers what `happier-loadtest` asks in the scenarios `idle`, `echo`, `connect` and `presence`: any login is good and its
//! public key becomes the token, a session is its tag, nothing is stored. So it has less to do than the product.

use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::Json;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handshake {
    token: String,
    client_type: String,
}

#[derive(Deserialize)]
struct Alive {
    sid: String,
    time: u64,
    thinking: bool,
}

/// In the order in which the product writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Activity {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    active: bool,
    active_at: u64,
    thinking: bool,
}

async fn connected(socket: SocketRef, Data(handshake): Data<Handshake>) {
    let room = handshake.token;
    if handshake.client_type == "user-scoped" {
        socket.join(room.clone());
    }
    socket.on("ping", async |ack: AckSender| drop(ack.send(&json!({}))));
    socket.on("session-alive", async move |socket: SocketRef, Data(alive): Data<Alive>| {
        let Alive { sid, time, thinking } = alive;
        let activity = Activity { kind: "activity", id: sid, active: true, active_at: time, thinking };
        let _ = socket.to(room.clone()).emit("ephemeral", &activity).await;
    });
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    // The heartbeat of the product.
    let (layer, io) = SocketIo::builder()
        .req_path("/v1/updates")
        .ping_interval(std::time::Duration::from_secs(15))
        .ping_timeout(std::time::Duration::from_secs(45))
        .build_layer();
    io.ns("/", connected);
    let login = async |Json(body): Json<Value>| Json(json!({ "success": true, "token": body["publicKey"] }));
    let session = async |Json(body): Json<Value>| Json(json!({ "session": { "id": body["tag"], "seq": 0 } }));
    let app = Router::new()
        .route("/health", get(async || Json(json!({ "status": "ok" }))))
        .route("/v1/auth", post(login))
        .route("/v1/sessions", post(session))
        .layer(layer);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on {}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app).await?;
    Ok(())
}
