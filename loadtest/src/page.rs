//! One self-contained HTML page of one or several reports: verdicts first, then each run with its headline figures,
//! curves and, folded away, everything else. It loads nothing from anywhere and needs no script.

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::budgets::{Budgets, Verdict};
use crate::chart::{Axes, Scale, draw, escape, label};
use crate::client::Failure;
use crate::report::Report;
use crate::series::Curve;

const STYLE: &str = include_str!("page.css");

/// `report`: a page of reports that were written before. Returns whether all of them are good.
pub(crate) fn run(
    files: &[OsString],
    html: &OsString,
    title: Option<&str>,
    budgets: Option<&OsString>,
) -> Result<bool, Failure> {
    let mut reports = files.iter().map(Report::load).collect::<Result<Vec<_>, _>>()?;
    if let Some(file) = budgets {
        let budgets = Budgets::load(file)?;
        for report in &mut reports {
            report.verdicts = budgets.judge(report);
        }
    }
    for verdict in reports.iter().flat_map(|report| &report.verdicts) {
        println!("{} {}", if verdict.met { "met   " } else { "MISSED" }, verdict.sentence());
    }
    write(html, title.unwrap_or("Happier Server under load"), &reports)?;
    Ok(reports.iter().all(Report::is_good))
}

pub(crate) fn write(file: &OsString, title: &str, reports: &[Report]) -> Result<(), Failure> {
    std::fs::write(file, page(title, reports)).map_err(|error| Failure::from(error).during("writing the page"))
}

fn page(title: &str, reports: &[Report]) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{0}</title>\
         <style>{STYLE}</style></head><body><main><h1>{0}</h1>",
        escape(title)
    );
    if let Some(first) = reports.iter().find(|report| !report.circumstances.is_empty()) {
        let facts: Vec<String> =
            first.circumstances.0.iter().map(|(name, value)| format!("{} {}", escape(name), escape(value))).collect();
        let _ = write!(html, "<p class=\"dim\">{}</p>", facts.join(" · "));
    }
    verdicts(&mut html, reports);
    if reports.len() > 1 {
        html.push_str("<nav>");
        for (number, report) in reports.iter().enumerate() {
            let _ = write!(html, "<a href=\"#run{number}\">{}</a>", escape(&report.title));
        }
        html.push_str("</nav>");
    }
    for (number, report) in reports.iter().enumerate() {
        section(&mut html, number, report);
    }
    html.push_str("</main></body></html>\n");
    html
}

fn verdicts(html: &mut String, reports: &[Report]) {
    let verdicts: Vec<&Verdict> = reports.iter().flat_map(|report| &report.verdicts).collect();
    let failed = reports.iter().filter(|report| !report.failures.is_empty()).count();
    let missed = verdicts.iter().filter(|verdict| !verdict.met).count();
    let runs = if failed == 0 {
        "<span class=\"good\">nothing lost, refused or out of order</span>".to_owned()
    } else {
        format!("<span class=\"bad\">failures in {failed} of {} runs</span>", reports.len())
    };
    let budgets = match (verdicts.len(), missed) {
        (0, _) => "no budget applies to this run".to_owned(),
        (all, 0) => format!("<span class=\"good\">{all} of {all} budgets met</span>"),
        (all, missed) => format!("<span class=\"bad\">{missed} of {all} budgets missed</span>"),
    };
    let _ = write!(html, "<p>{runs} · {budgets}</p>");
    if verdicts.is_empty() {
        return;
    }
    html.push_str(
        "<div class=\"scroll\"><table><tr><th>budget</th><th>figure</th><th class=\"n\">measured</th>\
         <th class=\"n\">bound</th><th>verdict</th></tr>",
    );
    for verdict in verdicts {
        let (class, word) = if verdict.met { ("good", "met") } else { ("bad", "missed") };
        let bound = bound(&verdict.bound);
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{bound}</td>\
             <td class=\"{class}\">{word}</td></tr>",
            escape(&verdict.budget),
            escape(&name(&verdict.figure)),
            label(verdict.measured),
        );
    }
    html.push_str("</table></div>");
}

/// "at most 31457280" with its number made legible.
fn bound(text: &str) -> String {
    let (words, value) = text.rsplit_once(' ').unwrap_or(("", text));
    value.parse::<f64>().map_or_else(|_| escape(text), |value| format!("{} {}", escape(words), label(value)))
}

fn section(html: &mut String, number: usize, report: &Report) {
    let _ = write!(html, "<h2 id=\"run{number}\">{}</h2>", escape(&report.title));
    let settings: Vec<String> =
        report.settings.0.iter().map(|(name, value)| format!("{} {}", escape(name), escape(&grouped(value)))).collect();
    let _ = write!(html, "<p class=\"dim\">{}</p>", settings.join(" · "));
    for (failure, times) in &report.failures.0 {
        let _ = write!(html, "<p class=\"note bad\">{times} × {}</p>", escape(failure));
    }
    for warning in &report.warnings {
        let _ = write!(html, "<p class=\"note warn\">{}</p>", escape(warning));
    }
    tiles(html, report);
    charts(html, report);
    html.push_str("<details><summary>All figures</summary><div class=\"scroll\"><table>");
    for (figure, value) in &report.figures.0 {
        let _ = write!(html, "<tr><td>{}</td><td class=\"n\">{}</td></tr>", escape(&name(figure)), label(*value));
    }
    html.push_str("</table></div></details>");
}

