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
       RETURNING "id", "createdAt""#,
)
.repeatable();

/// Who has come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub token: String,
    /// Whether the account was made for it.
    pub is_new: bool,
}

/// Finds or creates the account of a verified key and returns a fresh token. A content key is stored, never cleared.
pub async fn login(ctx: &Context, public_key: &[u8], content: Option<ContentKey>) -> Result<Login, storage::Error> {
    let now = now_ms();
    let (key, signature) = match content {
        Some(content) => (Value::Bytes(content.key), Value::Bytes(content.signature)),
        None => (Value::Null, Value::Null),
    };
    let params = vec![cuid().into(), hex_upper(public_key).into(), Value::Time(now), key, signature];
    let row = ctx.db.query_opt(&UPSERT_ACCOUNT, params).await?;
    let mut row = row.ok_or_else(|| storage::Error::Internal("an account was not written".to_string()))?;
    let is_new = row.time(1) == now;
    Ok(Login { token: ctx.tokens.issue_persistent(&AccountId::from(row.take_text(0)), None, now), is_new })
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
    /// The last of the requests behind an id, of which so many are looked at.
    page: Statement,
    /// Deletes those between two ids that are old.
    forget: Statement,
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
    page: Statement::portable(
        r#"SELECT "id", "createdAt" FROM
             (SELECT "id", "createdAt" FROM "TerminalAuthRequest" WHERE "id" > $1 ORDER BY "id" LIMIT $2) page
           ORDER BY "id" DESC LIMIT 1"#,
    ),
    forget: Statement::portable(
        r#"DELETE FROM "TerminalAuthRequest" WHERE "id" > $1 AND "id" <= $2 AND "updatedAt" < $3"#,
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
    page: Statement::portable(
        r#"SELECT "id", "createdAt" FROM
             (SELECT "id", "createdAt" FROM "AccountAuthRequest" WHERE "id" > $1 ORDER BY "id" LIMIT $2) page
           ORDER BY "id" DESC LIMIT 1"#,
    ),
    forget: Statement::portable(
        r#"DELETE FROM "AccountAuthRequest" WHERE "id" > $1 AND "id" <= $2 AND "updatedAt" < $3"#,
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
    Requested {
        /// Whether the request was made now.
        is_new: bool,
    },
    Authorized {
        token: String,
        response: String,
    },
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
        let made = ctx.db.execute(&pairing.statements().insert, params).await?;
        return Ok(PairingState::Requested { is_new: made > 0 });
    };
    let Some(Approval { account, response }) = request.approval else {
        return Ok(PairingState::Requested { is_new: false });
    };
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

/// Pairing requests are kept for as long as their approval counts, and at least for so long: a person may take days
/// from the terminal to the app.
const PAIRING_KEPT_MIN_MS: i64 = 7 * 24 * 3_600_000;

/// Requests that are looked at at a time.
const FORGET_PAGE: i64 = 1_000;

/// Deletes pairing requests that nothing has happened to for long, since anybody can make them. A key that comes again is
/// a new request. Gives their number.
pub async fn forget_old_pairings(ctx: &Context) -> Result<u64, storage::Error> {
    let before = now_ms().saturating_sub(ctx.settings.pairing_ttl_ms.max(PAIRING_KEPT_MIN_MS));
    let mut forgotten = 0;
    for pairing in [Pairing::Terminal, Pairing::Account] {
        let statements = pairing.statements();
        let mut after = String::new();
        // Ids are in the order of their making, so that what is young needs not be looked at.
        while let Some(mut last) =
            ctx.db.query_opt(&statements.page, vec![after.as_str().into(), FORGET_PAGE.into()]).await?
        {
            let (until, made_at) = (last.take_text(0), last.time(1));
            let range = vec![after.into(), until.as_str().into(), Value::Time(before)];
            forgotten += ctx.db.execute(&statements.forget, range).await?;
            if made_at >= before {
                break;
            }
            after = until;
        }
    }
    Ok(forgotten)
}
