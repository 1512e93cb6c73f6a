//! Prints measurements and comparisons: for people, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use serde_json::Value;
use wardset_core::text::one_line;

use super::Measurement;
use super::baseline;
use super::comparison::Comparison;
use super::figures::Figures;
use crate::offline::text::count;

const RED: Style = AnsiColor::Red.on_default();
const BOLD: Style = Style::new().bold();

/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 512;

/// Maximum width of the column of names, in characters. Longer names push their figures to the right.
const MAX_WIDTH: usize = 64;

/// The last row.
const ALL: &str = "all cases";

/// Returns a measurement for people: a row for each case, all cases together, and the modules.
#[must_use]
pub fn text(measurement: &Measurement) -> String {
    let names = measurement.cases.iter().map(|case| name(&case.name));
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0).clamp(ALL.len(), MAX_WIDTH);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "  {BOLD}{:width$}  {:>17}  {:>17}  {:>17}  {:>7}{BOLD:#}",
        "", "evaluation, µs", "instantiate, µs", "guest's call, µs", "memory,"
    );
    let _ = writeln!(
        out,
        "  {BOLD}{:width$}  {:>8} {:>8}  {:>8} {:>8}  {:>8} {:>8}  {:>7}{BOLD:#}",
        "", "median", "p99", "median", "p99", "median", "p99", "KiB"
    );
    let mut file = None;
    for case in &measurement.cases {
        if file != Some(&case.file) {
            let _ = writeln!(out, "{}", path(&case.file));
            file = Some(&case.file);
        }
        row(&mut out, &name(&case.name), width, &case.figures);
    }
    row(&mut out, ALL, width, &measurement.all);
    let mut reasons = BTreeMap::new();
    for unmeasured in &measurement.unmeasured {
        *reasons.entry(&unmeasured.reason).or_insert(0) += 1;
    }
    for (reason, cases) in reasons {
        let _ = writeln!(out, "not measured: {}, because {reason}", count(cases, "case"));
    }
    let rounds = measurement.cases.first().map_or(0, |case| case.figures.samples);
    let cases = measurement.cases.len();
    let _ = writeln!(out, "{}, each evaluated {}", count(cases, "case"), count(rounds, "time"));
    for module in &measurement.modules {
        let _ = writeln!(
            out,
            "{}: {}, compiled in {:.0} ms to {}",
            name(&module.module),
            bytes(module.size_bytes),
            module.compile_ms,
            bytes(module.compiled_bytes)
        );
    }
    out
}

fn row(out: &mut String, name: &str, width: usize, figures: &Figures) {
    let Figures { evaluation_us, instantiate_us, call_us, memory_bytes, .. } = figures;
    let _ = write!(out, "  {name:width$}");
    for times in [evaluation_us, instantiate_us, call_us] {
        let _ = write!(out, "  {:>8.1} {:>8.1}", times.median, times.p99);
    }
    let _ = writeln!(out, "  {:>7}", memory_bytes.div_ceil(1024));
}

/// Returns a comparison for people: a line for each case, and the sum.
#[must_use]
pub fn changes(comparison: &Comparison, baseline: &Path) -> String {
    let mut out = format!("compared with `{}`, medians of the whole evaluation:\n", path(baseline));
    let names = comparison.cases.iter().map(|case| name(&case.name).chars().count());
    let width = names.max().unwrap_or(0).min(MAX_WIDTH);
    for case in &comparison.cases {
        let (before, after) = (case.before.evaluation_us.median, case.after.evaluation_us.median);
        let change = format!("{:+.1} %", case.change_percent);
        let _ = write!(out, "  {:width$}  {before:>8.1} → {after:>8.1} µs  {change:>9}", name(&case.name));
        if case.is_slower {
            let _ = write!(out, "  {RED}SLOWER{RED:#}");
        }
        let (before, after) = (case.before.memory_bytes, case.after.memory_bytes);
        if before != after {
            let _ = write!(out, "  memory {} → {} KiB", before.div_ceil(1024), after.div_ceil(1024));
        }
        out.push('\n');
    }
    for new in &comparison.new {
        let _ = writeln!(out, "  {}: not in the baseline", name(new));
    }
    for gone in &comparison.gone {
        let _ = writeln!(out, "  {}: only in the baseline", name(gone));
    }
    let _ = writeln!(
        out,
        "{} of {} slower by more than {} %",
        comparison.slower(),
        count(comparison.cases.len(), "case"),
        comparison.threshold_percent
    );
    out
}

