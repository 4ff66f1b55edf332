//! Machines: the computers on which agents run, registered by their daemons under ids of their own choice.
//!
//! Owns: the rules for registering, reading and changing a machine, its statements, and the events that follow.
//! Never: presence (who is alive is `realtime`'s business), rooms, statuses.
//! Invariants: an id belongs to one account for good; metadata and daemon state change only from the version that the
//! writer has seen. Implements `spec/http.md` §14.12–14.14 and `spec/realtime.md` §8.2–8.3.

use std::sync::Arc;

use serde::Serialize;

use super::changes::{self, Kind};
use super::events::Versioned;
use super::locks::lock_accounts;
use super::{Context, event_body};
use crate::model::ids::{AccountId, MachineId};
use crate::model::time::now_ms;
use crate::realtime::event::Audience;
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement, Tx};

/// A machine as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub id: MachineId,
    pub metadata: String,
    pub metadata_version: i64,
    pub daemon_state: Option<String>,
    pub daemon_state_version: i64,
    pub data_encryption_key: Option<Vec<u8>>,
    pub seq: i64,
    pub active: bool,
    pub active_at: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

/// What a daemon says about its machine.
pub struct Register {
    pub id: MachineId,
    pub metadata: String,
    /// An empty state counts as none.
    pub daemon_state: Option<String>,
    pub data_encryption_key: Option<Vec<u8>>,
}

pub enum Registered {
    /// Created now, or found as it was.
    Machine(Machine),
    /// The id is in use by another account (O-20).
    Foreign,
}

/// Registers a machine, or finds it unchanged.
pub async fn register(ctx: &Context, account: &AccountId, input: Register) -> Result<Registered, Error> {
    // Daemons register at every start, so the common case takes no lock.
    if let Some(found) = find(ctx, account, &input.id).await? {
        return Ok(Registered::Machine(found));
    }
    let now = now_ms();
    let input = Arc::new(input);
    let (owner, new) = (account.clone(), Arc::clone(&input));
    let outcome = ctx.transaction(account, async move |tx| insert(tx, &owner, &new, now).await).await?;
    let (machine, cursor) = match outcome {
        Inserted::Created(machine, cursor) => (machine, cursor),
        Inserted::Found(machine) => return Ok(Registered::Machine(machine)),
        Inserted::Foreign => return Ok(Registered::Foreign),
    };
    let metadata = Some(Versioned { value: &machine.metadata, version: machine.metadata_version });
    let update = UpdateMachine { t: "update-machine", machine_id: &machine.id, metadata, daemon_state: None };
    let new = (Audience::UserScoped, event_body(&NewMachine::of(&machine)));
    ctx.publish_pair(account, cursor, [new, (Audience::Machine(machine.id.clone()), event_body(&update))]);
    Ok(Registered::Machine(machine))
}

enum Inserted {
    Created(Machine, i64),
    Found(Machine),
    Foreign,
}

async fn insert(tx: &mut Tx<'_>, account: &AccountId, new: &Register, now: i64) -> Result<Inserted, Error> {
    lock_accounts(tx, &[account]).await?;
    let state = new.daemon_state.as_deref().filter(|state| !state.is_empty());
    let row = tx
        .query_opt(
            &INSERT,
            vec![
                new.id.as_str().into(),
                account.as_str().into(),
                new.metadata.as_str().into(),
                state.into(),
                i64::from(state.is_some()).into(),
                new.data_encryption_key.clone().into(),
                Value::Time(now),
            ],
        )
        .await?;
    if let Some(mut row) = row {
        let cursor = changes::mark(tx, account, Kind::Machine, new.id.as_str(), None, now).await?;
        return Ok(Inserted::Created(machine(&mut row), cursor));
    }
    // Somebody was faster: a concurrent registration of the same daemon, or another account.
    let found = tx.query_opt(&FIND, vec![new.id.as_str().into(), account.as_str().into()]).await?;
    Ok(found.map_or(Inserted::Foreign, |mut row| Inserted::Found(machine(&mut row))))
}

