//! Each evaluation starts from the same state. A review leaves nothing for the next one.

use super::*;

/// With one sandbox, each evaluation reuses the memory of the previous one.
#[tokio::test]
async fn evaluations_start_from_the_same_state() {
    let engine = Engine::new(EngineOptions { sandboxes: 1 }).unwrap();
    let module = Arc::new(Module::load(&engine, &guests::component("remembers"), None).await.unwrap());
    let policy = policy("remembers", 0, Mode::Enforce, OnError::Fail, "10s");
    let snapshot = Snapshot::new(engine, [(policy, module)]).await.unwrap();
    let review = review(Of::Create, false);
    for n in 0..1000 {
        let decision = decide(&snapshot, &review).await;
        let PolicyResult::Allowed { warnings, .. } = &report(&decision, "remembers").result else {
            panic!("evaluation {n}: {:?}", report(&decision, "remembers").result)
        };
        let said: Vec<&str> = warnings.iter().map(|warning| &*warning.message).collect();
        assert_eq!(said, ["fresh"], "evaluation {n}");
    }
}

/// Policies share the sandbox. A secret that one leaves in memory must not be visible to the next.
#[tokio::test]
async fn policies_leave_no_trace_for_each_other() {
    let engine = Engine::new(EngineOptions { sandboxes: 1 }).unwrap();
    let module = Arc::new(Module::load(&engine, &guests::component("remembers"), None).await.unwrap());
    let policies = ["first", "second", "third"]
        .map(|name| (policy(name, 0, Mode::Enforce, OnError::Fail, "10s"), Arc::clone(&module)));
    let snapshot = Snapshot::new(engine, policies).await.unwrap();
    let decision = decide(&snapshot, &review(Of::Create, false)).await;
    assert_eq!(decision.warnings, ["first: fresh", "second: fresh", "third: fresh"]);
}

/// The same review runs before and after a guest that fails halfway. Both responses are equal byte for byte.
#[tokio::test]
async fn a_failed_guest_does_not_change_the_next_decision() {
    let hostile = load("first-change-good").await;
    let policies =
        between_neighbours((policy("hostile", 0, Mode::Enforce, OnError::Allow, "10s"), hostile)).await;
    let snapshot = Snapshot::new(Arc::clone(&ENGINE), policies).await.unwrap();
    let clean = review(Of::Create, false);
    let before = decide(&snapshot, &clean).await.to_admission_review().unwrap();
    let failed = decide(&snapshot, &review(Of::Create, true)).await;
    assert!(matches!(report(&failed, "hostile").result, PolicyResult::Failed(_)));
    assert_eq!(decide(&snapshot, &clean).await.to_admission_review().unwrap(), before);
}
