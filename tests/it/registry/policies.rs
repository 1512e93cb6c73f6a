//! Policies whose modules are in a registry: the commands, the server's store, and shared pulls.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::{Value, json};
use wardset::metrics::Metrics;
use wardset::supply::RegistrySupply;
use wardset::supply::modules::Modules;
use wardset::supply::policy_files;
use wardset::supply::store::{Source, Standing, State, Store, Wanted};

use super::*;
use crate::support;

/// Returns a policy with a module of the registry that adds the label `team`.
pub(super) fn policy(name: &str, module: &OciReference, mode: &str) -> String {
    format!(
        "---\napiVersion: wardset.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n  module: {module}\n  \
         mode: {mode}\n  settings: {{labels: {{team: x}}}}\n"
    )
}

fn modules(registry: &FakeRegistry, cache: Option<&Path>) -> Modules {
    let (options, cache) = (options(registry), cache.map(super::cache));
    support::modules().with_registries(RegistrySupply { options, cache, ..RegistrySupply::default() })
}

pub(super) fn wanted(yaml: &str) -> Vec<Wanted> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.yaml"), yaml).unwrap();
    let found = policy_files::read(&[folder.path().to_owned()]).unwrap();
    found.into_iter().map(Into::into).collect()
}

pub(super) fn standings(store: &Store) -> Vec<Standing> {
    store.standings().borrow().iter().map(|(_, standing)| standing.clone()).collect()
}

/// Waits until all policies are in this state.
pub(super) async fn until(store: &Store, is_so: impl Fn(&Standing) -> bool) {
    let mut changes = store.standings();
    let all = |all: &Arc<Vec<(Source, Standing)>>| all.iter().all(|(_, standing)| is_so(standing));
    tokio::time::timeout(Duration::from_secs(60), changes.wait_for(all)).await.unwrap().unwrap();
}

#[tokio::test]
async fn policies_that_load_together_share_one_pull_and_name_the_digest() {
    let (registry, folder) = (FakeRegistry::start(), tempfile::tempdir().unwrap());
    let digest = store(&registry, LAYOUTS[0], &component());
    let policies: String =
        ["a", "b", "c"].iter().map(|name| policy(name, &tagged(&registry), "warn")).collect();
    std::fs::write(folder.path().join("p.yaml"), policies).unwrap();
    let found = policy_files::read(&[folder.path().to_owned()]).unwrap();
    let snapshot = policy_files::load(&modules(&registry, None), found).await.unwrap();
    assert_eq!(registry.requests(), ["GET policy/manifests/1".to_owned(), format!("GET {}", blob())]);
    for plan in snapshot.plans() {
        assert_eq!(plan.policy.module.to_string(), tagged(&registry).pinned(&digest).to_string());
    }
}

#[tokio::test]
async fn a_tag_that_moves_changes_nothing_until_the_policy_is_loaded_again() {
    let registry = FakeRegistry::start();
    let first = store(&registry, LAYOUTS[0], &component());
    let held = Arc::new(Store::new(Arc::new(modules(&registry, None)), Arc::new(Metrics::new())).unwrap());
    let yaml = policy("a", &tagged(&registry), "enforce");
    held.put(Source::Cluster, wanted(&yaml)).await;
    let reference = || standings(&held)[0].module.clone().unwrap().reference.unwrap();
    assert_eq!(reference(), tagged(&registry).pinned(&first).to_string());

    let second = store(&registry, LAYOUTS[1], &component());
    registry.requests();
    held.put(Source::Cluster, wanted(&yaml)).await;
    assert_eq!(registry.requests(), [""; 0]);
    assert_eq!(reference(), tagged(&registry).pinned(&first).to_string());
    held.put(Source::Cluster, wanted(&policy("a", &tagged(&registry), "warn"))).await;
    assert_eq!(reference(), tagged(&registry).pinned(&second).to_string());
}

/// The registry is away: a policy with a cached digest becomes active, another one later and automatically.
#[tokio::test]
async fn a_server_starts_from_its_cache_and_retries_what_is_missing() {
    let (registry, folder) = (FakeRegistry::start(), tempfile::tempdir().unwrap());
    let digest = store(&registry, LAYOUTS[0], &component());
    let cached = policy("cached", &pinned(&registry, &digest), "enforce");
    let start = async |policies: &str| {
        let modules = Arc::new(modules(&registry, Some(folder.path())));
        let held = Arc::new(Store::new(modules, Arc::new(Metrics::new())).unwrap());
        held.put(Source::Cluster, wanted(policies)).await;
        held
    };
    drop(start(&cached).await);
    registry.requests();

    registry.fail(4, "manifests/1", &Fault::Status(503, None));
    let held = start(&format!("{cached}{}", policy("tagged", &tagged(&registry), "enforce"))).await;
    assert_eq!(registry.requests(), vec!["GET policy/manifests/1"; 4]);
    let states: Vec<State> = standings(&held).into_iter().map(|standing| standing.state).collect();
    let [State::Ready, State::Unready(problem)] = &states[..] else { panic!("{states:?}") };
    assert!(problem.contains("answered with status 503"), "{problem}");

    assert!(held.retry().await);
    until(&held, |standing| standing.state == State::Ready).await;
    assert!(!held.retry().await, "nothing is left to retry");
}

