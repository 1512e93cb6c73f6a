//! Samples of evaluations, and the figures made of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wardset_runtime::MeasuredEvaluation;

/// The median and the 99th percentile of times, in microseconds. Both are times that were measured (nearest rank), so
/// with fewer than 100 samples the latter is the longest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantiles {
    /// The median.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// The figures of a case, or of all cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Number of evaluations.
    pub samples: usize,
    /// The whole evaluation, with the end of the sandbox.
    pub evaluation_us: Quantiles,
    /// Time until the guest is ready.
    pub instantiate_us: Quantiles,
    /// The guest's call.
    pub call_us: Quantiles,
    /// The most linear memory of one guest.
    pub memory_bytes: u64,
}

/// The samples of a case, in nanoseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    evaluation: Vec<u64>,
    instantiate: Vec<u64>,
    call: Vec<u64>,
    memory_bytes: u64,
}

impl Samples {
    /// Adds the evaluations of one review: the sum of their times, and the most memory.
    pub(super) fn push(&mut self, evaluations: &[MeasuredEvaluation]) {
        let sum = |time: fn(&MeasuredEvaluation) -> Duration| nanos(evaluations.iter().map(time).sum());
        self.evaluation.push(sum(|measured| measured.total));
        self.instantiate.push(sum(|measured| measured.instantiate));
        self.call.push(sum(|measured| measured.call));
        let most = evaluations.iter().map(|measured| measured.memory_bytes).max().unwrap_or(0);
        self.memory_bytes = self.memory_bytes.max(most);
    }

    /// Adds the samples of another case.
    pub(super) fn extend(&mut self, other: Self) {
        self.evaluation.extend(other.evaluation);
        self.instantiate.extend(other.instantiate);
        self.call.extend(other.call);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            samples: self.evaluation.len(),
            evaluation_us: quantiles(&self.evaluation),
            instantiate_us: quantiles(&self.instantiate),
            call_us: quantiles(&self.call),
            memory_bytes: self.memory_bytes,
        }
    }
}

/// Returns a number with two decimals.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn quantiles(nanos: &[u64]) -> Quantiles {
    let mut sorted = nanos.to_vec();
    sorted.sort_unstable();
    let micros = |percent| rounded(nearest_rank(&sorted, percent) as f64 / 1e3);
    Quantiles { median: micros(50), p99: micros(99) }
}

/// Returns the smallest sample that is at least as large as `percent` of all. `sorted` must be in order.
fn nearest_rank(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_sample_of_the_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        for (samples, percent, expected) in [
            (&[7][..], 50, 7),
            (&[7], 99, 7),
            (&[1, 2], 50, 1),
            (&[1, 2, 3], 50, 2),
            (&[1, 2, 3, 4], 99, 4),
            (&hundred, 50, 50),
            (&hundred, 99, 99),
            (&[], 50, 0),
        ] {
            assert_eq!(nearest_rank(samples, percent), expected, "{percent} % of {samples:?}");
        }
        let more: Vec<u64> = (1..=1000).collect();
        assert_eq!((nearest_rank(&more, 50), nearest_rank(&more, 99)), (500, 990));
    }

    #[test]
    fn samples_need_not_be_in_order_and_become_microseconds() {
        assert_eq!(quantiles(&[3_000, 1_000, 2_346]), Quantiles { median: 2.35, p99: 3.0 });
    }

    fn evaluation(micros: [u64; 3], memory_bytes: u64) -> MeasuredEvaluation {
        let [total, instantiate, call] = micros.map(Duration::from_micros);
        MeasuredEvaluation { policy: "p".into(), total, instantiate, call, memory_bytes }
    }

    #[test]
    fn times_of_a_chain_add_up_and_the_largest_memory_counts() {
        let mut samples = Samples::default();
        samples.push(&[evaluation([10, 4, 5], 300), evaluation([20, 8, 11], 200)]);
        let figures = samples.figures();
        let same = |micros| Quantiles { median: micros, p99: micros };
        assert_eq!(figures.samples, 1);
        assert_eq!(
            [figures.evaluation_us, figures.instantiate_us, figures.call_us],
            [same(30.0), same(12.0), same(16.0)]
        );
        assert_eq!(figures.memory_bytes, 300);
    }

    #[test]
    fn all_cases_together_have_the_samples_of_each() {
        let (mut all, mut other) = (Samples::default(), Samples::default());
        all.push(&[evaluation([1, 1, 1], 5)]);
        other.push(&[evaluation([9, 1, 1], 7)]);
        all.extend(other);
        let figures = all.figures();
        assert_eq!((figures.samples, figures.memory_bytes), (2, 7));
        assert_eq!(figures.evaluation_us, Quantiles { median: 1.0, p99: 9.0 });
    }
}
