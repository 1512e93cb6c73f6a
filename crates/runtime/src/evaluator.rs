//! The evaluator: decides reviews on the engine's threads, a limited number at the same time.

use std::sync::Arc;
use std::time::Instant;

use wardset_core::decision::Decision;
use wardset_core::plan::Phase;
use wardset_core::review::{Context, Review};

use crate::engine::Engine;
use crate::in_flight::{InFlight, InFlightPermit};
use crate::snapshot::{Finding, MeasuredEvaluation, Snapshot};

/// Decides reviews. Each needs a permit of [`InFlight`].
pub struct Evaluator {
    engine: Arc<Engine>,
    in_flight: InFlight,
}

impl Evaluator {
    /// Creates an evaluator for at most `limit` reviews in flight.
    #[must_use]
    pub fn new(engine: Arc<Engine>, limit: usize) -> Self {
        Self { engine, in_flight: InFlight::new(limit) }
    }

    /// Returns the limit of reviews in flight.
    #[must_use]
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Decides a review with the policies of `snapshot`. If a policy has not finished by `deadline`, it fails with the
    /// class `late`. If the caller drops the future, the review ends within a few milliseconds.
    pub async fn decide(
        &self,
        permit: InFlightPermit,
        snapshot: Arc<Snapshot>,
        review: Arc<Review>,
        context: Context,
        phase: Phase,
        deadline: Instant,
    ) -> Decision {
        let decide = async move {
            let _permit = permit;
            snapshot.decide(&review, &context, phase, deadline).await
        };
        self.engine.threads.run(decide).await
    }

    /// Decides as [`Evaluator::decide`] does, and evaluates each policy a second time to compare the verdicts.
    pub async fn decide_twice(
        &self,
        permit: InFlightPermit,
        snapshot: Arc<Snapshot>,
        review: Arc<Review>,
        context: Context,
        phase: Phase,
        deadline: Instant,
    ) -> (Decision, Vec<Finding>) {
        let decide = async move {
            let _permit = permit;
            snapshot.decide_twice(&review, &context, phase, deadline).await
        };
        self.engine.threads.run(decide).await
    }

    /// Decides as [`Evaluator::decide`] does, and measures each evaluation.
    pub async fn decide_measured(
        &self,
        permit: InFlightPermit,
        snapshot: Arc<Snapshot>,
        review: Arc<Review>,
        context: Context,
        phase: Phase,
        deadline: Instant,
    ) -> (Decision, Vec<MeasuredEvaluation>) {
        let decide = async move {
            let _permit = permit;
            snapshot.decide_measured(&review, &context, phase, deadline).await
        };
        self.engine.threads.run(decide).await
    }
}
