//! What a connection calls: the realtime endpoint for targets below its prefix, the HTTP API for the rest; and the
//! metrics server, which is a service of its own.

use std::any::Any;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use protocol::http::head::RequestHead;

use crate::api::request_log::{self, Pending};
use crate::api::{self, Api};
use crate::cluster::Cluster;
use crate::net::service::{Admission, Answer, BodyRefusal, Incoming, Liveness, Outcome, Response, Service};
use crate::observe::metrics::{self, CoreMetrics, Gauge};
use crate::realtime::endpoint::PREFIX;
use crate::realtime::hub::Hub;
use crate::realtime::message::Message;
use crate::runtime::cores::CoreId;
use crate::runtime::mailbox::Mailbox;

/// The public port of one core.
pub(super) struct Public {
    pub api: Rc<Api>,
    pub hub: Rc<Hub>,
}

impl Service for Public {
    fn admit(&self, head: &RequestHead) -> Admission {
        if head.target().starts_with(PREFIX) {
            let admission = self.hub.admit_request(head);
            if let Admission::Respond(response) = &admission {
                request_log::answered(head, response.status, Duration::ZERO, None);
            }
            return admission;
        }
        match self.api.admit(head) {
            api::Admission::ReadBody { bytes_max, open_bytes_max } => {
                Admission::Body { bytes_max, open_bytes_max, ticket: None, cancel: None }
            }
            api::Admission::Respond(response) => Admission::Respond(outgoing(response)),
        }
    }

    fn knows(&self, head: &RequestHead) -> bool {
        self.api.knows(head)
    }

    fn refuse_body(&self, head: &RequestHead, ticket: Option<Box<dyn Any>>, why: BodyRefusal) -> Response {
        if head.target().starts_with(PREFIX) {
            let response = self.hub.refuse_body(ticket, why);
            request_log::answered(head, response.status, Duration::ZERO, None);
            return response;
        }
        outgoing(self.api.refuse_body(head, why))
    }

    fn handle(self: Rc<Self>, incoming: Incoming, liveness: Liveness) -> Answer {
        if incoming.head.target().starts_with(PREFIX) {
            let pending = Pending::begin(&incoming.head);
            let answer = Rc::clone(&self.hub).handle_request(incoming, liveness);
            let Some(pending) = pending else { return answer };
            return Box::pin(async move {
                let outcome = answer.await;
                match &outcome {
                    Outcome::Respond(response) => pending.answered(response.status),
                    Outcome::Upgrade { .. } => pending.answered(101),
                    Outcome::Raw(response) => pending.answered(status_of(response)),
                    Outcome::Drop => {}
                }
                outcome
            });
        }
        let answer = self.api.handle(incoming.head, incoming.body, incoming.peer.ip());
        Box::pin(async move { Outcome::Respond(outgoing(answer.await)) })
    }

    fn hand_off(&self, to: CoreId, descriptor: OwnedFd, unread: Vec<u8>, peer: SocketAddr) {
        self.hub.post(to, Message::Adopt { descriptor, unread, peer });
    }
}

/// The status of a written answer.
fn status_of(response: &[u8]) -> u16 {
    let status = response.split(|&byte| byte == b' ').nth(1);
    status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or_default()
}

fn outgoing(response: api::response::Response) -> Response {
    let mut fields = response.headers;
    if let Some(content_type) = response.content_type {
        fields.push(("Content-Type", Cow::Borrowed(content_type)));
    }
    let rest = response.rest.map(|rest| rest.0);
    Response { status: response.status, fields, body: response.body, rest, close: response.close }
}

/// The metrics port (`spec/configuration.md` §9).
pub(super) struct Metrics {
    pub cores: Arc<[Arc<CoreMetrics>]>,
    pub mailboxes: Arc<[Arc<Mailbox<Message>>]>,
    pub cluster: Option<Arc<Cluster>>,
}

impl Service for Metrics {
    fn admit(&self, _head: &RequestHead) -> Admission {
        // Asked for here, because a core that does not keep up does not look either.
        for (core, mailbox) in self.cores.iter().zip(self.mailboxes.iter()) {
            core.gauge_set(Gauge::MailboxDepth, mailbox.depth().try_into().unwrap_or(i64::MAX));
        }
        Admission::Body { bytes_max: 0, open_bytes_max: 0, ticket: None, cancel: None }
    }

    fn knows(&self, _head: &RequestHead) -> bool {
        false
    }

    fn refuse_body(&self, head: &RequestHead, _ticket: Option<Box<dyn Any>>, _why: BodyRefusal) -> Response {
        not_found(head)
    }

    fn handle(self: Rc<Self>, incoming: Incoming, _liveness: Liveness) -> Answer {
        let path = incoming.head.target().split('?').next().unwrap_or_default();
        let is_read = matches!(incoming.head.method().as_str(), "GET" | "HEAD");
        let response = match path {
            "/metrics" if is_read => Response {
                status: 200,
                fields: vec![("Content-Type", Cow::Borrowed("text/plain; version=0.0.4; charset=utf-8"))],
                body: self.page().into_bytes(),
                rest: None,
                close: false,
            },
            "/health" if is_read => {
                let now = u64::try_from(crate::model::time::now_ms()).unwrap_or(0);
                let now = protocol::http::date::format_iso(now);
                let is_cut_off = self.cluster.as_ref().is_some_and(|cluster| !cluster.is_up());
                let replicas = if is_cut_off { r#","replicas":"unreachable""# } else { "" };
                json(200, format!(r#"{{"status":"ok","timestamp":"{}"{replicas}}}"#, now.escape_ascii()))
            }
            _ => not_found(&incoming.head),
        };
        Box::pin(std::future::ready(Outcome::Respond(response)))
    }

    fn hand_off(&self, _to: CoreId, _descriptor: OwnedFd, _unread: Vec<u8>, _peer: SocketAddr) {
        unreachable!("the metrics server never asks for it")
    }
}

impl Metrics {
    fn page(&self) -> String {
        let mut page = metrics::render(&self.cores);
        if let Some(cluster) = &self.cluster {
            page.push_str(&cluster.metrics().render());
        }
        page
    }
}

fn json(status: u16, body: String) -> Response {
    let fields = vec![("Content-Type", Cow::Borrowed("application/json; charset=utf-8"))];
    Response { status, fields, body: body.into_bytes(), rest: None, close: false }
}

fn not_found(head: &RequestHead) -> Response {
    let mut message = Vec::new();
    let route = format!("Route {}:{} not found", head.method().as_str(), head.target());
    protocol::json::write_string(&mut message, &route);
    let message = String::from_utf8_lossy(&message);
    json(404, format!(r#"{{"message":{message},"error":"Not Found","statusCode":404}}"#))
}
