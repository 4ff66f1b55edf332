//! What the routes are about: an account with one of everything, and a friend of it.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use protocol::base64;
use serde_json::{Value as Json, json};

use crate::server::{Account, Server, text};

thread_local! {
    static PEERS: Cell<u32> = const { Cell::new(0xc612_0000) };
}

/// Wrapped keys have at least this length and begin with zero.
const WRAPPED_KEY_BYTES: usize = 73;

pub(super) struct World {
    pub server: Rc<Server>,
    pub alice: Account,
    /// A friend of Alice, with whom she shares her session.
    pub carol: Account,
    pub session: String,
    pub machine: String,
    pub artifact: String,
    pub share: String,
    pub link: String,
    pub block: String,
}

pub(super) fn wrapped_key() -> String {
    base64::encode(&[0; WRAPPED_KEY_BYTES])
}

impl World {
    /// Only accounts.
    pub(super) async fn empty(server: Rc<Server>) -> Self {
        let (alice, carol) = (server.account().await, server.account().await);
        let none = String::new;
        let (session, machine, artifact, share, link, block) = (none(), none(), none(), none(), none(), none());
        Self { server, alice, carol, session, machine, artifact, share, link, block }
    }

    pub(super) async fn new(server: Rc<Server>) -> Self {
        let mut world = Self::empty(server).await;
        let unique = world.alice.id.as_str().to_string();
        world.session = world.server.session(&world.alice, "tag").await;
        world.machine = format!("machine-{unique}");
        world.artifact = artifact_id(&unique);
        world.link = format!("link-{unique}");
        let session = world.session.clone();
        world.post("/v1/machines", json!({"id": world.machine, "metadata": "m"})).await;
        let artifact =
            json!({"id": world.artifact, "header": "aGVhZA==", "body": "Ym9keQ==", "dataEncryptionKey": "a2V5"});
        world.post("/v1/artifacts", artifact).await;
        world.post("/v1/kv", json!({"mutations": [{"key": "key", "value": "dmFsdWU=", "version": -1}]})).await;
        world.post("/v1/push-tokens", json!({"token": "push"})).await;
        world.post("/v1/connect/openai/register", json!({"token": "sk"})).await;
        let place = format!("/v1/access-keys/{session}/{}", world.machine);
        world.post(&place, json!({"data": "d"})).await;
        let (alice, carol) = (world.alice.clone(), world.carol.clone());
        for (who, whom) in [(&alice, &carol), (&carol, &alice)] {
            world.server.ok(who, "POST", "/v1/friends/add", Some(json!({"uid": whom.id.as_str()}))).await;
        }
        let share = json!({
            "userId": world.carol.id.as_str(), "accessLevel": "edit", "encryptedDataKey": wrapped_key(),
        });
        world.share = text(&world.post(&format!("/v1/sessions/{session}/shares"), share).await["share"]["id"]);
        let link = json!({"token": world.link, "encryptedDataKey": "a2V5"});
        let public = format!("/v1/sessions/{session}/public-share");
        world.post(&public, link).await;
        let blocked = world.post(&format!("{public}/blocked-users"), json!({"userId": world.carol.id.as_str()})).await;
        world.block = text(&blocked["blockedUser"]["id"]);
        world.server.updates();
        world
    }

    async fn post(&self, target: &str, body: Json) -> Json {
        self.next_peer();
        self.server.ok(&self.alice, "POST", target, Some(body)).await
    }

    /// An address that nobody has called from.
    pub(super) fn fresh_peer(&self) -> IpAddr {
        PEERS.set(PEERS.get() + 1);
        IpAddr::V4(Ipv4Addr::from_bits(PEERS.get()))
    }

    pub(super) fn next_peer(&self) {
        self.server.peer.set(self.fresh_peer());
    }
}

/// A UUID made of an account's id, so that no two worlds share it.
fn artifact_id(unique: &str) -> String {
    let digits: String = unique.bytes().rev().map(|byte| format!("{:02x}", byte)).collect::<String>() + &"0".repeat(32);
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..32])
}
