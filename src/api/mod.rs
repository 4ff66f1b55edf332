//! The door for requests: routing, validation, authentication, answers.
//!
//! Owns: statuses, bodies, the order in which a request is judged (`spec/http.md` §2): body, path parameters, body
//! schema, query, headers, caller, handler. Never: sockets (`net`) or rules (`domain`).
//! Invariants: every answer of the router carries the CORS field; every request that was routed is counted once; every
//! request that comes this far leaves its line in the log ([`request_log`]).

pub mod body;
pub mod cors;
pub mod describe;
pub mod error;
pub mod guard;
pub mod limits;
pub mod openapi;
pub mod request;
pub mod request_log;
pub mod response;
pub mod rest;
pub mod router;
pub mod routes;
pub mod socket;
#[cfg(test)]
mod testing;
pub mod ui;
pub mod validate;

use std::cell::RefCell;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::http::head::RequestHead;
use protocol::http::{Framing, Method, uri};

use self::error::Error;
use self::guard::Guard;
use self::limits::{Rate, RateLimits};
use self::request::{Body, Params, Query, Request};
use self::response::Response;
use self::router::Router;
use self::routes::Endpoint;
use self::ui::Ui;
use crate::crypto::token::TokenCache;
use crate::domain::Context;
use crate::model::time::now_ms;
use crate::net::service::BodyRefusal;
use crate::observe::metrics::Counter;
use crate::storage::objects::Files;

/// The largest body of a request without a valid token. The open routes take keys, signatures and the like.
pub const OPEN_BODY_BYTES_MAX: u64 = 1 << 20;
/// The largest one of a webhook, which is as much as GitHub sends.
pub const WEBHOOK_BODY_BYTES_MAX: u64 = 25 << 20;

/// What a request may bring.
#[derive(Clone)]
pub struct Limits {
    pub body_bytes_max: u64,
    /// One table for all cores; `None` switches rate limits off.
    pub rates: Option<Arc<RateLimits>>,
}

/// What an installation may offer beside the API.
#[derive(Default)]
pub struct Extras {
    pub ui: Option<Ui>,
    /// Whether clients may write to the debugging log.
    pub debug_log: bool,
}

/// What to do with a request of which only the head is known.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// `open_bytes_max`: of somebody without a valid token.
    ReadBody {
        bytes_max: u64,
        open_bytes_max: u64,
    },
    Respond(Response),
}

/// The HTTP API of one core.
pub struct Api {
    ctx: Rc<Context>,
    guard: Guard,
    router: Router<Endpoint>,
    limits: Limits,
    ui: Option<Rc<Ui>>,
}

impl Api {
    pub fn new(ctx: Rc<Context>, tokens: Rc<RefCell<TokenCache>>, limits: Limits, extras: Extras) -> Rc<Self> {
        let guard = Guard::new(Rc::clone(&ctx.tokens), tokens);
        let ui = extras.ui.map(Rc::new);
        let router = routes::router(ctx.files.as_ref().is_some_and(Files::are_local), extras.debug_log, ui.as_ref());
        Rc::new(Self { ctx, guard, router, limits, ui })
    }

    /// Whether to read the body. A malformed body counts before anything else, so nothing is refused here yet.
    pub fn admit(&self, head: &RequestHead) -> Admission {
        let bytes_max = self.limits.body_bytes_max;
        Admission::ReadBody { bytes_max, open_bytes_max: bytes_max.min(self.open_bytes_max(head)) }
    }

    fn open_bytes_max(&self, head: &RequestHead) -> u64 {
        let is_large = matches!(head.framing(), Framing::Length(length) if length > OPEN_BODY_BYTES_MAX);
        let route = || self.router.find(head.method(), uri::split(head.target()).path).ok().flatten();
        let is_webhook = is_large && route().is_some_and(|found| found.route.takes_any_media_type);
        if is_webhook { WEBHOOK_BODY_BYTES_MAX } else { OPEN_BODY_BYTES_MAX }
    }

    /// Whether a request comes with a valid token.
    pub fn knows(&self, head: &RequestHead) -> bool {
        self.guard.knows(head)
    }

