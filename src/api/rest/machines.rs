//! The door of `domain::machines` (`spec/http.md` §14.12–14.14).

use std::rc::Rc;

use protocol::base64;
use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::domain::machines::{self, Machine, Registered};
use crate::model::ids::{AccountId, MachineId};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    id: MachineId,
    metadata: String,
    metadata_version: i64,
    daemon_state: Option<String>,
    daemon_state_version: i64,
    data_encryption_key: Option<String>,
    /// Missing in the answer to a registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    active: bool,
    active_at: i64,
    created_at: i64,
    updated_at: i64,
}

impl From<Machine> for Fields {
    fn from(machine: Machine) -> Self {
        Self {
            id: machine.id,
            metadata: machine.metadata,
            metadata_version: machine.metadata_version,
            daemon_state: machine.daemon_state,
            daemon_state_version: machine.daemon_state_version,
            data_encryption_key: machine.data_encryption_key.as_deref().map(base64::encode),
            seq: Some(machine.seq),
            active: machine.active,
            active_at: machine.active_at,
            created_at: machine.created_at,
            updated_at: machine.updated_at,
        }
    }
}

#[derive(Serialize)]
struct Body {
    machine: Fields,
}

pub struct Register {
    id: String,
    metadata: String,
    daemon_state: Option<String>,
    data_encryption_key: Option<String>,
}

impl FromRequest for Register {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        Self {
            id: body.text("id"),
            metadata: body.text("metadata"),
            daemon_state: body.text_opt("daemonState"),
            data_encryption_key: body.text_nullish("dataEncryptionKey"),
        }
    }
}

pub async fn register(ctx: Rc<Context>, caller: AccountId, input: Register) -> Result<Response, Error> {
    let key = input.data_encryption_key.filter(|key| !key.is_empty());
    let input = machines::Register {
        id: input.id.into(),
        metadata: input.metadata,
        daemon_state: input.daemon_state,
        data_encryption_key: key.map(|key| base64::decode_lenient(&key)),
    };
    match machines::register(&ctx, &caller, input).await? {
        Registered::Machine(machine) => Ok(Response::ok(&Body { machine: Fields { seq: None, ..machine.into() } })),
        // O-20: the reference server answers with a G500.
        Registered::Foreign => Err(Error::refused(409, "Machine with this ID already exists for another account")),
    }
}

pub async fn list(ctx: Rc<Context>, caller: AccountId, (): ()) -> Result<Response, Error> {
    let machines = machines::list(&ctx, &caller).await?;
    Ok(Response::ok(&machines.into_iter().map(Fields::from).collect::<Vec<_>>()))
}

pub struct Named {
    machine: MachineId,
}

impl FromRequest for Named {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { machine: parts.params().text("id").into() }
    }
}

pub async fn get(ctx: Rc<Context>, caller: AccountId, named: Named) -> Result<Response, Error> {
    let machine = machines::find(&ctx, &caller, &named.machine).await?;
    let machine = machine.ok_or(Error::refused(404, "Machine not found"))?;
    Ok(Response::ok(&Body { machine: machine.into() }))
}
