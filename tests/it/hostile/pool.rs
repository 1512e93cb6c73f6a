//! Guests that run into their timeout. Others continue meanwhile, and the pool is complete afterwards.

use std::thread::available_parallelism;

use wardset::metrics::Metrics;
use wardset::supply::modules::Modules;
use wardset::supply::store::{Source, Standing, State, Store, Wanted};
use wardset_runtime::CompileLimits;

use super::*;
use crate::support;

/// While one policy runs into its timeout, reviews that do not match it are decided, on two threads and on one.
async fn decides_beside_a_burning_policy() {
    let burning = (policy("hostile", 0, Mode::Enforce, OnError::Fail, "2s"), load("loop").await);
    let burning = Arc::new(Snapshot::new(Arc::clone(&ENGINE), [burning]).await.unwrap());
    let other = (policy("other", 0, Mode::Enforce, OnError::Fail, "10s"), load("well-behaved").await);
    let other = Snapshot::new(Arc::clone(&ENGINE), [other]).await.unwrap();

    let burn = tokio::spawn(async move { decide(&burning, &review(Of::Create, true)).await });
    // Starts the looping guest. If there is only one thread, the guest must yield it.
    tokio::task::yield_now().await;
    for _ in 0..10 {
        let decision = decide(&other, &review(Of::Create, false)).await;
        assert_eq!((decision.outcome, decision.patch.len()), (Outcome::Allowed, 1));
    }
    assert!(!burn.is_finished(), "other reviews had to wait for the looping one");
    let burnt = burn.await.unwrap();
    assert!(report(&burnt, "hostile").elapsed >= Duration::from_secs(2));
    assert_failed(&burnt, Deadline, Mode::Enforce, OnError::Fail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_looping_policy_does_not_block_others_on_two_threads() {
    decides_beside_a_burning_policy().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_looping_policy_does_not_block_others_on_one_thread() {
    decides_beside_a_burning_policy().await;
}

/// The policies of a review share its deadline, so five policies that time out do not take five times as long.
#[tokio::test]
async fn looping_policies_share_the_deadline_of_the_review() {
    let module = load("loop").await;
    let names = ["a", "b", "c", "d", "e"];
    let policies =
        names.map(|name| (policy(name, 0, Mode::Enforce, OnError::Allow, "10s"), Arc::clone(&module)));
    let snapshot = Snapshot::new(Arc::clone(&ENGINE), policies).await.unwrap();
    let started = Instant::now();
    let deadline = started + Duration::from_millis(200);
    let decision =
        snapshot.decide(&review(Of::Create, true), &Context::default(), Phase::Mutate, deadline).await;
    assert!(started.elapsed() < SOON);
    for name in names {
        let PolicyResult::Failed(failure) = &report(&decision, name).result else {
            panic!("`{name}` did not fail")
        };
        assert_eq!(failure.class, Late);
    }
}

/// One policy has as many looping reviews as there are sandboxes. It gets two sandboxes per CPU, and reviews without
/// that policy are decided meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_looping_policy_gets_at_most_its_quota_of_the_pool() {
    const ALL: usize = 64;
    let quota = (2 * available_parallelism().unwrap().get()).min(ALL / 2);
    let engine = Engine::new(EngineOptions { sandboxes: 64 }).unwrap();
    let load = async |guest| Arc::new(Module::load(&engine, &guests::component(guest), None).await.unwrap());
    let burning = [(policy("hostile", 0, Mode::Enforce, OnError::Fail, "10s"), load("loop").await)];
    let burning = Arc::new(Snapshot::new(Arc::clone(&engine), burning).await.unwrap());
    let other = [(policy("other", 0, Mode::Enforce, OnError::Fail, "10s"), load("well-behaved").await)];
    let other = Snapshot::new(Arc::clone(&engine), other).await.unwrap();
    let far = Instant::now() + Duration::from_secs(600);
    let burns: Vec<_> = (0..ALL)
        .map(|_| {
            let burning = Arc::clone(&burning);
            tokio::spawn(async move {
                burning.decide(&review(Of::Create, true), &Context::default(), Phase::Mutate, far).await
            })
        })
        .collect();
    until_free(&engine, ALL - quota).await;
    for _ in 0..20 {
        assert!(engine.free_sandboxes() >= ALL - quota - 1, "the policy exceeded its quota");
        let decision = decide(&other, &review(Of::Create, false)).await;
        assert_eq!((decision.outcome, decision.patch.len()), (Outcome::Allowed, 1));
    }
    assert!(
        !burns.iter().any(tokio::task::JoinHandle::is_finished),
        "other reviews had to wait for a looping one"
    );
    for burn in burns {
        burn.abort();
        assert!(burn.await.unwrap_err().is_cancelled());
    }
}

/// If a policy has used its quota of sandboxes, its next review waits for one, but not beyond the deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_wait_within_their_deadline_if_the_quota_is_used() {
    let engine = Engine::new(EngineOptions { sandboxes: 4 }).unwrap();
    let [burning, _] = two_policies(&engine).await;
    let far = Instant::now() + Duration::from_secs(600);
    let holders = [0, 1].map(|_| {
        let burning = Arc::clone(&burning);
        tokio::spawn(async move {
            burning.decide(&review(Of::Create, true), &Context::default(), Phase::Mutate, far).await
        })
    });
    until_free(&engine, 2).await;
    let until = Instant::now() + Duration::from_millis(100);
    let late = burning.decide(&review(Of::Create, false), &Context::default(), Phase::Mutate, until).await;
    assert_failed(&late, Late, Mode::Enforce, OnError::Fail);
    // If one of the two reviews is cancelled, the next review gets its sandbox.
    let [first, second] = holders;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(decide(&burning, &review(Of::Create, false)).await.outcome, Outcome::Allowed);
    assert!(!second.is_finished());
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
}

/// An edit does not give a policy a second quota.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_of_a_policy_share_one_quota() {
    let engine = Engine::new(EngineOptions { sandboxes: 2 }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guest.wasm"), guests::component("loop")).unwrap();
    let modules = Modules::new(Arc::clone(&engine), None, support::compiler(CompileLimits::default()));
    let store = Arc::new(Store::new(Arc::new(modules), Arc::new(Metrics::new())).unwrap());
    let revision = async |timeout: &str| {
        let policy = policy("hostile", 0, Mode::Enforce, OnError::Fail, timeout);
        let policy = Ok((policy, folder.path().to_owned()));
        let wanted = Wanted {
            name: "hostile".into(),
            revision: timeout.into(),
            policy,
            last_good: None,
            resolve_request: None,
        };
        store.put(Source::Files, vec![wanted]).await;
        let ready = |standing: &(Source, Standing)| standing.1.state == State::Ready;
        store.standings().wait_for(|standings| standings.iter().all(ready)).await.unwrap();
        store.live().load_full()
    };
    let before = revision("9s").await;
    let far = Instant::now() + Duration::from_secs(600);
    let holder = tokio::spawn(async move {
        before.decide(&review(Of::Create, true), &Context::default(), Phase::Mutate, far).await
    });
    until_free(&engine, 1).await;
    let after = revision("10s").await;
    assert_eq!(after.plans()[0].policy.limits.timeout, Duration::from_secs(10));
    let until = Instant::now() + Duration::from_millis(100);
    let late = after.decide(&review(Of::Create, false), &Context::default(), Phase::Mutate, until).await;
    assert_failed(&late, Late, Mode::Enforce, OnError::Fail);
    holder.abort();
    assert!(holder.await.unwrap_err().is_cancelled());
    assert_eq!(decide(&after, &review(Of::Create, false)).await.outcome, Outcome::Allowed);
}

/// If no sandbox is free, a review waits for one, but not beyond its deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_wait_within_their_deadline_if_the_pool_is_full() {
    let engine = Engine::new(EngineOptions { sandboxes: 2 }).unwrap();
    let snapshots = two_policies(&engine).await;
    let burn = |snapshot: &Arc<Snapshot>, dry_run, until| {
        let snapshot = Arc::clone(snapshot);
        tokio::spawn(async move {
            snapshot.decide(&review(Of::Create, dry_run), &Context::default(), Phase::Mutate, until).await
        })
    };
    let started = Instant::now();
    let until = started + Duration::from_secs(3);
    let holders = snapshots.each_ref().map(|snapshot| burn(snapshot, true, until));
    until_free(&engine, 0).await;
    // These reviews would be decided at once if they had a sandbox.
    let waiting: Vec<_> =
        (0..6).map(|n| burn(&snapshots[n % 2], false, Instant::now() + Duration::from_millis(200))).collect();
    for waiting in waiting {
        assert_failed(&waiting.await.unwrap(), Late, Mode::Enforce, OnError::Fail);
    }
    assert!(
        !holders.iter().any(tokio::task::JoinHandle::is_finished),
        "they failed for another reason than a missing sandbox"
    );
    for holder in holders {
        assert_failed(&holder.await.unwrap(), Late, Mode::Enforce, OnError::Fail);
    }
    assert!(started.elapsed() < 2 * SOON);
    assert_both_are_free(&engine, &snapshots).await;
}

