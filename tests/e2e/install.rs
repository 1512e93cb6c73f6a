//! `kubectl apply -f deploy/install.yaml`, and the daily work of a platform team after that.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::installed::{Installed, get};
use crate::load::Load;
use crate::support::{Namespace, eventually, example};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

/// Returns an object that a default policy refuses: `version` changes with each release, and a selector must not
/// change.
fn volatile_selector() -> Value {
    let mut object = example();
    for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        object.pointer_mut(labels).unwrap()["version"] = json!("v1");
    }
    object
}

#[test]
fn installs_from_one_file_and_applies_policies_from_another() {
    let installed = Installed::apply();
    let namespace = Namespace::new("installed");
    installed.review_namespace(namespace.name());

    // The server is not running yet, so `failurePolicy: Fail` refuses the object.
    let refused = namespace.refuse(&example());
    assert!(refused.contains("failed calling webhook \"daemonsets.wardset.dev\""), "{refused}");

    let server = installed.serve();
    installed.bundles_written("");
    eventually(Duration::from_secs(30), "a DaemonSet is allowed", || {
        let run = namespace.try_apply(&example());
        if run.success { Ok(()) } else { Err(run.stderr) }
    });
    let plain = namespace.json(&["get", "daemonset", "fluentd-agent"]);
    assert_eq!(
        plain["metadata"].get("labels").and_then(|labels| labels.get("app.kubernetes.io/component")),
        None
    );

    let policies = Path::new(DEPLOY).join("policies.yaml");
    let applied = installed.kubectl.run(&["apply", "-f", policies.to_str().unwrap()]).succeeded();
    assert_eq!(
        applied.stdout.lines().filter(|line| line.ends_with(" created")).count(),
        5,
        "{}",
        applied.stdout
    );
    for policy in
        ["default-labels", "default-tolerations", "exclude-virtual-nodes", "selector-safety", "workers-only"]
    {
        let policy = installed.policy_is(policy, "True", "InForce");
        assert!(policy["status"]["module"]["digest"].as_str().unwrap().starts_with("sha256:"), "{policy:#}");
    }
    let table = installed.kubectl.succeed(&["get", "policies.wardset.dev"]);
    let words = |line: usize| table.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(0), ["NAME", "MODULE", "MODE", "ORDER", "READY", "AGE"]);
    assert_eq!(words(1)[..5], ["default-labels", "builtin:default-labels", "observe", "10", "True"]);

    let changed = example();
    namespace.succeed(&["delete", "daemonset", "fluentd-agent"]);
    namespace.apply(&changed);
    let stored = namespace.json(&["get", "daemonset", "fluentd-agent"]);
    // The default set enforces `exclude-virtual-nodes`, and only observes `default-labels`.
    assert!(stored["spec"]["template"]["spec"]["affinity"]["nodeAffinity"].is_object(), "{stored:#}");
    assert_eq!(stored["metadata"]["labels"].get("app.kubernetes.io/component"), None);
    let refused = namespace.refuse(&volatile_selector());
    assert!(
        refused.contains("admission webhook \"daemonsets.wardset.dev\" denied the request: ")
            && refused.contains("selector-safety"),
        "{refused}"
    );
    assert_eq!(server.metric("wardset_policies"), Some(5.0));
    assert_eq!(get(server.admin, "/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn break_glass_takes_one_command_and_reinstall_another() {
    let installed = Installed::apply();
    let server = installed.serve();
    let ca = installed.bundles_written("");
    let namespace = Namespace::new("break-glass");
    installed.review_namespace(namespace.name());
    server.kill();
    namespace.refuse(&example());
    let command = "delete mutatingwebhookconfiguration/wardset validatingwebhookconfiguration/wardset";
    let runbook = std::fs::read_to_string(Path::new(DEPLOY).join("RUNBOOK.md")).unwrap();
    assert!(runbook.contains(&format!("kubectl {command}\n")), "the runbook does not have this command");
    installed.kubectl.succeed(&command.split(' ').collect::<Vec<_>>());
    namespace.apply(&example());

    // The configurations come back as rendered, without a CA. The running server notices.
    drop(installed);
    let installed = Installed::apply();
    let _server = installed.serve();
    let again = installed.bundles_written("");
    assert_ne!(ca, again, "expected a new CA, because the namespace was deleted with its Secret");
    namespace.apply(&example());
}

#[test]
fn server_stays_within_the_permissions_of_its_service_account() {
    let installed = Installed::apply();
    let mut server = installed.serve();
    installed.bundles_written("");
    installed.apply_policy(&policy("labels", "one")).succeeded();
    installed.policy_is("labels", "True", "InForce");
    let log = server.log();
    assert!(!log.contains("forbidden"), "{log}");
    // The server leads and writes, so it used its permissions.
    assert_eq!(server.metric("wardset_leader"), Some(1.0));
    assert!(server.says("activated the policy", Duration::from_secs(1)).is_object());
}

#[test]
fn kubectl_apply_refuses_an_invalid_policy_with_the_reason() {
    let installed = Installed::apply();
    let _server = installed.serve();
    installed.bundles_written("");
    let change = |pointer: &str, value: Value| {
        let mut policy = policy("labels", "one");
        *policy.pointer_mut(pointer).unwrap() = value;
        policy
    };
    eventually(Duration::from_secs(30), "the webhook is active", || {
        let run = installed.apply_policy(&change("/spec/module", json!("builtin:gone")));
        if run.success { Err(run.stdout) } else { Ok(()) }
    });
    let mut with_cel = policy("labels", "one");
    with_cel["spec"]["match"] =
        json!({"conditions": [{"name": "odd", "expression": "object.metadata.name =="}]});
    let mut unknown_field = policy("labels", "one");
    unknown_field["spec"]["modul"] = json!("x");
    for (bad, says) in [
        (
            change("/spec/module", json!("builtin:gone")),
            "unknown built-in module `gone`, expected one of `cel`",
        ),
        (change("/spec/settings", json!({"labels": 1})), "`spec.settings`: "),
        (with_cel, "`spec.match.conditions`: "),
        // The API server checks these against the CRD.
        (change("/spec/module", json!("http://x")), "expected `builtin:NAME`, `file:PATH` or `oci://"),
        (unknown_field, "unknown field \"spec.modul\""),
    ] {
        let run = installed.apply_policy(&bad).failed();
        assert!(run.stderr.contains(says), "{says}: {}", run.stderr);
    }
    assert_eq!(installed.kubectl.json(&["get", "policies.wardset.dev"])["items"], json!([]));
}

#[test]
fn keeps_the_last_good_revision_if_a_policy_was_broken_while_it_was_down() {
    let installed = Installed::apply();
    let server = installed.serve();
    let ca = installed.bundles_written("");
    installed.apply_policy(&policy("labels", "one")).succeeded();
    installed.apply_policy(&policy("other", "ignored")).succeeded();
    installed.policy_is("labels", "True", "InForce");
    assert_eq!(server.stop(), Some(0));

    let mut bad = policy("labels", "two");
    bad["spec"]["settings"] = json!({"labels": 1});
    installed.apply_policy(&bad).succeeded();
    let mut never_good = policy("never", "x");
    never_good["spec"]["module"] = json!("builtin:gone");
    never_good["spec"]["onError"] = json!("allow");
    installed.apply_policy(&never_good).succeeded();

    let server = installed.serve();
    let status = installed.policy_is("labels", "False", "LastGoodInForce");
    let message = status["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("the last good revision stays active: ") && message.contains("spec.settings"),
        "{message}"
    );
    installed.policy_is("other", "True", "InForce");
    installed.policy_is("never", "False", "NotInForce");
    let tally = once(server.webhook, &ca);
    assert_eq!(tally["example.com/team"], "one");
    assert_eq!(server.metric("wardset_policy_ready{policy=\"labels\"}"), Some(0.0));
}

#[test]
fn edits_are_live_at_once_without_failed_or_mixed_reviews() {
    let installed = Installed::apply();
    let server = installed.serve();
    let ca = installed.bundles_written("");
    installed.apply_policy(&policy("labels", "0")).succeeded();
    installed.policy_is("labels", "True", "InForce");
    let load = Load::start(server.webhook, &ca);
    let mut waits = Vec::new();
    for edit in 1..=20 {
        let team = edit.to_string();
        installed.apply_policy(&policy("labels", &team)).succeeded();
        let applied = std::time::Instant::now();
        while once(server.webhook, &ca)["example.com/team"] != team {
            assert!(applied.elapsed() < Duration::from_secs(10), "edit {edit} is not active");
        }
        waits.push(applied.elapsed());
    }
    let tally = load.end();
    waits.sort();
    eprintln!(
        "policy edits: 20; live after the return of `kubectl apply`: median {:?}, longest {:?}; reviews meanwhile: {} sent, {} failed",
        waits[10],
        waits[19],
        tally.sent,
        tally.failed.len()
    );
    assert_eq!(tally.failed, Vec::<String>::new());
    for labels in &tally.labels {
        assert_eq!(
            labels["example.com/team"], labels["example.com/squad"],
            "a review saw a mix of two revisions"
        );
    }
    let seen: std::collections::BTreeSet<_> =
        tally.labels.iter().map(|labels| labels["example.com/team"].to_string()).collect();
    assert!(seen.len() > 10, "the load did not see the edits: {seen:?}");
}

#[test]
fn selects_namespaces_by_watched_labels() {
    let installed = Installed::apply();
    let _server = installed.serve();
    installed.bundles_written("");
    let mut selective = policy("labels", "one");
    selective["spec"]["match"] = json!({"namespaceSelector": {"matchLabels": {"tier": "prod"}}});
    installed.apply_policy(&selective).succeeded();
    installed.policy_is("labels", "True", "InForce");
    let team = |namespace: &Namespace| {
        namespace.run(&["delete", "daemonset", "fluentd-agent", "--ignore-not-found"]).succeeded();
        namespace.apply(&example());
        namespace.json(&["get", "daemonset", "fluentd-agent"])["metadata"]["labels"]["example.com/team"]
            .clone()
    };
    let (prod, dev) = (Namespace::new("prod"), Namespace::new("dev"));
    for namespace in [&prod, &dev] {
        installed.review_namespace(namespace.name());
    }
    installed.kubectl.succeed(&["label", "namespace", prod.name(), "tier=prod"]);
    eventually(Duration::from_secs(10), "the server knows the label", || match team(&prod) {
        Value::Null => Err("no label"),
        _ => Ok(()),
    });
    assert_eq!(team(&dev), Value::Null);
    installed.kubectl.succeed(&["label", "namespace", prod.name(), "tier-"]);
    eventually(Duration::from_secs(10), "the server knows that the label was removed", || {
        match team(&prod) {
            Value::Null => Ok(()),
            team => Err(team),
        }
    });
}

#[test]
fn reviews_continue_without_the_api_server_and_missed_edits_follow() {
    let installed = Installed::apply();
    let server = installed.serve();
    let ca = installed.bundles_written("");
    installed.apply_policy(&policy("labels", "one")).succeeded();
    installed.apply_policy(&policy("goes", "ignored")).succeeded();
    installed.policy_is("labels", "True", "InForce");
    installed.policy_is("goes", "True", "InForce");
    let load = Load::start(server.webhook, &ca);
    installed.proxy.cut();
    installed.apply_policy(&policy("labels", "two")).succeeded();
    installed.kubectl.succeed(&["delete", "policies.wardset.dev", "goes"]);
    eventually(Duration::from_secs(20), "the server notices", || {
        match server.metric("wardset_watch_errors_total{what=\"policies\"}") {
            Some(errors) if errors > 0.0 => Ok(()),
            other => Err(other),
        }
    });
    assert_eq!(
        once(server.webhook, &ca)["example.com/team"],
        "one",
        "expected the last known policies to stay active"
    );
    assert_eq!(get(server.admin, "/readyz").0, 200);
    installed.proxy.mend();
    eventually(Duration::from_secs(60), "the missed edit is active", || {
        let team = once(server.webhook, &ca)["example.com/team"].clone();
        if team == "two" { Ok(()) } else { Err(team) }
    });
    installed.policy_is("labels", "True", "InForce");
    eventually(Duration::from_secs(10), "the deleted policy is gone", || {
        match server.metric("wardset_policies") {
            Some(1.0) => Ok(()),
            other => Err(other),
        }
    });
    let tally = load.end();
    assert_eq!(tally.failed, Vec::<String>::new());
    assert!(tally.sent > 100, "{}", tally.sent);
}

#[test]
fn one_of_three_replicas_leads_and_another_takes_over() {
    let installed = Installed::apply();
    let first = installed.serve();
    let ca = installed.bundles_written("");
    let others = [installed.serve_beside(), installed.serve_beside()];
    assert_eq!(first.metric("wardset_leader"), Some(1.0));
    assert_eq!(others.each_ref().map(|server| server.metric("wardset_leader")), [Some(0.0); 2]);
    // All replicas share one CA, so each works with the same bundle.
    for server in [&first, &others[0], &others[1]] {
        assert!(once(server.webhook, &ca).is_null() || once(server.webhook, &ca).is_object());
    }
    assert_eq!(first.stop(), Some(0));
    installed.apply_policy(&policy("labels", "one")).succeeded();
    // The first replica released its Lease, so another need not wait until it expires.
    installed.policy_is("labels", "True", "InForce");
    let leaders: f64 = others.iter().filter_map(|server| server.metric("wardset_leader")).sum();
    assert!((leaders - 1.0).abs() < f64::EPSILON, "{leaders} replicas lead");
    assert_eq!(installed.bundles()[0], ca);
}

#[test]
fn waits_and_logs_if_it_starts_without_an_api_server() {
    let installed = Installed::apply();
    installed.proxy.cut();
    let mut server = installed.start("127.0.0.1:0", &[]);
    let line = "failed to watch the cluster; the last known state stays active, and the watch restarts; \
                hint: check the network and the server's RBAC rules";
    server.says(line, Duration::from_secs(20));
    installed.proxy.mend();
    let server = server.ready();
    assert_eq!(get(server.admin, "/readyz").0, 200);
}

/// Returns a policy that adds the labels `team` and `squad` with the same value.
fn policy(name: &str, team: &str) -> Value {
    let labels = if name == "labels" {
        json!({"example.com/team": team, "example.com/squad": team})
    } else {
        json!({"example.com/other": team})
    };
    json!({
        "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": name},
        // The timeout allows for a debug build on a busy machine.
        "spec": {"module": "builtin:default-labels", "settings": {"labels": labels}, "limits": {"timeout": "5s"}},
    })
}

