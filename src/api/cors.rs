//! Cross-origin access: every answer of the router is open to every origin (`spec/http.md` §3).

use std::borrow::Cow;

use protocol::http::head::RequestHead;

use super::response::Response;

/// Adds the field that every answer carries, whether or not the request named an origin.
pub fn allow_every_origin(response: &mut Response) {
    response.headers.push(("Access-Control-Allow-Origin", Cow::Borrowed("*")));
}

/// Answers `OPTIONS` on any path, known or not. What is asked for is not examined.
///
/// The lists are complete, unlike those of the reference server (O-1, O-2): `PUT` and `PATCH` routes exist, and `*`
/// does not cover `Authorization`.
pub fn preflight(head: &RequestHead) -> Response {
    if head.header("origin").is_none() || head.header("access-control-request-method").is_none() {
        return Response::bytes(400, "text/plain", b"Invalid Preflight Request".to_vec());
    }
    Response::empty(204)
        .with("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
        .with("Access-Control-Allow-Headers", "*, Authorization")
}
