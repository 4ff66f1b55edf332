//! The report of a run: named figures, curves and failures, as text for people, as JSON for `compare`, `report` and the
//! result files, and (in `page`) as HTML.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::budgets::Verdict;
use crate::client::Failure;
use crate::options::{Kind, Options};
use crate::ordered::Ordered;
use crate::redis::Counters;
use crate::series::{Series, Trend};
use crate::tally::Tally;
use crate::target::Memory;

/// What the coordinator saw from outside.
#[derive(Default)]
pub(crate) struct Measured {
    /// CPU time of all servers in the window, and of each in the order of `--pid`.
    pub(crate) cpu_ns: Option<u64>,
    pub(crate) cpu_ns_of_each: Vec<u64>,
    pub(crate) window: Duration,
    pub(crate) connecting: Duration,
    pub(crate) memory_before: Option<Memory>,
    pub(crate) memory_connected: Option<Memory>,
    pub(crate) memory_after: Option<Memory>,
    /// Readings when the window opened and when it closed.
    pub(crate) redis: Option<(Counters, Counters)>,
    pub(crate) generator: Generator,
    pub(crate) series: Series,
}

/// What the generator itself used, so that nobody mistakes it for the server. Shares of the window.
#[derive(Clone, Copy, Default)]
pub(crate) struct Generator {
    pub(crate) cpu_percent: f64,
    /// The worker that used most.
    pub(crate) busiest_percent: f64,
    /// The worker that waited longest for a processor that others had.
    pub(crate) waited_percent: f64,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Report {
    #[serde(rename = "scenario")]
    pub(crate) title: String,
    /// When, where, on what. Empty in reports that were made by hand.
    #[serde(default)]
    pub(crate) circumstances: Ordered<String>,
    #[serde(default)]
    pub(crate) settings: Ordered<String>,
    /// Name with its unit last, and value; in the order they are shown.
    pub(crate) figures: Ordered<f64>,
    pub(crate) failures: Ordered<u64>,
    /// What makes the figures less than they seem.
    #[serde(default)]
    pub(crate) warnings: Vec<String>,
    #[serde(default)]
    pub(crate) verdicts: Vec<Verdict>,
    /// Latency in µs at quantiles from 0 to 1, by what was timed.
    #[serde(default)]
    pub(crate) percentiles: Ordered<Vec<(f64, f64)>>,
    #[serde(default)]
    pub(crate) series: Series,
}

impl Report {
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn new(options: &Options, measured: Measured, tally: &Tally) -> Self {
        let failures = tally.failures.iter().map(|(text, times)| (text.clone(), *times)).collect();
        let mut report = Self {
            title: if options.raw { format!("{} --raw", options.kind.name()) } else { options.kind.name().to_owned() },
            circumstances: crate::circumstances::now(),
            settings: settings(options),
            failures: Ordered(failures),
            ..Self::default()
        };
        let seconds = measured.window.as_secs_f64();
        let cpu_us = measured.cpu_ns.map(|nanoseconds| nanoseconds as f64 / 1e3);
        if matches!(options.kind, Kind::Idle | Kind::Mixed | Kind::Soak) {
            report.memory(options, &measured, cpu_us);
        }
        if !matches!(options.kind, Kind::Idle | Kind::Presence) {
            report.rates("operation", tally.operations as f64, seconds, cpu_us, &tally.operation_latency);
        }
        for (kind, latency) in &tally.kinds {
            report.rates(kind, latency.len() as f64, seconds, None, latency);
        }
        if tally.deliveries > 0 {
            report.rates("delivery", tally.deliveries as f64, seconds, cpu_us, &tally.delivery_latency);
        }
        if let Some(cpu_us) = cpu_us {
            report.figure("server_cpu_percent", cpu_us / seconds / 1e4);
        }
        report.generator(measured.generator);
        let (what, count) =
            if tally.deliveries > 0 { ("delivery", tally.deliveries) } else { ("operation", tally.operations) };
        report.replicas(&measured.cpu_ns_of_each, what, count as f64);
        if let Some((before, after)) = measured.redis {
            report.redis(before, after, what, count as f64);
        }
        for (fact, count) in &tally.facts {
            report.figure(&fact.replace([' ', '.'], "_"), *count as f64);
        }
        report.series = measured.series;
        if options.kind == Kind::Soak {
            report.trends();
        }
        report
    }

    fn figure(&mut self, name: &str, value: f64) {
        self.figures.push(name, short(value));
    }

