//! A valid request for every route, and how it is answered: as it is, with a name that nobody knows, by a stranger.

use ed25519_dalek::SigningKey;
use happier_server::crypto::random;
use protocol::base64;
use protocol::http::Method;
use serde_json::{Value as Json, json};

use super::Call;
use super::world::{World, wrapped_key};
use crate::server::login_body;

pub(super) struct Entry {
    pub method: Method,
    pub template: &'static str,
    pub call: Box<dyn Fn(&World) -> Call>,
    /// How Alice is answered.
    pub status: u16,
    /// How she is answered when the first or the second path parameter names nothing.
    pub unknown: [u16; 2],
    /// How somebody is answered who has nothing to do with her; not looked at for routes that are open.
    pub stranger: Option<u16>,
    /// Answers with 500 are part of the contract (O-37, O-38, §15.5, §15.7).
    pub may_fail: bool,
}

impl Entry {
    fn query(mut self, query: &'static str) -> Self {
        let call = self.call;
        self.call = Box::new(move |world| Call { query: query.to_string(), ..call(world) });
        self
    }

    fn body(mut self, body: impl Fn(&World) -> Json + 'static) -> Self {
        let call = self.call;
        self.call = Box::new(move |world| Call { body: Some(body(world)), ..call(world) });
        self
    }

