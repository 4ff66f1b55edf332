//! The API as an OpenAPI 3.1 document, made of the route table and of what the routes read.
//!
//! Owns: the form. Never: facts about single routes; those are in [`super::routes`] and in the handlers' inputs.
//! Says of answers: which statuses there are, and the shapes of refusals.

use std::borrow::Cow;
use std::collections::BTreeSet;

use protocol::http::Method;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::describe::{Field, Presence, Shape};
use super::routes::{Access, Route};
use super::validate::Part;

const ABOUT: &str = "The REST half of the server; docs/api.md explains it. Content is encrypted by the clients and \
opaque here. Path parameters of more than 100 UTF-16 units match no route. Live updates come over Socket.IO 5 at \
/v1/updates/.";

/// A JSON value that keeps the order of its members.
#[derive(Clone)]
enum Json {
    Null,
    Bool(bool),
    Number(i64),
    Text(Cow<'static, str>),
    List(Vec<Self>),
    Map(Vec<(Cow<'static, str>, Self)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => serializer.serialize_i64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Map(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

fn text(text: impl Into<Cow<'static, str>>) -> Json {
    Json::Text(text.into())
}

fn map<const N: usize>(members: [(&'static str, Json); N]) -> Json {
    Json::Map(members.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
}

fn texts(items: &[&'static str]) -> Json {
    Json::List(items.iter().map(|item| text(*item)).collect())
}

/// A number that a count or a length is.
fn count(number: usize) -> Json {
    Json::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

fn reference(name: &str) -> Json {
    map([("$ref", text(format!("#/components/schemas/{name}")))])
}

/// The document for these routes.
pub fn document(routes: &[Route]) -> Vec<u8> {
    let mut paths: Vec<(Cow<'static, str>, Json)> = Vec::new();
    for route in routes {
        let path = Cow::Owned(path(route.template));
        let operation = (Cow::Owned(route.method.as_str().to_ascii_lowercase()), operation(route));
        match paths.iter_mut().find(|(known, _)| *known == path) {
            Some((_, Json::Map(methods))) => methods.push(operation),
            _ => paths.push((path, Json::Map(vec![operation]))),
        }
    }
    let document = map([
        ("openapi", text("3.1.0")),
        (
            "info",
            map([
                ("title", text("Happier Server")),
                ("version", text(env!("CARGO_PKG_VERSION"))),
                ("description", text(ABOUT)),
                ("license", map([("name", text("MIT")), ("identifier", text("MIT"))])),
            ]),
        ),
        ("servers", Json::List(vec![map([("url", text("/"))])])),
        ("paths", Json::Map(paths)),
        ("components", components()),
    ]);
    sonic_rs::to_vec(&document).unwrap_or_default()
}

fn components() -> Json {
    let string = || map([("type", text("string"))]);
    let object = |required: &[&'static str], properties: Json| {
        map([("type", text("object")), ("required", texts(required)), ("properties", properties)])
    };
    let refusal = map([
        ("type", text("object")),
        ("description", text("What a route refuses says why in `error`; some routes add to it.")),
        ("properties", map([("error", string())])),
    ]);
    let standard = object(
        &["error", "message", "statusCode"],
        map([("error", string()), ("message", string()), ("statusCode", map([("type", text("integer"))]))]),
    );
    let schemas = map([("Refusal", refusal), ("StandardError", standard)]);
    let bearer = map([("type", text("http")), ("scheme", text("bearer"))]);
    map([("schemas", schemas), ("securitySchemes", map([("bearer", bearer)]))])
}

/// `/v1/kv/:key` is `/v1/kv/{key}`.
fn path(template: &str) -> String {
    let segment = |segment: &str| match segment.strip_prefix(':') {
        Some(name) => format!("{{{name}}}"),
        None if segment == "*" => "{path}".to_string(),
        None => segment.to_string(),
    };
    template.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn operation(route: &Route) -> Json {
    let fields = (route.input)();
    let mut members: Vec<(Cow<'static, str>, Json)> = vec![
        (Cow::Borrowed("operationId"), text(operation_id(route))),
        (Cow::Borrowed("tags"), Json::List(vec![text(tag(route.template))])),
        (Cow::Borrowed("summary"), text(route.about)),
    ];
    let bearer = || map([("bearer", Json::List(Vec::new()))]);
    let security = match route.access {
        Access::Open => Vec::new(),
        Access::Optional => vec![map([]), bearer()],
        Access::Bearer => vec![bearer()],
    };
    members.push((Cow::Borrowed("security"), Json::List(security)));
    let parameters = parameters(route.template, &fields);
    if !parameters.is_empty() {
        members.push((Cow::Borrowed("parameters"), Json::List(parameters)));
    }
    if fields.iter().any(|field| field.part == Part::Body) {
        let content = map([("application/json", map([("schema", object(&fields, ""))]))]);
        members.push((Cow::Borrowed("requestBody"), map([("required", Json::Bool(true)), ("content", content)])));
    }
    members.push((Cow::Borrowed("responses"), responses(route, &fields)));
    Json::Map(members)
}

fn operation_id(route: &Route) -> String {
    let mut id = route.method.as_str().to_ascii_lowercase();
    for word in route.template.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let (first, rest) = word.split_at(1);
        id.push_str(&first.to_ascii_uppercase());
        id.push_str(rest);
    }
    if route.template.ends_with('/') { id + "Root" } else { id }
}

/// The noun behind the version.
fn tag(template: &'static str) -> &'static str {
    let mut segments = template.split('/').skip(1);
    match segments.next() {
        Some("v1" | "v2") => segments.next().unwrap_or("service"),
        _ => "service",
    }
}

fn parameters(template: &'static str, fields: &[Field]) -> Vec<Json> {
    let mut parameters = Vec::new();
    for segment in template.split('/') {
        let Some(name) = segment.strip_prefix(':').or_else(|| (segment == "*").then_some("*")) else { continue };
        let described = fields.iter().find(|field| field.part == Part::Params && field.name == name);
        let schema = described.map_or_else(|| map([("type", text("string"))]), |field| schema(field, fields));
        let name = if name == "*" { "path" } else { name };
        parameters.push(parameter("path", name.to_string(), true, schema));
    }
    for field in fields.iter().filter(|field| !field.name.is_empty()) {
        let place = match field.part {
            Part::Query => "query",
            Part::Headers => "header",
            Part::Params | Part::Body => continue,
        };
        let is_required = !field.presence.may_be_absent();
        parameters.push(parameter(place, field.name.clone(), is_required, schema(field, fields)));
    }
    parameters
}

fn parameter(place: &'static str, name: String, is_required: bool, schema: Json) -> Json {
    map([("name", text(name)), ("in", text(place)), ("required", Json::Bool(is_required)), ("schema", schema)])
}

/// The schema of one field.
fn schema(field: &Field, fields: &[Field]) -> Json {
    let types = |name: &'static str| match field.presence.may_be_null() {
        true => texts(&[name, "null"]),
        false => text(name),
    };
    match &field.shape {
        Shape::Text | Shape::Rule(_) => map([("type", types("string"))]),
        Shape::Uuid => map([("type", types("string")), ("format", text("uuid"))]),
        Shape::Boolean => map([("type", types("boolean"))]),
        Shape::Number => map([("type", types("number"))]),
        Shape::Integer { min, max, default } => {
            let bounds = [("minimum", min), ("maximum", max), ("default", default)];
            let given = bounds.into_iter().filter_map(|(name, bound)| bound.map(|bound| (name, Json::Number(bound))));
            let members = [("type", types("integer"))].into_iter().chain(given);
            Json::Map(members.map(|(name, value)| (Cow::Borrowed(name), value)).collect())
        }
        Shape::OneOf(options) => {
            let null = field.presence.may_be_null().then_some(Json::Null);
            let options = options.iter().map(|option| text(*option)).chain(null);
            map([("type", types("string")), ("enum", Json::List(options.collect()))])
        }
        Shape::Object | Shape::Numbers { .. } => object(fields, &format!("{}{}/", field.prefix, field.name)),
        Shape::Array { min, max, of_texts } => {
            let items = match of_texts {
                true => map([("type", text("string"))]),
                false => object(fields, &format!("{}{}/*/", field.prefix, field.name)),
            };
            map([("type", types("array")), ("minItems", count(*min)), ("maxItems", count(*max)), ("items", items)])
        }
        Shape::Anything => Json::Bool(true),
    }
}

/// The schema of the object whose fields have this prefix. Unknown members are ignored everywhere.
fn object(fields: &[Field], prefix: &str) -> Json {
    let inside = || fields.iter().filter(|field| field.part == Part::Body && field.prefix == prefix);
    let mut members = vec![(Cow::Borrowed("type"), text("object"))];
    let mut required = Vec::new();
    let mut properties = Vec::new();
    for field in inside() {
        match &field.shape {
            Shape::Numbers { required: name } => {
                required.push(text(name.clone()));
                properties.push((Cow::Owned(name.clone()), map([("type", text("number"))])));
                members.push((Cow::Borrowed("additionalProperties"), map([("type", text("number"))])));
            }
            Shape::Rule(rule) => members.push((Cow::Borrowed("description"), text(rule.clone()))),
            _ if field.name.is_empty() => {}
            _ => {
                if matches!(field.presence, Presence::Required | Presence::Nullable) {
                    required.push(text(field.name.clone()));
                }
                properties.push((Cow::Owned(field.name.clone()), schema(field, fields)));
            }
        }
    }
    if !required.is_empty() {
        members.push((Cow::Borrowed("required"), Json::List(required)));
    }
    members.push((Cow::Borrowed("properties"), Json::Map(properties)));
    Json::Map(members)
}

/// Every status that a route answers with.
pub fn statuses(route: &Route) -> BTreeSet<u16> {
    statuses_of(route, &(route.input)())
}

fn statuses_of(route: &Route, fields: &[Field]) -> BTreeSet<u16> {
    let mut statuses: BTreeSet<u16> = route.answers.iter().copied().collect();
    if !statuses.contains(&302) {
        statuses.insert(200);
    }
    // A path parameter can be any text; everything else can be wrong.
    let can_be_wrong = |field: &Field| field.part != Part::Params || field.shape != Shape::Text;
    if fields.iter().any(can_be_wrong) {
        statuses.insert(400);
    }
    if matches!(route.method, Method::Post | Method::Put | Method::Patch | Method::Delete) {
        statuses.extend([400, 413]);
        if !route.endpoint.takes_any_media_type {
            statuses.insert(415);
        }
    }
    if route.access == Access::Bearer {
        statuses.insert(401);
    }
    if route.endpoint.limit.is_some() {
        statuses.insert(429);
    }
    statuses.insert(500);
    statuses
}

fn responses(route: &Route, fields: &[Field]) -> Json {
    let response = |status: u16| {
        let content = |schema: Json| ("content", map([("application/json", map([("schema", schema)]))]));
        let described = |about: &'static str| ("description", text(about));
        let either = || map([("anyOf", Json::List(vec![reference("StandardError"), reference("Refusal")]))]);
        match status {
            200 => map([described("Done. A JSON answer, unless the summary says otherwise.")]),
            302 => map([described("Elsewhere, see Location.")]),
            400 => map([described("The request is malformed; the text says how."), content(either())]),
            401 => map([described("The caller is not who it should be."), content(reference("Refusal"))]),
            403 => map([described("The caller may not do this."), content(reference("Refusal"))]),
            404 => map([described("There is no such thing, for this caller."), content(reference("Refusal"))]),
            409 => map([described("Something else is there."), content(reference("Refusal"))]),
            410 => map([described("The cursor is too old or from the future."), content(reference("Refusal"))]),
            413 => map([described("The body is too large."), content(reference("StandardError"))]),
            415 => map([described("The body is of another media type."), content(reference("StandardError"))]),
            429 => {
                let number = || map([("schema", map([("type", text("integer"))]))]);
                let headers = ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
                map([
                    described("Called too often; seconds until the next window are in `retry-after`."),
                    ("headers", map(headers.map(|name| (name, number())))),
                    content(reference("StandardError")),
                ])
            }
            503 => map([described("The server cannot work now.")]),
            _ => map([described("The server has failed."), content(either())]),
        }
    };
    let statuses = statuses_of(route, fields);
    Json::Map(statuses.into_iter().map(|status| (Cow::Owned(status.to_string()), response(status))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes;

    fn document() -> serde_json::Value {
        serde_json::from_slice(&super::document(&routes::all())).expect("a JSON document")
    }

    #[test]
    fn every_route_is_in_the_document() {
        let document = document();
        let routes = routes::all();
        for route in &routes {
            let operation = &document["paths"][path(route.template)][route.method.as_str().to_ascii_lowercase()];
            assert!(operation["responses"].is_object(), "{} {}", route.method.as_str(), route.template);
            assert!(!route.about.is_empty() && operation["summary"] == route.about, "{}", route.template);
        }
        let methods =
            document["paths"].as_object().expect("paths").values().map(|path| path.as_object().map_or(0, |m| m.len()));
        assert_eq!(methods.sum::<usize>(), routes.len());
        let ids: BTreeSet<String> = routes.iter().map(operation_id).collect();
        assert_eq!(ids.len(), routes.len());
    }

    #[test]
    fn fields_become_schemas() {
        let document = document();
        let operation = |path: &str, method: &str| document["paths"][path][method].clone();
        let schema = |path: &str, method: &str| {
            operation(path, method)["requestBody"]["content"]["application/json"]["schema"].clone()
        };
        let kv = schema("/v1/kv", "post");
        assert_eq!(kv["required"], serde_json::json!(["mutations"]));
        assert_eq!(
            kv["properties"]["mutations"],
            serde_json::json!({"type": "array", "minItems": 1, "maxItems": 100, "items": {
                "type": "object",
                "required": ["key", "value", "version"],
                "properties": {
                    "key": {"type": "string"},
                    "value": {"type": ["string", "null"]},
                    "version": {"type": "number"},
                },
            }})
        );
        let report = schema("/v2/usage-reports", "post");
        assert_eq!(
            report["properties"]["cost"],
            serde_json::json!({"type": "object", "additionalProperties": {"type": "number"}, "required": ["total"],
                "properties": {"total": {"type": "number"}}})
        );
        let group = &schema("/v1/usage/query", "post")["properties"]["groupBy"];
        assert_eq!(*group, serde_json::json!({"type": ["string", "null"], "enum": ["hour", "day", null]}));
        let changes = operation("/v2/changes", "get");
        assert_eq!(
            changes["parameters"][1],
            serde_json::json!({"name": "limit", "in": "query", "required": false,
                "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 200}})
        );
        let statuses: Vec<&String> = changes["responses"].as_object().expect("responses").keys().collect();
        assert_eq!(statuses, ["200", "400", "401", "404", "410", "500"]);
        let send = operation("/v2/sessions/{sessionId}/messages", "post");
        assert_eq!(send["parameters"][1]["in"], "header");
        assert_eq!(
            operation("/v1/public-share/{token}", "get")["responses"]["429"]["headers"].as_object().map(|m| m.len()),
            Some(4)
        );
    }
}
