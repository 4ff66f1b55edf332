//! What a person at a terminal sees while a run is under way. Nothing is written when standard error is no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::options::{Options, interval};
use crate::tally::Interval;

pub(crate) struct Progress {
    bar: ProgressBar,
    connections: u64,
    intervals: u64,
    interval_seconds: f64,
}

impl Progress {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of intervals between one and some thousands"
    )]
    pub(crate) fn new(options: &Options) -> Self {
        let interval_seconds = interval(options).as_secs_f64();
        let target = if options.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{prefix:<10} {elapsed:>4} {wide_bar:.cyan/dim} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(options.kind.name());
        Self {
            bar,
            connections: options.connections as u64,
            intervals: (options.seconds / interval_seconds).round() as u64,
            interval_seconds,
        }
    }

    /// The next step was ordered.
    pub(crate) fn step(&self, order: &str) {
        match order.split(' ').next() {
            Some("prepare") => self.bar.set_message("accounts and sessions"),
            Some("connect") => {
                self.bar.set_length(self.connections);
                self.bar.set_message("connecting");
            }
            _ => {
                self.bar.set_position(0);
                self.bar.set_length(self.intervals);
                self.bar.set_message("warming up");
            }
        }
    }

    pub(crate) fn open(&self, connections: u64) {
        self.bar.set_position(connections.min(self.connections));
        self.bar.set_message(format!("{connections} connected"));
    }

    #[allow(clippy::cast_precision_loss, reason = "for people")]
    pub(crate) fn tick(&self, number: u64, interval: &Interval) {
        let per_second = |count: u64| count as f64 / self.interval_seconds;
        let p99_ms = interval.operation_latency.value_at_quantile(0.99) as f64 / 1e6;
        self.bar.set_position(number);
        self.bar.set_message(format!(
            "{:.0} operations/s, {:.0} deliveries/s, p99 {p99_ms:.1} ms",
            per_second(interval.operations),
            per_second(interval.deliveries),
        ));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