    fn fail(&mut self, text: String) {
        self.failures.push(text, 1_u64);
    }

    fn rates(&mut self, what: &str, count: f64, seconds: f64, cpu_us: Option<f64>, latency: &Histogram<u64>) {
        self.figure(&format!("{what}_count"), count);
        self.figure(&format!("{what}_per_second"), count / seconds);
        if let (Some(cpu_us), true) = (cpu_us, count > 0.0) {
            self.figure(&format!("server_cpu_us_per_{what}"), cpu_us / count);
        }
        if latency.is_empty() {
            return;
        }
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            self.figure(&format!("{what}_latency_{name}_us"), micros(latency.value_at_quantile(quantile)));
        }
        self.figure(&format!("{what}_latency_max_us"), micros(latency.max()));
        self.percentiles.push(what, percentiles(latency));
    }

    /// Memory of the server for each connection; the last reading counts, the first tells what a burst leaves behind.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn memory(&mut self, options: &Options, measured: &Measured, cpu_us: Option<f64>) {
        let connections = options.connections as f64;
        self.figure("connect_seconds", measured.connecting.as_secs_f64());
        if let (Some(cpu_us), Kind::Idle) = (cpu_us, options.kind) {
            let seconds = measured.window.as_secs_f64();
            self.figure("server_cpu_us_per_connection_second", cpu_us / seconds / connections);
        }
        let Some(before) = measured.memory_before else { return };
        self.figure("server_anonymous_before_bytes", before.anonymous as f64);
        self.figure("server_pss_before_bytes", before.proportional as f64);
        for (when, memory) in [("connected", measured.memory_connected), ("after", measured.memory_after)] {
            let Some(memory) = memory else { continue };
            self.figure(&format!("{when}_resident_bytes"), memory.resident as f64);
            if options.kind != Kind::Idle {
                continue;
            }
            for (kind, now, then) in [
                ("anonymous", memory.anonymous, before.anonymous),
                ("pss", memory.proportional, before.proportional),
                ("pss_anon", memory.proportional_anonymous, before.proportional_anonymous),
            ] {
                self.figure(&format!("{when}_{kind}_bytes_per_connection"), (now as f64 - then as f64) / connections);
            }
        }
    }

    fn generator(&mut self, generator: Generator) {
        /// Of one processor: above, a thread has no time left to be late with.
        const BUSY_PERCENT: f64 = 85.0;
        const WAITED_PERCENT: f64 = 15.0;
        self.figure("generator_cpu_percent", generator.cpu_percent);
        self.figure("generator_busiest_process_percent", generator.busiest_percent);
        self.figure("generator_waited_for_processor_percent", generator.waited_percent);
        if generator.busiest_percent > BUSY_PERCENT {
            self.warnings.push(format!(
                "A generator process used {:.0} % of a processor: rates and latencies are limited by the generator. \
                 CPU time per operation is not affected. Raise --processes, or give a --rate.",
                generator.busiest_percent
            ));
        }
        if generator.waited_percent > WAITED_PERCENT {
            self.warnings.push(format!(
                "A generator process waited {:.0} % of the time for a processor that others had: latencies contain that.",
                generator.waited_percent
            ));
        }
    }

    /// What each of several servers spent; of one alone the sum says it.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn replicas(&mut self, cpu_ns: &[u64], what: &str, count: f64) {
        if cpu_ns.len() < 2 || count == 0.0 {
            return;
        }
        for (number, nanoseconds) in (1..).zip(cpu_ns) {
            self.figure(&format!("server_{number}_cpu_us_per_{what}"), micros(*nanoseconds) / count);
        }
    }

    fn redis(&mut self, before: Counters, after: Counters, what: &str, count: f64) {
        if count == 0.0 {
            return;
        }
        self.figure(&format!("redis_input_bytes_per_{what}"), (after.input_bytes - before.input_bytes) / count);
        self.figure(&format!("redis_output_bytes_per_{what}"), (after.output_bytes - before.output_bytes) / count);
        self.figure(&format!("redis_commands_per_{what}"), (after.commands - before.commands) / count);
        let cpu_us = (after.cpu_seconds - before.cpu_seconds) * 1e6;
        self.figure(&format!("redis_cpu_us_per_{what}"), cpu_us / count);
    }

    /// The verdict of a soak: nothing of the server keeps growing.
    fn trends(&mut self) {
        const MIB: f64 = 1024.0 * 1024.0;
        /// Growth over the window that is no growth: allocators round, tables double.
        const SHARE: f64 = 0.05;
        const ALLOWANCE_MIB: f64 = 4.0;
        /// Devices that come and go make this many descriptors more or less.
        const ALLOWANCE_DESCRIPTORS: f64 = 32.0;
        let curve = |curves: &[crate::series::Curve], name: &str| {
            curves.iter().find(|curve| curve.name == name).and_then(|curve| Trend::of(&curve.points))
        };
        let memory = curve(&self.series.memory, "anonymous");
        let descriptors = curve(&self.series.descriptors, "descriptors");
        for (what, unit, trend, allowance, scale) in [
            ("memory", "bytes", memory, ALLOWANCE_MIB, MIB),
            ("descriptors", "count", descriptors, ALLOWANCE_DESCRIPTORS, 1.0),
        ] {
            let Some(trend) = trend else {
                self.fail(format!("too few readings of the server's {what} to judge them: a longer --seconds"));
                continue;
            };
            self.figure(&format!("{what}_growth_{unit}"), (trend.growth() * scale).round());
            self.figure(&format!("{what}_is_flat"), f64::from(u8::from(trend.is_flat(SHARE, allowance))));
            if !trend.is_flat(SHARE, allowance) {
                self.fail(format!(
                    "the server's {what} keep growing: from {:.1} to {:.1}{} over the last four fifths",
                    trend.from,
                    trend.to,
                    if unit == "bytes" { " MiB" } else { "" },
                ));
            }
        }
    }

    /// Whether nothing failed and no budget was missed.
    pub(crate) fn is_good(&self) -> bool {
        self.failures.is_empty() && self.verdicts.iter().all(|verdict| verdict.met)
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = self.title.clone();
        for (name, value) in &self.settings.0 {
            let _ = write!(text, "  {name} {value}");
        }
        text.push('\n');
        for (name, value) in &self.figures.0 {
            let _ = writeln!(text, "  {name:<44} {:>16}", number(*value));
        }
        for verdict in &self.verdicts {
            let _ = writeln!(text, "  {} {}", if verdict.met { "met   " } else { "MISSED" }, verdict.sentence());
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "  WARNING {warning}");
        }
        for (failure, times) in &self.failures.0 {
            let _ = writeln!(text, "  FAILED {times} times: {failure}");
        }
        text
    }

    pub(crate) fn to_json(&self) -> Result<String, Failure> {
        sonic_rs::to_string_pretty(self)
            .map(|json| json + "\n")
            .map_err(|error| Failure::new(error.to_string()).during("writing the report"))
    }

    pub(crate) fn load(file: &OsString) -> Result<Self, Failure> {
        let name = file.to_string_lossy();
        let text =
            std::fs::read_to_string(file).map_err(|error| Failure::from(error).during(&format!("reading {name}")))?;
        sonic_rs::from_str(&text).map_err(|error| Failure::new(format!("{name} is not a report: {error}")))
    }
}