    /// The answer to a request whose body is not read.
    pub fn refuse_body(&self, head: &RequestHead, why: BodyRefusal) -> Response {
        let error = match why {
            BodyRefusal::TooLarge => Error::TooLarge,
            BodyRefusal::NoRoom => Error::NoRoom,
        };
        let mut response = error.into_response();
        cors::allow_every_origin(&mut response);
        let found = self.router.find(head.method(), uri::split(head.target()).path);
        let label = found.ok().flatten().map_or(UNKNOWN_ROUTE, |found| found.template);
        self.ctx.metrics.http(head.method().as_str(), label, response.status, 0.0);
        request_log::answered(head, response.status, Duration::ZERO, None);
        response
    }

    /// Answers a complete request.
    pub fn handle(
        self: &Rc<Self>,
        head: RequestHead,
        body: Vec<u8>,
        peer: IpAddr,
    ) -> Pin<Box<dyn Future<Output = Response>>> {
        let begun = Instant::now();
        let Begun { head, label, rate, answer } = self.begin(head, body, peer);
        let metrics = Arc::clone(&self.ctx.metrics);
        Box::pin(async move {
            let outcome = match answer {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            let (mut response, cause) = match outcome {
                Ok(response) => (response, None),
                Err(mut error) => {
                    let cause = error.take_cause();
                    (error.into_response(), cause)
                }
            };
            let took = begun.elapsed();
            request_log::answered(&head, response.status, took, cause.as_deref());
            // O-43: the only answer of the router without the CORS field; not counted either.
            let Some(label) = label else { return response };
            cors::allow_every_origin(&mut response);
            if let Some(rate) = rate {
                rate.settle(&mut response, now_ms());
            }
            metrics.http(head.method().as_str(), label, response.status, took.as_secs_f64());
            response
        })
    }

    /// Routes a request and starts its handler.
    fn begin(&self, head: RequestHead, bytes: Vec<u8>, peer: IpAddr) -> Begun {
        if head.method() == Method::Options {
            let preflight = cors::preflight(&head);
            return Begun::refused(head, Some("*"), Error::Answer(preflight));
        }
        let target = uri::split(head.target());
        let Ok(found) = self.router.find(head.method(), target.path) else {
            let error = Error::BadUrl(head.target().to_string());
            return Begun::refused(head, None, error);
        };
        let Some(found) = found else {
            if let Some(ui) = self.ui.as_ref().filter(|ui| ui.takes(&head, target)) {
                let answer = Ok(ui.fallback());
                return Begun { head, label: Some(UNKNOWN_ROUTE), rate: None, answer };
            }
            let error = match body::read(&head, bytes) {
                Err(error @ (Error::MalformedJson(_) | Error::NotUtf8)) => error,
                _ => Error::NoRoute(head.target().to_string(), head.method().as_str()),
            };
            return Begun::refused(head, Some(UNKNOWN_ROUTE), error);
        };
        let limit = self.limits.rates.as_ref().zip(found.route.limit);
        let rate = limit.and_then(|(rates, limit)| rates.take(found.template, limit, (&head, peer), now_ms()));
        let (label, endpoint) = (found.template, found.route);
        let query = uri::query(target.query).map(|(name, value)| (name.into_owned(), value.into_owned()));
        let query = Query(query.collect());
        if let Some(refusal) = rate.as_ref().and_then(Rate::refusal) {
            self.ctx.metrics.inc(Counter::RateLimited);
            return Begun { head, label: Some(label), rate, answer: Err(Error::Answer(refusal)) };
        }
        let body = match body::read(&head, bytes) {
            Ok(body) => body,
            Err(Error::UnsupportedMediaType(_)) if endpoint.takes_any_media_type => Body::Absent,
            Err(error) => return Begun { head, label: Some(label), rate, answer: Err(error) },
        };
        let request = Request { query, params: Params(found.params), body, peer, head };
        let answer = (endpoint.handler)(&self.ctx, &self.guard, &request);
        Begun { head: request.head, label: Some(label), rate, answer }
    }
}

/// A request on its way to its answer.
struct Begun {
    /// Kept for the log.
    head: RequestHead,
    /// The route in metrics; none of a path that does not decode.
    label: Option<&'static str>,
    /// Of a route with a limit.
    rate: Option<Rate>,
    answer: Result<routes::Answer, Error>,
}

impl Begun {
    fn refused(head: RequestHead, label: Option<&'static str>, error: Error) -> Self {
        Self { head, label, rate: None, answer: Err(error) }
    }
}

/// Label of unknown paths in metrics. The reference server uses the path itself, without bound (C-6 of
/// `spec/configuration.md`).
const UNKNOWN_ROUTE: &str = "unknown";