/// If a client disconnects, its review ends and the sandbox is free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_review_returns_its_sandbox() {
    let engine = Engine::new(EngineOptions { sandboxes: 2 }).unwrap();
    let snapshots = two_policies(&engine).await;
    let far = Instant::now() + Duration::from_secs(60);
    for _ in 0..10 {
        let review = review(Of::Create, true);
        let context = Context::default();
        let burning = snapshots[0].decide(&review, &context, Phase::Mutate, far);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), burning).await.is_err(),
            "the looping review ended early"
        );
    }
    assert_both_are_free(&engine, &snapshots).await;
}

/// All sandboxes but one run a guest with the maximum number of memories, tables and instances. The last sandbox must
/// still have enough of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greedy_guests_leave_enough_of_the_pool_for_the_last_sandbox() {
    let engine = Engine::new(EngineOptions { sandboxes: 4 }).unwrap();
    let load = async |guest| Arc::new(Module::load(&engine, &guests::component(guest), None).await.unwrap());
    let module = load("loop-in-every-place-of-the-pool").await;
    // Two policies, because each may hold at most half of the pool.
    let mut greedy = Vec::new();
    for _ in 0..2 {
        let policy = (policy("hostile", 0, Mode::Enforce, OnError::Fail, "1s"), Arc::clone(&module));
        greedy.push(Arc::new(Snapshot::new(Arc::clone(&engine), [policy]).await.unwrap()));
    }
    let other = (policy("other", 0, Mode::Enforce, OnError::Fail, "10s"), load("well-behaved").await);
    let other = Snapshot::new(Arc::clone(&engine), [other]).await.unwrap();

    let burning: Vec<_> = (0..3)
        .map(|n| {
            let greedy = Arc::clone(&greedy[n % 2]);
            tokio::spawn(async move { decide(&greedy, &review(Of::Create, true)).await })
        })
        .collect();
    until_free(&engine, 1).await;
    let decision = decide(&other, &review(Of::Create, false)).await;
    assert_eq!(decision.outcome, Outcome::Allowed, "{:?}", report(&decision, "other").result);
    for burning in burning {
        assert_failed(&burning.await.unwrap(), Deadline, Mode::Enforce, OnError::Fail);
    }
}

