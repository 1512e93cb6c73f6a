//! The budget of an evaluation: steps, and bytes of new values.

use super::fault::Fault;

/// The limits of an evaluation.
///
/// A step is the evaluation of one node of the expression, or about as much work in a function, such as the comparison
/// of an element or a read of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepBudget {
    /// Maximum number of steps.
    pub steps: u64,
    /// Maximum size of the strings, lists and maps that the expression builds, in bytes.
    pub bytes: u64,
}

/// Bytes that a function reads in one step.
const BYTES_PER_STEP: usize = 32;

/// Bytes that one element of a list takes.
pub(super) const ELEMENT: usize = 24;

impl StepBudget {
    /// The budget of one expression. The API server has the same number for one expression (`PerCallLimit`), but it
    /// counts other units.
    pub const EXPRESSION: Self = Self { steps: 1_000_000, bytes: 8 << 20 };
}

/// Counts the steps and bytes of an evaluation.
#[derive(Debug)]
pub struct Meter {
    budget: StepBudget,
    steps: u64,
    bytes: u64,
}

impl Meter {
    /// Creates a meter whose budget is unused.
    #[must_use]
    pub fn new(budget: StepBudget) -> Self {
        Self { budget, steps: 0, bytes: 0 }
    }

    /// Returns the steps taken so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Counts steps.
    pub(super) fn step(&mut self, steps: usize) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(steps as u64);
        if self.steps > self.budget.steps {
            return Err(Fault::Steps(self.budget.steps));
        }
        Ok(())
    }

    /// Counts the bytes that a function reads.
    pub(super) fn read(&mut self, bytes: usize) -> Result<(), Fault> {
        self.step(bytes / BYTES_PER_STEP)
    }

    /// Counts the bytes of a new value, before it is built.
    pub(super) fn build(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > self.budget.bytes {
            return Err(Fault::Bytes(self.budget.bytes));
        }
        self.read(bytes)
    }

    /// Counts the elements of a new list or map.
    pub(super) fn elements(&mut self, elements: usize) -> Result<(), Fault> {
        self.build(elements.saturating_mul(ELEMENT))
    }
}
