//! The replicas: rights, memory, certificates, and their replacement under load.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;

use crate::installed::{Installed, LIMIT, name, names};
use crate::kubectl::eventually;
use crate::load::Load;
use crate::processes::named;

#[test]
fn three_replicas_run_at_the_level_restricted_without_rights() {
    let installed = Installed::get();
    let namespace = installed.kubectl.json(&["get", "namespace", "wardset"]);
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let pods = installed.three_ready(&BTreeSet::new());
    for pod in &pods {
        let container = &pod["status"]["containerStatuses"][0];
        assert_eq!(
            (&container["restartCount"], &container["ready"]),
            (&json!(0), &json!(true)),
            "{container:#}"
        );
    }
    let processes = named("wardset");
    assert!(processes.len() >= 3, "{} processes", processes.len());
    for process in processes {
        let field = |name: &str| process.status[name].as_str();
        assert_eq!((field("Uid"), field("Gid")), ("65532 65532 65532 65532", "65532 65532 65532 65532"));
        assert_eq!((field("CapEff"), field("NoNewPrivs")), ("0000000000000000", "1"));
        // The profile `RuntimeDefault`: a filter.
        assert_eq!(field("Seccomp"), "2");
        assert!(process.root_options().contains(&"ro".to_owned()), "{:?}", process.root_options());
    }
    let exec = ["-n", "wardset", "exec", name(&pods[0]), "--", "/wardset", "--version"];
    assert_eq!(installed.kubectl.succeed(&exec).trim(), concat!("wardset ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn rollout_restart_under_load_loses_no_write() {
    let installed = Installed::get();
    let old = names(&installed.three_ready(&BTreeSet::new()));
    let load = Load::start(&installed);
    let start = Instant::now();
    installed.kubectl.succeed(&["-n", "wardset", "rollout", "restart", "deployment/wardset"]);
    installed.rolled_out();
    installed.three_ready(&old);
    gone(&installed, &old);
    let took = start.elapsed();
    load.end_without_a_failure("rollout restart", took);
}

#[test]
fn deletion_of_each_replica_under_load_loses_no_write() {
    let installed = Installed::get();
    let old = names(&installed.three_ready(&BTreeSet::new()));
    let load = Load::start(&installed);
    let start = Instant::now();
    for pod in &old {
        installed.kubectl.succeed(&["-n", "wardset", "delete", "pod", pod, "--wait=false"]);
        installed.three_ready(&BTreeSet::from([pod.clone()]));
        gone(&installed, &BTreeSet::from([pod.clone()]));
    }
    load.end_without_a_failure("deletion of 3 replicas, one after the other", start.elapsed());
}

/// A deleted pod loses its volume, so its successor compiles every module of the default policies.
#[test]
fn cold_start_with_an_empty_cache_stays_within_the_memory_limit() {
    let installed = Installed::get();
    let old = names(&installed.three_ready(&BTreeSet::new()));
    installed.kubectl.succeed(&["-n", "wardset", "delete", "pod", "--all", "--wait=true", "--timeout=120s"]);
    let pods = installed.three_ready(&old);
    for pod in &pods {
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod:#}");
    }
    let mut peaks = Vec::new();
    for process in named("wardset") {
        let memory = process.memory();
        assert_eq!(memory.limit, 384 << 20);
        assert!(memory.peak < memory.limit, "{memory:?}");
        peaks.push(memory.peak >> 20);
    }
    assert!(peaks.len() >= 3, "{peaks:?}");
    eprintln!("highest memory of each replica after a cold start: {peaks:?} MiB of 384");
}

/// The API server asks one replica for each write, and no other one if that fails. So some writes are refused.
#[test]
fn replica_that_is_killed_for_its_memory_comes_back() {
    let installed = Installed::get();
    let before = names(&installed.three_ready(&BTreeSet::new()));
    let victim = before.first().unwrap();
    let load = Load::start(&installed);
    let start = Instant::now();
    named("wardset").into_iter().find(|process| process.is_of(victim)).unwrap().take_spare_memory();
    let container = eventually(LIMIT, "the replica was killed", || {
        // Loads every module in the replica's container. The kernel kills the largest process, which is the server.
        installed.kubectl.run(&["-n", "wardset", "exec", victim, "--", "/wardset", "policies", "--no-cache"]);
        let mut pod = installed.kubectl.json(&["-n", "wardset", "get", "pod", victim]);
        let container = pod["status"]["containerStatuses"][0].take();
        if container["restartCount"] == 0 { Err(container) } else { Ok(container) }
    });
    let reason =
        container.pointer("/lastState/terminated/reason").or(container.pointer("/state/terminated/reason"));
    assert_eq!(reason, Some(&json!("OOMKilled")), "{container:#}");
    assert_eq!(names(&installed.three_ready(&BTreeSet::new())), before);
    let tally = load.end();
    let took = start.elapsed().as_secs_f64();
    eprintln!(
        "a replica killed for its memory is ready again {took:.1} s after the load began; {tally}: {:#?}",
        tally.failed
    );
    for process in named("wardset") {
        assert_eq!(process.memory().limit, 384 << 20);
    }
    let (load, start) = (Load::start(&installed), Instant::now());
    installed.answers();
    load.end_without_a_failure("with the replica that was killed", start.elapsed());
}

#[test]
fn certificate_is_in_the_secret_and_is_renewed_without_a_lost_write() {
    let installed = Installed::get();
    let before = installed.secret();
    for key in ["tls.crt", "tls.key", "ca.crt"] {
        assert!(before["data"][key].is_string(), "the Secret has no `{key}`");
    }
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        let configuration = installed.kubectl.json(&["get", kind, "wardset"]);
        for entry in configuration["webhooks"].as_array().unwrap() {
            assert_eq!(entry["clientConfig"]["caBundle"], before["data"]["ca.crt"], "{kind}");
        }
    }
    let load = Load::start(&installed);
    let start = Instant::now();
    let renew = ["-n", "wardset", "annotate", "secret", "wardset-certificates", "wardset.dev/renew=leaf"];
    installed.kubectl.succeed(&renew);
    eventually(LIMIT, "the certificate is another one", || {
        let after = installed.secret();
        if after["data"]["tls.crt"] == before["data"]["tls.crt"] { Err("the same") } else { Ok(()) }
    });
    load.end_without_a_failure("renewal of the certificate", start.elapsed());
}

/// Waits until the pods are gone, not only marked for deletion.
fn gone(installed: &Installed, pods: &BTreeSet<String>) {
    for pod in pods {
        let pod = format!("pod/{pod}");
        installed.kubectl.succeed(&["-n", "wardset", "wait", "--for=delete", &pod, "--timeout=120s"]);
    }
}
