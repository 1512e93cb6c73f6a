//! Policies that change while a server runs: valid edits become active, invalid ones change nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use wardset::metrics::Metrics;
use wardset::supply::Followed;
use wardset::supply::modules::Modules;
use wardset::supply::store::{Source, Standing, State, Store, Wanted};
use wardset_runtime::{Cache, CompileLimits, Compiler};

use crate::hostile;
use crate::support::{self, daemonset, policy};

/// Returns a policy that adds the label `team` with this value.
fn labels(name: &str, team: &str) -> String {
    policy(name, "default-labels", &json!({"labels": {"example.com/team": team}}), "")
}

fn store() -> Arc<Store> {
    Arc::new(Store::new(Arc::new(support::modules()), Arc::new(Metrics::new())).unwrap())
}

/// Returns the value of the label `team` after a review by the active policies.
async fn team(store: &Store) -> Value {
    let object = daemonset();
    let decision = support::decide(&store.live().load_full(), &object, None).await;
    support::patched(&object, &decision)["metadata"]["labels"]["example.com/team"].clone()
}

fn state(store: &Store, name: &str) -> State {
    let standings = Arc::clone(&store.standings().borrow());
    let (_, standing) = standings.iter().find(|(_, standing)| &*standing.name == name).unwrap();
    standing.state.clone()
}

async fn follow(folder: &Path, store: &Arc<Store>) -> Followed {
    Followed::start(vec![folder.to_owned()], Arc::clone(store)).await.unwrap()
}

#[tokio::test]
async fn an_edited_file_is_active_after_the_next_poll() {
    let (folder, store) = (tempfile::tempdir().unwrap(), store());
    let file = folder.path().join("labels.yaml");
    std::fs::write(&file, labels("labels", "one")).unwrap();
    let mut followed = follow(folder.path(), &store).await;
    assert_eq!(team(&store).await, "one");
    std::fs::write(&file, labels("labels", "two")).unwrap();
    followed.look().await;
    assert_eq!((team(&store).await, state(&store, "labels")), (json!("two"), State::Ready));
}

#[tokio::test]
async fn keeps_policies_of_malformed_files_and_updates_others() {
    let (folder, store) = (tempfile::tempdir().unwrap(), store());
    let file = folder.path().join("labels.yaml");
    std::fs::write(&file, labels("labels", "one")).unwrap();
    let mut followed = follow(folder.path(), &store).await;
    let other = folder.path().join("other.yaml");
    for (turn, bad) in [
        "half: [",
        "",
        "apiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {name: labels}\nspec: {modul: x}\n",
        &labels("labels", "two").replace("spec:", "spec:\n  order: much"),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&file, bad).unwrap();
        std::fs::write(&other, labels(&format!("other-{turn}"), "ignored")).unwrap();
        followed.look().await;
        assert_eq!(team(&store).await, "one", "{bad}");
        assert!(matches!(state(&store, "labels"), State::LastGood(_)), "{bad}");
        assert_eq!(state(&store, &format!("other-{turn}")), State::Ready, "{bad}");
    }
    std::fs::write(&file, labels("labels", "three")).unwrap();
    followed.look().await;
    assert_eq!((team(&store).await, state(&store, "labels")), (json!("three"), State::Ready));
}

