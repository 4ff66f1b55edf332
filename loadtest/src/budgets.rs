//! Verdicts: the figures of a report against `perf/budgets.json`.
//!
//! A budget names the scenario and the figure it is about, a bound, and optionally the settings from which on it counts
//! (memory per connection means something at 18,000 connections, not at ten).

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::client::Failure;
use crate::ordered::Ordered;
use crate::report::{Report, number};

#[derive(Deserialize)]
pub(crate) struct Budgets {
    pub(crate) budgets: Vec<Budget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// The row of `perf/BUDGETS.md`.
    pub(crate) budget: String,
    pub(crate) scenario: String,
    pub(crate) figure: String,
    pub(crate) at_most: Option<f64>,
    pub(crate) at_least: Option<f64>,
    /// Settings of the run that must be at least this, for the budget to apply.
    #[serde(default)]
    pub(crate) from: Ordered<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) budget: String,
    pub(crate) figure: String,
    pub(crate) measured: f64,
    pub(crate) bound: String,
    pub(crate) met: bool,
}

impl Verdict {
    pub(crate) fn sentence(&self) -> String {
        format!("{}: {} is {}, {}", self.budget, self.figure, number(self.measured), self.bound)
    }
}

impl Budgets {
    pub(crate) fn load(file: &OsString) -> Result<Self, Failure> {
        let name = file.to_string_lossy();
        let text =
            std::fs::read_to_string(file).map_err(|error| Failure::from(error).during(&format!("reading {name}")))?;
        let budgets: Self =
            sonic_rs::from_str(&text).map_err(|error| Failure::new(format!("{name} holds no budgets: {error}")))?;
        match budgets.budgets.iter().find(|budget| budget.at_most.is_some() == budget.at_least.is_some()) {
            Some(budget) => Err(Failure::new(format!("{name}: {} needs either at_most or at_least", budget.budget))),
            None => Ok(budgets),
        }
    }

    /// What applies to this report. A budget whose figure is missing does not.
    pub(crate) fn judge(&self, report: &Report) -> Vec<Verdict> {
        self.budgets.iter().filter_map(|budget| budget.judge(report)).collect()
    }
}

impl Budget {
    fn judge(&self, report: &Report) -> Option<Verdict> {
        if self.scenario != report.title || !self.applies(report) {
            return None;
        }
        let measured = *report.figures.get(&self.figure)?;
        let (bound, met) = match (self.at_most, self.at_least) {
            (Some(most), _) => (format!("at most {}", number(most)), measured <= most),
            (None, Some(least)) => (format!("at least {}", number(least)), measured >= least),
            (None, None) => return None,
        };
        Some(Verdict { budget: self.budget.clone(), figure: self.figure.clone(), measured, bound, met })
    }

    fn applies(&self, report: &Report) -> bool {
        self.from.0.iter().all(|(setting, least)| {
            report
                .settings
                .get(setting)
                .and_then(|value| value.parse::<f64>().ok())
                .is_some_and(|value| value >= *least)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Budgets;
    use crate::ordered::Ordered;
    use crate::report::Report;

    fn idle(connections: &str, bytes: f64) -> Report {
        Report {
            title: "idle".to_owned(),
            settings: Ordered(vec![("connections".to_owned(), connections.to_owned())]),
            figures: Ordered(vec![("after_anonymous_bytes_per_connection".to_owned(), bytes)]),
            ..Report::default()
        }
    }

    #[test]
    fn budgets_apply_from_their_settings_on() {
        let text = r#"{"budgets":[{"budget":"memory","scenario":"idle","figure":"after_anonymous_bytes_per_connection",
                       "at_most":1024,"from":{"connections":18000}}]}"#;
        let budgets: Budgets = sonic_rs::from_str(text).unwrap();
        assert!(budgets.judge(&idle("10", 9_000.0)).is_empty());
        assert!(budgets.judge(&idle("18000", 1_000.0))[0].met);
        let missed = budgets.judge(&idle("19000", 1_600.0));
        assert!(!missed[0].met && missed[0].sentence().contains("at most 1024"));
    }

    /// The rows people read and the rows programs read are the same ones.
    #[test]
    fn every_budget_is_a_row_of_the_table_with_its_bound() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../perf");
        let budgets = Budgets::load(&format!("{folder}/budgets.json").into()).unwrap().budgets;
        let table = std::fs::read_to_string(format!("{folder}/BUDGETS.md")).unwrap();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        for budget in &budgets {
            let row = rows.iter().find(|row| row[0] == budget.budget);
            let row = row.unwrap_or_else(|| unreachable!("BUDGETS.md has no row {:?}", budget.budget));
            let bound = budget.at_most.or(budget.at_least).unwrap();
            let said: Vec<f64> = row[1]
                .split(|character: char| !character.is_ascii_digit() && !".,".contains(character))
                .filter_map(|word| word.replace(',', "").trim_end_matches('.').parse().ok())
                .collect();
            let units = [1.0, 0.01, 1024.0, 1_048_576.0];
            let matches = said.iter().any(|said| units.iter().any(|unit| (said * unit - bound).abs() < 1e-9));
            assert!(matches, "{:?} says {said:?}, budgets.json {bound}", budget.budget);
        }
        let first = rows.iter().position(|row| row[0] == "budget").unwrap() + 2;
        for row in rows[first..].iter().take_while(|row| row.len() >= 4) {
            assert!(budgets.iter().any(|budget| budget.budget == row[0]), "budgets.json lacks {:?}", row[0]);
        }
    }
}
