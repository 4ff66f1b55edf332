//! The table of routes in `docs/api.md` is the one of the router.
//!
//! `UPDATE_API=1 cargo test --test api_document` writes it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::{env, fs};

use happier_server::api::limits::Limit;
use happier_server::api::openapi;
use happier_server::api::routes::{self, Access, Route};

const BEGIN: &str = "<!-- routes -->\n";
const END: &str = "<!-- /routes -->";

fn row(route: &Route) -> String {
    let access = match route.access {
        Access::Open => "–",
        Access::Optional => "optional",
        Access::Bearer => "bearer",
    };
    let limit = match route.endpoint.limit {
        Some(Limit::Requests(limit) | Limit::Calls(limit)) => format!("; {} a minute", limit.0),
        Some(Limit::Creations(limit)) => format!("; {} new ones a minute", limit.0),
        None => String::new(),
    };
    // Every route can find the body too large or fail.
    let statuses: Vec<String> = openapi::statuses(route)
        .into_iter()
        .filter(|status| ![413, 415, 500].contains(status))
        .map(|status| status.to_string())
        .collect();
    let (method, template, about) = (route.method.as_str(), route.template, route.about);
    format!("| {method} | `{template}` | {access} | {about}{limit} | {} |\n", statuses.join(", "))
}

#[test]
fn the_documentation_lists_the_routes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md");
    let document = fs::read_to_string(path).unwrap();
    let (before, rest) = document.split_once(BEGIN).expect("the document marks the place of the routes");
    let (_, after) = rest.split_once(END).expect("the document marks the end of the routes");
    let mut table = String::from("| Method | Path | Token | What it does | Answers |\n|---|---|---|---|---|\n");
    for route in routes::all() {
        table.push_str(&row(&route));
    }
    let mut expected = String::new();
    write!(expected, "{before}{BEGIN}\n{table}\n{END}{after}").unwrap();
    if env::var_os("UPDATE_API").is_some() {
        fs::write(path, &expected).unwrap();
    } else {
        assert_eq!(document, expected, "run `UPDATE_API=1 cargo test --test api_document`");
    }
}