#[tokio::test]
async fn keeps_the_last_good_revision_if_the_module_refuses_an_edit() {
    let (folder, store) = (tempfile::tempdir().unwrap(), store());
    let file = folder.path().join("labels.yaml");
    std::fs::write(&file, labels("labels", "one")).unwrap();
    let mut followed = follow(folder.path(), &store).await;
    for (bad, says) in [
        (policy("labels", "default-labels", &json!({"labels": 1}), ""), "spec.settings"),
        (policy("labels", "no-such-module", &json!({}), ""), "unknown built-in module `no-such-module`"),
        (
            labels("labels", "x").replace("builtin:default-labels", "file:gone.wasm"),
            "failed to read the module `",
        ),
        (labels("labels", "x") + "  limits: {timeout: 1h}\n", "spec.limits.timeout"),
    ] {
        std::fs::write(&file, &bad).unwrap();
        followed.look().await;
        assert_eq!(team(&store).await, "one", "{bad}");
        match state(&store, "labels") {
            State::LastGood(problem) => assert!(problem.contains(says), "{problem}"),
            other => panic!("{bad}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn reloads_a_changed_module() {
    let (folder, store) = (tempfile::tempdir().unwrap(), store());
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/built");
    std::fs::copy(built.join("default-labels.wasm"), folder.path().join("m.wasm")).unwrap();
    let yaml = labels("labels", "one").replace("builtin:default-labels", "file:m.wasm");
    std::fs::write(folder.path().join("labels.yaml"), yaml).unwrap();
    let mut followed = follow(folder.path(), &store).await;
    let digest = |store: &Store| store.live().load().plans()[0].digest.clone();
    let before = digest(&store);
    std::fs::write(folder.path().join("m.wasm"), "no module").unwrap();
    followed.look().await;
    assert!(matches!(state(&store, "labels"), State::LastGood(_)));
    assert_eq!((team(&store).await, digest(&store)), (json!("one"), before.clone()));
    std::fs::copy(built.join("default-tolerations.wasm"), folder.path().join("m.wasm")).unwrap();
    followed.look().await;
    assert!(matches!(state(&store, "labels"), State::LastGood(problem) if problem.contains("spec.settings")));
    std::fs::copy(built.join("default-labels.wasm"), folder.path().join("m.wasm")).unwrap();
    followed.look().await;
    assert_eq!((state(&store, "labels"), digest(&store)), (State::Ready, before));
}

#[tokio::test]
async fn removes_policies_of_deleted_files_unless_the_folder_is_empty() {
    let (folder, store) = (tempfile::tempdir().unwrap(), store());
    std::fs::write(folder.path().join("a.yaml"), labels("a", "one")).unwrap();
    std::fs::write(folder.path().join("b.yaml"), labels("b", "two")).unwrap();
    let mut followed = follow(folder.path(), &store).await;
    std::fs::remove_file(folder.path().join("a.yaml")).unwrap();
    followed.look().await;
    assert_eq!((team(&store).await, store.live().load().plans().len()), (json!("two"), 1));
    std::fs::remove_file(folder.path().join("b.yaml")).unwrap();
    followed.look().await;
    assert_eq!(team(&store).await, "two");
    assert!(matches!(state(&store, "b"), State::LastGood(problem) if problem.contains("found none in")));
}

fn wanted(name: &str, spec: &Value, last_good: Option<&Value>) -> Wanted {
    let policy = |spec: &Value| {
        let resource = json!({"apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": name}, "spec": spec});
        serde_json::from_value::<wardset_core::policy::Resource>(resource).unwrap().try_into().unwrap()
    };
    Wanted {
        name: name.into(),
        revision: spec.to_string().into(),
        policy: Ok((policy(spec), PathBuf::new())),
        last_good: last_good.map(policy),
        resolve_request: None,
    }
}

/// Returns the `spec` of a policy that adds the label `team`.
fn spec(team: &str) -> Value {
    json!({"module": "builtin:default-labels", "settings": {"labels": {"example.com/team": team}}})
}

#[tokio::test]
async fn starts_with_the_last_good_revision_of_an_invalid_policy() {
    let store = store();
    let bad = json!({"module": "builtin:default-labels", "settings": {"labels": 1}});
    store.put(Source::Cluster, vec![wanted("labels", &bad, Some(&spec("before")))]).await;
    assert!(matches!(state(&store, "labels"), State::LastGood(_)));
    assert_eq!(team(&store).await, "before");
}

#[tokio::test]
async fn applies_on_error_if_a_policy_was_never_active() {
    let store = store();
    let bad = |on_error: &str| json!({"module": "builtin:gone", "onError": on_error});
    for (on_error, outcome) in [("fail", "failed"), ("deny", "denied"), ("allow", "allowed")] {
        store
            .put(
                Source::Cluster,
                vec![wanted("gone", &bad(on_error), None), wanted("labels", &spec("x"), None)],
            )
            .await;
        assert!(matches!(state(&store, "gone"), State::Unready(_)));
        let decision = support::decide(&store.live().load_full(), &daemonset(), None).await;
        assert_eq!(decision.outcome.label(), outcome, "{on_error}");
        if let wardset_core::decision::Outcome::Failed { message, .. } = &decision.outcome {
            assert!(message.contains("policy `gone` could not decide (unready: "), "{message}");
        }
    }
}

#[tokio::test]
async fn a_file_overrides_a_cluster_policy_with_the_same_name() {
    let store = store();
    store.put(Source::Cluster, vec![wanted("labels", &spec("cluster"), None)]).await;
    store.put(Source::Files, vec![wanted("labels", &spec("file"), None)]).await;
    assert_eq!(team(&store).await, "file");
    store.put(Source::Files, Vec::new()).await;
    assert_eq!(team(&store).await, "cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_review_sees_a_mix_of_two_revisions() {
    let store = store();
    let both = |team: &str| {
        let second =
            json!({"module": "builtin:default-labels", "settings": {"labels": {"example.com/squad": team}}});
        vec![wanted("first", &spec(team), None), wanted("second", &second, None)]
    };
    store.put(Source::Cluster, both("0")).await;
    let live = store.live();
    let reviews = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let object = daemonset();
            let decision = support::decide(&live.load_full(), &object, None).await;
            let labels = support::patched(&object, &decision)["metadata"]["labels"].clone();
            assert_eq!(labels["example.com/team"], labels["example.com/squad"]);
            seen.insert(labels["example.com/team"].to_string());
        }
        seen
    });
    let mut edit = 0;
    while !reviews.is_finished() {
        edit += 1;
        store.put(Source::Cluster, both(&edit.to_string())).await;
        tokio::task::yield_now().await;
    }
    assert!(reviews.await.unwrap().len() > 1, "no edit happened between the reviews");
}

