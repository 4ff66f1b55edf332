//! Friends: asking, accepting, declining and parting, as a state per ordered pair of accounts.
//!
//! Owns: the transitions, the statements, and when a transition is posted to a feed.
//! Never: relationship events; clients learn from feed posts and from the change log (O-30).
//! Invariants: `acceptedAt` is set exactly for `friend`; `lastNotifiedAt` survives every transition; both accounts are
//! locked before a state is read. Implements `spec/http.md` §16.4.

use super::changes::{self, Kind};
use super::feed::{self, Posted};
use super::locks::lock_accounts;
use super::users::{self, Relationship, UserProfile};
use super::{Context, RawJson};
use crate::model::ids::AccountId;
use crate::model::time::now_ms;
use crate::realtime::event::Event;
use crate::storage::value::Value;
use crate::storage::{Error, Statement, Tx};

/// A pair of accounts is notified of the same kind of thing at most this often.
const NOTIFICATION_INTERVAL_MS: i64 = 24 * 60 * 60 * 1000;

/// Asks for friendship, or accepts being asked. `None` for oneself and for accounts that do not exist.
pub async fn add(ctx: &Context, caller: &AccountId, target: &AccountId) -> Result<Option<UserProfile>, Error> {
    if caller == target {
        return Ok(None);
    }
    change(ctx, caller, target, Change::Add).await
}

/// Withdraws, declines or ends a friendship. `None` for accounts that do not exist.
pub async fn remove(ctx: &Context, caller: &AccountId, target: &AccountId) -> Result<Option<UserProfile>, Error> {
    change(ctx, caller, target, Change::Remove).await
}

/// Friends, and those who ask or have been asked.
pub async fn list(ctx: &Context, caller: &AccountId) -> Result<Vec<UserProfile>, Error> {
    users::related(ctx, caller).await
}

#[derive(Clone, Copy)]
enum Change {
    Add,
    Remove,
}

async fn change(
    ctx: &Context,
    caller: &AccountId,
    target: &AccountId,
    change: Change,
) -> Result<Option<UserProfile>, Error> {
    let now = now_ms();
    let (actor, target) = (caller.clone(), target.clone());
    let outcome = ctx.transaction(caller, async move |tx| apply(tx, &actor, &target, change, now).await).await?;
    let Some((profile, posts, silent)) = outcome else { return Ok(None) };
    for post in posts {
        post.publish(ctx);
    }
    for (account, seq) in silent {
        ctx.events.publish(Event::Silent { account, seq });
    }
    Ok(Some(profile))
}

async fn apply(
    tx: &mut Tx<'_>,
    caller: &AccountId,
    target: &AccountId,
    change: Change,
    now: i64,
) -> Result<Option<(UserProfile, Vec<Posted>, Vec<(AccountId, i64)>)>, Error> {
    let present = lock_accounts(tx, &[caller, target]).await?;
    if !present.contains(caller) || !present.contains(target) {
        return Ok(None);
    }
    let own = read(tx, caller, target).await?.status;
    let theirs = read(tx, target, caller).await?.status;
    let transition = match change {
        Change::Add => adding(own, theirs),
        Change::Remove => removing(own, theirs),
    };
    if let Some(status) = transition.own {
        write(tx, caller, target, status, now).await?;
    }
    if let Some(status) = transition.theirs {
        write(tx, target, caller, status, now).await?;
    }
    let posts = match transition.notify {
        Notify::Nobody => Vec::new(),
        Notify::OfRequest => notify(tx, target, caller, "friend_request", now).await?.into_iter().collect(),
        Notify::OfAcceptance => {
            let mut posts = Vec::new();
            posts.extend(notify(tx, caller, target, "friend_accepted", now).await?);
            posts.extend(notify(tx, target, caller, "friend_accepted", now).await?);
            posts
        }
    };
    let mut silent = Vec::new();
    for (account, is_marked) in [(caller, transition.mark_caller), (target, transition.mark_target)] {
        if is_marked {
            let cursor = changes::mark(tx, account, Kind::Friends, changes::SELF, None, now).await?;
            silent.push((account.clone(), cursor));
        }
    }
    let profile = users::profile_in(tx, caller, target).await?;
    Ok(profile.map(|profile| (UserProfile { status: transition.answer, ..profile }, posts, silent)))
}

