//! A counter with labels: a short list of series that grows as values are first used.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The values of at most two labels; a counter without labels has two empty ones.
pub(super) type Values = [&'static str; 2];

/// Series of one counter on one core. Label values are written in our code, so this is a matter of counting them.
const SERIES_MAX: usize = 16;

#[derive(Default)]
struct Series {
    values: OnceLock<Values>,
    count: AtomicU64,
}

#[derive(Default)]
pub(super) struct Labelled([Series; SERIES_MAX]);

impl Labelled {
    pub(super) fn add(&self, values: Values, amount: u64) {
        let series = self.0.iter().find(|series| *series.values.get_or_init(|| values) == values);
        debug_assert!(series.is_some(), "a counter has more than {SERIES_MAX} series: {values:?}");
        if let Some(series) = series {
            series.count.fetch_add(amount, Relaxed);
        }
    }
}

/// The sums of all series that were used, in the order of their labels.
pub(super) fn totals<'c>(cores: impl Iterator<Item = &'c Labelled>) -> BTreeMap<Values, u64> {
    let mut totals = BTreeMap::new();
    for series in cores.flat_map(|core| &core.0) {
        if let Some(values) = series.values.get() {
            *totals.entry(*values).or_default() += series.count.load(Relaxed);
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_appear_when_used_and_add_up() {
        let cores = [Labelled::default(), Labelled::default()];
        assert!(totals(cores.iter()).is_empty());
        cores[0].add(["ok", "none"], 2);
        cores[1].add(["error", "internal"], 1);
        cores[1].add(["ok", "none"], 3);
        let expected = BTreeMap::from([(["error", "internal"], 1), (["ok", "none"], 5)]);
        assert_eq!(totals(cores.iter()), expected);
    }

    #[test]
    fn threads_agree_on_the_series() {
        const VALUES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let counter = Labelled::default();
        std::thread::scope(|scope| {
            for start in 0..4 {
                let counter = &counter;
                scope.spawn(move || (0..800).for_each(|n| counter.add([VALUES[(n + start) % 8], ""], 1)));
            }
        });
        let totals = totals(std::iter::once(&counter));
        assert_eq!(totals.len(), 8);
        assert!(totals.values().all(|count| *count == 400), "{totals:?}");
    }
}
