//! Every route of the table, driven with what clients get wrong: nobody calls, a body is missing, a value is of the
//! wrong type or out of bounds, a name is unknown, somebody else's, too long, or not ASCII.
//!
//! What a route takes is told by [`happier_server::api::describe`]; a valid request is in [`entries`]. A route without
//! an entry fails, and so does an answer that the OpenAPI document does not announce.

mod entries;
mod world;

use std::rc::Rc;
use std::sync::Arc;

use happier_server::api::describe::{Field, Shape};
use happier_server::api::limits::Limit;
use happier_server::api::openapi;
use happier_server::api::routes::{self, Access, Route};
use happier_server::api::validate::Part;
use happier_server::observe::metrics;
use protocol::http::Method;
use serde_json::{Value as Json, json};

use self::entries::Entry;
use self::world::World;
use crate::server::{Account, Answer, Server};

/// A request to a route, still to be varied.
#[derive(Clone)]
struct Call {
    params: Vec<String>,
    query: String,
    fields: Vec<(&'static str, String)>,
    body: Option<Json>,
}

/// A route under test, with the world it is called in.
struct Subject {
    route: Route,
    fields: Vec<Field>,
    may_fail: bool,
    world: World,
}

pub(crate) async fn every_route(server: Rc<Server>) {
    let routes = routes::all();
    let mut entries = entries::all();
    for route in routes {
        let name = format!("{} {}", route.method.as_str(), route.template);
        let at = entries.iter().position(|entry| (entry.method, entry.template) == (route.method, route.template));
        let entry =
            entries.swap_remove(at.unwrap_or_else(|| panic!("{name} has no entry in tests/routes/every_route")));
        drive(&server, route, &entry).await;
    }
    let left: Vec<_> = entries.iter().map(|entry| entry.template).collect();
    assert!(left.is_empty(), "entries without a route: {left:?}");
}

async fn drive(server: &Rc<Server>, route: Route, entry: &Entry) {
    let fields = (route.input)();
    let world = World::new(Rc::clone(server)).await;
    let mut subject = Subject { route, fields, may_fail: entry.may_fail, world };
    let call = (entry.call)(&subject.world);
    subject.who_calls(&call).await;
    subject.bodies(&call).await;
    subject.types(&call).await;
    subject.bounds(&call).await;
    subject.path_parameters(&call, entry).await;
    // What was tried until now may have changed what is there.
    subject.world = World::new(Rc::clone(server)).await;
    let call = (entry.call)(&subject.world);
    if let Some(expected) = entry.stranger {
        let stranger = subject.world.server.account().await;
        subject.expect(expected, Some(&stranger), &call, "of another account").await;
    }
    // Last, because it may delete what it is about.
    subject.expect(entry.status, Some(&subject.world.alice), &call, "as it should be").await;
    if subject.route.method == Method::Get {
        let head = subject.send_as("HEAD", Some(&subject.world.alice), &call).await;
        assert_eq!(head.status, entry.status, "HEAD {}", subject.route.template);
    }
}

impl Subject {
    fn name(&self) -> String {
        format!("{} {}", self.route.method.as_str(), self.route.template)
    }

    fn takes_body(&self) -> bool {
        self.fields.iter().any(|field| field.part == Part::Body)
    }

    fn target(&self, call: &Call) -> String {
        let mut params = call.params.iter();
        let segment = |segment: &str| match segment.starts_with(':') || segment == "*" {
            true => encode(params.next().expect("a value for every parameter")),
            false => segment.to_string(),
        };
        let path = self.route.template.split('/').map(segment).collect::<Vec<_>>().join("/");
        if call.query.is_empty() { path } else { format!("{path}?{}", call.query) }
    }

