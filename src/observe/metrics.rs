//! Counters, gauges and histograms in the Prometheus text format (configuration.md §9.1).
//!
//! Owns: the names, labels and help texts of all metrics; one [`CoreMetrics`] per core. Never: the metrics server.
//! Invariants: a core writes to its own metrics alone, so nothing on a hot path is contended; the sums are formed when
//! they are asked for; the number of series is bounded whatever clients send.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

pub mod cluster;
mod histogram;
mod http;
mod labels;

use histogram::Histogram;
use http::HttpSeries;
use labels::Labelled;

/// An event to count. Texts are label values; their sets are those of configuration.md §9.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    SessionAlive,
    MachineAlive,
    /// Operation (`session_validation`, `machine_validation`), result (`hit`, `miss`).
    SessionCache(&'static str, &'static str),
    /// `session` or `machine`.
    DatabaseUpdateSkipped(&'static str),
    /// Event type.
    WebsocketEvent(&'static str),
    /// Result (`ok`, `error`), error (`none` and others).
    MessageAck(&'static str, &'static str),
    /// Result.
    ChangesRequest(&'static str),
    ChangesReturned,
    /// `session-messages-afterSeq`.
    CatchupFetch(&'static str),
    /// `session-messages-afterSeq`.
    CatchupReturned(&'static str),
    /// A client that did not read was disconnected; why.
    SlowPeerDisconnect(&'static str),
    /// A socket message was larger than it may be.
    PayloadTooLarge,
    /// A request was refused because its client sends too many.
    RateLimited,
    /// Work was refused because too much of its kind waits; which kind.
    PoolRefused(&'static str),
    /// A socket event was refused because its connection has too much under way; which event.
    EventRefused(&'static str),
}

/// What the exposition says about a counter.
struct Family {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
}

const FAMILIES: [Family; 15] = [
    family("session_alive_events_total", "Total number of session-alive events", &[]),
    family("machine_alive_events_total", "Total number of machine-alive events", &[]),
    family("session_cache_operations_total", "Total session cache operations", &["operation", "result"]),
    family("database_updates_skipped_total", "Number of database updates skipped due to debouncing", &["type"]),
    family("websocket_events_total", "Total WebSocket events received by type", &["event_type"]),
    family("socket_message_ack_total", "Total socket message acknowledgements by result", &["result", "error"]),
    family("changes_requests_total", "Total /v2/changes requests by result", &["result"]),
    family("changes_returned_changes_total", "Total number of changes entries returned by /v2/changes", &[]),
    family("catchup_followup_fetches_total", "Total catch-up follow-up fetches by type", &["type"]),
    family(
        "catchup_followup_returned_total",
        "Total number of entities returned by catch-up follow-up fetches by type",
        &["type"],
    ),
    family("happier_slow_peer_disconnects_total", "Clients disconnected because they did not read", &["reason"]),
    family("happier_socket_payloads_refused_total", "Socket messages larger than they may be", &[]),
    family("happier_rate_limited_requests_total", "Requests refused because their client sends too many", &[]),
    family(
        "happier_pool_refusals_total",
        "Calls, files, images and pieces of the web UI refused because too many wait",
        &["pool"],
    ),
    family(
        "happier_events_refused_total",
        "Socket events refused because too many of their account or connection wait",
        &["event_type"],
    ),
];

const fn family(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
    Family { name, help, labels }
}

impl Counter {
    /// Position in [`FAMILIES`], and the label values.
    fn series(self) -> (usize, labels::Values) {
        match self {
            Self::SessionAlive => (0, ["", ""]),
            Self::MachineAlive => (1, ["", ""]),
            Self::SessionCache(operation, result) => (2, [operation, result]),
            Self::DatabaseUpdateSkipped(kind) => (3, [kind, ""]),
            Self::WebsocketEvent(kind) => (4, [kind, ""]),
            Self::MessageAck(result, error) => (5, [result, error]),
            Self::ChangesRequest(result) => (6, [result, ""]),
            Self::ChangesReturned => (7, ["", ""]),
            Self::CatchupFetch(kind) => (8, [kind, ""]),
            Self::CatchupReturned(kind) => (9, [kind, ""]),
            Self::SlowPeerDisconnect(reason) => (10, [reason, ""]),
            Self::PayloadTooLarge => (11, ["", ""]),
            Self::RateLimited => (12, ["", ""]),
            Self::PoolRefused(pool) => (13, [pool, ""]),
            Self::EventRefused(event) => (14, [event, ""]),
        }
    }
}

/// A value that goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Open connections of the core, of any kind.
    Connections,
    /// Bytes waiting for sockets of the core.
    OutboxBytes,
    /// Messages waiting for the core.
    MailboxDepth,
    /// Open connections to the database.
    PoolOpen,
    /// Those in use.
    PoolBusy,
    /// Those not in use.
    PoolIdle,
    /// Rows of a table, as the background work counts them.
    Accounts,
    Sessions,
    Messages,
    Machines,
}

const GAUGES: usize = 10;
/// A gauge that nobody has set yet and that is therefore not shown.
const UNSET: i64 = i64::MIN;

/// Kinds of sockets, as the connection gauge labels them.
const SOCKET_KINDS: [&str; 3] = ["user-scoped", "session-scoped", "machine-scoped"];

/// Durations of HTTP requests in seconds.
const HTTP_SECONDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Durations of turns in seconds: a turn of a millisecond delays every socket of the core by as much.
const TURN_SECONDS: [f64; 9] = [0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1];
/// Writes that shared one commit.
const BATCH_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What one core counts. Other threads may write to one of their own.
pub struct CoreMetrics {
    counters: [Labelled; FAMILIES.len()],
    sockets: [AtomicI64; SOCKET_KINDS.len()],
    gauges: [AtomicI64; GAUGES],
    http: HttpSeries,
    turns: Histogram,
    batches: Histogram,
    io_driver: OnceLock<&'static str>,
}

impl Default for CoreMetrics {
    fn default() -> Self {
        Self {
            counters: std::array::from_fn(|_| Labelled::default()),
            sockets: std::array::from_fn(|_| AtomicI64::new(0)),
            gauges: std::array::from_fn(|_| AtomicI64::new(UNSET)),
            http: HttpSeries::default(),
            turns: Histogram::default(),
            batches: Histogram::default(),
            io_driver: OnceLock::new(),
        }
    }
}

impl CoreMetrics {
    pub fn inc(&self, counter: Counter) {
        self.add(counter, 1);
    }

    pub fn add(&self, counter: Counter, amount: u64) {
        let (family, values) = counter.series();
        self.counters[family].add(values, amount);
    }

    pub fn gauge_set(&self, gauge: Gauge, value: i64) {
        self.gauges[gauge as usize].store(value, Relaxed);
    }

    /// Adds to a gauge, which counts from 0. One gauge is either set or added to.
    pub fn gauge_add(&self, gauge: Gauge, amount: i64) {
        let cell = &self.gauges[gauge as usize];
        let _ = cell.compare_exchange(UNSET, 0, Relaxed, Relaxed);
        cell.fetch_add(amount, Relaxed);
    }

    /// A socket joined; `kind` is `user-scoped`, `session-scoped` or `machine-scoped`.
    pub fn connected(&self, kind: &'static str) {
        self.sockets(kind, 1);
    }

    /// A socket that had joined left.
    pub fn disconnected(&self, kind: &'static str) {
        self.sockets(kind, -1);
    }

    fn sockets(&self, kind: &'static str, change: i64) {
        let at = SOCKET_KINDS.iter().position(|known| *known == kind);
        debug_assert!(at.is_some(), "{kind} is no kind of socket");
        if let Some(at) = at {
            self.sockets[at].fetch_add(change, Relaxed);
        }
    }

    /// A request was answered. `route` is the route's template, never a path that a client made up.
    pub fn http(&self, method: &str, route: &'static str, status: u16, seconds: f64) {
        self.http.of(method, route, status).observe(&HTTP_SECONDS, seconds);
    }

    /// A turn of the core took this long, sleeping excluded.
    pub fn turn(&self, seconds: f64) {
        self.turns.observe(&TURN_SECONDS, seconds);
    }

    /// This many writes shared one commit.
    pub fn database_batch(&self, writes: usize) {
        self.batches.observe(&BATCH_SIZES, writes as f64);
    }

    /// Which driver the core runs on, such as `io_uring`. The first word counts.
    pub fn set_io_driver(&self, driver: &'static str) {
        let _ = self.io_driver.set(driver);
    }

    fn gauge(&self, gauge: Gauge) -> Option<i64> {
        Some(self.gauges[gauge as usize].load(Relaxed)).filter(|value| *value != UNSET)
    }
}

/// All metrics of these cores. `core` labels are positions in the list.
pub fn render(cores: &[Arc<CoreMetrics>]) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    page.database_client(cores);
    page.sockets(cores);
    for (at, family) in FAMILIES.iter().enumerate() {
        page.counter(family, cores.iter().map(|core| &core.counters[at]));
    }
    page.http(cores);
    page.records(cores);
    page.per_core("happier_connections", "Open connections of a core", Gauge::Connections, cores);
    page.per_core("happier_outbox_bytes", "Bytes waiting for sockets of a core", Gauge::OutboxBytes, cores);
    page.per_core("happier_mailbox_depth", "Messages of other threads waiting for a core", Gauge::MailboxDepth, cores);
    page.io_driver(cores);
    let turns = cores.iter().map(|core| &core.turns);
    page.single_histogram("happier_turn_seconds", "Duration of a core's turns in seconds", &TURN_SECONDS, turns);
    let batches = cores.iter().map(|core| &core.batches);
    page.single_histogram("happier_database_batch_size", "Writes that shared one commit", &BATCH_SIZES, batches);
    page.0
}

/// The exposition in the making.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A line; `labels` is what stands between the braces, and nothing if empty.
    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    /// The gauges that the reference server's database library has under these names (configuration.md §9.2).
    fn database_client(&mut self, cores: &[Arc<CoreMetrics>]) {
        let gauges = [
            ("prisma_pool_connections_busy", "Pool connections in use", Gauge::PoolBusy),
            ("prisma_pool_connections_idle", "Pool connections not in use", Gauge::PoolIdle),
            ("prisma_pool_connections_open", "Open pool connections", Gauge::PoolOpen),
        ];
        for (name, help, gauge) in gauges {
            if let Some(total) = sum(cores, gauge) {
                self.head(name, help, "gauge");
                self.line(name, "", total);
            }
        }
    }

    fn sockets(&mut self, cores: &[Arc<CoreMetrics>]) {
        let name = "websocket_connections_total";
        self.head(name, "Number of active WebSocket connections", "gauge");
        for (at, kind) in SOCKET_KINDS.iter().enumerate() {
            let total: i64 = cores.iter().map(|core| core.sockets[at].load(Relaxed)).sum();
            self.line(name, &format!("type=\"{kind}\""), total);
        }
    }

    fn counter<'c>(&mut self, family: &Family, cores: impl Iterator<Item = &'c Labelled>) {
        self.head(family.name, family.help, "counter");
        let totals = labels::totals(cores);
        if family.labels.is_empty() {
            let total: u64 = totals.values().sum();
            return self.line(family.name, "", total);
        }
        for (values, total) in totals {
            let pairs: Vec<_> = family
                .labels
                .iter()
                .zip(values)
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            self.line(family.name, &pairs.join(","), total);
        }
    }

    fn http(&mut self, cores: &[Arc<CoreMetrics>]) {
        let totals = http::totals(cores.iter().map(|core| &core.http));
        self.head("http_requests_total", "Total number of HTTP requests", "counter");
        for (key, total) in &totals {
            self.line("http_requests_total", &key.labels(), total.count);
        }
        let name = "http_request_duration_seconds";
        self.head(name, "HTTP request duration in seconds", "histogram");
        for (key, total) in &totals {
            self.histogram(name, &key.labels(), &HTTP_SECONDS, total);
        }
    }

    fn single_histogram<'c>(
        &mut self,
        name: &str,
        help: &str,
        bounds: &histogram::Bounds,
        cores: impl Iterator<Item = &'c Histogram>,
    ) {
        self.head(name, help, "histogram");
        let mut total = histogram::Total::default();
        cores.for_each(|core| total.add(core));
        self.histogram(name, "", bounds, &total);
    }

    fn histogram(&mut self, name: &str, labels: &str, bounds: &histogram::Bounds, total: &histogram::Total) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut reached = 0;
        for (bound, count) in bounds.iter().zip(total.buckets) {
            reached += count;
            self.line(&format!("{name}_bucket"), &format!("le=\"{bound}\"{comma}{labels}"), reached);
        }
        self.line(&format!("{name}_bucket"), &format!("le=\"+Inf\"{comma}{labels}"), total.count);
        self.line(&format!("{name}_sum"), labels, total.sum());
        self.line(&format!("{name}_count"), labels, total.count);
    }

    /// Shown only where the background work counts them.
    fn records(&mut self, cores: &[Arc<CoreMetrics>]) {
        let tables = [
            ("accounts", Gauge::Accounts),
            ("sessions", Gauge::Sessions),
            ("messages", Gauge::Messages),
            ("machines", Gauge::Machines),
        ];
        let counted: Vec<_> = tables.iter().filter_map(|(table, gauge)| Some((table, sum(cores, *gauge)?))).collect();
        let name = "database_records_total";
        self.head(name, "Total number of records in database tables", "gauge");
        for (table, total) in counted {
            self.line(name, &format!("table=\"{table}\""), total);
        }
    }

    fn per_core(&mut self, name: &str, help: &str, gauge: Gauge, cores: &[Arc<CoreMetrics>]) {
        self.head(name, help, "gauge");
        for (core, metrics) in cores.iter().enumerate() {
            self.line(name, &format!("core=\"{core}\""), metrics.gauge(gauge).unwrap_or(0));
        }
    }

    fn io_driver(&mut self, cores: &[Arc<CoreMetrics>]) {
        let name = "happier_io_driver";
        self.head(name, "The driver that the cores run on", "gauge");
        if let Some(driver) = cores.iter().find_map(|core| core.io_driver.get()) {
            self.line(name, &format!("driver=\"{driver}\""), 1);
        }
    }
}

/// The sum over the cores that know the gauge, if one does.
fn sum(cores: &[Arc<CoreMetrics>], gauge: Gauge) -> Option<i64> {
    cores.iter().filter_map(|core| core.gauge(gauge)).reduce(|sum, value| sum + value)
}

/// A label value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
