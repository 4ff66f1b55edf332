//! The HTTP API over a real database, without sockets: requests are parsed heads, answers are values.

#[path = "../support/services.rs"]
pub mod services;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use happier_server::api::limits::RateLimits;
use happier_server::api::response::Response;
use happier_server::api::ui::Ui;
use happier_server::api::{Api, Extras, Limits};
use happier_server::crypto::random;
use happier_server::crypto::seal::ColumnKeys;
use happier_server::crypto::token::{TokenCache, Tokens};
use happier_server::domain::{Context, FileUrls, Flavor, Github, Settings, Voice};
use happier_server::model::ids::AccountId;
use happier_server::observe::metrics::CoreMetrics;
use happier_server::realtime::event::{Event, Publish, Update};
use happier_server::storage::objects::local::Directory;
use happier_server::storage::objects::{Files, Store};
use happier_server::storage::{Db, Statement, Value};
use protocol::base64;
use protocol::http::Limits as HeadLimits;
use protocol::http::head::{HeadParser, RequestHead};
use serde_json::{Value as Json, json};

const SECRET: &str = "a master secret of the tests";

/// Keeps what is published.
#[derive(Default)]
pub struct Recorder {
    events: RefCell<Vec<Event>>,
    /// Every cursor that has been accounted for.
    cursors: RefCell<HashMap<AccountId, BTreeSet<i64>>>,
}

impl Publish for Recorder {
    fn publish(&self, event: Event) {
        let seq = match &event {
            Event::Update(update) => Some(update.seq),
            Event::Pair(pair) => Some(pair[0].seq),
            Event::Silent { seq, .. } => Some(*seq),
            Event::Withdrawn { .. } | Event::Ephemeral(_) => None,
        };
        if let Some(seq) = seq {
            self.cursors.borrow_mut().entry(event.account().clone()).or_default().insert(seq);
        }
        if !matches!(event, Event::Silent { .. }) {
            self.events.borrow_mut().push(event);
        }
    }
}

/// One core's API on a database.
pub(crate) struct Server {
    pub ctx: Rc<Context>,
    pub(crate) api: Rc<Api>,
    events: Rc<Recorder>,
    /// Where requests come from; limits count per address.
    pub peer: Cell<IpAddr>,
}

/// An account that is logged in.
#[derive(Clone)]
pub(crate) struct Account {
    pub id: AccountId,
    pub token: String,
    pub key: SigningKey,
}

/// An answer as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: Json,
    pub response: Response,
}

impl Server {
    pub(crate) fn new(db: Db, tokens: &Tokens) -> Self {
        Self::with_pairing_ttl(db, tokens, 86_400_000)
    }

    #[allow(dead_code, reason = "the tests of the domains, which share this file, know no web UI")]
    pub(crate) fn with_ui(db: Db, tokens: &Tokens, ui: Ui) -> Self {
        Self::with(db, tokens, 86_400_000, None, Some(ui))
    }

    /// With public files in a directory.
    #[allow(dead_code, reason = "the tests of the domains, which share this file, have their own")]
    pub(crate) fn with_files(db: Db, tokens: &Tokens, directory: &Path) -> Self {
        let store = Store::Directory(Arc::new(Directory::open(directory).expect("a directory")));
        Self::with(db, tokens, 86_400_000, Some(Files::new(store, services::workers())), None)
    }

    pub(crate) fn with_pairing_ttl(db: Db, tokens: &Tokens, pairing_ttl_ms: i64) -> Self {
        Self::with(db, tokens, pairing_ttl_ms, None, None)
    }

    fn with(db: Db, tokens: &Tokens, pairing_ttl_ms: i64, files: Option<Files>, ui: Option<Ui>) -> Self {
        let events = Rc::new(Recorder::default());
        let settings = Settings {
            flavor: Flavor::Light,
            files: FileUrls::Local("http://files.example".to_string()),
            pairing_ttl_ms,
            column_keys: ColumnKeys::new(SECRET),
            github: Github::default(),
            voice: Voice::default(),
        };
        let ctx = Rc::new(Context {
            db,
            events: Rc::clone(&events) as Rc<dyn Publish>,
            tokens: Rc::new(tokens.clone()),
            metrics: Arc::new(CoreMetrics::default()),
            settings: Arc::new(settings),
            files,
            vendors: services::at("http://127.0.0.1:9"),
            image_workers: services::workers(),
        });
        let rates = Some(Arc::new(RateLimits::new(Vec::new())));
        let limits = Limits { body_bytes_max: 104_857_600, rates };
        let api = Api::new(
            Rc::clone(&ctx),
            Rc::new(RefCell::new(TokenCache::default())),
            limits,
            Extras { ui, debug_log: true },
        );
        Self { ctx, api, events, peer: Cell::new(IpAddr::V4(Ipv4Addr::LOCALHOST)) }
    }

    /// Deriving a key takes a while; once per test run is enough.
    pub(crate) fn tokens() -> Tokens {
        Tokens::derive(SECRET)
    }

