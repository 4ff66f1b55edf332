//! Every route, in one table (`spec/http.md` §18), and how a handler becomes one.
//!
//! A handler is an `async fn(Rc<Context>, caller, Input) -> Result<Response, Error>`. `Input` is made from the
//! request by [`FromRequest`]; a handler whose input has issues, or whose caller is nobody, never runs. The order is
//! that of the contract: validation first, then authentication.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use protocol::http::Method;

use super::describe::{Field, describe};
use super::error::Error;
use super::guard::Guard;
use super::limits::{Limit, PerMinute};
use super::openapi;
use super::request::Request;
use super::response::{JSON, Response};
use super::rest;
use super::router::Router;
use super::ui::{Mount, Ui};
use super::validate::{FromRequest, Parts};
use crate::domain::Context;
use crate::model::ids::AccountId;

/// A handler at work.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response, Error>>>>;

/// A handler behind its guard: takes what it needs from the request, or refuses it.
pub type Handler = Box<dyn Fn(&Rc<Context>, &Guard, &Request) -> Result<Answer, Error>>;

/// What the router finds.
pub struct Endpoint {
    pub handler: Handler,
    pub limit: Option<Limit>,
    /// Whether a body of a media type that we do not read counts as none, instead of being refused with 415.
    pub takes_any_media_type: bool,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Everybody; it makes a difference who.
    Optional,
    /// Whoever has a bearer token.
    Bearer,
}

/// One line of the table.
pub struct Route {
    pub method: Method,
    pub template: &'static str,
    pub access: Access,
    /// What the route does, in one line.
    pub about: &'static str,
    /// Statuses that are the route's own, beside those that follow from its input, access and limit.
    pub answers: &'static [u16],
    /// What it takes from the request.
    pub input: fn() -> Vec<Field>,
    pub endpoint: Endpoint,
}

impl Route {
    fn new<I: FromRequest>(method: Method, template: &'static str, access: Access, handler: Handler) -> Self {
        let endpoint = Endpoint { handler, limit: None, takes_any_media_type: false };
        Self { method, template, access, about: "", answers: &[], input: describe::<I>, endpoint }
    }

    #[must_use]
    fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    #[must_use]
    fn answers(self, answers: &'static [u16]) -> Self {
        Self { answers, ..self }
    }

    /// Lets the route judge bodies of any media type.
    #[must_use]
    fn with_any_media_type(mut self) -> Self {
        self.endpoint.takes_any_media_type = true;
        self
    }

    /// Limits how often a client may call this route.
    #[must_use]
    pub fn limited(mut self, per_minute: u32) -> Self {
        self.endpoint.limit = Some(Limit::Requests(PerMinute(per_minute)));
        self
    }

    /// Limits how often a client may have another service called with this route.
    #[must_use]
    fn limited_calls(mut self, per_minute: u32) -> Self {
        self.endpoint.limit = Some(Limit::Calls(PerMinute(per_minute)));
        self
    }

    /// Limits how often a client may make something new with this route.
    #[must_use]
    fn limited_creations(mut self, per_minute: u32) -> Self {
        self.endpoint.limit = Some(Limit::Creations(PerMinute(per_minute)));
        self
    }
}