/// Returns two policies that loop in dry runs. Each has its own quota.
async fn two_policies(engine: &Arc<Engine>) -> [Arc<Snapshot>; 2] {
    let module = Arc::new(Module::load(engine, &guests::component("loop"), None).await.unwrap());
    let snapshot = async || {
        let policies = [(policy("hostile", 0, Mode::Enforce, OnError::Fail, "10s"), Arc::clone(&module))];
        Arc::new(Snapshot::new(Arc::clone(engine), policies).await.unwrap())
    };
    [snapshot().await, snapshot().await]
}

/// Asserts that both of two sandboxes are free: a looping review holds one while others are decided in the other.
async fn assert_both_are_free(engine: &Engine, [holder, other]: &[Arc<Snapshot>; 2]) {
    let until = Instant::now() + Duration::from_secs(2);
    let holder = Arc::clone(holder);
    let holder = tokio::spawn(async move {
        holder.decide(&review(Of::Create, true), &Context::default(), Phase::Mutate, until).await
    });
    until_free(engine, 1).await;
    for _ in 0..20 {
        assert_eq!(decide(other, &review(Of::Create, false)).await.outcome, Outcome::Allowed);
    }
    assert!(!holder.is_finished(), "one of the sandboxes was not returned");
    assert_failed(&holder.await.unwrap(), Late, Mode::Enforce, OnError::Fail);
}

/// Waits until only `free` sandboxes are free.
async fn until_free(engine: &Engine, free: usize) {
    while engine.free_sandboxes() > free {
        tokio::task::yield_now().await;
    }
}
