//! The log: one line per entry on standard error, as text or as JSON; and, for debugging, a file that clients write to
//! as well.
//!
//! Limit: [`DEBUG_BYTES_MAX`] for that file; whatever comes after them is dropped.
//! Invariants: an entry is one line, whatever a client managed to get into it, because control characters are escaped;
//! an entry is written whole, by one system call. A log that nobody reads is no reason to fail, so write errors are
//! ignored.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use log::{LevelFilter, Record};

use crate::config::{Log, LogFormat};
use crate::model::time::{Date, now_ms};

/// Crates below us are heard only when something is wrong.
const OWN_TARGET: &str = "happier_server";

struct Logger {
    level: LevelFilter,
    format: LogFormat,
    debug_file: Option<Arc<DebugFile>>,
}

/// The debugging log (`spec/configuration.md` §8.3).
struct DebugFile {
    file: File,
    hostname: String,
    written: AtomicU64,
}

/// Clients may write to the debugging log without being asked who they are.
pub const DEBUG_BYTES_MAX: u64 = 256 << 20;

static DEBUG_FILE: OnceLock<Arc<DebugFile>> = OnceLock::new();

/// An entry that a client has sent for the debugging log (`spec/http.md` §15.10).
pub struct ClientEntry<'a> {
    /// As the client says it: `error`, `warn` or `warning`, `debug` in any case; everything else is `info`.
    pub level: &'a str,
    pub source: &'a str,
    pub platform: Option<&'a str>,
    pub timestamp: &'a str,
    pub message: &'a str,
}

/// Writes a client's entry to the debugging log, if there is one. Entries of the level `debug` are not written.
pub fn client_entry(entry: &ClientEntry<'_>) {
    let level = match entry.level.to_ascii_lowercase().as_str() {
        "error" => 50,
        "warn" | "warning" => 40,
        "debug" => return,
        _ => 30,
    };
    let Some(file) = DEBUG_FILE.get() else { return };
    let mut fields = format!(",\"source\":{}", json(entry.source));
    if let Some(platform) = entry.platform {
        let _ = write!(fields, ",\"platform\":{}", json(platform));
    }
    let _ = write!(fields, ",\"timestamp\":{}", json(entry.timestamp));
    file.write(&debug_line(level, now_ms(), &file.hostname, &fields, entry.message));
}

/// Directory of debugging logs, below the working directory.
const DEBUG_DIRECTORY: &str = ".logs";

/// Sets the process's log up. Later calls change nothing.
pub fn start(settings: Log) {
    let mut problem = None;
    let debug_file = settings.debug_file.then(|| open_debug_file(Path::new(DEBUG_DIRECTORY), now_ms()));
    let debug_file = debug_file.and_then(|opened| opened.map_err(|error| problem = Some(error)).ok()).map(Arc::new);
    if let Some(file) = &debug_file {
        let _ = DEBUG_FILE.set(Arc::clone(file));
    }
    let logger = Logger { level: settings.level, format: settings.format, debug_file };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(settings.level);
    }
    if let Some(error) = problem {
        log::warn!("the debugging log cannot be written: {error}");
    }
}

/// A new file named after the start. Local time is not worth a time zone database: the name is in UTC.
fn open_debug_file(directory: &Path, now_ms: i64) -> io::Result<DebugFile> {
    fs::create_dir_all(directory)?;
    let time = Timestamp::of(now_ms);
    let name = format!(
        "{:02}-{:02}-{:02}-{:02}-{:02}.log",
        time.date.month, time.date.day, time.hour, time.minute, time.second
    );
    let file = File::options().create(true).append(true).open(directory.join(name))?;
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let written = AtomicU64::new(file.metadata()?.len());
    Ok(DebugFile { file, hostname: hostname.trim().to_owned(), written })
}

impl DebugFile {
    fn write(&self, line: &str) {
        if self.written.fetch_add(line.len() as u64, Ordering::Relaxed) < DEBUG_BYTES_MAX {
            let _ = (&self.file).write_all(line.as_bytes());
        }
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let own = metadata.target().split("::").next() == Some(OWN_TARGET);
        metadata.level() <= if own { self.level } else { self.level.min(LevelFilter::Warn) }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now_ms = now_ms();
        let line = match self.format {
            LogFormat::Text => text_line(record, now_ms),
            LogFormat::Json => json_line(record, now_ms),
        };
        let _ = io::stderr().write_all(line.as_bytes());
        if let Some(file) = &self.debug_file {
            let level = debug_level(record.level());
            file.write(&debug_line(level, now_ms, &file.hostname, "", &record.args().to_string()));
        }
    }

    fn flush(&self) {
        let _ = io::stderr().flush();
    }
}