    /// Sends a request as it is written.
    pub(crate) async fn raw(&self, head: impl AsRef<[u8]>, body: &[u8]) -> Answer {
        let response = self.api.handle(parse(head.as_ref()), body.to_vec(), self.peer.get()).await;
        let body = match response.content_type {
            Some(kind) if kind.starts_with("application/json") => {
                serde_json::from_slice(&response.body).expect("a JSON answer")
            }
            _ => Json::String(String::from_utf8(response.body.clone()).expect("a text")),
        };
        Answer { status: response.status, body, response }
    }

    /// Sends a request with a JSON body, or without any.
    pub(crate) async fn send(
        &self,
        authorization: Option<&str>,
        method: &str,
        target: &str,
        body: Option<Json>,
    ) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n");
        if let Some(authorization) = authorization {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        let bytes = body.map(|body| body.to_string()).unwrap_or_default();
        if !bytes.is_empty() {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", bytes.len()));
        }
        head.push_str("\r\n");
        let answer = self.raw(&head, bytes.as_bytes()).await;
        assert_eq!(answer.response.header("Access-Control-Allow-Origin"), Some("*"), "{method} {target}");
        answer
    }

    pub(crate) async fn call(&self, account: &Account, method: &str, target: &str, body: Option<Json>) -> Answer {
        self.send(Some(&format!("Bearer {}", account.token)), method, target, body).await
    }

    /// A call that has to succeed.
    pub(crate) async fn ok(&self, account: &Account, method: &str, target: &str, body: Option<Json>) -> Json {
        let answer = self.call(account, method, target, body).await;
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.body);
        answer.body
    }

    pub(crate) async fn get(&self, account: &Account, target: &str) -> Json {
        self.ok(account, "GET", target, None).await
    }

    pub(crate) async fn account(&self) -> Account {
        let key = SigningKey::from_bytes(&random::bytes());
        let answer = self.send(None, "POST", "/v1/auth", Some(login_body(&key))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let token = text(&answer.body["token"]);
        let id = self.ctx.tokens.verify_persistent(&token, happier_server::model::time::now_ms());
        Account { id: id.expect("a token of this server"), token, key }
    }

    /// Creates a session and forgets the event of it. Returns its id.
    pub(crate) async fn session(&self, account: &Account, tag: &str) -> String {
        let body = json!({"tag": tag, "metadata": format!("metadata of {tag}")});
        let created = self.ok(account, "POST", "/v1/sessions", Some(body)).await;
        self.updates();
        text(&created["session"]["id"])
    }

    /// Shares a session, past all rules.
    pub(crate) async fn share(&self, session: &str, by: &Account, with: &Account, level: &str) {
        static SHARE: Statement = Statement::portable(
            r#"INSERT INTO "SessionShare" ("id", "sessionId", "sharedByUserId", "sharedWithUserId", "accessLevel",
                                           "encryptedDataKey", "updatedAt")
               VALUES ($1, $2, $3, $4, $5, $6, $7)"#,
        );
        let params = vec![
            happier_server::model::ids::cuid().into(),
            session.into(),
            by.id.as_str().into(),
            with.id.as_str().into(),
            level.into(),
            Value::Bytes(vec![0, 1, 2]),
            Value::Time(1),
        ];
        self.ctx.db.execute(&SHARE, params).await.expect("a share");
    }

    /// Every cursor of every account has been published, with an update or silently: one that nobody hears of would
    /// hold up the updates behind it.
    #[allow(dead_code, reason = "for the tests of the domains, which share this file")]
    pub async fn assert_no_cursor_is_lost(&self) {
        static CURSORS: Statement = Statement::portable(r#"SELECT "id", "seq" FROM "Account""#);
        let rows = self.ctx.db.query(&CURSORS, Vec::new()).await.expect("all accounts");
        let published = self.events.cursors.borrow();
        for row in rows {
            let (account, last) = (row.text(0), row.int(1));
            let published = published.get(account).cloned().unwrap_or_default();
            assert_eq!(published, (1..=last).collect(), "the cursors of {account}");
        }
    }

    /// Everything published since the last call but silent cursors.
    pub fn events(&self) -> Vec<Event> {
        self.events.events.take()
    }

    /// The updates published since the last call.
    pub(crate) fn updates(&self) -> Vec<Update> {
        let events = self.events();
        let updates = |event| match event {
            Event::Update(update) => vec![update],
            Event::Pair(pair) => pair.to_vec(),
            Event::Silent { .. } | Event::Withdrawn { .. } | Event::Ephemeral(_) => Vec::new(),
        };
        events.into_iter().flat_map(updates).collect()
    }
}

pub(crate) fn parse(head: &[u8]) -> RequestHead {
    let parsed = HeadParser::new().parse(head, &HeadLimits::default()).expect("a valid head");
    parsed.expect("a complete head").0
}

pub(crate) fn login_body(key: &SigningKey) -> Json {
    let challenge: [u8; 32] = random::bytes();
    json!({
        "publicKey": base64::encode(key.verifying_key().as_bytes()),
        "challenge": base64::encode(&challenge),
        "signature": base64::encode(&key.sign(&challenge).to_bytes()),
    })
}

pub(crate) fn text(value: &Json) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_string()
}

/// The body of an update, as a value.
pub(crate) fn body(update: &Update) -> Json {
    serde_json::from_str(&update.body).expect("a JSON body")
}
