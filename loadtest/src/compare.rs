//! `compare`: two reports side by side, figure by figure.
//!
//! A difference beyond the threshold is called better or worse where the figure has a direction. It judges only failures:
//! whether a difference matters depends on the noise of the machine, which a single pair of reports does not show.

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::client::Failure;
use crate::report::{Report, number};

/// Prints the comparison; `false` if the second report has failures.
pub(crate) fn run(before: &OsString, after: &OsString, threshold_percent: f64) -> Result<bool, Failure> {
    let (before, after) = (Report::load(before)?, Report::load(after)?);
    print!("{}", table(&before, &after, threshold_percent));
    Ok(after.failures.is_empty())
}

fn table(before: &Report, after: &Report, threshold_percent: f64) -> String {
    let mut text = String::new();
    for (name, old) in &before.settings.0 {
        match after.settings.get(name) {
            Some(new) if new == old => {}
            new => {
                let new = new.map_or("nothing", String::as_str);
                let _ = writeln!(text, "the runs differ in {name}: {old} before, {new} after");
            }
        }
    }
    let _ = writeln!(text, "{:<46} {:>16} {:>16} {:>8}", "figure", before.title, after.title, "ratio");
    for (name, old) in &before.figures.0 {
        let _ = match after.figures.get(name) {
            Some(new) if *old != 0.0 => {
                let ratio = new / old;
                let judgement = judgement(name, ratio, threshold_percent);
                let line = format!("{name:<46} {:>16} {:>16} {ratio:>8.3}  {judgement}", number(*old), number(*new));
                writeln!(text, "{}", line.trim_end())
            }
            Some(new) => writeln!(text, "{name:<46} {:>16} {:>16} {:>8}", number(*old), number(*new), "-"),
            None => writeln!(text, "{name:<46} {:>16} {:>16} {:>8}", number(*old), "-", "-"),
        };
    }
    for (name, new) in after.figures.0.iter().filter(|(name, _)| before.figures.get(name).is_none()) {
        let _ = writeln!(text, "{name:<46} {:>16} {:>16} {:>8}", "-", number(*new), "-");
    }
    for (when, report) in [("before", before), ("after", after)] {
        for warning in &report.warnings {
            let _ = writeln!(text, "WARNING {when}: {warning}");
        }
        for (failure, times) in &report.failures.0 {
            let _ = writeln!(text, "FAILED {when}, {times} times: {failure}");
        }
    }
    text
}

fn judgement(figure: &str, ratio: f64, threshold_percent: f64) -> &'static str {
    let less_is_better = figure.contains("latency") || figure.contains("cpu_us") || figure.contains("bytes");
    let more_is_better = figure.ends_with("_per_second");
    let beyond = threshold_percent / 100.0;
    match (less_is_better, more_is_better) {
        (true, _) if ratio > 1.0 + beyond => "worse",
        (true, _) if ratio < 1.0 - beyond => "better",
        (_, true) if ratio > 1.0 + beyond => "better",
        (_, true) if ratio < 1.0 - beyond => "worse",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::table;
    use crate::report::Report;

    fn report(text: &str) -> Report {
        sonic_rs::from_str(text).unwrap()
    }

    #[test]
    fn figures_are_paired_by_name() {
        let before = report(r#"{"scenario":"echo","settings":{"x":"1"},"figures":{"a":2,"gone":1},"failures":{}}"#);
        let after =
            report(r#"{"scenario":"echo","settings":{"x":"2"},"figures":{"new":5,"a":3.0},"failures":{"lost":2}}"#);
        let table = table(&before, &after, 10.0);
        assert!(table.lines().any(|line| line.starts_with("a ") && line.ends_with("1.500")), "{table}");
        assert!(table.lines().any(|line| line.starts_with("gone ")));
        assert!(table.lines().any(|line| line.starts_with("new ")));
        assert!(table.contains("differ in x: 1 before, 2 after"));
        assert!(table.contains("FAILED after, 2 times: lost"));
    }

    #[test]
    fn directions() {
        for (figure, ratio, expected) in [
            ("operation_latency_p99_us", 1.2, "worse"),
            ("server_cpu_us_per_echo", 0.8, "better"),
            ("operation_per_second", 1.2, "better"),
            ("operation_per_second", 0.8, "worse"),
            ("operation_per_second", 1.05, ""),
            ("operation_count", 3.0, ""),
        ] {
            assert_eq!(super::judgement(figure, ratio, 10.0), expected, "{figure} {ratio}");
        }
    }
}
