//! What clients send, made fit for a log: secrets in request targets (closes C-5 of configuration.md) and contents
//! become `…`.

use std::borrow::Cow;
use std::fmt;

const MASK: &str = "…";

/// The one route with a bearer-like secret in its path.
const PUBLIC_SHARE: &str = "/v1/public-share/";

/// Query parameters whose values give access to something.
const SECRET_PARAMETERS: [&str; 4] = ["state", "code", "token", "access_token"];

/// The request target without public-link tokens in its path and without OAuth and token values in its query.
pub fn redact_target(target: &str) -> Cow<'_, str> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let masked_path = redacted_path(path);
    let masked_query = query.map(redacted_query);
    if matches!((&masked_path, &masked_query), (Cow::Borrowed(_), None | Some(Cow::Borrowed(_)))) {
        return Cow::Borrowed(target);
    }
    let mut masked = masked_path.into_owned();
    if let Some(query) = masked_query {
        masked.push('?');
        masked.push_str(&query);
    }
    Cow::Owned(masked)
}

fn redacted_path(path: &str) -> Cow<'_, str> {
    // Absolute targets carry the path after the authority.
    let Some(at) = path.find(PUBLIC_SHARE) else { return Cow::Borrowed(path) };
    let (before, token_on) = path.split_at(at + PUBLIC_SHARE.len());
    let rest = token_on.find('/').map_or("", |slash| &token_on[slash..]);
    if token_on.len() == rest.len() {
        return Cow::Borrowed(path);
    }
    Cow::Owned(format!("{before}{MASK}{rest}"))
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
            ("http://host/v1/public-share/hunter2", "http://host/v1/public-share/…"),
            ("/v1/connect/github/callback?code=hunter2&state=hunter2", "/v1/connect/github/callback?code=…&state=…"),
            ("/x?a=1&token=hunter2&b", "/x?a=1&token=…&b"),
            ("/x?TOKEN=hunter2", "/x?TOKEN=…"),
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
