//! Why a request is not answered as hoped, and the one place that knows the statuses and bodies of it.

use std::fmt;

use serde::Serialize;

use super::response::Response;
use super::validate::Issue;
use crate::runtime::pool::Busy;
use crate::storage;

/// The end of a request that did not go well.
#[derive(Debug)]
pub enum Error {
    /// V400: one part of the request has these issues.
    Validation(Vec<Issue>),
    /// 401 with this text.
    Unauthorized(&'static str),
    /// A documented refusal, `{"error":…}`.
    Refused(u16, &'static str),
    /// A documented refusal with a body of its own.
    Answer(Response),
    /// The body is no JSON; what is wrong with it.
    MalformedJson(String),
    /// The body is of this media type.
    UnsupportedMediaType(String),
    /// The body has bytes that are not UTF-8.
    NotUtf8,
    TooLarge,
    /// No memory for its body.
    NoRoom,
    /// The request target, which cannot be decoded.
    BadUrl(String),
    /// No such route: target and method.
    NoRoute(String, &'static str),
    /// A failure of ours: its answer, and its cause for the log.
    Failure(Response, String),
}

impl Error {
    /// A queue of the back plane is full.
    pub const BUSY: Self = Self::Refused(503, "The server is busy, try again later");

    pub const fn refused(status: u16, error: &'static str) -> Self {
        Self::Refused(status, error)
    }

    /// A failure that the route answers with a text of its own. To be used with `map_err`.
    pub fn failure(text: &'static str) -> impl Fn(storage::Error) -> Self {
        move |cause| Self::internal_as(text, cause)
    }

    /// The route's own text of a failure.
    pub fn internal_as(text: &'static str, cause: impl fmt::Display) -> Self {
        Self::Failure(Response::error(500, text), cause.to_string())
    }

    /// G500.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::Failure(Response::internal_error(), cause.to_string())
    }

    /// The cause of a failure, which is for the log alone.
    pub fn take_cause(&mut self) -> Option<String> {
        match self {
            Self::Failure(_, cause) => Some(std::mem::take(cause)),
            _ => None,
        }
    }

    pub fn into_response(self) -> Response {
        match self {
            Self::Validation(issues) => {
                let texts: Vec<String> = issues.iter().map(ToString::to_string).collect();
                standard(400, "Error", &texts.join(", "))
            }
            Self::Unauthorized(error) => Response::error(401, error),
            Self::Refused(status, error) => Response::error(status, error),
            Self::Answer(response) | Self::Failure(response, _) => response,
            Self::MalformedJson(text) => standard(400, "SyntaxError", &text).closing(),
            Self::UnsupportedMediaType(media_type) => {
                standard(415, "FastifyError", &format!("Unsupported Media Type: {media_type}"))
            }
            Self::NotUtf8 => standard(400, "FastifyError", "Request body size did not match Content-Length").closing(),
            Self::TooLarge => standard(413, "FastifyError", "Request body is too large").closing(),
            Self::NoRoom => standard(503, "Service Unavailable", "Service Unavailable").closing(),
            Self::BadUrl(target) => bad_url(&target),
            Self::NoRoute(path, method) => no_route(&path, method),
        }
    }
}

/// A failure without a text of its own is a G500.
impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self::internal(error)
    }
}

impl From<Busy> for Error {
    fn from(Busy: Busy) -> Self {
        Self::BUSY
    }
}

impl From<Response> for Error {
    fn from(response: Response) -> Self {
        Self::Answer(response)
    }
}

fn standard(status: u16, error: &str, message: &str) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        error: &'a str,
        message: &'a str,
        status_code: u16,
    }
    Response::json(status, &Body { error, message, status_code: status })
}

/// O-43: another shape than V400, and no CORS field.
fn bad_url(target: &str) -> Response {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        error: &'a str,
        code: &'a str,
        message: String,
        status_code: u16,
    }
    let message = format!("'{target}' is not a valid url component");
    let body = Body { error: "Bad Request", code: "FST_ERR_BAD_URL", message, status_code: 400 };
    Response { content_type: Some("application/json"), ..Response::json(400, &body) }
}

/// §11.5. Clients tell an unknown route from a missing entity by this shape.
fn no_route(path: &str, method: &str) -> Response {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
        path: &'a str,
        method: &'a str,
    }
    Response::json(404, &Body { error: "Not found", path, method })
}
