//! Users: how one account appears to another.
//!
//! Owns: the user profile with the relationship of the one who looks, and the search by user name.
//! Never: changing anything. Implements `spec/http.md` §16.1–16.3.

use protocol::json::{self, Kind};

use super::accounts::Avatar;
use super::like::{Pattern, WILDCARD_TEXT_BYTES_MAX};
use super::{Context, Flavor};
use crate::model::ids::AccountId;
use crate::storage::value::Row;
use crate::storage::{Error, Statement, Tx};

/// The state of one account towards another; without a row it is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relationship {
    #[default]
    None,
    Requested,
    Pending,
    Friend,
    Rejected,
}

impl Relationship {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Requested => "requested",
            Self::Pending => "pending",
            Self::Friend => "friend",
            Self::Rejected => "rejected",
        }
    }

    /// From the column; the database admits no other text.
    pub fn from_column(text: Option<&str>) -> Self {
        match text {
            Some("requested") => Self::Requested,
            Some("pending") => Self::Pending,
            Some("friend") => Self::Friend,
            Some("rejected") => Self::Rejected,
            _ => Self::None,
        }
    }
}

/// An account in the eyes of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserProfile {
    pub id: AccountId,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub avatar: Option<Avatar>,
    /// The user name, or else the GitHub login.
    pub username: Option<String>,
    /// From GitHub; an empty one counts as none.
    pub bio: Option<String>,
    /// The relationship from the one who looks to this account.
    pub status: Relationship,
    /// Upper-case hex.
    pub public_key: String,
    pub content_public_key: Option<Vec<u8>>,
    pub content_public_key_sig: Option<Vec<u8>>,
}

/// The profile of any account, as `viewer` sees it.
pub async fn profile(ctx: &Context, viewer: &AccountId, id: &AccountId) -> Result<Option<UserProfile>, Error> {
    let row = ctx.db.query_opt(&PROFILE, vec![viewer.as_str().into(), id.as_str().into()]).await?;
    Ok(row.map(|mut row| user_profile(&mut row)))
}

/// The same inside a transaction.
pub(super) async fn profile_in(
    tx: &mut Tx<'_>,
    viewer: &AccountId,
    id: &AccountId,
) -> Result<Option<UserProfile>, Error> {
    let row = tx.query_opt(&PROFILE, vec![viewer.as_str().into(), id.as_str().into()]).await?;
    Ok(row.map(|mut row| user_profile(&mut row)))
}

/// The accounts to which `viewer` is a friend, has been asked, or has asked.
pub async fn related(ctx: &Context, viewer: &AccountId) -> Result<Vec<UserProfile>, Error> {
    let mut rows = ctx.db.query(&RELATED, vec![viewer.as_str().into()]).await?;
    Ok(rows.iter_mut().map(user_profile).collect())
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Users(Vec<UserProfile>),
    /// The text has a `%` and more than [`WILDCARD_QUERY_BYTES_MAX`] bytes.
    TextTooLong,
}

/// Bytes of a text with a `%` in it.
pub const WILDCARD_QUERY_BYTES_MAX: usize = WILDCARD_TEXT_BYTES_MAX;

/// Accounts found at a time.
const SEARCH_MAX: i64 = 10;

/// The accounts whose user name begins with a text, which is used as a LIKE pattern (O-21). The light flavor respects
/// case, the full flavor does not.
pub async fn search(ctx: &Context, viewer: &AccountId, text: &str) -> Result<Found, Error> {
    let Some(pattern) = Pattern::prefix(text) else { return Ok(Found::TextTooLong) };
    let statement = match ctx.settings.flavor {
        Flavor::Full => &SEARCH_IGNORING_CASE,
        Flavor::Light => &SEARCH_RESPECTING_CASE,
    };
    let params = vec![viewer.as_str().into(), pattern.for_database(ctx.db.kind()).into(), SEARCH_MAX.into()];
    let mut rows = ctx.db.query(statement, params).await?;
    Ok(Found::Users(rows.iter_mut().map(user_profile).collect()))
}

