//! Every setting once: its name, its default, who reads it, what it does.
//!
//! `--help` and the README render this table, `resolve` reads settings through its constants, and unknown names are
//! compared with it; a setting that is not here does not exist. A setting named `HAPPY_…` may also be given as
//! `HAPPIER_…`; where both are set the `HAPPY_…` form wins.

use std::fmt::Write as _;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    /// What holds without it, as text for people; empty when nothing does.
    pub default: &'static str,
    pub readers: Readers,
    pub doc: &'static str,
}

/// Which flavor reads a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    Both,
    Full,
    Light,
}

impl Readers {
    fn note(self) -> &'static str {
        match self {
            Self::Both => "",
            Self::Full => "full",
            Self::Light => "light",
        }
    }
}

impl Key {
    /// The other name of a `HAPPY_…` setting.
    pub fn other_name(&self) -> Option<String> {
        self.name.strip_prefix("HAPPY_").map(|rest| format!("HAPPIER_{rest}"))
    }
}

/// Settings that belong together, under a heading.
pub struct Section {
    pub title: &'static str,
    pub keys: &'static [Key],
}

macro_rules! sections {
    ($($title:literal { $($constant:ident $name:literal $readers:ident $default:literal $doc:literal;)* })*) => {
        $($(#[doc = $doc] pub const $constant: Key =
            Key { name: $name, default: $default, readers: Readers::$readers, doc: $doc };)*)*

        /// All settings in the order people read them.
        pub const SECTIONS: &[Section] = &[$(Section { title: $title, keys: &[$($constant),*] }),*];
    };
}