/// What an action does to a pair of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transition {
    /// New state from the caller to the target.
    own: Option<Relationship>,
    /// New state from the target to the caller.
    theirs: Option<Relationship>,
    notify: Notify,
    mark_caller: bool,
    mark_target: bool,
    /// The state that the caller is told.
    answer: Relationship,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notify {
    Nobody,
    /// The target is told that the caller asks.
    OfRequest,
    /// Both are told.
    OfAcceptance,
}

impl Transition {
    fn none(own: Relationship) -> Self {
        Self { own: None, theirs: None, notify: Notify::Nobody, mark_caller: false, mark_target: false, answer: own }
    }

    fn both(own: Option<Relationship>, theirs: Option<Relationship>, answer: Relationship) -> Self {
        Self { own, theirs, notify: Notify::Nobody, mark_caller: true, mark_target: true, answer }
    }
}

fn adding(own: Relationship, theirs: Relationship) -> Transition {
    use Relationship::{Friend, None, Pending, Rejected, Requested};
    match (own, theirs) {
        (_, Requested) => {
            Transition { notify: Notify::OfAcceptance, ..Transition::both(Some(Friend), Some(Friend), Friend) }
        }
        (None | Rejected, _) => {
            let theirs = (theirs == None).then_some(Pending);
            Transition { notify: Notify::OfRequest, ..Transition::both(Some(Requested), theirs, Requested) }
        }
        (Requested | Pending | Friend, _) => Transition::none(own),
    }
}

fn removing(own: Relationship, theirs: Relationship) -> Transition {
    use Relationship::{Friend, None, Pending, Rejected, Requested};
    match own {
        // The target goes on seeing a request that waits.
        Requested => Transition { mark_target: false, ..Transition::both(Some(Rejected), Option::None, Rejected) },
        // The answer is what the target's state has become, not the caller's own (O-29).
        Friend => Transition::both(Some(Pending), Some(Requested), Requested),
        Pending => {
            let changed = !matches!(theirs, Rejected | None);
            Transition { mark_target: changed, ..Transition::both(Some(None), changed.then_some(None), None) }
        }
        None | Rejected => Transition::none(own),
    }
}

struct Stored {
    status: Relationship,
    last_notified_at: Option<i64>,
}

async fn read(tx: &mut Tx<'_>, from: &AccountId, to: &AccountId) -> Result<Stored, Error> {
    let row = tx.query_opt(&READ, vec![from.as_str().into(), to.as_str().into()]).await?;
    Ok(row.map_or(Stored { status: Relationship::None, last_notified_at: None }, |row| Stored {
        status: Relationship::from_column(Some(row.text(0))),
        last_notified_at: row.opt_time(1),
    }))
}

async fn write(tx: &mut Tx<'_>, from: &AccountId, to: &AccountId, status: Relationship, now: i64) -> Result<(), Error> {
    let accepted_at = if status == Relationship::Friend { Value::Time(now) } else { Value::Null };
    let params = vec![from.as_str().into(), to.as_str().into(), status.as_str().into(), Value::Time(now), accepted_at];
    tx.execute(&WRITE, params).await.map(drop)
}

