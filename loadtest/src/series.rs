//! Curves over the measured window: what the workers counted in each interval, and what the kernel said about the
//! server and the generator at its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tally::Interval;
use crate::target::{self, Memory};

/// One reading of the processes, `at` seconds after the window opened.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: f64,
    /// CPU time of the servers so far, nanoseconds.
    pub(crate) server_cpu_ns: Option<u64>,
    pub(crate) server_memory: Option<Memory>,
    pub(crate) server_descriptors: Option<u64>,
    /// CPU time so far of all workers together, and of each alone for the busiest.
    pub(crate) generator_cpu_ns: u64,
}

impl Sample {
    pub(crate) fn take(at: f64, servers: &[u32], workers: &[u32]) -> Self {
        Self {
            at,
            server_cpu_ns: target::sum_of_all(servers, target::cpu_ns),
            generator_cpu_ns: target::sum_of_all(workers, target::cpu_ns).unwrap_or_default(),
            server_memory: target::memory_of_all(servers),
            server_descriptors: target::sum_of_all(servers, target::descriptors),
        }
    }
}

/// Points of one curve: seconds since the window opened, value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// All curves of a run, by the plot in which they are drawn together; each plot has one unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// Per second.
    pub(crate) throughput: Vec<Curve>,
    /// Microseconds.
    pub(crate) latency: Vec<Curve>,
    /// Percent of one processor.
    pub(crate) cpu: Vec<Curve>,
    /// MiB.
    pub(crate) memory: Vec<Curve>,
    pub(crate) descriptors: Vec<Curve>,
}

const MIB: f64 = 1024.0 * 1024.0;

impl Series {
    /// `ticks` by their number, each `interval_seconds` long, the first ends at number 1.
    #[allow(clippy::cast_precision_loss, reason = "curves for people")]
    pub(crate) fn new(ticks: &BTreeMap<u64, Interval>, interval_seconds: f64, samples: &[Sample]) -> Self {
        let over_ticks = |name: &str, value: &dyn Fn(&Interval) -> Option<f64>| Curve {
            name: name.to_owned(),
            points: ticks
                .iter()
                .filter_map(|(number, tick)| Some((round(*number as f64 * interval_seconds), round(value(tick)?))))
                .collect(),
        };
        let over_samples = |name: &str, value: &dyn Fn(&Sample) -> Option<f64>| Curve {
            name: name.to_owned(),
            points: samples.iter().filter_map(|sample| Some((round(sample.at), round(value(sample)?)))).collect(),
        };
        let share = |name: &str, cpu: &dyn Fn(&Sample) -> Option<u64>| Curve {
            name: name.to_owned(),
            points: samples
                .windows(2)
                .filter_map(|pair| {
                    let nanoseconds = cpu(&pair[1])?.saturating_sub(cpu(&pair[0])?) as f64;
                    Some((round(pair[1].at), round(nanoseconds / 1e7 / (pair[1].at - pair[0].at))))
                })
                .collect(),
        };
        let quantile = |histogram: &hdrhistogram::Histogram<u64>, quantile: f64| {
            (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile) as f64 / 1e3)
        };
        let mib = |bytes: fn(Memory) -> u64| move |sample: &Sample| Some(bytes(sample.server_memory?) as f64 / MIB);
        Self {
            throughput: drawn([
                over_ticks("operations", &|tick| Some(tick.operations as f64 / interval_seconds)),
                over_ticks("deliveries", &|tick| Some(tick.deliveries as f64 / interval_seconds)),
            ]),
            latency: drawn([
                over_ticks("operation p50", &|tick| quantile(&tick.operation_latency, 0.5)),
                over_ticks("operation p99", &|tick| quantile(&tick.operation_latency, 0.99)),
                over_ticks("delivery p50", &|tick| quantile(&tick.delivery_latency, 0.5)),
                over_ticks("delivery p99", &|tick| quantile(&tick.delivery_latency, 0.99)),
            ]),
            cpu: drawn([
                share("server", &|sample| sample.server_cpu_ns),
                share("generator", &|sample| Some(sample.generator_cpu_ns)),
            ]),
            memory: drawn([
                over_samples("resident", &mib(|memory| memory.resident)),
                over_samples("proportional (PSS)", &mib(|memory| memory.proportional)),
                over_samples("anonymous", &mib(|memory| memory.anonymous)),
            ]),
            descriptors: drawn([over_samples("descriptors", &|sample| Some(sample.server_descriptors? as f64))]),
        }
    }
}

/// Curves that say something: some point is not zero.
fn drawn<const N: usize>(curves: [Curve; N]) -> Vec<Curve> {
    curves.into_iter().filter(|curve| curve.points.iter().any(|(_, value)| *value > 0.0)).collect()
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// How a reading developed: the line through its points after the first fifth, in which a server may still be filling
/// its caches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trend {
    /// Value of the line at its beginning and at its end.
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Trend {
    /// `None` with fewer than five points.
    #[allow(clippy::cast_precision_loss, reason = "a number of points")]
    pub(crate) fn of(points: &[(f64, f64)]) -> Option<Self> {
        let kept = points.get(points.len() / 5..)?;
        if kept.len() < 5 {
            return None;
        }
        let count = kept.len() as f64;
        let mean_x = kept.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = kept.iter().map(|(_, y)| y).sum::<f64>() / count;
        let covariance: f64 = kept.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let variance: f64 = kept.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let slope = if variance > 0.0 { covariance / variance } else { 0.0 };
        let (first, last) = (kept.first()?.0, kept.last()?.0);
        Some(Self { from: mean_y + slope * (first - mean_x), to: mean_y + slope * (last - mean_x) })
    }

    pub(crate) fn growth(self) -> f64 {
        self.to - self.from
    }

    /// Whether it grew by no more than `share` of its beginning or `allowance`, whichever is more.
    pub(crate) fn is_flat(self, share: f64, allowance: f64) -> bool {
        self.growth() <= (self.from * share).max(allowance)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Trend;

    #[test]
    fn growth_is_seen_through_noise() {
        let points = |slope: f64| -> Vec<(f64, f64)> {
            (0..60).map(|x| (f64::from(x), 100.0 + slope * f64::from(x) + f64::from(x % 7))).collect()
        };
        assert!(Trend::of(&points(0.0)).unwrap().is_flat(0.02, 1.0));
        assert!(!Trend::of(&points(1.0)).unwrap().is_flat(0.02, 1.0));
        assert!(Trend::of(&points(-1.0)).unwrap().is_flat(0.02, 1.0));
        assert_eq!(Trend::of(&[(0.0, 1.0); 4]), None);
    }

    #[test]
    fn what_happens_at_the_beginning_does_not_count() {
        let points: Vec<(f64, f64)> = (0..50).map(|x| (f64::from(x), if x < 8 { 10.0 } else { 90.0 })).collect();
        assert!(Trend::of(&points).unwrap().is_flat(0.02, 1.0));
    }
}
