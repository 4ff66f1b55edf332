//! Rules about the source text itself: which module may import which, how files open and are called, what must not be
//! mentioned, and which lists must agree with each other.
//!
//! A rule that stands in the way of better code is changed here, in its table, with a reason; it is not worked around.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the server and the modules it may import, near or far. `protocol` is the crate of that name.
///
/// Two edges look backwards: ids are made of random bytes (`model` uses `crypto`) and tokens name accounts (`crypto` uses
/// `model`). `storage` calls an S3 service with the HTTP client of `vendors`. `api` sees `storage` for its errors alone,
/// see `NEVER`. `boot` sees everything, because it is what puts everything together; `main` sees only `boot`, `config`
/// and the log.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &["crypto"]),
    ("crypto", &["model", "protocol"]),
    ("config", &["crypto", "model", "protocol"]),
    ("observe", &["config", "model"]),
    ("runtime", &["config", "model", "observe"]),
    ("net", &["config", "crypto", "model", "observe", "protocol", "runtime"]),
    ("images", &["protocol"]),
    ("vendors", &["config", "crypto", "model", "observe", "protocol", "runtime"]),
    ("storage", &["config", "crypto", "model", "observe", "protocol", "runtime", "vendors"]),
    ("cluster", &["config", "crypto", "model", "net", "observe", "protocol", "runtime"]),
    ("realtime", &["cluster", "config", "crypto", "model", "net", "observe", "protocol", "runtime"]),
    ("domain", &["crypto", "images", "model", "observe", "protocol", "realtime", "runtime", "storage", "vendors"]),
    ("worker", &["cluster", "config", "domain", "model", "observe", "realtime", "runtime", "storage"]),
    ("api", &["config", "crypto", "domain", "model", "net", "observe", "protocol", "realtime", "runtime", "storage"]),
    (
        "boot",
        &[
            "api", "cluster", "config", "crypto", "domain", "model", "net", "observe", "protocol", "realtime",
            "runtime", "storage", "vendors", "worker",
        ],
    ),
    ("main", &["boot", "config", "observe"]),
    ("lib", &[]),
];

/// Narrower than the table above: files below the first path never mention the second.
const NEVER: &[(&str, &str, &str)] = &[
    ("src/domain", "protocol::http", "a rule knows no statuses and no headers"),
    ("src/domain", "protocol::websocket", "a rule knows no frames"),
    ("src/domain", "protocol::engineio", "a rule knows no packets"),
    ("src/domain", "protocol::socketio", "a rule knows no packets"),
    ("src/domain", "realtime::hub", "a rule publishes events; it does not know who is connected"),
    ("src/api/rest", "crate::storage", "statements belong to the domains"),
    ("src/api/socket", "crate::storage", "statements belong to the domains"),
    ("src/api/rest", "api::socket", "two doors side by side"),
    ("src/api/socket", "api::rest", "two doors side by side"),
    ("protocol/src", "std::net", "the protocol crate moves no bytes"),
    ("protocol/src", "std::io", "the protocol crate moves no bytes"),
    ("protocol/src", "std::env", "the protocol crate reads no environment"),
    ("protocol/src", "std::fs", "the protocol crate reads no files"),
    ("protocol/src", "std::thread", "the protocol crate starts no threads"),
    ("protocol/src", "std::time", "time arrives as an argument"),
];

/// What `NEVER` forbids and is right all the same.
const EXCEPT: &[(&str, &str, &str)] =
    &[("src/api/rest/service.rs", "crate::storage", "the health of the database is not a rule of any domain")];

const BANNED_NAMES: &[&str] = &["common", "core", "helper", "helpers", "misc", "util", "utils"];

/// Folders with Rust sources that are ours.
const SOURCES: &[&str] = &["benches", "loadtest", "perf", "protocol", "src", "tests"];

const NOT_OURS: &[&str] = &[".git", "artifacts", "node_modules", "target"];