/// The figures one looks for first.
fn tiles(html: &mut String, report: &Report) {
    const TILES: &[(&str, &str, &str)] = &[
        ("operation_per_second", "operations", "/s"),
        ("delivery_per_second", "deliveries", "/s"),
        ("operation_latency_p50_us", "operation, median", "µs"),
        ("operation_latency_p99_us", "operation, 99 %", "µs"),
        ("delivery_latency_p99_us", "delivery, 99 %", "µs"),
        ("server_cpu_us_per_operation", "server CPU per operation", "µs"),
        ("server_cpu_us_per_delivery", "server CPU per delivery", "µs"),
        ("after_anonymous_bytes_per_connection", "memory per connection", "bytes"),
        ("connections_open_at_the_end", "connections at the end", ""),
        ("redis_output_bytes_per_delivery", "Redis sends per delivery", "bytes"),
        ("server_cpu_percent", "server CPU", "%"),
    ];
    html.push_str("<div class=\"tiles\">");
    for (figure, name, unit) in TILES {
        let Some(value) = report.figures.get(figure) else { continue };
        // In a mix of operations their sum says nothing about one of them.
        if figure.starts_with("server_cpu_us") && report.percentiles.0.len() > 3 {
            continue;
        }
        let (value, unit) = if *unit == "µs" && *value >= 10_000.0 { (value / 1e3, "ms") } else { (*value, *unit) };
        let _ =
            write!(html, "<div class=\"tile\"><b>{}<small>{unit}</small></b><span>{name}</span></div>", label(value));
    }
    html.push_str("</div>");
}

fn charts(html: &mut String, report: &Report) {
    let percentiles: Vec<Curve> = report
        .percentiles
        .0
        .iter()
        .map(|(name, points)| Curve { name: name.clone(), points: points.clone() })
        .collect();
    let series = &report.series;
    html.push_str("<div class=\"charts\">");
    for (title, y, x_scale, y_scale, curves) in [
        ("Latency by percentile", "µs", Scale::Nines, Scale::Logarithmic, &percentiles),
        ("Throughput", "per second", Scale::Linear, Scale::Linear, &series.throughput),
        ("Latency over time", "µs", Scale::Linear, Scale::Logarithmic, &series.latency),
        ("CPU", "percent of one processor", Scale::Linear, Scale::Linear, &series.cpu),
        ("Memory of the server", "MiB", Scale::Linear, Scale::Linear, &series.memory),
        ("Open descriptors of the server", "descriptors", Scale::Linear, Scale::Linear, &series.descriptors),
    ] {
        if curves.iter().all(|curve| curve.points.len() < 2) {
            continue;
        }
        let x = if x_scale == Scale::Nines { "percentile" } else { "seconds since the window opened" };
        html.push_str(&draw(title, &Axes { x, y, x_scale, y_scale }, curves));
    }
    html.push_str("</div>");
}

/// A whole number with its thousands separated; other texts as they are.
fn grouped(text: &str) -> String {
    text.parse::<f64>().map_or_else(|_| text.to_owned(), label)
}

/// A figure's name for people: `operation_latency_p99_us` becomes `operation latency p99, µs`.
fn name(figure: &str) -> String {
    for (suffix, unit) in [("_us", "µs"), ("_ms", "ms"), ("_bytes", "bytes"), ("_percent", "%"), ("_seconds", "s")] {
        if let Some(stem) = figure.strip_suffix(suffix) {
            return format!("{}, {unit}", stem.replace('_', " "));
        }
    }
    figure.replace("cpu_us_per", "CPU µs per").replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::{name, page};
    use crate::budgets::Verdict;
    use crate::ordered::Ordered;
    use crate::report::Report;
    use crate::series::{Curve, Series};

    #[test]
    fn a_page_stands_alone() {
        let report = Report {
            title: "mixed <1>".to_owned(),
            figures: Ordered(vec![("operation_per_second".to_owned(), 1_234.5)]),
            failures: Ordered(vec![("deliveries missing".to_owned(), 3)]),
            warnings: vec!["The generator was the limit".to_owned()],
            verdicts: vec![Verdict {
                budget: "memory".to_owned(),
                figure: "idle_bytes".to_owned(),
                measured: 40e6,
                bound: "at most 31457280".to_owned(),
                met: false,
            }],
            series: Series {
                throughput: vec![Curve { name: "operations".to_owned(), points: vec![(1.0, 10.0), (2.0, 12.0)] }],
                ..Series::default()
            },
            ..Report::default()
        };
        let html = page("Load", &[report]);
        for part in ["mixed &lt;1&gt;", "deliveries missing", "generator was the limit", "31,457,280", "missed", "<svg"]
        {
            assert!(html.contains(part), "{part}");
        }
        for reference in ["src=", "href=\"http", "url(", "@import", "<script"] {
            assert!(!html.contains(reference), "{reference}");
        }
    }

    #[test]
    fn names_for_people() {
        assert_eq!(name("operation_latency_p99_us"), "operation latency p99, µs");
        assert_eq!(name("server_cpu_us_per_delivery"), "server CPU µs per delivery");
    }
}