/// A route that needs a caller.
pub fn bearer<I, F, A>(method: Method, template: &'static str, handler: F) -> Route
where
    I: FromRequest + 'static,
    F: Fn(Rc<Context>, AccountId, I) -> A + 'static,
    A: Future<Output = Result<Response, Error>> + 'static,
{
    let handler: Handler = Box::new(move |ctx, guard, request| {
        let input = take(request)?;
        let caller = guard.bearer(request)?;
        Ok(Box::pin(handler(Rc::clone(ctx), caller, input)))
    });
    Route::new::<I>(method, template, Access::Bearer, handler)
}

/// A route for everybody that likes to know who calls.
pub fn optional<I, F, A>(method: Method, template: &'static str, handler: F) -> Route
where
    I: FromRequest + 'static,
    F: Fn(Rc<Context>, Option<AccountId>, I) -> A + 'static,
    A: Future<Output = Result<Response, Error>> + 'static,
{
    let handler: Handler = Box::new(move |ctx, guard, request| {
        let input = take(request)?;
        Ok(Box::pin(handler(Rc::clone(ctx), guard.optional(request), input)))
    });
    Route::new::<I>(method, template, Access::Optional, handler)
}

/// A route for everybody.
pub fn open<I, F, A>(method: Method, template: &'static str, handler: F) -> Route
where
    I: FromRequest + 'static,
    F: Fn(Rc<Context>, I) -> A + 'static,
    A: Future<Output = Result<Response, Error>> + 'static,
{
    let handler: Handler =
        Box::new(move |ctx, _, request| Ok(Box::pin(handler(Rc::clone(ctx), take(request)?)) as Answer));
    Route::new::<I>(method, template, Access::Open, handler)
}

fn take<I: FromRequest>(request: &Request) -> Result<I, Error> {
    let mut parts = Parts::new(request);
    let input = I::from_request(&mut parts);
    parts.into_issues().into_result().map_err(Error::Validation)?;
    Ok(input)
}

/// The table as a tree, with its description and the routes of the web UI if there is one.
pub fn router(has_files: bool, has_debug_log: bool, ui: Option<&Rc<Ui>>) -> Router<Endpoint> {
    let mut routes = table(has_files, has_debug_log);
    let document: Rc<OnceCell<Vec<u8>>> = Rc::default();
    routes.push(described(Rc::clone(&document)));
    // Cannot be filled already: this is the first value it is given.
    let _ = document.set(openapi::document(&routes));
    if let Some(ui) = ui {
        // A UI at the root has a `/` of its own.
        routes.retain(|route| ui.mount != Mount::Root || route.template != "/");
        routes.extend(ui.routes());
    }
    let mut router = Router::default();
    for route in routes {
        router.add(route.method, route.template, route.endpoint);
    }
    router
}

/// All templates of the API, so that nothing else takes their place.
pub fn templates() -> impl Iterator<Item = &'static str> {
    table(true, true).into_iter().map(|route| route.template).chain([OPENAPI])
}

/// All routes of the API, the optional ones included, for what is made of the table.
pub fn all() -> Vec<Route> {
    let mut routes = table(true, true);
    routes.push(described(Rc::default()));
    routes
}

/// The route that describes all others and itself.
fn described(document: Rc<OnceCell<Vec<u8>>>) -> Route {
    let route = open(Method::Get, OPENAPI, move |_, (): ()| {
        let document = document.get().cloned().unwrap_or_default();
        std::future::ready(Ok(Response::bytes(200, JSON, document)))
    });
    route.about("This API as an OpenAPI document")
}

const OPENAPI: &str = "/openapi.json";

const FILES: &str = "/files/*";
const DEBUG_LOG: &str = "/logs-combined-from-cli-and-mobile-for-simple-ai-debugging";

fn table(has_files: bool, has_debug_log: bool) -> Vec<Route> {
    use Method::{Delete, Get, Patch, Post, Put};
    let mut routes = vec![
        open(Get, "/", rest::service::root).about("Says that the server is there"),
        open(Get, "/health", rest::service::health).about("Whether the server and its database answer").answers(&[503]),
        open(Get, "/v1/features", rest::service::features).about("What this server can do"),
        open(Post, "/v1/version", rest::version::check).about("Whether an app should be updated"),
        // Authentication
        open(Post, "/v1/auth", rest::auth::login)
            .about("Signs in with a signed challenge; creates the account at the first time")
            .answers(&[401])
            .limited_creations(600),
        open(Post, "/v1/auth/request", rest::auth::request_terminal)
            .about("Asks for a terminal to be paired, or for the answer to that")
            .answers(&[401])
            .limited_creations(600),
        open(Get, "/v1/auth/request/status", rest::auth::terminal_status).about("How far the pairing of a terminal is"),
        bearer(Post, "/v1/auth/response", rest::auth::answer_terminal)
            .about("Approves the pairing of a terminal")
            .answers(&[404]),
        open(Post, "/v1/auth/account/request", rest::auth::request_account)
            .about("Asks for another device to be paired, or for the answer to that")
            .answers(&[401])
            .limited_creations(600),
        bearer(Post, "/v1/auth/account/response", rest::auth::answer_account)
            .about("Approves the pairing of another device")
            .answers(&[404]),
        // Account and changes
        bearer(Get, "/v1/account/profile", rest::accounts::profile).about("The caller's profile"),
        bearer(Get, "/v1/account/settings", rest::accounts::settings).about("The caller's encrypted settings"),
        bearer(Post, "/v1/account/settings", rest::accounts::update_settings)
            .about("Replaces the settings, if their version is the expected one"),
        bearer(Get, "/v2/cursor", rest::changes::cursor).about("Where the change feed stands").answers(&[404]),
        bearer(Get, "/v2/changes", rest::changes::list).about("What has changed since a cursor").answers(&[404, 410]),
        // Sessions and messages
        bearer(Get, "/v1/sessions", rest::sessions::list_recent)
            .about("The most recently updated sessions, own and shared"),
        bearer(Get, "/v2/sessions/active", rest::sessions::list_active)
            .about("Own sessions that were heard of in the last 15 minutes"),
        bearer(Get, "/v2/sessions", rest::sessions::list).about("All sessions, page by page"),
        bearer(Get, "/v2/sessions/:sessionId", rest::sessions::get).about("One session").answers(&[404]),
        bearer(Post, "/v1/sessions", rest::sessions::create)
            .about("Creates a session, or returns the one with the same tag"),
        bearer(Delete, "/v1/sessions/:sessionId", rest::sessions::delete)
            .about("Deletes a session and everything in it")
            .answers(&[404]),
        bearer(Patch, "/v2/sessions/:sessionId", rest::sessions::update)
            .about("Replaces metadata and agent state, if their versions are the expected ones")
            .answers(&[403, 404]),
        bearer(Get, "/v1/sessions/:sessionId/messages", rest::messages::list)
            .about("Messages of a session, page by page")
            .answers(&[404]),
        bearer(Post, "/v2/sessions/:sessionId/messages", rest::messages::send)
            .about("Stores a message; the same local id is stored once")
            .answers(&[403, 404]),
        // Machines and access keys
        bearer(Post, "/v1/machines", rest::machines::register)
            .about("Registers a machine, or returns the one with the same id")
            .answers(&[409]),
        bearer(Get, "/v1/machines", rest::machines::list).about("All machines"),
        bearer(Get, "/v1/machines/:id", rest::machines::get).about("One machine").answers(&[404]),
        bearer(Get, "/v1/access-keys/:sessionId/:machineId", rest::access_keys::get)
            .about("The key with which a machine enters a session")
            .answers(&[404]),
        bearer(Post, "/v1/access-keys/:sessionId/:machineId", rest::access_keys::create)
            .about("Stores such a key")
            .answers(&[404, 409]),
        bearer(Put, "/v1/access-keys/:sessionId/:machineId", rest::access_keys::replace)
            .about("Replaces such a key, if its version is the expected one")
            .answers(&[404]),
        // Artifacts, key-value store, push tokens, usage
        bearer(Get, "/v1/artifacts", rest::artifacts::list).about("All artifacts, without their bodies"),
        bearer(Get, "/v1/artifacts/:id", rest::artifacts::get).about("One artifact with its body").answers(&[404]),
        bearer(Post, "/v1/artifacts", rest::artifacts::create)
            .about("Creates an artifact, or returns the one with the same id")
            .answers(&[409]),
        bearer(Post, "/v1/artifacts/:id", rest::artifacts::update)
            .about("Replaces header and body, if their versions are the expected ones")
            .answers(&[404]),
        bearer(Delete, "/v1/artifacts/:id", rest::artifacts::delete).about("Deletes an artifact").answers(&[404]),
        bearer(Get, "/v1/kv/:key", rest::kv::get).about("The value of a key").answers(&[404]),
        bearer(Get, "/v1/kv", rest::kv::list).about("Keys that begin with a prefix, and their values"),
        bearer(Post, "/v1/kv/bulk", rest::kv::get_many).about("The values of several keys"),
        bearer(Post, "/v1/kv", rest::kv::mutate)
            .about("Writes several keys, all or none, if their versions are the expected ones")
            .answers(&[409]),
        bearer(Post, "/v1/push-tokens", rest::push_tokens::register).about("Registers a push token"),
        bearer(Get, "/v1/push-tokens", rest::push_tokens::list).about("All push tokens"),
        bearer(Delete, "/v1/push-tokens/:token", rest::push_tokens::delete).about("Forgets a push token"),
        bearer(Post, "/v2/usage-reports", rest::usage::report)
            .about("Stores what a session has used; the same key is stored once")
            .answers(&[404]),
        bearer(Post, "/v1/usage/query", rest::usage::query).about("Sums of usage by hour or day").answers(&[404]),
        // Other services
        bearer(Get, "/v1/connect/github/params", rest::connect::github_params)
            .about("Where to send a user who wants to connect GitHub")
            .answers(&[400]),
        open(Get, "/v1/connect/github/callback", rest::connect::github_callback)
            .about("Where GitHub sends the user back to")
            .answers(&[302])
            .limited_calls(300),
        bearer(Delete, "/v1/connect/github", rest::connect::disconnect_github).about("Disconnects GitHub"),
        open(Post, "/v1/connect/github/webhook", rest::connect::github_webhook)
            .about("Deliveries of GitHub, signed by it")
            .with_any_media_type()
            .answers(&[401]),
        bearer(Post, "/v1/connect/:vendor/register", rest::connect::register)
            .about("Stores the caller's token of a vendor"),
        bearer(Get, "/v1/connect/:vendor/token", rest::connect::token).about("The caller's token of a vendor"),
        bearer(Delete, "/v1/connect/:vendor", rest::connect::forget)
            .about("Forgets the token of a vendor")
            .answers(&[404]),
        bearer(Get, "/v1/connect/tokens", rest::connect::tokens).about("The caller's tokens of all vendors"),
        bearer(Post, "/v1/voice/token", rest::voice::token).about("A token of the voice service").limited_calls(300),
        // Users, friends, feed
        bearer(Get, "/v1/user/:id", rest::users::get).about("The profile of an account").answers(&[404]),
        bearer(Get, "/v1/user/search", rest::users::search).about("Accounts whose names begin like this"),
        bearer(Post, "/v1/friends/add", rest::friends::add).about("Asks for friendship, or accepts it"),
        bearer(Post, "/v1/friends/remove", rest::friends::remove).about("Ends a friendship, or declines it"),
        bearer(Get, "/v1/friends", rest::friends::list).about("Friends, and requests in both directions"),
        bearer(Get, "/v1/feed", rest::feed::page).about("The caller's feed, page by page"),
        // Sharing
        bearer(Get, "/v1/sessions/:sessionId/shares", rest::sharing::list)
            .about("With whom a session is shared")
            .answers(&[403]),
        bearer(Post, "/v1/sessions/:sessionId/shares", rest::sharing::create)
            .about("Shares a session with a friend")
            .answers(&[403, 404])
            .limited(20),
        bearer(Patch, "/v1/sessions/:sessionId/shares/:shareId", rest::sharing::update)
            .about("Changes what a friend may do")
            .answers(&[403, 404]),
        bearer(Delete, "/v1/sessions/:sessionId/shares/:shareId", rest::sharing::delete)
            .about("Ends the sharing")
            .answers(&[403, 404]),
        bearer(Post, "/v1/sessions/:sessionId/public-share", rest::public_shares::put)
            .about("Creates or changes the public link of a session")
            .answers(&[403])
            .limited(10),
        bearer(Get, "/v1/sessions/:sessionId/public-share", rest::public_shares::get)
            .about("The public link of a session")
            .answers(&[403]),
        bearer(Delete, "/v1/sessions/:sessionId/public-share", rest::public_shares::delete)
            .about("Deletes the public link")
            .answers(&[403, 404]),
        bearer(Get, "/v1/sessions/:sessionId/public-share/blocked-users", rest::public_shares::list_blocks)
            .about("Who may not use the link")
            .answers(&[403, 404]),
        bearer(Post, "/v1/sessions/:sessionId/public-share/blocked-users", rest::public_shares::block)
            .about("Keeps an account from using the link")
            .answers(&[403, 404]),
        bearer(
            Delete,
            "/v1/sessions/:sessionId/public-share/blocked-users/:blockedUserId",
            rest::public_shares::unblock,
        )
        .about("Lets it use the link again")
        .answers(&[403, 404]),
        bearer(Get, "/v1/sessions/:sessionId/public-share/access-logs", rest::public_shares::list_accesses)
            .about("Who has used the link")
            .answers(&[403, 404]),
        optional(Get, "/v1/public-share/:token", rest::public_shares::open)
            .about("Opens a public link; counts as one use of it")
            .answers(&[403, 404])
            .limited(10),
        optional(Get, "/v1/public-share/:token/messages", rest::public_shares::messages)
            .about("The newest messages behind a public link")
            .answers(&[403, 404])
            .limited(20),
    ];
    if has_files {
        // Where files are kept elsewhere this is an unknown route like any other.
        routes.push(open(Get, FILES, rest::files::read).about("A public file").answers(&[404]));
    }
    if has_debug_log {
        let route = open(Post, DEBUG_LOG, rest::debug_log::append);
        routes.push(route.about("Appends to the debugging log; where its operator wants that"));
    }
    routes
}