sections! {
    "General" {
        FLAVOR "HAPPY_SERVER_FLAVOR" Both ""
            "full or light, if the command line does not say it. Without either: full if DATABASE_URL is set, else light.";
        ROLE "SERVER_ROLE" Both "all"
            "What this process does: all, api (answers clients) or worker (timeouts, gauges, pruning; needs Redis).";
        MASTER_SECRET "HANDY_MASTER_SECRET" Both "light: generated"
            "Secret from which login tokens and column encryption keys derive. Changing it invalidates all tokens.";
        BIND "HAPPIER_BIND" Both "0.0.0.0"
            "Address to listen on, for the API and for metrics.";
        PORT "PORT" Both "3005"
            "Port of the API; 0 takes any free port.";
        INSTANCE_ID "HAPPY_INSTANCE_ID" Both "random"
            "Name of this process among replicas.";
        TIME_ZONE "TZ" Both ""
            "Accepted for compatibility and ignored: usage is summed up by hours and days of UTC.";
        SHUTDOWN_TIMEOUT_MS "HAPPIER_SHUTDOWN_TIMEOUT_MS" Both "10000"
            "Longest time from SIGTERM to exit; requests still running then are cut off.";
        NODE_ENV "NODE_ENV" Both ""
            "development turns off the subscription check of the voice route.";
        ENV "ENV" Both ""
            "dev has the same effect as NODE_ENV=development.";
        EXIT_ON_FATAL "HAPPY_EXIT_ON_FATAL" Both ""
            "Accepted for compatibility and ignored: the process always ends on a fatal error.";
    }
    "Performance" {
        CORES "HAPPIER_CORES" Both "all available"
            "Threads that serve connections, at most 256.";
        IO_DRIVER "HAPPIER_IO_DRIVER" Both "auto"
            "auto, uring (fail where io_uring is not available) or epoll.";
        DB_CONNECTIONS_PER_CORE "HAPPIER_DB_CONNECTIONS_PER_CORE" Full "4"
            "Most database connections of each core. All cores together keep to connection_limit, so raise that, too; each has at least one.";
    }
    "Limits" {
        RATE_LIMITS "HAPPIER_RATE_LIMITS" Both "on"
            "on or off: whether the request rates of single clients are limited.";
        TRUSTED_PROXIES "HAPPIER_TRUSTED_PROXIES" Both "none"
            "Addresses or networks (10.0.0.0/8), separated by commas, whose X-Forwarded-For is believed.";
        BODY_BYTES_MAX "HAPPIER_BODY_BYTES_MAX" Both "104857600"
            "Largest request body; without a valid token it is at most 1 MiB.";
        BODIES_BYTES_MAX "HAPPIER_BODIES_BYTES_MAX" Both "1073741824"
            "Bytes of all request bodies in memory; beyond them a request with a body above 64 KiB is answered with 503.";
        SOCKET_PAYLOAD_BYTES_MAX "HAPPIER_SOCKET_PAYLOAD_BYTES_MAX" Both "1000000"
            "Largest message on a socket, announced to clients.";
        OUTBOX_BYTES_MAX "HAPPIER_OUTBOX_BYTES_MAX" Both "4194304"
            "Bytes that may wait for a client that does not read; beyond them it is disconnected.";
        RPC_GRACE_MS "HAPPIER_RPC_GRACE_MS" Both "0"
            "How long a remote call waits for a method whose machine is reconnecting.";
        PAIRING_TTL_MS "HAPPIER_PAIRING_TTL_MS" Both "86400000"
            "How long an approved pairing request is answered with a token.";
        CALL_TIMEOUT_MS "HAPPIER_CALL_TIMEOUT_MS" Both "10000"
            "Longest duration of a call to another service (GitHub, RevenueCat, ElevenLabs).";
    }
    "Database" {
        DATABASE_URL "DATABASE_URL" Full ""
            "postgresql://user:password@host:port/database with the parameters schema, connection_limit, pool_timeout, \
             connect_timeout, socket_timeout, sslmode, sslaccept, sslcert (or sslrootcert), sslidentity (our \
             certificate and its unencrypted key, PEM), sslpassword (ignored), pgbouncer, statement_cache_size, \
             application_name, options, host.";
    }
    "Data directory" {
        LIGHT_DATA_DIR "HAPPY_SERVER_LIGHT_DATA_DIR" Light "~/.happy/server-light"
            "Directory of everything the light flavor keeps.";
        LIGHT_DB_DIR "HAPPY_SERVER_LIGHT_DB_DIR" Light "the data directory"
            "Directory of the database file happier.sqlite3.";
        LIGHT_FILES_DIR "HAPPY_SERVER_LIGHT_FILES_DIR" Light "<data directory>/files"
            "Directory of public files.";
        PUBLIC_URL "PUBLIC_URL" Light "http://localhost:<PORT>"
            "Base of the URLs of public files, as clients reach this server.";
    }
    "Object storage" {
        S3_HOST "S3_HOST" Full "" "Host of the S3 endpoint.";
        S3_PORT "S3_PORT" Full "443, or 80 without TLS" "Port of the S3 endpoint.";
        S3_USE_SSL "S3_USE_SSL" Full "true" "true: TLS; anything else: plain HTTP.";
        S3_BUCKET "S3_BUCKET" Full "" "Bucket of public files; it must exist.";
        S3_ACCESS_KEY "S3_ACCESS_KEY" Full "" "Access key.";
        S3_SECRET_KEY "S3_SECRET_KEY" Full "" "Secret key.";
        S3_PUBLIC_URL "S3_PUBLIC_URL" Full "" "Base of the URLs of public files, without trailing slash.";
    }
    "Web UI" {
        UI_DIR "HAPPY_SERVER_UI_DIR" Both "" "Directory with a built web UI to serve; blank serves none.";
        LIGHT_UI_DIR "HAPPY_SERVER_LIGHT_UI_DIR" Both "" "Older name of HAPPY_SERVER_UI_DIR.";
        UI_PREFIX "HAPPY_SERVER_UI_PREFIX" Both "/" "Path under which the web UI is served.";
        LIGHT_UI_PREFIX "HAPPY_SERVER_LIGHT_UI_PREFIX" Both "" "Older name of HAPPY_SERVER_UI_PREFIX.";
    }
    "Redis and replicas" {
        REDIS_URL "REDIS_URL" Full "" "Redis that connects replicas; used with the adapter enabled.";
        REDIS_ADAPTER "HAPPY_SOCKET_REDIS_ADAPTER" Full "off" "1 or true, with REDIS_URL: share events and calls with other replicas; anything else is off.";
        PRESENCE_STREAM_MAXLEN "HAPPY_PRESENCE_STREAM_MAXLEN" Full "100000"
            "Approximate length of the presence stream; 0: unlimited.";
        ROOMS_ONLY "HAPPY_SOCKET_ROOMS_ONLY" Both ""
            "Accepted for compatibility and ignored: events always go through rooms.";
    }
    "Change feed" {
        CHANGE_CLEANUP "HAPPY_ACCOUNT_CHANGE_CLEANUP" Both "off" "1 or true: remove entries of deleted things from the change feed periodically.";
        CHANGE_CLEANUP_INTERVAL_MS "HAPPY_ACCOUNT_CHANGE_CLEANUP_INTERVAL_MS" Both "21600000"
            "Time between two runs; at least 10000.";
    }
    "External services" {
        GITHUB_CLIENT_ID "GITHUB_CLIENT_ID" Both "" "GitHub OAuth client.";
        GITHUB_CLIENT_SECRET "GITHUB_CLIENT_SECRET" Both "" "Secret of the GitHub OAuth client.";
        GITHUB_REDIRECT_URL "GITHUB_REDIRECT_URL" Both "" "Where GitHub sends users back to.";
        GITHUB_REDIRECT_URI "GITHUB_REDIRECT_URI" Both "" "The same, as the activation of webhooks checks it.";
        GITHUB_APP_ID "GITHUB_APP_ID" Both "" "GitHub App that sends webhooks.";
        GITHUB_PRIVATE_KEY "GITHUB_PRIVATE_KEY" Both "" "Private key of the GitHub App, PEM.";
        GITHUB_WEBHOOK_SECRET "GITHUB_WEBHOOK_SECRET" Both "" "Secret that signs webhooks.";
        ELEVENLABS_API_KEY "ELEVENLABS_API_KEY" Both "" "Key of the voice service.";
    }
    "Metrics and logs" {
        METRICS_ENABLED "METRICS_ENABLED" Both "true" "false: no metrics server.";
        METRICS_PORT "METRICS_PORT" Both "9090" "Port of the metrics server; 0 takes any free port.";
        LOG "HAPPIER_LOG" Both "info" "Least severe level to log: error, warn, info or debug.";
        LOG_FORMAT "HAPPIER_LOG_FORMAT" Both "text" "text or json (one object per line); both go to standard error.";
        DEBUG_LOG "DANGEROUSLY_LOG_TO_SERVER_FOR_AI_AUTO_DEBUGGING" Both ""
            "Any value: also log to a file in .logs and accept log lines of clients. Never in production.";
    }
    "Addresses of other services, for tests" {
        GITHUB_URL "HAPPIER_GITHUB_URL" Both "https://github.com" "Where GitHub asks users to authorise.";
        GITHUB_API_URL "HAPPIER_GITHUB_API_URL" Both "https://api.github.com" "GitHub's API.";
        REVENUECAT_URL "HAPPIER_REVENUECAT_URL" Both "https://api.revenuecat.com" "RevenueCat's API.";
        ELEVENLABS_URL "HAPPIER_ELEVENLABS_URL" Both "https://api.elevenlabs.io" "ElevenLabs' API.";
    }
    "Socket timing, for tests" {
        PING_INTERVAL_MS "HAPPIER_PING_INTERVAL_MS" Both "15000" "Time between heartbeats.";
        PING_TIMEOUT_MS "HAPPIER_PING_TIMEOUT_MS" Both "45000" "Longest wait for the answer to a heartbeat.";
        UPGRADE_TIMEOUT_MS "HAPPIER_UPGRADE_TIMEOUT_MS" Both "10000" "Longest duration of a transport upgrade.";
        CONNECT_TIMEOUT_MS "HAPPIER_CONNECT_TIMEOUT_MS" Both "20000"
            "Longest time from opening a session to joining a namespace.";
    }
}

