//! Coming in: login by key, and pairing of a terminal or another app (`spec/http.md` §12).
//!
//! A pairing request is known by the key it was made with. Its approval counts for `pairing_ttl_ms`; afterwards the
//! request counts as unanswered, so that an old public key is no way to a token (closes O-12).

use crate::crypto::hash::hex_upper;
use crate::crypto::signature::{self, Error as SignatureError};
use crate::domain::Context;
use crate::model::ids::{AccountId, cuid};
use crate::model::time::now_ms;
use crate::storage::{self, Statement, Value};

/// Length of every public key here.
pub const PUBLIC_KEY_BYTES: usize = 32;

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    PublicKey,
    Signature,
    ContentKey,
    ContentSignature,
}

/// Whether the holder of the key signed the challenge. Anybody may replay it (O-11).
pub fn verify_login(public_key: &[u8], challenge: &[u8], signature: &[u8]) -> Result<(), LoginRefusal> {
    signature::verify_login(public_key, challenge, signature).map_err(|error| match error {
        SignatureError::PublicKey => LoginRefusal::PublicKey,
        SignatureError::Signature => LoginRefusal::Signature,
    })
}

/// A content key with the signature that binds it to an account's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentKey {
    key: Vec<u8>,
    signature: Vec<u8>,
}

impl ContentKey {
    /// Checks the binding.
    pub fn bound(public_key: &[u8], key: Vec<u8>, signature: Vec<u8>) -> Result<Self, LoginRefusal> {
        let fixed: &[u8; PUBLIC_KEY_BYTES] = key.as_slice().try_into().map_err(|_| LoginRefusal::ContentKey)?;
        signature::verify_content_key(public_key, fixed, &signature).map_err(|_| LoginRefusal::ContentSignature)?;
        Ok(Self { key, signature })
    }
}

static UPSERT_ACCOUNT: Statement = Statement::portable(
    r#"INSERT INTO "Account" ("id", "publicKey", "createdAt", "updatedAt", "contentPublicKey", "contentPublicKeySig")
       VALUES ($1, $2, $3, $3, $4, $5)
       ON CONFLICT ("publicKey") DO UPDATE SET
         "updatedAt" = excluded."updatedAt",
         "contentPublicKey" = COALESCE(excluded."contentPublicKey", "Account"."contentPublicKey"),
         "contentPublicKeySig" = COALESCE(excluded."contentPublicKeySig", "Account"."contentPublicKeySig")
       RETURNING "id""#,
)
.repeatable();

/// Finds or creates the account of a verified key and returns a fresh token. A content key is stored, never cleared.
pub async fn login(ctx: &Context, public_key: &[u8], content: Option<ContentKey>) -> Result<String, storage::Error> {
    let now = now_ms();
    let (key, signature) = match content {
        Some(content) => (Value::Bytes(content.key), Value::Bytes(content.signature)),
        None => (Value::Null, Value::Null),
    };
    let params = vec![cuid().into(), hex_upper(public_key).into(), Value::Time(now), key, signature];
    let row = ctx.db.query_opt(&UPSERT_ACCOUNT, params).await?;
    let mut row = row.ok_or_else(|| storage::Error::Internal("an account was not written".to_string()))?;
    Ok(ctx.tokens.issue_persistent(&AccountId::from(row.take_text(0)), None, now))
}

/// Who asks to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// A command line tool. Its tokens carry the id of the request.
    Terminal,
    /// Another app of the same person.
    Account,
}

/// The statements of one kind of pairing.
struct Statements {
    select: Statement,
    insert: Statement,
    answer: Statement,
}

static TERMINAL: Statements = Statements {
    select: Statement::portable(
        r#"SELECT "id", "response", "responseAccountId", "updatedAt", "supportsV2" FROM "TerminalAuthRequest"
           WHERE "publicKey" = $1"#,
    ),
    insert: Statement::portable(
        r#"INSERT INTO "TerminalAuthRequest" ("id", "publicKey", "createdAt", "updatedAt", "supportsV2")
           VALUES ($1, $2, $3, $3, $4) ON CONFLICT ("publicKey") DO NOTHING"#,
    )
    .repeatable(),
    answer: Statement::portable(
        r#"UPDATE "TerminalAuthRequest" SET "response" = $1, "responseAccountId" = $2, "updatedAt" = $3
           WHERE "id" = $4 AND ("response" IS NULL OR "response" = '' OR "updatedAt" < $5)"#,
    )
    .repeatable(),
};