/// Posts to the recipient's feed, unless it has rejected the other account or has heard of it within a day.
async fn notify(
    tx: &mut Tx<'_>,
    recipient: &AccountId,
    other: &AccountId,
    kind: &str,
    now: i64,
) -> Result<Option<Posted>, Error> {
    let row = read(tx, recipient, other).await?;
    let is_recent = row.last_notified_at.is_some_and(|at| now - at < NOTIFICATION_INTERVAL_MS);
    if row.status == Relationship::Rejected || is_recent {
        return Ok(None);
    }
    // Account ids are made by the server and need no escaping.
    let body = RawJson(format!(r#"{{"kind":"{kind}","uid":"{other}"}}"#));
    let posted = feed::post(tx, recipient, body, format!("{kind}_{other}"), now).await?;
    let params = vec![Value::Time(now), recipient.as_str().into(), other.as_str().into()];
    tx.execute(&NOTIFIED, params).await?;
    Ok(Some(posted))
}

/// Whether two accounts are friends: one state suffices.
pub(super) async fn are_friends(tx: &mut Tx<'_>, one: &AccountId, other: &AccountId) -> Result<bool, Error> {
    Ok(read(tx, one, other).await?.status == Relationship::Friend
        || read(tx, other, one).await?.status == Relationship::Friend)
}

static READ: Statement = Statement::portable(
    r#"SELECT "status", "lastNotifiedAt" FROM "UserRelationship" WHERE "fromUserId" = $1 AND "toUserId" = $2"#,
);

static WRITE: Statement = Statement::portable(
    r#"INSERT INTO "UserRelationship" ("fromUserId", "toUserId", "status", "createdAt", "updatedAt", "acceptedAt")
       VALUES ($1, $2, $3, $4, $4, $5)
       ON CONFLICT ("fromUserId", "toUserId") DO UPDATE SET
         "status" = excluded."status", "updatedAt" = excluded."updatedAt", "acceptedAt" = excluded."acceptedAt""#,
);

static NOTIFIED: Statement = Statement::portable(
    r#"UPDATE "UserRelationship" SET "lastNotifiedAt" = $1, "updatedAt" = $1
       WHERE "fromUserId" = $2 AND "toUserId" = $3"#,
);

#[cfg(test)]
mod tests {
    use super::Relationship::{Friend, None, Pending, Rejected, Requested};
    use super::*;

    const ALL: [Relationship; 5] = [None, Requested, Pending, Friend, Rejected];

    /// Own and their state afterwards, who is marked, what is answered.
    fn outcome(own: Relationship, theirs: Relationship, transition: Transition) -> (Relationship, Relationship, u8) {
        let marks = u8::from(transition.mark_caller) + 2 * u8::from(transition.mark_target);
        (transition.own.unwrap_or(own), transition.theirs.unwrap_or(theirs), marks)
    }

    #[test]
    fn adding_follows_the_table() {
        for own in ALL {
            let accepted = adding(own, Requested);
            assert_eq!(outcome(own, Requested, accepted), (Friend, Friend, 3));
            assert_eq!((accepted.answer, accepted.notify), (Friend, Notify::OfAcceptance));
            for theirs in [None, Pending, Friend, Rejected] {
                let transition = adding(own, theirs);
                if matches!(own, None | Rejected) {
                    let becomes = if theirs == None { Pending } else { theirs };
                    assert_eq!(outcome(own, theirs, transition), (Requested, becomes, 3), "{own:?} {theirs:?}");
                    assert_eq!((transition.answer, transition.notify), (Requested, Notify::OfRequest));
                } else {
                    assert_eq!(outcome(own, theirs, transition), (own, theirs, 0), "{own:?} {theirs:?}");
                    assert_eq!((transition.answer, transition.notify), (own, Notify::Nobody));
                }
            }
        }
    }

    #[test]
    fn removing_follows_the_table() {
        // own, theirs: own and theirs afterwards, marks (1 caller, 2 target), answer
        let table = [
            (Requested, Pending, (Rejected, Pending, 1), Rejected),
            (Friend, Friend, (Pending, Requested, 3), Requested),
            (Pending, Requested, (None, None, 3), None),
            (Pending, Rejected, (None, Rejected, 1), None),
            (Pending, None, (None, None, 1), None),
            (None, None, (None, None, 0), None),
            (Rejected, Pending, (Rejected, Pending, 0), Rejected),
        ];
        for (own, theirs, expected, answer) in table {
            let transition = removing(own, theirs);
            assert_eq!(outcome(own, theirs, transition), expected, "{own:?} {theirs:?}");
            assert_eq!(transition.answer, answer);
            assert_eq!(transition.notify, Notify::Nobody);
        }
    }
}