/// Returns the labels after one review.
fn once(server: std::net::SocketAddr, ca: &str) -> Value {
    let tally = Load::one(server, ca);
    assert_eq!(tally.failed, Vec::<String>::new());
    tally.labels[0].clone()
}

/// The definition accepts a reference, and the status names a registry that the operator does not allow. No request leaves
/// this machine.
#[test]
fn modules_come_only_from_allowed_registries() {
    let installed = Installed::apply();
    let policy = |name: &str, module: &str| {
        json!({
            "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": name},
            "spec": {"module": module, "mode": "observe"},
        })
    };
    // Without a server, the API server checks the definition only.
    let applied = installed.apply_policy(&policy("elsewhere", "oci://registry.example/team/labels:1"));
    assert!(applied.success, "{}", applied.stderr);
    let refused = installed.apply_policy(&policy("malformed", "oci:labels"));
    assert!(refused.stderr.contains("expected `builtin:NAME`, `file:PATH` or `oci://"), "{}", refused.stderr);

    let server = installed.serve_with(&["--allow-registry=registry.example.com"]);
    let policy_now = installed.policy_is("elsewhere", "False", "RegistryNotAllowed");
    let expected =
        "expected a module from `registry.example.com`, found one from `registry.example/team/labels`";
    let message = policy_now["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains(expected), "{message}");
    installed.bundles_written("");
    eventually(Duration::from_secs(30), "the webhook refuses the policy", || {
        let refused = installed.apply_policy(&policy("another", "oci://registry.example/team/labels:1"));
        if !refused.success && refused.stderr.contains(expected) { Ok(()) } else { Err(refused.stderr) }
    });
    assert_eq!(server.stop(), Some(0));
}
