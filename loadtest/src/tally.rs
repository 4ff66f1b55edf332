//! What a worker counted, and its one-line-per-figure form in which the coordinator receives it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::Failure;
use crate::window::Window;

/// Latencies are kept in nanoseconds with three digits, from a microsecond to a minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Distinct texts of failures that are kept; the rest are counted together.
const FAILURE_TEXTS_MAX: usize = 20;

pub(crate) struct Tally {
    /// Operations that were answered inside the window.
    pub(crate) operations: u64,
    /// Pushes received inside the window (fanout).
    pub(crate) deliveries: u64,
    pub(crate) operation_latency: Histogram<u64>,
    pub(crate) delivery_latency: Histogram<u64>,
    /// Latency of operations by their kind, where a scenario mixes several; each is in `operation_latency`, too.
    pub(crate) kinds: BTreeMap<String, Histogram<u64>>,
    /// What was counted since the last tick.
    pub(crate) interval: Interval,
    /// Other counts, over the whole run, by name.
    pub(crate) facts: BTreeMap<String, u64>,
    /// What went wrong, over the whole run.
    pub(crate) failures: BTreeMap<String, u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            operations: 0,
            deliveries: 0,
            operation_latency: latencies(),
            delivery_latency: latencies(),
            kinds: BTreeMap::new(),
            interval: Interval::default(),
            facts: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }
}

/// A piece of the window, for curves over time: coarser, because there are many.
pub(crate) struct Interval {
    pub(crate) operations: u64,
    pub(crate) deliveries: u64,
    pub(crate) operation_latency: Histogram<u64>,
    pub(crate) delivery_latency: Histogram<u64>,
}

impl Default for Interval {
    #[allow(clippy::expect_used, reason = "constant bounds, exercised by every test")]
    fn default() -> Self {
        let coarse = || Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 2).expect("valid bounds");
        Self { operations: 0, deliveries: 0, operation_latency: coarse(), delivery_latency: coarse() }
    }
}

impl Interval {
    /// The fields of a tick: `OPERATIONS DELIVERIES latencies | latencies`. Begins the next interval.
    pub(crate) fn take_text(&mut self) -> String {
        let mut text = format!("{} {}", self.operations, self.deliveries);
        write_histogram(&mut text, &self.operation_latency);
        text.push_str(" |");
        write_histogram(&mut text, &self.delivery_latency);
        self.operations = 0;
        self.deliveries = 0;
        self.operation_latency.reset();
        self.delivery_latency.reset();
        text
    }

    /// Adds what `take_text` wrote; `None` if it did not.
    pub(crate) fn add_text(&mut self, text: &str) -> Option<()> {
        let (head, deliveries) = text.split_once('|')?;
        let (operations, head) = head.split_once(' ')?;
        let (count, latencies) = head.split_once(' ')?;
        self.operations += operations.parse::<u64>().ok()?;
        self.deliveries += count.parse::<u64>().ok()?;
        take_histogram(&mut self.operation_latency, latencies)?;
        take_histogram(&mut self.delivery_latency, deliveries)
    }
}

#[allow(clippy::expect_used, reason = "constant bounds, exercised by every test")]
fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).expect("valid bounds")
}

impl Tally {
    pub(crate) fn add(&mut self, fact: &str, count: u64) {
        *self.facts.entry(fact.to_owned()).or_default() += count;
    }

    pub(crate) fn fail(&mut self, text: impl Into<String>) {
        self.fail_times(text.into(), 1);
    }

    pub(crate) fn fail_times(&mut self, text: String, times: u64) {
        let known = self.failures.contains_key(&text) || self.failures.len() < FAILURE_TEXTS_MAX;
        let text = if known { text } else { "further kinds of failure".to_owned() };
        *self.failures.entry(text).or_default() += times;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.operations += other.operations;
        self.deliveries += other.deliveries;
        // Both sides were made with the same bounds, the only reason for which adding can fail.
        let _ = self.operation_latency.add(&other.operation_latency);
        let _ = self.delivery_latency.add(&other.delivery_latency);
        for (kind, latency) in other.kinds {
            let _ = self.kinds.entry(kind).or_insert_with(latencies).add(&latency);
        }
        for (fact, count) in other.facts {
            self.add(&fact, count);
        }
        for (text, times) in other.failures {
            self.fail_times(text, times);
        }
    }

    /// One figure a line, `done` last.
    pub(crate) fn to_lines(&self) -> String {
        let mut lines = format!("operations {}\ndeliveries {}\n", self.operations, self.deliveries);
        for (name, histogram) in
            [("operation_latency", &self.operation_latency), ("delivery_latency", &self.delivery_latency)]
        {
            lines.push_str(name);
            write_histogram(&mut lines, histogram);
            lines.push('\n');
        }
        for (kind, histogram) in &self.kinds {
            let _ = write!(lines, "kind {kind}");
            write_histogram(&mut lines, histogram);
            lines.push('\n');
        }
        for (fact, count) in &self.facts {
            let _ = writeln!(lines, "fact {count} {fact}");
        }
        for (text, times) in &self.failures {
            let _ = writeln!(lines, "failure {times} {}", text.replace('\n', " "));
        }
        lines.push_str("done\n");
        lines
    }

