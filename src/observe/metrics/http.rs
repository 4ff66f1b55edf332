//! Requests by method, route and status: one histogram each.
//!
//! Limit: [`SERIES_MAX`] series per core. Methods that are not ours share one label value, routes are templates, so only
//! a mistake of ours can exceed it; what does is counted under the route `other`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::histogram::{Histogram, Total};

/// About a hundred routes with a handful of statuses each; a power of two for the hash.
const SERIES_MAX: usize = 1024;
/// Slots looked at before a series counts as one too many.
const PROBES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    route: &'static str,
    method: &'static str,
    status: u16,
}

impl Key {
    pub(super) fn labels(&self) -> String {
        let Self { route, method, status } = self;
        format!("method=\"{method}\",route=\"{}\",status=\"{status}\"", super::escaped(route))
    }

    fn hash(&self) -> usize {
        // FNV-1a; keys come from our own tables.
        let status = self.status.to_le_bytes();
        let bytes = self.route.bytes().chain(self.method.bytes()).chain(status);
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        usize::try_from(hash >> 32).unwrap_or_default()
    }
}

struct Series {
    key: Key,
    durations: Histogram,
}

/// A hash table without locks: slots are filled once and never emptied.
pub(super) struct HttpSeries {
    slots: Box<[OnceLock<Box<Series>>]>,
    overflow: Histogram,
}

impl Default for HttpSeries {
    fn default() -> Self {
        Self { slots: (0..SERIES_MAX).map(|_| OnceLock::new()).collect(), overflow: Histogram::default() }
    }
}

impl HttpSeries {
    /// The durations of requests with these labels.
    pub(super) fn of(&self, method: &str, route: &'static str, status: u16) -> &Histogram {
        let key = Key { route, method: known_method(method), status };
        let first = key.hash();
        for probe in 0..PROBES_MAX {
            let slot = &self.slots[(first + probe) % SERIES_MAX];
            let series = slot.get_or_init(|| Box::new(Series { key, durations: Histogram::default() }));
            if series.key == key {
                return &series.durations;
            }
        }
        &self.overflow
    }
}

/// Clients may invent methods; they are all one to us.
fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}

/// The sums of all series, in the order of routes.
pub(super) fn totals<'c>(cores: impl Iterator<Item = &'c HttpSeries>) -> BTreeMap<Key, Total> {
    let mut totals: BTreeMap<Key, Total> = BTreeMap::new();
    for core in cores {
        for series in core.slots.iter().filter_map(OnceLock::get) {
            totals.entry(series.key).or_default().add(&series.durations);
        }
        let mut overflow = Total::default();
        overflow.add(&core.overflow);
        if overflow.count > 0 {
            totals.entry(Key { route: "other", method: "other", status: 0 }).or_default().add(&core.overflow);
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 9] = [1.0; 9];

    #[test]
    fn equal_labels_share_a_series_across_cores() {
        let cores = [HttpSeries::default(), HttpSeries::default()];
        for (core, method, status) in [(0, "GET", 200), (1, "GET", 200), (1, "GET", 404), (0, "BREW", 200)] {
            cores[core].of(method, "/v1/kv/:key", status).observe(&BOUNDS, 0.5);
        }
        let counts: Vec<_> = totals(cores.iter()).into_iter().map(|(key, total)| (key.labels(), total.count)).collect();
        let labels = |method, status| format!("method=\"{method}\",route=\"/v1/kv/:key\",status=\"{status}\"");
        assert_eq!(counts, [(labels("GET", 200), 2), (labels("GET", 404), 1), (labels("other", 200), 1)]);
    }

    #[test]
    fn series_beyond_the_limit_are_counted_together() {
        let core = HttpSeries::default();
        for status in 0..3000 {
            core.of("GET", "/", status).observe(&BOUNDS, 0.5);
        }
        let totals = totals(std::iter::once(&core));
        assert!(totals.len() <= SERIES_MAX + 1);
        assert_eq!(totals.values().map(|total| total.count).sum::<u64>(), 3000);
        assert!(totals[&Key { route: "other", method: "other", status: 0 }].count >= 3000 - SERIES_MAX as u64);
    }
}
