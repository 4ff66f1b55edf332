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
    literals: Vec<(&'static str, Node<T>)>,
    parameter: Option<Box<Node<T>>>,
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
