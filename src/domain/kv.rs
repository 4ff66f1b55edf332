//! Key–value store: bytes of an account under plain text keys, with a version each.
//!
//! Owns: the rules for batches of writes, reading and listing, the statements, the event `kv-batch-update`.
//! Never: the meaning of keys or values.
//! Invariants: the first version of a key is 0; a deleted key keeps its row, without value, and its version goes on
//! growing; a batch is applied completely or not at all. Implements `spec/http.md` §14.17.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::Context;
use super::changes::{self, Kind};
use super::like::{Pattern, WILDCARD_TEXT_BYTES_MAX};
use super::locks::lock_accounts;
use crate::model::ids::{AccountId, cuid};
use crate::model::time::now_ms;
use crate::realtime::event::Audience;
use crate::storage::value::{Row, Value};
use crate::storage::{Error, Statement, Tx};

/// Bytes of a new key. Reading by a pattern takes time in proportion to it, and PostgreSQL's index takes little more.
pub const KEY_BYTES_MAX: usize = 2048;

/// Bytes of a prefix with a `%` in it.
pub const WILDCARD_PREFIX_BYTES_MAX: usize = WILDCARD_TEXT_BYTES_MAX;

/// A key that has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub key: String,
    pub value: Vec<u8>,
    pub version: i64,
}

pub async fn get(ctx: &Context, account: &AccountId, key: &str) -> Result<Option<Item>, Error> {
    let row = ctx.db.query_opt(&GET, vec![account.as_str().into(), key.into()]).await?;
    Ok(row.map(item))
}

#[derive(Debug, PartialEq, Eq)]
pub enum Listed {
    Items(Vec<Item>),
    /// The prefix has a `%` and more than [`WILDCARD_PREFIX_BYTES_MAX`] bytes.
    PrefixTooLong,
}

/// The keys that begin with a prefix, in their order. `%`, `_` and `\` in the prefix are pattern characters (O-21).
pub async fn list(ctx: &Context, account: &AccountId, prefix: Option<&str>, limit: i64) -> Result<Listed, Error> {
    let Some(pattern) = Pattern::prefix(prefix.unwrap_or_default()) else { return Ok(Listed::PrefixTooLong) };
    let params = vec![account.as_str().into(), pattern.for_database(ctx.db.kind()).into(), limit.into()];
    let rows = ctx.db.query(&LIST, params).await?;
    Ok(Listed::Items(rows.into_iter().map(item).collect()))
}

/// Those of the keys that have a value, each once.
pub async fn get_many(ctx: &Context, account: &AccountId, keys: Vec<String>) -> Result<Vec<Item>, Error> {
    let rows = ctx.db.query(&GET_MANY, vec![account.as_str().into(), Value::Texts(keys)]).await?;
    Ok(rows.into_iter().map(item).collect())
}

/// One write of a batch.
#[derive(Clone, Debug)]
pub struct Mutation {
    pub key: String,
    /// Base64, or nothing to delete the key. Decoded leniently for a new key and strictly for an existing one (O-22).
    pub value: Option<String>,
    /// The version that the writer has seen, −1 for a key that does not exist. A fraction matches none.
    pub version: f64,
}

/// What a writer has not expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub key: String,
    /// −1 if the key does not exist.
    pub version: i64,
    pub value: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Mutated {
    /// The new versions, in the order of the batch.
    Done(Vec<(String, i64)>),
    /// All mismatches in the order of the batch; nothing was written.
    Conflict(Vec<Mismatch>),
    /// The value of this key is no base64 (O-42).
    NotBase64 { key: String },
    /// A key that does not exist has more than [`KEY_BYTES_MAX`] bytes; nothing was written.
    KeyTooLong,
}

