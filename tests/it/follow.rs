//! Policies that change while a server runs: what is good comes into force, what is bad changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use wardset::metrics::Metrics;
use wardset::policies::Followed;
use wardset::store::{Source, State, Store, Wanted};

use crate::support::{self, daemonset, policy};

/// Adds the label `team` with this value.
fn labels(name: &str, team: &str) -> String {
    policy(name, "default-labels", &json!({"labels": {"example.com/team": team}}), "")
}

fn store() -> Arc<Store> {
    Arc::new(Store::new(Arc::new(support::modules()), Arc::new(Metrics::new())).unwrap())
}

/// The value of the label `team` that reviews get now.
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
async fn an_edited_file_is_in_force_after_the_next_look() {
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
async fn bad_files_leave_what_came_from_them_in_force_and_touch_no_other() {
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
async fn a_policy_that_its_module_refuses_goes_on_as_it_was_and_says_why() {
    let (folder, store) = (tempfile::tempdir().unwrap(), store());
    let file = folder.path().join("labels.yaml");
    std::fs::write(&file, labels("labels", "one")).unwrap();
    let mut followed = follow(folder.path(), &store).await;
    for (bad, says) in [
        (policy("labels", "default-labels", &json!({"labels": 1}), ""), "spec.settings"),
        (policy("labels", "no-such-module", &json!({}), ""), "no built-in module `no-such-module`"),
        (
            labels("labels", "x").replace("builtin:default-labels", "file:gone.wasm"),
            "gone.wasm` can't be read",
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
async fn a_module_that_changes_is_loaded_anew() {
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
async fn files_that_go_take_their_policies_along_but_an_empty_folder_does_not() {
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
    assert!(matches!(state(&store, "b"), State::LastGood(problem) if problem.contains("has no policy")));
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
    }
}

/// `spec` of a policy that adds the label `team`.
fn spec(team: &str) -> Value {
    json!({"module": "builtin:default-labels", "settings": {"labels": {"example.com/team": team}}})
}

#[tokio::test]
async fn a_server_that_starts_with_a_bad_policy_goes_on_with_what_was_in_force_before() {
    let store = store();
    let bad = json!({"module": "builtin:default-labels", "settings": {"labels": 1}});
    store.put(Source::Cluster, vec![wanted("labels", &bad, Some(&spec("before")))]).await;
    assert!(matches!(state(&store, "labels"), State::LastGood(_)));
    assert_eq!(team(&store).await, "before");
}

#[tokio::test]
async fn a_policy_that_never_came_into_force_fails_reviews_as_its_on_error_says() {
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
async fn of_two_policies_of_one_name_the_file_is_in_force() {
    let store = store();
    store.put(Source::Cluster, vec![wanted("labels", &spec("cluster"), None)]).await;
    store.put(Source::Files, vec![wanted("labels", &spec("file"), None)]).await;
    assert_eq!(team(&store).await, "file");
    store.put(Source::Files, Vec::new()).await;
    assert_eq!(team(&store).await, "cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_review_sees_a_mix_of_old_and_new() {
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
    assert!(reviews.await.unwrap().len() > 1, "no edit fell between the reviews");
}
