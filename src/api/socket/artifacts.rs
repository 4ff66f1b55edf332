//! The events `artifact-read`, `artifact-create`, `artifact-update` and `artifact-delete` (`spec/realtime.md`
//! §8.4–§8.7).

use std::sync::Arc;

use protocol::base64;
use serde::Serialize;

use super::data::{Data, truthy};
use super::refusal::Refusal;
use super::{Ack, Door};
use crate::domain::artifacts::{self, Artifact, Create, Created, Part, Stored, Update, Updated};
use crate::model::ids::ArtifactId;
use crate::observe::metrics::Counter;
use crate::realtime::application::{Caller, Incoming};

const NOT_FOUND: Refusal = Refusal("Artifact not found");

#[derive(Serialize)]
struct Success {
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact: Option<Fields>,
}

impl Success {
    fn of(artifact: Artifact) -> Self {
        Self { result: "success", artifact: Some(artifact.into()) }
    }
}

/// Without the key: over the socket only `new-artifact` carries it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    id: ArtifactId,
    header: String,
    header_version: i64,
    body: String,
    body_version: i64,
    seq: i64,
    created_at: i64,
    updated_at: i64,
}

impl From<Artifact> for Fields {
    fn from(Artifact { info, body, body_version }: Artifact) -> Self {
        Self {
            id: info.id,
            header: base64::encode(&info.header),
            header_version: info.header_version,
            body: base64::encode(&body),
            body_version,
            seq: info.seq,
            created_at: info.created_at,
            updated_at: info.updated_at,
        }
    }
}

/// The answer to an update: of each part sent, what it is now.
#[derive(Serialize)]
struct Changed<T> {
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<T>,
}

#[derive(Serialize)]
struct New {
    version: i64,
    /// As sent.
    data: Arc<str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Current {
    current_version: i64,
    current_data: String,
}

impl From<Stored> for Current {
    fn from(stored: Stored) -> Self {
        Self { current_version: stored.version, current_data: base64::encode(&stored.bytes) }
    }
}

fn failed(ack: Ack, error: &impl std::fmt::Display) {
    log::error!("an event of an artifact failed: {error}");
    ack.answer(&Refusal::INTERNAL);
}

fn identifier(data: &Data<'_>, name: &str) -> Result<ArtifactId, Refusal> {
    if data.is_missing() {
        return Err(Refusal::INTERNAL);
    }
    Ok(data.identifier(name).ok_or(Refusal::INVALID)??.into())
}

/// Undecodable base64 counts as a failure of ours, for the clients' sake.
fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    base64::decode_strict(text).map_err(|_| Refusal::INTERNAL)
}

fn read_create(data: Data<'_>) -> Result<Create, Refusal> {
    if data.is_missing() {
        return Err(Refusal::INTERNAL);
    }
    let id = data.identifier("id").ok_or(Refusal::INVALID)?;
    let [header, body, key] =
        ["header", "body", "dataEncryptionKey"].map(|name| data.text(name).ok_or(Refusal::INVALID));
    let (header, body, key) = (header?, body?, key?);
    Ok(Create { id: id?.into(), header: decode(&header?)?, body: decode(&body?)?, data_encryption_key: decode(&key?)? })
}

/// A part as it was sent, before its base64 is looked at.
struct Sent {
    text: String,
    expected_version: i64,
}

fn sent(data: &Data<'_>, name: &str, malformed: &'static str) -> Result<Option<Sent>, Refusal> {
    let Some(raw) = data.member(name).filter(|raw| truthy(raw)) else { return Ok(None) };
    let part = Data::new(Some(raw));
    let (text, version) = (part.text("data"), part.version("expectedVersion"));
    let (Some(text), Some(expected_version)) = (text, version) else { return Err(Refusal(malformed)) };
    Ok(Some(Sent { text: text?, expected_version }))
}

fn decoded(sent: Option<Sent>) -> Result<Option<Part>, Refusal> {
    let Some(Sent { text, expected_version }) = sent else { return Ok(None) };
    Ok(Some(Part { bytes: decode(&text)?, text: text.into(), expected_version }))
}

fn read_update(data: Data<'_>) -> Result<(ArtifactId, Update), Refusal> {
    if data.is_missing() {
        return Err(Refusal::INTERNAL);
    }
    let id = data.identifier("artifactId").ok_or(Refusal::INVALID)?;
    if ["header", "body"].into_iter().all(|part| data.member(part).is_none_or(|raw| !truthy(raw))) {
        return Err(Refusal("No updates provided"));
    }
    let header = sent(&data, "header", "Invalid header parameters")?;
    let body = sent(&data, "body", "Invalid body parameters")?;
    Ok((id?.into(), Update { header: decoded(header)?, body: decoded(body)? }))
}

impl Door {
    pub(super) fn artifact_read(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        self.ctx.metrics.inc(Counter::WebsocketEvent("artifact-read"));
        let ack = self.ack(caller, incoming);
        let id = match identifier(&Data::new(incoming.data), "artifactId") {
            Ok(id) => id,
            Err(refusal) => return ack.answer(&refusal),
        };
        let Some(slot) = self.enter(caller, incoming) else { return ack.answer(&Refusal::INTERNAL) };
        let (door, account) = (self.me(), caller.account.clone());
        self.spawn(slot, async move {
            match artifacts::read(&door.ctx, &account, &id).await {
                Ok(Some(artifact)) => ack.answer(&Success::of(artifact)),
                Ok(None) => ack.answer(&NOT_FOUND),
                Err(error) => failed(ack, &error),
            }
        });
    }

