//! The door of `domain::kv` (`spec/http.md` §14.17).

use std::rc::Rc;

use protocol::base64;
use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::domain::kv::{self, Item, KEY_BYTES_MAX, Listed, Mutated, Mutation, WILDCARD_PREFIX_BYTES_MAX};
use crate::model::ids::AccountId;

/// Mutations, or keys asked for, in one request.
const BATCH_MAX: usize = 100;

#[derive(Serialize)]
struct Fields {
    key: String,
    value: String,
    version: i64,
}

impl From<Item> for Fields {
    fn from(item: Item) -> Self {
        Self { key: item.key, value: base64::encode(&item.value), version: item.version }
    }
}

pub struct Named {
    key: String,
}

impl FromRequest for Named {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { key: parts.params().text("key") }
    }
}

pub async fn get(ctx: Rc<Context>, caller: AccountId, named: Named) -> Result<Response, Error> {
    let item = kv::get(&ctx, &caller, &named.key).await.map_err(Error::failure("Failed to get value"))?;
    let item = item.ok_or(Error::refused(404, "Key not found"))?;
    Ok(Response::ok(&Fields::from(item)))
}

pub struct List {
    prefix: Option<String>,
    limit: i64,
}

impl FromRequest for List {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut query = parts.query();
        Self { prefix: query.text_opt("prefix"), limit: query.integer_or("limit", 1..=1000, 100) }
    }
}

pub async fn list(ctx: Rc<Context>, caller: AccountId, input: List) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        items: Vec<Fields>,
    }
    let listed = kv::list(&ctx, &caller, input.prefix.as_deref(), input.limit).await;
    match listed.map_err(Error::failure("Failed to list items"))? {
        Listed::Items(items) => Ok(Response::ok(&Body { items: items.into_iter().map(Fields::from).collect() })),
        // O-21
        Listed::PrefixTooLong => Ok(Response::error(
            400,
            &format!("prefix may have at most {WILDCARD_PREFIX_BYTES_MAX} bytes if it contains %"),
        )),
    }
}

pub struct Keys {
    keys: Vec<String>,
}

impl FromRequest for Keys {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { keys: parts.body().texts("keys", 1..=BATCH_MAX) }
    }
}

pub async fn get_many(ctx: Rc<Context>, caller: AccountId, input: Keys) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Body {
        values: Vec<Fields>,
    }
    let items = kv::get_many(&ctx, &caller, input.keys).await.map_err(Error::failure("Failed to get values"))?;
    Ok(Response::ok(&Body { values: items.into_iter().map(Fields::from).collect() }))
}

pub struct Mutate {
    mutations: Vec<Mutation>,
}

impl FromRequest for Mutate {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mutations = parts.body().objects("mutations", 1..=BATCH_MAX, |mutation| Mutation {
            key: mutation.text("key"),
            value: mutation.text_nullable("value"),
            version: mutation.number("version"),
        });
        Self { mutations }
    }
}

pub async fn mutate(ctx: Rc<Context>, caller: AccountId, input: Mutate) -> Result<Response, Error> {
    #[derive(Serialize)]
    struct Done {
        success: bool,
        results: Vec<Version>,
    }
    #[derive(Serialize)]
    struct Version {
        key: String,
        version: i64,
    }
    #[derive(Serialize)]
    struct Conflict {
        success: bool,
        errors: Vec<Mismatch>,
    }
    #[derive(Serialize)]
    struct Mismatch {
        key: String,
        error: &'static str,
        version: i64,
        value: Option<String>,
    }
    let mutated = kv::mutate(&ctx, &caller, input.mutations).await;
    match mutated.map_err(Error::failure("Failed to mutate values"))? {
        Mutated::Done(versions) => {
            let results = versions.into_iter().map(|(key, version)| Version { key, version }).collect();
            Ok(Response::ok(&Done { success: true, results }))
        }
        Mutated::Conflict(mismatches) => {
            let mismatch = |mismatch: kv::Mismatch| Mismatch {
                key: mismatch.key,
                error: "version-mismatch",
                version: mismatch.version,
                value: mismatch.value.as_deref().map(base64::encode),
            };
            let errors = mismatches.into_iter().map(mismatch).collect();
            Ok(Response::json(409, &Conflict { success: false, errors }))
        }
        // O-42: the reference server answers undecodable base64 with a 500.
        Mutated::KeyTooLong => Ok(Response::error(400, &format!("A key may have at most {KEY_BYTES_MAX} bytes"))),
        Mutated::NotBase64 { key } => Ok(Response::error(400, &format!("Invalid base64 in the value of {key}"))),
    }
}