static ACCOUNT: Statements = Statements {
    select: Statement::portable(
        r#"SELECT "id", "response", "responseAccountId", "updatedAt" FROM "AccountAuthRequest" WHERE "publicKey" = $1"#,
    ),
    insert: Statement::portable(
        r#"INSERT INTO "AccountAuthRequest" ("id", "publicKey", "createdAt", "updatedAt")
           VALUES ($1, $2, $3, $3) ON CONFLICT ("publicKey") DO NOTHING"#,
    )
    .repeatable(),
    answer: Statement::portable(
        r#"UPDATE "AccountAuthRequest" SET "response" = $1, "responseAccountId" = $2, "updatedAt" = $3
           WHERE "id" = $4 AND ("response" IS NULL OR "response" = '' OR "updatedAt" < $5)"#,
    )
    .repeatable(),
};

impl Pairing {
    fn statements(self) -> &'static Statements {
        match self {
            Self::Terminal => &TERMINAL,
            Self::Account => &ACCOUNT,
        }
    }
}

/// A stored pairing request.
struct PairingRequest {
    id: String,
    approval: Option<Approval>,
    supports_v2: bool,
}

struct Approval {
    account: AccountId,
    response: String,
}

async fn find(ctx: &Context, pairing: Pairing, key: &str) -> Result<Option<PairingRequest>, storage::Error> {
    let Some(mut row) = ctx.db.query_opt(&pairing.statements().select, vec![key.into()]).await? else {
        return Ok(None);
    };
    let is_current = row.time(3) >= oldest_approval(ctx, now_ms());
    let approval = match (row.opt_text(1), row.opt_text(2)) {
        (Some(response), Some(account)) if !response.is_empty() && is_current => {
            Some(Approval { account: AccountId::from(account), response })
        }
        _ => None,
    };
    let supports_v2 = pairing == Pairing::Terminal && row.bool(4);
    Ok(Some(PairingRequest { id: row.take_text(0), approval, supports_v2 }))
}

/// Approvals before this instant have lapsed.
fn oldest_approval(ctx: &Context, now: i64) -> i64 {
    now.saturating_sub(ctx.settings.pairing_ttl_ms)
}

/// The state of a pairing request as its maker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairingState {
    Requested,
    Authorized { token: String, response: String },
}

/// Makes a pairing request, or asks what became of it. One made before stays as it is.
pub async fn request_pairing(
    ctx: &Context,
    pairing: Pairing,
    public_key: &[u8],
    supports_v2: bool,
) -> Result<PairingState, storage::Error> {
    let key = hex_upper(public_key);
    let Some(request) = find(ctx, pairing, &key).await? else {
        let mut params = vec![cuid().into(), key.into(), Value::Time(now_ms())];
        if pairing == Pairing::Terminal {
            params.push(Value::Bool(supports_v2));
        }
        // Somebody else may have inserted the same key meanwhile (closes O-45); nobody has answered it yet.
        ctx.db.execute(&pairing.statements().insert, params).await?;
        return Ok(PairingState::Requested);
    };
    let Some(Approval { account, response }) = request.approval else { return Ok(PairingState::Requested) };
    let session = (pairing == Pairing::Terminal).then_some(request.id.as_str());
    let token = ctx.tokens.issue_persistent(&account, session, now_ms());
    Ok(PairingState::Authorized { token, response })
}

/// The state of a terminal's request as an app sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingStatus {
    NotFound,
    Pending { supports_v2: bool },
    Authorized,
}

pub async fn terminal_status(ctx: &Context, public_key: &[u8]) -> Result<PairingStatus, storage::Error> {
    Ok(match find(ctx, Pairing::Terminal, &hex_upper(public_key)).await? {
        None => PairingStatus::NotFound,
        Some(request) if request.approval.is_some() => PairingStatus::Authorized,
        Some(request) => PairingStatus::Pending { supports_v2: request.supports_v2 },
    })
}

/// Approves a pairing request in the caller's name. The first answer wins, silently. Returns whether the request exists.
pub async fn answer_pairing(
    ctx: &Context,
    pairing: Pairing,
    caller: &AccountId,
    public_key: &[u8],
    response: String,
) -> Result<bool, storage::Error> {
    let Some(request) = find(ctx, pairing, &hex_upper(public_key)).await? else { return Ok(false) };
    let now = now_ms();
    let params = vec![
        response.into(),
        caller.as_str().into(),
        Value::Time(now),
        request.id.into(),
        Value::Time(oldest_approval(ctx, now)),
    ];
    ctx.db.execute(&pairing.statements().answer, params).await?;
    Ok(true)
}