/// All machines of an account, the most recently active first.
pub async fn list(ctx: &Context, account: &AccountId) -> Result<Vec<Machine>, Error> {
    let mut rows = ctx.db.query(&LIST, vec![account.as_str().into()]).await?;
    Ok(rows.iter_mut().map(machine).collect())
}

/// One machine of an account.
pub async fn find(ctx: &Context, account: &AccountId, id: &MachineId) -> Result<Option<Machine>, Error> {
    let row = ctx.db.query_opt(&FIND, vec![id.as_str().into(), account.as_str().into()]).await?;
    Ok(row.map(|mut row| machine(&mut row)))
}

/// The two versioned texts of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Metadata,
    DaemonState,
}

/// The outcome of a versioned write.
#[derive(Debug, PartialEq, Eq)]
pub enum Updated {
    Done {
        version: i64,
    },
    /// Somebody else wrote first; what is stored now.
    Mismatch {
        version: i64,
        value: Option<String>,
    },
    NotFound,
    /// The machine disappeared between reading and writing.
    Vanished,
}

/// Replaces one of the texts of a machine if it still has the version that the writer has seen. Writing the daemon
/// state also shows that the machine is alive.
pub async fn update(
    ctx: &Context,
    account: &AccountId,
    id: &MachineId,
    part: Part,
    value: Arc<str>,
    expected_version: i64,
) -> Result<Updated, Error> {
    let now = now_ms();
    let (owner, machine, text) = (account.clone(), id.clone(), Arc::clone(&value));
    let (updated, cursor) = ctx
        .transaction(account, async move |tx| write(tx, &owner, &machine, part, &text, expected_version, now).await)
        .await?;
    if let (Updated::Done { version }, Some(cursor)) = (&updated, cursor) {
        let text = Some(Versioned { value: &value, version: *version });
        let (metadata, daemon_state) = match part {
            Part::Metadata => (text, None),
            Part::DaemonState => (None, text),
        };
        let update = UpdateMachine { t: "update-machine", machine_id: id, metadata, daemon_state };
        ctx.publish_update(account, cursor, Audience::Machine(id.clone()), &update);
    }
    Ok(updated)
}

