//! What clients send, made fit for a log: secrets in request targets (closes C-5 of configuration.md) and contents
//! become `…`.

use std::borrow::Cow;
use std::fmt;

const MASK: &str = "…";

/// Routes with something in their paths that gives access, or reaches a device: it follows these two segments.
const SECRET_PATHS: [(&str, &str); 2] = [("v1", "public-share"), ("v1", "push-tokens")];

/// What may follow it, and is no secret.
const TAILS: [&str; 1] = ["/messages"];

/// Query parameters whose values give access to something. `sid` is all that a polling client has to show.
const SECRET_PARAMETERS: [&str; 5] = ["state", "code", "token", "access_token", "sid"];

/// The request target without public-link and push tokens in its path and without OAuth, token and session values in its
/// query.
pub fn redact_target(target: &str) -> Cow<'_, str> {
    // The mark in between belongs to neither.
    let at = target.find(['?', '#']).unwrap_or(target.len());
    let (path, query) = target.split_at(at);
    let (mark, query) = query.split_at(query.len().min(1));
    match (redacted_path(path), redacted_query(query)) {
        (Cow::Borrowed(_), Cow::Borrowed(_)) => Cow::Borrowed(target),
        (path, query) => Cow::Owned(format!("{path}{mark}{query}")),
    }
}

fn redacted_path(path: &str) -> Cow<'_, str> {
    let Some(secret) = secret_end(path).filter(|secret| !secret.is_empty()) else { return Cow::Borrowed(path) };
    let tail = TAILS.into_iter().find(|tail| secret.ends_with(tail)).unwrap_or_default();
    Cow::Owned(format!("{}{MASK}{tail}", &path[..path.len() - secret.len()]))
}

/// The end of a path, from its secret on.
fn secret_end(path: &str) -> Option<&str> {
    // Absolute targets carry the path after the authority.
    let path = if path.starts_with('/') { path } else { path.split_once("://").map_or(path, |(_, further)| further) };
    let (_, segments) = path.split_once('/')?;
    // Segments are compared decoded, and none of these has to be encoded: whoever does so may hide what it is.
    let is_encoded = |segments: &str| segments.split('/').next().is_some_and(|first| first.contains('%'));
    if is_encoded(segments) {
        return Some(segments);
    }
    let (first, further) = segments.split_once('/')?;
    if is_encoded(further) {
        return Some(further);
    }
    let (second, rest) = further.split_once('/')?;
    SECRET_PATHS.contains(&(first, second)).then_some(rest)
}

fn redacted_query(query: &str) -> Cow<'_, str> {
    let is_secret = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        // An encoded name could hide what it is, so it counts as the worst it can be.
        pair.contains('=') && (name.contains('%') || SECRET_PARAMETERS.iter().any(|s| s.eq_ignore_ascii_case(name)))
    };
    if !query.split('&').any(is_secret) {
        return Cow::Borrowed(query);
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(pair) => Cow::Owned(format!("{name}={MASK}")),
        _ => Cow::Borrowed(pair),
    });
    Cow::Owned(pairs.collect::<Vec<_>>().join("&"))
}

/// Bytes of a client in a log line: their number instead of their content.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(pub &'a [u8]);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MASK} ({} bytes)", self.0.len())
    }
}

/// An account id in a log line: its ends, which are enough to tell accounts apart.
pub fn shortened(id: &str) -> Cow<'_, str> {
    const END: usize = 4;
    match (id.get(..END), id.len().checked_sub(END).and_then(|from| id.get(from..))) {
        (Some(head), Some(tail)) if id.len() > 2 * END => Cow::Owned(format!("{head}{MASK}{tail}")),
        _ => Cow::Borrowed(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_targets_are_masked_and_nothing_else() {
        let table = [
            ("/", "/"),
            ("/v1/sessions?limit=5", "/v1/sessions?limit=5"),
            ("/v1/public-share/hunter2", "/v1/public-share/…"),
            ("/v1/public-share/hunter2/messages?after=1", "/v1/public-share/…/messages?after=1"),
            ("/v1/public-share/hunter2?consent=true", "/v1/public-share/…?consent=true"),
            ("/v1/public-share/", "/v1/public-share/"),
            ("/v1/public-share//hunter2", "/v1/public-share/…"),
            ("/v1/public-share/hunter2/hunter2/messages", "/v1/public-share/…/messages"),
            ("/v1/public%2Dshare/hunter2", "/v1/…"),
            ("/%761/public-share/hunter2", "/…"),
            ("/%76", "/…"),
            ("/v1/kv/a%2Fb", "/v1/kv/a%2Fb"),
            ("/v1/push-tokens/hunter2", "/v1/push-tokens/…"),
            ("/v1/push-tokens", "/v1/push-tokens"),
            ("/v1/push-tokens/a://b/hunter2", "/v1/push-tokens/…"),
            ("*", "*"),
            ("http://host/v1/public-share/hunter2", "http://host/v1/public-share/…"),
            ("http://host", "http://host"),
            ("/v1/updates/?EIO=4&transport=polling&sid=hunter2", "/v1/updates/?EIO=4&transport=polling&sid=…"),
            ("/v1/connect/github/callback?code=hunter2&state=hunter2", "/v1/connect/github/callback?code=…&state=…"),
            ("/x?a=1&token=hunter2&b", "/x?a=1&token=…&b"),
            ("/x?TOKEN=hunter2", "/x?TOKEN=…"),
            ("/x#token=hunter2", "/x#token=…"),
            ("/x?", "/x?"),
            ("/x?st%61te=hunter2", "/x?st%61te=…"),
            ("/x?state", "/x?state"),
            ("/x?statement=1&barcode=2", "/x?statement=1&barcode=2"),
            ("/x?token=a?b=hunter2", "/x?token=…"),
        ];
        for (target, expected) in table {
            let masked = redact_target(target);
            assert_eq!(masked, expected);
            assert!(!masked.contains("hunter2"));
            assert_eq!(matches!(masked, Cow::Borrowed(_)), target == expected, "{target}");
        }
    }

    #[test]
    fn contents_are_replaced_by_their_length() {
        assert_eq!(Redacted(b"hunter2").to_string(), "… (7 bytes)");
    }

    #[test]
    fn ids_are_shortened() {
        for (id, expected) in [("", ""), ("abcdefgh", "abcdefgh"), ("abcdefghi", "abcd…fghi"), ("ääääääää", "ää…ää")]
        {
            assert_eq!(shortened(id), expected);
        }
    }
}
