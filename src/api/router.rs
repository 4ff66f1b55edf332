//! Which route a request means (`spec/http.md` §2). Pure; the routes themselves are listed in [`super::routes`].
//!
//! Paths are case-sensitive, empty segments count, a static segment wins over a parameter whatever the order of
//! registration. A search visits at most two branches per segment, and templates are short, so hostile paths cost
//! no more than their length.

use std::borrow::Cow;

use protocol::http::{Method, uri};

/// UTF-16 code units of a decoded path parameter; longer ones match nothing.
pub const PARAMETER_UNITS_MAX: usize = 100;

/// A percent sequence in the path does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

/// A route and the parameters found in the path.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'r, T> {
    pub template: &'static str,
    pub route: &'r T,
    pub params: Vec<(&'static str, String)>,
}

/// All routes, as a tree of path segments.
pub struct Router<T> {
    root: Node<T>,
}

struct Node<T> {
    literals: Vec<(&'static str, Self)>,
    parameter: Option<Box<Self>>,
    /// Routes that take the rest of the path (`*`).
    rest: Vec<Leaf<T>>,
    leaves: Vec<Leaf<T>>,
}

struct Leaf<T> {
    method: Method,
    template: &'static str,
    names: Vec<&'static str>,
    route: T,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: Vec::new(), parameter: None, rest: Vec::new(), leaves: Vec::new() }
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

impl<T> Router<T> {
    /// Adds a route. Segments of a template are literal, `:name`, or `*` as the last one.
    ///
    /// Panics if the template does not begin with `/` or the route exists already: the table is ours.
    pub fn add(&mut self, method: Method, template: &'static str, route: T) {
        let path = template.strip_prefix('/').expect("a template begins with a slash");
        let mut names = Vec::new();
        let mut node = &mut self.root;
        for segment in path.split('/') {
            if segment == "*" {
                names.push("*");
                node.rest.push(Leaf { method, template, names, route });
                return;
            }
            node = if let Some(name) = segment.strip_prefix(':') {
                names.push(name);
                node.parameter.get_or_insert_default()
            } else {
                let found = node.literals.iter().position(|(literal, _)| *literal == segment);
                let at = found.unwrap_or_else(|| {
                    node.literals.push((segment, Node::default()));
                    node.literals.len() - 1
                });
                &mut node.literals[at].1
            };
        }
        assert!(node.leaves.iter().all(|leaf| leaf.method != method), "{template} is listed twice");
        node.leaves.push(Leaf { method, template, names, route });
    }

    /// Finds the route of a path (without its query). `HEAD` finds what `GET` finds.
    pub fn find(&self, method: Method, path: &str) -> Result<Option<Match<'_, T>>, Undecodable> {
        let method = if method == Method::Head { Method::Get } else { method };
        let Some(path) = path.strip_prefix('/') else { return Ok(None) };
        // Bad sequences are refused before routing, wherever they are in the path.
        let decode = |segment| uri::decode_segment(segment).map_err(|_| Undecodable);
        let segments: Vec<Cow<'_, str>> = path.split('/').map(decode).collect::<Result<_, _>>()?;
        let mut values = Vec::new();
        let found = search(&self.root, method, &segments, &mut values);
        Ok(found.map(|leaf| Match {
            template: leaf.template,
            route: &leaf.route,
            params: leaf.names.iter().copied().zip(values).collect(),
        }))
    }
}

