//! Evaluations with the time of each phase and the guest's memory, for benchmarks. The server never measures phases.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wardset_core::chain::{Chain, Turn};
use wardset_core::decision::Decision;
use wardset_core::plan::Phase;
use wardset_core::review::{Context, Review};
use wardset_core::verdict::{Failure, Verdict};

use super::{Snapshot, prepare};
use crate::engine::Engine;
use crate::module::Module;
use crate::sandbox::Sandbox;

/// The times and the memory of one evaluation. A phase that did not run is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredEvaluation {
    /// The policy.
    pub policy: Arc<str>,
    /// The whole evaluation: a fresh sandbox, the guest's call, and the end of the sandbox.
    pub total: Duration,
    /// Time until the guest is ready for its call, with its start functions.
    pub instantiate: Duration,
    /// Time of the guest's call, with all that the guest asks the host for.
    pub call: Duration,
    /// Linear memory of the guest at the end, in bytes. Memories never shrink, so this is also the most.
    pub memory_bytes: u64,
}

impl Snapshot {
    /// Decides as [`Snapshot::decide`] does, and measures each evaluation. The guests' log lines are dropped.
    pub async fn decide_measured(
        &self,
        review: &Review,
        context: &Context,
        phase: Phase,
        deadline: Instant,
    ) -> (Decision, Vec<MeasuredEvaluation>) {
        let mut chain = Chain::new(review, context, &self.plans, phase);
        let mut evaluations = Vec::new();
        while let Some(turn) = chain.turn() {
            let mut measured = MeasuredEvaluation::of(&turn);
            let verdict = self.measure(review, context, &turn, deadline, &mut measured).await;
            chain.take(&turn, verdict, measured.total);
            evaluations.push(measured);
        }
        (chain.finish(), evaluations)
    }

    async fn measure(
        &self,
        review: &Review,
        context: &Context,
        turn: &Turn<'_>,
        deadline: Instant,
        measured: &mut MeasuredEvaluation,
    ) -> Result<Verdict, Failure> {
        let (module, _permits) = self.seat(turn, deadline).await?;
        let started = Instant::now();
        let verdict = run(&self.engine, module, review, context, turn, deadline, measured).await;
        measured.total = started.elapsed();
        verdict
    }
}

impl MeasuredEvaluation {
    fn of(turn: &Turn<'_>) -> Self {
        Self {
            policy: Arc::clone(&turn.plan.policy.name),
            total: Duration::ZERO,
            instantiate: Duration::ZERO,
            call: Duration::ZERO,
            memory_bytes: 0,
        }
    }
}

/// Runs a module in a fresh sandbox as [`super::run`] does, and records the phases.
async fn run(
    engine: &Engine,
    module: &Module,
    review: &Review,
    context: &Context,
    turn: &Turn<'_>,
    deadline: Instant,
    measured: &mut MeasuredEvaluation,
) -> Result<Verdict, Failure> {
    let started = Instant::now();
    let (evaluation, limits) = prepare(review, context, turn, false, deadline)?;
    let sandbox = Sandbox::start(engine, &module.guest, Some(evaluation), limits).await;
    measured.instantiate = started.elapsed();
    let mut sandbox = sandbox?;
    let called = Instant::now();
    let verdict = sandbox.call(review, turn.gate, &turn.plan.policy.settings).await;
    measured.call = called.elapsed();
    measured.memory_bytes = sandbox.memory() as u64;
    verdict
}