/// `2026-01-01T00:00:00.250Z INFO  message`; entries of other crates name them.
fn text_line(record: &Record<'_>, now_ms: i64) -> String {
    let mut line = format!("{} {:<5} ", Timestamp::of(now_ms), record.level());
    if let Some(origin) = foreign_origin(record) {
        let _ = write!(line, "{origin}: ");
    }
    let message = record.args().to_string();
    for character in message.chars() {
        if is_unprintable(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

fn json_line(record: &Record<'_>, now_ms: i64) -> String {
    let level = record.level().as_str().to_ascii_lowercase();
    let mut line = format!("{{\"time\":\"{}\",\"level\":\"{level}\"", Timestamp::of(now_ms));
    let origin = record.module_path().unwrap_or_else(|| record.target());
    let _ = write!(line, ",\"module\":{},\"msg\":{}}}", json(origin), json(&record.args().to_string()));
    line.push('\n');
    line
}

fn debug_level(level: log::Level) -> u8 {
    match level {
        log::Level::Error => 50,
        log::Level::Warn => 40,
        log::Level::Info => 30,
        log::Level::Debug | log::Level::Trace => 20,
    }
}

/// The form of the reference server's debugging log, where levels are numbers. `fields` begin with a comma each.
fn debug_line(level: u8, now_ms: i64, hostname: &str, fields: &str, message: &str) -> String {
    let (time, pid) = (Timestamp::of(now_ms), std::process::id());
    let (hostname, message) = (json(hostname), json(message));
    format!(
        "{{\"level\":{level},\"time\":{now_ms},\"localTime\":\"{time}\",\"pid\":{pid},\"hostname\":{hostname}{fields},\"msg\":{message}}}\n"
    )
}

fn foreign_origin<'r>(record: &Record<'r>) -> Option<&'r str> {
    let origin = record.target().split("::").next().unwrap_or_default();
    (origin != OWN_TARGET).then_some(origin)
}

/// Control characters, and those that reorder a line on a terminal.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A JSON text without unprintable characters.
fn json(text: &str) -> String {
    let quoted = sonic_rs::to_string(text).unwrap_or_default();
    if !quoted.contains(is_unprintable) {
        return quoted;
    }
    let mut out = String::with_capacity(quoted.len() + 16);
    for character in quoted.chars() {
        if is_unprintable(character) {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// An instant in UTC, split into what a line shows.
struct Timestamp {
    date: Date,
    hour: i64,
    minute: i64,
    second: i64,
    millisecond: i64,
}

impl Timestamp {
    fn of(now_ms: i64) -> Self {
        let in_day = now_ms.rem_euclid(86_400_000);
        Self {
            date: Date::of(now_ms),
            hour: in_day / 3_600_000,
            minute: in_day / 60_000 % 60,
            second: in_day / 1000 % 60,
            millisecond: in_day % 1000,
        }
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { date: Date { year, month, day }, hour, minute, second, millisecond } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use log::{Level, Log as _};

    use super::*;

    const NOW_MS: i64 = 1_767_225_600_250;

    /// Calls `with` with a record; its arguments cannot outlive a statement.
    fn record<T>(level: Level, target: &str, message: &str, with: impl Fn(&Record<'_>) -> T) -> T {
        with(&Record::builder().level(level).target(target).args(format_args!("{message}")).build())
    }

    #[test]
    fn text_lines() {
        let table = [
            (Level::Info, "happier_server::net", "Ready", "INFO  Ready"),
            (Level::Error, "rustls::conn", "odd", "ERROR rustls: odd"),
            (Level::Warn, "happier_server", "a\nb\r\x1b[31m\0", "WARN  a\\nb\\r\\u{1b}[31m\\u{0}"),
            (Level::Warn, "happier_server", "x\u{202e}y\u{85}ü…", "WARN  x\\u{202e}y\\u{85}ü…"),
        ];
        for (level, target, message, expected) in table {
            let line = record(level, target, message, |record| text_line(record, NOW_MS));
            assert_eq!(line, format!("2026-01-01T00:00:00.250Z {expected}\n"));
        }
    }

    #[test]
    fn json_lines_parse_and_stay_one_line() {
        let message = "a \"quote\"\n\u{202e}\u{7f}\u{2028}ü";
        let for_machines = record(Level::Warn, "happier_server::net", message, |record| json_line(record, NOW_MS));
        let of_a_client = debug_line(40, NOW_MS, "host", ",\"source\":\"cli\"", message);
        for line in [for_machines, of_a_client] {
            assert!(line.ends_with("}\n") && !line.trim_end().contains(is_unprintable), "{line}");
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["msg"], message);
        }
        let line = record(Level::Warn, "happier_server::net", "x", |record| json_line(record, NOW_MS));
        assert_eq!(
            line,
            "{\"time\":\"2026-01-01T00:00:00.250Z\",\"level\":\"warn\",\"module\":\"happier_server::net\",\"msg\":\"x\"}\n"
        );
    }

    #[test]
    fn other_crates_are_heard_from_warnings_on() {
        let logger = |level| Logger { level, format: LogFormat::Text, debug_file: None };
        let table = [
            (LevelFilter::Info, Level::Info, "happier_server::net", true),
            (LevelFilter::Info, Level::Debug, "happier_server::net", false),
            (LevelFilter::Debug, Level::Debug, "happier_server", true),
            (LevelFilter::Debug, Level::Info, "rustls", false),
            (LevelFilter::Debug, Level::Warn, "rustls", true),
            (LevelFilter::Error, Level::Warn, "rustls", false),
            (LevelFilter::Info, Level::Info, "happier_server_of_another", false),
        ];
        for (filter, level, target, heard) in table {
            let enabled = record(level, target, "", |record| logger(filter).enabled(record.metadata()));
            assert_eq!(enabled, heard, "{filter} {level} {target}");
        }
    }

    #[test]
    fn instants_are_written_in_utc() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (now_ms, expected) in table {
            assert_eq!(Timestamp::of(now_ms).to_string(), expected);
        }
    }

    #[test]
    fn the_debugging_log_is_a_file_of_json_lines() {
        let name = crate::model::ids::file_name_id();
        let directory = std::env::temp_dir().join(format!("happier-log-{name}"));
        let file = open_debug_file(&directory, NOW_MS).unwrap();
        let logger = Logger { level: LevelFilter::Info, format: LogFormat::Text, debug_file: Some(Arc::new(file)) };
        record(Level::Info, "happier_server", "one", |record| logger.log(record));
        record(Level::Debug, "happier_server", "too quiet", |record| logger.log(record));
        let written = fs::read_to_string(directory.join("01-01-00-00-00.log")).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        let value: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!((value["msg"].as_str(), value["level"].as_i64()), (Some("one"), Some(30)));
    }
}
