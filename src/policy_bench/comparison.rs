//! Compares a measurement with a baseline, case by case.

use std::path::PathBuf;

use serde::Serialize;

use super::figures::{Figures, rounded};
use super::{MeasuredCase, Measurement};

/// The changes since a baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Maximum slowdown of a median, in per cent.
    pub threshold_percent: f64,
    /// The cases that both have.
    pub cases: Vec<ComparedCase>,
    /// The names of cases that the baseline does not have.
    pub new: Vec<String>,
    /// The names of cases that only the baseline has.
    pub gone: Vec<String>,
}

/// The change of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedCase {
    /// The case file.
    pub file: PathBuf,
    /// The name of the case.
    pub name: String,
    /// The figures of the baseline.
    pub before: Figures,
    /// The figures of this measurement.
    pub after: Figures,
    /// Change of the median of the whole evaluation. Negative is faster.
    pub change_percent: f64,
    /// Whether the median is slower than the threshold allows.
    pub is_slower: bool,
}

impl Comparison {
    /// Compares two measurements. Cases are the same if file and name are.
    #[must_use]
    pub fn new(before: &Measurement, after: &Measurement, threshold_percent: f64) -> Self {
        let compared = after.cases.iter().filter_map(|after| {
            let before = find(before, after)?.figures;
            let (old, new) = (before.evaluation_us.median, after.figures.evaluation_us.median);
            let change = (new - old) / old * 100.0;
            Some(ComparedCase {
                file: after.file.clone(),
                name: after.name.clone(),
                before,
                after: after.figures,
                change_percent: rounded(change),
                is_slower: change > threshold_percent,
            })
        });
        let without = |these: &Measurement, others: &Measurement| {
            let alone = these.cases.iter().filter(|case| find(others, case).is_none());
            alone.map(|case| case.name.clone()).collect()
        };
        Self {
            threshold_percent,
            cases: compared.collect(),
            new: without(after, before),
            gone: without(before, after),
        }
    }

    /// Returns the number of cases that are slower than the threshold allows.
    #[must_use]
    pub fn slower(&self) -> usize {
        self.cases.iter().filter(|case| case.is_slower).count()
    }
}

fn find<'m>(among: &'m Measurement, case: &MeasuredCase) -> Option<&'m MeasuredCase> {
    among.cases.iter().find(|other| other.file == case.file && other.name == case.name)
}

#[cfg(test)]
mod tests {
    use super::super::figures::Quantiles;
    use super::*;

    fn measurement(medians: &[(&str, f64)]) -> Measurement {
        let figures = |median: f64| {
            let times = Quantiles { median, p99: median * 2.0 };
            Figures {
                samples: 10,
                evaluation_us: times,
                instantiate_us: times,
                call_us: times,
                memory_bytes: 1,
            }
        };
        let case = |(name, median): &(&str, f64)| MeasuredCase {
            file: "cases/a.yaml".into(),
            name: (*name).to_owned(),
            figures: figures(*median),
        };
        let cases = medians.iter().map(case).collect();
        Measurement { version: 1, cases, all: figures(1.0), modules: Vec::new(), unmeasured: Vec::new() }
    }

    #[test]
    fn a_median_is_slower_only_above_the_threshold() {
        let before = measurement(&[("same", 10.0), ("at", 10.0), ("above", 10.0), ("faster", 10.0)]);
        let after = measurement(&[("same", 10.0), ("at", 12.0), ("above", 12.1), ("faster", 5.0)]);
        let comparison = Comparison::new(&before, &after, 20.0);
        let found: Vec<_> =
            comparison.cases.iter().map(|case| (&*case.name, case.change_percent, case.is_slower)).collect();
        assert_eq!(
            found,
            [("same", 0.0, false), ("at", 20.0, false), ("above", 21.0, true), ("faster", -50.0, false)]
        );
        assert_eq!(comparison.slower(), 1);
        assert_eq!(Comparison::new(&before, &after, 25.0).slower(), 0);
    }

    #[test]
    fn cases_of_one_side_only_are_listed_and_not_compared() {
        let before = measurement(&[("both", 1.0), ("old", 1.0)]);
        let mut after = measurement(&[("both", 1.0), ("new", 100.0)]);
        let comparison = Comparison::new(&before, &after, 20.0);
        assert_eq!((comparison.new, comparison.gone), (vec!["new".to_owned()], vec!["old".to_owned()]));
        assert_eq!(comparison.cases.len(), 1);
        after.cases[0].file = "cases/b.yaml".into();
        assert_eq!(Comparison::new(&before, &after, 20.0).cases, []);
    }
}
