//! The event `access-key-get` (`spec/realtime.md` §8.9).

use serde::Serialize;

use super::Door;
use super::data::{Data, Unstorable};
use crate::domain::access_keys::{self, AccessKey, Place, Read};
use crate::realtime::application::{Caller, Incoming};

const INCOMPLETE: &str = "Invalid parameters: sessionId and machineId are required";
const NOT_OWNED: &str = "Session or machine not found";
const INTERNAL: &str = "Internal error";

#[derive(Serialize)]
struct Refusal {
    ok: bool,
    error: &'static str,
}

impl Refusal {
    fn new(error: &'static str) -> Self {
        Self { ok: false, error }
    }
}

impl From<Unstorable> for Refusal {
    fn from(_: Unstorable) -> Self {
        Self::new(INTERNAL)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    ok: bool,
    access_key: Option<Fields>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    data: String,
    data_version: i64,
    created_at: i64,
    updated_at: i64,
}

impl From<AccessKey> for Fields {
    fn from(key: AccessKey) -> Self {
        Self { data: key.data, data_version: key.data_version, created_at: key.created_at, updated_at: key.updated_at }
    }
}

fn place(data: Data<'_>) -> Result<Place, Refusal> {
    if data.is_missing() {
        return Err(Refusal::new(INTERNAL));
    }
    let (session, machine) = (data.identifier("sessionId"), data.identifier("machineId"));
    let (Some(session), Some(machine)) = (session, machine) else { return Err(Refusal::new(INCOMPLETE)) };
    Ok(Place { session: session?.into(), machine: machine?.into() })
}

impl Door {
    pub(super) fn access_key_get(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        let ack = self.ack(caller, incoming);
        let place = match place(Data::new(incoming.data)) {
            Ok(place) => place,
            Err(refusal) => return ack.answer(&refusal),
        };
        let Some(slot) = self.enter(caller, incoming) else { return ack.answer(&Refusal::new(INTERNAL)) };
        let (door, account) = (self.me(), caller.account.clone());
        self.spawn(slot, async move {
            match access_keys::read(&door.ctx, &account, &place).await {
                Ok(Read::Found(key)) => ack.answer(&Answer { ok: true, access_key: Some(key.into()) }),
                Ok(Read::Absent) => ack.answer(&Answer { ok: true, access_key: None }),
                Ok(Read::NotOwned) => ack.answer(&Refusal::new(NOT_OWNED)),
                Err(error) => {
                    log::error!("reading an access key failed: {error}");
                    ack.answer(&Refusal::new(INTERNAL));
                }
            }
        });
    }
}
