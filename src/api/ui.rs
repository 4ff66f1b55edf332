//! The web UI of a configured directory (`spec/http.md` §11.4): its files, its index, its redirects.
//!
//! Owns: where the UI is mounted and which paths mean it. Never: reads files itself, see
//! [`crate::storage::static_files`].
//!
//! A UI at the root takes every `GET` that no route wants, except below [`NOT_UI`] and for [`NOT_UI_EXACTLY`]: a browser
//! that reloads a page inside the UI must find it again. A UI under a prefix keeps to its prefix.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use protocol::http::uri::{self, Target};
use protocol::http::{Method, head::RequestHead};

use super::error::Error;
use super::response::{Response, Rest};
use super::routes::{Answer, Route, open};
use super::validate::{FromRequest, Parts};
use crate::net::service;
use crate::storage::static_files::{self, Lookup, StaticFile, StaticFiles};

/// Unknown paths that begin like this stay unknown. Those of other versions of the API do get the index (O-9).
const NOT_UI: &[&str] = &["/v1/", "/files/", "/_expo/", "/assets/", "/.well-known/", "/metrics"];

/// Unknown paths that stay unknown, unless they have a query (O-9).
const NOT_UI_EXACTLY: &[&str] =
    &["/v1", "/files", "/favicon.ico", "/favicon-active.ico", "/canvaskit.wasm", "/metadata.json", "/health"];

/// Directories and files that are served at the root wherever the UI is mounted: built pages name them absolutely.
const ROOT_DIRECTORIES: &[(&str, &str)] =
    &[("/_expo/*", "_expo/"), ("/assets/*", "assets/"), ("/.well-known/*", ".well-known/")];
const ROOT_FILES: &[&str] = &["/favicon.ico", "/favicon-active.ico", "/canvaskit.wasm", "/metadata.json"];

/// Where the UI is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    Root,
    /// The path without its trailing slash, and the template of everything below it.
    Prefix {
        path: &'static str,
        below: &'static str,
    },
}

impl Mount {
    /// The mount of a configured prefix; an empty one is the root. The error says what is expected of it.
    ///
    /// To be called once: what is made of the prefix lives as long as the process, as all templates do.
    pub fn at(prefix: &str) -> Result<Self, &'static str> {
        if prefix.is_empty() {
            return Ok(Self::Root);
        }
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"%:*?#\\\"<>".contains(&byte);
        let is_path = |prefix: &str| prefix.bytes().all(is_plain) && !prefix.split('/').skip(1).any(str::is_empty);
        if !is_path(prefix) {
            return Err("a path of plain segments, such as /ui or /apps/happier");
        }
        // A route may be added below what there is already, and another version of the API beside this one.
        let place = first_segment(prefix);
        let is_version =
            place.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()));
        let mut taken = super::routes::templates().chain(root_templates());
        if is_version || taken.any(|template| first_segment(template) == place) {
            return Err("a path outside of the API (/v1, /v2 …), of its other routes and of the UI's own files");
        }
        let below = format!("{prefix}/*");
        Ok(Self::Prefix { path: String::leak(prefix.to_owned()), below: String::leak(below) })
    }
}

fn first_segment(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

fn root_templates() -> impl Iterator<Item = &'static str> {
    ROOT_DIRECTORIES.iter().map(|(template, _)| *template).chain(ROOT_FILES.iter().copied())
}

/// The UI as the router of one core knows it.
pub struct Ui {
    pub files: StaticFiles,
    pub mount: Mount,
}

impl Ui {
    /// The routes that a UI brings; at the root it brings a `GET /` of its own.
    pub(super) fn routes(self: &Rc<Self>) -> Vec<Route> {
        let mut routes = Vec::new();
        for (template, directory) in ROOT_DIRECTORIES {
            routes.push(self.wildcard(template, move |ui, rest: String| ui.file(format!("{directory}{rest}"))));
        }
        for template in ROOT_FILES {
            let ui = Rc::clone(self);
            let read = move |_, (): ()| Rc::clone(&ui).file(template.trim_start_matches('/').to_owned());
            routes.push(open(Method::Get, template, read));
        }
        match self.mount {
            Mount::Root => {
                let ui = Rc::clone(self);
                routes.push(open(Method::Get, "/", move |_, (): ()| Rc::clone(&ui).index()));
                for template in ["/ui", "/ui/"] {
                    routes.push(open(Method::Get, template, |_, query: RawQuery| async move {
                        Ok(Response::redirect(format!("/{}", query.0)))
                    }));
                }
                routes.push(open(Method::Get, "/ui/*", |_, input: Wildcard| async move { old_place(&input) }));
            }
            Mount::Prefix { path, below } => {
                routes.push(open(Method::Get, path, move |_, (): ()| async move {
                    Ok(Response::redirect(format!("{path}/")))
                }));
                routes.push(self.wildcard(below, Self::page));
            }
        }
        routes
    }

    fn wildcard<A>(self: &Rc<Self>, template: &'static str, handler: impl Fn(Rc<Self>, String) -> A + 'static) -> Route
    where
        A: Future<Output = Result<Response, Error>> + 'static,
    {
        let ui = Rc::clone(self);
        open(Method::Get, template, move |_, input: Wildcard| {
            let answer = input.decoded().map(|path| handler(Rc::clone(&ui), path));
            async move {
                match answer {
                    Some(answer) => answer.await,
                    None => Err(not_found()),
                }
            }
        })
    }

    /// Whether a request that no route wants gets the index. `HEAD` never does.
    pub(super) fn takes(&self, head: &RequestHead, target: Target<'_>) -> bool {
        self.mount == Mount::Root
            && head.method() == Method::Get
            && !NOT_UI.iter().any(|prefix| target.path.starts_with(prefix))
            && !(target.query.is_empty() && NOT_UI_EXACTLY.contains(&target.path))
    }

