//! The report: a list of named figures, as text for people and as JSON for `compare` and the result files.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::client::Failure;
use crate::options::{Kind, Options};
use crate::tally::Tally;
use crate::target::Memory;

/// What the coordinator saw from outside.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) cpu_ns: Option<u64>,
    pub(crate) window: Duration,
    pub(crate) connecting: Duration,
    pub(crate) memory_before: Option<Memory>,
    pub(crate) memory_connected: Option<Memory>,
    pub(crate) memory_after: Option<Memory>,
}

pub(crate) struct Report {
    title: String,
    settings: Vec<(&'static str, String)>,
    /// Name with its unit last, and value; in the order they are shown.
    figures: Vec<(String, f64)>,
    failures: Vec<(String, u64)>,
}

impl Report {
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn new(options: &Options, measured: &Measured, tally: &Tally) -> Self {
        let mut report = Self {
            title: if options.raw { format!("{} --raw", options.kind.name()) } else { options.kind.name().to_owned() },
            settings: settings(options),
            figures: Vec::new(),
            failures: tally.failures.iter().map(|(text, times)| (text.clone(), *times)).collect(),
        };
        let seconds = measured.window.as_secs_f64();
        let cpu_us = measured.cpu_ns.map(|nanoseconds| nanoseconds as f64 / 1e3);
        if options.kind == Kind::Idle {
            report.idle(options, measured, cpu_us);
        } else if options.kind != Kind::Presence {
            report.rates("operation", tally.operations as f64, seconds, cpu_us, &tally.operation_latency);
        }
        if tally.deliveries > 0 {
            report.rates("delivery", tally.deliveries as f64, seconds, cpu_us, &tally.delivery_latency);
        }
        if let Some(cpu_us) = cpu_us {
            report.figure("server_cpu_percent", cpu_us / seconds / 1e4);
        }
        for (fact, count) in &tally.facts {
            report.figure(&fact.replace([' ', '.'], "_"), *count as f64);
        }
        report
    }

    fn figure(&mut self, name: &str, value: f64) {
        self.figures.push((name.to_owned(), value));
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
    }

    /// Memory of the server for each connection; the last reading counts, the first tells what a burst leaves behind.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn idle(&mut self, options: &Options, measured: &Measured, cpu_us: Option<f64>) {
        let connections = options.connections as f64;
        self.figure("connect_seconds", measured.connecting.as_secs_f64());
        if let Some(cpu_us) = cpu_us {
            let seconds = measured.window.as_secs_f64();
            self.figure("server_cpu_us_per_connection_second", cpu_us / seconds / connections);
        }
        let Some(before) = measured.memory_before else { return };
        self.figure("server_anonymous_before_bytes", before.anonymous as f64);
        for (when, memory) in [("connected", measured.memory_connected), ("after", measured.memory_after)] {
            let Some(memory) = memory else { continue };
            for (kind, now, then) in [
                ("anonymous", memory.anonymous, before.anonymous),
                ("pss", memory.proportional, before.proportional),
                ("pss_anon", memory.proportional_anonymous, before.proportional_anonymous),
            ] {
                self.figure(&format!("{when}_{kind}_bytes_per_connection"), (now as f64 - then as f64) / connections);
            }
        }
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = self.title.clone();
        for (name, value) in &self.settings {
            let _ = write!(text, "  {name} {value}");
        }
        text.push('\n');
        for (name, value) in &self.figures {
            let _ = writeln!(text, "  {name:<44} {:>16}", number(*value));
        }
        for (failure, times) in &self.failures {
            let _ = writeln!(text, "  FAILED {times} times: {failure}");
        }
        text
    }

    pub(crate) fn to_json(&self) -> Result<String, Failure> {
        let quote = |text: &str| sonic_rs::to_string(text).map_err(|error| Failure::new(error.to_string()));
        let mut members = vec![format!("\"scenario\":{}", quote(&self.title)?)];
        let mut object = |name: &str, entries: Vec<(String, String)>| -> Result<(), Failure> {
            let entries: Result<Vec<_>, Failure> =
                entries.iter().map(|(key, value)| Ok(format!("\n    {}: {value}", quote(key)?))).collect();
            members.push(format!("\"{name}\":{{{}}}", entries?.join(",")));
            Ok(())
        };
        let settings: Result<Vec<_>, Failure> =
            self.settings.iter().map(|(name, value)| Ok(((*name).to_owned(), quote(value)?))).collect();
        object("settings", settings?)?;
        object("figures", self.figures.iter().map(|(name, value)| (name.clone(), number(*value))).collect())?;
        object("failures", self.failures.iter().map(|(name, times)| (name.clone(), times.to_string())).collect())?;
        Ok(format!("{{\n  {}\n}}\n", members.join(",\n  ")))
    }
}

fn settings(options: &Options) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("connections", options.connections.to_string()),
        ("accounts", options.accounts.to_string()),
        ("loop", options.rate.map_or_else(|| "closed".to_owned(), |rate| format!("open {rate}/s"))),
        ("seconds", options.seconds.to_string()),
        ("processes", options.processes.to_string()),
    ];
    match options.kind {
        Kind::Messages => {
            settings.push(("sessions", options.sessions.to_string()));
            settings.push(("bytes", options.message_bytes.to_string()));
        }
        Kind::Fanout => {
            settings.push(("receivers", options.receivers.to_string()));
            settings.push(("door", format!("{:?}", options.door).to_lowercase()));
            settings.push(("bytes", options.message_bytes.to_string()));
        }
        Kind::Rpc => settings.push(("bytes", options.message_bytes.to_string())),
        Kind::Presence => settings.push(("receivers", options.receivers.to_string())),
        Kind::Http => settings.push(("path", options.path.clone())),
        Kind::Idle | Kind::Echo | Kind::Connect => {}
    }
    settings
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn micros(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// Whole numbers as such, others with the digits that mean something.
fn number(value: f64) -> String {
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
    use super::{Report, number};

    #[test]
    fn json_is_json() {
        let report = Report {
            title: "echo".to_owned(),
            settings: vec![("loop", "closed".to_owned())],
            figures: vec![("operation_per_second".to_owned(), 12.5), ("operation_count".to_owned(), 3.0)],
            failures: vec![("the \"server\" closed".to_owned(), 2)],
        };
        let json = report.to_json().unwrap();
        let value: sonic_rs::Value = sonic_rs::from_str(&json).unwrap();
        use sonic_rs::{JsonContainerTrait, JsonValueTrait};
        assert_eq!(value["figures"]["operation_per_second"].as_f64(), Some(12.5));
        assert_eq!(value["failures"].as_object().unwrap().len(), 1);
        assert!(report.to_text().contains("FAILED 2 times"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([number(3.0), number(6.148), number(18_100.26)], ["3", "6.15", "18100.3"]);
    }
}