/// While one policy's module compiles for very long, other policies become active. The slow one never does, and its
/// state says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_compilation_delays_no_other_change() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), Cache::open(support::cache_folder()).unwrap());
    // Four times this, for a module of 15 MiB, is longer than the store waits for a compilation. So the change becomes
    // active without it.
    let limits =
        CompileLimits { processor_time: Duration::from_secs(2), memory: 1 << 30, ..CompileLimits::default() };
    let modules = Modules::new(support::engine(), Some(cache), support::compiler(limits));
    let store = Arc::new(Store::new(Arc::new(modules), Arc::new(Metrics::new())).unwrap());
    let file = folder.path().join("labels.yaml");
    let slow = folder.path().join("slow.yaml");
    std::fs::write(&file, labels("labels", "one")).unwrap();
    std::fs::write(&slow, labels("slow", "of-slow")).unwrap();
    let mut followed = follow(folder.path(), &store).await;
    std::fs::write(folder.path().join("bomb.wasm"), hostile::bomb()).unwrap();
    let bomb = labels("slow", "of-slow").replace("builtin:default-labels", "file:bomb.wasm");
    std::fs::write(&slow, &bomb).unwrap();
    std::fs::write(&file, labels("labels", "two")).unwrap();
    followed.look().await;
    for team in ["two", "three", "four"] {
        std::fs::write(&file, labels("labels", team)).unwrap();
        followed.look().await;
        assert_eq!((self::team(&store).await, state(&store, "labels")), (json!(team), State::Ready));
        assert_eq!(state(&store, "slow"), State::Compiling("file:bomb.wasm".to_owned()));
    }
    // Its previous revision stays active during the compilation and after it.
    let in_force = || store.live().load().plans().iter().any(|plan| &*plan.policy.name == "slow");
    assert!(in_force());
    until_known(&store, "slow").await;
    let State::LastGood(problem) = state(&store, "slow") else { panic!("{:?}", state(&store, "slow")) };
    assert!(problem.contains("took more than 8s"), "{problem}");
    assert!(in_force());
    // The store does not retry the compilation, so the next change leaves the state as it is.
    std::fs::write(&file, labels("labels", "five")).unwrap();
    followed.look().await;
    assert!(matches!(state(&store, "slow"), State::LastGood(_)));
    assert_eq!(team(&store).await, "five");
}

