//! Messages of a session: storing one and telling the participants, reading a page (`spec/http.md` §14.9–14.10,
//! `spec/realtime.md` §7.1).
//!
//! Storing is one statement, in [`store`]. Both doors call [`send`]; the socket door acknowledges before it publishes,
//! which is why the events are handed back.

pub mod store;

use crate::domain::sessions;
use crate::domain::{Context, RawJson};
use crate::model::ids::{AccountId, SessionId, SocketId, cuid};
use crate::model::time::now_ms;
use crate::realtime::event::{Audience, Body, Event, Update};
use crate::storage::{self, Statement};

use self::store::{Message, NewMessage, Participant, Stored};

/// A message that is stored now, or was before under the same local id.
#[derive(Clone, Debug)]
pub struct Sent {
    pub message: Message,
    /// Not yet published. Empty if the message was there before.
    pub events: Vec<Event>,
}

/// Why a message is not stored.
#[derive(Debug)]
pub enum Refusal {
    SessionNotFound,
    Forbidden,
    Storage(storage::Error),
}

impl From<storage::Error> for Refusal {
    fn from(error: storage::Error) -> Self {
        Self::Storage(error)
    }
}

/// Stores a message. The events are the caller's to publish, now that the message is committed.
pub async fn send(
    ctx: &Context,
    account: &AccountId,
    session: &SessionId,
    ciphertext: String,
    local_id: Option<String>,
    skip: Option<SocketId>,
) -> Result<Sent, Refusal> {
    let new = NewMessage {
        account: account.as_str().to_string(),
        session: session.as_str().to_string(),
        ciphertext,
        local_id,
        id: cuid(),
        now_ms: now_ms(),
    };
    match store::store(&ctx.db, new).await? {
        Stored::New(message, participants) => {
            let events = events(account, session, &message, participants, skip);
            Ok(Sent { message, events })
        }
        Stored::Duplicate(message) => Ok(Sent { message, events: Vec::new() }),
        Stored::SessionNotFound => Err(Refusal::SessionNotFound),
        Stored::Forbidden => Err(Refusal::Forbidden),
    }
}

/// Stores a message and tells everybody, the caller's own connections too.
pub async fn send_and_publish(
    ctx: &Context,
    account: &AccountId,
    session: &SessionId,
    ciphertext: String,
    local_id: Option<String>,
) -> Result<Message, Refusal> {
    let sent = send(ctx, account, session, ciphertext, local_id, None).await?;
    for event in sent.events {
        ctx.events.publish(event);
    }
    Ok(sent.message)
}

/// One event per participant, each with its own cursor; `skip` concerns the sender's account only.
fn events(
    sender: &AccountId,
    session: &SessionId,
    message: &Message,
    participants: Vec<Participant>,
    skip: Option<SocketId>,
) -> Vec<Event> {
    let body = Body::from(new_message_body(session, message));
    let event = |participant: Participant| {
        let account = AccountId::from(participant.account);
        Event::Update(Update {
            seq: participant.cursor,
            audience: Audience::Session(session.clone()),
            body: body.clone(),
            skip: skip.filter(|_| account == *sender),
            account,
        })
    };
    participants.into_iter().map(event).collect()
}

/// Written by hand: this is the hot path, and the content is JSON text already.
fn new_message_body(session: &SessionId, message: &Message) -> String {
    let mut out = Vec::with_capacity(message.content.len() + 256);
    out.extend_from_slice(br#"{"t":"new-message","sid":"#);
    protocol::json::write_string(&mut out, session.as_str());
    out.extend_from_slice(br#","id":"#);
    protocol::json::write_string(&mut out, session.as_str());
    out.extend_from_slice(br#","message":{"id":"#);
    protocol::json::write_string(&mut out, &message.id);
    out.extend_from_slice(format!(r#","seq":{},"content":"#, message.seq).as_bytes());
    out.extend_from_slice(message.content.as_bytes());
    out.extend_from_slice(br#","localId":"#);
    match &message.local_id {
        Some(local_id) => protocol::json::write_string(&mut out, local_id),
        None => out.extend_from_slice(b"null"),
    }
    let times = format!(r#","createdAt":{},"updatedAt":{}}}}}"#, message.created_at, message.updated_at);
    out.extend_from_slice(times.as_bytes());
    String::from_utf8(out).expect("written from texts")
}

/// Which messages to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The newest, newest first.
    Newest,
    /// Those below a sequence number, newest first.
    Before(i64),
    /// Those above a sequence number, oldest first.
    After(i64),
}

/// A stored message in a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: String,
    pub seq: i64,
    pub content: RawJson,
    pub local_id: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
}

/// A page of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub messages: Vec<Listed>,
    /// Whether messages remain in the direction of reading.
    pub has_more: bool,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            r#"SELECT "id", "seq", "content", "localId", "createdAt", "updatedAt" FROM "SessionMessage"
               WHERE "sessionId" = $1 "#,
            $rest
        )
    };
}

static NEWEST: Statement = Statement::portable(select!(r#"ORDER BY "seq" DESC LIMIT $2"#));
static BEFORE: Statement = Statement::portable(select!(r#"AND "seq" < $2 ORDER BY "seq" DESC LIMIT $3"#));
static AFTER: Statement = Statement::portable(select!(r#"AND "seq" > $2 ORDER BY "seq" LIMIT $3"#));

/// A page of a session's messages; `None` if the caller has no access to it.
pub async fn list(
    ctx: &Context,
    account: &AccountId,
    session: &SessionId,
    range: Range,
    limit: usize,
) -> Result<Option<Page>, storage::Error> {
    if sessions::access(ctx, account, session).await?.is_none() {
        return Ok(None);
    }
    // One more than asked for tells whether more remain.
    let count = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let id = session.as_str();
    let rows = match range {
        Range::Newest => ctx.db.query(&NEWEST, vec![id.into(), count.into()]).await?,
        Range::Before(seq) => ctx.db.query(&BEFORE, vec![id.into(), seq.into(), count.into()]).await?,
        Range::After(seq) => ctx.db.query(&AFTER, vec![id.into(), seq.into(), count.into()]).await?,
    };
    let mut messages: Vec<Listed> = rows
        .into_iter()
        .map(|mut row| Listed {
            id: row.take_text(0),
            seq: row.int(1),
            content: RawJson(row.json(2)),
            local_id: row.opt_text(3),
            created_at: row.time(4),
            updated_at: row.time(5),
        })
        .collect();
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    Ok(Some(Page { messages, has_more }))
}
