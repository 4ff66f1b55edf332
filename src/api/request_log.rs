//! A line of the log for every request (`spec/configuration.md` §8.2): method, target, status, duration, cause.
//!
//! A request that failed because of us, which is one whose answer has a cause, is a warning; everything else, also a 5xx that
//! anybody can ask for, is seen at the level `debug`.
//! Never: fields, bodies, tokens; targets go through [`redact_target`].
//! Limit: [`TARGET_CHARS_MAX`] of a target, because its length is the client's choice.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use log::Level;
use protocol::http::head::RequestHead;

use crate::observe::redact::redact_target;

const TARGET_CHARS_MAX: usize = 512;

/// Notes a request that has been answered. Costs a comparison if the level is off.
pub fn answered(head: &RequestHead, status: u16, took: Duration, cause: Option<&str>) {
    let level = if cause.is_some() { Level::Warn } else { Level::Debug };
    if log::log_enabled!(level) {
        log::log!(level, "{}", Line { method: head.method().as_str(), target: target(head), status, took, cause });
    }
}

/// A request whose head does not stay, of which only `debug` tells.
pub struct Pending {
    method: &'static str,
    target: String,
    begun: Instant,
}

impl Pending {
    /// Nothing if nobody would see it.
    pub fn begin(head: &RequestHead) -> Option<Self> {
        log::log_enabled!(Level::Debug).then(|| Self {
            method: head.method().as_str(),
            target: target(head).into_owned(),
            begun: Instant::now(),
        })
    }

    /// Notes that it has been answered.
    pub fn answered(&self, status: u16) {
        let (target, took) = (Cow::Borrowed(self.target.as_str()), self.begun.elapsed());
        log::debug!("{}", Line { method: self.method, target, status, took, cause: None });
    }
}

fn target(head: &RequestHead) -> Cow<'_, str> {
    let target = redact_target(head.target());
    match target.char_indices().nth(TARGET_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &target[..end])),
        None => target,
    }
}

struct Line<'a> {
    method: &'a str,
    target: Cow<'a, str>,
    status: u16,
    took: Duration,
    cause: Option<&'a str>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, target, status, took, cause } = self;
        write!(f, "{method} {target}: {status} after {:.1} ms", took.as_secs_f64() * 1000.0)?;
        cause.map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing;

    #[test]
    fn a_line_tells_what_happened_and_no_secret() {
        let line = |request: &str, status, cause| {
            let head =
                testing::head(&format!("{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hunter2\r\n\r\n"));
            let took = Duration::from_micros(1_260);
            Line { method: head.method().as_str(), target: target(&head), status, took, cause }.to_string()
        };
        let cause = Some("the database is not available: gone");
        assert_eq!(
            line("POST /v1/sessions", 500, cause),
            "POST /v1/sessions: 500 after 1.3 ms: the database is not available: gone"
        );
        assert_eq!(
            line("GET /v1/public-share/hunter2/messages?consent=1", 404, None),
            "GET /v1/public-share/…/messages?consent=1: 404 after 1.3 ms"
        );
        let long = line(&format!("GET /{}", "a".repeat(5_000)), 404, None);
        assert_eq!(long, format!("GET /{}…: 404 after 1.3 ms", "a".repeat(TARGET_CHARS_MAX - 1)));
    }
}
