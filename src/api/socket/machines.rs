//! The events `machine-update-metadata` and `machine-update-state` (`spec/realtime.md` §8.2–§8.3).

use std::sync::Arc;

use serde::Serialize;

use super::Door;
use super::data::Data;
use super::refusal::Refusal;
use crate::domain::machines::{self, Part, Updated};
use crate::model::ids::MachineId;
use crate::realtime::application::{Caller, Incoming};

struct Edit {
    machine: MachineId,
    value: Arc<str>,
    expected_version: i64,
}

impl Edit {
    fn read(data: Data<'_>, part: Part) -> Result<Self, Refusal> {
        if data.is_missing() {
            return Err(Refusal::INTERNAL);
        }
        let machine = data.identifier("machineId").ok_or(Refusal::INVALID)?;
        let value = data.text(member(part)).ok_or(Refusal::INVALID)?;
        let expected_version = data.version("expectedVersion").ok_or(Refusal::INVALID)?;
        Ok(Self { machine: machine?.into(), value: value?.into(), expected_version })
    }
}

fn member(part: Part) -> &'static str {
    match part {
        Part::Metadata => "metadata",
        Part::DaemonState => "daemonState",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    result: &'static str,
    version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon_state: Option<Option<&'a str>>,
}

impl<'a> Answer<'a> {
    /// `value` is what is stored now, if it is known.
    fn new(result: &'static str, version: i64, part: Part, value: Option<Option<&'a str>>) -> Self {
        match part {
            Part::Metadata => Self { result, version, metadata: value, daemon_state: None },
            Part::DaemonState => Self { result, version, metadata: None, daemon_state: value },
        }
    }
}

impl Door {
    pub(super) fn machine_update(&self, caller: &Caller<'_>, incoming: &Incoming<'_>, part: Part) {
        let ack = self.ack(caller, incoming);
        let Edit { machine, value, expected_version } = match Edit::read(Data::new(incoming.data), part) {
            Ok(edit) => edit,
            Err(refusal) => return ack.answer(&refusal),
        };
        let Some(slot) = self.enter(caller, incoming) else { return ack.answer(&Refusal::INTERNAL) };
        let (door, account) = (self.me(), caller.account.clone());
        self.spawn(slot, async move {
            const MISMATCH: &str = "version-mismatch";
            match machines::update(&door.ctx, &account, &machine, part, Arc::clone(&value), expected_version).await {
                Ok(Updated::Done { version }) => {
                    ack.answer_behind_updates(&account, &Answer::new("success", version, part, Some(Some(&value))));
                }
                Ok(Updated::Mismatch { version, value }) => {
                    ack.answer(&Answer::new(MISMATCH, version, part, Some(value.as_deref())));
                }
                Ok(Updated::Vanished) => ack.answer(&Answer::new(MISMATCH, expected_version, part, None)),
                Ok(Updated::NotFound) => ack.answer(&Refusal("Machine not found")),
                Err(error) => {
                    log::error!("changing a machine failed: {error}");
                    ack.answer(&Refusal::INTERNAL);
                }
            }
        });
    }
}
