//! The table of settings in the README is the one in `config::keys`.
//!
//! `UPDATE_README=1 cargo test --test readme` writes it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::{env, fs};

use happier_server::config::keys;

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->";

#[test]
fn the_readme_lists_the_settings() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README marks the place of the settings");
    let (_, after) = rest.split_once(END).expect("the README marks the end of the settings");
    let expected = format!("{before}{BEGIN}\n{}\n{END}{after}", keys::markdown().trim());
    if env::var_os("UPDATE_README").is_some() {
        fs::write(path, &expected).unwrap();
    } else {
        assert_eq!(readme, expected, "run `UPDATE_README=1 cargo test --test readme`");
    }
}
