//! The door for requests: routing, validation, authentication, answers.
//!
//! Owns: statuses, bodies, the order in which a request is judged (`spec/http.md` §2): body, path parameters, body
//! schema, query, headers, caller, handler. Never: sockets (`net`) or rules (`domain`).
//! Invariants: every answer of the router carries the CORS field; every request that was routed is counted once.

pub mod body;
pub mod cors;
pub mod error;
pub mod guard;
pub mod request;
pub mod response;
pub mod rest;
pub mod router;
pub mod routes;
pub mod validate;

use std::cell::RefCell;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use protocol::http::head::RequestHead;
use protocol::http::{Method, uri};

use self::error::Error;
use self::guard::Guard;
use self::request::{Params, Query, Request};
use self::response::Response;
use self::router::Router;
use self::routes::Handler;
use crate::crypto::token::TokenCache;
use crate::domain::Context;

/// What a request may bring.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub body_bytes_max: u64,
}

/// What to do with a request of which only the head is known.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    ReadBody { bytes_max: u64 },
    Respond(Response),
}

/// The HTTP API of one core.
pub struct Api {
    ctx: Rc<Context>,
    guard: Guard,
    router: Router<Handler>,
    limits: Limits,
}

impl Api {
    pub fn new(ctx: Rc<Context>, tokens: Rc<RefCell<TokenCache>>, limits: Limits) -> Rc<Self> {
        let guard = Guard::new(Rc::clone(&ctx.tokens), tokens);
        Rc::new(Self { ctx, guard, router: routes::router(), limits })
    }

    /// Whether to read the body. A malformed body counts before anything else, so nothing is refused here yet.
    pub fn admit(&self, _head: &RequestHead) -> Admission {
        Admission::ReadBody { bytes_max: self.limits.body_bytes_max }
    }

    /// The answer to a body that is larger than it may be.
    pub fn refuse_large_body(&self, head: &RequestHead) -> Response {
        let mut response = Error::TooLarge.into_response();
        cors::allow_every_origin(&mut response);
        let found = self.router.find(head.method(), uri::split(head.target()).path);
        let label = found.ok().flatten().map_or(UNKNOWN_ROUTE, |found| found.template);
        self.ctx.metrics.http(head.method().as_str(), label, response.status, 0.0);
        response
    }

    /// Answers a complete request.
    pub fn handle(
        self: &Rc<Self>,
        head: RequestHead,
        body: Vec<u8>,
        peer: IpAddr,
    ) -> Pin<Box<dyn Future<Output = Response>>> {
        #[allow(clippy::disallowed_methods, reason = "durations need more than milliseconds, and not the wall clock")]
        let begun = Instant::now();
        let method = head.method().as_str();
        let (label, begun_answer) = match self.begin(head, body, peer) {
            Ok(found) => found,
            // O-43: the only answer of the router without the CORS field; not counted either.
            Err(undecodable) => return Box::pin(std::future::ready(undecodable.into_response())),
        };
        let metrics = std::sync::Arc::clone(&self.ctx.metrics);
        Box::pin(async move {
            let outcome = match begun_answer {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            let mut response = outcome.unwrap_or_else(Error::into_response);
            cors::allow_every_origin(&mut response);
            metrics.http(method, label, response.status, begun.elapsed().as_secs_f64());
            response
        })
    }

    /// Routes a request and starts its handler. The outer error is an undecodable path.
    fn begin(&self, head: RequestHead, bytes: Vec<u8>, peer: IpAddr) -> Result<Begun, Error> {
        if head.method() == Method::Options {
            return Ok(("*", Err(Error::Answer(cors::preflight(&head)))));
        }
        let target = uri::split(head.target());
        let found =
            self.router.find(head.method(), target.path).map_err(|_| Error::BadUrl(head.target().to_string()))?;
        let body = body::read(&head, bytes);
        let Some(found) = found else {
            let error = match body {
                Err(error @ (Error::MalformedJson(_) | Error::NotUtf8)) => error,
                _ => Error::NoRoute(head.target().to_string(), head.method().as_str()),
            };
            return Ok((UNKNOWN_ROUTE, Err(error)));
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => return Ok((found.template, Err(error))),
        };
        let query = uri::query(target.query).map(|(name, value)| (name.into_owned(), value.into_owned()));
        let query = Query(query.collect());
        let request = Request { query, params: Params(found.params), body, peer, head };
        Ok((found.template, (found.route)(&self.ctx, &self.guard, &request)))
    }
}

/// Route label of an answer, and the answer in the making.
type Begun = (&'static str, Result<routes::Answer, Error>);

/// Label of unknown paths in metrics. The reference server uses the path itself, without bound (C-6 of
/// `spec/configuration.md`).
const UNKNOWN_ROUTE: &str = "unknown";
