//! What the thread that talks to Redis counts (docs/cluster.md). Absent in a process without a cluster.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Something to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Entries of the stream that concerned somebody here.
    EntriesDelivered,
    /// Broadcasts to rooms that nobody here is in; their payload is not read.
    EntriesSkipped,
    /// Heartbeats, counts and acknowledgements.
    EntriesControl,
    /// Our own.
    EntriesOwn,
    /// Not understood.
    EntriesMalformed,
    PublishedUpdate,
    PublishedEphemeral,
    PublishedRequest,
    PublishedReply,
    PublishedHeartbeat,
    DroppedUpdate,
    DroppedEphemeral,
    DroppedReply,
    /// Pipelines that Redis did not accept.
    PublishFailures,
    /// Entries that were trimmed before this replica read them.
    Gaps,
    /// How often all clients of this process were disconnected so that they catch up.
    Resyncs,
    /// Lost connections to Redis.
    Disconnects,
    CallsAnswered,
    CallsNotAvailable,
    CallsTargetGone,
    CallsTimedOut,
    CallsFailed,
    PresencePublished,
    PresenceDropped,
    PresenceConsumed,
    PresenceInvalid,
}

const COUNTS: usize = Count::PresenceInvalid as usize + 1;

/// A value that goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Servers in the stream, this one included.
    Members,
    /// 1 while Redis answers.
    RedisUp,
    /// Milliseconds between the newest entry that was read and the moment it was read.
    LagMs,
    /// Bytes that wait to be published.
    QueueBytes,
    /// Connections that the directory knows.
    Connections,
}

const LEVELS: usize = Level::Connections as usize + 1;

pub struct ClusterMetrics {
    counts: [AtomicU64; COUNTS],
    levels: [AtomicI64; LEVELS],
}

impl Default for ClusterMetrics {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), levels: std::array::from_fn(|_| AtomicI64::new(0)) }
    }
}

type Series = (&'static str, Count);

const FAMILIES: [(&str, &str, &str, &[Series]); 10] = [
    (
        "happier_cluster_entries_total",
        "Entries of the stream that were read, by what became of them",
        "result",
        &[
            ("delivered", Count::EntriesDelivered),
            ("skipped", Count::EntriesSkipped),
            ("control", Count::EntriesControl),
            ("own", Count::EntriesOwn),
            ("malformed", Count::EntriesMalformed),
        ],
    ),
    (
        "happier_cluster_publications_total",
        "Entries that were appended to the stream",
        "kind",
        &[
            ("update", Count::PublishedUpdate),
            ("ephemeral", Count::PublishedEphemeral),
            ("request", Count::PublishedRequest),
            ("reply", Count::PublishedReply),
            ("heartbeat", Count::PublishedHeartbeat),
        ],
    ),
    (
        "happier_cluster_publications_dropped_total",
        "Entries that were given up before Redis took them",
        "kind",
        &[("update", Count::DroppedUpdate), ("ephemeral", Count::DroppedEphemeral), ("reply", Count::DroppedReply)],
    ),
    (
        "happier_cluster_publish_failures_total",
        "Batches that Redis did not accept",
        "",
        &[("", Count::PublishFailures)],
    ),
    ("happier_cluster_gaps_total", "Times that entries were trimmed before they were read", "", &[("", Count::Gaps)]),
    (
        "happier_cluster_resyncs_total",
        "Times that all clients were disconnected so that they catch up",
        "",
        &[("", Count::Resyncs)],
    ),
    ("happier_cluster_redis_disconnects_total", "Lost connections to Redis", "", &[("", Count::Disconnects)]),
    (
        "happier_cluster_calls_total",
        "Remote calls to connections of other replicas, by outcome",
        "result",
        &[
            ("answered", Count::CallsAnswered),
            ("not-available", Count::CallsNotAvailable),
            ("target-gone", Count::CallsTargetGone),
            ("timed-out", Count::CallsTimedOut),
            ("failed", Count::CallsFailed),
        ],
    ),
    (
        "happier_presence_published_total",
        "Presence reports given to the worker's queue, or given up",
        "result",
        &[("ok", Count::PresencePublished), ("dropped", Count::PresenceDropped)],
    ),
    (
        "happier_presence_consumed_total",
        "Presence reports taken from the queue",
        "result",
        &[("ok", Count::PresenceConsumed), ("invalid", Count::PresenceInvalid)],
    ),
];

impl ClusterMetrics {
    pub fn inc(&self, count: Count) {
        self.add(count, 1);
    }

    pub fn add(&self, count: Count, amount: u64) {
        self.counts[count as usize].fetch_add(amount, Relaxed);
    }

    pub fn set(&self, level: Level, value: i64) {
        self.levels[level as usize].store(value, Relaxed);
    }

    pub fn count(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Relaxed)
    }

    pub fn level(&self, level: Level) -> i64 {
        self.levels[level as usize].load(Relaxed)
    }

    /// The part of the exposition that is about the cluster.
    pub fn render(&self) -> String {
        let mut page = String::with_capacity(4 * 1024);
        for (name, help, label, series) in FAMILIES {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} counter");
            for (value, count) in series {
                let total = self.count(*count);
                let _ = match label {
                    "" => writeln!(page, "{name} {total}"),
                    _ => writeln!(page, "{name}{{{label}=\"{value}\"}} {total}"),
                };
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "a lag of 2^53 ms is no lag")]
        let lag = self.level(Level::LagMs) as f64 / 1000.0;
        for (name, help, value) in [
            (
                "happier_cluster_members",
                "Servers in the stream, this one included",
                self.level(Level::Members).to_string(),
            ),
            ("happier_cluster_redis_up", "Whether Redis answers", self.level(Level::RedisUp).to_string()),
            ("happier_cluster_stream_lag_seconds", "Age of the newest entry when it was read", lag.to_string()),
            (
                "happier_cluster_queue_bytes",
                "Bytes that wait to be published",
                self.level(Level::QueueBytes).to_string(),
            ),
            (
                "happier_cluster_connections",
                "Connections of this process that other replicas can reach",
                self.level(Level::Connections).to_string(),
            ),
        ] {
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_count_is_shown_once() {
        let shown: Vec<usize> =
            FAMILIES.iter().flat_map(|(.., series)| series.iter().map(|(_, count)| *count as usize)).collect();
        assert_eq!(shown.len(), COUNTS);
        assert_eq!(shown.iter().collect::<HashSet<_>>().len(), COUNTS);
        let metrics = ClusterMetrics::default();
        metrics.add(Count::EntriesSkipped, 3);
        metrics.set(Level::LagMs, 250);
        let page = metrics.render();
        assert!(page.contains("happier_cluster_entries_total{result=\"skipped\"} 3\n"), "{page}");
        assert!(page.contains("happier_cluster_stream_lag_seconds 0.25\n"), "{page}");
        assert!(page.contains("happier_cluster_gaps_total 0\n"), "{page}");
        const DOCUMENT: &str = include_str!("../../../docs/metrics.md");
        for line in page.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, help) = line.split_once(' ').unwrap();
            let row = DOCUMENT.lines().find(|row| row.starts_with(&format!("| `{name}` |")));
            assert!(row.is_some_and(|row| row.ends_with(&format!("| {help} |"))), "docs/metrics.md: {name} {help}");
        }
    }
}