/// All settings.
pub fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// Whether some setting is read under this name.
pub fn is_known(name: &str) -> bool {
    all().any(|key| key.name == name || key.other_name().is_some_and(|other| other == name))
}

/// The known name most similar to an unknown one, if any is similar enough to be meant.
pub fn nearest(unknown: &str) -> Option<String> {
    let names = all().flat_map(|key| [Some(key.name.to_owned()), key.other_name()]).flatten();
    let ranked = names.map(|name| (edits(unknown, &name), name));
    let (distance, name) = ranked.min_by_key(|(distance, _)| *distance)?;
    (distance <= unknown.len() / 4).then_some(name)
}

/// How many characters must be inserted, removed or replaced to turn one text into the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, from) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

/// Width of a terminal that every terminal has.
const HELP_COLUMNS: usize = 80;

/// The settings as `--help` shows them.
pub fn help() -> String {
    let mut out = String::new();
    for section in SECTIONS {
        let _ = writeln!(out, "\n{}:", section.title);
        for key in section.keys {
            let notes: Vec<_> = [key.readers.note().to_owned(), default_note(key)]
                .into_iter()
                .filter(|note| !note.is_empty())
                .collect();
            let notes = if notes.is_empty() { String::new() } else { format!("  [{}]", notes.join("; ")) };
            let _ = writeln!(out, "  {}{notes}", key.name);
            for line in wrapped(key.doc, HELP_COLUMNS - 6) {
                let _ = writeln!(out, "      {line}");
            }
        }
    }
    out
}

