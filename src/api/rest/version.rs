//! Whether an app should be updated (`spec/http.md` §15.8).

use std::rc::Rc;

use serde::Serialize;

use crate::api::error::Error;
use crate::api::response::Response;
use crate::api::validate::{FromRequest, Parts};
use crate::domain::Context;

/// The oldest version of the iOS app that is good enough: the range `>=1.4.1`.
const IOS_MINIMUM: (u64, u64, u64) = (1, 4, 1);
const IOS_STORE: &str = "https://apps.apple.com/us/app/happier-claude-codex-opencode/id6758537388";

pub struct App {
    platform: String,
    version: String,
}

impl FromRequest for App {
    fn from_request(parts: &mut Parts<'_>) -> Self {
        let mut body = parts.body();
        let app = Self { platform: body.text("platform"), version: body.text("version") };
        // Required by the contract, used by nobody.
        body.text("app_id");
        app
    }
}

pub async fn check(_: Rc<Context>, app: App) -> Result<Response, Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        update_url: Option<&'static str>,
    }
    let is_old = app.platform.eq_ignore_ascii_case("ios") && release(&app.version) < Some(IOS_MINIMUM);
    Ok(Response::ok(&Body { update_url: is_old.then_some(IOS_STORE) }))
}

/// A complete release version. Pre-releases and everything incomplete or unparsable are none: no range includes them.
fn release(text: &str) -> Option<(u64, u64, u64)> {
    let text = text.trim();
    let text = text.strip_prefix('=').unwrap_or(text);
    let text = text.strip_prefix('v').unwrap_or(text);
    let (version, build) = match text.split_once('+') {
        Some((version, build)) => (version, Some(build)),
        None => (text, None),
    };
    let is_identifier = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if build.is_some_and(|build| !build.split('.').all(is_identifier)) {
        return None;
    }
    let mut numbers = version.split('.').map(|number| {
        let is_number = number.bytes().all(|b| b.is_ascii_digit()) && (number.len() == 1 || !number.starts_with('0'));
        if is_number { number.parse::<u64>().ok() } else { None }
    });
    let version = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_satisfies_the_range() {
        for good in ["1.4.1", "v1.5.0", "2.0.0", "1.10.0", "1.4.1+build", " 1.4.2 ", "=1.4.1"] {
            assert!(release(good) >= Some(IOS_MINIMUM), "{good}");
        }
        for bad in [
            "",
            "1.4.0",
            "0.9.9",
            "1.4",
            "1",
            "newest",
            "1.5.0-beta.1",
            "1.5.0.0",
            "01.5.0",
            "1.5.",
            "1.5.0+",
            "+1.5.0",
        ] {
            assert!(release(bad) < Some(IOS_MINIMUM), "{bad}");
        }
    }
}