/// Returns a measurement as JSON, with the comparison if there is one.
#[must_use]
pub fn json(measurement: &Measurement, comparison: Option<&Comparison>) -> String {
    let mut value = baseline::to_value(measurement);
    if let (Some(comparison), Value::Object(members)) = (comparison, &mut value) {
        // Texts and finite numbers, which JSON can hold.
        members.insert("comparison".to_owned(), serde_json::to_value(comparison).unwrap_or_default());
    }
    format!("{value:#}\n")
}

fn name(text: &str) -> String {
    one_line(text, MAX_NAME)
}

fn path(path: &Path) -> String {
    one_line(&path.display().to_string(), MAX_NAME)
}

/// Returns a number of bytes with commas between the thousands.
fn bytes(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped} bytes")
}

#[cfg(test)]
mod tests {
    use super::super::figures::Quantiles;
    use super::super::{MeasuredCase, MeasuredModule, UnmeasuredCase};
    use super::*;

    fn measurement(median: f64) -> Measurement {
        let times = |median| Quantiles { median, p99: 2.0 * median };
        let figures = Figures {
            samples: 40,
            evaluation_us: times(median),
            instantiate_us: times(3.0),
            call_us: times(5.0),
            memory_bytes: 1_114_112,
        };
        Measurement {
            version: 1,
            cases: vec![MeasuredCase { file: "cases/a.yaml".into(), name: "adds the team".into(), figures }],
            all: figures,
            modules: vec![MeasuredModule {
                module: "file:a.wasm".into(),
                digest: "sha256:00".into(),
                size_bytes: 86_591,
                compile_ms: 123.4,
                compiled_bytes: 1_234_567,
            }],
            unmeasured: vec![UnmeasuredCase {
                file: "cases/a.yaml".into(),
                name: "b".into(),
                reason: "no policy applies".into(),
            }],
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn the_text_has_a_row_for_each_case_and_one_for_all() {
        let shown = plain(&text(&measurement(9.5)));
        let row = "       9.5     19.0       3.0      6.0       5.0     10.0     1088\n";
        assert!(shown.contains(&format!("cases/a.yaml\n  adds the team{row}")), "{shown}");
        assert!(shown.contains(&format!("  all cases    {row}")), "{shown}");
        assert!(shown.contains("not measured: 1 case, because no policy applies\n"), "{shown}");
        assert!(shown.contains("1 case, each evaluated 40 times\n"), "{shown}");
        let module = "file:a.wasm: 86,591 bytes, compiled in 123 ms to 1,234,567 bytes\n";
        assert!(shown.ends_with(module), "{shown}");
    }

    #[test]
    fn names_reach_the_terminal_without_control_characters() {
        let mut measurement = measurement(1.0);
        measurement.cases[0].name = "a\u{1b}[2J".to_owned();
        measurement.modules[0].module = "file:\u{1b}[2J.wasm".to_owned();
        // Only the bold header has any.
        assert_eq!(text(&measurement).matches('\u{1b}').count(), 4);
    }

    #[test]
    fn changes_name_the_slower_cases() {
        let comparison = Comparison::new(&measurement(10.0), &measurement(15.0), 20.0);
        let shown = plain(&changes(&comparison, Path::new("base.json")));
        assert!(shown.contains("  adds the team      10.0 →     15.0 µs    +50.0 %  SLOWER\n"), "{shown}");
        assert!(shown.ends_with("1 of 1 case slower by more than 20 %\n"), "{shown}");
    }

    #[test]
    fn json_has_the_comparison_only_if_there_is_one() {
        let (before, after) = (measurement(10.0), measurement(5.0));
        let alone: Value = serde_json::from_str(&json(&after, None)).unwrap();
        assert_eq!(alone.get("comparison"), None);
        let comparison = Comparison::new(&before, &after, 20.0);
        let with: Value = serde_json::from_str(&json(&after, Some(&comparison))).unwrap();
        let case = &with["comparison"]["cases"][0];
        assert_eq!(
            (case["change_percent"].as_f64(), case["is_slower"].as_bool()),
            (Some(-50.0), Some(false))
        );
        assert_eq!(with["cases"][0]["memory_bytes"], 1_114_112);
    }

    #[test]
    fn thousands_have_commas() {
        for (number, shown) in
            [(0, "0 bytes"), (999, "999 bytes"), (1000, "1,000 bytes"), (86_591, "86,591 bytes")]
        {
            assert_eq!(bytes(number), shown);
        }
    }
}
