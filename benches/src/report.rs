//! Figures: repeated, their median, their spread.

use serde::Serialize;

/// The same figure, measured several times.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figure {
    /// In the order in which they were measured.
    pub runs: Vec<f64>,
}

impl Figure {
    /// Takes one more.
    pub fn push(&mut self, value: f64) {
        self.runs.push(value);
    }

    /// Returns the median; of two values, their mean. Not a number if there are no values.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        match n {
            0 => f64::NAN,
            _ if n % 2 == 1 => sorted[n / 2],
            _ => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    /// The largest distance of a run from the median, as a part of the median.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let median = self.median();
        self.runs.iter().map(|run| (run - median).abs() / median).fold(0.0, f64::max)
    }
}

impl FromIterator<f64> for Figure {
    fn from_iter<I: IntoIterator<Item = f64>>(runs: I) -> Self {
        Self { runs: runs.into_iter().collect() }
    }
}

/// A goal and its result.
#[derive(Debug, Clone, Serialize)]
pub struct Goal {
    /// The comparison.
    pub what: String,
    /// The result.
    pub reached: f64,
    /// The goal.
    pub goal: f64,
    /// The unit of both; empty for a ratio.
    pub unit: &'static str,
    /// Whether more is better.
    pub at_least: bool,
}

impl Goal {
    /// More is better.
    #[must_use]
    pub fn at_least(what: &str, reached: f64, goal: f64, unit: &'static str) -> Self {
        Self { what: what.to_owned(), reached, goal, unit, at_least: true }
    }

    /// Less is better.
    #[must_use]
    pub fn at_most(what: &str, reached: f64, goal: f64, unit: &'static str) -> Self {
        Self { what: what.to_owned(), reached, goal, unit, at_least: false }
    }

    /// Whether it is met.
    #[must_use]
    pub fn met(&self) -> bool {
        if self.at_least { self.reached >= self.goal } else { self.reached <= self.goal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle_and_the_spread_the_farthest_from_it() {
        let figure = Figure::from_iter([10.0, 14.0, 8.0]);
        assert_eq!((figure.median(), figure.spread()), (10.0, 0.4));
        assert_eq!(Figure::from_iter([1.0, 3.0]).median(), 2.0);
        assert!(Figure::default().median().is_nan());
    }

    #[test]
    fn a_goal_that_nothing_was_measured_for_is_not_met() {
        assert!(!Goal::at_least("", f64::NAN, 1.0, "").met());
        assert!(!Goal::at_most("", f64::NAN, 1.0, "").met());
    }
}