fn settings(options: &Options) -> Ordered<String> {
    let mut settings = Ordered::default();
    settings.push("connections", options.connections.to_string());
    settings.push("accounts", options.accounts.to_string());
    let mixed = matches!(options.kind, Kind::Mixed | Kind::Soak | Kind::Presence);
    match options.rate {
        Some(rate) => settings.push("loop", format!("open {rate}/s")),
        None if mixed => settings.push("loop", "open"),
        None if options.kind == Kind::Idle => {}
        None => settings.push("loop", "closed"),
    }
    settings.push("seconds", options.seconds.to_string());
    settings.push("processes", options.processes.to_string());
    if options.servers.len() > 1 {
        let split = if options.split { ", senders on the first" } else { "" };
        settings.push("servers", format!("{}{split}", options.servers.len()));
    }
    match options.kind {
        Kind::Messages => {
            settings.push("sessions", options.sessions.to_string());
            settings.push("bytes", options.message_bytes.to_string());
        }
        Kind::Fanout => {
            settings.push("receivers", options.receivers.to_string());
            settings.push("door", format!("{:?}", options.door).to_lowercase());
            settings.push("bytes", options.message_bytes.to_string());
        }
        Kind::Rpc => settings.push("bytes", options.message_bytes.to_string()),
        Kind::Presence => settings.push("receivers", options.receivers.to_string()),
        Kind::Http => {
            settings.push("path", options.path.clone());
            settings.push("authenticated", options.authenticated.to_string());
        }
        Kind::Mixed | Kind::Soak => {
            settings.push("active", format!("{} %", options.active_percent));
            settings.push("bytes", options.message_bytes.to_string());
        }
        Kind::Idle | Kind::Echo | Kind::Connect => {}
    }
    settings
}