    pub(super) fn artifact_create(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        self.ctx.metrics.inc(Counter::WebsocketEvent("artifact-create"));
        let ack = self.ack(caller, incoming);
        let create = match read_create(Data::new(incoming.data)) {
            Ok(create) => create,
            Err(refusal) => return ack.answer(&refusal),
        };
        let Some(slot) = self.enter(caller, incoming) else { return ack.answer(&Refusal::INTERNAL) };
        let (door, account) = (self.me(), caller.account.clone());
        self.spawn(slot, async move {
            match artifacts::create(&door.ctx, &account, create).await {
                Ok(Created::Artifact(artifact)) => ack.answer_behind_updates(&account, &Success::of(artifact)),
                Ok(Created::Foreign) => ack.answer(&Refusal("Artifact already exists")),
                Err(error) => failed(ack, &error),
            }
        });
    }

    pub(super) fn artifact_update(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        self.ctx.metrics.inc(Counter::WebsocketEvent("artifact-update"));
        let ack = self.ack(caller, incoming);
        let (id, update) = match read_update(Data::new(incoming.data)) {
            Ok(update) => update,
            Err(refusal) => return ack.answer(&refusal),
        };
        let Some(slot) = self.enter(caller, incoming) else { return ack.answer(&Refusal::INTERNAL) };
        let (door, account) = (self.me(), caller.account.clone());
        let text = |part: &Option<Part>| part.as_ref().map(|part| Arc::clone(&part.text));
        let (header, body) = (text(&update.header), text(&update.body));
        let new = |text: Option<Arc<str>>, version| text.zip(version).map(|(data, version)| New { version, data });
        self.spawn(slot, async move {
            match artifacts::update(&door.ctx, &account, &id, update).await {
                Ok(Updated::Done { header_version, body_version }) => {
                    let (header, body) = (new(header, header_version), new(body, body_version));
                    ack.answer_behind_updates(&account, &Changed { result: "success", header, body });
                }
                Ok(Updated::Mismatch { header, body }) => {
                    let (header, body) = (header.map(Current::from), body.map(Current::from));
                    ack.answer(&Changed { result: "version-mismatch", header, body });
                }
                Ok(Updated::NotFound) => ack.answer(&NOT_FOUND),
                Err(error) => failed(ack, &error),
            }
        });
    }

    pub(super) fn artifact_delete(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        self.ctx.metrics.inc(Counter::WebsocketEvent("artifact-delete"));
        let ack = self.ack(caller, incoming);
        let id = match identifier(&Data::new(incoming.data), "artifactId") {
            Ok(id) => id,
            Err(refusal) => return ack.answer(&refusal),
        };
        let Some(slot) = self.enter(caller, incoming) else { return ack.answer(&Refusal::INTERNAL) };
        let (door, account) = (self.me(), caller.account.clone());
        self.spawn(slot, async move {
            match artifacts::delete(&door.ctx, &account, &id).await {
                Ok(true) => ack.answer_behind_updates(&account, &Success { result: "success", artifact: None }),
                Ok(false) => ack.answer(&NOT_FOUND),
                Err(error) => failed(ack, &error),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T>(read: impl Fn(Data<'_>) -> Result<T, Refusal>, data: &str) -> &'static str {
        read(Data::new(Some(data))).err().map_or("accepted", |refusal| refusal.0)
    }

    #[test]
    fn what_a_creation_must_have() {
        for (data, expected) in [
            ("null", "Internal error"),
            (r#"{"id":"","header":"","body":"","dataEncryptionKey":""}"#, "Invalid parameters"),
            (r#"{"id":[],"header":"","body":""}"#, "Invalid parameters"),
            (r#"{"id":[],"header":"","body":"","dataEncryptionKey":""}"#, "Internal error"),
            (r#"{"id":"a","header":"\ud800","body":5,"dataEncryptionKey":""}"#, "Invalid parameters"),
            (r#"{"id":"a","header":"\ud800","body":"","dataEncryptionKey":""}"#, "Internal error"),
            (r#"{"id":"a","header":"?","body":"","dataEncryptionKey":""}"#, "Internal error"),
            (r#"{"id":"a","header":"","body":"","dataEncryptionKey":""}"#, "accepted"),
        ] {
            assert_eq!(refused(read_create, data), expected, "{data}");
        }
    }

    #[test]
    fn what_an_update_must_have() {
        for (data, expected) in [
            ("null", "Internal error"),
            ("[]", "Invalid parameters"),
            (r#"{"artifactId":0,"header":{}}"#, "Invalid parameters"),
            (r#"{"artifactId":"a","header":null,"body":""}"#, "No updates provided"),
            (r#"{"artifactId":"a","header":"text","body":"text"}"#, "Invalid header parameters"),
            (r#"{"artifactId":"a","header":{"data":"AAAA"}}"#, "Invalid header parameters"),
            (r#"{"artifactId":"a","body":{"data":"AAAA","expectedVersion":"1"}}"#, "Invalid body parameters"),
            (r#"{"artifactId":"a","header":{"data":"?","expectedVersion":1},"body":[]}"#, "Invalid body parameters"),
            (r#"{"artifactId":"a","header":{"data":"?","expectedVersion":1}}"#, "Internal error"),
            (r#"{"artifactId":{},"header":{"data":"AAAA","expectedVersion":1}}"#, "Internal error"),
            (r#"{"artifactId":"a","header":{"data":"AAAA","expectedVersion":1.5}}"#, "accepted"),
        ] {
            assert_eq!(refused(read_update, data), expected, "{data}");
        }
    }
}