    fn answers(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn stranger(self, status: u16) -> Self {
        Self { stranger: Some(status), ..self }
    }

    fn may_fail(self) -> Self {
        Self { may_fail: true, ..self }
    }

    fn unknown(self, unknown: u16) -> Self {
        self.unknowns(unknown, 404)
    }

    fn unknowns(self, first: u16, second: u16) -> Self {
        Self { unknown: [first, second], ..self }
    }
}

fn entry(method: Method, template: &'static str) -> Entry {
    let call = move |world: &World| {
        let params = template.split('/').filter(|segment| segment.starts_with(':') || *segment == "*");
        let params = params.map(|name| param(world, template, name)).collect();
        Call { params, query: String::new(), fields: Vec::new(), body: None }
    };
    let (status, unknown, stranger) = (200, [404; 2], None);
    Entry { method, template, call: Box::new(call), status, unknown, stranger, may_fail: false }
}

fn param(world: &World, template: &str, name: &str) -> String {
    match name {
        "*" => "a.png".to_string(),
        ":sessionId" => world.session.clone(),
        ":machineId" => world.machine.clone(),
        ":shareId" => world.share.clone(),
        ":blockedUserId" => world.block.clone(),
        ":vendor" => "openai".to_string(),
        ":key" => "key".to_string(),
        ":token" if template.starts_with("/v1/push-tokens") => "push".to_string(),
        ":token" => world.link.clone(),
        ":id" if template.starts_with("/v1/machines") => world.machine.clone(),
        ":id" if template.starts_with("/v1/artifacts") => world.artifact.clone(),
        ":id" => world.carol.id.as_str().to_string(),
        other => panic!("{template} has a parameter {other} that this test does not know"),
    }
}

fn public_key() -> String {
    base64::encode(&random::bytes::<32>())
}

fn edit() -> Json {
    json!({"ciphertext": "c", "expectedVersion": 0})
}

pub(super) fn all() -> Vec<Entry> {
    use Method::{Delete, Get, Patch, Post, Put};
    const SESSION_SHARES: &str = "/v1/sessions/:sessionId/shares";
    const SHARE: &str = "/v1/sessions/:sessionId/shares/:shareId";
    const LINK: &str = "/v1/sessions/:sessionId/public-share";
    const BLOCKS: &str = "/v1/sessions/:sessionId/public-share/blocked-users";
    const BLOCK: &str = "/v1/sessions/:sessionId/public-share/blocked-users/:blockedUserId";
    const LOGS: &str = "/v1/sessions/:sessionId/public-share/access-logs";
    const ACCESS_KEY: &str = "/v1/access-keys/:sessionId/:machineId";
    const DEBUG_LOG: &str = "/logs-combined-from-cli-and-mobile-for-simple-ai-debugging";
    let login = |_: &World| login_body(&SigningKey::from_bytes(&random::bytes()));
    let pairing = |_: &World| json!({"publicKey": public_key(), "supportsV2": true});
    let approval = |_: &World| json!({"publicKey": public_key(), "response": "r"});
    let token = |_: &World| json!({"token": "t"});
    let carol = |world: &World| json!({"uid": world.carol.id.as_str()});
    let amounts = || json!({"total": 1.5, "more": 2});
    vec![
        entry(Get, "/"),
        entry(Get, "/health"),
        entry(Get, "/openapi.json"),
        entry(Get, "/v1/features"),
        entry(Post, "/v1/version").body(|_| json!({"platform": "ios", "version": "2.0.0", "app_id": "x"})),
        entry(Post, DEBUG_LOG).body(|_| {
            json!({"timestamp": "t", "level": "info", "message": "m", "messageRawObject": 1, "source": "cli", "platform": "p"})
        }),
        entry(Get, "/files/*"),
        // Authentication
        entry(Post, "/v1/auth").body(move |world| {
            let mut body = login(world);
            // Empty ones are ignored, but there.
            body["contentPublicKey"] = json!("");
            body["contentPublicKeySig"] = json!("");
            body
        }),
        entry(Post, "/v1/auth/request").body(pairing),
        entry(Get, "/v1/auth/request/status").query("publicKey=AAAA"),
        entry(Post, "/v1/auth/response").body(approval).answers(404).stranger(404),
        entry(Post, "/v1/auth/account/request").body(|_| json!({"publicKey": public_key()})),
        entry(Post, "/v1/auth/account/response").body(approval).answers(404).stranger(404),
        // Account and changes
        entry(Get, "/v1/account/profile").stranger(200),
        entry(Get, "/v1/account/settings").stranger(200),
        entry(Post, "/v1/account/settings").body(|_| json!({"settings": "s", "expectedVersion": 0})).stranger(200),
        entry(Get, "/v2/cursor").stranger(200),
        entry(Get, "/v2/changes").query("after=1&limit=2").stranger(410),
        // Sessions and messages
        entry(Get, "/v1/sessions").stranger(200),
        entry(Get, "/v2/sessions/active").query("limit=1").stranger(200),
        entry(Get, "/v2/sessions").query("limit=1").stranger(200),
        entry(Get, "/v2/sessions/:sessionId").stranger(404),
        entry(Post, "/v1/sessions")
            .body(|_| json!({"tag": "tag", "metadata": "m", "agentState": "a", "dataEncryptionKey": "a2V5"}))
            .stranger(200),
        entry(Delete, "/v1/sessions/:sessionId").stranger(404),
        entry(Patch, "/v2/sessions/:sessionId")
            .body(|_| json!({"metadata": edit(), "agentState": edit()}))
            .stranger(403),
        entry(Get, "/v1/sessions/:sessionId/messages").query("limit=1&afterSeq=0").stranger(404),
        entry(Post, "/v2/sessions/:sessionId/messages")
            .body(|_| json!({"ciphertext": "c", "localId": "l"}))
            .stranger(403),
        // Machines and access keys
        entry(Post, "/v1/machines")
            .body(|world| {
                json!({"id": world.machine, "metadata": "m", "daemonState": "d", "dataEncryptionKey": "a2V5"})
            })
            .stranger(409),
        entry(Get, "/v1/machines").stranger(200),
        entry(Get, "/v1/machines/:id").stranger(404),
        entry(Get, ACCESS_KEY).stranger(404),
        entry(Post, ACCESS_KEY).body(|_| json!({"data": "d"})).answers(409).stranger(404),
        entry(Put, ACCESS_KEY).body(|_| json!({"data": "d", "expectedVersion": 1})).stranger(404),
        // Artifacts, key-value store, push tokens, usage
        entry(Get, "/v1/artifacts").stranger(200),
        entry(Get, "/v1/artifacts/:id").stranger(404),
        entry(Post, "/v1/artifacts")
            .body(|world| json!({"id": world.artifact, "header": "aA==", "body": "aA==", "dataEncryptionKey": "aA=="}))
            .stranger(409),
        entry(Post, "/v1/artifacts/:id")
            .body(|_| json!({"header": "aA==", "expectedHeaderVersion": 1, "body": "aA==", "expectedBodyVersion": 1}))
            .stranger(404),
        entry(Delete, "/v1/artifacts/:id").stranger(404),
        entry(Get, "/v1/kv/:key").stranger(404),
        entry(Get, "/v1/kv").query("prefix=k&limit=1").stranger(200),
        entry(Post, "/v1/kv/bulk").body(|_| json!({"keys": ["key"]})).stranger(200),
        entry(Post, "/v1/kv")
            .body(|_| json!({"mutations": [{"key": "key", "value": "aA==", "version": 5}]}))
            .answers(409)
            .stranger(409),
        entry(Post, "/v1/push-tokens").body(token).stranger(200),
        entry(Get, "/v1/push-tokens").stranger(200),
        entry(Delete, "/v1/push-tokens/:token").unknown(200).stranger(200),
        entry(Post, "/v2/usage-reports")
            .body(move |world| {
                json!({"key": "k", "sessionId": world.session, "tokens": amounts(), "cost": amounts()})
            })
            .stranger(404),
        entry(Post, "/v1/usage/query")
            .body(|world| json!({"sessionId": world.session, "startTime": 1, "endTime": 2, "groupBy": "hour"}))
            .stranger(404),
        // Other services, as far as they answer without being set up.
        entry(Get, "/v1/connect/github/params").answers(400).stranger(400),
        entry(Get, "/v1/connect/github/callback").query("code=c&state=s").answers(302),
        entry(Delete, "/v1/connect/github").stranger(200),
        Entry {
            call: Box::new(|_| Call {
                params: Vec::new(),
                query: String::new(),
                fields: vec![("x-hub-signature-256", "sha256=00".to_string()), ("x-github-event", "push".to_string())],
                body: Some(json!({})),
            }),
            ..entry(Post, "/v1/connect/github/webhook").answers(500).may_fail()
        },
        entry(Post, "/v1/connect/:vendor/register").body(token).unknown(400).stranger(200),
        entry(Get, "/v1/connect/:vendor/token").unknown(400).stranger(200),
        entry(Delete, "/v1/connect/:vendor").unknown(400).stranger(404),
        entry(Get, "/v1/connect/tokens").stranger(200),
        // Asks another service, which is out of reach.
        entry(Post, "/v1/voice/token").may_fail().body(|_| json!({"agentId": "a", "revenueCatPublicKey": ""})).answers(400).stranger(400),
        // Users, friends, feed
        entry(Get, "/v1/user/:id").stranger(200),
        entry(Get, "/v1/user/search").query("query=a").stranger(200),
        entry(Post, "/v1/friends/add").body(carol).stranger(200),
        entry(Post, "/v1/friends/remove").body(carol).stranger(200),
        entry(Get, "/v1/friends").stranger(200),
        entry(Get, "/v1/feed").query("limit=1").stranger(200),
        // Sharing
        entry(Get, SESSION_SHARES).unknown(403).stranger(403),
        entry(Post, SESSION_SHARES)
            .body(|world| {
                json!({
                    "userId": world.carol.id.as_str(), "accessLevel": "view", "canApprovePermissions": false,
                    "encryptedDataKey": wrapped_key(),
                })
            })
            .stranger(403),
        entry(Patch, SHARE).body(|_| json!({"accessLevel": "edit", "canApprovePermissions": true})).unknown(403).stranger(403),
        entry(Delete, SHARE).unknown(403).stranger(403),
        entry(Post, LINK)
            .body(|_| json!({"token": public_key(), "encryptedDataKey": "a2V5", "expiresAt": 0, "maxUses": 1, "isConsentRequired": true}))
            .unknown(403)
            .stranger(403),
        entry(Get, LINK).unknown(403).stranger(403),
        entry(Delete, LINK).unknown(403).stranger(403),
        entry(Get, BLOCKS).unknown(403).stranger(403),
        entry(Post, BLOCKS)
.may_fail()
            .body(|world| json!({"userId": world.alice.id.as_str(), "reason": "r"}))
            .unknown(403)
            .stranger(403),
        // O-38: an unknown block is answered with a G500.
        entry(Delete, BLOCK)
.may_fail().unknowns(403, 500).stranger(403),
        entry(Get, LOGS).query("limit=1").unknown(403).stranger(403),
        entry(Get, "/v1/public-share/:token").query("consent=true").stranger(200),
        entry(Get, "/v1/public-share/:token/messages").query("consent=true").stranger(200),
    ]
}
