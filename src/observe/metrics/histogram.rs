//! A histogram: how many values fell below each bound, how many there were, their sum.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Every histogram has this many bounds.
const BUCKETS: usize = 9;

pub(super) type Bounds = [f64; BUCKETS];

/// Sums are kept in whole billionths, which add up without rounding: nanoseconds, where values are seconds.
const PARTS: f64 = 1e9;

#[derive(Default)]
pub(super) struct Histogram {
    /// Values up to the bound and above the one before it; values above the last one are in `count` alone.
    buckets: [AtomicU64; BUCKETS],
    count: AtomicU64,
    sum_parts: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, bounds: &Bounds, value: f64) {
        debug_assert!(value.is_finite() && value >= 0.0, "{value} cannot be observed");
        if let Some(bucket) = bounds.iter().position(|bound| value <= *bound) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates")]
        self.sum_parts.fetch_add((value * PARTS).round() as u64, Relaxed);
    }
}

/// The sum of several histograms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) buckets: [u64; BUCKETS],
    pub(super) count: u64,
    sum_parts: u64,
}

impl Total {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.load(Relaxed);
        }
        self.count += histogram.count.load(Relaxed);
        self.sum_parts = self.sum_parts.wrapping_add(histogram.sum_parts.load(Relaxed));
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum_parts as f64 / PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_first_bucket_that_holds_them() {
        const BOUNDS: Bounds = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let (one, other) = (Histogram::default(), Histogram::default());
        for value in [0.0, 1.0, 1.5, 9.0, 9.1] {
            one.observe(&BOUNDS, value);
        }
        other.observe(&BOUNDS, 0.25);
        let mut total = Total::default();
        total.add(&one);
        total.add(&other);
        assert_eq!(total.buckets, [3, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((total.count, total.sum()), (6, 20.85));
    }
}