async fn write(
    tx: &mut Tx<'_>,
    account: &AccountId,
    id: &MachineId,
    part: Part,
    value: &str,
    expected_version: i64,
    now: i64,
) -> Result<(Updated, Option<i64>), Error> {
    lock_accounts(tx, &[account]).await?;
    let (read, change) = match part {
        Part::Metadata => (&READ_METADATA, &WRITE_METADATA),
        Part::DaemonState => (&READ_DAEMON_STATE, &WRITE_DAEMON_STATE),
    };
    let key = || vec![Value::from(id.as_str()), account.as_str().into()];
    let Some(row) = tx.query_opt(read, key()).await? else { return Ok((Updated::NotFound, None)) };
    let mismatch = |row: &Row| Updated::Mismatch { version: row.int(0), value: row.opt_text(1) };
    if row.int(0) != expected_version {
        return Ok((mismatch(&row), None));
    }
    let version = expected_version + 1;
    let params = vec![
        value.into(),
        version.into(),
        Value::Time(now),
        id.as_str().into(),
        account.as_str().into(),
        expected_version.into(),
    ];
    if tx.execute(change, params).await? == 0 {
        let row = tx.query_opt(read, key()).await?;
        return Ok((row.map_or(Updated::Vanished, |row| mismatch(&row)), None));
    }
    let cursor = changes::mark(tx, account, Kind::Machine, id.as_str(), None, now).await?;
    Ok((Updated::Done { version }, Some(cursor)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewMachine<'a> {
    t: &'static str,
    machine_id: &'a MachineId,
    seq: i64,
    metadata: &'a str,
    metadata_version: i64,
    daemon_state: Option<&'a str>,
    daemon_state_version: i64,
    data_encryption_key: Option<String>,
    active: bool,
    active_at: i64,
    created_at: i64,
    updated_at: i64,
}

impl<'a> NewMachine<'a> {
    fn of(machine: &'a Machine) -> Self {
        Self {
            t: "new-machine",
            machine_id: &machine.id,
            seq: machine.seq,
            metadata: &machine.metadata,
            metadata_version: machine.metadata_version,
            daemon_state: machine.daemon_state.as_deref(),
            daemon_state_version: machine.daemon_state_version,
            data_encryption_key: machine.data_encryption_key.as_deref().map(protocol::base64::encode),
            active: machine.active,
            active_at: machine.active_at,
            created_at: machine.created_at,
            updated_at: machine.updated_at,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdateMachine<'a> {
    t: &'static str,
    machine_id: &'a MachineId,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Versioned<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon_state: Option<Versioned<'a>>,
}

fn machine(row: &mut Row) -> Machine {
    Machine {
        id: row.take_text(0).into(),
        metadata: row.take_text(1),
        metadata_version: row.int(2),
        daemon_state: row.opt_text(3),
        daemon_state_version: row.int(4),
        data_encryption_key: row.opt_bytes(5),
        seq: row.int(6),
        active: row.bool(7),
        active_at: row.time(8),
        created_at: row.time(9),
        updated_at: row.time(10),
    }
}

static FIND: Statement = Statement::portable(
    r#"SELECT "id", "metadata", "metadataVersion", "daemonState", "daemonStateVersion", "dataEncryptionKey", "seq",
              "active", "lastActiveAt", "createdAt", "updatedAt"
       FROM "Machine" WHERE "id" = $1 AND "accountId" = $2"#,
);

static LIST: Statement = Statement::portable(
    r#"SELECT "id", "metadata", "metadataVersion", "daemonState", "daemonStateVersion", "dataEncryptionKey", "seq",
              "active", "lastActiveAt", "createdAt", "updatedAt"
       FROM "Machine" WHERE "accountId" = $1 ORDER BY "lastActiveAt" DESC, "id""#,
);

// A new machine is inactive until its daemon reports.
static INSERT: Statement = Statement::portable(
    r#"INSERT INTO "Machine" ("id", "accountId", "metadata", "metadataVersion", "daemonState", "daemonStateVersion",
                              "dataEncryptionKey", "seq", "active", "lastActiveAt", "createdAt", "updatedAt")
       VALUES ($1, $2, $3, 1, $4, $5, $6, 0, FALSE, $7, $7, $7)
       ON CONFLICT ("id") DO NOTHING
       RETURNING "id", "metadata", "metadataVersion", "daemonState", "daemonStateVersion", "dataEncryptionKey", "seq",
                 "active", "lastActiveAt", "createdAt", "updatedAt""#,
);

static READ_METADATA: Statement =
    Statement::portable(r#"SELECT "metadataVersion", "metadata" FROM "Machine" WHERE "id" = $1 AND "accountId" = $2"#);

static READ_DAEMON_STATE: Statement = Statement::portable(
    r#"SELECT "daemonStateVersion", "daemonState" FROM "Machine" WHERE "id" = $1 AND "accountId" = $2"#,
);

static WRITE_METADATA: Statement = Statement::portable(
    r#"UPDATE "Machine" SET "metadata" = $1, "metadataVersion" = $2, "updatedAt" = $3
       WHERE "id" = $4 AND "accountId" = $5 AND "metadataVersion" = $6"#,
);

static WRITE_DAEMON_STATE: Statement = Statement::portable(
    r#"UPDATE "Machine" SET "daemonState" = $1, "daemonStateVersion" = $2, "updatedAt" = $3, "lastActiveAt" = $3,
                            "active" = TRUE
       WHERE "id" = $4 AND "accountId" = $5 AND "daemonStateVersion" = $6"#,
);