fn user_profile(row: &mut Row) -> UserProfile {
    let github = row.opt_json(5);
    let of_github = |member| github.as_deref().and_then(|profile| text_member(profile, member));
    let is_given = |text: &String| !text.is_empty();
    let username = row.opt_text(4).filter(is_given).or_else(|| of_github("login"));
    UserProfile {
        id: row.take_text(0).into(),
        first_name: row.opt_text(1),
        last_name: row.opt_text(2),
        avatar: Avatar::from_json(row.opt_json(3)),
        username,
        bio: of_github("bio").filter(is_given),
        status: Relationship::from_column(row.opt_text(6).as_deref()),
        public_key: row.take_text(7),
        content_public_key: row.opt_bytes(8),
        content_public_key_sig: row.opt_bytes(9),
    }
}

/// A text among the members of a JSON object.
fn text_member(object: &str, name: &str) -> Option<String> {
    let (_, value) = json::members(object).find(|(key, _)| key.trim_matches('"') == name)?;
    if json::kind(value) != Kind::String {
        return None;
    }
    json::unescape(value).ok().map(std::borrow::Cow::into_owned)
}

static PROFILE: Statement = Statement::portable(
    r#"SELECT a."id", a."firstName", a."lastName", a."avatar", a."username", g."profile", r."status", a."publicKey",
              a."contentPublicKey", a."contentPublicKeySig"
       FROM "Account" a
       LEFT JOIN "GithubUser" g ON g."id" = a."githubUserId"
       LEFT JOIN "UserRelationship" r ON r."fromUserId" = $1 AND r."toUserId" = a."id"
       WHERE a."id" = $2"#,
);

static RELATED: Statement = Statement::portable(
    r#"SELECT a."id", a."firstName", a."lastName", a."avatar", a."username", g."profile", r."status", a."publicKey",
              a."contentPublicKey", a."contentPublicKeySig"
       FROM "UserRelationship" r
       JOIN "Account" a ON a."id" = r."toUserId"
       LEFT JOIN "GithubUser" g ON g."id" = a."githubUserId"
       WHERE r."fromUserId" = $1 AND r."status" IN ('friend', 'pending', 'requested')
       ORDER BY r."createdAt", a."id""#,
);

static SEARCH_IGNORING_CASE: Statement = Statement::two(
    r#"SELECT a."id", a."firstName", a."lastName", a."avatar", a."username", g."profile", r."status", a."publicKey",
              a."contentPublicKey", a."contentPublicKeySig"
       FROM "Account" a
       LEFT JOIN "GithubUser" g ON g."id" = a."githubUserId"
       LEFT JOIN "UserRelationship" r ON r."fromUserId" = $1 AND r."toUserId" = a."id"
       WHERE a."username" ILIKE $2 ORDER BY a."username" LIMIT $3"#,
    r#"SELECT a."id", a."firstName", a."lastName", a."avatar", a."username", g."profile", r."status", a."publicKey",
              a."contentPublicKey", a."contentPublicKeySig"
       FROM "Account" a
       LEFT JOIN "GithubUser" g ON g."id" = a."githubUserId"
       LEFT JOIN "UserRelationship" r ON r."fromUserId" = $1 AND r."toUserId" = a."id"
       WHERE lower(a."username") GLOB lower($2) ORDER BY a."username" LIMIT $3"#,
);

static SEARCH_RESPECTING_CASE: Statement = Statement::two(
    r#"SELECT a."id", a."firstName", a."lastName", a."avatar", a."username", g."profile", r."status", a."publicKey",
              a."contentPublicKey", a."contentPublicKeySig"
       FROM "Account" a
       LEFT JOIN "GithubUser" g ON g."id" = a."githubUserId"
       LEFT JOIN "UserRelationship" r ON r."fromUserId" = $1 AND r."toUserId" = a."id"
       WHERE a."username" LIKE $2 ORDER BY a."username" LIMIT $3"#,
    r#"SELECT a."id", a."firstName", a."lastName", a."avatar", a."username", g."profile", r."status", a."publicKey",
              a."contentPublicKey", a."contentPublicKeySig"
       FROM "Account" a
       LEFT JOIN "GithubUser" g ON g."id" = a."githubUserId"
       LEFT JOIN "UserRelationship" r ON r."fromUserId" = $1 AND r."toUserId" = a."id"
       WHERE a."username" GLOB $2 ORDER BY a."username" LIMIT $3"#,
);