#[tokio::test]
async fn an_artifact_without_a_module_is_not_retried() {
    let registry = FakeRegistry::start();
    store(&registry, LAYOUTS[0], &Bytes::from_static(b"no module"));
    let held = Arc::new(Store::new(Arc::new(modules(&registry, None)), Arc::new(Metrics::new())).unwrap());
    held.put(Source::Cluster, wanted(&policy("a", &tagged(&registry), "enforce"))).await;
    assert!(
        matches!(&standings(&held)[0].state, State::Unready(problem) if problem.contains("found other content"))
    );
    assert!(!held.retry().await);
}

/// Runs the program with the registry's CA and credentials.
pub(super) fn wardset(arguments: &[&str], ca: &Path, credentials: Option<&Path>, cache: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardset"));
    command.args(arguments).args([Path::new("--registry-ca"), ca]).env("WARDSET_CACHE_DIR", cache);
    for name in
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy", "WARDSET_LOG"]
    {
        command.env_remove(name);
    }
    match credentials {
        Some(file) => command.env("REGISTRY_AUTH_FILE", file),
        None => {
            command.env_remove("REGISTRY_AUTH_FILE").env("HOME", "/nonexistent").env_remove("DOCKER_CONFIG")
        }
    };
    command.env_remove("XDG_RUNTIME_DIR").output().unwrap()
}

/// Returns exit code, data and messages.
pub(super) fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// From a file on a laptop to a decision: push, inspect, pull and review, with all messages.
#[test]
fn a_module_goes_to_a_registry_and_back() {
    let mut registry = FakeRegistry::with(Login::Token, true);
    let (credentials, folder) = (registry.credentials(LOGIN.1), tempfile::tempdir().unwrap());
    let (ca, file) = (registry.ca(), folder.path().join("labels.wasm"));
    std::fs::write(&file, component()).unwrap();
    let run =
        |arguments: &[&str]| outcome(&wardset(arguments, &ca, Some(&credentials), &support::cache_folder()));
    let (file, tagged) = (file.to_str().unwrap(), tagged(&registry).to_string());

    let push = ["policy", "push", file, &tagged, "--annotation", "org.opencontainers.image.licenses=MIT"];
    let (code, pushed, said) = run(&push);
    assert_eq!((code, &*said), (0, ""));
    let pushed = pushed.trim_end();
    let digest = pushed.strip_prefix(&format!("{tagged}@")).unwrap();
    let manifest = registry.get(&format!("policy/manifests/{digest}")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let annotations = manifest["annotations"].as_object().unwrap();
    assert_eq!(annotations["org.opencontainers.image.title"], "default-labels");
    assert_eq!(annotations["org.opencontainers.image.licenses"], "MIT");
    let schema = annotations["dev.wardset.settings.schema"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(schema).unwrap()["properties"]["labels"].is_object(), "{schema}");

    let (code, out, _) = run(&["policy", "inspect", &tagged, "--output", "json"]);
    let inspected: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &inspected["name"], &inspected["reference"]),
        (0, &json!("default-labels"), &json!(pushed))
    );
    assert!(run(&["policy", "inspect", &tagged]).1.contains(&format!("reference     {pushed}\n")));

    let (code, package, said) = run(&["policy", "inspect", &tagged, "--artifacthub"]);
    assert_eq!((code, &*said), (0, ""));
    let package: Value = wardset::yaml::documents(&package).unwrap().remove(0);
    for (field, expected) in [
        ("/name", json!("default-labels")),
        ("/displayName", json!("Default labels")),
        ("/version", inspected["version"].clone()),
        ("/license", json!("MIT")),
        ("/digest", json!(digest)),
        ("/containersImages/0/image", json!(tagged.strip_prefix("oci://"))),
        ("/annotations/wardset~1mutation", json!("true")),
    ] {
        assert_eq!(package.pointer(field), Some(&expected), "{field}");
    }
    let created = package["createdAt"].as_str().unwrap();
    assert!(created.parse::<k8s_openapi::jiff::Timestamp>().is_ok(), "{created}");
    assert!(package["readme"].as_str().unwrap().contains("| `labels` |"), "{package}");
    assert!(package["install"].as_str().unwrap().contains(&format!("module: {pushed}\n")), "{package}");
    let (code, out, said) = run(&["policy", "inspect", file, "--artifacthub"]);
    assert!(code == 2 && out.is_empty() && said.contains("expected a module in a registry"), "{said}");

    let login = credentials.to_str().unwrap();
    let inspect = ["policy", "inspect", &tagged, "--registry-auth", login];
    let (code, _, said) = outcome(&wardset(&inspect, &ca, None, &support::cache_folder()));
    assert_eq!((code, &*said), (0, ""));

    let copy = folder.path().join("copy.wasm");
    let pull = ["policy", "pull", pushed, "--output", copy.to_str().unwrap()];
    assert_eq!(run(&pull).1.trim_end(), pushed);
    assert_eq!(std::fs::read(&copy).unwrap(), component());
    let (code, _, said) = run(&pull);
    assert!(
        code == 2 && said.contains("failed to write the module to") && said.contains("hint: `--output`"),
        "{said}"
    );

    // A review with a tag warns and says to what it led.
    let policies = folder.path().join("policies.yaml");
    let review = ["review", "-f", "examples/fluentd-ds.yaml", "--policies", policies.to_str().unwrap()];
    std::fs::write(&policies, policy("labels", &tagged.parse().unwrap(), "enforce")).unwrap();
    let (code, out, said) = run(&review);
    assert!(code == 0 && out.contains("allowed, with 1 change"), "{out}{said}");
    assert!(
        said.contains("tag can move") && said.contains(&format!("hint: write `module: {pushed}`")),
        "{said}"
    );

    // With the digest, nothing is said, and the cache is enough.
    std::fs::write(&policies, policy("labels", &pushed.parse().unwrap(), "enforce")).unwrap();
    registry.stop();
    let (code, out, said) = run(&review);
    assert!(code == 0 && out.contains("allowed, with 1 change") && said.is_empty(), "{out}{said}");
    let (code, _, said) = run(&[&review[..], &["--no-cache"]].concat());
    let refused = format!(
        "policy `labels`: failed to pull `{pushed}` in 4 attempts: `{}` refuses connections",
        registry.host
    );
    assert!(code == 2 && said.contains(&refused), "{said}");
}

