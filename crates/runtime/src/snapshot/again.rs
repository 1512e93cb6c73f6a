//! The second evaluation. A verdict is a function of the guest's input, so two fresh sandboxes must give the same
//! verdict for the same input.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use wardset_core::agreement::{self, Agreement, Difference};
use wardset_core::chain::{Chain, Turn};
use wardset_core::decision::Decision;
use wardset_core::gate::Gate;
use wardset_core::plan::{Phase, Plan};
use wardset_core::review::{Context, Question, Review};
use wardset_core::verdict::{Failure, Verdict};

use super::{Snapshot, run};
use crate::engine::Engine;
use crate::module::Module;

/// Time for both evaluations of the sample, before a policy becomes active.
const SAMPLE_TIME: Duration = Duration::from_secs(1);

/// The result of the second evaluation of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The policy.
    pub policy: Arc<str>,
    /// The difference; `None` if the second evaluation failed.
    pub difference: Option<Difference>,
}

impl Snapshot {
    /// Decides as [`Snapshot::decide`] does, and evaluates each policy a second time. If the first evaluation ends
    /// because of its time or the machine, there is nothing to compare and no finding.
    pub async fn decide_twice(
        &self,
        review: &Review,
        context: &Context,
        phase: Phase,
        deadline: Instant,
    ) -> (Decision, Vec<Finding>) {
        let mut chain = Chain::new(review, context, &self.plans, phase);
        let mut findings = Vec::new();
        while let Some(turn) = chain.turn() {
            let started = Instant::now();
            let first = self.evaluate(review, context, &turn, deadline).await;
            let elapsed = started.elapsed();
            let second = async || self.evaluate(review, context, &turn, deadline).await;
            let difference = match again(&first, second).await {
                Agreement::Same => None,
                Agreement::Differ(difference) => Some(Some(difference)),
                Agreement::Unknown if first.as_ref().is_err_and(agreement::ended_from_outside) => None,
                Agreement::Unknown => Some(None),
            };
            let policy = &turn.plan.policy.name;
            findings.extend(difference.map(|difference| Finding { policy: Arc::clone(policy), difference }));
            chain.take(&turn, first, elapsed);
        }
        (chain.finish(), findings)
    }
}

/// Returns the difference between two evaluations of a policy on the sample. The verdict itself does not matter:
/// perhaps the policy exists to refuse such an object.
pub(super) async fn on_sample(
    engine: &Arc<Engine>,
    plan: &Arc<Plan>,
    module: &Arc<Module>,
) -> Option<Difference> {
    let review = SAMPLE.as_ref()?;
    let (engine, plan, module) = (Arc::clone(engine), Arc::clone(plan), Arc::clone(module));
    let compare = {
        let engine = Arc::clone(&engine);
        async move {
            let context = Context::default();
            let deadline = Instant::now() + SAMPLE_TIME;
            let evaluate = async || {
                let document = Arc::clone(&review.object);
                let turn = Turn { index: 0, plan: &plan, document, gate: Gate::Open };
                let _permit = engine.permit().await;
                // Nobody asked for this review, so its log lines would confuse.
                run(&engine, &module, review, &context, &turn, false, deadline).await
            };
            let first = evaluate().await;
            again(&first, evaluate).await
        }
    };
    match engine.threads.run(compare).await {
        Agreement::Differ(difference) => Some(difference),
        Agreement::Same | Agreement::Unknown => None,
    }
}

/// Evaluates a second time, if the first result can be compared.
async fn again(
    first: &Result<Verdict, Failure>,
    second: impl AsyncFnOnce() -> Result<Verdict, Failure>,
) -> Agreement {
    match first {
        Err(failure) if agreement::ended_from_outside(failure) => Agreement::Unknown,
        _ => Agreement::of(first, &second().await),
    }
}

/// The review of a typical DaemonSet.
static SAMPLE: LazyLock<Option<Review>> =
    LazyLock::new(|| match Question::parse(include_bytes!("sample.json")) {
        Ok(Question::Decide(review)) => Some(*review),
        // The test below checks that the sample in the binary is a review.
        Ok(Question::PassOver { .. }) | Err(_) => None,
    });

#[cfg(test)]
mod tests {
    use wardset_core::verdict::FailureClass;

    use super::*;

    #[test]
    fn the_sample_is_a_review() {
        assert_eq!(SAMPLE.as_ref().map(|review| &*review.name), Some("sample"));
    }

    /// The input of the second evaluation changes here, because no guest can be made to differ on the same input.
    #[tokio::test]
    async fn finds_a_second_verdict_that_differs() {
        let verdict = |message: &str| {
            let warning =
                wardset_core::verdict::Warning { pointer: String::new(), message: message.to_owned() };
            Ok(Verdict { warnings: vec![warning], ..Verdict::default() })
        };
        let found = again(&verdict("a"), async || verdict("b")).await;
        assert!(matches!(found, Agreement::Differ(found) if found.what == "warning 1"));
        assert_eq!(again(&verdict("a"), async || verdict("a")).await, Agreement::Same);
    }

    #[tokio::test]
    async fn does_not_evaluate_again_after_a_timeout() {
        let late = Err(Failure::new(FailureClass::Deadline, ""));
        let mut asked = false;
        let second = async || {
            asked = true;
            Ok(Verdict::default())
        };
        assert_eq!(again(&late, second).await, Agreement::Unknown);
        assert!(!asked);
    }
}
