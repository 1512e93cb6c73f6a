//! The result: every cell as a line, the ratio of the two ways for five rules, and the same as JSON.

use std::fmt;

use comfy_table::{Cell, CellAlignment, presets};
use serde::Serialize;
use serde_json::{Value, json};

use super::rounds::{CLIENTS, Key, Measured, Row, SIZES};
use super::stage::Orders;
use super::variant::Variant;
use crate::report::{Figure, Goal};
use crate::reviews::Size;

/// The clients of the ratio that the goal is about.
const HEADLINE_CLIENTS: usize = 8;

/// The measured values, ready to print.
pub struct Table {
    /// The values.
    pub measured: Measured,
    /// The order of lists after several MutatingAdmissionPolicies.
    pub orders: Orders,
}

/// Wardset's figures divided by those of MutatingAdmissionPolicies with the same rules.
#[derive(Debug, Serialize)]
struct Ratio {
    size: Size,
    clients: usize,
    rules: usize,
    /// CPU time of a write.
    cpu: f64,
    /// The part of it that a write without admission does not take.
    added_cpu: f64,
    p50: f64,
    p99: f64,
}

impl Table {
    fn row(&self, size: Size, clients: usize, variant: Variant) -> Option<&Row> {
        self.measured.rows.get(&Key { size, clients, variant })
    }

    /// CPU time that a variant adds to a write without admission: the median of the rounds, since both ran in each.
    fn added_us(&self, key: &Key) -> f64 {
        let of = |variant| self.row(key.size, key.clients, variant).map(|row| &row.cpu_us.runs);
        let (Some(all), Some(plain)) = (of(key.variant), of(Variant::Nothing)) else { return f64::NAN };
        all.iter().zip(plain).map(|(all, plain)| all - plain).collect::<Figure>().median()
    }

    fn ratio(&self, size: Size, clients: usize, rules: usize) -> Option<Ratio> {
        let (ours, theirs) = (Variant::Wardset(rules), Variant::Policies(rules));
        let [our, their] = [self.row(size, clients, ours)?, self.row(size, clients, theirs)?];
        let rounds = our.cpu_us.runs.iter().zip(&their.cpu_us.runs);
        let added = |variant| self.added_us(&Key { size, clients, variant });
        let quantile = |at| milliseconds(our, at) / milliseconds(their, at);
        Some(Ratio {
            size,
            clients,
            rules,
            cpu: rounds.map(|(our, their)| our / their).collect::<Figure>().median(),
            added_cpu: added(ours) / added(theirs),
            p50: quantile(0.5),
            p99: quantile(0.99),
        })
    }

    fn ratios(&self) -> impl Iterator<Item = Ratio> {
        let cells = SIZES.into_iter().flat_map(|size| CLIENTS.map(|clients| (size, clients)));
        cells.flat_map(move |(size, clients)| {
            [1, 5, 10].into_iter().filter_map(move |n| self.ratio(size, clients, n))
        })
    }

    /// The goal: five rules take less CPU time in Wardset than in MutatingAdmissionPolicies.
    #[must_use]
    pub fn goal(&self) -> Goal {
        let reached = self.ratio(Size::Usual, HEADLINE_CLIENTS, 5).map_or(f64::NAN, |ratio| ratio.cpu);
        Goal::at_most(
            "CPU of API server plus webhook, 5 rules, Wardset / MutatingAdmissionPolicies",
            reached,
            1.0,
            "",
        )
    }