fn search<'r, T>(
    node: &'r Node<T>,
    method: Method,
    segments: &[Cow<'_, str>],
    values: &mut Vec<String>,
) -> Option<&'r Leaf<T>> {
    let Some((segment, further)) = segments.split_first() else {
        return node.leaves.iter().find(|leaf| leaf.method == method);
    };
    if let Some((_, child)) = node.literals.iter().find(|(literal, _)| literal == segment)
        && let Some(leaf) = search(child, method, further, values)
    {
        return Some(leaf);
    }
    if let Some(child) = &node.parameter
        && segment.encode_utf16().count() <= PARAMETER_UNITS_MAX
    {
        values.push(segment.clone().into_owned());
        if let Some(leaf) = search(child, method, further, values) {
            return Some(leaf);
        }
        values.pop();
    }
    let leaf = node.rest.iter().find(|leaf| leaf.method == method)?;
    values.push(segments.join("/"));
    Some(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router<&'static str> {
        let mut router = Router::default();
        for (method, template) in [
            (Method::Get, "/"),
            (Method::Get, "/v1/user/:id"),
            (Method::Get, "/v1/user/search"),
            (Method::Get, "/v1/kv"),
            (Method::Get, "/v1/kv/:key"),
            (Method::Post, "/v1/kv"),
            (Method::Delete, "/v1/connect/:vendor"),
            (Method::Delete, "/v1/connect/github"),
            (Method::Get, "/v1/connect/github/params"),
            (Method::Get, "/v1/connect/:vendor/token"),
            (Method::Get, "/v1/sessions/:sessionId/messages"),
            (Method::Get, "/v1/access-keys/:sessionId/:machineId"),
            (Method::Get, "/files/*"),
        ] {
            router.add(method, template, template);
        }
        router
    }

    /// The template that was found and its parameters, joined.
    fn find(method: Method, path: &str) -> Option<(&'static str, String)> {
        let router = router();
        let found = router.find(method, path).expect("decodable")?;
        let params: Vec<String> = found.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Some((found.template, params.join("&")))
    }

    #[test]
    fn paths_and_templates() {
        let long = "k".repeat(101);
        let longest = "k".repeat(100);
        let encoded = "%C3%BC".repeat(100);
        for (path, expected) in [
            ("/", Some(("/", String::new()))),
            ("/v1/kv", Some(("/v1/kv", String::new()))),
            ("/v1/kv/", Some(("/v1/kv/:key", "key=".to_string()))),
            ("/v1/kv/a%2Fb", Some(("/v1/kv/:key", "key=a/b".to_string()))),
            ("/v1/kv/a+b", Some(("/v1/kv/:key", "key=a+b".to_string()))),
            ("/v1/kv/a;b", Some(("/v1/kv/:key", "key=a;b".to_string()))),
            ("/v1/sessions//messages", Some(("/v1/sessions/:sessionId/messages", "sessionId=".to_string()))),
            ("/v1/user/search", Some(("/v1/user/search", String::new()))),
            ("/v1/user/searching", Some(("/v1/user/:id", "id=searching".to_string()))),
            ("/v1/connect/github/params", Some(("/v1/connect/github/params", String::new()))),
            ("/v1/connect/github/token", Some(("/v1/connect/:vendor/token", "vendor=github".to_string()))),
            (
                "/v1/access-keys/a/b",
                Some(("/v1/access-keys/:sessionId/:machineId", "sessionId=a&machineId=b".to_string())),
            ),
            ("/files/a/b%20c", Some(("/files/*", "*=a/b c".to_string()))),
            ("/files/", Some(("/files/*", "*=".to_string()))),
            ("/%76%31/kv", Some(("/v1/kv", String::new()))),
            (&format!("/v1/kv/{longest}"), Some(("/v1/kv/:key", format!("key={longest}")))),
            (&format!("/v1/kv/{encoded}"), Some(("/v1/kv/:key", format!("key={}", "ü".repeat(100))))),
            (&format!("/v1/kv/{long}"), None),
            (&format!("/v1/kv/{}", "😀".repeat(51)), None),
            ("/V1/kv", None),
            ("//v1/kv", None),
            ("/v1//kv", None),
            ("/v1/kv/a/b", None),
            ("/v1/user/search/", None),
            ("/files", None),
            ("", None),
            ("v1/kv", None),
            ("*", None),
        ] {
            assert_eq!(find(Method::Get, path), expected, "{path}");
            assert_eq!(find(Method::Head, path), expected, "HEAD {path}");
        }
    }

    #[test]
    fn another_method_is_another_route() {
        assert_eq!(find(Method::Post, "/v1/kv").map(|found| found.0), Some("/v1/kv"));
        assert_eq!(find(Method::Put, "/v1/kv"), None);
        assert_eq!(find(Method::Delete, "/v1/connect/github"), Some(("/v1/connect/github", String::new())));
        assert_eq!(find(Method::Delete, "/v1/connect/openai").map(|found| found.1), Some("vendor=openai".to_string()));
    }

    #[test]
    fn undecodable_paths_are_refused_wherever_they_lead() {
        for path in ["/v1/kv/%zz", "/v1/kv/%", "/v1/kv/%C3", "/nowhere/%zz", "/%ff"] {
            assert_eq!(router().find(Method::Get, path).err(), Some(Undecodable), "{path}");
        }
    }

    #[test]
    #[should_panic(expected = "listed twice")]
    fn a_route_is_listed_once() {
        let mut router = router();
        router.add(Method::Get, "/v1/user/:other", "again");
    }
}