/// Latency in µs at quantiles that lie evenly on an axis of nines, as far as there are values for them.
#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn percentiles(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    const STEPS_PER_NINE: i32 = 8;
    let nines = (latency.len() as f64).log10().min(6.0);
    let mut points: Vec<(f64, f64)> = (0..)
        .map(|step| f64::from(step) / f64::from(STEPS_PER_NINE))
        .take_while(|at| *at <= nines)
        .map(|at| 1.0 - 10_f64.powf(-at))
        .map(|quantile| (quantile, short(micros(latency.value_at_quantile(quantile)))))
        .collect();
    points.push((1.0, short(micros(latency.max()))));
    points
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn micros(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// The digits that mean something.
fn short(value: f64) -> f64 {
    if value.abs() < 100.0 { (value * 100.0).round() / 100.0 } else { (value * 10.0).round() / 10.0 }
}

/// Whole numbers as such.
pub(crate) fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value.abs() < 100.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hdrhistogram::Histogram;

    use super::{Generator, Report, number, percentiles};
    use crate::ordered::Ordered;
    use crate::series::{Curve, Series};

    fn report() -> Report {
        Report {
            title: "echo".to_owned(),
            settings: Ordered(vec![("loop".to_owned(), "closed".to_owned())]),
            figures: Ordered(vec![("z_per_second".to_owned(), 12.5), ("a_count".to_owned(), 3.0)]),
            failures: Ordered(vec![("the \"server\" closed".to_owned(), 2)]),
            ..Report::default()
        }
    }

    #[test]
    fn json_is_json_and_keeps_the_order() {
        let json = report().to_json().unwrap();
        let back: Report = sonic_rs::from_str(&json).unwrap();
        assert_eq!(back.figures, report().figures);
        assert_eq!(back.failures, report().failures);
        assert!(report().to_text().contains("FAILED 2 times"));
        let old = r#"{"scenario":"echo","settings":{},"figures":{"a":1},"failures":{}}"#;
        assert!(sonic_rs::from_str::<Report>(old).unwrap().is_good());
    }

    #[test]
    fn a_generator_at_its_limit_is_named() {
        let mut idle = Report::default();
        idle.generator(Generator { cpu_percent: 50.0, busiest_percent: 50.0, waited_percent: 1.0 });
        assert!(idle.warnings.is_empty());
        let mut busy = Report::default();
        busy.generator(Generator { cpu_percent: 99.0, busiest_percent: 99.0, waited_percent: 40.0 });
        assert_eq!(busy.warnings.len(), 2);
    }

    #[test]
    fn each_of_several_servers_has_a_figure() {
        let mut report = Report::default();
        report.replicas(&[5_000], "delivery", 10.0);
        report.replicas(&[5_000, 7_000], "delivery", 0.0);
        assert!(report.figures.0.is_empty());
        report.replicas(&[20_000, 5_000], "delivery", 10.0);
        let expected = [("server_1_cpu_us_per_delivery", 2.0), ("server_2_cpu_us_per_delivery", 0.5)];
        assert_eq!(report.figures.0, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_soak_that_grows_fails() {
        let soak = |growth: f64| {
            let points = |base: f64| (0..60).map(|x| (f64::from(x), base + growth * f64::from(x))).collect();
            let mut report = Report {
                series: Series {
                    memory: vec![Curve { name: "anonymous".to_owned(), points: points(20.0) }],
                    descriptors: vec![Curve { name: "descriptors".to_owned(), points: points(1_000.0) }],
                    ..Series::default()
                },
                ..Report::default()
            };
            report.trends();
            report
        };
        assert!(soak(0.01).is_good());
        assert_eq!(soak(2.0).failures.0.len(), 2);
        let mut unread = Report::default();
        unread.trends();
        assert!(!unread.is_good());
    }

    #[test]
    fn percentiles_end_with_the_maximum() {
        let mut latency = Histogram::<u64>::new(3).unwrap();
        (1..=1_000_u64).for_each(|value| latency.record(value * 1_000).unwrap());
        let points = percentiles(&latency);
        assert_eq!(points.last().unwrap().0, 1.0);
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{points:?}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([number(3.0), number(6.148), number(18_100.26)], ["3", "6.15", "18100.3"]);
    }
}
