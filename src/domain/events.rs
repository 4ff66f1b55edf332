//! How rules publish their events: the audience, the account's cursor, the body as JSON text.
//!
//! Called after the commit, never inside a transaction. Implements the sending side of `spec/realtime.md` §3–§4.

use serde::Serialize;

use super::{Context, event_body};
use crate::model::ids::AccountId;
use crate::realtime::event::{Audience, Ephemeral, Event, Update};

/// A value and its version, as updates carry it.
#[derive(Serialize)]
pub(super) struct Versioned<'a> {
    pub value: &'a str,
    pub version: i64,
}

impl Context {
    /// Tells an account of a committed change. `seq` is the cursor of the change.
    pub fn publish_update(&self, account: &AccountId, seq: i64, audience: Audience, body: &impl Serialize) {
        self.events.publish(Event::Update(update(account, seq, audience, event_body(body))));
    }

    /// Tells an account of one committed change in two updates.
    pub fn publish_pair(&self, account: &AccountId, seq: i64, pair: [(Audience, String); 2]) {
        let pair = pair.map(|(audience, body)| update(account, seq, audience, body));
        self.events.publish(Event::Pair(Box::new(pair)));
    }

    /// Tells an account of a transient state.
    pub fn publish_ephemeral(&self, account: &AccountId, audience: Audience, body: &impl Serialize) {
        let body = event_body(body);
        self.events.publish(Event::Ephemeral(Ephemeral { account: account.clone(), audience, body }));
    }
}

fn update(account: &AccountId, seq: i64, audience: Audience, body: String) -> Update {
    Update { account: account.clone(), seq, audience, body: body.into(), skip: None }
}
