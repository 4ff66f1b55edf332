//! One HTTP request to another service, and its answer.
//!
//! Owns: TLS with the certificates that the system trusts, time limits, size limits, redirects. Never: retries, or what
//! an answer means. [`Client::call`] blocks; cores use [`Https::call`].
//! Limits: [`Call::timeout`] from the name lookup to the last byte, [`CONNECT_TIMEOUT`] of it for the connection,
//! [`Call::answer_bytes_max`], [`HEAD_BYTES_MAX`]. Proxies of the environment are not used: the reference server does not
//! use them either.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ureq::http::{self, Method};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::Error as VendorError;
use crate::runtime::pool::Workers;

/// Longest time for a name lookup and a connection with TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest head of an answer.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

const USER_AGENT: &str = concat!("happier-server/", env!("CARGO_PKG_VERSION"));

/// What is asked.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    pub url: String,
    /// Values may be secrets.
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Vec<u8>>,
    pub timeout: Duration,
    pub answer_bytes_max: u64,
    /// Redirects to follow; none where a header or the body is a secret. One from https leads only to https.
    pub redirects_max: u32,
}

/// What comes back, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No connection, or it was lost.
    Unreachable(String),
    /// There is a server, but it is not who it should be, or does not speak TLS.
    Tls(String),
    /// The time ran out.
    Timeout(String),
    /// The answer is larger than it may be.
    TooLarge,
    /// The address or a header cannot be sent.
    Unsendable,
    /// The answer is no HTTP.
    Protocol(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(text) => write!(f, "no connection: {text}"),
            Self::Tls(text) => write!(f, "no TLS: {text}"),
            Self::Timeout(text) => write!(f, "no answer in time: {text}"),
            Self::TooLarge => f.write_str("the answer is too large"),
            Self::Unsendable => f.write_str("the address or a header has characters that cannot be sent"),
            Self::Protocol(text) => write!(f, "the answer is no HTTP: {text}"),
        }
    }
}

/// The client, shared by all threads.
#[derive(Default)]
pub struct Client {
    /// Made at the first call: reading the system's certificates takes some milliseconds.
    agent: OnceLock<Agent>,
}

impl Client {
    /// Asks and waits. Blocks.
    pub fn call(&self, call: &Call) -> Result<Answer, Error> {
        let mut request = http::Request::builder().method(call.method.clone()).uri(&call.url);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let response = match &call.body {
            Some(body) => self.run(call, request.body(body.as_slice()).map_err(|_| Error::Unsendable)?),
            None => self.run(call, request.body(()).map_err(|_| Error::Unsendable)?),
        };
        let (head, body) = response.map_err(error)?.into_parts();
        let body = body.into_with_config().limit(call.answer_bytes_max).read_to_vec().map_err(error)?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        call: &Call,
        request: http::Request<B>,
    ) -> Result<http::Response<Body>, ureq::Error> {
        let agent = self.agent.get_or_init(agent);
        let request = agent
            .configure_request(request)
            .timeout_global(Some(call.timeout))
            .max_redirects(call.redirects_max)
            .https_only(call.url.starts_with("https://"))
            .build();
        agent.run(request)
    }
}

fn agent() -> Agent {
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        log::warn!("some of the system's certificates cannot be read: {error}");
    }
    let roots: Vec<_> = loaded.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(USER_AGENT)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .max_response_header_size(HEAD_BYTES_MAX)
        // Calls are rare, and a kept connection may be closed by its server at the moment it is used.
        .max_idle_connections(0)
        .build()
        .into()
}

fn error(error: ureq::Error) -> Error {
    match error {
        ureq::Error::Timeout(phase) => Error::Timeout(format!("{phase}")),
        ureq::Error::BodyExceedsLimit(_) | ureq::Error::LargeResponseHeader(..) => Error::TooLarge,
        ureq::Error::HostNotFound => Error::Unreachable("the host is not known".into()),
        ureq::Error::Rustls(error) => Error::Tls(error.to_string()),
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => Error::Tls(error.to_string()),
            None => Error::Unreachable(error.to_string()),
        },
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::RequireHttpsOnly(_) => Error::Unsendable,
        ureq::Error::Protocol(error) => Error::Protocol(error.to_string()),
        error => Error::Unreachable(error.to_string()),
    }
}

/// The client as one core sees it.
#[derive(Clone)]
pub struct Https {
    client: Arc<Client>,
    workers: Workers,
    /// Longest time of a call.
    pub timeout: Duration,
}

impl Https {
    pub fn new(client: Arc<Client>, workers: Workers, timeout: Duration) -> Self {
        Self { client, workers, timeout }
    }

    /// Asks on a thread of the back plane.
    pub async fn call(&self, call: Call) -> Result<Answer, VendorError> {
        let client = Arc::clone(&self.client);
        let answer = self.workers.run(move || client.call(&call)).await;
        answer.map_err(|_| VendorError::Busy)?.map_err(VendorError::Call)
    }

    /// A question that carries secrets in its headers, for the typed clients.
    pub(super) fn ask(&self, url: String, headers: Vec<(&'static str, String)>) -> Call {
        Call {
            method: Method::GET,
            url,
            headers,
            body: None,
            timeout: self.timeout,
            answer_bytes_max: JSON_BYTES_MAX,
            redirects_max: 0,
        }
    }
}

/// Largest JSON answer.
const JSON_BYTES_MAX: u64 = 1 << 20;