    fn head(&self, method: &str, authorization: Option<&str>, call: &Call) -> String {
        let mut head = format!("{method} {} HTTP/1.1\r\nHost: x\r\n", self.target(call));
        if let Some(authorization) = authorization {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        for (name, value) in &call.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }

    async fn raw(&self, head: String, body: &[u8]) -> Answer {
        // Another address each time: what is limited here are clients, not tests.
        self.world.next_peer();
        self.world.server.raw(&format!("{head}\r\n"), body).await
    }

    async fn send_as(&self, method: &str, caller: Option<&Account>, call: &Call) -> Answer {
        let authorization = caller.map(|account| format!("Bearer {}", account.token));
        self.send_with(method, authorization.as_deref(), call).await
    }

    async fn send_with(&self, method: &str, authorization: Option<&str>, call: &Call) -> Answer {
        let mut head = self.head(method, authorization, call);
        let bytes = call.body.as_ref().map(Json::to_string).unwrap_or_default();
        if call.body.is_some() {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", bytes.len()));
        }
        self.raw(head, bytes.as_bytes()).await
    }

    async fn send(&self, caller: Option<&Account>, call: &Call) -> Answer {
        self.send_as(self.route.method.as_str(), caller, call).await
    }

    /// Sends a call as Alice and looks at the form of the answer.
    async fn ask(&self, call: &Call, about: &str) -> Answer {
        let answer = self.send(Some(&self.world.alice), call).await;
        self.check(&answer, about);
        answer
    }

    async fn expect(&self, status: u16, caller: Option<&Account>, call: &Call, about: &str) -> Answer {
        let answer = self.send(caller, call).await;
        self.check(&answer, about);
        assert_eq!(answer.status, status, "{} {about}: {}", self.name(), answer.body);
        answer
    }

    /// What holds for every answer of a route, whatever was asked.
    fn check(&self, answer: &Answer, about: &str) {
        let (name, status, body) = (self.name(), answer.status, &answer.body);
        let announced = openapi::statuses(&self.route);
        assert!(announced.contains(&status), "{name} {about} answers {status}, which is not announced: {body}");
        assert_eq!(answer.response.header("Access-Control-Allow-Origin"), Some("*"), "{name} {about}");
        if status < 400 {
            return;
        }
        assert!(status != 500 || self.may_fail || about.contains("U+0000"), "{name} {about} fails: {body}");
        let explains = body["error"].is_string() || body["errors"].is_array();
        assert!(explains, "{name} {about} answers {status} without saying why: {body}");
        if let Some(code) = body.get("statusCode") {
            assert_eq!(code, &json!(status), "{name} {about}");
            assert!(body["message"].is_string(), "{name} {about}: {body}");
        }
        assert!(body.get("path").is_none(), "{name} {about} is told to be no route: {body}");
    }

    /// V400 with this issue among others.
    async fn expect_issue(&self, call: &Call, issue: &str) {
        let answer = self.ask(call, issue).await;
        let message = answer.body["message"].as_str().unwrap_or_default();
        let found = answer.status == 400 && answer.body["error"] == "Error" && message.contains(issue);
        assert!(found, "{}: expected `{issue}`, got {} {}", self.name(), answer.status, answer.body);
    }

    /// Anything but a complaint about this field.
    async fn expect_no_issue(&self, call: &Call, field: &str) {
        let answer = self.ask(call, field).await;
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(!message.contains(&format!("{field} ")), "{}: {}", self.name(), answer.body);
    }

    async fn who_calls(&self, call: &Call) {
        let refused = async |authorization: Option<&str>, error: &str| {
            let answer = self.send_with(self.route.method.as_str(), authorization, call).await;
            self.check(&answer, "without a caller");
            assert_eq!((answer.status, &answer.body), (401, &json!({"error": error})), "{}", self.name());
        };
        let token = &self.world.alice.token;
        let broken = format!("Bearer {}x", &token[..token.len() - 6]);
        if self.route.access == Access::Bearer {
            refused(None, "Missing authorization header").await;
            refused(Some(&format!("bearer {token}")), "Missing authorization header").await;
            refused(Some("Basic eA=="), "Missing authorization header").await;
            refused(Some(&broken), "Invalid token").await;
        } else if self.route.access == Access::Optional {
            let anonymous = self.send_with(self.route.method.as_str(), Some(&broken), call).await;
            self.check(&anonymous, "with a broken token");
            assert_ne!(anonymous.status, 401, "{}", self.name());
        }
    }

    async fn bodies(&self, call: &Call) {
        let method = self.route.method.as_str();
        if !matches!(method, "POST" | "PUT" | "PATCH" | "DELETE") {
            return;
        }
        let authorization = format!("Bearer {}", self.world.alice.token);
        let raw = async |content_type: &str, bytes: &[u8]| {
            let head = self.head(method, Some(&authorization), call);
            let head = format!("{head}{content_type}Content-Length: {}\r\n", bytes.len());
            let answer = self.raw(head, bytes).await;
            self.check(&answer, "with an odd body");
            answer
        };
        const JSON: &str = "Content-Type: application/json\r\n";
        let malformed = raw(JSON, b"{\"a\":").await;
        assert_eq!((malformed.status, &malformed.body["error"]), (400, &json!("SyntaxError")), "{}", self.name());
        for bytes in [&b"<a/>"[..], b""] {
            let xml = raw("Content-Type: application/xml\r\n", bytes).await;
            let expected = match self.route.template {
                // It judges by itself what it can make use of (http.md §15.5).
                "/v1/connect/github/webhook" => (500, json!("Server configuration error")),
                _ => (415, json!("FastifyError")),
            };
            assert_eq!((xml.status, xml.body["error"].clone()), expected, "{}", self.name());
        }
        let untyped = raw("", b"{}").await;
        if self.route.template != "/v1/connect/github/webhook" {
            assert_eq!(untyped.body["message"], "Unsupported Media Type: undefined", "{}", self.name());
        }
        if !self.takes_body() {
            return;
        }
        let nothing = raw("", b"").await;
        assert_eq!(nothing.body["message"], "body/ Expected object, received null", "{}", self.name());
        for (bytes, kind) in
            [("[]", "array"), ("\"a\"", "string"), ("1", "number"), ("true", "boolean"), ("null", "null")]
        {
            let other = raw(JSON, bytes.as_bytes()).await;
            assert_eq!(other.body["message"], format!("body/ Expected object, received {kind}"), "{}", self.name());
        }
        let required = self.fields.iter().filter(|field| {
            let is_member = field.part == Part::Body && field.prefix.is_empty() && !field.name.is_empty();
            is_member && !field.presence.may_be_absent()
        });
        let issues: Vec<String> = required.map(|field| format!("body/{} Required", field.name)).collect();
        for empty in ["", "{}", "  "] {
            let answer = raw(JSON, empty.as_bytes()).await;
            if !issues.is_empty() {
                assert_eq!(
                    (answer.status, &answer.body["message"]),
                    (400, &json!(issues.join(", "))),
                    "{}",
                    self.name()
                );
            }
        }
    }

    /// Every field with a value of another type, with null, and left out.
    async fn types(&self, call: &Call) {
        for field in &self.fields {
            match field.part {
                Part::Body => self.types_in_body(call, field).await,
                Part::Query => self.types_in_query(call, field).await,
                // Texts, whatever they are.
                Part::Headers | Part::Params => {}
            }
        }
    }

    async fn types_in_body(&self, call: &Call, field: &Field) {
        let (name, wrong) = match &field.shape {
            Shape::Rule(_) | Shape::Anything => return,
            Shape::Object if field.name.is_empty() => return,
            Shape::Text | Shape::Uuid | Shape::OneOf(_) => (field.name.as_str(), json!(7)),
            Shape::Boolean => (field.name.as_str(), json!("true")),
            Shape::Integer { .. } | Shape::Number => (field.name.as_str(), json!("1")),
            Shape::Numbers { required } => (required.as_str(), json!([1])),
            Shape::Object => (field.name.as_str(), json!([])),
            Shape::Array { .. } => (field.name.as_str(), json!({})),
        };
        let place = format!("{}{name}", field.prefix).replace('*', "0");
        self.expect_issue(&with(call, &place, Some(wrong)), &format!("body/{place} Expected ")).await;
        let null = with(call, &place, Some(Json::Null));
        if field.presence.may_be_null() {
            self.expect_no_issue(&null, &format!("body/{place}")).await;
        } else {
            self.expect_issue(&null, &format!("body/{place} Expected ")).await;
        }
        let absent = with(call, &place, None);
        if field.presence.may_be_absent() {
            self.expect_no_issue(&absent, &format!("body/{place}")).await;
        } else {
            self.expect_issue(&absent, &format!("body/{place} Required")).await;
        }
        match &field.shape {
            Shape::Uuid => {
                self.expect_issue(&with(call, &place, Some(json!("x"))), &format!("body/{place} Invalid uuid")).await;
            }
            Shape::OneOf(_) => {
                let issue = format!("body/{place} Invalid enum value. Expected '");
                self.expect_issue(&with(call, &place, Some(json!("none of them"))), &issue).await;
            }
            Shape::Integer { .. } => {
                let issue = format!("body/{place} Expected integer, received float");
                self.expect_issue(&with(call, &place, Some(json!(1.5))), &issue).await;
            }
            // A text of any characters is no mistake of form. U+0000 cannot be stored everywhere.
            Shape::Text => {
                for odd in ["", "ünï😀\u{202e}\n\"\\"] {
                    self.expect_no_issue(&with(call, &place, Some(json!(odd))), &format!("body/{place}")).await;
                }
                self.ask(&with(call, &place, Some(json!("\u{0}"))), "with U+0000").await;
            }
            _ => {}
        }
    }

    async fn types_in_query(&self, call: &Call, field: &Field) {
        let name = &field.name;
        if name.is_empty() {
            return;
        }
        let query = |text: &str| Call { query: text.to_string(), ..call.clone() };
        match field.shape {
            Shape::Integer { .. } | Shape::Number => {
                let issue = format!("querystring/{name} Expected number, received nan");
                for wrong in ["x", "1&#", "%C3%BC", "0x"] {
                    let repeated =
                        if wrong == "1&#" { format!("{name}=1&{name}=2") } else { format!("{name}={wrong}") };
                    self.expect_issue(&query(&repeated), &issue).await;
                }
            }
            _ => {
                let issue = format!("querystring/{name} Expected string, received array");
                self.expect_issue(&query(&format!("{name}=a&{name}=b")), &issue).await;
                self.expect_no_issue(&query(&format!("{name}=%F0%9F%98%80")), &format!("querystring/{name}")).await;
                self.ask(&query(&format!("{name}=%00")), "with U+0000").await;
            }
        }
        if !field.presence.may_be_absent() {
            self.expect_issue(&query(""), &format!("querystring/{name} Required")).await;
        }
    }

    /// Every bound, and one beyond.
    async fn bounds(&self, call: &Call) {
        for field in &self.fields {
            match &field.shape {
                Shape::Integer { min, max, .. } => {
                    for (inside, outside, complaint) in [
                        (min, min.map(|min| min - 1), "greater than"),
                        (max, max.map(|max| max + 1), "less than or equal"),
                    ] {
                        let (Some(inside), Some(outside)) = (*inside, outside) else { continue };
                        let (place, at) = self.number(call, field);
                        self.expect_no_issue(&at(inside), &place).await;
                        self.expect_issue(&at(outside), &format!("{place} Number must be {complaint}")).await;
                    }
                }
                Shape::Array { min, max, .. } => {
                    let place = format!("{}{}", field.prefix, field.name);
                    let element =
                        call.body.as_ref().and_then(|body| body[&field.name].get(0)).cloned().expect("an element");
                    for (count, issue) in [
                        (min.saturating_sub(1), format!("body/{place} Array must contain at least {min} element(s)")),
                        (max + 1, format!("body/{place} Array must contain at most {max} element(s)")),
                    ] {
                        let elements = vec![element.clone(); count];
                        self.expect_issue(&with(call, &place, Some(json!(elements))), &issue).await;
                    }
                    let most = vec![element.clone(); *max];
                    let answer = self.send(Some(&self.world.alice), &with(call, &place, Some(json!(most)))).await;
                    assert_ne!(answer.status, 400, "{}: {}", self.name(), answer.body);
                }
                _ => {}
            }
        }
    }

    /// The place of a number as issues name it, and the call with another number there.
    fn number<'c>(&self, call: &'c Call, field: &Field) -> (String, Box<dyn Fn(i64) -> Call + 'c>) {
        let place = format!("{}{}", field.prefix, field.name);
        match field.part {
            Part::Query => {
                let name = field.name.clone();
                let at = move |value| Call { query: format!("{name}={value}"), ..call.clone() };
                (format!("querystring/{place}"), Box::new(at))
            }
            _ => {
                let inner = place.clone();
                (format!("body/{place}"), Box::new(move |value| with(call, &inner, Some(json!(value)))))
            }
        }
    }

