//! The result: memory and times as tables, the goals, and the same as JSON.

use std::fmt;

use comfy_table::{Cell, CellAlignment, Table as Lines, presets};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::measure::{Kind, Measured, Moment, Plan};
use crate::report::Goal;

/// Goal: memory that all nodes may add, in MiB.
const MEMORY_GOAL: f64 = 20.0;

/// Goal: time that the warning may add to a review, in milliseconds.
const TIME_GOAL: f64 = 5.0;

/// The measured values, ready to print.
pub struct Table {
    /// The values.
    pub measured: Measured,
    /// Their extent.
    pub plan: Plan,
}

impl Table {
    /// Returns the goals with their results.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for (what, from, to) in [
            ("after the first list", Moment::EmptyStarted, Moment::Listed),
            ("after the reviews", Moment::EmptyUsed, Moment::ListedUsed),
        ] {
            let added = self.resident(to) - self.resident(from);
            goals.push(Goal::at_most(
                &format!("memory that the nodes add, {what}"),
                added,
                MEMORY_GOAL,
                "MiB",
            ));
            let added = self.peak(to) - self.peak(from);
            goals.push(Goal::at_most(
                &format!("peak memory that the nodes add, {what}"),
                added,
                MEMORY_GOAL,
                "MiB",
            ));
        }
        for kind in Kind::ALL {
            for (name, quantile) in QUANTILES {
                let added = self.time(kind, true, quantile) - self.time(kind, false, quantile);
                let what = format!("time that the warning adds, {}, {name}", kind.label());
                goals.push(Goal::at_most(&what, added, TIME_GOAL, "ms"));
            }
        }
        goals
    }

    /// Returns the report for programs.
    #[must_use]
    pub fn json(&self, quick: bool) -> Value {
        let times = self.measured.times.iter().map(|((kind, warns), times)| {
            json!({
                "review": kind,
                "warnings": warns,
                "answers": times.len(),
                "p50Ms": milliseconds(times, 0.5),
                "p99Ms": milliseconds(times, 0.99),
                "maxMs": milliseconds(times, 1.0),
            })
        });
        let memory = self.measured.memory.iter().map(
            |(moment, memory)| json!({ "moment": moment, "residentMiB": memory.resident, "peakMiB": memory.peak }),
        );
        json!({
            "quick": quick,
            "nodes": self.plan.nodes,
            "listBytes": self.measured.list_bytes,
            "knownMs": self.measured.known_ms,
            "memory": memory.collect::<Vec<_>>(),
            "times": times.collect::<Vec<_>>(),
            "goals": self.goals(),
        })
    }

    fn resident(&self, moment: Moment) -> f64 {
        self.measured.memory.get(&moment).map_or(f64::NAN, |memory| memory.resident.median())
    }

    fn peak(&self, moment: Moment) -> f64 {
        self.measured.memory.get(&moment).map_or(f64::NAN, |memory| memory.peak.median())
    }

    fn time(&self, kind: Kind, warns: bool, quantile: f64) -> f64 {
        self.measured.times.get(&(kind, warns)).map_or(f64::NAN, |times| milliseconds(times, quantile))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, measured) = (&self.plan, &self.measured);
        #[expect(clippy::cast_precision_loss, reason = "far less than 2^52 bytes")]
        let kib = measured.list_bytes as f64 / plan.nodes as f64 / 1024.0;
        writeln!(f, "{} nodes, {kib:.1} KiB of JSON each.\n", plan.nodes)?;
        let mut table = headed(["server", "starts", "MiB", "peak MiB"]);
        for (moment, memory) in &measured.memory {
            table.add_row([
                Cell::new(moment.label()),
                right(memory.resident.runs.len().to_string()),
                right(format!("{:.1}", memory.resident.median())),
                right(format!("{:.1}", memory.peak.median())),
            ]);
        }
        writeln!(f, "{table}\n")?;
        let mut table = headed(["review", "warning", "answers", "p50 ms", "p99 ms", "longest ms"]);
        for ((kind, warns), times) in &measured.times {
            table.add_row([
                Cell::new(kind.label()),
                Cell::new(if *warns { "yes" } else { "no" }),
                right(times.len().to_string()),
                right(format!("{:.2}", milliseconds(times, 0.5))),
                right(format!("{:.2}", milliseconds(times, 0.99))),
                right(format!("{:.2}", milliseconds(times, 1.0))),
            ]);
        }
        writeln!(f, "{table}\n")?;
        for (kind, warning) in &measured.warnings {
            writeln!(f, "{}: {warning}", kind.label())?;
        }
        writeln!(
            f,
            "\nFrom the start of a server until it warns about all nodes: {:.0} ms.\n",
            measured.known_ms.median()
        )?;
        for goal in self.goals() {
            let met = if goal.met() { "met" } else { "SHORT" };
            writeln!(
                f,
                "{}: {:.2} {} (goal: at most {} {}, {met})",
                goal.what, goal.reached, goal.unit, goal.goal, goal.unit
            )?;
        }
        Ok(())
    }
}

/// The quantiles with goals.
const QUANTILES: [(&str, f64); 2] = [("median", 0.5), ("p99", 0.99)];

fn headed<const N: usize>(header: [&str; N]) -> Lines {
    let mut table = Lines::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn milliseconds(times: &Histogram<u64>, quantile: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most a minute in nanoseconds")]
    let nanoseconds = times.value_at_quantile(quantile) as f64;
    nanoseconds / 1e6
}