/// A policy that is deleted during the compilation of its module does not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_deleted_during_compilation_stays_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let limits = CompileLimits {
        processor_time: Duration::from_secs(600),
        memory: 1 << 30,
        ..CompileLimits::default()
    };
    let modules = Arc::new(Modules::new(support::engine(), None, support::compiler(limits)));
    let store = Arc::new(Store::new(Arc::clone(&modules), Arc::new(Metrics::new())).unwrap());
    store.put(Source::Cluster, Vec::new()).await;
    let file = folder.path().join("bomb.wasm");
    std::fs::write(&file, hostile::bomb()).unwrap();
    let slow = json!({"module": format!("file:{}", file.display())});
    store.put(Source::Cluster, vec![wanted("slow", &slow, None)]).await;
    assert_eq!(state(&store, "slow"), State::Compiling(format!("file:{}", file.display())));
    assert!(
        store.live().load().plans().is_empty(),
        "a policy that was never active must not be active while it compiles"
    );
    store.put(Source::Cluster, Vec::new()).await;
    assert!(store.standings().borrow().is_empty());
    // The compiler of the deleted policy is stopped. Otherwise two of them would hold all compiler permits.
    store.put(Source::Cluster, vec![wanted("labels", &spec("one"), None)]).await;
    until_known(&store, "labels").await;
    assert_eq!(state(&store, "labels"), State::Ready);
}

/// A server that starts answers no review before its policies are active. Until then, the states name the module that is
/// being compiled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_list_says_which_module_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let limits = CompileLimits {
        processor_time: Duration::from_secs(600),
        memory: 1 << 30,
        ..CompileLimits::default()
    };
    let modules = Arc::new(Modules::new(support::engine(), None, support::compiler(limits)));
    let store = Arc::new(Store::new(Arc::clone(&modules), Arc::new(Metrics::new())).unwrap());
    let file = folder.path().join("bomb.wasm");
    std::fs::write(&file, hostile::bomb()).unwrap();
    let module = format!("file:{}", file.display());
    let first = vec![wanted("slow", &json!({"module": &module}), None), wanted("labels", &spec("one"), None)];
    let mut put = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.put(Source::Cluster, first).await })
    };
    let mut standings = store.standings();
    let says = standings.wait_for(|all| !all.is_empty());
    tokio::select! {
        _ = &mut put => panic!("the list is active without the module"),
        says = tokio::time::timeout(Duration::from_secs(120), says) => drop(says.unwrap().unwrap()),
    }
    assert_eq!(state(&store, "slow"), State::Compiling(module.clone()));
    let mut compiling = modules.compiling();
    let named = compiling.wait_for(|all| all.iter().any(|compiled| compiled.module.to_string() == module));
    tokio::time::timeout(Duration::from_secs(120), named).await.unwrap().unwrap();
    put.abort();
}

/// Waits until the module of a policy is compiled.
/// A compiler that gets no processor time is stopped, and the store compiles the module again later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_a_busy_machine_did_not_compile_is_compiled_later() {
    let folder = tempfile::tempdir().unwrap();
    let free = folder.path().join("free");
    let script = format!(
        "[ -e '{}' ] || exec sleep 600; exec '{}' compile-module \"$@\"",
        free.display(),
        env!("CARGO_BIN_EXE_wardset")
    );
    let arguments = ["-c".into(), script.into(), "sh".into()];
    let limits = CompileLimits { wall_time: Duration::from_secs(5), ..CompileLimits::default() };
    let compiler = Compiler::danger_in_children("/bin/sh", arguments, limits);
    let modules = Modules::new(support::engine(), None, compiler);
    let store = Arc::new(Store::new(Arc::new(modules), Arc::new(Metrics::new())).unwrap());
    store.put(Source::Cluster, vec![wanted("labels", &spec("one"), None)]).await;
    let State::Unready(problem) = state(&store, "labels") else { panic!("{:?}", state(&store, "labels")) };
    assert!(problem.contains("did not end within 5s, because the machine is busy"), "{problem}");
    std::fs::write(free, "").unwrap();
    let mut standings = store.standings();
    // One attempt is enough, unless the machine that runs this test is busy.
    while store.retry().await {
        tokio::time::timeout(Duration::from_secs(120), standings.changed()).await.unwrap().unwrap();
    }
    assert_eq!((state(&store, "labels"), team(&store).await), (State::Ready, json!("one")));
}

async fn until_known(store: &Store, name: &str) {
    let mut standings = store.standings();
    let known = standings.wait_for(|all| {
        let is_known = |standing: &Standing| !matches!(standing.state, State::Compiling(_));
        all.iter().any(|(_, standing)| &*standing.name == name && is_known(standing))
    });
    tokio::time::timeout(Duration::from_secs(120), known).await.unwrap().unwrap();
}