fn default_note(key: &Key) -> String {
    if key.default.is_empty() { String::new() } else { format!("default: {}", key.default) }
}

/// The settings as tables for the README.
pub fn markdown() -> String {
    let mut out = String::new();
    for section in SECTIONS {
        let _ = writeln!(out, "### {}\n\n| Setting | Default | Effect |\n|---|---|---|", section.title);
        for key in section.keys {
            let default = if key.default.is_empty() { "–".to_owned() } else { format!("`{}`", key.default) };
            let flavor = match key.readers {
                Readers::Both => String::new(),
                readers => format!("({} flavor) ", readers.note()),
            };
            let _ = writeln!(out, "| `{}` | {default} | {flavor}{} |", key.name, key.doc);
        }
        out.push('\n');
    }
    out
}

fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a first line");
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= columns {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_there_once() {
        let mut names = HashSet::new();
        for key in all() {
            assert!(names.insert(key.name.to_owned()), "{} is there twice", key.name);
            if let Some(other) = key.other_name() {
                assert!(names.insert(other), "the other name of {} is taken", key.name);
            }
            assert!(key.doc.ends_with('.'), "{}: {}", key.name, key.doc);
        }
    }

    #[test]
    fn both_forms_are_known() {
        for name in ["PORT", "HAPPY_SERVER_FLAVOR", "HAPPIER_SERVER_FLAVOR", "HAPPIER_CORES"] {
            assert!(is_known(name), "{name}");
        }
        for name in ["HAPPY_CORES", "HAPPIER_PORT", "", "port"] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn similar_names_are_suggested() {
        let table = [
            ("HAPPIER_CORE", Some("HAPPIER_CORES")),
            ("HAPPIER_IODRIVER", Some("HAPPIER_IO_DRIVER")),
            ("HAPPIER_RATE_LIMIT", Some("HAPPIER_RATE_LIMITS")),
            ("HAPPIER_SERVER_FLAVOUR", Some("HAPPIER_SERVER_FLAVOR")),
            ("HAPPIER_SOMETHING_ELSE_ENTIRELY", None),
        ];
        for (unknown, suggestion) in table {
            assert_eq!(nearest(unknown).as_deref(), suggestion, "{unknown}");
        }
        assert_eq!((edits("", "abc"), edits("abc", "abc"), edits("kitten", "sitting")), (3, 0, 3));
    }

    #[test]
    fn help_and_markdown_show_every_setting() {
        let (help, markdown) = (help(), markdown());
        for key in all() {
            assert!(help.contains(key.name) && markdown.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        }
        for line in help.lines() {
            assert!(line.len() <= HELP_COLUMNS || !line.starts_with("      "), "{line}");
        }
        assert!(help.contains("PORT  [default: 3005]"));
        assert!(help.contains("DATABASE_URL  [full]"));
    }
}