    async fn path_parameters(&self, call: &Call, entry: &Entry) {
        for (at, expected) in (0..call.params.len()).zip(entry.unknown) {
            let with = |value: String| {
                let mut call = call.clone();
                call.params[at] = value;
                call
            };
            let unknown = self.ask(&with("nobody-knows-this".to_string()), "with an unknown name").await;
            assert_eq!(unknown.status, expected, "{} with an unknown name: {}", self.name(), unknown.body);
            for odd in ["", "ünï😀", "a/b", "..", "%", "' OR 1=1 --", "a\u{202e}b"] {
                let answer = self.ask(&with(odd.to_string()), odd).await;
                assert!(answer.status < 500 || expected == 500, "{} {odd}: {}", self.name(), answer.body);
            }
            self.ask(&with("a\u{0}b".to_string()), "with U+0000").await;
            for longest in ["k".repeat(100), "ü".repeat(100), "😀".repeat(50)] {
                let answer = self.ask(&with(longest), "with 100 units").await;
                assert_eq!(answer.status, expected, "{}: {}", self.name(), answer.body);
            }
            if self.route.template.ends_with('*') {
                // The rest of a path may be of any length.
                continue;
            }
            for too_long in ["k".repeat(101), "ü".repeat(101), "😀".repeat(51)] {
                let call = with(too_long);
                let answer = self.send(Some(&self.world.alice), &call).await;
                let method = self.route.method.as_str();
                let expected = json!({"error": "Not found", "path": self.target(&call), "method": method});
                assert_eq!((answer.status, answer.body), (404, expected));
            }
        }
    }
}

/// The call with another value at a place in its body (`a/0/b`), or without it.
fn with(call: &Call, place: &str, value: Option<Json>) -> Call {
    let mut call = call.clone();
    let body = call.body.as_mut().expect("a route that reads a body has one in its entry");
    let (inside, name) = place.rsplit_once('/').unwrap_or(("", place));
    let pointer = if inside.is_empty() { String::new() } else { format!("/{inside}") };
    let object = body.pointer_mut(&pointer).unwrap_or_else(|| panic!("the entry's body has no {inside}"));
    let object = object.as_object_mut().expect("an object");
    match value {
        Some(value) => object.insert(name.to_string(), value),
        None => object.remove(name),
    };
    call
}

fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    encoded.collect()
}

