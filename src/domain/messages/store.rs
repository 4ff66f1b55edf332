//! Storing a message: the write that everything else waits for.
//!
//! Owns: the rule of `http.md` §14.10 and `realtime.md` §7.1. The caller must be the session's owner or have it shared
//! with `edit` or `admin`; a local id that the session has already gives the earlier message; otherwise the session's
//! counter, the message, and the cursor and change row of every participant are written in one transaction.
//! Never: events, acknowledgements. The caller publishes to the participants after this returns.
//! Invariants: messages of a session are numbered 1, 2, 3 … without a gap; a stored message is never stored again,
//! whatever connection is lost when.
//!
//! An empty local id counts as none (R-9, O-18: in the reference server the second one fails). Concurrent writers are
//! never refused (O-19).
//!
//! On PostgreSQL a function of migration 0002 does all of it for a batch of messages in one round trip ([`batch`]); on
//! SQLite the same steps run as statements on the writer's thread, which batches the commits.

mod batch;
mod queue;

use crate::storage::{Db, Error, Kind, Row, Statement, Tx, Value};

/// A message as it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Who writes.
    pub account: String,
    pub session: String,
    pub ciphertext: String,
    /// The client's own id, by which it may send the message again without storing it twice.
    pub local_id: Option<String>,
    /// A fresh id.
    pub id: String,
    pub now_ms: i64,
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    pub seq: i64,
    pub local_id: Option<String>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// `{"t":"encrypted","c":…}` as JSON text.
    pub content: String,
}

/// Somebody who sees the session, with the cursor that the message took in their change feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    pub account: String,
    pub cursor: i64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is stored now. The participants are the owner first, then everybody the session is shared with.
    New(Message, Vec<Participant>),
    /// The session had a message with this local id; nothing was written.
    Duplicate(Message),
    SessionNotFound,
    /// The caller may not write to the session.
    Forbidden,
}

/// Stores a message.
pub async fn store(db: &Db, mut new: NewMessage) -> Result<Stored, Error> {
    new.local_id = new.local_id.filter(|id| !id.is_empty());
    match db.kind() {
        Kind::Postgres => batch::store(db, new).await,
        Kind::Sqlite => db.transaction(async move |tx: &mut Tx<'_>| store_in(tx, &new).await).await,
    }
}

static OWNER: Statement = Statement::portable(r#"SELECT "accountId" FROM "Session" WHERE "id" = $1"#);
static MAY_EDIT: Statement = Statement::portable(
    r#"SELECT 1 FROM "SessionShare"
    WHERE "sessionId" = $1 AND "sharedWithUserId" = $2 AND "accessLevel" IN ('edit', 'admin')"#,
);
static EARLIER: Statement = Statement::portable(
    r#"SELECT "id", "seq", "localId", "createdAt", "updatedAt", "content"
    FROM "SessionMessage" WHERE "sessionId" = $1 AND "localId" = $2"#,
);
static NUMBER: Statement =
    Statement::portable(r#"UPDATE "Session" SET "seq" = "seq" + 1, "updatedAt" = $1 WHERE "id" = $2 RETURNING "seq""#);
static INSERT: Statement = Statement::portable(
    r#"INSERT INTO "SessionMessage" ("id", "sessionId", "seq", "content", "createdAt", "updatedAt", "localId")
    VALUES ($1, $2, $3, $4, $5, $5, $6)"#,
);
static SHARED_WITH: Statement = Statement::portable(
    r#"SELECT "sharedWithUserId" FROM "SessionShare"
    WHERE "sessionId" = $1 AND "sharedWithUserId" <> $2 ORDER BY "sharedWithUserId""#,
);
static CURSOR: Statement =
    Statement::portable(r#"UPDATE "Account" SET "seq" = "seq" + 1, "updatedAt" = $1 WHERE "id" = $2 RETURNING "seq""#);
static MARK: Statement = Statement::portable(
    r#"INSERT INTO "AccountChange" ("accountId", "kind", "entityId", "cursor", "changedAt", "hint")
    VALUES ($1, 'session', $2, $3, $4, $5)
    ON CONFLICT ("accountId", "kind", "entityId")
    DO UPDATE SET "cursor" = EXCLUDED."cursor", "changedAt" = EXCLUDED."changedAt", "hint" = EXCLUDED."hint""#,
);

/// The rule, statement by statement. Nobody else writes meanwhile, so nothing has to be locked.
async fn store_in(tx: &mut Tx<'_>, new: &NewMessage) -> Result<Stored, Error> {
    let session = || Value::from(&new.session);
    let Some(mut row) = tx.query_opt(&OWNER, vec![session()]).await? else { return Ok(Stored::SessionNotFound) };
    let owner = row.take_text(0);
    if owner != new.account && tx.query_opt(&MAY_EDIT, vec![session(), (&new.account).into()]).await?.is_none() {
        return Ok(Stored::Forbidden);
    }
    if let Some(local_id) = &new.local_id
        && let Some(row) = tx.query_opt(&EARLIER, vec![session(), local_id.into()]).await?
    {
        return Ok(Stored::Duplicate(message(row, 0)));
    }
    let now = || Value::Time(new.now_ms);
    let Some(row) = tx.query_opt(&NUMBER, vec![now(), session()]).await? else { return Ok(Stored::SessionNotFound) };
    let seq = row.int(0);
    let stored = [
        (&new.id).into(),
        session(),
        seq.into(),
        Value::Json(content(&new.ciphertext)),
        now(),
        new.local_id.clone().into(),
    ];
    tx.execute(&INSERT, &stored).await?;
    // Back from where it was lent: it may be long.
    let [_, _, _, Value::Json(content), _, _] = stored else { unreachable!("made above") };

    let shared_with = tx.query(&SHARED_WITH, vec![session(), (&owner).into()]).await?;
    let mut participants = Vec::with_capacity(1 + shared_with.len());
    // The id is one of ours: nothing in it has to be escaped.
    let hint = format!(r#"{{"lastMessageSeq":{seq},"lastMessageId":"{}"}}"#, new.id);
    for account in std::iter::once(owner).chain(shared_with.into_iter().map(|mut row| row.take_text(0))) {
        let Some(row) = tx.query_opt(&CURSOR, vec![now(), (&account).into()]).await? else {
            return Err(Error::Internal(format!("the account {account} of a session is missing")));
        };
        let cursor = row.int(0);
        let mark = vec![(&account).into(), session(), cursor.into(), now(), Value::Json(hint.clone())];
        tx.execute(&MARK, mark).await?;
        participants.push(Participant { account, cursor });
    }
    let message = Message {
        id: new.id.clone(),
        seq,
        local_id: new.local_id.clone(),
        created_at: new.now_ms,
        updated_at: new.now_ms,
        content,
    };
    Ok(Stored::New(message, participants))
}

/// Reads a message from its six columns, the first of which is `at`.
fn message(mut row: Row, at: usize) -> Message {
    Message {
        id: row.take_text(at),
        seq: row.int(at + 1),
        local_id: row.opt_text(at + 2),
        created_at: row.time(at + 3),
        updated_at: row.time(at + 4),
        content: row.take_text(at + 5),
    }
}

/// The content as it is stored, `{"t":"encrypted","c":…}`.
fn content(ciphertext: &str) -> String {
    let mut out = Vec::with_capacity(ciphertext.len() + 32);
    out.extend_from_slice(br#"{"t":"encrypted","c":"#);
    protocol::json::write_string(&mut out, ciphertext);
    out.push(b'}');
    String::from_utf8(out).expect("written from texts")
}