#[test]
fn modules_import_only_downwards() {
    let mut faults = String::new();
    for file in rust_files("src") {
        let module = top_module(&file);
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            writeln!(faults, "{}: the module `{module}` is not in the table of tests/tidy.rs", file.display()).unwrap();
            continue;
        };
        for imported in imports(&production_code(&read(&file))) {
            if imported != module && !allowed.contains(&imported.as_str()) {
                writeln!(faults, "{}: `{module}` must not import `{imported}`", file.display()).unwrap();
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn narrow_rules_hold() {
    let mut faults = String::new();
    for (folder, path, reason) in NEVER {
        for file in rust_files(folder) {
            let excepted = EXCEPT.iter().any(|(name, what, _)| file == Path::new(name) && what == path);
            if !excepted && production_code(&read(&file)).contains(path) {
                writeln!(faults, "{}: mentions `{path}`: {reason}", file.display()).unwrap();
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_table_is_a_hierarchy_but_for_ids_and_tokens() {
    let position = |name: &str| IMPORTS.iter().position(|(module, _)| *module == name);
    for (module, allowed) in IMPORTS {
        for import in *allowed {
            if *import == "protocol" || (*module, *import) == ("model", "crypto") {
                continue;
            }
            assert!(position(import) < position(module), "`{module}` stands above `{import}`");
        }
    }
}

#[test]
fn no_module_has_a_name_without_meaning() {
    let mut faults = String::new();
    for folder in SOURCES {
        for file in rust_files(folder) {
            for part in file.with_extension("").iter().filter_map(|part| part.to_str()) {
                if BANNED_NAMES.contains(&part) {
                    writeln!(faults, "{}: `{part}` says nothing about what is inside", file.display()).unwrap();
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_module_says_what_it_is() {
    let mut faults = String::new();
    for folder in SOURCES {
        for file in rust_files(folder) {
            let text = read(&file);
            // A fuzz target must open with its `no_main`.
            let first = text.lines().find(|line| !line.is_empty() && *line != "#![no_main]").unwrap_or_default();
            if !first.starts_with("//! ") {
                writeln!(faults, "{}: does not open with `//!`", file.display()).unwrap();
            }
        }
    }
    assert_none(&faults);
}

/// The repository says nothing about the machines on which it is made, nor about where packages come from: a path or a
/// host that works for one person breaks for the next.
#[test]
fn no_file_names_a_workplace() {
    let words = [
        ["/wo", "rk/"].concat(),
        ["/tmp", "/w/"].concat(),
        ["/ro", "ot/"].concat(),
        ["registry.npm", "js.org"].concat(),
        ["static.crates", ".io"].concat(),
        ["index.crates", ".io"].concat(),
        ["files.python", "hosted.org"].concat(),
        ["deb.deb", "ian.org"].concat(),
    ];
    let mut faults = String::new();
    for file in files(Path::new("")) {
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        for word in &words {
            if text.contains(word.as_str()) {
                writeln!(faults, "{}: mentions {word}", file.display()).unwrap();
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_dependency_has_its_reason() {
    let architecture = read(Path::new("ARCHITECTURE.md"));
    let mut faults = String::new();
    for manifest in ["Cargo.toml", "protocol/Cargo.toml", "loadtest/Cargo.toml"] {
        for name in dependencies(&read(Path::new(manifest))) {
            let named = format!("`{name}`");
            let mut first_cells = architecture.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
            if name != "protocol" && !first_cells.any(|cell| cell.contains(&named)) {
                writeln!(faults, "{manifest}: no row of a table in ARCHITECTURE.md begins with {named}").unwrap();
            }
        }
    }
    assert_none(&faults);
}

/// A fuzz target that nobody builds is no test: cargo takes it from the manifest, the nightly run from its list.
#[test]
fn every_fuzz_target_is_run() {
    let manifest = read(Path::new("protocol/fuzz/Cargo.toml"));
    let nightly = read(Path::new(".github/workflows/nightly.yml"));
    let targets = rust_files("protocol/fuzz/fuzz_targets");
    assert!(!targets.is_empty());
    let mut faults = String::new();
    for target in targets {
        let name = target.file_stem().unwrap().to_str().unwrap();
        if !manifest.contains(&format!("name = \"{name}\"\n")) {
            writeln!(faults, "protocol/fuzz/Cargo.toml: no binary {name}").unwrap();
        }
        if !nightly.lines().any(|line| line.trim() == format!("- {name}")) {
            writeln!(faults, ".github/workflows/nightly.yml: does not run {name}").unwrap();
        }
    }
    assert_none(&faults);
}

/// `ARCHITECTURE.md` is the map of the code.
#[test]
fn the_code_map_names_every_module() {
    let architecture = read(Path::new("ARCHITECTURE.md"));
    let mut faults = String::new();
    for (module, _) in IMPORTS.iter().filter(|(module, _)| !matches!(*module, "main" | "lib")) {
        let named = [format!("| `src/{module}` |"), format!("| `src/{module}.rs` |")];
        if !named.iter().any(|named| architecture.contains(named.as_str())) {
            writeln!(faults, "ARCHITECTURE.md: no row for src/{module}").unwrap();
        }
    }
    assert_none(&faults);
}

#[test]
fn every_recorded_deviation_is_explained() {
    let compatibility = read(Path::new("docs/compatibility.md"));
    let deviations: serde_json::Value = serde_json::from_str(&read(Path::new("tests/parity-deviations.json"))).unwrap();
    for (scenario, list) in deviations.as_object().unwrap() {
        for deviation in list.as_array().unwrap() {
            let id = deviation["id"].as_str().unwrap();
            let explained = compatibility
                .lines()
                .filter_map(|line| line.strip_prefix('|')?.split('|').next())
                .any(|cell| cell.split(',').any(|part| part.trim() == id));
            assert!(explained, "{scenario}: no row of docs/compatibility.md begins with {id}");
        }
    }
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |folder: &str| -> BTreeSet<String> {
        let all = files(Path::new(folder)).into_iter();
        let numbered = all.filter(|file| file.parent() == Some(Path::new(folder)));
        numbered.map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("migrations/postgres"), names("migrations/sqlite"));
}

/// Clients are written from docs/realtime.md: every event that the socket door takes, every event that it or the hub
/// sends, and every kind of update stands there.
#[test]
fn every_event_is_documented() {
    let document = read(Path::new("docs/realtime.md"));
    let door = read(Path::new("src/api/socket/mod.rs"));
    let (_, arms) = door.split_once("match incoming.name {").unwrap();
    let (arms, _) = arms.split_once("_ => {}").unwrap();
    let taken: Vec<&str> = arms
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" =>"))
        .map(|(name, _)| name)
        .collect();
    assert!(taken.len() >= 18 && taken.contains(&"message"), "the arms of the door are not found: {taken:?}");
    let mut names: BTreeSet<String> = taken.into_iter().map(str::to_owned).collect();
    for event in ["update", "ephemeral", "error", "rpc-registered", "rpc-unregistered", "rpc-error", "rpc-request"] {
        names.insert(event.to_owned());
    }
    let mut kinds = 0;
    for file in rust_files("src/domain") {
        let code = production_code(&read(&file));
        for marker in [" t: \"", "{\"t\":\"", "r#type: \""] {
            for (at, _) in code.match_indices(marker) {
                let kind = code.get(at + marker.len()..).and_then(|rest| rest.split('"').next()).unwrap();
                if kind != "encrypted" {
                    names.insert(kind.to_owned());
                    kinds += 1;
                }
            }
        }
    }
    assert!(kinds >= 20, "only {kinds} kinds of updates and ephemerals are found");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !document.contains(&format!("`{name}`")) && !document.contains(&format!("\"type\": \"{name}\"")))
        .collect();
    assert!(missing.is_empty(), "docs/realtime.md does not mention {missing:?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::a;\npub use crate::{b::{x, y}, c, d as e};\nlet z = crate::f::g();\nuse happier_server::h::{i};\nuse protocol::json;\n";
    assert_eq!(imports(code), ["a", "b", "c", "d", "f", "h", "protocol"].map(String::from).into());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn assert_none(faults: &str) {
    assert!(faults.is_empty(), "\n{faults}");
}

/// All files below a folder, as paths from the root, without what is not ours.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return found };
    for entry in entries.map(|entry| entry.unwrap()) {
        let name = entry.file_name();
        if NOT_OURS.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let path = folder.join(name);
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = files(Path::new(folder));
    found.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    found
}

/// `src/net/http.rs` belongs to `net`, `src/boot.rs` to `boot`.
fn top_module(file: &Path) -> String {
    let first = file.iter().nth(1).unwrap();
    Path::new(first).with_extension("").to_str().unwrap().to_owned()
}

/// The text without comments and without the test module, which stands at the end of a file.
fn production_code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").or_else(|| text.find("#[cfg(test)]\n#[allow")).unwrap_or(text.len());
    let lines = text.get(..end).unwrap_or(text).lines();
    lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// First segments behind `crate::` and `happier_server::`, also inside braces; and `protocol`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "happier_server::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = code.get(at + prefix.len()..).unwrap_or_default();
            if rest.starts_with('{') {
                found.extend(group(rest));
            } else {
                found.extend(segment(rest));
            }
        }
    }
    if code.contains("protocol::") {
        found.insert("protocol".to_owned());
    }
    found
}

/// First segments of the items of `{a, b::{c, d}, e}`.
fn group(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut depth = 0;
    let mut item_starts = false;
    for (at, character) in text.char_indices() {
        match character {
            '{' => {
                depth += 1;
                item_starts = depth == 1;
            }
            '}' if depth == 1 => return found,
            '}' => depth -= 1,
            ',' => item_starts = depth == 1,
            _ if item_starts && !character.is_whitespace() => {
                found.extend(segment(text.get(at..).unwrap_or_default()));
                item_starts = false;
            }
            _ => {}
        }
    }
    found
}

/// The module at the beginning of a path. Macros and items of the crate's root have none.
fn segment(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let name = text.get(..end)?;
    let lower = name.starts_with(|c: char| c.is_ascii_lowercase());
    (lower && !text.get(end..)?.starts_with('!')).then(|| name.to_owned())
}

/// Names under `[dependencies]` and `[build-dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = matches!(line, "[dependencies]" | "[build-dependencies]");
        } else if inside && !line.starts_with('#') {
            found.extend(
                line.split(['=', '.']).next().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned),
            );
        }
    }
    found
}
