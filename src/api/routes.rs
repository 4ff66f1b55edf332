//! Every route, in one table (`spec/http.md` §18), and how a handler becomes one.
//!
//! A handler is an `async fn(Rc<Context>, caller, Input) -> Result<Response, Error>`. `Input` is made from the
//! request by [`FromRequest`]; a handler whose input has issues, or whose caller is nobody, never runs. The order is
//! that of the contract: validation first, then authentication.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use protocol::http::Method;

use super::error::Error;
use super::guard::Guard;
use super::limits::PerMinute;
use super::request::Request;
use super::response::Response;
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
    pub limit: Option<PerMinute>,
}

/// One line of the table.
pub struct Route {
    method: Method,
    template: &'static str,
    endpoint: Endpoint,
}

impl Route {
    fn new(method: Method, template: &'static str, handler: Handler) -> Self {
        Self { method, template, endpoint: Endpoint { handler, limit: None } }
    }

    /// Limits how often a client may call this route.
    #[must_use]
    pub fn limited(mut self, per_minute: u32) -> Self {
        self.endpoint.limit = Some(PerMinute(per_minute));
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
    Route::new(method, template, handler)
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
    Route::new(method, template, handler)
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
    Route::new(method, template, handler)
}

fn take<I: FromRequest>(request: &Request) -> Result<I, Error> {
    let mut parts = Parts::new(request);
    let input = I::from_request(&mut parts);
    parts.into_issues().into_result().map_err(Error::Validation)?;
    Ok(input)
}

/// The table as a tree, with the routes of the web UI if there is one.
pub fn router(has_files: bool, has_debug_log: bool, ui: Option<&Rc<Ui>>) -> Router<Endpoint> {
    let mut routes = table();
    if has_files {
        // Where files are kept elsewhere this is an unknown route like any other.
        routes.push(open(Method::Get, FILES, rest::files::read));
    }
    if has_debug_log {
        routes.push(open(Method::Post, DEBUG_LOG, rest::debug_log::append));
    }
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
    table().into_iter().map(|route| route.template).chain([FILES, DEBUG_LOG])
}

const FILES: &str = "/files/*";
const DEBUG_LOG: &str = "/logs-combined-from-cli-and-mobile-for-simple-ai-debugging";

fn table() -> Vec<Route> {
    use Method::{Delete, Get, Patch, Post, Put};
    vec![
        open(Get, "/", rest::service::root),
        open(Get, "/health", rest::service::health),
        open(Get, "/v1/features", rest::service::features),
        open(Post, "/v1/version", rest::version::check),
        // Authentication
        open(Post, "/v1/auth", rest::auth::login),
        open(Post, "/v1/auth/request", rest::auth::request_terminal),
        open(Get, "/v1/auth/request/status", rest::auth::terminal_status),
        bearer(Post, "/v1/auth/response", rest::auth::answer_terminal),
        open(Post, "/v1/auth/account/request", rest::auth::request_account),
        bearer(Post, "/v1/auth/account/response", rest::auth::answer_account),
        // Account and changes
        bearer(Get, "/v1/account/profile", rest::accounts::profile),
        bearer(Get, "/v1/account/settings", rest::accounts::settings),
        bearer(Post, "/v1/account/settings", rest::accounts::update_settings),
        bearer(Get, "/v2/cursor", rest::changes::cursor),
        bearer(Get, "/v2/changes", rest::changes::list),
        // Sessions and messages
        bearer(Get, "/v1/sessions", rest::sessions::list_recent),
        bearer(Get, "/v2/sessions/active", rest::sessions::list_active),
        bearer(Get, "/v2/sessions", rest::sessions::list),
        bearer(Get, "/v2/sessions/:sessionId", rest::sessions::get),
        bearer(Post, "/v1/sessions", rest::sessions::create),
        bearer(Delete, "/v1/sessions/:sessionId", rest::sessions::delete),
        bearer(Patch, "/v2/sessions/:sessionId", rest::sessions::update),
        bearer(Get, "/v1/sessions/:sessionId/messages", rest::messages::list),
        bearer(Post, "/v2/sessions/:sessionId/messages", rest::messages::send),
        // Machines and access keys
        bearer(Post, "/v1/machines", rest::machines::register),
        bearer(Get, "/v1/machines", rest::machines::list),
        bearer(Get, "/v1/machines/:id", rest::machines::get),
        bearer(Get, "/v1/access-keys/:sessionId/:machineId", rest::access_keys::get),
        bearer(Post, "/v1/access-keys/:sessionId/:machineId", rest::access_keys::create),
        bearer(Put, "/v1/access-keys/:sessionId/:machineId", rest::access_keys::replace),
        // Artifacts, key-value store, push tokens, usage
        bearer(Get, "/v1/artifacts", rest::artifacts::list),
        bearer(Get, "/v1/artifacts/:id", rest::artifacts::get),
        bearer(Post, "/v1/artifacts", rest::artifacts::create),
        bearer(Post, "/v1/artifacts/:id", rest::artifacts::update),
        bearer(Delete, "/v1/artifacts/:id", rest::artifacts::delete),
        bearer(Get, "/v1/kv/:key", rest::kv::get),
        bearer(Get, "/v1/kv", rest::kv::list),
        bearer(Post, "/v1/kv/bulk", rest::kv::get_many),
        bearer(Post, "/v1/kv", rest::kv::mutate),
        bearer(Post, "/v1/push-tokens", rest::push_tokens::register),
        bearer(Get, "/v1/push-tokens", rest::push_tokens::list),
        bearer(Delete, "/v1/push-tokens/:token", rest::push_tokens::delete),
        bearer(Post, "/v2/usage-reports", rest::usage::report),
        bearer(Post, "/v1/usage/query", rest::usage::query),
        // Other services
        bearer(Get, "/v1/connect/github/params", rest::connect::github_params),
        open(Get, "/v1/connect/github/callback", rest::connect::github_callback),
        bearer(Delete, "/v1/connect/github", rest::connect::disconnect_github),
        open(Post, "/v1/connect/github/webhook", rest::connect::github_webhook),
        bearer(Post, "/v1/connect/:vendor/register", rest::connect::register),
        bearer(Get, "/v1/connect/:vendor/token", rest::connect::token),
        bearer(Delete, "/v1/connect/:vendor", rest::connect::forget),
        bearer(Get, "/v1/connect/tokens", rest::connect::tokens),
        bearer(Post, "/v1/voice/token", rest::voice::token),
        // Users, friends, feed
        bearer(Get, "/v1/user/:id", rest::users::get),
        bearer(Get, "/v1/user/search", rest::users::search),
        bearer(Post, "/v1/friends/add", rest::friends::add),
        bearer(Post, "/v1/friends/remove", rest::friends::remove),
        bearer(Get, "/v1/friends", rest::friends::list),
        bearer(Get, "/v1/feed", rest::feed::page),
        // Sharing
        bearer(Get, "/v1/sessions/:sessionId/shares", rest::sharing::list),
        bearer(Post, "/v1/sessions/:sessionId/shares", rest::sharing::create).limited(20),
        bearer(Patch, "/v1/sessions/:sessionId/shares/:shareId", rest::sharing::update),
        bearer(Delete, "/v1/sessions/:sessionId/shares/:shareId", rest::sharing::delete),
        bearer(Post, "/v1/sessions/:sessionId/public-share", rest::public_shares::put).limited(10),
        bearer(Get, "/v1/sessions/:sessionId/public-share", rest::public_shares::get),
        bearer(Delete, "/v1/sessions/:sessionId/public-share", rest::public_shares::delete),
        bearer(Get, "/v1/sessions/:sessionId/public-share/blocked-users", rest::public_shares::list_blocks),
        bearer(Post, "/v1/sessions/:sessionId/public-share/blocked-users", rest::public_shares::block),
        bearer(
            Delete,
            "/v1/sessions/:sessionId/public-share/blocked-users/:blockedUserId",
            rest::public_shares::unblock,
        ),
        bearer(Get, "/v1/sessions/:sessionId/public-share/access-logs", rest::public_shares::list_accesses),
        optional(Get, "/v1/public-share/:token", rest::public_shares::open).limited(10),
        optional(Get, "/v1/public-share/:token/messages", rest::public_shares::messages).limited(20),
    ]
}