    /// Takes one line of `to_lines`; `None` if it is not one.
    pub(crate) fn take_line(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "operations" => self.operations += rest.parse::<u64>().ok()?,
            "deliveries" => self.deliveries += rest.parse::<u64>().ok()?,
            "operation_latency" => take_histogram(&mut self.operation_latency, rest)?,
            "delivery_latency" => take_histogram(&mut self.delivery_latency, rest)?,
            "kind" => {
                let (kind, steps) = rest.split_once(' ').unwrap_or((rest, ""));
                take_histogram(self.kinds.entry(kind.to_owned()).or_insert_with(latencies), steps)?;
            }
            "fact" => {
                let (count, fact) = rest.split_once(' ')?;
                self.add(fact, count.parse().ok()?);
            }
            "failure" => {
                let (times, text) = rest.split_once(' ')?;
                self.fail_times(text.to_owned(), times.parse().ok()?);
            }
            _ => return None,
        }
        Some(())
    }
}

fn write_histogram(text: &mut String, histogram: &Histogram<u64>) {
    for step in histogram.iter_recorded() {
        let _ = write!(text, " {}:{}", step.value_iterated_to(), step.count_at_value());
    }
}

fn take_histogram(histogram: &mut Histogram<u64>, text: &str) -> Option<()> {
    for step in text.split_whitespace() {
        let (value, count) = step.split_once(':')?;
        histogram.saturating_record_n(value.parse().ok()?, count.parse().ok()?);
    }
    Some(())
}

/// A tally that the tasks of a worker share, and the window in which it counts.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) tally: Rc<RefCell<Tally>>,
    pub(crate) window: Window,
}

impl Recorder {
    pub(crate) fn new(window: Window) -> Self {
        Self { tally: Rc::new(RefCell::new(Tally::default())), window }
    }

    /// An operation begun (or due) at `began` was answered just now.
    pub(crate) fn operation(&self, began: Instant) -> Instant {
        let now = Instant::now();
        if self.window.contains(now) {
            let mut tally = self.tally.borrow_mut();
            tally.operations += 1;
            let latency = nanoseconds(now - began);
            tally.operation_latency.saturating_record(latency);
            tally.interval.operations += 1;
            tally.interval.operation_latency.saturating_record(latency);
        }
        now
    }

    /// The same for an operation of a kind, in a scenario that mixes several.
    pub(crate) fn operation_of(&self, kind: &str, began: Instant) -> Instant {
        let now = self.operation(began);
        if self.window.contains(now) {
            let mut tally = self.tally.borrow_mut();
            let latency = nanoseconds(now - began);
            match tally.kinds.get_mut(kind) {
                Some(histogram) => histogram.saturating_record(latency),
                None => tally.kinds.entry(kind.to_owned()).or_insert_with(latencies).saturating_record(latency),
            }
        }
        now
    }

    /// A push arrived `after` the moment its message was sent.
    pub(crate) fn delivery(&self, after: Duration) {
        if self.window.contains(Instant::now()) {
            let mut tally = self.tally.borrow_mut();
            tally.deliveries += 1;
            tally.delivery_latency.saturating_record(nanoseconds(after));
            tally.interval.deliveries += 1;
            tally.interval.delivery_latency.saturating_record(nanoseconds(after));
        }
    }

    /// A push arrived of which nobody knows when it was sent.
    pub(crate) fn delivery_without_latency(&self) {
        if self.window.contains(Instant::now()) {
            let mut tally = self.tally.borrow_mut();
            tally.deliveries += 1;
            tally.interval.deliveries += 1;
        }
    }

    pub(crate) fn fail(&self, failure: &Failure) {
        self.tally.borrow_mut().fail(failure.to_string());
    }

    pub(crate) fn add(&self, fact: &str, count: u64) {
        self.tally.borrow_mut().add(fact, count);
    }

    /// Whether the load should go on.
    pub(crate) fn running(&self) -> bool {
        Instant::now() < self.window.closes
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{FAILURE_TEXTS_MAX, Interval, Tally};

    #[test]
    fn lines_carry_everything() {
        let mut tally = Tally { operations: 7, deliveries: 9, ..Tally::default() };
        for value in [1_000, 55_000, 55_000, 4_000_000_000] {
            tally.operation_latency.record(value).unwrap();
        }
        tally.kinds.entry("rpc".to_owned()).or_insert_with(super::latencies).record(70_000).unwrap();
        tally.add("pings answered", 3);
        tally.fail("connection\nlost");
        let mut merged = Tally::default();
        for line in tally.to_lines().lines().filter(|line| *line != "done") {
            merged.take_line(line).unwrap();
        }
        assert_eq!((merged.operations, merged.deliveries), (7, 9));
        assert_eq!(merged.operation_latency.len(), 4);
        assert_eq!(merged.operation_latency.value_at_quantile(0.5), tally.operation_latency.value_at_quantile(0.5));
        assert_eq!(merged.kinds["rpc"].len(), 1);
        assert_eq!(merged.facts["pings answered"], 3);
        assert_eq!(merged.failures["connection lost"], 1);
        assert!(merged.take_line("nonsense").is_none());
    }

    #[test]
    fn intervals_add_up() {
        let mut interval = Interval { operations: 2, deliveries: 1, ..Interval::default() };
        interval.operation_latency.record(50_000).unwrap();
        let mut merged = Interval::default();
        merged.add_text(&interval.take_text()).unwrap();
        merged.add_text(&interval.take_text()).unwrap();
        assert_eq!((merged.operations, merged.deliveries, merged.operation_latency.len()), (2, 1, 1));
        assert!(merged.add_text("2 nothing").is_none());
    }

    #[test]
    fn kinds_of_failure_are_bounded() {
        let mut tally = Tally::default();
        for kind in 0..1_000 {
            tally.fail(format!("failure {kind}"));
        }
        assert_eq!(tally.failures.len(), FAILURE_TEXTS_MAX + 1);
        assert_eq!(tally.failures.values().sum::<u64>(), 1_000);
    }
}
