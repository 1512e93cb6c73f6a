//! The chart's life with Helm itself: install, upgrade, rollback, uninstall.

use std::process::Command;
use std::time::Instant;

use crate::installed::{Installed, NAMESPACE, example};
use crate::load::Load;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/chart/wardset");

#[test]
fn helm_installs_upgrades_rolls_back_and_uninstalls() {
    let installed = Installed::get();
    // A cluster has one Wardset.
    installed.remove();

    let start = Instant::now();
    helm(&["install", "wardset", CHART, "--namespace=wardset", "--create-namespace", "--wait"]);
    eprintln!("`helm install --wait`: {:.1} s", start.elapsed().as_secs_f64());
    installed.apply_policies();
    installed.answers();
    assert!(changes_daemon_sets(&installed));

    let load = Load::start(&installed);
    let start = Instant::now();
    let changed = "--set=podAnnotations.changed=yes";
    helm(&["upgrade", "wardset", CHART, "--namespace=wardset", changed, "--wait"]);
    assert_eq!(annotations(&installed), ["yes"; 3]);
    helm(&["rollback", "wardset", "1", "--namespace=wardset", "--wait"]);
    assert_eq!(annotations(&installed), [""; 3]);
    load.end_without_a_failure("`helm upgrade` and `helm rollback`", start.elapsed());

    helm(&["uninstall", "wardset", "--namespace=wardset", "--wait"]);
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let left = installed.kubectl.succeed(&["get", kind, "--output=name"]);
        assert!(!left.contains("wardset"), "{left}");
    }
    // The API server asks nobody any more. Helm keeps the CRD, and with it the policies.
    assert!(!changes_daemon_sets(&installed));
    let policies = installed.kubectl.succeed(&["get", "policies.wardset.dev", "--output=name"]);
    assert!(policies.contains("policy.wardset.dev/"), "{policies}");

    installed.kubectl.succeed(&["delete", "namespace", "wardset", "--timeout=120s"]);
    installed.install();
}

/// Whether a new DaemonSet gets the affinity of the default policies.
fn changes_daemon_sets(installed: &Installed) -> bool {
    let run = installed.try_apply(&example(), &["--dry-run=server", "--output=json"]).succeeded();
    let object: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(object["metadata"]["namespace"], NAMESPACE);
    object["spec"]["template"]["spec"]["affinity"].is_object()
}

/// Returns the value of the annotation `changed` of each replica.
fn annotations(installed: &Installed) -> Vec<String> {
    let value = |pod: &serde_json::Value| {
        pod["metadata"]["annotations"]["changed"].as_str().unwrap_or_default().to_owned()
    };
    installed.pods().iter().map(value).collect()
}

fn helm(args: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut helm = Command::new(std::env::var_os("WARDSET_E2E_HELM").unwrap());
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(variable, folder.path());
    }
    let output = helm.args(args).arg("--timeout=180s").output().unwrap();
    assert!(
        output.status.success(),
        "`helm {}` failed:\n{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