    /// The report for programs.
    #[must_use]
    pub fn json(&self, quick: bool) -> Value {
        let rows = self.measured.rows.iter().map(|(key, row)| {
            json!({
                "size": key.size,
                "clients": key.clients,
                "admission": key.variant,
                "answers": row.times.len(),
                "perSecond": row.per_second,
                "p50Ms": milliseconds(row, 0.5),
                "p99Ms": milliseconds(row, 0.99),
                "cpuUs": row.cpu_us,
                "webhookUs": row.webhook_us,
                "addedUs": self.added_us(key),
            })
        });
        json!({
            "quick": quick,
            "rows": rows.collect::<Vec<_>>(),
            "wardsetToPolicies": self.ratios().collect::<Vec<_>>(),
            "apiServerIdleMs": self.measured.idle_ms,
            "orders": self.orders,
            "goal": self.goal(),
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = headed([
            "DaemonSet",
            "clients",
            "admission",
            "writes/s",
            "p50 ms",
            "p99 ms",
            "CPU µs",
            "±",
            "webhook µs",
            "added µs",
        ]);
        for (key, row) in &self.measured.rows {
            let cpu = &row.cpu_us;
            table.add_row(vec![
                Cell::new(key.size.label()),
                number(key.clients as f64, 0),
                Cell::new(key.variant.label()),
                number(row.per_second.median(), 0),
                number(milliseconds(row, 0.5), 2),
                number(milliseconds(row, 0.99), 2),
                number(cpu.median(), 0),
                Cell::new(format!("{:.0} %", 100.0 * cpu.spread())).set_alignment(CellAlignment::Right),
                number(row.webhook_us.median(), 0),
                number(self.added_us(key), 0),
            ]);
        }
        writeln!(f, "Dry-run creates; CPU time of API server plus webhook for each write:\n{table}\n")?;
        let mut table = headed(["DaemonSet", "clients", "rules", "CPU", "added CPU", "p50", "p99"]);
        for ratio in self.ratios() {
            table.add_row(vec![
                Cell::new(ratio.size.label()),
                number(ratio.clients as f64, 0),
                number(ratio.rules as f64, 0),
                number(ratio.cpu, 2),
                number(ratio.added_cpu, 2),
                number(ratio.p50, 2),
                number(ratio.p99, 2),
            ]);
        }
        writeln!(f, "Wardset / MutatingAdmissionPolicies with the same rules:\n{table}\n")?;
        let idle = self.measured.idle_ms.median();
        writeln!(
            f,
            "An idle API server takes {idle:.0} ms of CPU time a second. The figures above include it."
        )?;
        let Orders { activations, differ } = self.orders;
        writeln!(
            f,
            "In {differ} of {activations} activations of 5 or 10 MutatingAdmissionPolicies, the stored tolerations or \
             requirements were in another order than the rules."
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
fn milliseconds(row: &Row, quantile: f64) -> f64 {
    row.times.value_at_quantile(quantile) as f64 / 1e6
}

fn headed<const N: usize>(header: [&str; N]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    table
}

fn number(value: f64, digits: usize) -> Cell {
    Cell::new(format!("{value:.digits$}")).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::load::histogram;

    fn row(cpu_us: [f64; 3]) -> Row {
        let mut times = histogram().unwrap();
        times.record(1_000_000).unwrap();
        let one = || Figure::from_iter([1.0; 3]);
        Row { per_second: one(), cpu_us: Figure::from_iter(cpu_us), webhook_us: one(), times }
    }

    #[test]
    fn ratios_compare_the_values_of_the_same_round() {
        let key = |variant| Key { size: Size::Usual, clients: HEADLINE_CLIENTS, variant };
        // The machine is twice as slow in the second round.
        let rows = BTreeMap::from([
            (key(Variant::Nothing), row([100.0, 200.0, 100.0])),
            (key(Variant::Policies(5)), row([400.0, 800.0, 400.0])),
            (key(Variant::Wardset(5)), row([200.0, 400.0, 200.0])),
        ]);
        let measured = Measured { rows, idle_ms: Figure::default() };
        let table = Table { measured, orders: Orders::default() };
        let ratio = table.ratio(Size::Usual, HEADLINE_CLIENTS, 5).unwrap();
        assert_eq!(ratio.cpu, 0.5);
        assert_eq!(ratio.added_cpu, 1.0 / 3.0);
        assert!(table.goal().met());
        assert!(table.ratio(Size::Usual, HEADLINE_CLIENTS, 10).is_none());
    }
}