    pub(super) fn fallback(self: &Rc<Self>) -> Answer {
        Box::pin(Rc::clone(self).index())
    }

    async fn index(self: Rc<Self>) -> Result<Response, Error> {
        let answer = match self.files.index().await? {
            Some(bytes) => Response::bytes(200, "text/html; charset=utf-8", bytes.to_vec()),
            None => Response::error(404, "Not found"),
        };
        Ok(answer.with("Cache-Control", "no-cache"))
    }

    /// A file as it is, even the index.
    async fn file(self: Rc<Self>, path: String) -> Result<Response, Error> {
        self.files.open_plain(&path).await?.map(|file| answer(&path, file)).ok_or_else(not_found)
    }

    /// A path below the prefix: a file, or the index for every place inside the UI.
    async fn page(self: Rc<Self>, path: String) -> Result<Response, Error> {
        match self.files.open(&path).await? {
            Lookup::File(file) => Ok(answer(&path, file)),
            Lookup::Index | Lookup::Missing => self.index().await,
            Lookup::Outside => Err(not_found()),
        }
    }
}

fn not_found() -> Error {
    Error::refused(404, "Not found")
}

fn answer(path: &str, file: StaticFile) -> Response {
    let extension = path.rsplit(['/', '\\']).next().and_then(|name| name.rsplit_once('.'));
    let (content_type, cache) = kind(extension.map_or("", |(_, extension)| extension));
    let mut response = Response::bytes(200, content_type, file.first).with("Cache-Control", cache);
    response.rest = file.rest.map(|rest| Rest(Rc::new(FileRest(rest))));
    response
}

/// Media type and caching of a file, by the extension of its name. The names of built files contain a hash of what is
/// in them, so they never change.
fn kind(extension: &str) -> (&'static str, &'static str) {
    const FOREVER: &str = "public, max-age=31536000, immutable";
    let content_type = match extension.to_ascii_lowercase().as_str() {
        "html" => return ("text/html; charset=utf-8", "no-cache"),
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json; charset=utf-8",
        "svg" => "image/svg+xml",
        "ico" => "image/x-icon",
        "wasm" => "application/wasm",
        "ttf" => "font/ttf",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        _ => "application/octet-stream",
    };
    (content_type, FOREVER)
}

struct FileRest(static_files::Rest);

impl service::Rest for FileRest {
    fn length(&self) -> u64 {
        self.0.length()
    }

    fn next(&self) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + '_>> {
        Box::pin(self.0.next())
    }
}

/// The query as it was sent, with its question mark.
struct RawQuery(String);

impl FromRequest for RawQuery {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let query = uri::split(parts.request().head.target()).query;
        Self(if query.is_empty() { String::new() } else { format!("?{query}") })
    }
}

/// What a `*` stands for, decoded once, and the query.
struct Wildcard {
    path: String,
    query: RawQuery,
}

impl FromRequest for Wildcard {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        Self { path: parts.params().text("*"), query: RawQuery::from_request(parts) }
    }
}

impl Wildcard {
    /// O-7: decoded a second time.
    fn decoded(&self) -> Option<String> {
        let path = uri::decode_segment(&self.path).ok()?;
        Some(path.trim_start_matches('/').to_owned())
    }
}

/// Where a UI that was once mounted at `/ui` is now. Encoded again and with its query, which the reference server
/// forgets (O-8); a backslash that stayed as it is would lead browsers to another host.
fn old_place(input: &Wildcard) -> Result<Response, Error> {
    let path = input.decoded().ok_or_else(|| Error::refused(400, "Invalid path"))?;
    let mut location = String::from("/");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            location.push(char::from(byte));
        } else {
            location.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(Response::redirect(location + &input.query.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        assert_eq!(Mount::at(""), Ok(Mount::Root));
        for (prefix, below) in [
            ("/ui", "/ui/*"),
            ("/apps/happier-1.0", "/apps/happier-1.0/*"),
            ("/apps/v1", "/apps/v1/*"),
            ("/vault", "/vault/*"),
            ("/v", "/v/*"),
        ] {
            assert_eq!(Mount::at(prefix), Ok(Mount::Prefix { path: prefix, below }));
        }
        for refused in [
            "/a b",
            "/a//b",
            "/:a",
            "/*",
            "/a?",
            "/a%20b",
            "/ü",
            "/a\\b",
            "//",
            "/health",
            "/health/ui",
            "/assets",
            "/assets/ui",
            "/files/ui",
            "/favicon.ico",
            "/openapi.json",
            "/v1",
            "/v1/kv",
            "/v1/kv/x",
            "/v1/ui",
            "/v1/updates",
            "/v2",
            "/v31/a",
        ] {
            assert!(Mount::at(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn redirects_stay_on_this_host() {
        let place = |path: &str, query: &str| {
            let input = Wildcard { path: path.to_owned(), query: RawQuery(query.to_owned()) };
            old_place(&input).ok().and_then(|response| response.header("Location").map(str::to_owned))
        };
        for (path, expected) in [
            ("", "/"),
            ("session/1", "/session/1"),
            ("//evil.example", "/evil.example"),
            ("%2F%2Fevil.example", "/evil.example"),
            ("\\evil.example", "/%5Cevil.example"),
            ("a b", "/a%20b"),
            ("a%0D%0AX: y", "/a%0D%0AX:%20y"),
            ("ü?#", "/%C3%BC%3F%23"),
        ] {
            assert_eq!(place(path, "").as_deref(), Some(expected), "{path}");
        }
        assert_eq!(place("a", "?b=c").as_deref(), Some("/a?b=c"));
        assert_eq!(place("%zz", ""), None);
    }
}