/// Applies a batch.
pub async fn mutate(ctx: &Context, account: &AccountId, mutations: Vec<Mutation>) -> Result<Mutated, Error> {
    let now = now_ms();
    let mutations = Arc::new(mutations);
    let (owner, batch) = (account.clone(), Arc::clone(&mutations));
    let outcome = ctx.transaction(account, async move |tx| write(tx, &owner, &batch, now).await).await?;
    let (versions, cursor) = match outcome {
        Written::Done { versions, cursor } => (versions, cursor),
        Written::Refused(refusal) => return Ok(refusal),
    };
    // The event repeats the request, also an empty text that was stored as a deletion (R-5).
    let changes = mutations.iter().zip(&versions).map(|(mutation, &version)| Change {
        key: &mutation.key,
        value: mutation.value.as_deref(),
        version,
    });
    let changes = changes.collect();
    ctx.publish_update(account, cursor, Audience::UserScoped, &BatchUpdate { t: "kv-batch-update", changes });
    Ok(Mutated::Done(mutations.iter().map(|mutation| mutation.key.clone()).zip(versions).collect()))
}

enum Written {
    Done { versions: Vec<i64>, cursor: i64 },
    Refused(Mutated),
}

async fn write(tx: &mut Tx<'_>, account: &AccountId, batch: &[Mutation], now: i64) -> Result<Written, Error> {
    lock_accounts(tx, &[account]).await?;
    let stored = read_stored(tx, account, batch).await?;
    let mismatches: Vec<_> = batch.iter().filter_map(|mutation| mismatch(mutation, &stored)).collect();
    if !mismatches.is_empty() {
        return Ok(Written::Refused(Mutated::Conflict(mismatches)));
    }
    // Longer ones of other times, or of the reference server, can still be changed and deleted.
    if batch.iter().any(|mutation| mutation.key.len() > KEY_BYTES_MAX && !stored.contains_key(&mutation.key)) {
        return Ok(Written::Refused(Mutated::KeyTooLong));
    }
    // Everything is decoded before the first write: what has been written is committed.
    let mut values = Vec::with_capacity(batch.len());
    for mutation in batch {
        let Ok(value) = decode(mutation, stored.contains_key(&mutation.key)) else {
            return Ok(Written::Refused(Mutated::NotBase64 { key: mutation.key.clone() }));
        };
        values.push(value);
    }
    let mut versions = Vec::with_capacity(batch.len());
    for (mutation, value) in batch.iter().zip(values) {
        let mut params = vec![value.into()];
        // Of equal keys all expect the same version, so all get the same new one and the last value stays (O-23).
        let version = stored.get(&mutation.key).map_or(0, |current| current.version + 1);
        params.extend([version.into(), Value::Time(now), account.as_str().into(), mutation.key.as_str().into()]);
        if stored.contains_key(&mutation.key) {
            tx.execute(&UPDATE, params).await?;
        } else {
            params.push(cuid().into());
            tx.execute(&INSERT, params).await?;
        }
        versions.push(version);
    }
    let hint = hint_of(batch);
    let cursor = changes::mark(tx, account, Kind::Kv, changes::SELF, Some(hint), now).await?;
    Ok(Written::Done { versions, cursor })
}

struct Stored {
    version: i64,
    value: Option<Vec<u8>>,
}

async fn read_stored(
    tx: &mut Tx<'_>,
    account: &AccountId,
    batch: &[Mutation],
) -> Result<HashMap<String, Stored>, Error> {
    let keys = batch.iter().map(|mutation| mutation.key.clone()).collect();
    let rows = tx.query(&GET_STORED, vec![account.as_str().into(), Value::Texts(keys)]).await?;
    let stored = |mut row: Row| (row.take_text(0), Stored { version: row.int(2), value: row.opt_bytes(1) });
    Ok(rows.into_iter().map(stored).collect())
}

#[allow(clippy::cast_precision_loss, clippy::float_cmp, reason = "versions are 32-bit numbers, exact in a float")]
fn mismatch(mutation: &Mutation, stored: &HashMap<String, Stored>) -> Option<Mismatch> {
    let current = stored.get(&mutation.key);
    let version = current.map_or(-1, |current| current.version);
    if version as f64 == mutation.version {
        return None;
    }
    Some(Mismatch { key: mutation.key.clone(), version, value: current.and_then(|current| current.value.clone()) })
}

