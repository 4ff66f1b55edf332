//! The events `update-metadata` and `update-state` (`spec/realtime.md` §7.2–§7.3).

use protocol::json;

use super::Door;
use super::data::{Data, Unstorable};
use crate::domain::sessions::{self, Edit, Edits, Updated, Versioned, VersionedParts};
use crate::model::ids::SessionId;
use crate::realtime::application::{Caller, Incoming};

const ERROR: &str = r#"{"result":"error"}"#;

/// Why an event is answered with `error` at once: its data are of the wrong type, or missing.
struct Invalid;

impl From<Unstorable> for Invalid {
    fn from(_: Unstorable) -> Self {
        Self
    }
}

impl Door {
    pub(super) fn update_metadata(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        match metadata_edit(Data::new(incoming.data)) {
            Ok((session, edits)) => self.update_session(caller, incoming, session, edits),
            Err(Invalid) => self.ack(caller, incoming).send(ERROR),
        }
    }

    pub(super) fn update_state(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        match state_edit(Data::new(incoming.data)) {
            Ok((session, edits)) => self.update_session(caller, incoming, session, edits),
            Err(Invalid) => self.ack(caller, incoming).send(ERROR),
        }
    }

    fn update_session(&self, caller: &Caller<'_>, incoming: &Incoming<'_>, session: SessionId, edits: Edits) {
        let ack = self.ack(caller, incoming);
        let Some(slot) = self.enter(caller, incoming) else { return ack.send(ERROR) };
        let (door, account, socket) = (self.me(), caller.account.clone(), caller.socket);
        self.spawn(slot, async move {
            // The update reaches the other participants before the acknowledgement reaches the sender.
            match sessions::update(&door.ctx, &account, &session, edits, Some(socket)).await {
                Ok(Updated::Stored(parts)) => ack.send(&answer("success", &parts)),
                Ok(Updated::VersionMismatch(parts)) => ack.send(&answer("version-mismatch", &parts)),
                Ok(Updated::Forbidden) => ack.send(r#"{"result":"forbidden"}"#),
                Ok(Updated::SessionNotFound) => ack.send(ERROR),
                Err(error) => {
                    log::error!("changing a session failed: {error}");
                    ack.send(ERROR);
                }
            }
        });
    }
}

fn session_of(data: &Data<'_>) -> Result<SessionId, Invalid> {
    Ok(data.identifier("sid").ok_or(Invalid)??.into())
}

fn metadata_edit(data: Data<'_>) -> Result<(SessionId, Edits), Invalid> {
    let session = session_of(&data)?;
    let metadata = data.text("metadata").ok_or(Invalid)??;
    if metadata.is_empty() {
        return Err(Invalid);
    }
    let edit = Edit { value: metadata, expected_version: data.version("expectedVersion").ok_or(Invalid)? };
    Ok((session, Edits { metadata: Some(edit), agent_state: None }))
}

fn state_edit(data: Data<'_>) -> Result<(SessionId, Edits), Invalid> {
    let session = session_of(&data)?;
    let value = match data.member("agentState") {
        Some("null") => None,
        _ => Some(data.text("agentState").ok_or(Invalid)??),
    };
    let edit = Edit { value, expected_version: data.version("expectedVersion").ok_or(Invalid)? };
    Ok((session, Edits { metadata: None, agent_state: Some(edit) }))
}

fn answer(result: &str, parts: &VersionedParts) -> String {
    let mut out = format!(r#"{{"result":"{result}""#).into_bytes();
    if let Some(Versioned { value, version }) = &parts.metadata {
        out.extend_from_slice(format!(r#","version":{version},"metadata":"#).as_bytes());
        json::write_string(&mut out, value);
    }
    if let Some(Versioned { value, version }) = &parts.agent_state {
        out.extend_from_slice(format!(r#","version":{version},"agentState":"#).as_bytes());
        match value {
            Some(value) => json::write_string(&mut out, value),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    String::from_utf8(out).expect("written as UTF-8")
}