#[test]
fn a_proxy_of_the_environment_is_used_and_named_if_it_fails() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let pull = |except: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardset"));
        command.args(["policy", "pull", "oci://wardset-test.invalid/policy:1"]);
        command.env("HTTPS_PROXY", format!("http://127.0.0.1:{port}")).env("NO_PROXY", except);
        outcome(&command.output().unwrap()).2
    };
    let refused = "`wardset-test.invalid` refuses connections; hint: check host and port in the reference, and the proxy \
                   in `HTTPS_PROXY`";
    let through = pull("");
    assert!(through.contains(refused), "{through}");
    let direct = pull("wardset-test.invalid");
    assert!(direct.contains("failed to resolve the host `wardset-test.invalid`"), "{direct}");
}

#[test]
fn push_refuses_a_digest_a_broken_module_and_a_missing_login() {
    let registry = FakeRegistry::with(Login::Basic, true);
    let (ca, folder) = (registry.ca(), tempfile::tempdir().unwrap());
    let run = |arguments: &[&str]| outcome(&wardset(arguments, &ca, None, &support::cache_folder()));
    let tagged = tagged(&registry).to_string();
    let broken = folder.path().join("broken.wasm");
    std::fs::write(&broken, b"\0asm\x01\0\0\0").unwrap();
    let digest = format!("{tagged}@{}", digest_of(b""));
    for (arguments, problem) in [
        (["builtin:default-labels", &*digest], "expected a tag in the reference, found the digest `sha256:"),
        ([broken.to_str().unwrap(), &*tagged], "failed to load the module"),
        (["builtin:default-labels", &*tagged], "asks for credentials (401), found none for it"),
        (
            ["builtin:default-labels", "r/policy:1"],
            "failed to parse the reference: expected `oci://HOST/NAME",
        ),
        ([&*tagged, &*tagged], "expected a module on this machine"),
    ] {
        let (code, out, said) = run(&["policy", "push", arguments[0], arguments[1]]);
        assert!(code == 2 && out.is_empty() && said.contains(problem), "{said}");
    }
    assert!(registry.get("policy/manifests/1").is_none());
}