/// The bytes of a value; an empty text deletes as `null` does.
fn decode(mutation: &Mutation, exists: bool) -> Result<Option<Vec<u8>>, protocol::base64::Error> {
    let text = mutation.value.as_deref().filter(|value| !value.is_empty());
    match text {
        None => Ok(None),
        Some(text) if exists => protocol::base64::decode_strict(text).map(Some),
        Some(text) => Ok(Some(protocol::base64::decode_lenient(text))),
    }
}

/// More distinct keys than this are not listed in the change log.
const HINT_KEYS_MAX: usize = 50;

fn hint_of(batch: &[Mutation]) -> String {
    #[derive(Serialize)]
    struct Keys<'a> {
        keys: Vec<&'a str>,
    }
    let mut seen = HashSet::new();
    let keys: Vec<&str> = batch.iter().map(|mutation| mutation.key.as_str()).filter(|key| seen.insert(*key)).collect();
    let is_listable = keys.len() <= HINT_KEYS_MAX && keys.iter().all(|key| !key.trim().is_empty());
    let listed = is_listable.then(|| sonic_rs::to_string(&Keys { keys }).ok()).flatten();
    listed.unwrap_or_else(|| r#"{"full":true}"#.to_owned())
}

#[derive(Serialize)]
struct BatchUpdate<'a> {
    t: &'static str,
    changes: Vec<Change<'a>>,
}

#[derive(Serialize)]
struct Change<'a> {
    key: &'a str,
    value: Option<&'a str>,
    version: i64,
}

fn item(mut row: Row) -> Item {
    Item { key: row.take_text(0), value: row.opt_bytes(1).unwrap_or_default(), version: row.int(2) }
}

static GET: Statement = Statement::portable(
    r#"SELECT "key", "value", "version" FROM "UserKVStore"
       WHERE "accountId" = $1 AND "key" = $2 AND "value" IS NOT NULL"#,
);

static LIST: Statement = Statement::two(
    r#"SELECT "key", "value", "version" FROM "UserKVStore"
       WHERE "accountId" = $1 AND "key" LIKE $2 AND "value" IS NOT NULL ORDER BY "key" LIMIT $3"#,
    r#"SELECT "key", "value", "version" FROM "UserKVStore"
       WHERE "accountId" = $1 AND "key" GLOB $2 AND "value" IS NOT NULL ORDER BY "key" LIMIT $3"#,
);

static GET_MANY: Statement = Statement::two(
    r#"SELECT "key", "value", "version" FROM "UserKVStore"
       WHERE "accountId" = $1 AND "key" = ANY($2) AND "value" IS NOT NULL"#,
    r#"SELECT "key", "value", "version" FROM "UserKVStore"
       WHERE "accountId" = $1 AND "key" IN (SELECT "value" FROM json_each($2)) AND "value" IS NOT NULL"#,
);

static GET_STORED: Statement = Statement::two(
    r#"SELECT "key", "value", "version" FROM "UserKVStore" WHERE "accountId" = $1 AND "key" = ANY($2)"#,
    r#"SELECT "key", "value", "version" FROM "UserKVStore"
       WHERE "accountId" = $1 AND "key" IN (SELECT "value" FROM json_each($2))"#,
);

static INSERT: Statement = Statement::portable(
    r#"INSERT INTO "UserKVStore" ("value", "version", "createdAt", "updatedAt", "accountId", "key", "id")
       VALUES ($1, $2, $3, $3, $4, $5, $6)"#,
);

static UPDATE: Statement = Statement::portable(
    r#"UPDATE "UserKVStore" SET "value" = $1, "version" = $2, "updatedAt" = $3
       WHERE "accountId" = $4 AND "key" = $5"#,
);