/// Limited routes refuse the call beyond their limit before they look at anything else.
pub(crate) async fn limited_routes(server: Rc<Server>) {
    let mut refused = 0;
    for route in routes::all() {
        let Some(Limit::Requests(limit) | Limit::Calls(limit)) = route.endpoint.limit else { continue };
        let fields = (route.input)();
        let (method, template) = (route.method.as_str(), route.template);
        let subject = Subject { route, fields, may_fail: false, world: World::empty(Rc::clone(&server)).await };
        let target = template.replace(":sessionId", "nothing").replace(":token", "nothing");
        server.peer.set(subject.world.fresh_peer());
        for count in 1..=limit.0 + 1 {
            let answer = server.send(None, method, &target, None).await;
            subject.check(&answer, "within its limit");
            assert_eq!(answer.status == 429, count > limit.0, "{count} {method} {target}: {}", answer.status);
            let left = limit.0.saturating_sub(count).to_string();
            assert_eq!(answer.response.header("x-ratelimit-limit"), Some(limit.0.to_string().as_str()));
            assert_eq!(answer.response.header("x-ratelimit-remaining"), Some(left.as_str()));
            let reset: u32 = answer.response.header("x-ratelimit-reset").unwrap().parse().unwrap();
            assert!((1..=60).contains(&reset), "{reset}");
            assert_eq!(answer.response.header("retry-after").is_some(), count > limit.0);
        }
        refused += 1;
        let page = metrics::render(&[Arc::clone(&server.ctx.metrics)]);
        assert!(page.lines().any(|line| line == format!("happier_rate_limited_requests_total {refused}")), "{page}");
    }
    assert!(refused > 0);
}
