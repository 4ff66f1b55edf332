//! `compare`: two reports side by side, figure by figure.
//!
//! It states ratios and judges only failures: whether a difference matters depends on the figure and on the noise of
//! the machine, which a single pair of reports does not show.

use std::ffi::OsString;
use std::fmt::Write as _;

use sonic_rs::{JsonContainerTrait, JsonValueTrait};

use crate::client::Failure;

struct Loaded {
    title: String,
    figures: Vec<(String, f64)>,
    failures: usize,
}

/// Prints the comparison; `false` if the second report has failures.
pub(crate) fn run(before: &OsString, after: &OsString) -> Result<bool, Failure> {
    let (before, after) = (load(before)?, load(after)?);
    print!("{}", table(&before, &after));
    Ok(after.failures == 0)
}

fn load(file: &OsString) -> Result<Loaded, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::from(error).during(&format!("reading {}", file.to_string_lossy())))?;
    parse(&text).ok_or_else(|| Failure::new(format!("{} is not a report", file.to_string_lossy())))
}

fn parse(text: &str) -> Option<Loaded> {
    let report: sonic_rs::Value = sonic_rs::from_str(text).ok()?;
    let figures = report.get("figures")?.as_object()?.iter();
    Some(Loaded {
        title: report.get("scenario")?.as_str()?.to_owned(),
        figures: figures.filter_map(|(name, value)| Some((name.to_owned(), value.as_f64()?))).collect(),
        failures: report.get("failures")?.as_object()?.len(),
    })
}

fn table(before: &Loaded, after: &Loaded) -> String {
    let mut text = format!("{:<46} {:>16} {:>16} {:>8}\n", "figure", before.title, after.title, "ratio");
    for (name, old) in &before.figures {
        let new = after.figures.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
        let _ = match new {
            Some(new) if *old != 0.0 => writeln!(text, "{name:<46} {old:>16} {new:>16} {:>8.3}", new / old),
            Some(new) => writeln!(text, "{name:<46} {old:>16} {new:>16} {:>8}", "-"),
            None => writeln!(text, "{name:<46} {old:>16} {:>16} {:>8}", "-", "-"),
        };
    }
    for (name, new) in after.figures.iter().filter(|(name, _)| !before.figures.iter().any(|(other, _)| other == name)) {
        let _ = writeln!(text, "{name:<46} {:>16} {new:>16} {:>8}", "-", "-");
    }
    if before.failures + after.failures > 0 {
        let _ = writeln!(text, "{:<46} {:>16} {:>16}", "kinds of failure", before.failures, after.failures);
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{parse, table};

    #[test]
    fn figures_are_paired_by_name() {
        let before = parse(r#"{"scenario":"echo","figures":{"a":2,"gone":1},"failures":{}}"#).unwrap();
        let after = parse(r#"{"scenario":"echo","figures":{"new":5,"a":3.0},"failures":{"lost":2}}"#).unwrap();
        let table = table(&before, &after);
        assert!(table.lines().any(|line| line.starts_with("a ") && line.ends_with("1.500")), "{table}");
        assert!(table.lines().any(|line| line.starts_with("gone ")));
        assert!(table.lines().any(|line| line.starts_with("new ")));
        assert!(table.contains("kinds of failure"));
        assert!(parse(r#"{"figures":{}}"#).is_none());
    }
}
